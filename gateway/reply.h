/* reply: the answers the gateway writes itself, and the RateLimit fields it adds to others'. What passes through:
 * forward.h.
 *
 * RFC 9110 §10.2.3 (Retry-After), RFC 9457 (problem+json), RFC 9651 (structured fields),
 * draft-ietf-httpapi-ratelimit-headers-11 (RateLimit, RateLimit-Policy). Pure: fills structs the caller owns; no I/O,
 * no allocation but in reply_policies_create(). Any thread.
 *
 * A request id goes into a field and into JSON: it must be visible ASCII (whoever keeps a client's checks that). What
 * is longer than REPLY_ID_MAX is cut.
 */
#ifndef WEIR_REPLY_H
#define WEIR_REPLY_H

#include "check.h"
#include "config.h"
#include "limiter.h"
#include "request.h"

#define REPLY_FIELDS_MAX 12
#define REPLY_TEXT_MAX   4096
#define REPLY_ID_MAX     128

struct reply {
    unsigned status;
    size_t field_count;
    struct field fields[REPLY_FIELDS_MAX]; /* slices into `text`, static, or the config: do not copy the struct */
    struct slice body;
    bool close; /* the connection must end after this answer: what came on it may not have been a whole request */
    size_t text_length;
    char text[REPLY_TEXT_MAX];
};

/* The reason phrase of a status (RFC 9110 §15, 6585, …), or "". */
const char *reply_reason(unsigned status);

/* An answer of the gateway's own: problem+json with status, title, detail and instance (the request id). `detail` is
 * escaped. `retry_after_s` 0: no such field. */
void reply_problem(struct reply *reply, unsigned status, const char *detail, struct slice request_id,
                   uint64_t retry_after_s);

/* What the limits said about one request, as far as headers need it. */
struct reply_limit {
    size_t limit; /* index into config.limits */
    struct limiter_answer answer;
    uint64_t retry_after_s; /* 0 when allowed or never */
};

/* 429 (or 503, temporary-reduced-capacity, when `status` says so): detail names the limit ("limit per-key allows 1000
 * per minute; try again in 3 s"), violated-policies, Retry-After, RateLimit fields as config.headers wants them.
 * `denied`: every limit that refused, longest wait first, at least one and at most 16. */
void reply_refused(struct reply *reply, const struct config *config, size_t route, unsigned status,
                   const struct reply_limit *denied, size_t denied_count, struct slice request_id);

/* A request without the key a limit demands ("missing": "deny"): 429 without Retry-After; detail names limit and
 * source. */
void reply_keyless(struct reply *reply, const struct config *config, size_t route, size_t limit,
                   struct slice request_id);

/* A route's own answer ("respond"). */
void reply_respond(struct reply *reply, const struct config_respond *respond);

/* The RateLimit-Policy values of all routes, spelled once: a route's lists the policies of its limits. Borrows
 * nothing. */
struct reply_policies;
MUST_CHECK struct reply_policies *reply_policies_create(const struct config *config); /* NULL when memory is short */
void reply_policies_destroy(struct reply_policies **policies);

/* Puts the RateLimit fields of an admitted request into `fields` (room for 5), spelling values into `text`; they borrow
 * `text` and `policies`. `closest` is the limit closest to exhaustion; NULL: the route has limits but none applied, and
 * nothing is added. Returns how many were added. */
#define REPLY_LIMIT_TEXT 256
size_t reply_limit_fields(const struct reply_policies *policies, const struct config *config, size_t route,
                          const struct reply_limit *closest, struct field *fields, char text[static REPLY_LIMIT_TEXT]);

/* Whole seconds of a wait: rounded up, at least 1. */
uint64_t reply_seconds(uint64_t wait_ns);

#endif
