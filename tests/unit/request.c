/* request: which heads are forwarded, which are refused, and what is known of a request afterwards. */
#include "request.h"

#include "../head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HOST "\nHost: gw.test"

static struct slice slice_of(const char *text)
{
    return (struct slice){ text, strlen(text) };
}

static struct request_problem problem_of(const char *text)
{
    struct head *head = head_of(text);
    struct request_problem problem = head_check(head);
    head_free(&head);
    return problem;
}

struct row {
    const char *head;
    unsigned status; /* 0: forwarded */
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct request_problem problem = problem_of(rows[i].head);
        if (problem.status != rows[i].status) {
            fail_msg("%u (%s), not %u:\n%s", problem.status, problem.detail, rows[i].status, rows[i].head);
        }
        assert_int_equal(problem.detail != NULL, problem.status != 0);
    }
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof *(rows))

static void assert_slice(struct slice slice, const char *expected)
{
    if (!slice_equals(slice, slice_of(expected))) {
        fail_msg("\"%.*s\" is not \"%s\"", (int)slice.length, slice.at, expected);
    }
}

/* ---- what is refused ------------------------------------------------------------------------------------------- */

static void methods_are_tokens_and_open_no_tunnel(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "GET / HTTP/1.1" HOST, 0 },
        { "PURGE / HTTP/1.1" HOST, 0 },
        { "!#$%&'*+-.^_`|~09Az / HTTP/1.1" HOST, 0 },
        { "post / HTTP/1.1" HOST, 0 }, /* another method than POST: case counts */
        { "CONNECT gw.test:443 HTTP/1.1" HOST, 405 },
        { "CONNECT / HTTP/1.1" HOST, 405 },
        { "TRACE / HTTP/1.1" HOST, 405 },
        { "connect gw.test:443 HTTP/1.1" HOST, 400 },
        { " / HTTP/1.1" HOST, 400 },
        { "G(T / HTTP/1.1" HOST, 400 },
        { "GE\x01T / HTTP/1.1" HOST, 400 },
        { "G\xc3\x89T / HTTP/1.1" HOST, 400 },
        { "GET\t/ / HTTP/1.1" HOST, 400 },
    };
    CHECK_ROWS(rows);
}

static void two_versions_are_served(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "GET / HTTP/1.1" HOST, 0 },   { "GET / HTTP/1.0" HOST, 0 },    { "GET / HTTP/1.2" HOST, 505 },
        { "GET / HTTP/1.9" HOST, 505 }, { "GET / HTTP/2.0" HOST, 505 },  { "GET / HTTP/0.9" HOST, 505 },
        { "GET / http/1.1" HOST, 505 }, { "GET / HTTP/1.1x" HOST, 505 }, { "GET / HTTP/01.1" HOST, 505 },
        { "GET / " HOST, 505 },
    };
    CHECK_ROWS(rows);
}

static void targets_are_paths_or_urls(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "GET /a?b=|{}\"<>^ HTTP/1.1" HOST, 0 },
        { "OPTIONS * HTTP/1.1" HOST, 0 },
        { "GET * HTTP/1.1" HOST, 400 },
        { "GET http://gw.test/x HTTP/1.1" HOST, 0 },
        { "GET https://gw.test HTTP/1.1" HOST, 0 },
        { "GET http://user@gw.test/ HTTP/1.1" HOST, 400 },
        { "GET http:///x HTTP/1.1" HOST, 400 },
        { "GET http://:80/x HTTP/1.1" HOST, 400 },
        { "GET http://a,b/x HTTP/1.1" HOST, 400 },
        { "GET ftp://gw.test/x HTTP/1.1" HOST, 400 },
        { "GET gw.test:80 HTTP/1.1" HOST, 400 },
        { "GET login HTTP/1.1" HOST, 400 },
        { "GET  HTTP/1.1" HOST, 400 },
        { "GET /a b HTTP/1.1" HOST, 400 },
        { "GET /a\x01 HTTP/1.1" HOST, 400 },
        { "GET /\xc3\xa9 HTTP/1.1" HOST, 400 },
        { "GET /login# HTTP/1.1" HOST, 400 },
        { "GET /login%00 HTTP/1.1" HOST, 400 },
        { "GET /%zz HTTP/1.1" HOST, 400 },
        { "GET \\login HTTP/1.1" HOST, 400 },
        { "GET /login\\ HTTP/1.1" HOST, 400 },
        /* a servlet container reads these as ".." and "." */
        { "GET /x/..;/login HTTP/1.1" HOST, 400 },
        { "GET /x/%2e%2e;a=b/login HTTP/1.1" HOST, 400 },
        { "GET /.;/login HTTP/1.1" HOST, 400 },
        { "GET /login;x=1 HTTP/1.1" HOST, 0 },
        { "GET /a..;/b HTTP/1.1" HOST, 0 },
        { "GET /...;/b HTTP/1.1" HOST, 0 },
    };
    CHECK_ROWS(rows);
}

