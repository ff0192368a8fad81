/* reply: the gateway's own answers, compared byte for byte with what users were promised. */
#include "reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

static char per_key[] = "per-key", in_flight[] = "in-flight", x_api_key[] = "x-api-key";
static struct config_source api_key = { .kind = CONFIG_SOURCE_HEADER, .name = x_api_key };
static struct config_limit limits[] = {
    { .name = per_key,
      .kind = CONFIG_LIMIT_RATE,
      .rate = { 1000, 60 * SECOND },
      .burst = 200,
      .sources = &api_key,
      .source_count = 1 },
    { .name = in_flight, .kind = CONFIG_LIMIT_CONCURRENCY, .concurrency = 20, .sources = &api_key, .source_count = 1 },
};
static size_t both_limits[] = { 0, 1 };
static struct config_route routes[] = {
    { .limits = both_limits, .limit_count = 1 },
    { .limits = both_limits, .limit_count = 2 },
    { .limit_count = 0 },
};
static const struct config config = {
    .limits = limits, .limit_count = 2, .routes = routes, .route_count = 3, .headers = CONFIG_HEADERS_DRAFT_11
};

/* The answer as it would look on the wire, without what the front adds. */
static const char *spelled(const struct reply *reply)
{
    static char out[8192];
    int at = snprintf(out, sizeof out, "%u %s\n", reply->status, reply_reason(reply->status));
    for (size_t i = 0; i < reply->field_count; i++) {
        const struct field *field = &reply->fields[i];
        at += snprintf(out + at, sizeof out - (size_t)at, "%.*s: %.*s\n", (int)field->name.length, field->name.at,
                       (int)field->value.length, field->value.at);
    }
    snprintf(out + at, sizeof out - (size_t)at, "\n%.*s", (int)reply->body.length, reply->body.at);
    return out;
}

static void a_refusal_is_spelled_as_promised(void **state)
{
    (void)state;
    struct reply_limit denied = { .limit = 0,
                                  .answer = { .capacity = 200, .retry_after_ns = 3 * SECOND },
                                  .retry_after_s = 3 };
    struct reply reply;
    reply_refused(&reply, &config, 0, 429, &denied, 1, SLICE("01JABC"));
    assert_string_equal(spelled(&reply), "429 Too Many Requests\n"
                                         "Content-Type: application/problem+json\n"
                                         "Retry-After: 3\n"
                                         "RateLimit-Policy: \"per-key\";q=200;w=12\n"
                                         "RateLimit: \"per-key\";r=0;t=3\n"
                                         "Cache-Control: no-store\n"
                                         "X-Request-Id: 01JABC\n"
                                         "\n"
                                         "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\","
                                         "\"title\":\"Too Many Requests\",\"status\":429,"
                                         "\"detail\":\"limit per-key allows 1000 per minute; try again in 3 s\","
                                         "\"violated-policies\":[\"per-key\"],\"instance\":\"01JABC\"}\n");
    assert_false(reply.close);
}

static void several_limits_that_refuse_are_all_named_and_the_longest_wait_counts(void **state)
{
    (void)state;
    struct reply_limit denied[] = { { .limit = 1, .answer = { .capacity = 20 }, .retry_after_s = 7 },
                                    { .limit = 0, .answer = { .capacity = 200 }, .retry_after_s = 2 } };
    struct reply reply;
    reply_refused(&reply, &config, 1, 503, denied, 2, SLICE("id"));
    assert_string_equal(spelled(&reply),
                        "503 Service Unavailable\n"
                        "Content-Type: application/problem+json\n"
                        "Retry-After: 7\n"
                        "RateLimit-Policy: \"per-key\";q=200;w=12, \"in-flight\";q=20;qu=\"concurrent-requests\"\n"
                        "RateLimit: \"in-flight\";r=0;t=7\n"
                        "Cache-Control: no-store\n"
                        "X-Request-Id: id\n"
                        "\n"
                        "{\"type\":\"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity\","
                        "\"title\":\"Service Unavailable\",\"status\":503,"
                        "\"detail\":\"limit in-flight allows 20 requests at once; try again in 7 s\","
                        "\"violated-policies\":[\"in-flight\",\"per-key\"],\"instance\":\"id\"}\n");
}

