/* http: responses as exact bytes; each is fed whole, byte by byte and in random pieces, and must tell the same story
 * every time. */
#include "http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define PIECINGS 20 /* random ways to cut each response; 0 and 1 are "whole" and "byte by byte" */

/* The story: "200 OK [A=b][C=d] length 2 reusable: hi. end" */

static char story[4096];
static bool ended;

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    size_t length = strlen(story);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(story + length, sizeof story - length, format, arguments);
    va_end(arguments);
}

static void on_head(void *user, const struct http_head *head)
{
    static const char *const bodies[] = { "no body", "length", "chunked", "until close" };
    (void)user;
    tell("%u %.*s ", head->status, (int)head->reason.length, head->reason.at);
    for (size_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        tell("[%.*s=%.*s]", (int)field->name.length, field->name.at, (int)field->value.length, field->value.at);
    }
    tell(" %s", bodies[head->body]);
    if (head->has_length) {
        tell(" %llu", (unsigned long long)head->content_length);
    }
    tell("%s: ", head->reusable ? " reusable" : "");
}

static void on_body(void *user, const char *data, size_t length)
{
    (void)user;
    tell("%.*s", (int)length, data);
}

static void on_end(void *user)
{
    (void)user;
    assert_false(ended);
    ended = true;
    tell(". end");
}

static const struct http_events events = { .on_head = on_head, .on_body = on_body, .on_end = on_end };

enum asked { GET, HEAD, UPGRADE };

static const char *feed_in_pieces(struct http_parser *parser, const char *bytes, size_t length, unsigned piecing)
{
    const char *problem = NULL;
    size_t used = 0;
    srand(piecing);
    for (size_t at = 0; at < length && problem == NULL && !http_upgraded(parser);) {
        size_t size = piecing == 0 ? length : piecing == 1 ? 1 : 1 + (size_t)rand() % 40;
        size = size < length - at ? size : length - at;
        char *piece = malloc(size); /* so that AddressSanitizer sees a look beyond it */
        memcpy(piece, bytes + at, size);
        problem = http_feed(parser, piece, size, &used);
        free(piece);
        at += used;
    }
    return problem;
}

/* What one piecing makes of the response, the end of the connection included when `closes`. */
static void play(const char *bytes, size_t length, enum asked asked, bool closes, unsigned piecing)
{
    struct http_parser *parser = http_create(&events, NULL);
    story[0] = '\0';
    ended = false;
    http_expect(parser, asked == HEAD, asked == UPGRADE);
    const char *problem = feed_in_pieces(parser, bytes, length, piecing);
    if (problem == NULL && closes) {
        problem = http_eof(parser);
    }
    if (problem != NULL) {
        tell(" ! %s", problem);
    }
    assert_int_equal(http_complete(parser), problem == NULL && ended);
    http_destroy(&parser);
    assert_null(parser);
}

static void assert_stories(const char *bytes, size_t length, enum asked asked, bool closes, const char *expected)
{
    for (unsigned piecing = 0; piecing < PIECINGS; piecing++) {
        play(bytes, length, asked, closes, piecing);
        if (strcmp(story, expected) != 0) {
            print_error("in pieces %u of:\n%.*s\n", piecing, (int)length, bytes);
        }
        assert_string_equal(story, expected);
    }
}