static void there_is_one_host_and_it_is_one(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "GET / HTTP/1.1", 400 },
        { "GET / HTTP/1.0", 0 },
        { "GET http://gw.test/ HTTP/1.1", 400 }, /* demanded even there: RFC 9112 §3.2 */
        { "GET / HTTP/1.1\nHost:", 400 },
        { "GET / HTTP/1.0\nHost:", 400 },
        { "GET / HTTP/1.1\nHost: a\nHost: b", 400 },
        { "GET / HTTP/1.1\nHost: a\nHost: a", 400 },
        { "GET / HTTP/1.0\nHost: a\nhOST: a", 400 },
        { "GET / HTTP/1.1\nHost: a, b", 400 },
        { "GET / HTTP/1.1\nHost: a b", 400 },
        { "GET / HTTP/1.1\nHost: a/b", 400 },
        { "GET / HTTP/1.1\nHost: user@a", 400 },
        { "GET / HTTP/1.1\nHost: a:65536", 400 },
        { "GET / HTTP/1.1\nHost: a:8080", 0 },
        { "GET / HTTP/1.1\nHost: [::1]:8080", 0 },
        { "GET / HTTP/1.1\nHost: ::1", 400 },
        { "GET http://a/ HTTP/1.1\nHost: b", 0 },
        { "GET http://a/ HTTP/1.1\nHost: b c", 400 },
    };
    CHECK_ROWS(rows);
}

static void fields_are_tokens_and_text(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "GET / HTTP/1.1" HOST "\nX: \xe9\xff\ttab", 0 },
        { "GET / HTTP/1.1" HOST "\nX-Empty:", 0 },
        { "GET / HTTP/1.1" HOST "\nContent_Length: 5", 0 },
        { "GET / HTTP/1.1" HOST "\n: 5", 400 },
        { "GET / HTTP/1.1" HOST "\nContent-Length : 5", 400 },
        { "GET / HTTP/1.1" HOST "\n Folded: 5", 400 },
        { "GET / HTTP/1.1" HOST "\nX(: 5", 400 },
        { "GET / HTTP/1.1" HOST "\nX\xc3\xa9: 5", 400 },
        { "GET / HTTP/1.1" HOST "\nX\x01: 5", 400 },
        { "GET / HTTP/1.1" HOST "\nX: a\x01", 400 },
        { "GET / HTTP/1.1" HOST "\nX: a\rb", 400 },
        { "GET / HTTP/1.1" HOST "\nX: a\x7f", 400 },
        { "GET / HTTP/1.1" HOST "\nX: a\x1b[31m", 400 },
    };
    CHECK_ROWS(rows);
}

static void nul_and_line_feed_in_a_value_are_refused(void **state)
{
    (void)state;
    static const char *const bytes[] = { "a\0b", "a\nb" };
    for (size_t i = 0; i < 2; i++) {
        struct head *head = head_of("GET / HTTP/1.1" HOST "\nX: ?");
        head->request.fields[1].value = (struct slice){ bytes[i], 3 };
        assert_int_equal(head_check(head).status, 400);
        head_free(&head);
    }
}

static void a_body_has_one_plain_length(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "POST / HTTP/1.1" HOST, 0 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 0", 0 },
        { "GET / HTTP/1.1" HOST "\nContent-Length: 5", 0 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 0005", 0 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 9223372036854775807", 0 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 9223372036854775808", 413 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 18446744073709551617", 413 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 00000000000000000005", 413 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 99999999999999999999999x", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 5\nContent-Length: 6", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 5\ncontent-length: 5", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 5, 5", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length:", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: +5", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: -5", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 0x5", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 5 5", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 1e3", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 5;", 400 },
        { "POST / HTTP/1.0" HOST "\nContent-Length: 5", 0 },
    };
    CHECK_ROWS(rows);
}