static void a_cost_above_the_burst_is_told_that_waiting_does_not_help(void **state)
{
    (void)state;
    struct reply_limit denied = { .limit = 0, .answer = { .capacity = 200, .retry_after_ns = LIMITER_NEVER } };
    struct reply reply;
    reply_refused(&reply, &config, 0, 429, &denied, 1, SLICE("id"));
    assert_null(strstr(spelled(&reply), "Retry-After"));
    assert_non_null(strstr(spelled(&reply), "RateLimit: \"per-key\";r=0\n"));
    assert_non_null(strstr(spelled(&reply),
                           "limit per-key allows 1000 per minute, and this request asks for more than it "
                           "ever allows at once\""));
}

static void a_slot_of_unknown_wait_promises_nothing(void **state)
{
    (void)state;
    struct reply_limit denied = { .limit = 1, .answer = { .capacity = 20 } };
    struct reply reply;
    reply_refused(&reply, &config, 1, 429, &denied, 1, SLICE("id"));
    assert_null(strstr(spelled(&reply), "Retry-After"));
    assert_non_null(strstr(spelled(&reply), "\"limit in-flight allows 20 requests at once\""));
}

static void the_operator_chooses_the_fields_but_retry_after_stays(void **state)
{
    (void)state;
    struct reply_limit denied = { .limit = 0,
                                  .answer = { .capacity = 200, .reset_after_ns = 12 * SECOND },
                                  .retry_after_s = 3 };
    struct config other = config;
    struct reply reply;

    other.headers = CONFIG_HEADERS_X_RATELIMIT;
    reply_refused(&reply, &other, 0, 429, &denied, 1, SLICE("id"));
    assert_non_null(strstr(spelled(&reply), "\nRetry-After: 3\nX-RateLimit-Limit: 200\nX-RateLimit-Remaining: 0\n"
                                            "X-RateLimit-Reset: 12\nCache-Control: no-store\n"));
    other.headers = CONFIG_HEADERS_BOTH;
    reply_refused(&reply, &other, 0, 429, &denied, 1, SLICE("id"));
    assert_non_null(strstr(spelled(&reply), "\nRetry-After: 3\nRateLimit-Policy: \"per-key\";q=200;w=12\n"
                                            "RateLimit: \"per-key\";r=0;t=3\nX-RateLimit-Limit: 200\n"));
    other.headers = CONFIG_HEADERS_NONE;
    reply_refused(&reply, &other, 0, 429, &denied, 1, SLICE("id"));
    assert_non_null(strstr(spelled(&reply), "\nRetry-After: 3\nCache-Control: no-store\n"));
    assert_null(strstr(spelled(&reply), "Limit-"));
}

static void a_request_without_its_key_learns_which_is_missing(void **state)
{
    (void)state;
    struct reply reply;
    reply_keyless(&reply, &config, 1, 0, SLICE("id"));
    assert_string_equal(spelled(&reply),
                        "429 Too Many Requests\n"
                        "Content-Type: application/problem+json\n"
                        "RateLimit-Policy: \"per-key\";q=200;w=12, \"in-flight\";q=20;qu=\"concurrent-requests\"\n"
                        "Cache-Control: no-store\n"
                        "X-Request-Id: id\n"
                        "\n"
                        "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\","
                        "\"title\":\"Too Many Requests\",\"status\":429,"
                        "\"detail\":\"limit per-key needs header:x-api-key, which this request does not have\","
                        "\"violated-policies\":[\"per-key\"],\"instance\":\"id\"}\n");
}

static void every_source_of_a_key_has_a_word(void **state)
{
    (void)state;
    char session[] = "se\"ssion", page[] = "page";
    struct config_source sources[] = {
        { .kind = CONFIG_SOURCE_CLIENT_IP },
        { .kind = CONFIG_SOURCE_COOKIE, .name = session },
        { .kind = CONFIG_SOURCE_QUERY, .name = page },
        { .kind = CONFIG_SOURCE_PATH },
        { .kind = CONFIG_SOURCE_HOST },
        { .kind = CONFIG_SOURCE_METHOD },
        { .kind = CONFIG_SOURCE_ROUTE },
        { .kind = CONFIG_SOURCE_GLOBAL },
    };
    struct config_limit limit = { .name = per_key, .sources = sources, .source_count = 8, .rate = { 1, SECOND } };
    struct config_route route = { .limit_count = 0 };
    struct config alone = { .limits = &limit, .limit_count = 1, .routes = &route, .route_count = 1 };
    struct reply reply;
    reply_keyless(&reply, &alone, 0, 0, SLICE("id"));
    assert_non_null(
        strstr(spelled(&reply),
               "limit per-key needs client_ip and cookie:se\\\"ssion and query:page and path and host and method "
               "and route and global, one of which this request does not have\""));
}