static void good_responses_are_read(void **state)
{
    (void)state;
#define OK "HTTP/1.1 200 OK\r\n"
    static const struct {
        const char *bytes;
        const char *story;
        enum asked asked;
    } cases[] = {
        { OK "Content-Length: 2\r\n\r\nhi", "200 OK [Content-Length=2] length 2 reusable: hi. end", GET },
        { OK "Content-Length: 0\r\n\r\n", "200 OK [Content-Length=0] length 0 reusable: . end", GET },
        { "HTTP/1.1 200 \r\ncontent-length:\t2 \r\n\r\nhi", "200  [content-length=2] length 2 reusable: hi. end", GET },
        { "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", "200  [Content-Length=2] length 2 reusable: hi. end", GET },
        { "HTTP/1.1 404 Not \xc3\xa4 Found\t!\r\nContent-Length: 0\r\n\r\n",
          "404 Not \xc3\xa4 Found\t! [Content-Length=0] length 0 reusable: . end", GET },
        { OK "A:\r\nB: x, y\r\nA: 2\r\nContent-Length: 0\r\n\r\n",
          "200 OK [A=][B=x, y][A=2][Content-Length=0] length 0 reusable: . end", GET },
        { OK "A: \xff\x80\t\x21\r\nContent-Length: 0\r\n\r\n",
          "200 OK [A=\xff\x80\t\x21][Content-Length=0] length 0 reusable: . end", GET },
        /* bodies in chunks */
        { OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
          "200 OK [Transfer-Encoding=chunked] chunked reusable: hi. end", GET },
        { OK "Transfer-Encoding: Chunked\r\n\r\n0A\r\n0123456789\r\n0001;x=\"a;b\"\r\n!\r\n000\r\n\r\n",
          "200 OK [Transfer-Encoding=Chunked] chunked reusable: 0123456789!. end", GET },
        { OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nContent-Length: 7\r\nX: y\r\n\r\n",
          "200 OK [Transfer-Encoding=chunked] chunked reusable: hi. end", GET },
        { OK "Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n",
          "200 OK [Transfer-Encoding=chunked] chunked reusable: \r\n\r\n. end", GET },
        /* no body, whatever the fields say */
        { OK "Content-Length: 5\r\n\r\n", "200 OK [Content-Length=5] no body 5 reusable: . end", HEAD },
        { OK "Transfer-Encoding: chunked\r\n\r\n", "200 OK [Transfer-Encoding=chunked] no body reusable: . end", HEAD },
        { OK "\r\n", "200 OK  no body reusable: . end", HEAD },
        { "HTTP/1.1 204 No Content\r\n\r\n", "204 No Content  no body reusable: . end", GET },
        { "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
          "204 No Content [Content-Length=0] no body 0 reusable: . end", GET },
        { "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
          "304 Not Modified [Content-Length=5] no body 5 reusable: . end", GET },
        /* interim responses are dropped */
        { "HTTP/1.1 100 Continue\r\n\r\n" OK "Content-Length: 2\r\n\r\nhi",
          "200 OK [Content-Length=2] length 2 reusable: hi. end", GET },
        { "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nConnection: close\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" OK
          "Content-Length: 2\r\n\r\nhi",
          "200 OK [Content-Length=2] length 2 reusable: hi. end", GET },
        /* connections that end, or may */
        { OK "Content-Length: 2\r\nConnection: close\r\n\r\nhi",
          "200 OK [Content-Length=2][Connection=close] length 2: hi. end", GET },
        { OK "Content-Length: 2\r\nConnection: foo, CLOSE\r\n\r\nhi",
          "200 OK [Content-Length=2][Connection=foo, CLOSE] length 2: hi. end", GET },
        { OK "Content-Length: 2\r\nConnection: keep-alive\r\nConnection: close\r\n\r\nhi",
          "200 OK [Content-Length=2][Connection=keep-alive][Connection=close] length 2: hi. end", GET },
        { OK "Content-Length: 2\r\nConnection: x-closed\r\n\r\nhi",
          "200 OK [Content-Length=2][Connection=x-closed] length 2 reusable: hi. end", GET },
        { "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 OK [Content-Length=2] length 2: hi. end", GET },
        { "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\nhi",
          "200 OK [Content-Length=2][Connection=Keep-Alive] length 2 reusable: hi. end", GET },
        { "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, close\r\n\r\nhi",
          "200 OK [Content-Length=2][Connection=keep-alive, close] length 2: hi. end", GET },
        /* an upgrade that is only offered */
        { OK "Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nhi",
          "200 OK [Upgrade=h2c][Connection=upgrade][Content-Length=2] length 2 reusable: hi. end", GET },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_stories(cases[i].bytes, strlen(cases[i].bytes), cases[i].asked, false, cases[i].story);
    }
}

