/* identity: who is asking.
 *
 * Two questions, both pure. Which address is the client: the socket's peer, or, when the peer is a trusted proxy, the right-most address
 * of the forwarding header that is not one (RFC 7239 §7.4; docs/THREATS.md). And: which bytes are the key of a limit for this request.
 */
#ifndef WEIR_IDENTITY_H
#define WEIR_IDENTITY_H

#include "config.h"
#include "request.h"

struct identity {
    struct rule_ip client;  /* full address, not masked */
    bool peer_trusted;      /* the peer is in trusted_proxies: its X-Forwarded-* and X-Request-Id are kept */
};

/* Walks all lines of client_ip.header from the right, skipping trusted addresses; the first untrusted one is the client; an element that is not an
 * address stops the walk at the last good hop; at most 64 hops. Accepts "1.2.3.4", "1.2.3.4:5678", "[::1]:5", and for the header
 * "forwarded" RFC 7239 elements (for=). */
struct identity identity_of(const struct request *request, const struct config *config);

enum identity_result { IDENTITY_KEY, IDENTITY_MISSING, IDENTITY_TOO_LONG };

#define IDENTITY_KEY_MAX 4096 /* longer: IDENTITY_TOO_LONG, and the caller digests a digest (see admit.c) */

/* The key of a limit: every source as (4-byte length, bytes), so that ("a:b","c") and ("a","b:c") differ. A source that is absent (no
 * such header, cookie, parameter; an empty value counts as absent) makes the result IDENTITY_MISSING. Several header lines of one name are
 * joined with ", " (RFC 9110 §5.3). Query parameters are compared percent-decoded; the first of a name counts. */
enum identity_result identity_key(const struct request *request, const struct identity *identity, const struct config_route *route,
                                  const struct config_limit *limit, char *key, size_t key_size, size_t *key_length);

/* The same key for people: parts joined with "," and control bytes escaped. Returns the length; always ends in NUL. */
size_t identity_key_text(const char *key, size_t key_length, const struct config_limit *limit, char *text, size_t text_size);

/* True when the client's address lies in one of the route's exempt networks. */
bool identity_exempt(const struct identity *identity, const struct config_route *route);

#endif
