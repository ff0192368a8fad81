/* lines: see lines.h. */
#include "lines.h"

#include <string.h>

/* Between these, byte for byte. The reason may be missing together with its space: harmless, and common. */
static const char status_low[] = "HTTP/1.0 000 ", status_high[] = "HTTP/1.1 999 ";
#define STATUS_LENGTH (sizeof status_low - 1)

void lines_begin(struct lines *lines, enum lines_kind kind, size_t room)
{
    *lines = (struct lines){ .kind = kind, .room = room };
}

static bool in_status_line(const struct lines *lines)
{
    return lines->kind == LINES_HEAD && lines->number == 0;
}

static bool fits_status_line(const struct lines *lines, const char *text, size_t length)
{
    for (size_t i = 0, at = lines->length; i < length && at < STATUS_LENGTH; i++, at++) {
        if (text[i] < status_low[at] || text[i] > status_high[at]) {
            return false;
        }
    }
    return true;
}

static const char *end_of_line(struct lines *lines)
{
    bool empty = lines->length == 0;
    if (!lines->cr) {
        return "a line ends in LF without CR";
    }
    if (in_status_line(lines) && lines->length < STATUS_LENGTH - 1) {
        return "the status line is too short";
    }
    if (lines->kind == LINES_CHUNK_END && !empty) {
        return "a chunk is longer than its size";
    }
    lines->over = empty || lines->kind == LINES_CHUNK_SIZE;
    lines->number++;
    lines->length = 0;
    lines->cr = false;
    return NULL;
}

/* Some bytes of one line; LF only as the last of them. */
static const char *take_part(struct lines *lines, const char *part, size_t length)
{
    bool ends = part[length - 1] == '\n';
    size_t text = length - ends;
    if (text > 0) {
        if (lines->cr || memchr(part, '\r', text - 1)) {
            return "a CR stands alone";
        }
        if (lines->length == 0 && (part[0] == ' ' || part[0] == '\t')) {
            return "a line begins with white space";
        }
        lines->cr = part[text - 1] == '\r';
        text -= lines->cr;
        if (in_status_line(lines) && !fits_status_line(lines, part, text)) {
            return "the status line is not that of HTTP/1.0 or HTTP/1.1";
        }
        lines->length += text;
    }
    return ends ? end_of_line(lines) : NULL;
}

const char *lines_take(struct lines *lines, const char *data, size_t length, size_t *taken)
{
    *taken = 0;
    while (*taken < length && !lines->over) {
        const char *line = data + *taken;
        const char *lf = memchr(line, '\n', length - *taken);
        size_t part = lf != NULL ? (size_t)(lf - line) + 1 : length - *taken;
        if (part > lines->room) {
            return lines->kind == LINES_HEAD ? "the head is too large" : "a chunk's line or the trailers are too large";
        }
        const char *problem = take_part(lines, line, part);
        if (problem != NULL) {
            return problem;
        }
        lines->room -= part;
        *taken += part;
    }
    return NULL;
}