static void broken_heads_are_refused_before_anything_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct slice bytes;
    } cases[] = {
#define CASE(name, bytes)                                                                                              \
    {                                                                                                                  \
        name,                                                                                                          \
        {                                                                                                              \
            bytes, sizeof bytes - 1                                                                                    \
        }                                                                                                              \
    }
        CASE("no status line", "Content-Length: 2\r\n\r\nhi"),
        CASE("an empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
        CASE("HTTP/0.9", "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("lower case", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("ICY", "ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("two spaces", "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("tab", "HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("status of four digits", "HTTP/1.1 0200 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("status and no more", "HTTP/1.1 20\r\nContent-Length: 0\r\n\r\n"),
        CASE("signed status", "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("status 099", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("status 600", "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"),
        CASE("NUL in the reason", "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n"),
        CASE("DEL in the reason", "HTTP/1.1 200 O\x7fK\r\nContent-Length: 0\r\n\r\n"),
        CASE("bare LF after the status line", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
        CASE("bare CR in the status line", "HTTP/1.1 200 OK\rA: b\r\nContent-Length: 0\r\n\r\n"),
        CASE("CR CR LF", "HTTP/1.1 200 OK\r\r\nContent-Length: 0\r\n\r\n"),
        CASE("bare LF after a field", OK "A: b\nContent-Length: 0\r\n\r\n"),
        CASE("bare CR after a field", OK "A: b\rContent-Length: 0\r\n\r\n"),
        CASE("bare LF at the end", OK "Content-Length: 0\r\n\n"),
        CASE("CR and something else at the end", OK "Content-Length: 0\r\n\rX"),
        CASE("only LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        CASE("a folded field", OK "A: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
        CASE("a folded field with a tab", OK "A: b\r\n\tc\r\nContent-Length: 0\r\n\r\n"),
        CASE("a folded Content-Length", OK "Content-Length:\r\n 0\r\n\r\n"),
        CASE("white space before the first field", OK " A: b\r\nContent-Length: 0\r\n\r\n"),
        CASE("white space before the colon", OK "A : b\r\nContent-Length: 0\r\n\r\n"),
        CASE("white space in a name", OK "A b: c\r\nContent-Length: 0\r\n\r\n"),
        CASE("white space before the colon of a length", OK "Content-Length : 0\r\n\r\n"),
        CASE("no name", OK ": b\r\nContent-Length: 0\r\n\r\n"),
        CASE("no colon", OK "A\r\nContent-Length: 0\r\n\r\n"),
        CASE("NUL in a name", OK "A\0: b\r\nContent-Length: 0\r\n\r\n"),
        CASE("a bracket in a name", OK "A[]: b\r\nContent-Length: 0\r\n\r\n"),
        CASE("UTF-8 in a name", OK "\xc3\xa4: b\r\nContent-Length: 0\r\n\r\n"),
        CASE("NUL in a value", OK "A: b\0c\r\nContent-Length: 0\r\n\r\n"),
        CASE("NUL before a value", OK "A: \0c\r\nContent-Length: 0\r\n\r\n"),
        CASE("a control byte in a value", OK "A: b\x01\r\nContent-Length: 0\r\n\r\n"),
        CASE("DEL in a value", OK "A: b\x7f\r\nContent-Length: 0\r\n\r\n"),
        CASE("two lengths", OK "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!"),
        CASE("the same length twice", OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
        CASE("a list of lengths", OK "Content-Length: 2, 2\r\n\r\nhi"),
        CASE("a signed length", OK "Content-Length: +2\r\n\r\nhi"),
        CASE("a negative length", OK "Content-Length: -2\r\n\r\nhi"),
        CASE("a hexadecimal length", OK "Content-Length: 0x2\r\n\r\nhi"),
        CASE("a length in two words", OK "Content-Length: 2 2\r\n\r\nhi"),
        CASE("an empty length", OK "Content-Length: \r\n\r\nhi"),
        CASE("an empty length without a space", OK "Content-Length:\r\n\r\nhi"),
        CASE("an empty coding and a length", OK "Transfer-Encoding:\r\nContent-Length: 2\r\n\r\nhi"),
        CASE("a length and an empty coding", OK "Content-Length: 2\r\nTransfer-Encoding: \r\n\r\nhi"),
        CASE("chunked and an empty coding", OK "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
        CASE("a length beyond 2^64", OK "Content-Length: 18446744073709551617\r\n\r\nhi"),
        CASE("chunked and a length", OK "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        CASE("a length and chunked", OK "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        CASE("a length and an unknown coding", OK "Content-Length: 2\r\nTransfer-Encoding: x\r\n\r\nhi"),
        CASE("chunked twice", OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        CASE("chunked, chunked", OK "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        CASE("gzip, chunked", OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        CASE("chunked, gzip", OK "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        CASE("identity", OK "Transfer-Encoding: identity\r\n\r\n"),
        CASE("xchunked", OK "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        CASE("chunked;q=1", OK "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
        CASE("an empty coding", OK "Transfer-Encoding:\r\n\r\n"),
        CASE("chunked and a tab", OK "Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n!"),
        CASE("a length of a tab", OK "Content-Length: \t\r\n\r\nhi"),
        CASE("chunked by HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        CASE("chunked with 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        CASE("chunked with 100", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        CASE("101 unasked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        CASE("a line between interim and final", "HTTP/1.1 100 Continue\r\n\r\n\r\n" OK "Content-Length: 0\r\n\r\n"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned piecing = 0; piecing < PIECINGS; piecing++) {
            play(cases[i].bytes.at, cases[i].bytes.length, GET, false, piecing);
            if (strncmp(story, " ! ", 3) != 0) {
                print_error("%s, in pieces %u: %s\n", cases[i].name, piecing, story);
            }
            assert_memory_equal(story, " ! ", 3);
        }
    }
}

static void broken_chunks_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct slice body;
    } cases[] = {
        CASE("no size", "\r\nhi\r\n0\r\n\r\n"),
        CASE("white space before the size", " 2\r\nhi\r\n0\r\n\r\n"),
        CASE("white space after the size", "2 \r\nhi\r\n0\r\n\r\n"),
        CASE("0x", "0x2\r\nhi\r\n0\r\n\r\n"),
        CASE("a signed size", "+2\r\nhi\r\n0\r\n\r\n"),
        CASE("a size beyond 2^64", "10000000000000002\r\nhi\r\n0\r\n\r\n"),
        CASE("letters", "xyz\r\nhi\r\n0\r\n\r\n"),
        CASE("bare LF after the size", "2\nhi\r\n0\r\n\r\n"),
        CASE("bare CR after the size", "2\rhi\r\n0\r\n\r\n"),
        CASE("CR and something else", "2\rXhi\r\n0\r\n\r\n"),
        CASE("bare LF in an extension", "2;a=b\nc\r\nhi\r\n0\r\n\r\n"),
        CASE("bare CR in an extension", "2;a=b\rc\r\nhi\r\n0\r\n\r\n"),
        CASE("NUL in an extension", "2;a=\0\r\nhi\r\n0\r\n\r\n"),
        CASE("a longer chunk", "2\r\nhi!\r\n0\r\n\r\n"),
        CASE("something for CRLF", "2\r\nhiXX0\r\n\r\n"),
        CASE("bare LF after a chunk", "2\r\nhi\n0\r\n\r\n"),
        CASE("bare CR after a chunk", "2\r\nhi\r0\r\n\r\n"),
        CASE("a shorter chunk", "3\r\nhi\r\n0\r\n\r\n"),
        CASE("bare LF at the end", "0\r\n\n"),
        CASE("CR and something else at the end", "0\r\n\rX"),
        CASE("bare LF in the trailers", "0\r\nA: b\nC: d\r\n\r\n"),
        CASE("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"),
        CASE("a trailer without a colon", "0\r\nAb\r\n\r\n"),
        CASE("surplus", "0\r\n\r\n!"),
    };
    char bytes[256] = OK "Transfer-Encoding: chunked\r\n\r\n";
    size_t head = strlen(bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(bytes + head, cases[i].body.at, cases[i].body.length);
        for (unsigned piecing = 0; piecing < PIECINGS; piecing++) {
            play(bytes, head + cases[i].body.length, GET, false, piecing);
            if (strstr(story, " ! ") == NULL) {
                print_error("%s, in pieces %u: %s\n", cases[i].name, piecing, story);
            }
            assert_non_null(strstr(story, " ! "));
        }
    }
}

static void surplus_is_an_error_after_the_end(void **state)
{
    (void)state;
    const char *surplus = "! bytes where no response was expected";
    static const char *const cases[] = {
        OK "Content-Length: 2\r\n\r\nhi!",
        OK "Content-Length: 2\r\n\r\nhi\r\n",
        OK "Content-Length: 0\r\n\r\n" OK "\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi",
        OK "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned piecing = 0; piecing < PIECINGS; piecing++) {
            play(cases[i], strlen(cases[i]), GET, false, piecing);
            assert_true(ended);
            assert_non_null(strstr(story, surplus));
        }
    }
}

static void bodies_may_end_with_the_connection_only_where_nothing_else_ends_them(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *story;
    } cases[] = {
        { OK "A: b\r\n\r\nhello", "200 OK [A=b] until close: hello. end" },
        { OK "\r\n", "200 OK  until close: . end" },
        { "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello",
          "200 OK [Connection=keep-alive] until close: hello. end" },
        { OK "Content-Length: 2\r\n\r\nhi", "200 OK [Content-Length=2] length 2 reusable: hi. end" },
        { "", " ! the connection ended before a response" },
        { "HTTP/1.1 100 Continue\r\n\r\n", " ! the connection ended within the response" },
        { "HTTP/1.1 2", " ! the connection ended within the response" },
        { OK "Content-Length: 2\r\n", " ! the connection ended within the response" },
        { OK "Content-Length: 2\r\n\r\nh",
          "200 OK [Content-Length=2] length 2 reusable: h ! the connection ended within the response" },
        { OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
          "200 OK [Transfer-Encoding=chunked] chunked reusable: hi ! the connection ended within the response" },
        { OK "Transfer-Encoding: chunked\r\n\r\n0\r\n",
          "200 OK [Transfer-Encoding=chunked] chunked reusable:  ! the connection ended within the response" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_stories(cases[i].bytes, strlen(cases[i].bytes), GET, true, cases[i].story);
    }
}

static void an_upgrade_that_was_asked_for_ends_the_parsing(void **state)
{
    (void)state;
    static const char bytes[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nTUNNEL";
    struct http_parser *parser = http_create(&events, NULL);
    size_t used = 0;
    story[0] = '\0';
    http_expect(parser, false, true);
    assert_null(http_feed(parser, bytes, sizeof bytes - 1, &used));
    assert_string_equal(story, "101 Switching Protocols [Upgrade=x][Connection=upgrade] no body: ");
    assert_true(http_upgraded(parser));
    assert_string_equal(bytes + used, "TUNNEL");
    assert_null(http_feed(parser, bytes + used, 6, &used));
    assert_int_equal(used, 0);
    assert_null(http_eof(parser));
    http_destroy(&parser);
    /* … but not without saying to what */
    play("HTTP/1.1 101 Go\r\n\r\n", 19, UPGRADE, false, 0);
    assert_string_equal(story, " ! 101 without an upgrade");
    /* … and another answer is as good as any */
    assert_stories(OK "Content-Length: 2\r\n\r\nhi", strlen(OK "Content-Length: 2\r\n\r\nhi"), UPGRADE, false,
                   "200 OK [Content-Length=2] length 2 reusable: hi. end");
}

static void interim_responses_are_counted(void **state)
{
    (void)state;
    char bytes[1024];
    for (int count = HTTP_INTERIM_MAX; count <= HTTP_INTERIM_MAX + 1; count++) {
        bytes[0] = '\0';
        for (int i = 0; i < count; i++) {
            strcat(bytes, "HTTP/1.1 102 Processing\r\n\r\n");
        }
        strcat(bytes, OK "Content-Length: 0\r\n\r\n");
        assert_stories(bytes, strlen(bytes), GET, false,
                       count == HTTP_INTERIM_MAX ? "200 OK [Content-Length=0] length 0 reusable: . end"
                                                 : " ! too many interim responses");
    }
}

/* A head of exactly `size` bytes, with `fields` fields before Content-Length. */
static char *head_of_size(size_t size, size_t fields)
{
    char *bytes = malloc(size + 64);
    size_t at = (size_t)sprintf(bytes, OK);
    for (size_t i = 0; i < fields; i++) {
        at += (size_t)sprintf(bytes + at, "F: %zu\r\n", i);
    }
    at += (size_t)sprintf(bytes + at, "Content-Length: 0\r\nX: ");
    assert_true(at + 4 <= size);
    memset(bytes + at, 'x', size - at - 4);
    memcpy(bytes + size - 4, "\r\n\r\n", 5);
    return bytes;
}

static void a_head_may_be_as_large_as_the_limit_and_no_larger(void **state)
{
    (void)state;
    for (size_t size = HTTP_HEAD_MAX; size <= HTTP_HEAD_MAX + 1; size++) {
        char *bytes = head_of_size(size, 1);
        for (unsigned piecing = 0; piecing < 5; piecing++) {
            play(bytes, size, GET, false, piecing);
            assert_int_equal(ended, size == HTTP_HEAD_MAX);
            assert_true(ended || strcmp(story, " ! the head is too large") == 0);
        }
        free(bytes);
    }
    char *interim = head_of_size(HTTP_HEAD_MAX - 30, 1); /* what interim heads took is not there for the final one */
    memcpy(interim, "HTTP/1.1 100", 12);
    strcat(interim, OK "Content-Length: 0\r\n\r\n");
    play(interim, strlen(interim), GET, false, 0);
    assert_string_equal(story, " ! the head is too large");
    free(interim);
}

static void white_space_counts_as_head(void **state)
{
    (void)state;
    char *bytes = malloc(HTTP_HEAD_MAX * 2);
    memset(bytes, ' ', HTTP_HEAD_MAX * 2);
    memcpy(bytes, OK "A:", strlen(OK "A:"));
    for (unsigned piecing = 0; piecing < 5; piecing++) {
        play(bytes, HTTP_HEAD_MAX * 2, GET, false, piecing);
        assert_string_equal(story, " ! the head is too large");
    }
    free(bytes);
}

static void fields_are_counted(void **state)
{
    (void)state;
    for (size_t fields = 250; fields < 260; fields++) { /* and two of head_of_size()'s own */
        char *bytes = head_of_size(8192, fields);
        play(bytes, 8192, GET, false, 0);
        assert_int_equal(ended, fields + 2 <= 256);
        assert_true(ended || strcmp(story, " ! too many fields") == 0);
        free(bytes);
    }
}

static void a_chunk_line_or_trailer_without_end_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *begins;
        size_t most; /* bytes until it must have been refused */
    } cases[] = { { "2;", 1024 }, { "0\r\nA:", HTTP_HEAD_MAX }, { "", 1024 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *bytes = malloc(HTTP_HEAD_MAX * 2);
        memset(bytes, i == 2 ? '0' : 'x', HTTP_HEAD_MAX * 2);
        int head = sprintf(bytes, OK "Transfer-Encoding: chunked\r\n\r\n%s", cases[i].begins);
        bytes[head] = 'x';
        play(bytes, (size_t)head + cases[i].most, GET, false, 0);
        assert_non_null(strstr(story, " ! "));
        free(bytes);
    }
}

static void ten_thousand_small_chunks_are_no_trouble(void **state)
{
    (void)state;
    char *bytes = malloc(100000);
    size_t length = (size_t)sprintf(bytes, OK "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 10000; i++) {
        length += (size_t)sprintf(bytes + length, "1\r\nx\r\n");
    }
    length += (size_t)sprintf(bytes + length, "0\r\n\r\n");
    play(bytes, length, GET, false, 0);
    assert_true(ended);
    free(bytes);
}

static void a_parser_reads_one_response_after_the_other(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *story;
    } turns[] = {
        { OK "A: 1\r\nContent-Length: 2\r\n\r\nhi", "200 OK [A=1][Content-Length=2] length 2 reusable: hi. end" },
        { OK "Transfer-Encoding: chunked\r\n\r\n1\r\n!\r\n0\r\n\r\n",
          "200 OK [Transfer-Encoding=chunked] chunked reusable: !. end" },
        { "HTTP/1.1 204 No\r\nLonger-Name: longer value\r\n\r\n",
          "204 No [Longer-Name=longer value] no body reusable: . end" },
        { "HTTP/1.1 101 Go\r\n\r\n", " ! 101 without an upgrade" },
    };
    struct http_parser *parser = http_create(&events, NULL);
    assert_true(http_complete(parser));
    assert_null(http_eof(parser)); /* nothing is missing */
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        size_t used;
        story[0] = '\0';
        ended = false;
        http_expect(parser, false, false);
        assert_false(http_complete(parser));
        const char *problem = http_feed(parser, turns[i].bytes, strlen(turns[i].bytes), &used);
        if (problem != NULL) {
            tell(" ! %s", problem);
        }
        assert_string_equal(story, turns[i].story);
    }
    size_t used; /* what is broken stays broken */
    assert_non_null(http_feed(parser, "x", 1, &used));
    assert_non_null(http_eof(parser));
    http_destroy(&parser);
    http_destroy(&parser); /* of nothing */
}

/* A borrower may look at a head until the next one arrives, not only until it is expected. */

static struct http_head borrowed;

static void borrow(void *user, const struct http_head *head)
{
    (void)user;
    borrowed = *head;
}

static void a_head_stays_until_the_next_response_begins(void **state)
{
    (void)state;
    static const struct http_events borrower = { .on_head = borrow, .on_body = on_body, .on_end = on_end };
    static const char bytes[] = OK "A: b\r\nContent-Length: 0\r\n\r\n";
    struct http_parser *parser = http_create(&borrower, NULL);
    size_t used;
    ended = false;
    http_expect(parser, false, false);
    assert_null(http_feed(parser, bytes, sizeof bytes - 1, &used));
    http_expect(parser, false, false);
    assert_int_equal(borrowed.field_count, 2);
    assert_memory_equal(borrowed.reason.at, "OK", 2);
    assert_int_equal(borrowed.fields[0].name.length, 1);
    assert_memory_equal(borrowed.fields[0].value.at, "b", 1);
    http_destroy(&parser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_responses_are_read),
        cmocka_unit_test(broken_heads_are_refused_before_anything_is_told),
        cmocka_unit_test(broken_chunks_are_refused),
        cmocka_unit_test(surplus_is_an_error_after_the_end),
        cmocka_unit_test(bodies_may_end_with_the_connection_only_where_nothing_else_ends_them),
        cmocka_unit_test(an_upgrade_that_was_asked_for_ends_the_parsing),
        cmocka_unit_test(interim_responses_are_counted),
        cmocka_unit_test(a_head_may_be_as_large_as_the_limit_and_no_larger),
        cmocka_unit_test(white_space_counts_as_head),
        cmocka_unit_test(fields_are_counted),
        cmocka_unit_test(a_chunk_line_or_trailer_without_end_is_refused),
        cmocka_unit_test(ten_thousand_small_chunks_are_no_trouble),
        cmocka_unit_test(a_parser_reads_one_response_after_the_other),
        cmocka_unit_test(a_head_stays_until_the_next_response_begins),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