static void chunked_is_the_only_coding_and_stands_alone(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked", 0 },
        { "POST / HTTP/1.1" HOST "\ntransfer-encoding: CHUNKED", 0 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: gzip, chunked", 501 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked, gzip", 501 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked, chunked", 501 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked;q=1", 501 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: xchunked", 501 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: \"chunked\"", 501 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: identity", 501 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding:", 501 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked\x0b", 400 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked", 400 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked\nTransfer-Encoding: identity", 400 },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked\nContent-Length: 5", 400 },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 5\nTransfer-Encoding: gzip", 400 },
        { "POST / HTTP/1.0" HOST "\nTransfer-Encoding: chunked", 400 },
    };
    CHECK_ROWS(rows);
}

static void expectations_that_cannot_be_met_are_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "POST / HTTP/1.1" HOST "\nContent-Length: 5\nExpect: 100-Continue", 0 },
        { "GET / HTTP/1.1" HOST "\nExpect: 100-continue", 0 },
        { "POST / HTTP/1.1" HOST "\nExpect: 200-ok", 417 },
        { "POST / HTTP/1.1" HOST "\nExpect: 100-continue, foo", 417 },
        { "POST / HTTP/1.1" HOST "\nExpect: 100-continue\nExpect: foo", 417 },
        { "POST / HTTP/1.1" HOST "\nExpect:", 417 },
        { "POST / HTTP/1.0" HOST "\nExpect: foo", 0 },
    };
    CHECK_ROWS(rows);
}

static void connection_names_few_options(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "GET / HTTP/1.1" HOST "\nConnection: 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", 0 },
        { "GET / HTTP/1.1" HOST "\nConnection: 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", 431 },
        { "GET / HTTP/1.1" HOST "\nConnection: ,,,,,,,\nConnection: ,,,,,,,", 0 },
        { "GET / HTTP/1.1" HOST "\nConnection: ,,,,,,,\nConnection: ,,,,,,,\nConnection:", 431 },
    };
    CHECK_ROWS(rows);
}

static void too_little_scratch_is_a_head_too_large(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "GET /some/path HTTP/1.1\nHost: gw.test",
        "GET http://gw.test?query HTTP/1.1\nHost: gw.test",
        "OPTIONS * HTTP/1.1\nHost: [1::3:4:5:6:7:8]",
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        bool fits_before = false;
        for (size_t size = 0; size < 64; size++) {
            struct head *head = head_of(heads[i]);
            char *scratch = malloc(size);
            struct request_problem problem = request_check(&head->request, scratch, size);
            assert_true(problem.status == 0 || (problem.status == 431 && !fits_before));
            fits_before = problem.status == 0;
            free(scratch);
            head_free(&head);
        }
        assert_true(fits_before);
    }
}

/* ---- what is known afterwards ---------------------------------------------------------------------------------- */