static void problems_of_other_kinds_are_about_blank(void **state)
{
    (void)state;
    struct reply reply;
    reply_problem(&reply, 404, "no route for \"GET /x\"\n", SLICE("id"), 0);
    assert_string_equal(spelled(&reply), "404 Not Found\n"
                                         "Content-Type: application/problem+json\n"
                                         "Cache-Control: no-store\n"
                                         "X-Request-Id: id\n"
                                         "\n"
                                         "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"
                                         "\"detail\":\"no route for \\\"GET /x\\\"\\u000a\",\"instance\":\"id\"}\n");
    assert_false(reply.close);

    reply_problem(&reply, 503, "draining", SLICE("id"), 5);
    assert_non_null(strstr(spelled(&reply), "\nRetry-After: 5\n"));
    assert_non_null(strstr(spelled(&reply), "#temporary-reduced-capacity"));
    assert_null(strstr(spelled(&reply), "violated"));

    reply_problem(&reply, 405, "weir is no tunnel", SLICE("id"), 0);
    assert_non_null(strstr(spelled(&reply), "\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\n"));
}

static void a_head_that_had_no_id_gets_none(void **state)
{
    (void)state;
    struct reply reply;
    reply_problem(&reply, 400, "bare LF", (struct slice){ "", 0 }, 0);
    assert_string_equal(spelled(&reply), "400 Bad Request\n"
                                         "Content-Type: application/problem+json\n"
                                         "Cache-Control: no-store\n"
                                         "\n"
                                         "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
                                         "\"detail\":\"bare LF\"}\n");
}

static void what_leaves_the_framing_in_doubt_closes_the_connection(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        bool close;
    } cases[] = { { 400, true },  { 404, false }, { 405, true },  { 408, true }, { 413, true },
                  { 414, true },  { 417, true },  { 429, false }, { 431, true }, { 501, true },
                  { 502, false }, { 503, false }, { 504, false }, { 505, true } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reply reply;
        reply_problem(&reply, cases[i].status, "", SLICE("id"), 0);
        assert_int_equal(reply.close, cases[i].close);
    }
}

/* The worst that config and request can ask for: 16 limits of the longest names, the longest numbers, an endless id. */
static void the_longest_answers_fit(void **state)
{
    (void)state;
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    char long_source[2000];
    memset(long_source, '"', sizeof long_source - 1);
    long_source[sizeof long_source - 1] = 0;
    struct config_source source = { .kind = CONFIG_SOURCE_COOKIE, .name = long_source };
    struct config_source short_sources[40];
    struct config_limit many[16];
    size_t indexes[16];
    struct reply_limit denied[16];
    for (size_t i = 0; i < 40; i++) {
        short_sources[i] = (struct config_source){ .kind = CONFIG_SOURCE_HEADER, .name = per_key };
    }
    for (size_t i = 0; i < 16; i++) {
        many[i] = (struct config_limit){ .name = name,
                                         .rate = { UINT64_MAX, UINT64_MAX - 1 },
                                         .burst = UINT64_MAX,
                                         .concurrency = UINT64_MAX,
                                         .kind = i == 0 ? CONFIG_LIMIT_RATE : CONFIG_LIMIT_CONCURRENCY,
                                         .sources = i == 0 ? short_sources : &source,
                                         .source_count = i == 0 ? 40 : 1 };
        indexes[i] = i;
        denied[i] = (struct reply_limit){ .limit = i,
                                          .answer = { .capacity = UINT64_MAX, .reset_after_ns = UINT64_MAX },
                                          .retry_after_s = UINT64_MAX };
    }
    struct config_route route = { .limits = indexes, .limit_count = 16 };
    struct config worst = { .limits = many, .limit_count = 16, .routes = &route, .route_count = 1 };
    worst.headers = CONFIG_HEADERS_BOTH;
    char id[3000];
    memset(id, '"', sizeof id);

    struct reply reply;
    reply_refused(&reply, &worst, 0, 503, denied, 16, (struct slice){ id, sizeof id });
    assert_true(reply.text_length <= REPLY_TEXT_MAX);
    assert_true(reply.field_count == 9);
    denied[0].retry_after_s = 0;
    denied[0].answer.retry_after_ns = LIMITER_NEVER;
    reply_refused(&reply, &worst, 0, 503, denied, 16, (struct slice){ id, sizeof id });
    reply_keyless(&reply, &worst, 0, 0, (struct slice){ id, sizeof id });
    reply_keyless(&reply, &worst, 0, 1, (struct slice){ id, sizeof id });
    reply_problem(&reply, 405, long_source, (struct slice){ id, sizeof id }, UINT64_MAX);
    for (size_t i = 0; i < reply.field_count; i++) {
        assert_true(reply.fields[i].value.length <= REPLY_ID_MAX);
    }

    struct reply_policies *policies = reply_policies_create(&worst);
    struct field fields[5];
    char text[REPLY_LIMIT_TEXT];
    denied[0].answer = (struct limiter_answer){
        .allowed = true, .capacity = UINT64_MAX, .remaining = UINT64_MAX, .reset_after_ns = UINT64_MAX
    };
    assert_int_equal(reply_limit_fields(policies, &worst, 0, &denied[0], fields, text), 5);
    reply_policies_destroy(&policies);
}

