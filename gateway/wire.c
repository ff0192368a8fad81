/* wire: follows the framing of what clients send, and takes chunk extensions out of it. See wire.h.
 *
 * It need not judge: where it and the library could come to differ, the library or request.c refuses the message and the
 * connection ends. So of a head only two names matter, the last Content-Length counts, and any Transfer-Encoding is
 * chunked. Whoever makes a tunnel of a connection takes its wire away.
 */
#include "wire.h"

#include "rule.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* What size lines of one body may hold in extensions and leading zeros, beyond as much as it has data, and how many empty lines may come
 * before a request: without a bound they are ways to keep a gateway busy with nothing. */
#define OVERHEAD_MAX (16 * 1024)

enum state {
    LINE, /* of a head or a trailer section: in its name */
    LINE_REST,
    LINE_LENGTH, /* in the value of Content-Length */
    HEAD_END,    /* behind the CR of an empty line */
    BODY,
    SIZE,
    SIZE_END, /* behind the CR of a size line */
    DATA,
    DATA_CR,
    DATA_LF,
    /* In an extension: */
    BEFORE, /* behind a blank where only ";" may come */
    NAME_FIRST,
    NAME,
    NAME_BLANK,
    VALUE_FIRST,
    VALUE,
    QUOTED,
    QUOTED_PAIR,
    QUOTED_END,
    STATES_OF_EXTENSIONS,
    REFUSED, /* the library is to answer 400 */
};

/* What a state does with the bytes at hand: how many it takes, at least one unless it only changes the state. */
struct taken {
    size_t count;
    bool dropped;
};

static struct taken keep(size_t count)
{
    return (struct taken){ count, false };
}

static struct taken drop(size_t count)
{
    return (struct taken){ count, true };
}

static struct taken become(struct wire *wire, enum state state, struct taken taken)
{
    wire->state = (uint8_t)state;
    return taken;
}

/* The library refuses it too, but some of this only when it has seen one byte more. */
static struct taken refuse(struct wire *wire)
{
    return become(wire, REFUSED, keep(0));
}

static bool is_wasted(struct wire *wire)
{
    return ++wire->overhead > OVERHEAD_MAX;
}

/* ---- heads and trailers ---- */

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static bool name_is(const struct wire *wire, const char *name)
{
    return wire->name_length == strlen(name) && memcmp(wire->name, name, wire->name_length) == 0;
}

static void begin_message(struct wire *wire)
{
    *wire = (struct wire){ .state = LINE, .any = wire->any, .encrypted = wire->encrypted };
}

static struct taken end_name(struct wire *wire)
{
    bool ours = wire->started && !wire->trailers;
    enum state next = LINE_REST;
    if (ours && name_is(wire, "content-length")) {
        wire->left = 0;
        next = LINE_LENGTH;
    } else if (ours && name_is(wire, "transfer-encoding")) {
        wire->coded = true;
    }
    return become(wire, next, keep(1));
}

static struct taken take_line(struct wire *wire, const char *bytes, size_t length)
{
    wire->begun = true;
    for (size_t i = 0; i < length; i++) {
        char c = lower(bytes[i]);
        if (c == ':') {
            struct taken taken = end_name(wire);
            taken.count = i + 1;
            return taken;
        }
        if (c == '\r' && wire->name_length == 0) {
            return become(wire, HEAD_END, wire->started ? keep(i + 1) : drop(1));
        }
        bool possible = wire->name_length > 0 ? wire->name_length < WIRE_NAME_MAX : c == 'c' || c == 't';
        if (!possible || c == '\n') {
            return become(wire, LINE_REST, keep(i));
        }
        wire->name[wire->name_length++] = c;
    }
    return keep(length);
}

static struct taken take_rest(struct wire *wire, const char *bytes, size_t length)
{
    const char *end = memchr(bytes, '\n', length);
    if (end == NULL) {
        return keep(length);
    }
    wire->started = true;
    wire->name_length = 0;
    return become(wire, LINE, keep((size_t)(end - bytes) + 1));
}

static struct taken take_length(struct wire *wire, char c)
{
    if (c >= '0' && c <= '9') {
        uint64_t digit = (uint64_t)(c - '0');
        wire->left = wire->left > (INT64_MAX - digit) / 10 ? INT64_MAX : wire->left * 10 + digit;
        return keep(1);
    }
    return c == ' ' || c == '\t' ? keep(1) : become(wire, LINE_REST, keep(0));
}

