/* forward: heads for upstreams, compared byte for byte; and who may say what about the client. */
#include "forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A request of one line per field, "Name: value", as request_check() would have left it. */
static struct request request_of(const char *method, const char *target, const char *lines)
{
    struct request request = { .method = { method, strlen(method) },
                               .version = SLICE("HTTP/1.1"),
                               .origin_form = { target, strlen(target) },
                               .authority = SLICE("api.example.com:8080") };
    while (*lines != 0) {
        const char *end = strchr(lines, '\n');
        const char *colon = strchr(lines, ':');
        const char *value = colon + 1 + strspn(colon + 1, " ");
        request.fields[request.field_count++] =
            (struct field){ { lines, (size_t)(colon - lines) }, { value, (size_t)(end - value) } };
        lines = end + 1;
    }
    return request;
}

/* The head with "\r\n" shown as "\n". */
static const char *head_of(const struct request *request, bool trusted, void (*change)(struct forward *forward))
{
    static char shown[8192];
    char head[8192];
    struct forward forward = {
        .request = request, .client = SLICE("203.0.113.7"), .peer_trusted = trusted, .request_id = SLICE("01JID")
    };
    if (change != NULL) {
        change(&forward);
    }
    size_t length = forward_head(&forward, head, sizeof head);
    assert_true(length > 0);
    assert_memory_equal(head + length - 4, "\r\n\r\n", 4);
    size_t at = 0;
    for (size_t i = 0; i < length; i++) {
        if (head[i] != '\r') {
            shown[at++] = head[i];
        }
    }
    shown[at] = 0;
    return shown;
}

static void a_plain_request_goes_out_as_it_came_with_its_provenance(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/v1/x?y=%2F",
                                        "Host: api.example.com:8080\n"
                                        "User-Agent: curl/8\n"
                                        "ACCEPT: */*\n"
                                        "Empty:\n"
                                        "traceparent: 00-abc\n");
    assert_string_equal(head_of(&request, false, NULL), "GET /v1/x?y=%2F HTTP/1.1\n"
                                                        "Host: api.example.com:8080\n"
                                                        "User-Agent: curl/8\n"
                                                        "ACCEPT: */*\n"
                                                        "Empty: \n"
                                                        "traceparent: 00-abc\n"
                                                        "X-Forwarded-For: 203.0.113.7\n"
                                                        "X-Forwarded-Proto: http\n"
                                                        "X-Forwarded-Host: api.example.com:8080\n"
                                                        "X-Request-Id: 01JID\n"
                                                        "Via: 1.1 weir\n"
                                                        "\n");
}

static void a_stranger_cannot_say_where_it_came_from(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/",
                                        "X-Forwarded-For: 10.0.0.1\n"
                                        "x-forwarded-FOR: 127.0.0.1\n"
                                        "X-Forwarded-Proto: https\n"
                                        "X-Forwarded-Host: admin.internal\n"
                                        "Forwarded: for=10.0.0.1\n"
                                        "X-Request-Id: forged\n"
                                        "X-Weir-Over-Limit: none\n"
                                        "Via: 1.0 fred\n");
    request.tls = true;
    assert_string_equal(head_of(&request, false, NULL), "GET / HTTP/1.1\n"
                                                        "Host: api.example.com:8080\n"
                                                        "X-Forwarded-For: 203.0.113.7\n"
                                                        "X-Forwarded-Proto: https\n"
                                                        "X-Forwarded-Host: api.example.com:8080\n"
                                                        "X-Request-Id: 01JID\n"
                                                        "Via: 1.0 fred, 1.1 weir\n"
                                                        "\n");
}

static void a_trusted_peer_is_believed_and_appended_to(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/",
                                        "X-Forwarded-For: 198.51.100.1, 198.51.100.2\n"
                                        "X-Forwarded-For:\n"
                                        "Forwarded: for=198.51.100.1\n"
                                        "X-Forwarded-For: 198.51.100.3\n"
                                        "X-Forwarded-Proto: https\n"
                                        "X-Forwarded-Host: shop.example\n"
                                        "X-Request-Id: theirs\n"
                                        "Via: 1.1 edge\n"
                                        "Via: 1.1 lb\n");
    assert_string_equal(head_of(&request, true, NULL),
                        "GET / HTTP/1.1\n"
                        "Host: api.example.com:8080\n"
                        "Forwarded: for=198.51.100.1\n"
                        "X-Forwarded-Proto: https\n"
                        "X-Forwarded-Host: shop.example\n"
                        "X-Forwarded-For: 198.51.100.1, 198.51.100.2, 198.51.100.3, 203.0.113.7\n"
                        "X-Request-Id: 01JID\n"
                        "Via: 1.1 edge, 1.1 lb, 1.1 weir\n"
                        "\n");
}

