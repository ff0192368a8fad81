/* identity: who is asking.
 *
 * Two questions, both pure. Which address is the client: the socket's peer, or, when the peer is a trusted proxy, the
 * right-most address of the forwarding header that is not one (RFC 7239 §7.4; docs/THREATS.md). And: which bytes are
 * the key of a limit for this request.
 */
#ifndef WEIR_IDENTITY_H
#define WEIR_IDENTITY_H

#include "check.h"
#include "config.h"
#include "request.h"

struct identity {
    struct rule_ip client; /* full address, not masked */
    bool peer_trusted;     /* the peer is in trusted_proxies: its X-Forwarded-* and X-Request-Id are kept */
};

/* Walks all lines of client_ip.header from the right, skipping trusted addresses; the first untrusted one is the
 * client. What is not an address stops the walk at the last good hop (at first the peer): what stands further left was
 * written by whoever wrote that. Empty elements are skipped; at most 64 are looked at. Accepts "1.2.3.4",
 * "1.2.3.4:5678", "::1", "[::1]", "[::1]:5", and for the header "forwarded" RFC 7239 elements (for=). */
MUST_CHECK struct identity identity_of(const struct request *request, const struct config *config);

enum identity_result { IDENTITY_KEY, IDENTITY_MISSING, IDENTITY_TOO_LONG };

#define IDENTITY_KEY_MAX 4096 /* longer: IDENTITY_TOO_LONG, and the caller refuses the request (431) */

/* The key of a limit: every source as (4-byte big-endian length, bytes), so that ("a:b","c") and ("a","b:c") differ,
 * and equal on every gateway. A source that is absent makes the result IDENTITY_MISSING; an empty value counts as
 * absent. No key has length 0: the caller may use that for all requests without one.
 *
 *   client_ip  16 bytes, masked by the source's prefixes
 *   header     its lines joined with ", " (RFC 9110 §5.3), without the empty ones
 *   cookie     the first one of that name (with case) that is not empty; as sent, quotes included (RFC 6265)
 *   query      the first parameter of that name that is not empty; name and value percent-decoded, "+" is a plus
 *   path, host, method, route    as in request_check(), and the route's name
 *   global     the empty value, the only one that is not absent
 */
MUST_CHECK enum identity_result identity_key(const struct request *request, const struct identity *identity,
                                             const struct config_route *route, const struct config_limit *limit,
                                             char *key, size_t key_size, size_t *key_length);

/* The same key for people: parts joined with ","; client_ip as an address, with its prefix if that masks anything;
 * global as "global"; a key of length 0 as "(missing)". Everything but printable ASCII, the backslash and (where parts
 * are joined) the comma is \xHH, so that two keys of a limit look different. Returns the length; always ends in NUL
 * (text_size ≥ 1); what does not fit is cut. */
size_t identity_key_text(const char *key, size_t key_length, const struct config_limit *limit, char *text,
                         size_t text_size);

/* True when the client's address lies in one of the route's exempt networks. */
MUST_CHECK bool identity_exempt(const struct identity *identity, const struct config_route *route);

#endif
