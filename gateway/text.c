/* text: numbers, JSON strings and times, spelled into a buffer of fixed size. See text.h. */
#include "text.h"

#define NUMBER_DIGITS 20 /* of UINT64_MAX */

void text_padded(struct text *text, uint64_t number, unsigned digits)
{
    char spelled[NUMBER_DIGITS];
    char *at = spelled + sizeof spelled;
    const char *stop = spelled + sizeof spelled - digits;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0 || at > stop);
    text_bytes(text, at, (size_t)(spelled + sizeof spelled - at));
}

void text_number(struct text *text, uint64_t number)
{
    text_padded(text, number, 1);
}

static const char hex_digits[16] = { '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f' };

void text_hex(struct text *text, uint64_t number)
{
    char spelled[16];
    for (unsigned i = 0; i < sizeof spelled; i++) {
        spelled[i] = hex_digits[number >> (60 - 4 * i) & 0xf];
    }
    text_bytes(text, spelled, sizeof spelled);
}

static bool continues(unsigned char byte, unsigned char low, unsigned char high)
{
    return byte >= low && byte <= high;
}

/* Bytes of the well-formed UTF-8 character that begins here (RFC 3629 §4, the table of UTF8-octets), 0 when there is
 * none. */
static size_t utf8_length(const unsigned char *at, size_t left)
{
    unsigned char first = at[0];
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2 || first > 0xf4) {
        return 0; /* a continuation byte, an overlong form, or beyond U+10FFFF */
    }
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (length > left) {
        return 0;
    }
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;  /* not overlong */
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf; /* no surrogate; not beyond U+10FFFF */
    if (!continues(at[1], low, high)) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (!continues(at[i], 0x80, 0xbf)) {
            return 0;
        }
    }
    return length;
}

/* How one character of JSON text is spelled: where, how long, how many bytes of the value it stands for. */
struct spelling {
    char escape[6];
    size_t escape_length; /* 0: as it is */
    size_t taken;
};

static struct spelling json_spelling(const unsigned char *at, size_t left)
{
    size_t length = utf8_length(at, left);
    unsigned char byte = at[0];
    bool c1 = length == 2 && byte == 0xc2 && at[1] < 0xa0;
    if (length > 1 && !c1) {
        return (struct spelling){ .taken = length };
    }
    if (byte == '"' || byte == '\\') {
        return (struct spelling){ .escape = { '\\', (char)byte }, .escape_length = 2, .taken = 1 };
    }
    if (byte >= 0x20 && byte < 0x7f) {
        return (struct spelling){ .taken = 1 };
    }
    unsigned char code = c1 ? at[1] : byte; /* U+0080 … U+009F have their number as second byte */
    return (struct spelling){ .escape = { '\\', 'u', '0', '0', hex_digits[code >> 4], hex_digits[code & 0xf] },
                              .escape_length = 6,
                              .taken = c1 ? 2 : 1 };
}

/* How many bytes at the front stand for themselves. */
static size_t plain_length(struct slice value)
{
    size_t length = 0;
    while (length < value.length) {
        unsigned char byte = (unsigned char)value.at[length];
        if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\') {
            break;
        }
        length++;
    }
    return length;
}

#define ELLIPSIS "\xe2\x80\xa6" /* U+2026 */

void text_json(struct text *text, struct slice value, size_t max)
{
    if (value.length <= max && plain_length(value) == value.length) { /* nearly every value there is */
        text_slice(text, value);
        return;
    }
    char *keep = text->at; /* the last end of a character after which the ellipsis still fits */
    size_t written = 0;
    for (size_t done = 0; done < value.length;) {
        const char *at = value.at + done;
        struct spelling spelling = json_spelling((const unsigned char *)at, value.length - done);
        bool as_is = spelling.escape_length == 0;
        size_t length = as_is ? spelling.taken : spelling.escape_length;
        if (written + length > max) {
            text->at = keep;
            text_literal(text, ELLIPSIS);
            return;
        }
        text_bytes(text, as_is ? at : spelling.escape, length);
        written += length;
        done += spelling.taken;
        if (written + sizeof ELLIPSIS - 1 <= max) {
            keep = text->at;
        }
    }
}

/* Year, month and day of the count of days since 1970-01-01. Not gmtime_r(): that takes the C library's time zone
 * lock, and this runs for every request. The calendar repeats every 400 years; years that begin in March have the odd
 * day at their end. (H. Hinnant, "chrono-compatible low-level date algorithms") */
static void date_of(uint64_t days, uint64_t date[static 3])
{
    const uint64_t era_days = 146097;
    days += 719468; /* from 0000-03-01 to 1970-01-01 */
    uint64_t era = days / era_days;
    uint64_t day = days % era_days;
    uint64_t year = (day - day / 1460 + day / 36524 - day / (era_days - 1)) / 365;
    uint64_t day_of_year = day - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * day_of_year + 2) / 153; /* 0 is March: five months of 31 30 31 30 31 days are 153 */
    date[0] = era * 400 + year + (month >= 10);
    date[1] = month < 10 ? month + 3 : month - 9;
    date[2] = day_of_year - (153 * month + 2) / 5 + 1;
}

void text_time(struct text *text, uint64_t realtime_ns)
{
    uint64_t seconds = realtime_ns / UINT64_C(1000000000);
    uint64_t date[3];
    date_of(seconds / 86400, date);
    text_padded(text, date[0], 4);
    text_literal(text, "-");
    text_padded(text, date[1], 2);
    text_literal(text, "-");
    text_padded(text, date[2], 2);
    text_literal(text, "T");
    text_padded(text, seconds / 3600 % 24, 2);
    text_literal(text, ":");
    text_padded(text, seconds / 60 % 60, 2);
    text_literal(text, ":");
    text_padded(text, seconds % 60, 2);
    text_literal(text, ".");
    text_padded(text, realtime_ns / 1000000 % 1000, 3);
    text_literal(text, "Z");
}
