/* ratelimit: limits as header values. The draft's rules that bite: r/t never above the rate, whole numbers of at most
 * 15 digits, a policy that does not change from answer to answer. */
#include "ratelimit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

static struct config_limit rate(const char *name, uint64_t tokens, uint64_t period_ns, uint64_t burst)
{
    static char names[8][RATELIMIT_NAME_MAX + 1];
    static size_t used;
    char *own = names[used++ % 8];
    strcpy(own, name);
    return (
        struct config_limit){ .name = own, .kind = CONFIG_LIMIT_RATE, .rate = { tokens, period_ns }, .burst = burst };
}

static struct config_limit concurrency(const char *name, uint64_t slots)
{
    struct config_limit limit = rate(name, 1, 1, 1);
    limit.kind = CONFIG_LIMIT_CONCURRENCY;
    limit.concurrency = slots;
    return limit;
}

/* A route that has all `limits`, spelled by its policies. */
static void assert_policies(struct config_limit *limits, size_t count, const char *expected)
{
    struct config config = { .limits = limits, .limit_count = count };
    size_t indexes[RATELIMIT_ROUTE_MAX];
    for (size_t i = 0; i < count; i++) {
        indexes[i] = i;
    }
    struct config_route route = { .limits = indexes, .limit_count = count };
    char buffer[RATELIMIT_POLICIES_MAX];
    struct text text = text_over(buffer, sizeof buffer);
    ratelimit_policies(&text, &config, &route);
    assert_false(text.cut);
    assert_int_equal(text_length(&text), strlen(expected));
    assert_memory_equal(buffer, expected, strlen(expected));
}

