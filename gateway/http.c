/* http: bytes from an upstream → response heads and bodies, by llhttp.
 *
 * llhttp is lenient in places where leniency desynchronises a connection, and how lenient depends on how it was
 * compiled. So it gets never more than one section at a time: a head, a chunk's size line, a chunk's bytes, the CRLF
 * after them, the trailers; and sections of lines pass the guard in lines.c first. llhttp decides what the fields
 * mean; at the end of each section the two must agree on where in the message they are. What comes after the last
 * section is surplus and never parsed.
 *
 *   HEAD ──► BODY ──────────────────────────────────────────► IDLE        (IDLE: nothing outstanding)
 *    │  └──► CHUNK_SIZE ─► CHUNK_DATA ─► CHUNK_END ─┐          ▲
 *    │         │   ▲────────────────────────────────┘          │
 *    │         └─► TRAILERS ───────────────────────────────────┤
 *    └──► (no body) ───────────────────────────────────────────┘
 *
 * A head is copied as it comes, once: it seldom arrives in one piece that outlives its reading. llhttp parses the
 * copy, and names and values are slices of it. Trailers are checked and dropped.
 */
#include "http.h"

#include "lines.h"

#include <llhttp.h>
#include <stdlib.h>

#define FIELDS_MAX   256  /* fields of one response; the front sends fewer to a client than it takes from one */
#define FIELDS_START 32   /* what nearly every response has fewer of */
#define TEXT_START   2048 /* so do heads */
#define CHUNK_LINE   1024 /* 16 digits and an extension that nobody uses; unbounded it would be bytes no one counts */

enum phase { IDLE, HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILERS, UPGRADED };

struct http_parser {
    llhttp_t llhttp;
    const struct http_events *events;
    void *user;
    const char *problem; /* set once, stays */
    enum phase phase;
    bool head_request, upgrade_request;
    bool stale;   /* text and fields are still the previous response's, for whoever borrowed them */
    bool interim; /* the head being read is a 1xx that is dropped */
    unsigned interims;
    uint64_t body_left; /* BODY, CHUNK_DATA */

    struct lines lines; /* HEAD, CHUNK_SIZE, CHUNK_END, TRAILERS */

    char *text; /* the head's bytes */
    size_t text_length, text_size;
    struct slice reason;
    struct field *fields; /* and one that is being read */
    size_t field_count, field_size;
};

static int refuse(struct http_parser *parser, const char *problem)
{
    if (parser->problem == NULL) {
        parser->problem = problem;
    }
    return -1;
}

static void begin_lines(struct http_parser *parser, enum phase phase, enum lines_kind kind, size_t room)
{
    parser->phase = phase;
    lines_begin(&parser->lines, kind, room);
}

/* What llhttp tells. */

static struct http_parser *self(llhttp_t *llhttp)
{
    return llhttp->data;
}

/* llhttp tells of a text in pieces when it came in pieces; in the copy they lie end to end. */
static void extend(struct slice *text, const char *at, size_t length)
{
    if (text->length == 0) {
        text->at = at;
    }
    text->length += length;
}

static int on_status(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = self(llhttp);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)at[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return refuse(parser, "a control byte in the reason");
        }
    }
    extend(&parser->reason, at, length);
    return 0;
}

/* The field whose name or value is being read. */
static struct field *current_field(struct http_parser *parser)
{
    return &parser->fields[parser->field_count];
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = self(llhttp);
    if (memchr(at, ' ', length) != NULL) {
        return refuse(parser, "white space in a field name");
    }
    if (parser->phase == HEAD) {
        extend(&current_field(parser)->name, at, length);
    }
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = self(llhttp);
    if (parser->phase == HEAD) {
        extend(&current_field(parser)->value, at, length);
    }
    return 0;
}

static bool make_room_for_field(struct http_parser *parser)
{
    if (parser->field_count == parser->field_size) {
        size_t size = 2 * parser->field_size;
        struct field *fields = realloc(parser->fields, size * sizeof *fields);
        if (fields == NULL) {
            return refuse(parser, "memory is short") == 0;
        }
        parser->fields = fields;
        parser->field_size = size;
    }
    *current_field(parser) = (struct field){ 0 };
    return true;
}

