/* wire: extensions are gone, everything else arrives as it was sent, however the bytes are cut into pieces. */
#include "wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GET   "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST  "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
#define UNTIL 4096 /* no piece is longer */

/* Passes `sent` in pieces of at most `piece` bytes. Returns what came out, NUL-terminated; *length is without the NUL. */
static char *passed(const char *sent, size_t size, size_t piece, size_t *length)
{
    struct wire wire = { 0 };
    char *out = malloc(2 * size + 3);
    *length = 0;
    for (size_t at = 0; at < size; at += piece) {
        size_t count = size - at < piece ? size - at : piece;
        memcpy(out + *length, sent + at, count);
        size_t left = wire_pass(&wire, out + *length, count, count + 1);
        assert_true(left <= count + 1);
        *length += left;
    }
    out[*length] = '\0';
    return out;
}

static void check_passed(const char *sent, size_t size, const char *expected)
{
    static const size_t pieces[] = { UNTIL, 1, 2, 3, 5, 7, 16 };
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        size_t length;
        char *out = passed(sent, size, pieces[i], &length);
        if (length != strlen(expected) || memcmp(out, expected, length) != 0) {
            fail_msg("in pieces of %zu: \"%s\" became \"%s\", not \"%s\"", pieces[i], sent, out, expected);
        }
        free(out);
    }
}

static void check(const char *sent, const char *expected)
{
    check_passed(sent, strlen(sent), expected);
}

static void extensions_are_gone(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *expected;
    } rows[] = {
        { POST "5;a=b\r\nhello\r\n0\r\n\r\n", POST "5\r\nhello\r\n0\r\n\r\n" },
        { POST "5;a\r\nhello\r\n0;b\r\n\r\n", POST "5\r\nhello\r\n0\r\n\r\n" },
        { POST "5;a;b=c;d=\"e;f\\\"\"\r\nhello\r\n0\r\n\r\n", POST "5\r\nhello\r\n0\r\n\r\n" },
        { POST "5 ; a = b ;\tc\r\nhello\r\n0\r\n\r\n", POST "5\r\nhello\r\n0\r\n\r\n" },
        { POST "5;a=\"\"\r\nhello\r\n0\r\n\r\n", POST "5\r\nhello\r\n0\r\n\r\n" },
        { POST "8;a\r\n5;b\r\nx\r\n\r\n0\r\n\r\n", POST "8\r\n5;b\r\nx\r\n\r\n0\r\n\r\n" },
        { POST "0;a\r\nX: 5;a\r\n\r\n" POST "1;a\r\nx\r\n0\r\n\r\n",
          POST "0\r\nX: 5;a\r\n\r\n" POST "1\r\nx\r\n0\r\n\r\n" },
        { "\r\n" GET "\r\n\r\n\r\n" POST "1;a\r\nx\r\n0\r\n\r\n" GET, GET POST "1\r\nx\r\n0\r\n\r\n" GET },
        { "POST / HTTP/1.1\r\ntransfer-ENCODING:chunked\r\n\r\nA;a\r\n0123456789\r\n0\r\n\r\n",
          "POST / HTTP/1.1\r\ntransfer-ENCODING:chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check(rows[i].sent, rows[i].expected);
    }
}

/* Each ends with what would be an extension, if a chunk were expected there. */
static void what_is_no_chunk_arrives_as_sent(void **state)
{
    (void)state;
    static const char *const rows[] = {
        GET "5;a\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n5;a\r\n" GET,
        "POST / HTTP/1.1\r\ncontent-length:0007\r\n\r\n0\r\n5;a\r" GET,
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n5;a\r\n",
        "POST / HTTP/1.1\r\nX-Transfer-Encoding: chunked\r\n\r\n5;a\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encodingx: chunked\r\n\r\n5;a\r\n",
        "POST / HTTP/1.1\r\nX: Transfer-Encoding: chunked\r\n\r\n5;a\r\n",
        "Transfer-Encoding: chunked\r\nHost: a\r\n\r\n5;a\r\n", /* for a request line */
        POST "0\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\n",
        POST "0\r\nContent-Length: 5\r\n\r\n" GET,

    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check(rows[i], rows[i]);
    }
}