static struct taken end_head(struct wire *wire, char c)
{
    if (c != '\n') {
        return refuse(wire);
    }
    if (!wire->started) { /* an empty line before the request line: RFC 9112 §2.2; the library reads over one only */
        return is_wasted(wire) ? refuse(wire) : become(wire, LINE, drop(1));
    }
    if (wire->trailers || (!wire->coded && wire->left == 0)) {
        begin_message(wire);
        return keep(1);
    }
    wire->left = wire->coded ? 0 : wire->left;
    return become(wire, wire->coded ? SIZE : BODY, keep(1));
}

/* ---- bodies ---- */

/* Of the data of a body or a chunk. */
static struct taken take_data(struct wire *wire, size_t length)
{
    size_t count = wire->left < length ? (size_t)wire->left : length;
    wire->left -= count;
    if (wire->left == 0) {
        if (wire->state == DATA) {
            wire->state = DATA_CR;
        } else {
            begin_message(wire);
        }
    }
    return keep(count);
}

static struct taken end_size(struct wire *wire, char c)
{
    wire->digits = false;
    if (c != '\n') {
        return refuse(wire);
    }
    if (wire->left > 0) {
        wire->overhead -= wire->left < wire->overhead ? (uint32_t)wire->left : wire->overhead;
        return become(wire, DATA, keep(1));
    }
    begin_message(wire);
    wire->begun = wire->started = wire->trailers = true;
    return keep(1);
}

static struct taken end_data(struct wire *wire, char c)
{
    if (c != (wire->state == DATA_CR ? '\r' : '\n')) {
        return refuse(wire);
    }
    return become(wire, wire->state == DATA_CR ? DATA_LF : SIZE, keep(1));
}

/* ---- extensions: *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ), RFC 9112 §7.1.1 ---- */

enum kind { BLANK, TOKEN, EQUALS, SEMICOLON, QUOTE, BACKSLASH, CR, OTHER, CONTROL, KINDS };

static const uint8_t after[STATES_OF_EXTENSIONS][KINDS] = {
    /* 0: refused */
    [SIZE] = { [BLANK] = BEFORE, [SEMICOLON] = NAME_FIRST, [CR] = SIZE_END },
    [BEFORE] = { [BLANK] = BEFORE, [SEMICOLON] = NAME_FIRST },
    [NAME_FIRST] = { [BLANK] = NAME_FIRST, [TOKEN] = NAME },
    [NAME] = { [BLANK] = NAME_BLANK,
               [TOKEN] = NAME,
               [EQUALS] = VALUE_FIRST,
               [SEMICOLON] = NAME_FIRST,
               [CR] = SIZE_END },
    [NAME_BLANK] = { [BLANK] = NAME_BLANK, [EQUALS] = VALUE_FIRST, [SEMICOLON] = NAME_FIRST },
    [VALUE_FIRST] = { [BLANK] = VALUE_FIRST, [TOKEN] = VALUE, [QUOTE] = QUOTED },
    [VALUE] = { [BLANK] = BEFORE, [TOKEN] = VALUE, [SEMICOLON] = NAME_FIRST, [CR] = SIZE_END },
    [QUOTED] = { QUOTED, QUOTED, QUOTED, QUOTED, QUOTED_END, QUOTED_PAIR, [OTHER] = QUOTED },
    [QUOTED_PAIR] = { QUOTED, QUOTED, QUOTED, QUOTED, QUOTED, QUOTED, [OTHER] = QUOTED },
    [QUOTED_END] = { [BLANK] = BEFORE, [SEMICOLON] = NAME_FIRST, [CR] = SIZE_END },
};

static enum kind kind_of(char c)
{
    switch (c) {
    case ' ':
    case '\t':
        return BLANK;
    case '=':
        return EQUALS;
    case ';':
        return SEMICOLON;
    case '"':
        return QUOTE;
    case '\\':
        return BACKSLASH;
    case '\r':
        return CR;
    default:
        return rule_is_token(&c, 1) ? TOKEN : (unsigned char)c < ' ' || c == 0x7f ? CONTROL : OTHER;
    }
}

/* One byte of a size line that is no digit. Only the CR behind it all is kept. */
static struct taken take_extension(struct wire *wire, char c)
{
    enum state next = (enum state)after[wire->state][kind_of(c)];
    if (next == SIZE_END) {
        return become(wire, next, keep(1));
    }
    if (next == 0 || is_wasted(wire)) {
        return refuse(wire);
    }
    return become(wire, next, drop(1));
}

/* ---- sizes ---- */