static void what_a_trusted_peer_left_out_is_set(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/", "Accept: a\n");
    assert_string_equal(head_of(&request, true, NULL), "GET / HTTP/1.1\n"
                                                       "Host: api.example.com:8080\n"
                                                       "Accept: a\n"
                                                       "X-Forwarded-For: 203.0.113.7\n"
                                                       "X-Forwarded-Proto: http\n"
                                                       "X-Forwarded-Host: api.example.com:8080\n"
                                                       "X-Request-Id: 01JID\n"
                                                       "Via: 1.1 weir\n"
                                                       "\n");
}

/* Origins that turn "-" and "_" into one variable would take the alias for the real field. */
static void an_underscore_is_no_way_round_from_anybody(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/",
                                        "X_Forwarded_For: 10.0.0.1\n"
                                        "X-Forwarded_Proto: https\n"
                                        "x_weir_over_limit: none\n"
                                        "Content_Length: 5\n"
                                        "X_Own: stays\n");
    for (int trusted = 0; trusted < 2; trusted++) {
        assert_string_equal(head_of(&request, trusted, NULL), "GET / HTTP/1.1\n"
                                                              "Host: api.example.com:8080\n"
                                                              "X_Own: stays\n"
                                                              "X-Forwarded-For: 203.0.113.7\n"
                                                              "X-Forwarded-Proto: http\n"
                                                              "X-Forwarded-Host: api.example.com:8080\n"
                                                              "X-Request-Id: 01JID\n"
                                                              "Via: 1.1 weir\n"
                                                              "\n");
    }
}

static void hop_by_hop_fields_stop_here_and_connection_cannot_name_ours(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/",
                                        "X-Hop: 1\n"
                                        "Connection: keep-alive, x-hop\n"
                                        "Keep-Alive: timeout=5\n"
                                        "Proxy-Connection: keep-alive\n"
                                        "TE: trailers\n"
                                        "Authorization: Bearer t\n"
                                        "Accept: a\n"
                                        "Connection: X-Other, X-Forwarded-For, Authorization\n"
                                        "X-Other: 2\n"
                                        "Upgrade: websocket\n"
                                        "X-Forwarded-For: 198.51.100.1\n"
                                        "Last: l\n");
    assert_string_equal(head_of(&request, true, NULL), "GET / HTTP/1.1\n"
                                                       "Host: api.example.com:8080\n"
                                                       "Authorization: Bearer t\n"
                                                       "Accept: a\n"
                                                       "Last: l\n"
                                                       "X-Forwarded-For: 198.51.100.1, 203.0.113.7\n"
                                                       "X-Forwarded-Proto: http\n"
                                                       "X-Forwarded-Host: api.example.com:8080\n"
                                                       "X-Request-Id: 01JID\n"
                                                       "Via: 1.1 weir\n"
                                                       "\n");
}

static void asks_upgrade(struct forward *forward)
{
    forward->upgrade = true;
}

static void an_upgrade_is_asked_for_only_when_the_gateway_will_tunnel(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/chat",
                                        "Connection: Upgrade, X-Hop\n"
                                        "X-Hop: 1\n"
                                        "Upgrade: websocket\n"
                                        "Sec-WebSocket-Key: k\n");
    request.upgrade = true;
    assert_null(strstr(head_of(&request, false, NULL), "pgrade"));
    assert_string_equal(head_of(&request, false, asks_upgrade), "GET /chat HTTP/1.1\n"
                                                                "Host: api.example.com:8080\n"
                                                                "Upgrade: websocket\n"
                                                                "Sec-WebSocket-Key: k\n"
                                                                "X-Forwarded-For: 203.0.113.7\n"
                                                                "X-Forwarded-Proto: http\n"
                                                                "X-Forwarded-Host: api.example.com:8080\n"
                                                                "X-Request-Id: 01JID\n"
                                                                "Via: 1.1 weir\n"
                                                                "Connection: upgrade\n"
                                                                "\n");
}

static void the_body_is_framed_anew(void **state)
{
    (void)state;
    struct request request = request_of("POST", "/",
                                        "Content-Length: 0042\n"
                                        "Transfer-Encoding: gzip\n"
                                        "Expect: 100-continue\n");
    request.body = REQUEST_LENGTH;
    request.content_length = 42;
    assert_non_null(strstr(head_of(&request, false, NULL), "\nVia: 1.1 weir\nContent-Length: 42\n\n"));
    request.content_length = 0;
    assert_non_null(strstr(head_of(&request, false, NULL), "\nVia: 1.1 weir\nContent-Length: 0\n\n"));
    request.body = REQUEST_CHUNKED;
    assert_non_null(strstr(head_of(&request, false, NULL), "\nVia: 1.1 weir\nTransfer-Encoding: chunked\n\n"));
    request.body = REQUEST_NO_BODY;
    assert_non_null(strstr(head_of(&request, false, NULL), "\nVia: 1.1 weir\n\n"));
    assert_null(strstr(head_of(&request, false, NULL), "Expect"));
}

