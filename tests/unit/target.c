/* target: what a request points at, in one spelling. */
#include "target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct slice slice_of(const char *text)
{
    return (struct slice){ text, strlen(text) };
}

/* One piece of memory of exactly that size, for a sanitizer to watch. */
static char *exactly(const char *text)
{
    char *block = malloc(strlen(text));
    memcpy(block, text, strlen(text));
    return block;
}

static const char *normalised(const char *path)
{
    static char shown[256];
    char *in = exactly(path);
    char *out = malloc(strlen(path) + 1);
    size_t length = target_normalise((struct slice){ in, strlen(path) }, out);
    snprintf(shown, sizeof shown, "%.*s", (int)length, out);
    free(in);
    free(out);
    return shown;
}

static void paths_have_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *normal;
    } rows[] = {
        { "/", "/" },
        { "", "/" },
        { "login", "/login" },
        { "/login", "/login" },
        { "/login/", "/login/" },
        { "//login", "/login" },
        { "///login///x//", "/login/x/" },
        /* dot segments: RFC 3986 §5.2.4 */
        { "/./login", "/login" },
        { "/x/../login", "/login" },
        { "/a/b/c/./../../g", "/a/g" },
        { "/a/.", "/a/" },
        { "/a/..", "/" },
        { "/a/b/..", "/a/" },
        { "/a/b/../", "/a/" },
        { "/..", "/" },
        { "/../../login", "/login" },
        { "/.", "/" },
        { "/a//../b", "/b" },
        { "/...", "/..." },
        { "/.a/..b/c.", "/.a/..b/c." },
        /* unreserved characters are decoded once (§6.2.2.2), what stays encoded is in upper case (§6.2.2.1) */
        { "/%6cogin", "/login" },
        { "/%6Cog%69n", "/login" },
        { "/%2d%2e%5f%7e%30%41%7a", "/-._~0Az" },
        { "/%2e%2e/login", "/login" },
        { "/x/%2E%2e/login", "/login" },
        { "/x/.%2e/login", "/login" },
        { "/%252e%252e/login", "/%252e%252e/login" },
        { "/%25%32%65", "/%252e" },
        { "/a%2fb", "/a%2Fb" },
        { "/a%2f..%2fb", "/a%2F..%2Fb" },
        { "/%c3%a9%20%7b", "/%C3%A9%20%7B" },
        { "/%3a%40%21", "/%3A%40%21" },
        /* what stands for itself stays, and so does what is no encoding (in a config's path) */
        { "/LOGIN;x=1", "/LOGIN;x=1" },
        { "/{id}/x*", "/{id}/x*" },
        { "/100%", "/100%" },
        { "/%4", "/%4" },
        { "/%zz%4g", "/%zz%4g" },
        { "*", "/*" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(normalised(rows[i].sent), rows[i].normal);
        assert_string_equal(normalised(rows[i].normal), rows[i].normal);
    }
}

static void hosts_have_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *sent, *host; /* NULL: none */
    } rows[] = {
        { "gw.test", "gw.test" },
        { "GW.Test", "gw.test" },
        { "gw.test.", "gw.test" },
        { "GW.TEST.:80", "gw.test" },
        { "gw.test:", "gw.test" },
        { "gw.test:0", "gw.test" },
        { "gw.test:65535", "gw.test" },
        { "a_b-c~d.test", "a_b-c~d.test" },
        { "127.0.0.1:8080", "127.0.0.1" },
        { "localhost", "localhost" },
        { "[::1]", "[::1]" },
        { "[::1]:8443", "[::1]" },
        { "[0:0:0:0:0:0:0:1]", "[::1]" },
        { "[2001:DB8::00ff]", "[2001:db8::ff]" },
        { "[1::3:4:5:6:7:8]", "[1:0:3:4:5:6:7:8]" },
        { "", NULL },
        { ".", NULL },
        { "..", NULL },
        { ":80", NULL },
        { "a..b", NULL },
        { ".a", NULL },
        { "a..", NULL },
        { "a b", NULL },
        { "a,b", NULL },
        { "a/b", NULL },
        { "a?b", NULL },
        { "a#b", NULL },
        { "a\\b", NULL },
        { "a%2eb", NULL },
        { "user@gw.test", NULL },
        { "user:pass@gw.test", NULL },
        { "http://gw.test", NULL },
        { "g\xc3\xbc.test", NULL },
        { "a\tb", NULL },
        { "gw.test:65536", NULL },
        { "gw.test:000080", NULL },
        { "gw.test:+80", NULL },
        { "gw.test:80:80", NULL },
        { "gw.test:8o", NULL },
        { "::1", NULL },
        { "[", NULL },
        { "[]", NULL },
        { "[::1", NULL },
        { "[::1]x", NULL },
        { "[::1]80", NULL },
        { "[1.2.3.4]", NULL },
        { "[fe80::1%25eth0]", NULL },
        { "[v1.x]", NULL },
        { "a[::1]", NULL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *in = exactly(rows[i].sent);
        char *out = malloc(strlen(rows[i].sent) + 2);
        size_t length = 0;
        bool is_host = target_host((struct slice){ in, strlen(rows[i].sent) }, out, &length);
        if (is_host != (rows[i].host != NULL)) {
            fail_msg("\"%s\" is %s", rows[i].sent, is_host ? "taken" : "refused");
        }
        if (is_host) {
            assert_true(slice_equals((struct slice){ out, length }, slice_of(rows[i].host)));
        }
        free(in);
        free(out);
    }
}

