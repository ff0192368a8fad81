/* config_routes: what is matched, where it goes, under which limits. */
#include "config_text.h"

static const char before[] = "{ \"upstreams\": { \"api\": \"http://a\", \"web\": \"http://b\" }, \"limits\": { "
                             "\"one\": { \"rate\": \"1/second\", \"burst\": 5 }, \"two\": { \"concurrency\": 2 }, "
                             "\"three\": { \"rate\": \"3/second\" } }, \"routes\": [";
static const char after[] = "] }";

static void a_route_says_what_where_and_how_much(void **state)
{
    (void)state;
    struct config *config = load_between(
        before,
        "{ \"path\": \"/\", \"upstream\": \"api\" },"
        "{ \"path\": \"/v1/Search\", \"host\": \"API.example.com\", \"methods\": [\"GET\", \"PATCH\"], \"upstream\": "
        "\"web\","
        "  \"limits\": [\"three\", \"two\", \"one\"], \"cost\": 3, \"exempt\": [\"192.0.2.0/24\", \"::1\"] },"
        "{ \"path\": \"/x\", \"host\": \"*.example.com\", \"respond\": {}, \"cost\": \"header:X-Cost\", \"limits\": [] "
        "}",
        after);
    assert_int_equal(config->route_count, 3);
    const struct config_route *plain = &config->routes[0], *full = &config->routes[1], *own = &config->routes[2];
    assert_string_equal(plain->name, "/");
    assert_null(plain->host);
    assert_int_equal(plain->method_count, 0);
    assert_int_equal(plain->upstream, 0);
    assert_null(plain->respond);
    assert_int_equal(plain->limit_count, 0);
    assert_int_equal(plain->cost.constant, 1);
    assert_null(plain->cost.header);
    assert_int_equal(plain->exempt_count, 0);

    assert_string_equal(full->name, "GET,PATCH API.example.com/v1/Search");
    assert_string_equal(full->host, "api.example.com");
    assert_string_equal(full->path, "/v1/Search");
    assert_int_equal(full->method_count, 2);
    assert_string_equal(full->methods[1], "PATCH");
    assert_int_equal(full->upstream, 1);
    assert_int_equal(full->limit_count, 3);
    assert_int_equal(full->limits[0], 2);
    assert_int_equal(full->limits[1], 1);
    assert_int_equal(full->limits[2], 0);
    assert_int_equal(full->cost.constant, 3);
    assert_int_equal(full->exempt_count, 2);

    assert_string_equal(own->name, "*.example.com/x");
    assert_int_equal(own->upstream, -1);
    assert_int_equal(own->respond->status, 200);
    assert_string_equal(own->respond->body, "");
    assert_int_equal(own->respond->body_length, 0);
    assert_string_equal(own->respond->content_type, "text/plain; charset=utf-8");
    assert_int_equal(own->respond->delay_ns, 0);
    assert_string_equal(own->cost.header, "x-cost");
    config_free(&config);
}

