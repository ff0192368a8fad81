/* http: bytes from an upstream → response heads and bodies. The only file that knows llhttp.
 *
 * One parser per upstream connection. Strict where a wrong guess would desynchronise the connection (RFC 9112 §6.3):
 * Transfer-Encoding together with Content-Length, two lengths, even equal ones, a coding other than exactly chunked,
 * bad chunk framing, surplus bytes, a head over the limit are errors, and the connection must not be used again.
 *
 * Thread contract: a parser belongs to one thread. Event functions are called from within http_feed()/http_eof();
 * they must not destroy the parser.
 */
#ifndef WEIR_HTTP_H
#define WEIR_HTTP_H

#include "check.h"
#include "request.h"

#define HTTP_HEAD_MAX    (64 * 1024) /* bytes of status line and fields of one response */
#define HTTP_INTERIM_MAX 8           /* 1xx responses before the final one */

enum http_body { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKED, HTTP_UNTIL_CLOSE };

struct http_head {
    unsigned status;
    struct slice reason;
    const struct field *fields; /* valid until the next response on this parser begins */
    size_t field_count;
    enum http_body body;
    uint64_t content_length; /* HTTP_LENGTH; also for HEAD and 304, where it describes a body that does not follow */
    bool has_length;         /* a Content-Length field was there */
    bool reusable;           /* the connection may carry another request after this response */
};

struct http_events {
    /* Final responses (and 101) only: interim ones (1xx) are counted and dropped. */
    void (*on_head)(void *user, const struct http_head *head);
    void (*on_body)(void *user, const char *data, size_t length);
    void (*on_end)(void *user); /* message complete */
};

struct http_parser;

struct http_parser *http_create(const struct http_events *events, void *user);
void http_destroy(struct http_parser **parser);

/* A new request has been sent on the connection: `head_request` = its method was HEAD, `upgrade_request` = it asked
 * for an upgrade (without, 101 is an error). Forgets the previous response. Not from within an event, nor after an
 * error. */
void http_expect(struct http_parser *parser, bool head_request, bool upgrade_request);

/* Feeds bytes. NULL when fine, else a static sentence: the response is broken and so is the connection. Bytes after a
 * complete message, or while none is expected, are an error. After a 101 head nothing more is parsed: http_upgraded()
 * is true and `*used` says how many bytes belonged to the head (the rest is the tunnel's). */
MUST_CHECK const char *http_feed(struct http_parser *parser, const char *data, size_t length, size_t *used);

/* The connection has ended. NULL when that completes the message (on_end has been called) or none was expected. */
MUST_CHECK const char *http_eof(struct http_parser *parser);

bool http_upgraded(const struct http_parser *parser);
/* Nothing is outstanding: the connection may be reused if the head said so. */
bool http_complete(const struct http_parser *parser);

const char *http_library(void); /* "llhttp 9.2.1" */

#endif