static void a_route_may_answer_by_itself(void **state)
{
    (void)state;
    char body[] = "ok\n", type[] = "text/plain; charset=utf-8";
    struct config_respond respond = { .status = 200, .body = body, .body_length = 3, .content_type = type };
    struct reply reply;
    reply_respond(&reply, &respond);
    assert_string_equal(spelled(&reply), "200 OK\nContent-Type: text/plain; charset=utf-8\n\nok\n");

    respond = (struct config_respond){ .status = 400, .body = body, .content_type = type };
    reply_respond(&reply, &respond);
    assert_string_equal(spelled(&reply), "400 Bad Request\n\n");
    assert_false(reply.close);
}

static void admitted_requests_carry_the_limit_closest_to_exhaustion(void **state)
{
    (void)state;
    struct reply_policies *policies = reply_policies_create(&config);
    assert_non_null(policies);
    struct field fields[5];
    char text[REPLY_LIMIT_TEXT];
    struct reply_limit closest = { .limit = 0, .answer = { .allowed = true, .capacity = 200, .remaining = 50 } };
    assert_int_equal(reply_limit_fields(policies, &config, 1, &closest, fields, text), 2);
    assert_true(slice_equals(fields[0].name, SLICE("RateLimit-Policy")));
    assert_true(
        slice_equals(fields[0].value, SLICE("\"per-key\";q=200;w=12, \"in-flight\";q=20;qu=\"concurrent-requests\"")));
    assert_true(slice_equals(fields[1].name, SLICE("RateLimit")));
    assert_true(slice_equals(fields[1].value, SLICE("\"per-key\";r=50;t=3")));
    assert_int_equal(reply_limit_fields(policies, &config, 1, NULL, fields, text), 0);
    reply_policies_destroy(&policies);
    assert_null(policies);
    reply_policies_destroy(&policies);
}

static void waits_are_whole_seconds_rounded_up_never_zero(void **state)
{
    (void)state;
    static const struct {
        uint64_t wait_ns, seconds;
    } cases[] = {
        { 0, 1 }, { 1, 1 }, { SECOND, 1 }, { SECOND + 1, 2 }, { 3 * SECOND, 3 }, { UINT64_MAX, 18446744074 }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(reply_seconds(cases[i].wait_ns), cases[i].seconds);
    }
}

static void reasons_are_known_or_empty(void **state)
{
    (void)state;
    assert_string_equal(reply_reason(429), "Too Many Requests");
    assert_string_equal(reply_reason(505), "HTTP Version Not Supported");
    assert_string_equal(reply_reason(0), "");
    assert_string_equal(reply_reason(299), "");
    assert_string_equal(reply_reason(512), "");
    assert_string_equal(reply_reason(UINT32_MAX), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_is_spelled_as_promised),
        cmocka_unit_test(several_limits_that_refuse_are_all_named_and_the_longest_wait_counts),
        cmocka_unit_test(a_cost_above_the_burst_is_told_that_waiting_does_not_help),
        cmocka_unit_test(a_slot_of_unknown_wait_promises_nothing),
        cmocka_unit_test(the_operator_chooses_the_fields_but_retry_after_stays),
        cmocka_unit_test(a_request_without_its_key_learns_which_is_missing),
        cmocka_unit_test(every_source_of_a_key_has_a_word),
        cmocka_unit_test(problems_of_other_kinds_are_about_blank),
        cmocka_unit_test(a_head_that_had_no_id_gets_none),
        cmocka_unit_test(what_leaves_the_framing_in_doubt_closes_the_connection),
        cmocka_unit_test(the_longest_answers_fit),
        cmocka_unit_test(a_route_may_answer_by_itself),
        cmocka_unit_test(admitted_requests_carry_the_limit_closest_to_exhaustion),
        cmocka_unit_test(waits_are_whole_seconds_rounded_up_never_zero),
        cmocka_unit_test(reasons_are_known_or_empty),
    };
    return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}