static void target_and_host_are_known_in_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *head, *authority, *host, *origin_form, *path, *query;
    } rows[] = {
        { "GET /login HTTP/1.1\nHost: gw.test", "gw.test", "gw.test", "/login", "/login", "" },
        { "GET /x/..//%6cogin?a=%2E HTTP/1.1\nHost: GW.TEST.:80", "GW.TEST.:80", "gw.test", "/x/..//%6cogin?a=%2E",
          "/login", "a=%2E" },
        { "GET http://GW.test:80/login HTTP/1.1\nHost: other", "GW.test:80", "gw.test", "/login", "/login", "" },
        { "GET http://gw.test HTTP/1.1\nHost: other", "gw.test", "gw.test", "/", "/", "" },
        { "GET http://gw.test?a=b HTTP/1.1\nHost: other", "gw.test", "gw.test", "/?a=b", "/", "a=b" },
        { "GET http://gw.test?a=b HTTP/1.1\nHost: a-longer.other", "gw.test", "gw.test", "/?a=b", "/", "a=b" },
        { "GET http://gw.test/? HTTP/1.0", "gw.test", "gw.test", "/?", "/", "" },
        { "OPTIONS http://gw.test HTTP/1.1\nHost: gw.test", "gw.test", "gw.test", "*", "*", "" },
        { "OPTIONS http://gw.test? HTTP/1.1\nHost: gw.test", "gw.test", "gw.test", "/?", "/", "" },
        { "OPTIONS * HTTP/1.1\nHost: gw.test", "gw.test", "gw.test", "*", "*", "" },
        { "OPTIONS / HTTP/1.1\nHost: [1::3:4:5:6:7:8]", "[1::3:4:5:6:7:8]", "[1:0:3:4:5:6:7:8]", "/", "/", "" },
        { "GET / HTTP/1.0", "", "", "/", "/", "" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct head *head = head_of(rows[i].head);
        assert_int_equal(head_check(head).status, 0);
        assert_slice(head->request.authority, rows[i].authority);
        assert_slice(head->request.host, rows[i].host);
        assert_slice(head->request.origin_form, rows[i].origin_form);
        assert_slice(head->request.path, rows[i].path);
        assert_slice(head->request.query, rows[i].query);
        head_free(&head);
    }
}

static void no_spelling_of_login_is_another_path(void **state)
{
    (void)state;
    static const char *const spellings[] = {
        "/login",           "//login",       "/./login",      "/x/../login",          "/%6cogin",
        "/login?x",         "/%2e%2e/login", "/x/%2e./login", "http://gw.test/login", "/../login",
        "/x/y/../../login",
    };
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        char text[100];
        snprintf(text, sizeof text, "GET %s HTTP/1.1" HOST, spellings[i]);
        struct head *head = head_of(text);
        assert_int_equal(head_check(head).status, 0);
        assert_slice(head->request.path, "/login");
        head_free(&head);
    }
}

static void body_and_wishes_are_known(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        enum request_body body;
        uint64_t length;
        bool http_1_0, expect_continue, upgrade, wants_close;
    } rows[] = {
        { "GET / HTTP/1.1" HOST, REQUEST_NO_BODY, 0, false, false, false, false },
        { "GET / HTTP/1.0" HOST, REQUEST_NO_BODY, 0, true, false, false, true },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 0", REQUEST_LENGTH, 0, false, false, false, false },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 12", REQUEST_LENGTH, 12, false, false, false, false },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked", REQUEST_CHUNKED, 0, false, false, false, false },
        /* Connection */
        { "GET / HTTP/1.1" HOST "\nConnection: CLOSE", REQUEST_NO_BODY, 0, false, false, false, true },
        { "GET / HTTP/1.1" HOST "\nConnection: x ,\tclose,", REQUEST_NO_BODY, 0, false, false, false, true },
        { "GET / HTTP/1.1" HOST "\nConnection: x\nConnection: close", REQUEST_NO_BODY, 0, false, false, false, true },
        { "GET / HTTP/1.1" HOST "\nConnection: closed", REQUEST_NO_BODY, 0, false, false, false, false },
        { "GET / HTTP/1.0" HOST "\nConnection: Keep-Alive", REQUEST_NO_BODY, 0, true, false, false, false },
        { "GET / HTTP/1.0" HOST "\nConnection: keep-alive, close", REQUEST_NO_BODY, 0, true, false, false, true },
        /* Expect */
        { "POST / HTTP/1.1" HOST "\nContent-Length: 5\nExpect: 100-continue", REQUEST_LENGTH, 5, false, true, false,
          false },
        { "POST / HTTP/1.1" HOST "\nTransfer-Encoding: chunked\nExpect: 100-CONTINUE", REQUEST_CHUNKED, 0, false, true,
          false, false },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 0\nExpect: 100-continue", REQUEST_LENGTH, 0, false, false, false,
          false },
        { "POST / HTTP/1.0" HOST "\nContent-Length: 5\nExpect: 100-continue", REQUEST_LENGTH, 5, true, false, false,
          true },
        /* Upgrade */
        { "GET / HTTP/1.1" HOST "\nConnection: Upgrade\nUpgrade: websocket", REQUEST_NO_BODY, 0, false, false, true,
          false },
        { "GET / HTTP/1.1" HOST "\nConnection: keep-alive, upgrade\nUpgrade: echo/2", REQUEST_NO_BODY, 0, false, false,
          true, false },
        { "GET / HTTP/1.1" HOST "\nUpgrade: websocket", REQUEST_NO_BODY, 0, false, false, false, false },
        { "GET / HTTP/1.1" HOST "\nConnection: upgrade", REQUEST_NO_BODY, 0, false, false, false, false },
        { "GET / HTTP/1.1" HOST "\nConnection: upgrade\nUpgrade:", REQUEST_NO_BODY, 0, false, false, false, false },
        { "GET / HTTP/1.0" HOST "\nConnection: upgrade, keep-alive\nUpgrade: websocket", REQUEST_NO_BODY, 0, true,
          false, false, false },
        { "POST / HTTP/1.1" HOST "\nContent-Length: 5\nConnection: upgrade\nUpgrade: websocket", REQUEST_LENGTH, 5,
          false, false, false, false },
        /* no tunnel in which further requests would pass unseen */
        { "GET / HTTP/1.1" HOST "\nConnection: upgrade\nUpgrade: h2c", REQUEST_NO_BODY, 0, false, false, false, false },
        { "GET / HTTP/1.1" HOST "\nConnection: upgrade\nUpgrade: websocket, H2C", REQUEST_NO_BODY, 0, false, false,
          false, false },
        { "GET / HTTP/1.1" HOST "\nConnection: upgrade\nUpgrade: TLS/1.2", REQUEST_NO_BODY, 0, false, false, false,
          false },
        { "GET / HTTP/1.1" HOST "\nConnection: upgrade\nUpgrade: websocket\nUpgrade: HTTP/2.0", REQUEST_NO_BODY, 0,
          false, false, false, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct head *head = head_of(rows[i].head);
        assert_int_equal(head_check(head).status, 0);
        const struct request *request = &head->request;
        if (request->body != rows[i].body || request->content_length != rows[i].length ||
            request->http_1_0 != rows[i].http_1_0 || request->expect_continue != rows[i].expect_continue ||
            request->upgrade != rows[i].upgrade || request->wants_close != rows[i].wants_close) {
            fail_msg("otherwise: %s", rows[i].head);
        }
        head_free(&head);
    }
}