/* The digits have passed; what follows them makes the library say 400, and nothing after it is read as anything. */
static void what_is_no_extension_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "5 \r\n",
        "5;\r\n",
        "5;;a\r\n",
        "5;a=\r\n",
        "5;a=b c\r\n",
        "5;a b\r\n",
        "5;a \r\n",
        "5;a=\"b\r\n\"\r\n",
        "5;a=\"b\n\"\r\n",
        "5;a\n\r\n",
        "5\n",
        "5x\r\n",
        "5;a=\"b\"c\r\n",
        "5;\x01\r\n",
        "5;a\x7f\r\n",
        "5;a=\"\x01\"\r\n",
        "5;\xe9\r\n",
        "5;a=\"\\\x01\"\r\n",
        "5;a,b\r\n",
        "5;=b\r\n",
        "5;\"a\"\r\n",
        "5;a==b\r\n",
        "5;a=\"b\\\r\n",
        "5\t\r\n",
        "5+\r\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char sent[512];
        size_t length;
        size_t size = (size_t)snprintf(sent, sizeof sent, POST "%s", rows[i]);
        char *out = passed(sent, size, UNTIL, &length);
        assert_string_equal(out, POST "5\r!");
        free(out);
    }
    size_t length;
    static const char with_nul[] = POST "5;a=\"\0\"\r\n";
    char *out = passed(with_nul, sizeof with_nul - 1, UNTIL, &length);
    assert_string_equal(out, POST "5\r!");
    free(out);
}

/* So is what ends a head, a size or a chunk wrongly. */
static void what_ends_wrongly_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *expected;
    } rows[] = {
        { POST "5\r\nhello\r\n;a\r\n", POST "5\r\nhello\r\n\r!" },
        { POST ";a\r\n5;a\r\n", POST "\r!" },
        { POST "g;a\r\n5;a\r\n", POST "\r!" },
        { POST "\r\n5;a\r\n", POST "\r!" },
        { POST "5\rx5;a\r\n", POST "5\r\r!" },
        { POST "5\r\nhelloX5;a\r\n", POST "5\r\nhello\r!" },
        { POST "5\r\nhello\rX5;a\r\n", POST "5\r\nhello\r\r!" },
        { "GET / HTTP/1.1\r\nHost: a\r\n\rX" GET, "GET / HTTP/1.1\r\nHost: a\r\n\r\r!" },
        { POST "0\r\nX: y\r\n\rX" GET, POST "0\r\nX: y\r\n\r\r!" },
        { "\r\rGET /", "\r!" },
        { "\r\n\rGET /", "\r!" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t length;
        char *out = passed(rows[i].sent, strlen(rows[i].sent), UNTIL, &length);
        assert_string_equal(out, rows[i].expected);
        free(out);
    }
}

static void a_size_is_believed_up_to_63_bits(void **state)
{
    (void)state;
    check(POST "7fffffffffffffff\r\n5;a\r\n", POST "7fffffffffffffff\r\n5;a\r\n");
    check(POST "00000000000000000000007FFFFFFFFFFFFFFF\r\n5;a\r\n",
          POST "00000000000000000000007FFFFFFFFFFFFFFF\r\n5;a\r\n");
    static const char *const rows[] = { "8000000000000000\r\n", "ffffffffffffffff\r\n", "10000000000000000\r\n",
                                        "7fffffffffffffff0\r\n" };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char sent[512];
        size_t length;
        size_t size = (size_t)snprintf(sent, sizeof sent, POST "%s", rows[i]);
        char *out = passed(sent, size, UNTIL, &length);
        assert_int_equal(out[length - 1], '!');
        assert_null(strstr(out + sizeof POST - 1, "\r\n"));
        free(out);
    }
}

/* `count` chunks of `data` bytes, each with an extension of `extension` bytes: does all of it pass? */
static bool is_borne(size_t count, size_t data, size_t extension)
{
    size_t one = data + extension + 32;
    char *sent = malloc(sizeof POST + count * one + 8);
    size_t size = (size_t)sprintf(sent, POST);
    for (size_t i = 0; i < count; i++) {
        size += (size_t)sprintf(sent + size, "%zx;", data);
        memset(sent + size, 'a', extension - 1 + 2 + data);
        memcpy(sent + size + extension - 1, "\r\n", 2);
        size += extension + 1 + data;
        size += (size_t)sprintf(sent + size, "\r\n");
    }
    size_t length;
    char *out = passed(sent, size, UNTIL, &length);
    bool borne = memchr(out, '!', length) == NULL;
    free(out);
    free(sent);
    return borne;
}

