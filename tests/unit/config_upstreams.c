/* config_upstreams: servers, their bounds, and requests that would come back. */
#include "config_text.h"

static const char before[] = "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ],";
static const char after[] = "}";

static void an_upstream_is_a_url_or_an_object(void **state)
{
    (void)state;
    struct config *config = load_between(
        before,
        "\"upstreams\": { \"short\": \"http://a\", \"long\": { \"servers\": [\"http://b:1\", "
        "{ \"url\": \"http://[::1]:2/\", \"weight\": 3 }], \"balance\": \"hash\", \"retries\": 0, \"connections\": 7, "
        "\"timeouts\": { \"connect\": \"1s\", "
        "\"response\": \"3s\", \"idle\": \"4s\" } } }",
        after);
    assert_int_equal(config->upstream_count, 2);
    const struct config_upstream *plain = &config->upstreams[0], *full = &config->upstreams[1];
    assert_string_equal(plain->name, "short");
    assert_int_equal(plain->server_count, 1);
    assert_string_equal(plain->servers[0].text, "http://a");
    assert_string_equal(plain->servers[0].url.host, "a");
    assert_int_equal(plain->connections, 256);
    assert_int_equal(plain->servers[0].weight, 1);
    assert_int_equal(plain->balance, CONFIG_BALANCE_LEAST_REQUESTS);
    assert_int_equal(plain->retries, 1);
    assert_null(plain->health.path);
    assert_int_equal(plain->connect_ns, 2 * NS_PER_S);
    assert_int_equal(plain->response_ns, 30 * NS_PER_S);
    assert_int_equal(plain->idle_ns, 60 * NS_PER_S);
    assert_int_equal(full->server_count, 2);
    assert_string_equal(full->servers[1].text, "http://[::1]:2/");
    assert_string_equal(full->servers[1].url.host, "::1");
    assert_int_equal(full->servers[1].url.port, 2);
    assert_int_equal(full->servers[0].weight, 1);
    assert_int_equal(full->servers[1].weight, 3);
    assert_int_equal(full->balance, CONFIG_BALANCE_HASH);
    assert_int_equal(full->retries, 0);
    assert_int_equal(full->connections, 7);
    assert_int_equal(full->connect_ns, NS_PER_S);
    assert_int_equal(full->response_ns, 3 * NS_PER_S);
    assert_int_equal(full->idle_ns, 4 * NS_PER_S);
    config_free(&config);
}

