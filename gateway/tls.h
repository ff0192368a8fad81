/* tls: what TLS to clients needs besides moving bytes (which libmicrohttpd does): certificates, session tickets, protocol versions. The only file
 * that knows gnutls.
 *
 * A `struct tls` is the certificates of one listener under one config. A reload makes another; connections keep the one they began with, so it is
 * counted by its holders, on any thread. Which certificate a client gets is decided by the name it asks for (SNI); the first is for all others.
 */
#ifndef WEIR_TLS_H
#define WEIR_TLS_H

#include "check.h"
#include "config.h"

struct tls;
struct iovec;

/* TLS 1.2 and 1.3, forward secrecy and authenticated encryption only (RFC 9325); the server's order counts, AES first where it is in hardware. */
#define TLS_PRIORITIES                                                                                                 \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:"                  \
    "+CHACHA20-POLY1305:-MAC-ALL:+AEAD:%SERVER_PRECEDENCE"

/* Reads the files. NULL and one sentence in *why (static: the main thread creates these) when that fails. Main thread only. */
MUST_CHECK struct tls *tls_create(const struct config_listen *listen, const char **why);
/* NULL, or what tls_create() says of the first listener whose files are bad. */
const char *tls_check(const struct config *config);
struct tls *tls_hold(struct tls *tls); /* NULL: NULL */
void tls_drop(struct tls **tls);       /* the last one frees it */

/* `session`: a gnutls_session_t of the library's, before its handshake. `tls` must be held until the session is gone. */
void tls_begin(struct tls *tls, void *session);
/* What sendmsg() is on a plain connection; followed by the end of what we say. Bytes sent, or -1. */
long tls_send_last(void *session, const struct iovec *parts, size_t count);
/* What libmicrohttpd is told to ask for certificates (gnutls_certificate_retrieve_function2): there are none but by tls_begin(). */
void *tls_no_certificate(void);

const char *tls_library(void); /* "gnutls 3.7.9" */

#endif
