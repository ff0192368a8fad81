/* request: one HTTP request head, as slices of the bytes the client sent, and the judgement whether it may be forwarded.
 *
 * front.c fills the first part from its HTTP library; request_check() decides, in one pass over the fields, whether the head is
 * unambiguous (RFC 9112 §2.2, §3, §6; RFC 9110 §5, §7.2), and fills in the second part. Nothing ambiguous is forwarded: what the
 * library lets through and we do not is listed in request.c. Pure: no I/O, no allocation; any thread.
 *
 * Slices borrow: those of the first part from the library's buffers, those of the second also from `scratch`; all stay valid as
 * long as the request does.
 */
#ifndef WEIR_REQUEST_H
#define WEIR_REQUEST_H

#include "rule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *at;
    size_t length;
};
#define SLICE(literal) ((struct slice){ (literal), sizeof(literal) - 1 })

struct field {
    struct slice name;  /* as sent */
    struct slice value; /* without surrounding white space */
};

enum request_body { REQUEST_NO_BODY, REQUEST_LENGTH, REQUEST_CHUNKED };

#define REQUEST_FIELDS_MAX 128 /* more: 431 */

struct request {
    /* From the front. */
    struct slice method;
    struct slice target;  /* the raw request target, before any decoding */
    struct slice version; /* "HTTP/1.1" */
    struct rule_ip peer;  /* the socket's other end */
    bool tls;             /* the client's connection is TLS */
    size_t field_count;
    struct field fields[REQUEST_FIELDS_MAX];

    /* From request_check(). */
    enum request_body body;
    uint64_t content_length;  /* REQUEST_LENGTH */
    struct slice authority;   /* host[:port] as sent: of an absolute-form target, else the Host field */
    struct slice host;        /* lower case, no port, no trailing dot, IPv6 in brackets */
    struct slice origin_form; /* what goes to the upstream: path?query as sent, or "*" */
    struct slice path;        /* normalised, for matching and keys: unreserved decoded, dot segments resolved, // merged */
    struct slice query;       /* after the first '?', as sent; empty when none */
    bool http_1_0;
    bool expect_continue;     /* Expect: 100-continue (HTTP/1.1 with a body) */
    bool upgrade;             /* Connection: upgrade and an Upgrade field */
    bool wants_close;         /* Connection: close, or HTTP/1.0 without keep-alive */
};

/* status 0: fine. Else the answer (400, 405, 413, 414, 417, 431, 501, 505) and why; the connection is closed after it. */
struct request_problem {
    unsigned status;
    const char *detail; /* static sentence */
};

/* `scratch` holds what is not a slice of the input: at least target.length + authority length + 2 bytes. */
struct request_problem request_check(struct request *request, char *scratch, size_t scratch_size);

/* The first field of that name (compared without case), or NULL. */
const struct field *request_field(const struct request *request, struct slice name);

/* True when the field is hop-by-hop in this message: one of RFC 9110 §7.6.1, or named by Connection (which may never name Host,
 * Content-Length, Authorization, X-Forwarded-* and the like: such names are ignored). */
bool request_hop_by_hop(const struct field *fields, size_t field_count, struct slice name);

/* Comparison without case of ASCII. */
bool slice_equals(struct slice a, struct slice b);
bool slice_equals_nocase(struct slice a, struct slice b);

#endif
