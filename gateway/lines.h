/* lines: the lines of a message's framing, walked before a parser sees them (RFC 9112 §2.2, §5.2, §7.1).
 *
 * Everything in an HTTP/1.1 message but bodies is lines, and parsers differ in what else they take for one: that is
 * what desynchronises connections. A section of lines may arrive in pieces of any size; it passes only if every line
 * ends in CR LF, has no other CR or LF, does not begin with white space (a folded field), and the section keeps to
 * its size. What stands in the lines is the parser's affair, but for the status line's first bytes. Pure.
 */
#ifndef WEIR_LINES_H
#define WEIR_LINES_H

#include "check.h"

#include <stdbool.h>
#include <stddef.h>

enum lines_kind {
    LINES_HEAD,       /* a status line and fields; an empty line ends it */
    LINES_TRAILERS,   /* fields, or none; an empty line ends it */
    LINES_CHUNK_SIZE, /* one line */
    LINES_CHUNK_END,  /* one line, empty */
};

struct lines {
    enum lines_kind kind;
    size_t room;   /* bytes that may still come */
    size_t number; /* of the line, from 0 */
    size_t length; /* of the line so far, without CR LF */
    bool cr;       /* its last byte was a CR */
    bool over;     /* the section is complete */
};

void lines_begin(struct lines *lines, enum lines_kind kind, size_t room);

/* How many of the bytes belong to the section, in *taken; lines->over says whether it ended with them. NULL, or a
 * static sentence. */
MUST_CHECK const char *lines_take(struct lines *lines, const char *data, size_t length, size_t *taken);

#endif