static int on_header_value_complete(llhttp_t *llhttp)
{
    struct http_parser *parser = self(llhttp);
    if (parser->phase != HEAD) {
        return 0;
    }
    struct field *field = current_field(parser);
    if (field->name.length == 0) {
        return refuse(parser, "a field without a name");
    }
    field->value = slice_trim(field->value);
    if (++parser->field_count > FIELDS_MAX) {
        return refuse(parser, "too many fields");
    }
    return make_room_for_field(parser) ? 0 : -1;
}

/* RFC 9112 §6.1, §6.2: at most one of Transfer-Encoding and Content-Length, and once; the former exactly chunked, not
 * from HTTP/1.0, and only where a body may be. Counted here: llhttp does not see a coding that is empty, and a length
 * or coding that it does not see must not be one that a client sees. */
static const char *framing_problem(const struct http_parser *parser)
{
    const llhttp_t *llhttp = &parser->llhttp;
    unsigned codings = 0, lengths = 0;
    for (size_t i = 0; i < parser->field_count; i++) {
        const struct field *field = &parser->fields[i];
        if (slice_equals_nocase(field->name, SLICE("Transfer-Encoding"))) {
            codings += slice_equals_nocase(field->value, SLICE("chunked")) ? 1 : 2;
        } else if (slice_equals_nocase(field->name, SLICE("Content-Length"))) {
            lengths++;
        }
    }
    bool may_be_coded = llhttp->http_minor == 1 && llhttp->status_code >= 200 && llhttp->status_code != 204;
    if (codings > may_be_coded || (codings == 1) != ((llhttp->flags & F_CHUNKED) != 0)) {
        return "a Transfer-Encoding other than exactly chunked, or where none may be";
    }
    if (codings + lengths > 1 || (lengths == 1) != ((llhttp->flags & F_CONTENT_LENGTH) != 0)) {
        return "more than one length of the body";
    }
    return NULL;
}

/* RFC 9112 §6.3 */
static enum http_body framing(const struct http_parser *parser)
{
    unsigned status = parser->llhttp.status_code;
    unsigned flags = parser->llhttp.flags;
    if (parser->head_request || status < 200 || status == 204 || status == 304) {
        return HTTP_NO_BODY;
    }
    return flags & F_CHUNKED ? HTTP_CHUNKED : flags & F_CONTENT_LENGTH ? HTTP_LENGTH : HTTP_UNTIL_CLOSE;
}

/* RFC 9112 §9.3 */
static bool persists(const struct http_parser *parser)
{
    unsigned flags = parser->llhttp.flags;
    return !(flags & F_CONNECTION_CLOSE) && (parser->llhttp.http_minor == 1 || flags & F_CONNECTION_KEEP_ALIVE);
}

static const char *head_problem(const struct http_parser *parser)
{
    unsigned status = parser->llhttp.status_code;
    if (status < 100 || status > 599) {
        return "a status outside 100 to 599";
    }
    if (status == 101 && !(parser->upgrade_request && parser->llhttp.upgrade)) {
        return "101 without an upgrade";
    }
    if (parser->interim && parser->interims > HTTP_INTERIM_MAX) {
        return "too many interim responses";
    }
    return framing_problem(parser);
}

static void enter_body(struct http_parser *parser, const struct http_head *head)
{
    switch (head->body) {
    case HTTP_CHUNKED:
        begin_lines(parser, CHUNK_SIZE, LINES_CHUNK_SIZE, CHUNK_LINE);
        break;
    case HTTP_LENGTH:
        parser->phase = BODY;
        parser->body_left = head->content_length;
        break;
    case HTTP_UNTIL_CLOSE:
        parser->phase = BODY;
        parser->body_left = UINT64_MAX;
        break;
    case HTTP_NO_BODY: /* llhttp says at once that the message is complete */
        break;
    }
}