static void extensions_may_not_be_the_body(void **state)
{
    (void)state;
    assert_true(is_borne(1, 1, 16 * 1024));
    assert_false(is_borne(1, 1, 16 * 1024 + 1));
    assert_false(is_borne(1000, 1, 100));
    assert_true(is_borne(1000, 100, 100)); /* a signature for each chunk of an upload */
    assert_false(is_borne(1000, 50, 100));
    char zeros[sizeof POST + 20000];
    size_t length;
    memcpy(zeros, POST, sizeof POST - 1);
    memset(zeros + sizeof POST - 1, '0', 20000);
    char *out = passed(zeros, sizeof POST - 1 + 20000, UNTIL, &length);
    assert_int_equal(out[length - 1], '!');
    free(out);
}

/* ---- recv() ---- */

struct pipe {
    int client, server;
    struct wires wires;
    struct wire wire;
};

static struct pipe open_pipe(void)
{
    struct pipe pipe = { 0 };
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    pipe.client = fds[0];
    pipe.server = fds[1];
    return pipe;
}

static void close_pipe(struct pipe *pipe)
{
    wires_reading(NULL);
    wires_fini(&pipe->wires);
    close(pipe->client);
    close(pipe->server);
}

static void say(struct pipe *pipe, const char *text)
{
    assert_int_equal(write(pipe->client, text, strlen(text)), strlen(text));
}

static void assert_hears(struct pipe *pipe, size_t size, const char *expected)
{
    char buffer[256] = { 0 };
    ssize_t got = recv(pipe->server, buffer, size, 0);
    assert_int_equal(got, strlen(expected));
    assert_memory_equal(buffer, expected, got);
}

static void only_the_librarys_reading_of_known_connections_is_touched(void **state)
{
    (void)state;
    struct pipe pipe = open_pipe();
    const char *text = POST "1;a\r\nx\r\n";
    say(&pipe, text);
    assert_hears(&pipe, 255, text); /* nobody asked */
    wires_reading(&pipe.wires);
    say(&pipe, text);
    assert_hears(&pipe, 255, text); /* not added */
    assert_true(wires_add(&pipe.wires, pipe.server, &pipe.wire));
    say(&pipe, text);
    assert_hears(&pipe, 255, POST "1\r\nx\r\n");
    wires_remove(&pipe.wires, pipe.server);
    say(&pipe, "2;a\r\n");
    assert_hears(&pipe, 255, "2;a\r\n");
    wires_remove(&pipe.wires, 5000);
    close_pipe(&pipe);
}

/* The library takes a short read for an empty socket and waits for the next edge. */
static void a_short_read_means_that_nothing_is_left(void **state)
{
    (void)state;
    struct pipe pipe = open_pipe();
    assert_true(wires_add(&pipe.wires, pipe.server, &pipe.wire));
    wires_reading(&pipe.wires);
    say(&pipe, POST);
    assert_hears(&pipe, 255, POST);
    say(&pipe, "1;aaaaa\r\nx\r\n1\r\ny\r\n");
    assert_hears(&pipe, 10, "1\r\nx\r\n1\r\ny");
    assert_hears(&pipe, 10, "\r\n");
    say(&pipe, "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_hears(&pipe, 1, "1");
    char byte;
    assert_int_equal(recv(pipe.server, &byte, 1, 0), -1); /* all of it taken out: EAGAIN */
    say(&pipe, "\r\n");
    close(pipe.client);
    assert_hears(&pipe, 2, "\r\n");
    assert_int_equal(recv(pipe.server, &byte, 1, 0), 0);
    pipe.client = dup(pipe.server);
    close_pipe(&pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extensions_are_gone),
        cmocka_unit_test(what_is_no_chunk_arrives_as_sent),
        cmocka_unit_test(what_is_no_extension_is_refused),
        cmocka_unit_test(what_ends_wrongly_is_refused),
        cmocka_unit_test(a_size_is_believed_up_to_63_bits),
        cmocka_unit_test(extensions_may_not_be_the_body),
        cmocka_unit_test(only_the_librarys_reading_of_known_connections_is_touched),
        cmocka_unit_test(a_short_read_means_that_nothing_is_left),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
