/* values: each kind of value, at its bounds, and what is said of another. */
#include "config_text.h"

static const char before[] = "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ],";
static const char after[] = "}";

static void whole_numbers_are_written_in_digits(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"state\": { \"keys\": \"64\" }", "2:20 state.keys",
          "expected a whole number from 64 to 1000000000, found a string" },
        { "\"state\": { \"keys\": 10.5 }", "2:20 state.keys", "written in digits, found the number 10.5" },
        { "\"state\": { \"keys\": 1e3 }", "2:20 state.keys", "written in digits, found the number 1e3" },
        { "\"state\": { \"keys\": 100.0 }", "2:20 state.keys", "written in digits, found the number 100.0" },
        { "\"state\": { \"keys\": true }", "2:20 state.keys", "found true" },
        { "\"state\": { \"keys\": null }", "2:20 state.keys", "found null" },
        { "\"state\": { \"keys\": [] }", "2:20 state.keys", "found a list" },
        { "\"state\": { \"keys\": {} }", "2:20 state.keys", "found an object" },
        { "\"state\": { \"keys\": 0 }", "2:20 state.keys",
          "expected a whole number from 64 to 1000000000, found the number 0" },
        { "\"state\": { \"keys\": -1 }", "2:20 state.keys", "found the number -1" },
        { "\"state\": { \"keys\": -100 }", "2:20 state.keys", "found the number -100" },
        { "\"state\": { \"keys\": 63 }", "2:20 state.keys", "found the number 63" },
        { "\"state\": { \"keys\": 1000000001 }", "2:20 state.keys", "found the number 1000000001" },
        { "\"state\": { \"keys\": 9223372036854775808 }", "2:20 state.keys", "found the number 9223372036854775808" },
        { "\"state\": { \"keys\": 18446744073709551716 }", "2:20 state.keys",
          "found the number 18446744073709551716" }, /* 2^64 + 100 */
        { "\"state\": { \"keys\": 1e400 }", "2:20 state.keys", "this is not JSON: real number overflow" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    static const char *const fine[] = { "64", "1000000000" };
    for (size_t i = 0; i < COUNT(fine); i++) {
        char text[64];
        snprintf(text, sizeof text, "\"state\": { \"keys\": %s }", fine[i]);
        struct config *config = load_between(before, text, after);
        assert_int_equal(config->state_keys, strtoull(fine[i], NULL, 10));
        config_free(&config);
    }
}

static void flags_are_true_or_false(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"log\": { \"keys\": \"true\" }", "2:18 log.keys", "expected true or false, found a string" },
        { "\"log\": { \"keys\": 1 }", "2:18 log.keys", "expected true or false, found the number 1" },
        { "\"log\": { \"keys\": null }", "2:18 log.keys", "expected true or false, found null" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config = load_between(before, "\"log\": { \"keys\": true }", after);
    assert_true(config->log.keys);
    config_free(&config);
}

static void durations_have_units_and_bounds(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"timeouts\": { \"idle\": 30 }", "2:23 timeouts.idle",
          "expected a duration such as \"30s\", found the number 30" },
        { "\"timeouts\": { \"idle\": null }", "2:23 timeouts.idle", "found null" },
        { "\"timeouts\": { \"idle\": \"0s\" }", "2:23 timeouts.idle",
          "\"0s\": this is out of range; write 1ms to 24h" },
        { "\"timeouts\": { \"idle\": \"-1s\" }", "2:23 timeouts.idle", "\"-1s\": a duration is written like" },
        { "\"timeouts\": { \"idle\": \"1\" }", "2:23 timeouts.idle", "a duration is written like" },
        { "\"timeouts\": { \"idle\": \"1m30\" }", "2:23 timeouts.idle", "a duration is written like" },
        { "\"timeouts\": { \"idle\": \"99999999999d\" }", "2:23 timeouts.idle", "a duration is at most" },
        { "\"timeouts\": { \"idle\": \"1 s\" }", "2:23 timeouts.idle", "a duration is written like" },
        { "\"timeouts\": { \"idle\": \"\" }", "2:23 timeouts.idle", "a duration is written like" },
        { "\"timeouts\": { \"idle\": \"24h1ms\" }", "2:23 timeouts.idle", "write 1ms to 24h" },
        { "\"timeouts\": { \"request_head\": \"61m\" }", "2:31 timeouts.request_head", "write 1ms to 1h" },
        { "\"timeouts\": { \"shutdown\": \"2d\" }", "2:27 timeouts.shutdown", "write 0ms to 24h" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config = load_between(
        before, "\"timeouts\": { \"idle\": \"1d\", \"shutdown\": \"0s\", \"request_body\": \"1ms\" }", after);
    assert_int_equal(config->timeouts.idle_ns, 86400 * NS_PER_S);
    assert_int_equal(config->timeouts.shutdown_ns, 0);
    assert_int_equal(config->timeouts.request_body_ns, NS_PER_MS);
    config_free(&config);
}

