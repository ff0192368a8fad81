/* text: a piece of text under construction, in memory of fixed size that the caller owns.
 *
 * What reply, forward and log share: they spell fields, JSON and numbers into a buffer, and what does not fit must
 * never be written past its end. A piece that does not fit is left out whole, `cut` is set, and nothing is written
 * from then on: the caller looks once, at the end. No NUL is kept at the end. Pure; any thread, each with its own.
 */
#ifndef WEIR_TEXT_H
#define WEIR_TEXT_H

#include "request.h"

struct text {
    char *start;
    char *at;  /* the next byte goes here */
    char *end; /* one past the last byte of the buffer */
    bool cut;
};

static inline struct text text_over(char *buffer, size_t size)
{
    return (struct text){ .start = buffer, .at = buffer, .end = buffer + size };
}

static inline size_t text_length(const struct text *text)
{
    return (size_t)(text->at - text->start);
}

static inline size_t text_room(const struct text *text)
{
    return text->cut ? 0 : (size_t)(text->end - text->at);
}

static inline void text_bytes(struct text *text, const char *bytes, size_t length)
{
    if (__builtin_expect(length > text_room(text), 0)) {
        text->cut = true;
        return;
    }
    if (length > 0) { /* memcpy() may not be given NULL, not even for nothing */
        memcpy(text->at, bytes, length);
        text->at += length;
    }
}

static inline void text_slice(struct text *text, struct slice slice)
{
    text_bytes(text, slice.at, slice.length);
}

/* A string whose length the compiler knows. */
#define text_literal(text, literal) text_bytes(text, "" literal, sizeof(literal) - 1)

static inline void text_string(struct text *text, const char *string)
{
    text_bytes(text, string, strlen(string));
}

/* What was written since `from`, an earlier value of text->at. */
static inline struct slice text_since(const struct text *text, const char *from)
{
    return (struct slice){ from, (size_t)(text->at - from) };
}

/* Decimal, no sign, no leading zeros. */
void text_number(struct text *text, uint64_t number);

/* Decimal with at least (and, for a remainder, exactly) `digits` digits. */
void text_padded(struct text *text, uint64_t number, unsigned digits);

/* 16 hexadecimal digits, lower case. */
void text_hex(struct text *text, uint64_t number);

/* The inside of a JSON string (RFC 8259 §7), for bytes from anywhere: quote, backslash, every control (C0, DEL, C1:
 * terminals obey all of them) and every byte that is no part of well-formed UTF-8 (RFC 3629) are escaped, the last
 * two as \u00XX. At most `max` bytes are written (max ≥ 3); a longer value ends in "…", never inside a character or
 * an escape. */
void text_json(struct text *text, struct slice value, size_t max);

/* RFC 3339, UTC, milliseconds: "2026-01-02T03:04:05.678Z". */
#define TEXT_TIME_LENGTH 24
void text_time(struct text *text, uint64_t realtime_ns);

#endif