static void an_http_1_0_request_without_host_still_gets_one(void **state)
{
    (void)state;
    struct request request = request_of("HEAD", "/", "");
    request.http_1_0 = true;
    request.authority = (struct slice){ NULL, 0 };
    assert_string_equal(head_of(&request, false, NULL), "HEAD / HTTP/1.1\n"
                                                        "Host: localhost\n"
                                                        "X-Forwarded-For: 203.0.113.7\n"
                                                        "X-Forwarded-Proto: http\n"
                                                        "X-Request-Id: 01JID\n"
                                                        "Via: 1.0 weir\n"
                                                        "\n");
}

static void went_over(struct forward *forward)
{
    forward->over_limit = SLICE("per-key, daily");
}

static void a_soft_limit_tells_the_upstream(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/", "x-weir-over-limit: forged\n");
    const char *head = head_of(&request, false, went_over);
    assert_non_null(strstr(head, "\nx-weir-over-limit: per-key, daily\n"));
    assert_null(strstr(head, "forged"));
}

static void a_head_that_does_not_fit_is_not_begun(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/", "Accept: a\n");
    struct forward forward = { .request = &request, .client = SLICE("203.0.113.7"), .request_id = SLICE("01JID") };
    char head[512];
    size_t whole = forward_head(&forward, head, sizeof head);
    assert_true(whole > 0);
    for (size_t size = 0; size < whole; size++) {
        char *exact = malloc(size + 1); /* so that a byte too many is seen */
        assert_int_equal(forward_head(&forward, exact, size), 0);
        free(exact);
    }
    assert_int_equal(forward_head(&forward, head, whole), whole);
}

static void a_full_head_passes_whole(void **state)
{
    (void)state;
    struct request request = request_of("GET", "/", "");
    for (size_t i = 0; i < REQUEST_FIELDS_MAX; i++) {
        request.fields[request.field_count++] = (struct field){ SLICE("X-F"), SLICE("v") };
    }
    const char *head = head_of(&request, true, NULL);
    size_t count = 0;
    for (const char *at = head; (at = strstr(at, "X-F: v\n")) != NULL; at++) {
        count++;
    }
    assert_int_equal(count, REQUEST_FIELDS_MAX);
}

static void a_response_keeps_its_own_fields_and_loses_those_of_the_hop(void **state)
{
    (void)state;
    static const struct {
        struct field field;
        bool drops;
    } cases[] = {
        { { { "Content-Type", 12 }, { "a", 1 } }, false },
        { { { "content-LENGTH", 14 }, { "1", 1 } }, true },
        { { { "Transfer-Encoding", 17 }, { "chunked", 7 } }, true },
        { { { "Connection", 10 }, { "close, X-Hop", 12 } }, true },
        { { { "Keep-Alive", 10 }, { "timeout=5", 9 } }, true },
        { { { "Proxy-Connection", 16 }, { "close", 5 } }, true },
        { { { "Trailer", 7 }, { "X", 1 } }, true },
        { { { "Upgrade", 7 }, { "h2c", 3 } }, true },
        { { { "X-Hop", 5 }, { "1", 1 } }, true },
        { { { "RateLimit", 9 }, { "\"u\";r=1", 7 } }, false },
        { { { "Set-Cookie", 10 }, { "a=b", 3 } }, false },
        { { { "X-Request-Id", 12 }, { "u", 1 } }, false },
    };
    struct field fields[sizeof cases / sizeof *cases];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fields[i] = cases[i].field;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(forward_drops(fields, sizeof cases / sizeof *cases, &fields[i]), cases[i].drops);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_goes_out_as_it_came_with_its_provenance),
        cmocka_unit_test(a_stranger_cannot_say_where_it_came_from),
        cmocka_unit_test(a_trusted_peer_is_believed_and_appended_to),
        cmocka_unit_test(what_a_trusted_peer_left_out_is_set),
        cmocka_unit_test(an_underscore_is_no_way_round_from_anybody),
        cmocka_unit_test(hop_by_hop_fields_stop_here_and_connection_cannot_name_ours),
        cmocka_unit_test(an_upgrade_is_asked_for_only_when_the_gateway_will_tunnel),
        cmocka_unit_test(the_body_is_framed_anew),
        cmocka_unit_test(an_http_1_0_request_without_host_still_gets_one),
        cmocka_unit_test(a_soft_limit_tells_the_upstream),
        cmocka_unit_test(a_head_that_does_not_fit_is_not_begun),
        cmocka_unit_test(a_full_head_passes_whole),
        cmocka_unit_test(a_response_keeps_its_own_fields_and_loses_those_of_the_hop),
    };
    return cmocka_run_group_tests_name("forward", tests, NULL, NULL);
}
