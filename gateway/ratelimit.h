/* ratelimit: what limits allow and what is left of them, as header values. The pure half of reply.c: it knows
 * draft-ietf-httpapi-ratelimit-headers-11 (Structured Fields, RFC 9651), the de-facto X-RateLimit fields and our
 * words for a rate.
 *
 *     limit         policy (RateLimit-Policy)                  admitted (RateLimit)      refused
 *     token bucket  q=burst; w=the time a full bucket takes    r=tokens left; t=the      r=0; t=Retry-After
 *                   to refill                                  time r takes to refill
 *     concurrency   q=slots; qu="concurrent-requests"          r=slots free              r=0; t=Retry-After
 *
 * t is the effective window: the client may spend r within t, so r/t must not promise more than the rate; and
 * Retry-After must not be earlier than t.
 */
#ifndef WEIR_RATELIMIT_H
#define WEIR_RATELIMIT_H

#include "reply.h"
#include "text.h"

#define RATELIMIT_NAME_MAX  64 /* bytes of a limit's name; none needs an escape in a quoted string: config.h */
#define RATELIMIT_ROUTE_MAX 16 /* limits of a route: config.h */
/* "NAME";q=15 digits;qu="concurrent-requests", and a separator: longer than with w=15 digits */
#define RATELIMIT_POLICY_MAX   (2 + RATELIMIT_NAME_MAX + 3 + 15 + (sizeof ";qu=\"concurrent-requests\", " - 1))
#define RATELIMIT_POLICIES_MAX (RATELIMIT_ROUTE_MAX * RATELIMIT_POLICY_MAX)

/* Rounded up; 0 stays 0. */
uint64_t ratelimit_ceil_seconds(uint64_t nanoseconds);

/* The name, quoted: a string of RFC 9651 and of JSON alike. */
void ratelimit_name(struct text *text, const struct config_limit *limit);

/* For people: "1000 per minute", "3 per 90 seconds", "20 requests at once". */
void ratelimit_allowance(struct text *text, const struct config_limit *limit);

/* The policies of all limits of a route; nothing when it has none. */
void ratelimit_policies(struct text *text, const struct config *config, const struct config_route *route);

/* Does the operator want the draft's fields? */
bool ratelimit_draft_11(const struct config *config);

/* Puts fields (at most 5) in the formats the operator chose. `policies`: what ratelimit_policies() wrote. `said`
 * NULL: only the policies, for nothing is known of the key. Returns how many. */
size_t ratelimit_fields(struct text *text, const struct config *config, struct slice policies,
                        const struct reply_limit *said, struct field *fields);

#endif