static int hex_digit(char c)
{
    char small = (char)(c | 0x20);
    return c >= '0' && c <= '9' ? c - '0' : small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

static struct taken take_size(struct wire *wire, char c)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        bool zero_before = wire->left == 0 && wire->digits;
        if (wire->left > INT64_MAX >> 4 || (zero_before && is_wasted(wire))) {
            return refuse(wire);
        }
        wire->digits = true;
        wire->left = wire->left << 4 | (uint64_t)digit;
        return keep(1);
    }
    return wire->digits ? take_extension(wire, c) : refuse(wire);
}

/* ---- what passes ---- */

static struct taken take(struct wire *wire, const char *bytes, size_t length)
{
    switch ((enum state)wire->state) {
    case LINE:
        return take_line(wire, bytes, length);
    case LINE_REST:
        return take_rest(wire, bytes, length);
    case LINE_LENGTH:
        return take_length(wire, *bytes);
    case HEAD_END:
        return end_head(wire, *bytes);
    case BODY:
    case DATA:
        return take_data(wire, length);
    case DATA_CR:
    case DATA_LF:
        return end_data(wire, *bytes);
    case SIZE:
        return take_size(wire, *bytes);
    case SIZE_END:
        return end_size(wire, *bytes);
    case BEFORE:
    case NAME_FIRST:
    case NAME:
    case NAME_BLANK:
    case VALUE_FIRST:
    case VALUE:
    case QUOTED:
    case QUOTED_PAIR:
    case QUOTED_END:
        return take_extension(wire, *bytes);
    case REFUSED:
    case STATES_OF_EXTENSIONS:
        break;
    }
    return keep(length);
}

size_t wire_pass(struct wire *wire, char *bytes, size_t length, size_t room)
{
    size_t in = 0, out = 0;
    wire->any = true;
    while (in < length && wire->state != REFUSED) {
        struct taken taken = take(wire, bytes + in, length - in);
        if (!taken.dropped) {
            if (out < in) {
                memmove(bytes + out, bytes + in, taken.count);
            }
            out += taken.count;
        }
        in += taken.count;
    }
    static const char refused[] = { '\r',
                                    '!' }; /* which the library takes nowhere, and behind which it waits for no more */
    for (size_t i = 0; in < length && i < sizeof refused && out < room; i++) {
        bytes[out++] = refused[i];
    }
    return out;
}

/* ---- where it is put in ---- */

static _Thread_local const struct wires *reading;

bool wires_add(struct wires *wires, int fd, struct wire *wire)
{
    size_t at = (size_t)fd;
    if (at >= wires->size) {
        size_t size = at * 2 > 64 ? at * 2 : 64;
        struct wire **of = realloc(wires->of, size * sizeof *of);
        if (of == NULL) {
            return false;
        }
        memset(of + wires->size, 0, (size - wires->size) * sizeof *of);
        wires->of = of;
        wires->size = size;
    }
    *wire = (struct wire){ 0 };
    wires->of[at] = wire;
    return true;
}

void wires_remove(struct wires *wires, int fd)
{
    if ((size_t)fd < wires->size) {
        wires->of[fd] = NULL;
    }
}

void wires_fini(struct wires *wires)
{
    free(wires->of);
    *wires = (struct wires){ NULL, 0 };
}

void wires_reading(const struct wires *wires)
{
    reading = wires;
}

/* Is nothing expected of this client, as far as one can know? */
static bool is_between(const struct wire *wire)
{
    return !wire->begun;
}

/* The library takes a short read for an empty socket and waits for the next event. So what it gets is short only when the socket is empty, and in
 * the middle of a message its end, which may have come in one event with the last bytes, is looked for here. */
static ssize_t read_through(struct wire *wire, int fd, char *buffer, size_t size)
{
    size_t have = 0;
    while (have < size) {
        size_t room = size - have;
        ssize_t got = recvfrom(fd, buffer + have, room, 0, NULL, NULL);
        if (got <= 0 && have == 0) {
            return got;
        }
        if (got == 0) {
            shutdown(fd, SHUT_RD); /* an event of its own */
        }
        if (got <= 0) {
            break;
        }
        have += wire_pass(wire, buffer + have, (size_t)got, room);
        if ((size_t)got < room && have > 0 && is_between(wire)) {
            break;
        }
    }
    return (ssize_t)have;
}

struct wire *wire_reading(int fd)
{
    return reading != NULL && (size_t)fd < reading->size ? reading->of[fd] : NULL;
}

/* In libc's place: see wire.h. */
ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    struct wire *wire = wire_reading(fd);
    if (wire == NULL || wire->encrypted || flags != 0) {
        return recvfrom(fd, buffer, size, flags, NULL, NULL);
    }
    return read_through(wire, fd, buffer, size);
}