static void a_policy_is_the_burst_and_the_time_it_takes_to_refill(void **state)
{
    (void)state;
    struct {
        struct config_limit limit;
        const char *policy;
    } cases[] = {
        { rate("per-key", 1000, 60 * SECOND, 200), "\"per-key\";q=200;w=12" },
        { rate("per-client", 100, SECOND, 200), "\"per-client\";q=200;w=2" },
        { rate("fast", 1000, SECOND, 10), "\"fast\";q=10;w=1" },
        { rate("slow", 1, 86400 * SECOND, 1), "\"slow\";q=1;w=86400" },
        { rate("odd", 7, 3 * SECOND, 10), "\"odd\";q=10;w=5" },
        { rate("vast", 1000000000, SECOND, UINT64_C(1) << 61), "\"vast\";q=999999999999999;w=2305843010" },
        { rate("slowest", 1, UINT64_C(315360000) * SECOND, 7), "\"slowest\";q=7;w=2207520000" },
        { concurrency("in-flight", 20), "\"in-flight\";q=20;qu=\"concurrent-requests\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_policies(&cases[i].limit, 1, cases[i].policy);
    }
}

static void a_route_lists_the_policies_of_all_its_limits_in_order(void **state)
{
    (void)state;
    struct config_limit limits[] = { rate("a", 1, SECOND, 1), concurrency("b", 2), rate("c", 3, SECOND, 3) };
    assert_policies(limits, 3, "\"a\";q=1;w=1, \"b\";q=2;qu=\"concurrent-requests\", \"c\";q=3;w=1");
    assert_policies(limits, 0, "");
}

static void the_longest_policies_fit_their_bound(void **state)
{
    (void)state;
    char name[RATELIMIT_NAME_MAX + 1];
    memset(name, 'n', RATELIMIT_NAME_MAX);
    name[RATELIMIT_NAME_MAX] = 0;
    struct config_limit limits[RATELIMIT_ROUTE_MAX];
    size_t indexes[RATELIMIT_ROUTE_MAX];
    for (size_t i = 0; i < RATELIMIT_ROUTE_MAX; i++) {
        limits[i] = concurrency(name, UINT64_MAX);
        indexes[i] = i;
    }
    struct config config = { .limits = limits, .limit_count = RATELIMIT_ROUTE_MAX };
    struct config_route route = { .limits = indexes, .limit_count = RATELIMIT_ROUTE_MAX };
    char buffer[RATELIMIT_POLICIES_MAX];
    struct text text = text_over(buffer, sizeof buffer);
    ratelimit_policies(&text, &config, &route);
    assert_false(text.cut);
    assert_int_equal(text_length(&text), sizeof buffer - 2); /* all but the separator after the last */
}

static void people_read_the_rate_as_it_was_written(void **state)
{
    (void)state;
    struct {
        struct config_limit limit;
        const char *words;
    } cases[] = {
        { rate("l", 100, SECOND, 1), "100 per second" },      { rate("l", 1000, 60 * SECOND, 1), "1000 per minute" },
        { rate("l", 5, 3600 * SECOND, 1), "5 per hour" },     { rate("l", 7, 86400 * SECOND, 1), "7 per day" },
        { rate("l", 3, 90 * SECOND, 1), "3 per 90 seconds" }, { rate("l", 2, 120 * SECOND, 1), "2 per 120 seconds" },
        { rate("l", 1, SECOND / 2, 1), "1 per 500 ms" },      { rate("l", 1, SECOND * 3 / 2, 1), "1 per 1500 ms" },
        { concurrency("l", 20), "20 requests at once" },      { concurrency("l", 1), "1 request at once" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buffer[64];
        struct text text = text_over(buffer, sizeof buffer);
        ratelimit_allowance(&text, &cases[i].limit);
        assert_int_equal(text_length(&text), strlen(cases[i].words));
        assert_memory_equal(buffer, cases[i].words, strlen(cases[i].words));
    }
}

/* All fields as "Name: value|Name: value". */
static const char *fields_said(struct config_limit limit, enum config_headers headers,
                               const struct limiter_answer *answer, uint64_t retry_after_s)
{
    static char said[512];
    struct config config = { .limits = &limit, .limit_count = 1, .headers = headers };
    struct reply_limit about = { .retry_after_s = retry_after_s };
    if (answer != NULL) {
        about.answer = *answer;
    }
    char buffer[REPLY_LIMIT_TEXT];
    struct text text = text_over(buffer, sizeof buffer);
    struct field fields[5];
    size_t count = ratelimit_fields(&text, &config, SLICE("P"), answer != NULL ? &about : NULL, fields);
    assert_true(count <= 5);
    struct text out = text_over(said, sizeof said);
    for (size_t i = 0; i < count; i++) {
        text_string(&out, i > 0 ? "|" : "");
        text_slice(&out, fields[i].name);
        text_literal(&out, ": ");
        text_slice(&out, fields[i].value);
    }
    text_bytes(&out, "", 1);
    assert_false(out.cut || text.cut);
    return said;
}

static void each_format_spells_what_is_left(void **state)
{
    (void)state;
    struct config_limit bucket = rate("per-key", 1000, 60 * SECOND, 200);
    struct config_limit slots = concurrency("in-flight", 20);
    struct limiter_answer some = {
        .allowed = true, .capacity = 200, .remaining = 50, .reset_after_ns = 9 * SECOND - 1
    };
    struct limiter_answer last = { .allowed = true, .capacity = 200, .reset_after_ns = 12 * SECOND };
    struct limiter_answer none = { .capacity = 200, .remaining = 3, .reset_after_ns = 12 * SECOND };
    struct limiter_answer free_slots = { .allowed = true, .capacity = 20, .remaining = 15 };
    struct limiter_answer no_slots = { .capacity = 20 };
    struct {
        struct config_limit limit;
        enum config_headers headers;
        const struct limiter_answer *answer;
        uint64_t retry_after_s;
        const char *said;
    } cases[] = {
        { bucket, CONFIG_HEADERS_DRAFT_11, &some, 0, "RateLimit-Policy: P|RateLimit: \"per-key\";r=50;t=3" },
        { bucket, CONFIG_HEADERS_DRAFT_11, &last, 0, "RateLimit-Policy: P|RateLimit: \"per-key\";r=0;t=1" },
        { bucket, CONFIG_HEADERS_DRAFT_11, &none, 3, "RateLimit-Policy: P|RateLimit: \"per-key\";r=0;t=3" },
        { bucket, CONFIG_HEADERS_DRAFT_11, &none, 0, "RateLimit-Policy: P|RateLimit: \"per-key\";r=0" },
        { bucket, CONFIG_HEADERS_DRAFT_11, NULL, 0, "RateLimit-Policy: P" },
        { slots, CONFIG_HEADERS_DRAFT_11, &free_slots, 0, "RateLimit-Policy: P|RateLimit: \"in-flight\";r=15" },
        { slots, CONFIG_HEADERS_DRAFT_11, &no_slots, 1, "RateLimit-Policy: P|RateLimit: \"in-flight\";r=0;t=1" },
        { bucket, CONFIG_HEADERS_X_RATELIMIT, &some, 0,
          "X-RateLimit-Limit: 200|X-RateLimit-Remaining: 50|X-RateLimit-Reset: 9" },
        { bucket, CONFIG_HEADERS_X_RATELIMIT, &none, 3,
          "X-RateLimit-Limit: 200|X-RateLimit-Remaining: 0|X-RateLimit-Reset: 12" },
        { bucket, CONFIG_HEADERS_X_RATELIMIT, NULL, 0, "" },
        { slots, CONFIG_HEADERS_X_RATELIMIT, &free_slots, 0, "X-RateLimit-Limit: 20|X-RateLimit-Remaining: 15" },
        { bucket, CONFIG_HEADERS_BOTH, &some, 0,
          "RateLimit-Policy: P|RateLimit: \"per-key\";r=50;t=3|"
          "X-RateLimit-Limit: 200|X-RateLimit-Remaining: 50|X-RateLimit-Reset: 9" },
        { bucket, CONFIG_HEADERS_NONE, &some, 0, "" },
        { bucket, CONFIG_HEADERS_NONE, &none, 3, "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(fields_said(cases[i].limit, cases[i].headers, cases[i].answer, cases[i].retry_after_s),
                            cases[i].said);
    }
}

static void what_is_announced_never_exceeds_the_rate(void **state)
{
    (void)state;
    srand(11);
    for (int round = 0; round < 20000; round++) {
        uint64_t period_s = 1 + (uint64_t)rand() % 100000;
        uint64_t tokens = 1 + (uint64_t)rand() % 1000000;
        uint64_t remaining = (uint64_t)rand() % 10000000;
        struct limiter_answer answer = { .allowed = true, .capacity = remaining, .remaining = remaining };
        const char *said =
            fields_said(rate("l", tokens, period_s * SECOND, remaining + 1), CONFIG_HEADERS_DRAFT_11, &answer, 0);
        uint64_t r = strtoull(strstr(said, ";r=") + 3, NULL, 10);
        uint64_t t = strtoull(strstr(said, ";t=") + 3, NULL, 10);
        assert_int_equal(r, remaining);
        assert_true(t >= 1);
        assert_true(r * period_s <= t * tokens);
        assert_true(t == 1 || r * period_s > (t - 1) * tokens); /* and t is no longer than that needs */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_is_the_burst_and_the_time_it_takes_to_refill),
        cmocka_unit_test(a_route_lists_the_policies_of_all_its_limits_in_order),
        cmocka_unit_test(the_longest_policies_fit_their_bound),
        cmocka_unit_test(people_read_the_rate_as_it_was_written),
        cmocka_unit_test(each_format_spells_what_is_left),
        cmocka_unit_test(what_is_announced_never_exceeds_the_rate),
    };
    return cmocka_run_group_tests_name("ratelimit", tests, NULL, NULL);
}
