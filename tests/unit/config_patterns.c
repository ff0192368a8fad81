/* config_patterns: which hosts and paths a route may be written with. */
#include "config_patterns.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct pattern {
    const char *text, *words; /* words of the problem; NULL: fine */
};

static void assert_patterns(const char *(*check)(const char *), const struct pattern *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *problem = check(cases[i].text);
        if (cases[i].words == NULL ? problem != NULL : problem == NULL || strstr(problem, cases[i].words) == NULL) {
            fail_msg("\"%s\": expected %s, got %s", cases[i].text, cases[i].words == NULL ? "none" : cases[i].words,
                     problem == NULL ? "none" : problem);
        }
    }
}

static void paths_are_what_a_normalised_path_can_match(void **state)
{
    (void)state;
    static const struct pattern cases[] = {
        { "/", NULL },
        { "/*", NULL },
        { "/v1/search", NULL },
        { "/v1/", NULL },
        { "/v1/x*", NULL },
        { "/v1/users/{id}/export", NULL },
        { "/{a}/{b}/", NULL },
        { "/{a}", NULL },
        { "/a:b@c!$&'()+,;=~._-", NULL },
        { "/a%2Fb%20c%2f", NULL },
        { "/...", NULL },
        { "/.a/..b", NULL },
        { "", "begins with /" },
        { "*", "begins with /" },
        { "v1", "begins with /" },
        { "[", "begins with /" },
        { "(a+)+$", "begins with /" },
        { "http://a/", "begins with /" },
        { "/a?b", "ends before ? and #" },
        { "/a#b", "ends before ? and #" },
        { "/a b", "percent-encoded" },
        { "/a\tb", "percent-encoded" },
        { "/a\x7f", "percent-encoded" },
        { "/\xc3\xa9", "percent-encoded" },
        { "/a*b", "* stands only at the end" },
        { "/*/b", "* stands only at the end" },
        { "/a**", "* stands only at the end" },
        { "/%", "two hexadecimal digits" },
        { "/%4", "two hexadecimal digits" },
        { "/%g0", "two hexadecimal digits" },
        { "/%2", "two hexadecimal digits" },
        { "/%61", "write it as it is" },
        { "/%7E", "write it as it is" },
        { "/a/%2e%2e/b", "write it as it is" },
        { "//", "would never match" },
        { "/a//b", "would never match" },
        { "/./a", "would never match" },
        { "/a/..", "would never match" },
        { "/a/.", "would never match" },
        { "/{}", "a whole segment" },
        { "/{a", "a whole segment" },
        { "/a}", "a whole segment" },
        { "/{a}b", "a whole segment" },
        { "/a{b}", "a whole segment" },
        { "/{a}*", "a whole segment" },
        { "/{a-b}", "a whole segment" },
        { "/{a}{b}", "a whole segment" },
        { "/{{a}}", "a whole segment" },
        { "/{a}/x/{a}", "the same name" },
        { "/{1}/{2}/{3}/{4}/{5}/{6}/{7}/{8}/{9}/{10}/{11}/{12}/{13}/{14}/{15}/{16}", NULL },
        { "/{1}/{2}/{3}/{4}/{5}/{6}/{7}/{8}/{9}/{10}/{11}/{12}/{13}/{14}/{15}/{16}/{17}", "at most 16" },
    };
    assert_patterns(config_patterns_path, cases, COUNT(cases));
    char path[2050] = { 0 };
    memset(path, 'a', 2048);
    path[0] = '/';
    assert_null(config_patterns_path(path));
    path[2048] = 'a';
    assert_string_equal(config_patterns_path(path), "a path is at most 2048 bytes long");
}

static void hosts_are_names_addresses_or_wildcards(void **state)
{
    (void)state;
    static const struct pattern cases[] = {
        { "api.example.com", NULL },
        { "API.Example.com", NULL },
        { "localhost", NULL },
        { "*.example.com", NULL },
        { "*.com", NULL },
        { "192.0.2.1", NULL },
        { "[::1]", NULL },
        { "a_b-c.d", NULL },
        { "*", "leave \"host\" out" },
        { "", "a host is written like" },
        { "*.", "a host is written like" },
        { "*example.com", "a host is written like" },
        { "*.*.com", "a host is written like" },
        { "a.*.com", "a host is written like" },
        { "example.com:80", "a host is written like" },
        { "[::1]:80", "a host is written like" },
        { "[::1", "a host is written like" },
        { "::1", "a host is written like" },
        { "example.com.", "a host is written like" },
        { "example.com/", "a host is written like" },
        { "http://example.com", "a host is written like" },
        { "user@example.com", "a host is written like" },
        { "a?", "a host is written like" },
        { "a b", "a host is written like" },
        { "a..b", "a host is written like" },
        { "-a", "a host is written like" },
        { "300.1.1.1", "a host is written like" },
        { "b\xc3\xbc", "a host is written like" },
        { "*.192.0.2.1", "not of an address" },
        { "*.[::1]", "not of an address" },
    };
    assert_patterns(config_patterns_host, cases, COUNT(cases));
    char host[300] = { 0 };
    memset(host, 'a', 299);
    assert_non_null(config_patterns_host(host));
}

static void patterns_of_one_shape_match_the_same_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path, *shape;
    } cases[] = {
        { "/", "/" },
        { "/*", "/" },
        { "/v1/", "/v1/" },
        { "/v1/*", "/v1/" },
        { "/v1/x*", "/v1/x*" },
        { "/v1/x", "/v1/x" },
        { "/{a}/b/{c_1}", "/{}/b/{}" },
        { "/a%2fb%C3%a9f%af", "/a%2Fb%C3%A9f%AF" },
        { "/abcdef", "/abcdef" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena arena = { 0 };
        assert_string_equal(config_patterns_shape(&arena, cases[i].path), cases[i].shape);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_what_a_normalised_path_can_match),
        cmocka_unit_test(hosts_are_names_addresses_or_wildcards),
        cmocka_unit_test(patterns_of_one_shape_match_the_same_paths),
    };
    return cmocka_run_group_tests_name("config_patterns", tests, NULL, NULL);
}
