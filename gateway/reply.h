/* reply: the answers the gateway writes itself, and the header fields it adds to others'. All spelling of headers lives here.
 *
 * RFC 9110 §10.2.3 (Retry-After), RFC 9457 (problem+json), RFC 9651 (structured fields), draft-ietf-httpapi-ratelimit-headers-11 (RateLimit,
 * RateLimit-Policy). Pure: fills structs the caller owns; no I/O, no allocation but reply_policies(). Any thread.
 */
#ifndef WEIR_REPLY_H
#define WEIR_REPLY_H

#include "config.h"
#include "limiter.h"
#include "request.h"

#define REPLY_FIELDS_MAX 12
#define REPLY_TEXT_MAX 4096

struct reply {
    unsigned status;
    size_t field_count;
    struct field fields[REPLY_FIELDS_MAX]; /* slices into `text` or static */
    struct slice body;                     /* slice into `text`, static, or the config */
    bool close;                            /* the connection must end after this answer */
    size_t text_length;
    char text[REPLY_TEXT_MAX];
};

/* The reason phrase of a status (RFC 9110 §15, 6585, …), or "". */
const char *reply_reason(unsigned status);

/* An answer of the gateway's own: problem+json with status, title, detail and instance (the request id). `retry_after_s` 0: no such field. `detail`
 * is escaped. */
void reply_problem(struct reply *reply, unsigned status, const char *detail, struct slice request_id, uint64_t retry_after_s);

/* What the limits said about one request, as far as headers need it. */
struct reply_limit {
    size_t limit; /* index into config.limits */
    struct limiter_answer answer;
    uint64_t retry_after_s; /* 0 when allowed or never */
};

/* 429 (or 503, temporary-reduced-capacity, when `status` says so): detail names the limit ("limit per-key allows 1000 per minute; try again in 3 s"),
 * violated-policies, Retry-After, RateLimit fields as config.headers wants them. `denied`: every limit that refused, longest wait first. */
void reply_refused(struct reply *reply, const struct config *config, size_t route, unsigned status, const struct reply_limit *denied,
                   size_t denied_count, struct slice request_id);

/* A request without the key a limit demands ("missing": "deny"): 429 without Retry-After; detail names limit and source. */
void reply_keyless(struct reply *reply, const struct config *config, size_t route, size_t limit, struct slice request_id);

/* A route's own answer ("respond"). */
void reply_respond(struct reply *reply, const struct config_respond *respond);

/* The RateLimit-Policy value of a route: the policies of all its limits; fixed for the life of the config. Returns the length, at
 * most size; 0 when the route has none. reply.c calls it; callers cache it per route in `struct reply_policies`. */
struct reply_policies;
struct reply_policies *reply_policies_create(const struct config *config); /* NULL when memory is short */
void reply_policies_destroy(struct reply_policies **policies);

/* Adds the RateLimit fields of an admitted request to `fields` (room for 5), spelling values into `text`. `closest` is the limit closest to exhaustion;
 * NULL: the route has limits but none applied (nothing is added). Returns how many were added. */
#define REPLY_LIMIT_TEXT 256
size_t reply_limit_fields(const struct reply_policies *policies, const struct config *config, size_t route,
                          const struct reply_limit *closest, struct field *fields, char text[static REPLY_LIMIT_TEXT]);

/* Whole seconds of a wait: rounded up, at least 1. */
uint64_t reply_seconds(uint64_t wait_ns);

/* ---- what the upstream receives (RFC 9110 §7.6) ---- */

struct reply_forward {
    const struct request *request;
    struct slice client;       /* address text to append to or set as X-Forwarded-For: the peer's */
    bool peer_trusted;         /* keep and append X-Forwarded-*, keep X-Request-Id; else replace */
    struct slice request_id;
    struct slice over_limit;   /* names for x-weir-over-limit; empty: none */
};
/* Writes the whole request head for the upstream. Returns its length, or 0 when it does not fit. */
size_t reply_forward_head(const struct reply_forward *forward, char *out, size_t size);

/* True when a field of an upstream's response must not reach the client: hop-by-hop, framing. */
bool reply_drops(const struct field *fields, size_t field_count, const struct field *field);

#endif
