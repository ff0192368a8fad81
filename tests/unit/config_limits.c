/* config_limits: rates, concurrency, keys, and how memory is divided. */
#include "config_text.h"

static const char before[] = "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ], \"limits\": { \"l\":";
static const char after[] = "} }";

static void a_rate_has_a_burst(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t tokens, period_ns, burst;
    } cases[] = {
        { "{ \"rate\": \"100/second\" }", 100, NS_PER_S, 100 },
        { "{ \"rate\": \"100/second\", \"burst\": 7 }", 100, NS_PER_S, 7 },
        { "{ \"rate\": \"5/minute\" }", 5, 60 * NS_PER_S, 1 },
        { "{ \"rate\": \"150/minute\" }", 150, 60 * NS_PER_S, 2 },
        { "{ \"rate\": \"3/90s\" }", 3, 90 * NS_PER_S, 1 },
        { "{ \"rate\": \"5/1ms\" }", 5, NS_PER_MS, 5000 },
        { "{ \"rate\": \"1000000000/second\" }", 1000000000, NS_PER_S, 1000000000 },
        { "{ \"rate\": \"315360000000000000/3650d\" }", UINT64_C(315360000000000000), UINT64_C(315360000000000000),
          1000000000 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config = load_between(before, cases[i].text, after);
        const struct config_limit *limit = &config->limits[0];
        assert_int_equal(config->limit_count, 1);
        assert_string_equal(limit->name, "l");
        assert_int_equal(limit->kind, CONFIG_LIMIT_RATE);
        assert_int_equal(limit->rate.tokens, cases[i].tokens);
        assert_int_equal(limit->rate.period_ns, cases[i].period_ns);
        assert_int_equal(limit->burst, cases[i].burst);
        assert_int_equal(limit->concurrency, 0);
        config_free(&config);
    }
}

static void concurrency_has_none(void **state)
{
    (void)state;
    struct config *config = load_between(before, "{ \"concurrency\": 20, \"missing\": \"deny\" }", after);
    assert_int_equal(config->limits[0].kind, CONFIG_LIMIT_CONCURRENCY);
    assert_int_equal(config->limits[0].concurrency, 20);
    assert_int_equal(config->limits[0].missing, CONFIG_MISSING_DENY);
    assert_int_equal(config->limits[0].keys, 0);
    config_free(&config);
}

