/* request: one HTTP request head, as slices of the bytes the client sent, and the judgement whether it may be
 * forwarded.
 *
 * front.c fills the first part from its HTTP library; request_check() decides, in one pass over the fields, whether
 * the head is unambiguous (RFC 9112 §2.2, §3, §6; RFC 9110 §5, §7.2), and fills in the second part. Nothing ambiguous
 * is forwarded: what is refused is listed in request.c. Pure: no I/O, no allocation; any thread.
 *
 * Slices borrow: those of the first part from the library's buffers, those of the second also from `scratch`; all
 * stay valid as long as the request does. Fields that lie in a trailer are no part of it: they are checked and dropped.
 */
#ifndef WEIR_REQUEST_H
#define WEIR_REQUEST_H

#include "check.h"
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

    /* From request_check(), whole only when it found no problem. */
    enum request_body body;   /* Content-Length: 0 is REQUEST_LENGTH */
    uint64_t content_length;  /* REQUEST_LENGTH; at most 2^63 - 1; else 0 */
    struct slice authority;   /* host[:port] as sent: an absolute-form target's, else the Host field's */
    struct slice host;        /* lower case, no port, no trailing dot, IPv6 in brackets as RFC 5952 has it */
    struct slice origin_form; /* what goes to the upstream: path?query as sent, or "*" */
    struct slice path;        /* target_normalise()d, for matching and keys; "*" for OPTIONS * */
    struct slice query;       /* after the first '?', as sent; empty when none */
    bool http_1_0;            /* then authority and host may be empty */
    bool expect_continue;     /* Expect: 100-continue (HTTP/1.1 with a body) */
    bool upgrade;             /* Connection: upgrade and an Upgrade field, in HTTP/1.1 and without a body; never h2c,
                               * HTTP/x or TLS/x: uncounted requests would travel inside */
    bool wants_close;         /* Connection: close, or HTTP/1.0 without keep-alive */
};

/* status 0: fine. Else the answer (400, 405, 413, 417, 431, 501, 505) and why; the connection is closed after it. */
struct request_problem {
    unsigned status;
    const char *detail; /* static sentence */
};

/* `scratch` holds what is not a slice of the input: target.length + length of the Host field + 2 bytes are always
 * enough; when there is less than this request needs, the answer is 431. */
MUST_CHECK struct request_problem request_check(struct request *request, char *scratch, size_t scratch_size);

/* May a chunked body end with this field (RFC 9110 §6.5)? NULL, or a static sentence: then the request was none. */
const char *request_check_trailer(const struct field *field);

/* The first field of that name (compared without case), or NULL. */
const struct field *request_field(const struct request *request, struct slice name);

/* True when the field is hop-by-hop in this message (request or response): one of RFC 9110 §7.6.1, or named by
 * Connection (which may never name Host, Content-Length, Authorization, X-Forwarded-* and the like: such names are
 * ignored). Its cost grows with what Connection names, which request_check() bounds. */
bool request_hop_by_hop(const struct field *fields, size_t field_count, struct slice name);

/* Comparison without case of ASCII. */
bool slice_equals(struct slice a, struct slice b);
bool slice_equals_nocase(struct slice a, struct slice b);

/* Without blanks and tabs around it. */
struct slice slice_trim(struct slice text);

/* Takes the first element off a list (RFC 9110 §5.6.1), trimmed; it may be empty. False when none is left. */
bool slice_take(struct slice *list, char separator, struct slice *element);

#endif