static void a_server_may_be_a_socket(void **state)
{
    (void)state;
    struct config *config = load_between(
        before, "\"upstreams\": { \"a\": { \"servers\": [\"unix:/run/a.sock\", \"unix:/run/b.sock\", \"http://c\"] } }",
        after);
    const struct config_server *servers = config->upstreams[0].servers;
    assert_string_equal(servers[0].text, "unix:/run/a.sock");
    assert_string_equal(servers[0].socket, "/run/a.sock");
    assert_string_equal(servers[1].socket, "/run/b.sock");
    assert_null(servers[2].socket);
    config_free(&config);
    static const struct refusal cases[] = {
        { "\"upstreams\": { \"a\": \"unix:\" }", "2:21 upstreams.a", "a socket is unix: and its absolute path" },
        { "\"upstreams\": { \"a\": \"unix:run/a\" }", "2:21 upstreams.a", "absolute path" },
        { "\"upstreams\": { \"a\": \"unix:/a b\" }", "2:21 upstreams.a", "no spaces" },
        { "\"upstreams\": { \"a\": \"unix:/"
          "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
          "1234567\" }",
          "2:21 upstreams.a", "at most 107 bytes" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"unix:/a\", \"unix:/b\", \"unix:/a\"] } }",
          "2:57 upstreams.a.servers[2]", "this is the same server as servers[0]" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void servers_are_asked_how_they_are_where_that_is_said(void **state)
{
    (void)state;
    struct config *config =
        load_between(before,
                     "\"upstreams\": { \"plain\": { \"servers\": [\"http://a\"], \"health\": {} }, \"full\": { "
                     "\"servers\": [\"http://a\"], "
                     "\"health\": { \"path\": \"/up?x=1\", \"interval\": \"1s\", \"fall\": 1, \"rise\": 4 } } }",
                     after);
    const struct config_health *plain = &config->upstreams[0].health, *full = &config->upstreams[1].health;
    assert_string_equal(plain->path, "/");
    assert_int_equal(plain->interval_ns, 5 * NS_PER_S);
    assert_int_equal(plain->fall, 3);
    assert_int_equal(plain->rise, 2);
    assert_string_equal(full->path, "/up?x=1");
    assert_int_equal(full->interval_ns, NS_PER_S);
    assert_int_equal(full->fall, 1);
    assert_int_equal(full->rise, 4);
    config_free(&config);
    static const struct refusal cases[] = {
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"health\": true } }", "2:58 upstreams.a.health",
          "expected an object, found true" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"health\": { \"path\": \"up\" } } }",
          "2:68 upstreams.a.health.path", "a path begins with /" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"health\": { \"path\": \"/a b\" } } }",
          "2:68 upstreams.a.health.path", "no spaces" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"health\": { \"path\": \"/\\r\\nX: y\" } } }",
          "2:68 upstreams.a.health.path", "control characters" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"health\": { \"interval\": \"1ms\" } } }",
          "2:72 upstreams.a.health.interval", "write 100ms to 24h" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"health\": { \"fall\": 0 } } }",
          "2:68 upstreams.a.health.fall", "from 1 to 100" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void an_upstream_that_cannot_be_reached_is_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"upstreams\": { \"a\": 5 }", "2:21 upstreams.a",
          "expected a URL, or an object with \"servers\", found the number 5" },
        { "\"upstreams\": { \"a\": \"10.0.0.1:9000\" }", "2:21 upstreams.a", "an upstream is a URL like" },
        { "\"upstreams\": { \"a\": \"http://a/v1\" }", "2:21 upstreams.a", "with a path" },
        { "\"upstreams\": { \"a\": \"https://a\" }", "2:21 upstreams.a",
          "https to an upstream is not supported by this version" },
        { "\"upstreams\": { \"a\": {} }", "2:21 upstreams.a", "\"servers\" is missing" },
        { "\"upstreams\": { \"a\": { \"servers\": [] } }", "2:34 upstreams.a.servers",
          "expected a list of URLs, found an empty one" },
        { "\"upstreams\": { \"a\": { \"servers\": \"http://a\" } }", "2:34 upstreams.a.servers",
          "expected a list of URLs" },
        { "\"upstreams\": { \"a\": { \"servers\": [5] } }", "2:35 upstreams.a.servers[0]", "expected a URL such as" },
        { "\"upstreams\": { \"a\": { \"servers\": [{}] } }", "2:35 upstreams.a.servers[0]", "\"url\" is missing" },
        { "\"upstreams\": { \"a\": { \"servers\": [{ \"url\": 5 }] } }", "2:44 upstreams.a.servers[0].url",
          "expected a URL such as" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://b\", \"http://a\", \"http://B:80/\"] } }",
          "2:59 upstreams.a.servers[2]", "this is the same server as servers[0]" },
        { "\"upstreams\": { \"a\": { \"servers\": [{ \"url\": \"http://a\", \"weight\": 0 }] } }",
          "2:66 upstreams.a.servers[0].weight", "from 1 to 1000, found the number 0" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"balance\": \"random\" } }",
          "2:59 upstreams.a.balance", "expected \"least_requests\", \"round_robin\" or \"hash\", found \"random\"" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"retries\": -1 } }", "2:59 upstreams.a.retries",
          "from 0 to 255, found the number -1" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"connections\": 0 } }",
          "2:63 upstreams.a.connections", "from 1 to 1000000, found the number 0" },
        { "\"upstreams\": { \"a\": { \"servers\": [\"http://a\"], \"timeouts\": { \"read\": \"1s\" } } }",
          "2:62 upstreams.a.timeouts.read", "known here: \"connect\", \"idle\", \"response\"" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void a_gateway_does_not_forward_to_itself(void **state)
{
    (void)state;
    static const struct {
        const char *listen, *server;
        bool loop;
    } cases[] = {
        { "127.0.0.1:8080", "http://127.0.0.1:8080", true },
        { "127.0.0.1:8080", "http://127.0.0.1:8081", false },
        { "127.0.0.1:8080", "http://127.0.0.2:8080", false },
        { "127.0.0.1:80", "http://127.0.0.1", true },
        { "127.0.0.1:8080", "http://[::ffff:127.0.0.1]:8080", true },
        { "[::1]:8080", "http://[::1]:8080", true },
        { "[::1]:8080", "http://127.0.0.1:8080", false },
        { "0.0.0.0:8080", "http://127.1.2.3:8080", true },
        { "0.0.0.0:8080", "http://0.0.0.0:8080", true },
        { "0.0.0.0:8080", "http://10.0.0.1:8080", false },
        { "0.0.0.0:8080", "http://[::1]:8080", false },
        { "[::]:8080", "http://[::1]:8080", true },
        { "[::]:8080", "http://[::]:8080", true },
        { "[::]:8080", "http://[2001:db8::1]:8080", false },
        { "127.0.0.1:8080", "http://localhost:8080", false }, /* names are not looked up; Via finds such loops */
        { "127.0.0.1:8080", "http://0.0.0.0:8080", true },    /* connecting to "any" reaches loopback */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *text;
        assert_true(
            asprintf(&text,
                     "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ], \"listen\": [\"127.0.0.1:1\", \"%s\"],\n"
                     "\"upstreams\": { \"a\": \"http://b\",\n\"b\": { \"servers\": [ \"http://c\",\n\"%s\"] } } }",
                     cases[i].listen, cases[i].server) > 0);
        if (cases[i].loop) {
            assert_errors(
                text, &(struct refusal){ .where = "4:1 upstreams.b.servers[1]", .words = "weir itself listens on" }, 1);
        } else {
            struct config *config = load_text(text);
            config_free(&config);
        }
        free(text);
    }
    assert_each_refused(before, after,
                        &(struct refusal){ "\"upstreams\": { \"a\": \"http://127.0.0.1:8080\" }", "2:21 upstreams.a",
                                           "weir itself listens on \"127.0.0.1:8080\"" },
                        1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upstream_is_a_url_or_an_object),
        cmocka_unit_test(a_server_may_be_a_socket),
        cmocka_unit_test(servers_are_asked_how_they_are_where_that_is_said),
        cmocka_unit_test(an_upstream_that_cannot_be_reached_is_refused),
        cmocka_unit_test(a_gateway_does_not_forward_to_itself),
    };
    return cmocka_run_group_tests_name("config_upstreams", tests, NULL, NULL);
}