static void what_an_earlier_request_left_is_forgotten(void **state)
{
    (void)state;
    struct head *head = head_of("GET /a HTTP/1.1" HOST);
    struct request *request = &head->request;
    request->body = REQUEST_CHUNKED;
    request->content_length = 9;
    request->http_1_0 = request->expect_continue = request->upgrade = request->wants_close = true;
    request->query = SLICE("left");
    assert_int_equal(head_check(head).status, 0);
    assert_int_equal(request->body, REQUEST_NO_BODY);
    assert_int_equal(request->content_length, 0);
    assert_false(request->http_1_0 || request->expect_continue || request->upgrade || request->wants_close);
    assert_slice(request->query, "");
    head_free(&head);
}

/* ---- fields and lists ------------------------------------------------------------------------------------------ */

static void fields_are_found_without_case(void **state)
{
    (void)state;
    struct head *head = head_of("GET / HTTP/1.1" HOST "\nX-Key: a\nx-kEY: b");
    assert_slice(request_field(&head->request, SLICE("x-key"))->value, "a");
    assert_slice(request_field(&head->request, SLICE("HOST"))->value, "gw.test");
    assert_null(request_field(&head->request, SLICE("x-ke")));
    head_free(&head);
}

static void hop_by_hop_fields_stay_here_and_no_others(void **state)
{
    (void)state;
    static const struct {
        const char *connection, *name;
        bool stays;
    } rows[] = {
        { "", "Connection", true },
        { "", "Keep-Alive", true },
        { "", "proxy-connection", true },
        { "", "TE", true },
        { "", "Transfer-Encoding", true },
        { "", "Trailer", true },
        { "", "Upgrade", true },
        { "", "Proxy-Authorization", true },
        { "", "HTTP2-Settings", true },
        { "", "X-Api-Key", false },
        { "", "Host", false },
        { "", "Proxy-Authenticate", false },
        { "x-secret", "X-Secret", true },
        { "keep-alive , X-Secret\t,", "x-secret", true },
        { "close\nConnection: x-secret", "x-secret", true },
        { "x-secrets", "x-secret", false },
        { ", ,", "x-secret", false },
        /* what Connection may not take away */
        { "host", "Host", false },
        { "Content-Length", "Content-Length", false },
        { "content-type", "Content-Type", false },
        { "authorization", "Authorization", false },
        { "cookie", "Cookie", false },
        { "X-Forwarded-For", "X-Forwarded-For", false },
        { "x-forwarded-anything", "X-Forwarded-Anything", false },
        { "x-forwarded-", "X-Forwarded-", true },
        { "forwarded", "Forwarded", false },
        { "x-real-ip", "X-Real-Ip", false },
        { "x-request-id", "X-Request-Id", false },
        { "via", "Via", false },
        { "cache-control", "Cache-Control", false },
        { "set-cookie", "Set-Cookie", false },
        { "retry-after", "Retry-After", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200];
        snprintf(text, sizeof text, "GET / HTTP/1.1" HOST "\nConnection: %s", rows[i].connection);
        struct head *head = head_of(text);
        const struct request *request = &head->request;
        if (request_hop_by_hop(request->fields, request->field_count, slice_of(rows[i].name)) != rows[i].stays) {
            fail_msg("Connection: %s and %s", rows[i].connection, rows[i].name);
        }
        head_free(&head);
    }
    assert_false(request_hop_by_hop(NULL, 0, SLICE("x")));
}