static void a_limit_that_says_too_little_or_too_much_is_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "{}", "2:1 limits.l", "a limit needs \"rate\" (requests per time) or \"concurrency\" (requests at once)" },
        { "{ \"burst\": 5 }", "2:1 limits.l", "a limit needs \"rate\"" },
        { "{ \"rate\": \"1/day\", \"concurrency\": 5 }", "2:20 limits.l.concurrency",
          "either \"rate\" or \"concurrency\"" },
        { "{ \"concurrency\": 5, \"burst\": 5 }", "2:21 limits.l.burst", "\"burst\" belongs to \"rate\"" },
        { "{ \"rate\": \"0/second\" }", "2:11 limits.l.rate", "a rate is at least 1" },
        { "{ \"rate\": 5 }", "2:11 limits.l.rate", "expected a rate such as \"100/second\", found the number 5" },
        { "{ \"rate\": \"1/day\", \"burst\": 0 }", "2:29 limits.l.burst",
          "from 1 to 1000000000000, found the number 0" },
        { "{ \"rate\": \"1/day\", \"burst\": \"5\" }", "2:29 limits.l.burst", "found a string" },
        { "{ \"concurrency\": 0 }", "2:18 limits.l.concurrency", "from 1 to 1000000000000, found the number 0" },
        { "{ \"rate\": \"1/day\", \"missing\": \"ignore\" }", "2:31 limits.l.missing",
          "expected \"shared\", \"skip\" or \"deny\", found \"ignore\"" },
        /* A day for each of 10^12 tokens: the limiter's own bound, in its own words. */
        { "{ \"rate\": \"1/day\", \"burst\": 1000000000000 }", "2:11 limits.l.rate",
          "with a burst of 1000000000000: " },
        { "{ \"scope\": \"cluster\" }", "2:3 limits.l.scope",
          "not supported by this version" }, /* and no word of what is missing */
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void keys_are_made_of_sources(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum config_source_kind kind;
        const char *name;
        unsigned ipv4_prefix;
    } cases[] = {
        { "client_ip", CONFIG_SOURCE_CLIENT_IP, NULL, 31 },
        { "client_ip/24", CONFIG_SOURCE_CLIENT_IP, NULL, 24 },
        { "client_ip/0", CONFIG_SOURCE_CLIENT_IP, NULL, 0 },
        { "client_ip/32", CONFIG_SOURCE_CLIENT_IP, NULL, 32 },
        { "header:X-Api-Key", CONFIG_SOURCE_HEADER, "x-api-key", 0 },
        { "cookie:Session", CONFIG_SOURCE_COOKIE, "Session", 0 },
        { "query:api_key", CONFIG_SOURCE_QUERY, "api_key", 0 },
        { "query:a b[c]", CONFIG_SOURCE_QUERY, "a b[c]", 0 },
        { "path", CONFIG_SOURCE_PATH, NULL, 0 },
        { "host", CONFIG_SOURCE_HOST, NULL, 0 },
        { "method", CONFIG_SOURCE_METHOD, NULL, 0 },
        { "route", CONFIG_SOURCE_ROUTE, NULL, 0 },
        { "global", CONFIG_SOURCE_GLOBAL, NULL, 0 },
    };
    static const char prefixes[] = "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ], \"limits\": { \"l\":";
    static const char defaults[] =
        "}, \"client_ip\": { \"ipv4_prefix\": 31, \"ipv6_prefix\": 56 } }"; /* whatever comes first */
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[128];
        snprintf(text, sizeof text,
                 i % 2 == 0 ? "{ \"rate\": \"1/day\", \"key\": \"%s\" }" : "{ \"rate\": \"1/day\", \"key\": [\"%s\"] }",
                 cases[i].text);
        struct config *config = load_between(prefixes, text, defaults);
        assert_int_equal(config->limits[0].source_count, 1);
        const struct config_source *source = &config->limits[0].sources[0];
        assert_int_equal(source->kind, cases[i].kind);
        if (cases[i].name == NULL) {
            assert_null(source->name);
        } else {
            assert_string_equal(source->name, cases[i].name);
        }
        if (source->kind == CONFIG_SOURCE_CLIENT_IP) {
            assert_int_equal(source->ipv4_prefix, cases[i].ipv4_prefix);
            assert_int_equal(source->ipv6_prefix, 56);
        }
        config_free(&config);
    }
    struct config *config = load_between(prefixes, "{ \"rate\": \"1/day\" }", defaults);
    assert_int_equal(config->limits[0].source_count, 1);
    assert_int_equal(config->limits[0].sources[0].kind, CONFIG_SOURCE_CLIENT_IP);
    assert_int_equal(config->limits[0].sources[0].ipv4_prefix, 31);
    assert_int_equal(config->limits[0].sources[0].ipv6_prefix, 56);
    assert_int_equal(config->limits[0].missing, CONFIG_MISSING_SHARED);
    config_free(&config);
    config = load_between(
        prefixes, "{ \"rate\": \"1/day\", \"key\": [\"route\", \"header:a\", \"header:b\", \"cookie:a\"] }", defaults);
    assert_int_equal(config->limits[0].source_count, 4);
    assert_string_equal(config->limits[0].sources[2].name, "b");
    config_free(&config);
}

