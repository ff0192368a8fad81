/* http: whatever an upstream says, however it is cut into reads, the parser tells one story, in order, and stays
 * within its bounds.
 *
 * Input: a byte of flags (1: HEAD, 2: an upgrade was asked for, 4: the connection ends after the last byte), then
 * what the upstream says.
 */
#include "http.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct story {
    unsigned status;
    size_t field_count;
    uint64_t text;        /* a hash of all names and values */
    uint64_t length;      /* announced */
    uint64_t bytes, body; /* of the body: how many, and a hash */
    enum http_body kind;
    bool began, ended, reusable;
    const char *problem;
};

static uint64_t hash(uint64_t seed, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        seed = (seed ^ (unsigned char)bytes[i]) * 1099511628211u; /* FNV-1a */
    }
    return seed;
}

/* What goes on to a client must not be able to end a line there. */
static uint64_t check_text(uint64_t seed, struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.at[i];
        CHECK(c == '\t' || (c >= ' ' && c != 0x7f));
    }
    return hash(seed, text.at, text.length);
}

static void on_head(void *user, const struct http_head *head)
{
    struct story *story = user;
    CHECK(!story->began && (head->status == 101 || head->status >= 200) && head->status < 600);
    story->began = true;
    story->status = head->status;
    story->field_count = head->field_count;
    story->kind = head->body;
    story->length = head->content_length;
    story->reusable = head->reusable;
    story->text = check_text(0, head->reason);
    for (size_t i = 0; i < head->field_count; i++) {
        CHECK(rule_is_token(head->fields[i].name.at, head->fields[i].name.length));
        story->text = check_text(check_text(story->text, head->fields[i].name), head->fields[i].value);
    }
    CHECK(head->body != HTTP_UNTIL_CLOSE || !head->reusable);
    CHECK(head->body != HTTP_LENGTH || head->has_length);
}

static void on_body(void *user, const char *data, size_t length)
{
    struct story *story = user;
    CHECK(story->began && !story->ended && story->kind != HTTP_NO_BODY);
    story->bytes += length;
    story->body = hash(story->body, data, length);
}

static void on_end(void *user)
{
    struct story *story = user;
    CHECK(story->began && !story->ended);
    CHECK(story->kind != HTTP_LENGTH || story->bytes == story->length);
    story->ended = true;
}

static const struct http_events events = { .on_head = on_head, .on_body = on_body, .on_end = on_end };

/* Each piece is a block of exactly its own size, so that AddressSanitizer sees the first byte read beside it. */
static size_t feed_piece(struct http_parser *parser, struct story *story, const uint8_t *data, size_t size)
{
    char *piece = malloc(size);
    size_t used;
    memcpy(piece, data, size);
    story->problem = http_feed(parser, piece, size, &used);
    CHECK(used == size || story->problem != NULL || (http_upgraded(parser) && used < size));
    free(piece);
    return used;
}

static struct story play(uint8_t flags, const uint8_t *data, size_t size, size_t piece)
{
    struct story story = { 0 };
    struct http_parser *parser = http_create(&events, &story);
    CHECK(parser != NULL);
    http_expect(parser, flags & 1, flags & 2);
    while (size > 0 && story.problem == NULL && !http_upgraded(parser)) {
        size_t used = feed_piece(parser, &story, data, piece < size ? piece : size);
        data += used;
        size -= used;
    }
    if (story.problem == NULL && flags & 4) {
        story.problem = http_eof(parser);
    }
    CHECK(http_complete(parser) == (story.ended && story.problem == NULL));
    CHECK(!http_upgraded(parser) || (flags & 2 && story.status == 101));
    http_destroy(&parser);
    return story;
}

static void check_same(const struct story *a, const struct story *b)
{
    CHECK(a->began == b->began && a->ended == b->ended && (a->problem == NULL) == (b->problem == NULL));
    CHECK(a->status == b->status && a->field_count == b->field_count && a->text == b->text && a->kind == b->kind);
    CHECK(a->bytes == b->bytes && a->body == b->body && a->length == b->length && a->reusable == b->reusable);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct story whole = play(data[0], data + 1, size - 1, size);
    for (size_t piece = 1; piece < 64; piece = piece * 3 + 1) {
        struct story pieces = play(data[0], data + 1, size - 1, piece);
        check_same(&whole, &pieces);
    }
    return 0;
}