static int on_headers_complete(llhttp_t *llhttp)
{
    enum { BODY_FOLLOWS = 0, NO_BODY_FOLLOWS = 1 }; /* llhttp's words for it */
    struct http_parser *parser = self(llhttp);
    unsigned status = llhttp->status_code;
    parser->interim = status < 200 && status != 101;
    parser->interims += parser->interim;
    const char *problem = head_problem(parser);
    if (problem != NULL) {
        return refuse(parser, problem);
    }
    if (parser->interim) {
        return NO_BODY_FOLLOWS;
    }
    struct http_head head = {
        .status = status,
        .reason = parser->reason,
        .fields = parser->fields,
        .field_count = parser->field_count,
        .body = framing(parser),
        .content_length = llhttp->flags & F_CONTENT_LENGTH ? llhttp->content_length : 0,
        .has_length = llhttp->flags & F_CONTENT_LENGTH,
    };
    head.reusable = persists(parser) && head.body != HTTP_UNTIL_CLOSE && status != 101;
    enter_body(parser, &head);
    parser->events->on_head(parser->user, &head);
    return head.body == HTTP_NO_BODY ? NO_BODY_FOLLOWS : BODY_FOLLOWS;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = self(llhttp);
    parser->events->on_body(parser->user, at, length);
    return 0;
}

static int on_chunk_header(llhttp_t *llhttp)
{
    struct http_parser *parser = self(llhttp);
    parser->body_left = llhttp->content_length;
    if (parser->body_left > 0) {
        parser->phase = CHUNK_DATA;
    } else {
        begin_lines(parser, TRAILERS, LINES_TRAILERS, HTTP_HEAD_MAX);
    }
    return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct http_parser *parser = self(llhttp);
    if (parser->interim) {
        return 0;
    }
    parser->phase = llhttp->status_code == 101 ? UPGRADED : IDLE;
    if (parser->phase == IDLE) {
        parser->events->on_end(parser->user);
    }
    return 0;
}

static const llhttp_settings_t settings = {
    .on_status = on_status,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk_header,
    .on_message_complete = on_message_complete,
};

/* Feeding. */

/* `room`: for this head, and what interim ones left of it. */
static void await_head(struct http_parser *parser, size_t room)
{
    llhttp_init(&parser->llhttp, HTTP_RESPONSE, &settings);
    parser->llhttp.data = parser;
    parser->interim = false;
    parser->stale = true;
    begin_lines(parser, HEAD, LINES_HEAD, room);
}

static void forget_head(struct http_parser *parser)
{
    parser->stale = false;
    parser->text_length = 0;
    parser->reason = (struct slice){ NULL, 0 };
    parser->field_count = 0;
    *current_field(parser) = (struct field){ 0 };
}

static struct slice moved(struct slice slice, const char *from, const char *to)
{
    return slice.length > 0 ? (struct slice){ to + (slice.at - from), slice.length } : slice;
}

static bool make_room_for_text(struct http_parser *parser, size_t size)
{
    char *text = malloc(size);
    if (text == NULL) {
        return refuse(parser, "memory is short") == 0;
    }
    memcpy(text, parser->text, parser->text_length);
    parser->reason = moved(parser->reason, parser->text, text);
    for (size_t i = 0; i <= parser->field_count; i++) {
        struct field *field = &parser->fields[i];
        field->name = moved(field->name, parser->text, text);
        field->value = moved(field->value, parser->text, text);
    }
    free(parser->text);
    parser->text = text;
    parser->text_size = size;
    return true;
}

/* Where the head's new bytes are from now on; NULL when there is no memory for them. */
static const char *keep(struct http_parser *parser, const char *data, size_t length)
{
    size_t needed = parser->text_length + length;
    if (needed > parser->text_size && !make_room_for_text(parser, 2 * needed)) {
        return NULL;
    }
    char *kept = parser->text + parser->text_length;
    memcpy(kept, data, length);
    parser->text_length = needed;
    return kept;
}

static void execute(struct http_parser *parser, const char *data, size_t length)
{
    llhttp_errno_t error = llhttp_execute(&parser->llhttp, data, length);
    if (error != HPE_OK && !(error == HPE_PAUSED_UPGRADE && parser->phase == UPGRADED)) {
        refuse(parser, llhttp_get_error_reason(&parser->llhttp));
    }
}