static void a_key_that_names_nothing_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",       "ip",      "client",  "client_ipv4", "Client_ip", "paths",
                                         "header", "global ", " global", "client_ip:8", "header-x",  "x:y" };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[128];
        snprintf(text, sizeof text, "{ \"rate\": \"1/day\", \"key\": \"%s\" }", wrong[i]);
        assert_each_refused(before, after,
                            &(struct refusal){ text, "2:27 limits.l.key", "a key is client_ip, client_ip/24" }, 1);
    }
    static const struct refusal cases[] = {
        { "{ \"rate\": \"1/day\", \"key\": \"header:\" }", "2:27 limits.l.key", "no name of a header or cookie" },
        { "{ \"rate\": \"1/day\", \"key\": \"header:a b\" }", "2:27 limits.l.key", "no name of a header or cookie" },
        { "{ \"rate\": \"1/day\", \"key\": \"cookie:a=b\" }", "2:27 limits.l.key", "no name of a header or cookie" },
        { "{ \"rate\": \"1/day\", \"key\": \"query:\" }", "2:27 limits.l.key", "the name of the parameter is missing" },
        { "{ \"rate\": \"1/day\", \"key\": \"client_ip/33\" }", "2:27 limits.l.key", "that of IPv4, 0 to 32" },
        { "{ \"rate\": \"1/day\", \"key\": \"client_ip/\" }", "2:27 limits.l.key", "that of IPv4, 0 to 32" },
        { "{ \"rate\": \"1/day\", \"key\": \"client_ip/08\" }", "2:27 limits.l.key", "that of IPv4, 0 to 32" },
        { "{ \"rate\": \"1/day\", \"key\": \"client_ip/8x\" }", "2:27 limits.l.key", "that of IPv4, 0 to 32" },
        { "{ \"rate\": \"1/day\", \"key\": \"client_ip/128\" }", "2:27 limits.l.key", "that of IPv4, 0 to 32" },
        { "{ \"rate\": \"1/day\", \"key\": [] }", "2:27 limits.l.key",
          "expected a list of key sources, found an empty one" },
        { "{ \"rate\": \"1/day\", \"key\": null }", "2:27 limits.l.key", "expected a key source such as" },
        { "{ \"rate\": \"1/day\", \"key\": [\"route\", 5] }", "2:37 limits.l.key[1]", "expected a key source such as" },
        { "{ \"rate\": \"1/day\", \"key\": [\"route\", \"route\"] }", "2:37 limits.l.key[1]", "in the key already" },
        { "{ \"rate\": \"1/day\", \"key\": [\"header:A\", \"header:a\"] }", "2:40 limits.l.key[1]",
          "in the key already" },
        { "{ \"rate\": \"1/day\", \"key\": [\"client_ip\", \"client_ip/24\"] }", "2:41 limits.l.key[1]",
          "in the key already" },
        { "{ \"rate\": \"1/day\", \"key\": [\"global\", \"route\"] }", "2:38 limits.l.key[1]", "it stands alone" },
        { "{ \"rate\": \"1/day\", \"key\": [\"route\", \"global\"] }", "2:37 limits.l.key[1]", "it stands alone" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    char text[512] = "{ \"rate\": \"1/day\", \"key\": \"query:";
    memset(text + strlen(text), 'q', 257);
    strcat(text, "\" }");
    assert_each_refused(before, after, &(struct refusal){ text, "2:27 limits.l.key", "longer than 256 bytes" }, 1);
}

/* A config with `routes` routes, state.keys and these limits; their keys are compared with `keys`. */
static void assert_keys(size_t routes, const char *state_keys, const char *limits, const size_t *keys, size_t count)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    fprintf(out, "{ \"state\": { \"keys\": %s }, \"limits\": { %s }, \"routes\": [", state_keys, limits);
    for (size_t i = 0; i < routes; i++) {
        fprintf(out, "%s{ \"path\": \"/%zu\", \"respond\": {} }", i == 0 ? "" : ", ", i);
    }
    fprintf(out, "] }");
    fclose(out);
    struct config *config = load_text(text);
    assert_int_equal(config->limit_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(config->limits[i].keys, keys[i]);
    }
    config_free(&config);
    free(text);
}

static void memory_is_divided_among_limits_whose_keys_are_many(void **state)
{
    (void)state;
    assert_keys(1, "1000000", "\"a\": { \"rate\": \"1/day\" }", (size_t[]){ 1000000 }, 1);
    assert_keys(1, "1000000",
                "\"a\": { \"rate\": \"1/day\" }, \"b\": { \"concurrency\": 1 }, \"c\": { \"rate\": \"1/day\", \"key\": "
                "\"path\" }",
                (size_t[]){ 500000, 0, 500000 }, 3);
    /* global: one set; route: 16 cells for each; method: for 16 of them; both: for their product */
    assert_keys(
        3, "1000000",
        "\"a\": { \"rate\": \"1/day\", \"key\": \"global\" }, \"b\": { \"rate\": \"1/day\", \"key\": \"route\" }, "
        "\"c\": { \"rate\": \"1/day\", \"key\": \"method\" }, \"d\": { \"rate\": \"1/day\", \"key\": [\"route\", "
        "\"method\"] }, "
        "\"e\": { \"rate\": \"1/day\", \"key\": [\"route\", \"client_ip\"] }",
        (size_t[]){ 8, 48, 256, 768, 1000000 - 8 - 48 - 256 - 768 }, 5);
    /* 64 routes are still few, 65 are many */
    assert_keys(64, "2048", "\"a\": { \"rate\": \"1/day\", \"key\": \"route\" }, \"b\": { \"rate\": \"1/day\" }",
                (size_t[]){ 1024, 1024 }, 2);
    assert_keys(65, "2048", "\"a\": { \"rate\": \"1/day\", \"key\": \"route\" }, \"b\": { \"rate\": \"1/day\" }",
                (size_t[]){ 1024, 1024 }, 2);
    assert_keys(65, "8192", "\"a\": { \"rate\": \"1/day\", \"key\": \"route\" }, \"b\": { \"rate\": \"1/day\" }",
                (size_t[]){ 4096, 4096 }, 2);
    /* nobody gets less than a set */
    assert_keys(1, "64", "\"a\": { \"rate\": \"1/day\", \"key\": \"method\" }, \"b\": { \"rate\": \"1/day\" }",
                (size_t[]){ 256, 8 }, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_has_a_burst),
        cmocka_unit_test(concurrency_has_none),
        cmocka_unit_test(a_limit_that_says_too_little_or_too_much_is_refused),
        cmocka_unit_test(keys_are_made_of_sources),
        cmocka_unit_test(a_key_that_names_nothing_is_refused),
        cmocka_unit_test(memory_is_divided_among_limits_whose_keys_are_many),
    };
    return cmocka_run_group_tests_name("config_limits", tests, NULL, NULL);
}
