/* forward: what passes through the gateway, and what must not: the head an upstream receives, the fields of its
 * answer.
 *
 * RFC 9110 §7.6 (hop-by-hop fields, Via), RFC 7239 and the older X-Forwarded-* fields (who the client was). Pure:
 * writes into memory the caller owns; no I/O, no allocation. Any thread.
 */
#ifndef WEIR_FORWARD_H
#define WEIR_FORWARD_H

#include "check.h"
#include "request.h"

struct forward {
    const struct request *request; /* accepted by request_check() */
    struct slice client;           /* the peer's address as text: set as X-Forwarded-For, or appended to it */
    bool peer_trusted;             /* keep Forwarded and X-Forwarded-*, append to the latter; else drop and set them */
    bool upgrade;                  /* ask the upstream to switch protocols as the client asked (request->upgrade) */
    struct slice request_id;       /* sent as X-Request-Id in place of what came */
    struct slice over_limit;       /* names for x-weir-over-limit; empty: none */
};

/* Writes the whole request head for the upstream, ending in CRLFCRLF. Returns its length, or 0 when it does not fit. An
 * HTTP/1.0 request without Host goes out with "Host: localhost", which an origin's default site answers to: HTTP/1.1
 * demands the field, and which of the upstream's servers will be asked is not known yet. */
MUST_CHECK size_t forward_head(const struct forward *forward, char *out, size_t size);

/* True when a field of an upstream's response must not reach the client: hop-by-hop, or framing, which the front does
 * itself. `fields`: all of the response, since Connection may name more. */
bool forward_drops(const struct field *fields, size_t field_count, const struct field *field);

#endif