/* Lines of a section; at its end llhttp must have moved on to the next, too. */
static size_t feed_lines(struct http_parser *parser, const char *data, size_t length)
{
    enum phase phase = parser->phase;
    if (phase == HEAD && parser->stale) {
        forget_head(parser);
    }
    size_t taken;
    const char *problem = lines_take(&parser->lines, data, length, &taken);
    if (problem != NULL) {
        refuse(parser, problem);
        return 0;
    }
    bool over = parser->lines.over; /* before llhttp's words begin the next section */
    const char *lines = phase == HEAD ? keep(parser, data, taken) : data;
    if (lines != NULL) {
        execute(parser, lines, taken);
    }
    if (parser->problem != NULL || !over) {
        return taken;
    }
    if (parser->interim) {
        await_head(parser, parser->lines.room);
    } else if (phase == CHUNK_END) {
        begin_lines(parser, CHUNK_SIZE, LINES_CHUNK_SIZE, CHUNK_LINE);
    } else if (COUNT_IF(parser->phase == phase)) {
        refuse(parser, "the framing is not what it seems");
    }
    return taken;
}

static size_t feed_body(struct http_parser *parser, const char *data, size_t length)
{
    size_t taken = length < parser->body_left ? length : (size_t)parser->body_left;
    parser->body_left -= taken;
    execute(parser, data, taken);
    if (parser->phase == CHUNK_DATA && parser->body_left == 0) {
        begin_lines(parser, CHUNK_END, LINES_CHUNK_END, CHUNK_LINE);
    }
    return taken;
}

static size_t feed_some(struct http_parser *parser, const char *data, size_t length)
{
    switch (parser->phase) {
    case HEAD:
    case CHUNK_SIZE:
    case CHUNK_END:
    case TRAILERS:
        return feed_lines(parser, data, length);
    case BODY:
    case CHUNK_DATA:
        return feed_body(parser, data, length);
    case IDLE:
    case UPGRADED:
        refuse(parser, "bytes where no response was expected");
    }
    return 0;
}

const char *http_feed(struct http_parser *parser, const char *data, size_t length, size_t *used)
{
    size_t fed = 0;
    while (fed < length && parser->problem == NULL && parser->phase != UPGRADED) {
        fed += feed_some(parser, data + fed, length - fed);
    }
    *used = fed;
    return parser->problem;
}

const char *http_eof(struct http_parser *parser)
{
    if (parser->problem != NULL || parser->phase == IDLE || parser->phase == UPGRADED) {
        return parser->problem;
    }
    if (parser->phase == BODY && parser->body_left > UINT64_MAX / 2) {
        parser->phase = IDLE;
        parser->events->on_end(parser->user);
        return NULL;
    }
    bool began = parser->phase != HEAD || parser->lines.room < HTTP_HEAD_MAX;
    refuse(parser, began ? "the connection ended within the response" : "the connection ended before a response");
    return parser->problem;
}

void http_expect(struct http_parser *parser, bool head_request, bool upgrade_request)
{
    CHECK(parser->problem == NULL);
    parser->head_request = head_request;
    parser->upgrade_request = upgrade_request;
    parser->interims = 0;
    await_head(parser, HTTP_HEAD_MAX);
}

bool http_upgraded(const struct http_parser *parser)
{
    return parser->phase == UPGRADED;
}

bool http_complete(const struct http_parser *parser)
{
    return parser->phase == IDLE && parser->problem == NULL;
}

struct http_parser *http_create(const struct http_events *events, void *user)
{
    struct http_parser *parser = calloc(1, sizeof *parser);
    if (parser == NULL) {
        return NULL;
    }
    parser->events = events;
    parser->user = user;
    parser->phase = IDLE;
    parser->text_size = TEXT_START;
    parser->field_size = FIELDS_START;
    parser->text = malloc(parser->text_size);
    parser->fields = malloc(parser->field_size * sizeof *parser->fields);
    if (parser->text == NULL || parser->fields == NULL) {
        http_destroy(&parser);
    }
    return parser;
}

void http_destroy(struct http_parser **parser)
{
    if (*parser != NULL) {
        free((*parser)->text);
        free((*parser)->fields);
        free(*parser);
        *parser = NULL;
    }
}

#define TEXT(number)                 #number
#define RELEASE(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *http_library(void)
{
    return "llhttp " RELEASE(LLHTTP_VERSION_MAJOR, LLHTTP_VERSION_MINOR, LLHTTP_VERSION_PATCH);
}