static void sizes_have_units_and_bounds(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"sizes\": { \"request_head\": 16384 }", "2:28 sizes.request_head",
          "expected a size with its unit such as \"16KiB\", found the number 16384" },
        { "\"sizes\": { \"request_body\": 0 }", "2:28 sizes.request_body", "expected a size with its unit" },
        { "\"sizes\": { \"request_head\": \"1KiB\" }", "2:28 sizes.request_head",
          "\"1KiB\": this is out of range; write 4KiB to 1MiB" },
        { "\"sizes\": { \"request_head\": \"1048577\" }", "2:28 sizes.request_head", "write 4KiB to 1MiB" },
        { "\"sizes\": { \"request_head\": \"16 KiB\" }", "2:28 sizes.request_head", "a size is written like" },
        { "\"sizes\": { \"request_body\": \"1048577GiB\" }", "2:28 sizes.request_body", "a size is at most" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config =
        load_between(before, "\"sizes\": { \"request_head\": \"4KiB\", \"request_body\": \"2GiB\" }", after);
    assert_int_equal(config->sizes.request_head, 4096);
    assert_int_equal(config->sizes.request_body, UINT64_C(2) << 30);
    config_free(&config);
}

static void rates_have_periods(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"log\": { \"sample_denied\": 100 }", "2:27 log.sample_denied",
          "expected a rate such as \"100/second\", found the number 100" },
        { "\"log\": { \"sample_denied\": \"100\" }", "2:27 log.sample_denied", "\"100\": a rate is written like" },
        { "\"log\": { \"sample_denied\": \"0/second\" }", "2:27 log.sample_denied", "a rate is at least 1" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void choices_are_listed(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"headers\": \"draft-12\"", "2:12 headers",
          "expected \"draft-11\", \"x-ratelimit\", \"both\" or \"none\", found \"draft-12\"" },
        { "\"headers\": false", "2:12 headers",
          "expected \"draft-11\", \"x-ratelimit\", \"both\" or \"none\", found false" },
        { "\"headers\": \"\"", "2:12 headers", "found \"\"" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config = load_between(before, "\"headers\": \"x-ratelimit\"", after);
    assert_int_equal(config->headers, CONFIG_HEADERS_X_RATELIMIT);
    config_free(&config);
}

static void header_names_are_tokens(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"client_ip\": { \"header\": \"X Api\" }", "2:26 client_ip.header", "\"X Api\": a header name is made of" },
        { "\"client_ip\": { \"header\": \"\" }", "2:26 client_ip.header", "a header name is made of" },
        { "\"client_ip\": { \"header\": \"X-Api:\" }", "2:26 client_ip.header", "a header name is made of" },
        { "\"client_ip\": { \"header\": \"X\\u0000Api\" }", "2:26 client_ip.header",
          "\\u0000 may not stand in a string" },
        { "\"client_ip\": { \"header\": \"X\\r\\nApi\" }", "2:26 client_ip.header", "\"X\\x0D\\x0AApi\"" },
        { "\"client_ip\": { \"header\": 5 }", "2:26 client_ip.header", "expected the name of a header field" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config = load_between(before, "\"client_ip\": { \"header\": \"CF-Connecting-IP\" }", after);
    assert_string_equal(config->client_ip.header, "cf-connecting-ip");
    config_free(&config);
}

static void the_schema_is_a_string_and_not_kept(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"$schema\": 5", "2:12 $schema", "expected a string, found the number 5" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config = load_between(before, "\"$schema\": \"https://example.com/weir.schema.json\"", after);
    config_free(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_written_in_digits),
        cmocka_unit_test(flags_are_true_or_false),
        cmocka_unit_test(durations_have_units_and_bounds),
        cmocka_unit_test(sizes_have_units_and_bounds),
        cmocka_unit_test(rates_have_periods),
        cmocka_unit_test(choices_are_listed),
        cmocka_unit_test(header_names_are_tokens),
        cmocka_unit_test(the_schema_is_a_string_and_not_kept),
    };
    return cmocka_run_group_tests_name("values", tests, NULL, NULL);
}