static void a_host_is_as_long_as_a_dns_name_can_be(void **state)
{
    (void)state;
    char name[260];
    char out[262];
    size_t length;
    memset(name, 'a', sizeof name);
    assert_true(target_host((struct slice){ name, 253 }, out, &length));
    assert_int_equal(length, 253);
    assert_false(target_host((struct slice){ name, 254 }, out, &length));
    name[253] = '.';
    assert_true(target_host((struct slice){ name, 254 }, out, &length));
}

static void a_target_falls_into_its_parts(void **state)
{
    (void)state;
    static const struct {
        const char *method, *raw;
        bool absolute;
        const char *authority, *path, *query, *rest;
    } rows[] = {
        { "GET", "/", false, "", "/", "", "/" },
        { "GET", "/a/b?c=d?e", false, "", "/a/b", "c=d?e", "/a/b?c=d?e" },
        { "GET", "/a?", false, "", "/a", "", "/a?" },
        { "GET", "/http://x/y", false, "", "/http://x/y", "", "/http://x/y" },
        { "GET", "//gw.test/y", false, "", "//gw.test/y", "", "//gw.test/y" },
        { "GET", "/?a|b{c}\"<>^`[]\\", false, "", "/", "a|b{c}\"<>^`[]\\", "/?a|b{c}\"<>^`[]\\" },
        { "GET", "/a|b{c}\"<>^`[]", false, "", "/a|b{c}\"<>^`[]", "", "/a|b{c}\"<>^`[]" },
        { "GET", "/?a=%00", false, "", "/", "a=%00", "/?a=%00" },
        { "OPTIONS", "*", false, "", "*", "", "*" },
        { "GET", "http://gw.test/a?b", true, "gw.test", "/a", "b", "/a?b" },
        { "GET", "HTTPS://gw.test:1", true, "gw.test:1", "", "", "" },
        { "GET", "http://gw.test?b", true, "gw.test", "", "b", "?b" },
        { "GET", "http:///a", true, "", "/a", "", "/a" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct target target;
        assert_null(target_split(slice_of(rows[i].method), slice_of(rows[i].raw), &target));
        assert_int_equal(target.absolute, rows[i].absolute);
        assert_true(slice_equals(target.authority, slice_of(rows[i].authority)));
        assert_true(slice_equals(target.path, slice_of(rows[i].path)));
        assert_true(slice_equals(target.query, slice_of(rows[i].query)));
        assert_true(slice_equals(target.rest, slice_of(rows[i].rest)));
    }
}

static void a_doubtful_target_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "*",
        "*/",
        "login",
        "gw.test:443",
        "ftp://gw.test/",
        "http:/gw.test/",
        "http:gw.test",
        "://",
        "/a b",
        "/a\tb",
        "/a\x01",
        "/a\x7f",
        "/\xc3\xa9",
        "/?\xff",
        "/a?b c",
        "/a#b",
        "/login#",
        "/a?b#c",
        "http://gw.test/#",
        "/%",
        "/%4",
        "/%zz",
        "/%4g",
        "/?%",
        "/?a=100%",
        "/?%u0041",
        "/a%00",
        "/%00?x",
        "\\login",
        "/login\\",
        "/a\\..\\b",
        "http://gw.test/a\\b",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct target target;
        char *in = exactly(rows[i]);
        if (target_split(SLICE("GET"), (struct slice){ in, strlen(rows[i]) }, &target) == NULL) {
            fail_msg("\"%s\" is taken", rows[i]);
        }
        free(in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_have_one_spelling),
        cmocka_unit_test(hosts_have_one_spelling),
        cmocka_unit_test(a_host_is_as_long_as_a_dns_name_can_be),
        cmocka_unit_test(a_target_falls_into_its_parts),
        cmocka_unit_test(a_doubtful_target_is_refused),
    };
    return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