static void a_route_may_answer_itself(void **state)
{
    (void)state;
    struct config *config =
        load_between(before,
                     "{ \"path\": \"/\", \"respond\": { \"status\": 503, \"body\": \"caf\\u00e9\\n\", "
                     "\"content_type\": \"application/json\", \"delay\": \"5s\" } },"
                     "{ \"path\": \"/none\", \"respond\": { \"status\": 204 } }",
                     after);
    const struct config_respond *respond = config->routes[0].respond;
    assert_int_equal(respond->status, 503);
    assert_int_equal(respond->body_length, 6);
    assert_string_equal(respond->body, "caf\xc3\xa9\n");
    assert_string_equal(respond->content_type, "application/json");
    assert_int_equal(respond->delay_ns, 5 * NS_PER_S);
    config_free(&config);
    static const struct refusal cases[] = {
        { "{ \"path\": \"/\", \"respond\": 200 }", "2:27 routes[0].respond",
          "expected an object such as { \"status\": 200 }" },
        { "{ \"path\": \"/\", \"respond\": { \"status\": 199 } }", "2:39 routes[0].respond.status",
          "from 200 to 599, found the number 199" },
        { "{ \"path\": \"/\", \"respond\": { \"status\": 600 } }", "2:39 routes[0].respond.status",
          "from 200 to 599, found the number 600" },
        { "{ \"path\": \"/\", \"respond\": { \"status\": 204, \"body\": \"x\" } }", "2:52 routes[0].respond.body",
          "status 204 has no body" },
        { "{ \"path\": \"/\", \"respond\": { \"body\": \"x\", \"status\": 304 } }", "2:37 routes[0].respond.body",
          "status 304 has no body" },
        { "{ \"path\": \"/\", \"respond\": { \"body\": 5 } }", "2:37 routes[0].respond.body", "expected a string" },
        { "{ \"path\": \"/\", \"respond\": { \"delay\": \"2h\" } }", "2:38 routes[0].respond.delay",
          "write 0ms to 1h" },
        { "{ \"path\": \"/\", \"respond\": { \"content_type\": \"\" } }", "2:45 routes[0].respond.content_type",
          "a media type is written like" },
        { "{ \"path\": \"/\", \"respond\": { \"content_type\": \"json\" } }", "2:45 routes[0].respond.content_type",
          "a media type is written like" },
        { "{ \"path\": \"/\", \"respond\": { \"content_type\": \"a/b\\r\\nX: y\" } }",
          "2:45 routes[0].respond.content_type", "a media type is written like" },
        { "{ \"path\": \"/\", \"respond\": { \"content_type\": \"a/\" } }", "2:45 routes[0].respond.content_type",
          "a media type is written like" },
        { "{ \"path\": \"/\", \"respond\": { \"content_type\": 5 } }", "2:45 routes[0].respond.content_type",
          "expected a media type" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    char *text = calloc(1, (1 << 20) + 64);
    strcpy(text, "{ \"path\": \"/\", \"respond\": { \"body\": \"");
    memset(text + strlen(text), 'x', (1 << 20) + 1);
    strcat(text, "\" } }");
    assert_each_refused(before, after,
                        &(struct refusal){ text, "2:37 routes[0].respond.body", "a body is at most 1MiB" }, 1);
    free(text);
}

static void a_route_leads_somewhere(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "", "1:187 routes", "expected a list of routes, found an empty one" },
        { "7", "2:1 routes[0]", "expected an object such as { \"path\": \"/\", \"upstream\": … }, found the number 7" },
        { "{ \"path\": \"/\" }", "2:1 routes[0]", "a route needs \"upstream\" (where requests go) or \"respond\"" },
        { "{ \"upstream\": \"api\" }", "2:1 routes[0]", "\"path\" is missing" },
        { "{ \"path\": \"/\", \"upstream\": \"api\", \"respond\": {} }", "2:35 routes[0].respond",
          "either \"upstream\" or \"respond\"" },
        { "{ \"path\": \"/\", \"upstream\": \"apo\" }", "2:28 routes[0].upstream",
          "there is no upstream \"apo\"; did you mean \"api\"?" },
        { "{ \"path\": \"/\", \"upstream\": \"backend\" }", "2:28 routes[0].upstream",
          "there is no upstream \"backend\"; known here: \"api\", \"web\"" },
        { "{ \"path\": \"/\", \"upstream\": null }", "2:28 routes[0].upstream",
          "expected the name of an upstream, found null" },
        { "{ \"path\": \"/\", \"upstrem\": \"api\" }", "2:16 routes[0].upstrem", "did you mean \"upstream\"?" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct refusal none = { "{ \"path\": \"/\", \"upstream\": \"a\" }", "2:28 routes[0].upstream",
                            "there is no upstream \"a\"" };
    assert_each_refused("{ \"routes\": [", "] }", &none, 1);
}

static void patterns_and_methods_are_checked(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "{ \"path\": \"[\", \"respond\": {} }", "2:11 routes[0].path", "\"[\": a path begins with /" },
        { "{ \"path\": 5, \"respond\": {} }", "2:11 routes[0].path", "expected a path such as \"/v1/\"" },
        { "{ \"path\": \"/\", \"host\": \"a:80\", \"respond\": {} }", "2:24 routes[0].host",
          "\"a:80\": a host is written like" },
        { "{ \"path\": \"/\", \"host\": null, \"respond\": {} }", "2:24 routes[0].host", "expected a host such as" },
        { "{ \"path\": \"/\", \"methods\": [], \"respond\": {} }", "2:27 routes[0].methods",
          "(leave it out for any), found an empty one" },
        { "{ \"path\": \"/\", \"methods\": \"GET\", \"respond\": {} }", "2:27 routes[0].methods",
          "expected a list of methods" },
        { "{ \"path\": \"/\", \"methods\": [5], \"respond\": {} }", "2:28 routes[0].methods[0]",
          "expected a method such as \"GET\"" },
        { "{ \"path\": \"/\", \"methods\": [\"get\"], \"respond\": {} }", "2:28 routes[0].methods[0]",
          "write \"GET\", not \"get\"" },
        { "{ \"path\": \"/\", \"methods\": [\"\"], \"respond\": {} }", "2:28 routes[0].methods[0]",
          "a method is a word" },
        { "{ \"path\": \"/\", \"methods\": [\"GET POST\"], \"respond\": {} }", "2:28 routes[0].methods[0]",
          "a method is a word" },
        { "{ \"path\": \"/\", \"methods\": [\"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG\"], \"respond\": {} }",
          "2:28 routes[0].methods[0]", "at most 32 bytes" },
        { "{ \"path\": \"/\", \"methods\": [\"GET\", \"CONNECT\"], \"respond\": {} }", "2:35 routes[0].methods[1]",
          "405 itself" },
        { "{ \"path\": \"/\", \"methods\": [\"TRACE\"], \"respond\": {} }", "2:28 routes[0].methods[0]", "405 itself" },
        { "{ \"path\": \"/\", \"methods\": [\"GET\", \"GET\"], \"respond\": {} }", "2:35 routes[0].methods[1]",
          "in the list already" },
        { "{ \"path\": \"/\", \"exempt\": [\"10.0.0.0/33\"], \"respond\": {} }", "2:27 routes[0].exempt[0]",
          "0 to 32" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void limits_are_known_and_can_be_met(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "{ \"path\": \"/\", \"respond\": {}, \"limits\": \"one\" }", "2:41 routes[0].limits",
          "expected a list of names of limits" },
        { "{ \"path\": \"/\", \"respond\": {}, \"limits\": [5] }", "2:42 routes[0].limits[0]",
          "expected the name of a limit" },
        { "{ \"path\": \"/\", \"respond\": {}, \"limits\": [\"one\", \"tow\"] }", "2:49 routes[0].limits[1]",
          "there is no limit \"tow\"; did you mean \"two\"?" },
        { "{ \"path\": \"/\", \"respond\": {}, \"limits\": [\"one\", \"two\", \"one\"] }", "2:56 routes[0].limits[2]",
          "in the list already" },
        { "{ \"path\": \"/\", \"respond\": {}, \"limits\": "
          "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"0\",\"a\",\"b\","
          "\"c\",\"d\",\"e\",\"f\",\"g\"] }",
          "2:41 routes[0].limits", "at most 16 of them, found 17" },
        { "{ \"path\": \"/\", \"respond\": {}, \"cost\": 6, \"limits\": [\"one\"] }", "2:39 routes[0].cost",
          "a cost of 6 is above the burst of limit \"one\", 5: such a request could never pass" },
        { "{ \"path\": \"/\", \"respond\": {}, \"cost\": -1 }", "2:39 routes[0].cost",
          "from 0 to 1000000000, found the number -1" },
        { "{ \"path\": \"/\", \"respond\": {}, \"cost\": 1.5 }", "2:39 routes[0].cost", "written in digits" },
        { "{ \"path\": \"/\", \"respond\": {}, \"cost\": \"5\" }", "2:39 routes[0].cost",
          "a cost is a whole number, or header:NAME" },
        { "{ \"path\": \"/\", \"respond\": {}, \"cost\": \"header:\" }", "2:39 routes[0].cost",
          "a cost is a whole number, or header:NAME" },
        { "{ \"path\": \"/\", \"respond\": {}, \"cost\": \"header:a b\" }", "2:39 routes[0].cost",
          "a cost is a whole number, or" },
        { "{ \"path\": \"/\", \"respond\": {}, \"cost\": [] }", "2:39 routes[0].cost", "expected a whole number" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    static const char *const fine[] = {
        "{ \"path\": \"/\", \"respond\": {}, \"cost\": 5, \"limits\": [\"one\"] }",
        "{ \"path\": \"/\", \"respond\": {}, \"cost\": 0, \"limits\": [\"one\"] }",
        "{ \"path\": \"/\", \"respond\": {}, \"cost\": 100, \"limits\": [\"two\"] }", /* slots are not tokens */
        "{ \"path\": \"/\", \"respond\": {}, \"cost\": 1000000000 }",
    };
    for (size_t i = 0; i < COUNT(fine); i++) {
        struct config *config = load_between(before, fine[i], after);
        config_free(&config);
    }
}

static void two_routes_never_answer_the_same_request(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second;
        bool twins;
    } cases[] = {
        { "\"path\": \"/\"", "\"path\": \"/\"", true },
        { "\"path\": \"/\"", "\"path\": \"/*\"", true },
        { "\"path\": \"/a/{b}/\"", "\"path\": \"/a/{c}/*\"", true },
        { "\"path\": \"/%2f\"", "\"path\": \"/%2F\"", true },
        { "\"path\": \"/\", \"host\": \"a.b\"", "\"path\": \"/\", \"host\": \"A.B\"", true },
        { "\"path\": \"/\", \"methods\": [\"GET\", \"PUT\"]", "\"path\": \"/\", \"methods\": [\"POST\", \"PUT\"]",
          true },
        { "\"path\": \"/\", \"methods\": [\"GET\", \"PUT\"]", "\"path\": \"/\", \"methods\": [\"PUT\", \"GET\"]",
          true },
        { "\"path\": \"/\", \"methods\": [\"GET\"]", "\"path\": \"/\", \"methods\": [\"POST\"]", false },
        { "\"path\": \"/\", \"methods\": [\"GET\"]", "\"path\": \"/\"", false },
        { "\"path\": \"/\", \"host\": \"a.b\"", "\"path\": \"/\"", false },
        { "\"path\": \"/\", \"host\": \"a.b\"", "\"path\": \"/\", \"host\": \"*.b\"", false },
        { "\"path\": \"/a\"", "\"path\": \"/a/\"", false },
        { "\"path\": \"/a\"", "\"path\": \"/a*\"", false },
        { "\"path\": \"/a\"", "\"path\": \"/A\"", false },
        { "\"path\": \"/a\"", "\"path\": \"/{a}\"", false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *text;
        assert_true(asprintf(&text,
                             "{ \"routes\": [ { \"path\": \"/other\", \"respond\": {} }, { %s, \"respond\": {} },\n{ "
                             "%s, \"respond\": {} } ] }",
                             cases[i].first, cases[i].second) > 0);
        if (cases[i].twins) {
            assert_errors(
                text, &(struct refusal){ .where = "2:1 routes[2]", .words = "answers the same requests as routes[1]" },
                1);
        } else {
            struct config *config = load_text(text);
            config_free(&config);
        }
        free(text);
    }
    static const char three[] =
        "{ \"routes\": [ { \"path\": \"/a\", \"respond\": {} },\n{ \"path\": \"/a\", \"respond\": {} },\n"
        "{ \"path\": \"bad\", \"respond\": {} },\n{ \"path\": \"/a\", \"respond\": {} } ] }";
    static const struct refusal errors[] = {
        { NULL, "2:1 routes[1]", "\"/a\" answers the same requests as routes[0]" },
        { NULL, "3:11 routes[2].path", "begins with /" },
        { NULL, "4:1 routes[3]", "\"/a\" answers the same requests as routes[1]" },
    };
    assert_errors(three, errors, COUNT(errors));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_says_what_where_and_how_much),
        cmocka_unit_test(a_route_may_answer_itself),
        cmocka_unit_test(a_route_leads_somewhere),
        cmocka_unit_test(patterns_and_methods_are_checked),
        cmocka_unit_test(limits_are_known_and_can_be_met),
        cmocka_unit_test(two_routes_never_answer_the_same_request),
    };
    return cmocka_run_group_tests_name("config_routes", tests, NULL, NULL);
}
