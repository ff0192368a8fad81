/* tls: see tls.h. */
#include "tls.h"

#include "wire.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

struct pair {
    gnutls_certificate_credentials_t credentials; /* certificate, what leads to its root, key */
    gnutls_x509_crt_t certificate;                /* for the names in it */
};

struct tls { /* only read once created, by handshakes on any thread */
    _Atomic unsigned holders;
    size_t count;
    struct pair pairs[];
};

/* One for the process, drawn before the first worker starts, so that any worker resumes what another began, across reloads. gnutls derives from
 * it the keys that tickets are sealed with, others every few hours. */
static gnutls_datum_t ticket_key;

/* ---- certificates ---- */

/* A code of gnutls. What has been made of the pair is freed with it, in either case. */
static int read_pair(struct pair *pair, const struct config_certificate *files)
{
    gnutls_x509_crt_t *chain;
    unsigned length;
    int code = gnutls_certificate_allocate_credentials(&pair->credentials);
    if (code >= 0) {
        code = gnutls_certificate_set_x509_key_file2(pair->credentials, files->certificate, files->key,
                                                     GNUTLS_X509_FMT_PEM, NULL, 0);
    }
    if (code >= 0) {
        code = gnutls_certificate_get_x509_crt(pair->credentials, 0, &chain, &length);
    }
    if (code >= 0) {
        pair->certificate = chain[0];
        for (unsigned i = 1; i < length; i++) {
            gnutls_x509_crt_deinit(chain[i]);
        }
        gnutls_free(chain);
    }
    return code;
}

static void free_tls(struct tls *tls)
{
    for (size_t i = 0; i < tls->count; i++) {
        if (tls->pairs[i].certificate != NULL) {
            gnutls_x509_crt_deinit(tls->pairs[i].certificate);
        }
        if (tls->pairs[i].credentials != NULL) {
            gnutls_certificate_free_credentials(tls->pairs[i].credentials);
        }
    }
    free(tls);
}

struct tls *tls_create(const struct config_listen *listen, const char **why)
{
    static char sentence[1024];
    *why = "out of memory";
    if (ticket_key.data == NULL && gnutls_session_ticket_key_generate(&ticket_key) != GNUTLS_E_SUCCESS) {
        return NULL;
    }
    struct tls *tls = calloc(1, sizeof *tls + listen->certificate_count * sizeof tls->pairs[0]);
    if (tls == NULL) {
        return NULL;
    }
    atomic_init(&tls->holders, 1);
    tls->count = listen->certificate_count;
    for (size_t i = 0; i < tls->count; i++) {
        const struct config_certificate *files = &listen->certificates[i];
        int code = read_pair(&tls->pairs[i], files);
        if (code < 0) {
            snprintf(sentence, sizeof sentence, "listen %s: certificate %s with key %s: %s", listen->text,
                     files->certificate, files->key, gnutls_strerror(code));
            *why = sentence;
            free_tls(tls);
            return NULL;
        }
    }
    return tls;
}

const char *tls_check(const struct config *config)
{
    const char *why = NULL;
    for (size_t i = 0; i < config->listen_count; i++) {
        if (config->listens[i].certificate_count == 0) {
            continue;
        }
        struct tls *tls = tls_create(&config->listens[i], &why);
        if (tls == NULL) {
            return why;
        }
        tls_drop(&tls);
    }
    return NULL;
}

struct tls *tls_hold(struct tls *tls)
{
    if (tls != NULL) {
        /* relaxed: whoever holds one may have another; nothing is published */
        atomic_fetch_add_explicit(&tls->holders, 1, memory_order_relaxed);
    }
    return tls;
}

void tls_drop(struct tls **dropped)
{
    struct tls *tls = *dropped;
    *dropped = NULL;
    /* acq_rel: what each holder did with it comes before the last one frees it */
    if (tls != NULL && atomic_fetch_sub_explicit(&tls->holders, 1, memory_order_acq_rel) == 1) {
        free_tls(tls);
    }
}

static int on_certificate_wanted(gnutls_session_t session, const gnutls_datum_t *issuers, int issuer_count,
                                 const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **chain,
                                 unsigned *chain_length, gnutls_privkey_t *key)
{
    (void)session, (void)issuers, (void)issuer_count, (void)algorithms, (void)algorithm_count;
    (void)chain, (void)chain_length, (void)key;
    return -1; /* a connection that is refused: its handshake fails */
}

void *tls_no_certificate(void)
{
    return (void *)(uintptr_t)on_certificate_wanted;
}

/* ---- sessions ---- */

/* gnutls would choose by itself, but knows neither wildcards nor that names have no case. */
static int on_hello(gnutls_session_t session)
{
    const struct tls *tls = gnutls_session_get_ptr(session);
    char name[256];
    size_t length = sizeof name;
    unsigned type;
    if (tls->count == 1 || gnutls_server_name_get(session, name, &length, &type, 0) != GNUTLS_E_SUCCESS) {
        return 0;
    }
    for (size_t i = 0; i < tls->count; i++) {
        if (gnutls_x509_crt_check_hostname(tls->pairs[i].certificate, name)) {
            return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->pairs[i].credentials);
        }
    }
    return 0;
}

void tls_begin(struct tls *tls, void *session)
{
    static const char name[] = "http/1.1";
    const gnutls_datum_t protocol = { (unsigned char *)(uintptr_t)name, sizeof name - 1 };
    gnutls_session_set_ptr(session, tls); /* the library's own is for pre-shared keys only */
    (void)COUNT_IF(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->pairs[0].credentials) !=
                   GNUTLS_E_SUCCESS);
    gnutls_handshake_set_post_client_hello_function(session, on_hello);
    (void)COUNT_IF(gnutls_session_ticket_enable_server(session, &ticket_key) != GNUTLS_E_SUCCESS);
    /* Mandatory: who offers only other protocols is refused (RFC 7301 §3.2); who offers none speaks this one. */
    (void)COUNT_IF(gnutls_alpn_set_protocols(session, &protocol, 1, GNUTLS_ALPN_MANDATORY) != GNUTLS_E_SUCCESS);
}

long tls_send_last(void *session, const struct iovec *parts, size_t count)
{
    long sent = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t at = 0; at < parts[i].iov_len;) {
            ssize_t more = gnutls_record_send(session, (const char *)parts[i].iov_base + at, parts[i].iov_len - at);
            if (more <= 0) {
                return sent > 0 ? sent : -1;
            }
            at += (size_t)more;
            sent += more;
        }
    }
    (void)gnutls_bye(session, GNUTLS_SHUT_WR);
    return sent;
}

/* In gnutls' place, for what wire.h says; gnutls_record_recv_seq() does the same and tells a number more. */
ssize_t gnutls_record_recv(gnutls_session_t session, void *data, size_t size)
{
    struct wire *wire = wire_reading(gnutls_transport_get_int(session));
    for (;;) {
        unsigned char sequence[8];
        ssize_t got = gnutls_record_recv_seq(session, data, size, sequence);
        if (got <= 0 || wire == NULL || !wire->encrypted) {
            return got;
        }
        size_t left = wire_pass(wire, data, (size_t)got, size);
        if (left > 0) {
            return (ssize_t)left;
        }
    }
}

const char *tls_library(void)
{
    static char text[32];
    snprintf(text, sizeof text, "gnutls %s", gnutls_check_version(NULL));
    return text;
}