static void lists_fall_into_their_elements(void **state)
{
    (void)state;
    struct slice list = SLICE(" a ,,\tb c\t,");
    static const char *const elements[] = { "a", "", "b c", "" };
    struct slice element;
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
        assert_true(slice_take(&list, ',', &element));
        assert_slice(element, elements[i]);
    }
    assert_false(slice_take(&list, ',', &element));
    assert_slice(slice_trim(SLICE(" \t ")), "");
    assert_false(slice_equals(SLICE("a"), SLICE("A")));
    assert_true(slice_equals_nocase(SLICE("aZ[1"), SLICE("Az[1")));
    assert_false(slice_equals_nocase(SLICE("a["), SLICE("a{"))); /* 0x20 apart, but no letters */
    assert_true(slice_equals((struct slice){ NULL, 0 }, SLICE("")));
}

static void trailers_are_field_lines_whatever_they_are_called(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        bool passes;
    } rows[] = {
        { "X-Sum", "1", true },     { "X-Sum", "", true },           { "Content-Length", "5", true },
        { "Host", "a", true },      { "X-Sum", "caf\xe9\tb", true }, { "", "1", false },
        { "X Sum", "1", false },    { "X(Sum)", "1", false },        { "X-\xe9", "1", false },
        { "X-Sum", "\x01", false }, { "X-Sum", "a\rb", false },      { "X-Sum", "\x7f", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct field field = { slice_of(rows[i].name), slice_of(rows[i].value) };
        assert_int_equal(request_check_trailer(&field) == NULL, rows[i].passes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_are_tokens_and_open_no_tunnel),
        cmocka_unit_test(two_versions_are_served),
        cmocka_unit_test(targets_are_paths_or_urls),
        cmocka_unit_test(there_is_one_host_and_it_is_one),
        cmocka_unit_test(fields_are_tokens_and_text),
        cmocka_unit_test(nul_and_line_feed_in_a_value_are_refused),
        cmocka_unit_test(a_body_has_one_plain_length),
        cmocka_unit_test(chunked_is_the_only_coding_and_stands_alone),
        cmocka_unit_test(expectations_that_cannot_be_met_are_refused),
        cmocka_unit_test(connection_names_few_options),
        cmocka_unit_test(too_little_scratch_is_a_head_too_large),
        cmocka_unit_test(target_and_host_are_known_in_one_spelling),
        cmocka_unit_test(no_spelling_of_login_is_another_path),
        cmocka_unit_test(body_and_wishes_are_known),
        cmocka_unit_test(trailers_are_field_lines_whatever_they_are_called),
        cmocka_unit_test(what_an_earlier_request_left_is_forgotten),
        cmocka_unit_test(fields_are_found_without_case),
        cmocka_unit_test(hop_by_hop_fields_stay_here_and_no_others),
        cmocka_unit_test(lists_fall_into_their_elements),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
