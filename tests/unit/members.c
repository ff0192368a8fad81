/* members: objects are read by their tables: what is not in one is an error that helps. */
#include "config_text.h"

/* Line 2 begins with the tested member of the whole file. */
static const char before[] = "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ],";
static const char after[] = "}";

static void unknown_members_are_refused_with_the_nearest_name(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"limitt\": 5", "2:1 limitt", "unknown member \"limitt\"; did you mean \"limits\"?" },
        { "\"Listen\": 5", "2:1 Listen", "did you mean \"listen\"?" },
        { "\"uptsreams\": {}", "2:1 uptsreams", "did you mean \"upstreams\"?" },
        { "\"sizes\": { \"request_haed\": \"1KiB\" }", "2:12 sizes.request_haed", "did you mean \"request_head\"?" },
        { "\"state\": { \"size\": 5 }", "2:12 state.size", "unknown member \"size\"; known here: \"keys\"" },
        { "\"sizes\": { \"x\": 5 }", "2:12 sizes.x",
          "known here: \"connections\", \"connections_per_ip\", \"request_body\", \"request_head\"" },
        { "\"\": 5", "2:1", "unknown member \"\"" },
        { "\"a\\nb\": 5", "2:1 a\\x0Ab", "unknown member \"a\\x0Ab\"" },
        { "\"log\": { \"keys\": true, \"access\": \"off\", \"x\": {\"y\":{}} }", "2:41 log.x", "unknown member" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void a_member_given_twice_is_refused_where_it_is_the_second_time(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"workers\": 1,\n\"workers\": 1", "3:1 workers", "\"workers\" is given twice" },
        { "\"routes\": []", "2:1 routes", "\"routes\" is given twice" },
        { "\"\\u0077orkers\": 1, \"workers\": 2", "2:20 workers", "given twice" },
        { "\"log\": { \"keys\": true, \"keys\": true }", "2:24 log.keys", "given twice" },
        { "\"limits\": { \"a\": { \"rate\": \"1/day\" }, \"b\": { \"rate\": \"1/day\" }, \"a\": { \"rate\": \"1/day\" "
          "} }",
          "2:65 limits.a", "\"a\" is given twice" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void what_a_later_version_may_know_is_never_ignored(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"redis\": { \"url\": \"redis://127.0.0.1\" }", "2:1 redis",
          "\"redis\" is not supported by this version of weir" },
        { "\"state\": { \"file\": \"x\" }", "2:12 state.file", "not supported by this version" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"tls\": {} } }", "2:48 upstreams.a.tls",
          "not supported" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    static const char *const of_limits[] = { "delay", "exactness", "mode",  "on_redis_failure", "overrides",
                                             "queue", "quota",     "scope", "timezone",         "window" };
    for (size_t i = 0; i < COUNT(of_limits); i++) {
        char text[128], where[64];
        snprintf(text, sizeof text, "\"limits\": { \"l\": { \"%s\": 1 } }", of_limits[i]);
        snprintf(where, sizeof where, "2:20 limits.l.%s", of_limits[i]);
        assert_each_refused(before, after, &(struct refusal){ text, where, "is not supported by this version of weir" },
                            1);
    }
}

static void names_given_by_the_operator_are_safe_everywhere(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"limits\": { \"\": { \"rate\": \"1/day\" } }", "2:13 limits.",
          "\"\" is no name for a limit: use 1 to 64 of" },
        { "\"limits\": { \"a b\": { \"rate\": \"1/day\" } }", "2:13 limits.a b", "is no name for a limit" },
        { "\"limits\": { \"a\\\"b\": { \"rate\": \"1/day\" } }", "2:13 limits.a\"b", "is no name for a limit" },
        { "\"limits\": { \"\xc3\xa9\": { \"rate\": \"1/day\" } }", "2:13 limits.\xc3\xa9", "is no name for a limit" },
        { "\"upstreams\": { \"a/b\": \"http://a\" }", "2:16 upstreams.a/b", "is no name for an upstream" },
        { "\"limits\": { \"12345678901234567890123456789012345678901234567890123456789012345\": { \"rate\": \"1/day\" "
          "} }",
          "2:13 limits.1234567890123456789012345678901234567890123456789012345678901234…", "is no name for a limit" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config =
        load_between(before,
                     "\"limits\": { \"A-Z.a_z09\": { \"rate\": \"1/day\" }, "
                     "\"1234567890123456789012345678901234567890123456789012345678901234\": { \"rate\": \"1/day\" } }",
                     after);
    assert_string_equal(config->limits[0].name, "A-Z.a_z09");
    config_free(&config);
}

static void an_object_is_an_object(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"timeouts\": []", "2:13 timeouts", "expected an object, found a list" },
        { "\"timeouts\": \"10s\"", "2:13 timeouts", "expected an object, found a string" },
        { "\"sizes\": null", "2:10 sizes", "expected an object, found null" },
        { "\"limits\": []", "2:11 limits", "expected an object of limits by name, found a list" },
        { "\"limits\": { \"l\": \"1/day\" }", "2:18 limits.l", "expected an object, found a string" },
        { "\"upstreams\": \"http://a\"", "2:14 upstreams", "expected an object of upstreams by name, found a string" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_members_are_refused_with_the_nearest_name),
        cmocka_unit_test(a_member_given_twice_is_refused_where_it_is_the_second_time),
        cmocka_unit_test(what_a_later_version_may_know_is_never_ignored),
        cmocka_unit_test(names_given_by_the_operator_are_safe_everywhere),
        cmocka_unit_test(an_object_is_an_object),
    };
    return cmocka_run_group_tests_name("members", tests, NULL, NULL);
}
