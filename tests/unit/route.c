/* route: which route a request meets; by stories, and by comparison with a matcher that tries every route in turn. */
#include "route.h"

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

/* ---- configs from text: "GET,POST api.example.com/v1/x", "/v1/x" ----------------------------------------------- */

#define METHODS_MAX 4

struct site {
    struct config config;
    struct routes *routes;
};

static void add_route(struct config *config, const char *text)
{
    struct config_route *route = &config->routes[config->route_count++];
    const char *blank = strchr(text, ' ');
    route->name = strdup(text);
    if (blank != NULL) {
        char *methods = strndup(text, (size_t)(blank - text));
        route->methods = calloc(METHODS_MAX, sizeof *route->methods);
        char *rest = methods;
        for (char *method; (method = strsep(&rest, ",")) != NULL;) {
            route->methods[route->method_count++] = strdup(method);
        }
        free(methods);
        text = blank + 1;
    }
    const char *path = strcmp(text, "*") == 0 ? text : strchrnul(text, '/');
    if (path > text) {
        route->host = strndup(text, (size_t)(path - text));
    }
    route->path = strdup(path);
}

static struct site site_of(const char *const *texts, size_t count)
{
    struct site site = { .config = { .routes = calloc(count + 1, sizeof(struct config_route)) } };
    for (size_t i = 0; i < count; i++) {
        add_route(&site.config, texts[i]);
    }
    return site;
}

static void open_site(struct site *site)
{
    site->routes = routes_create(&site->config);
    assert_non_null(site->routes);
}

static void close_site(struct site *site)
{
    routes_destroy(&site->routes);
    assert_null(site->routes);
    for (size_t i = 0; i < site->config.route_count; i++) {
        struct config_route *route = &site->config.routes[i];
        for (size_t m = 0; m < route->method_count; m++) {
            free(route->methods[m]);
        }
        free(route->methods);
        free(route->name);
        free(route->host);
        free(route->path);
    }
    free(site->config.routes);
}

/* ---- stories --------------------------------------------------------------------------------------------------- */

struct visit {
    const char *host, *method, *path;
    const char *route; /* as written; NULL: none */
};

static void check_visits(const char *const *texts, size_t text_count, const struct visit *visits, size_t visit_count)
{
    struct site site = site_of(texts, text_count);
    open_site(&site);
    for (size_t i = 0; i < visit_count; i++) {
        const struct visit *visit = &visits[i];
        int found = routes_find(site.routes, slice_of(visit->host), slice_of(visit->method), slice_of(visit->path));
        const char *name = found < 0 ? NULL : site.config.routes[found].name;
        if ((name == NULL) != (visit->route == NULL) || (name != NULL && strcmp(name, visit->route) != 0)) {
            fail_msg("%s %s%s met %s, not %s", visit->method, visit->host, visit->path, name, visit->route);
        }
    }
    close_site(&site);
}
#define CHECK_VISITS(texts, visits)                                                                                    \
    check_visits(texts, sizeof(texts) / sizeof *(texts), visits, sizeof(visits) / sizeof *(visits))

static void a_path_is_met_whole_unless_it_ends_open(void **state)
{
    (void)state;
    static const char *const routes[] = { "/v1/x", "/v1/", "/v2/x*", "/v3/{id}", "/v4/{id}/", "/v5/{id}/*", "/v6/*" };
    static const struct visit visits[] = {
        { "h", "GET", "/v1/x", "/v1/x" },
        { "h", "GET", "/v1/x/", "/v1/" },
        { "h", "GET", "/v1/xy", "/v1/" },
        { "h", "GET", "/v1/", "/v1/" },
        { "h", "GET", "/v1", NULL },
        { "h", "GET", "/V1/x", NULL },
        { "h", "GET", "/v2/x", "/v2/x*" },
        { "h", "GET", "/v2/xyz/a", "/v2/x*" },
        { "h", "GET", "/v2/", NULL },
        { "h", "GET", "/v2/y", NULL },
        { "h", "GET", "/v3/7", "/v3/{id}" },
        { "h", "GET", "/v3/", NULL },
        { "h", "GET", "/v3/7/", NULL },
        { "h", "GET", "/v3/7%2F8", "/v3/{id}" },
        { "h", "GET", "/v4/7", NULL },
        { "h", "GET", "/v4/7/", "/v4/{id}/" },
        { "h", "GET", "/v4/7/8/9", "/v4/{id}/" },
        { "h", "GET", "/v5/", NULL },
        { "h", "GET", "/v5/7", NULL },
        { "h", "GET", "/v5/7/8", "/v5/{id}/*" },
        { "h", "GET", "/v6/", "/v6/*" },
        { "h", "GET", "/v6/a/b", "/v6/*" },
        { "h", "GET", "/v6", NULL },
        { "h", "GET", "/", NULL },
        { "h", "OPTIONS", "*", NULL },
    };
    CHECK_VISITS(routes, visits);
}

static void the_most_specific_path_wins(void **state)
{
    (void)state;
    static const char *const routes[] = {
        "/",          "/v1/",     "/v1/a*",         "/v1/ab*",      "/v1/{x}",   "/v1/abc",
        "/v1/{x}/d/", "/v1/{x}/", "/v1/{x}/{y}",    "/v1/abc/{y}",  "/v1/{x}/d", "/v1/abc/",
        "/u/{a}/b/c", "/u/x/{b}", "/u/{a}/{b}/{c}", "/u/x/{b}/d/e",
    };
    static const struct visit visits[] = {
        { "h", "GET", "/", "/" },
        { "h", "GET", "/v1/", "/v1/" },
        { "h", "GET", "/v1/abc", "/v1/abc" },
        { "h", "GET", "/v1/abd", "/v1/{x}" },       /* whole over prefix */
        { "h", "GET", "/v1/abc/d", "/v1/abc/{y}" }, /* the first segment decides, although /d is literal elsewhere */
        { "h", "GET", "/v1/q/d", "/v1/{x}/d" },
        { "h", "GET", "/v1/q/e", "/v1/{x}/{y}" },
        { "h", "GET", "/v1/abc/d/e", "/v1/abc/" },
        { "h", "GET", "/v1/abd/d/e", "/v1/{x}/d/" }, /* deeper over the beginning of a segment */
        { "h", "GET", "/v1/abd/e/f", "/v1/{x}/" },
        { "h", "GET", "/u/x/b/c", "/u/{a}/b/c" }, /* /u/x/ leads nowhere: left again */
        { "h", "GET", "/u/x/b/z", "/u/{a}/{b}/{c}" },
        { "h", "GET", "/u/x/b", "/u/x/{b}" },
        { "h", "GET", "/u/x/b/d/e", "/u/x/{b}/d/e" },
        { "h", "GET", "/u/x/b/d/f", "/" },
        { "h", "OPTIONS", "*", "/" },
    };
    CHECK_VISITS(routes, visits);
}

static void the_longest_beginning_of_a_segment_wins(void **state)
{
    (void)state;
    static const char *const routes[] = { "/f/a*", "/f/abc*", "POST /f/ab*", "/f/abcdef*" };
    static const struct visit visits[] = {
        { "h", "GET", "/f/a", "/f/a*" },
        { "h", "GET", "/f/ab", "/f/a*" },
        { "h", "POST", "/f/ab", "POST /f/ab*" },
        { "h", "POST", "/f/abc", "/f/abc*" },
        { "h", "GET", "/f/abcde", "/f/abc*" },
        { "h", "GET", "/f/abcdefg/h", "/f/abcdef*" },
        { "h", "GET", "/f/b", NULL },
    };
    CHECK_VISITS(routes, visits);
}

static void an_exact_host_beats_a_wildcard_and_that_none(void **state)
{
    (void)state;
    static const char *const routes[] = {
        "/x", "/", "*.example.com/", "*.api.example.com/", "api.example.com/v1/", "[0:0::1]/",
    };
    static const struct visit visits[] = {
        { "api.example.com", "GET", "/v1/x", "api.example.com/v1/" },
        { "api.example.com", "GET", "/x", "*.example.com/" }, /* the exact host has no route for it: next */
        { "www.example.com", "GET", "/x", "*.example.com/" },
        { "a.b.example.com", "GET", "/x", "*.example.com/" },
        { "a.api.example.com", "GET", "/x", "*.api.example.com/" },
        { "example.com", "GET", "/x", "/x" }, /* a wildcard is one label or more */
        { "badexample.com", "GET", "/x", "/x" },
        { "example.com.evil", "GET", "/y", "/" },
        { "[::1]", "GET", "/y", "[0:0::1]/" },
        { "", "GET", "/y", "/" },
    };
    CHECK_VISITS(routes, visits);
}

static void a_route_whose_methods_do_not_fit_is_not_there(void **state)
{
    (void)state;
    static const char *const routes[] = {
        "/login", "POST /login", "GET,PUT /x", "/", "HEAD /y", "GET /y", "GET h/z", "/z",
    };
    static const struct visit visits[] = {
        { "h", "POST", "/login", "POST /login" }, /* named over any, wherever it is written */
        { "h", "GET", "/login", "/login" },
        { "h", "post", "/login", "/login" }, /* methods have case */
        { "h", "PoSt", "/login", "/login" },
        { "h", "GET", "/x", "GET,PUT /x" },
        { "h", "PUT", "/x", "GET,PUT /x" },
        { "h", "HEAD", "/x", "GET,PUT /x" }, /* HEAD goes with GET */
        { "h", "DELETE", "/x", "/" },
        { "h", "HEAD", "/y", "HEAD /y" },
        { "h", "GET", "/y", "GET /y" },
        { "h", "GET", "/z", "GET h/z" },
        { "h", "POST", "/z", "/z" }, /* the more specific host does not take POST */
    };
    CHECK_VISITS(routes, visits);
}

static void of_equals_the_first_written_wins(void **state)
{
    (void)state;
    static const char *const routes[] = { "GET,POST /a", "POST,PUT /a", "/b/", "/b/*", "/c/{x}", "/c/{y}" };
    static const struct visit visits[] = {
        { "h", "POST", "/a", "GET,POST /a" },
        { "h", "PUT", "/a", "POST,PUT /a" },
        { "h", "GET", "/b/1", "/b/" },
        { "h", "GET", "/c/1", "/c/{x}" },
    };
    CHECK_VISITS(routes, visits);
}

static void a_path_is_written_in_any_spelling(void **state)
{
    (void)state;
    static const char *const routes[] = { "/%6cogin", "//a/./b/../c", "/d%2fe", "/%7Bx%7D", "/{}", "/f/{x", "*" };
    static const struct visit visits[] = {
        { "h", "GET", "/login", "/%6cogin" },   { "h", "GET", "/a/c", "//a/./b/../c" },
        { "h", "GET", "/d%2Fe", "/d%2fe" },     { "h", "GET", "/d/e", "*" },
        { "h", "GET", "/%7Bx%7D", "/%7Bx%7D" }, { "h", "GET", "/{}", "/{}" },
        { "h", "GET", "/f/{x", "/f/{x" },       { "h", "GET", "/f/y", "*" },
        { "h", "OPTIONS", "*", "*" },
    };
    CHECK_VISITS(routes, visits);
}

static void without_routes_nothing_is_met(void **state)
{
    (void)state;
    struct site site = site_of(NULL, 0);
    open_site(&site);
    assert_int_equal(routes_find(site.routes, SLICE("h"), SLICE("GET"), SLICE("/")), -1);
    assert_int_equal(routes_find(site.routes, SLICE("h"), SLICE("GET"), SLICE("/a/b/c")), -1);
    close_site(&site);
    routes_destroy(&site.routes); /* nothing to destroy */
}

/* The i-th of many routes, as written, and a path that only it is meant for. */
static void many(int i, char route[static 64], char path[static 64])
{
    int group = i % 100;
    switch (i % 5) {
    case 0:
        snprintf(route, 64, "h%d.test/v%d/x", group, i);
        snprintf(path, 64, "/v%d/x", i);
        break;
    case 1:
        snprintf(route, 64, "/v%d/r%d", group, i);
        snprintf(path, 64, "/v%d/r%d", group, i);
        break;
    case 2:
        snprintf(route, 64, "/a/b%d/{id}/c%d", group, i);
        snprintf(path, 64, "/a/b%d/77/c%d", group, i);
        break;
    case 3:
        snprintf(route, 64, "/p%d/q%d*", group, i);
        snprintf(path, 64, "/p%d/q%d-tail", group, i);
        break;
    default:
        snprintf(route, 64, "/p%d/d%d/", group, i);
        snprintf(path, 64, "/p%d/d%d/x/y", group, i);
        break;
    }
}

static void a_hundred_thousand_routes_are_all_found(void **state)
{
    (void)state;
    enum { ROUTES = 100000 };
    struct site site = { .config = { .routes = calloc(ROUTES, sizeof(struct config_route)) } };
    char route[64], path[64], host[32];
    for (int i = 0; i < ROUTES; i++) {
        many(i, route, path);
        add_route(&site.config, route);
    }
    open_site(&site);
    for (int i = 0; i < ROUTES; i++) {
        many(i, route, path);
        snprintf(host, sizeof host, "h%d.test", i % 100);
        assert_int_equal(routes_find(site.routes, slice_of(host), SLICE("GET"), slice_of(path)), i);
    }
    close_site(&site);
}

/* ---- against a matcher that tries every route ------------------------------------------------------------------ */

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static unsigned below(unsigned limit) /* xorshift64*: Vigna 2016 */
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1du) >> 33) % limit;
}

static bool ends_open(const char *pattern)
{
    char last = pattern[strlen(pattern) - 1];
    return last == '/' || last == '*';
}

static bool path_fits(const char *pattern, const char *path)
{
    const char *end = pattern + strlen(pattern);
    for (; pattern < end; pattern++, path++) {
        if (*pattern == '{') {
            size_t taken = strcspn(path, "/");
            if (taken == 0) {
                return false;
            }
            pattern = strchr(pattern, '}');
            path += taken - 1;
        } else if (*pattern == '*') {
            return true;
        } else if (*pattern != *path) {
            return false;
        }
    }
    return end[-1] == '/' || *path == '\0';
}

/* Of one segment: literal, {name}, the beginning of one (longer first), none; a star alone is none. */
static unsigned segment_rank(const char *segment, size_t length)
{
    if (length == 0 || *segment == '*') {
        return 0;
    }
    if (*segment == '{') {
        return 1000;
    }
    return segment[length - 1] == '*' ? (unsigned)length : 1001;
}

/* Above 0: `a` is more specific than `b`; both fit one path. */
static int compare_paths(const char *a, const char *b)
{
    if (ends_open(a) != ends_open(b)) {
        return ends_open(b) ? 1 : -1;
    }
    while (*a == '/' || *b == '/') {
        a += *a == '/';
        b += *b == '/';
        size_t a_length = strcspn(a, "/");
        size_t b_length = strcspn(b, "/");
        unsigned a_rank = segment_rank(a, a_length);
        unsigned b_rank = segment_rank(b, b_length);
        if (a_rank != b_rank) {
            return a_rank > b_rank ? 1 : -1;
        }
        a += a_length;
        b += b_length;
    }
    return 0;
}

/* 0: does not fit. */
static size_t host_rank(const char *pattern, const char *host)
{
    if (pattern == NULL) {
        return 1;
    }
    if (*pattern != '*') {
        return strcmp(pattern, host) == 0 ? 1000 : 0;
    }
    size_t suffix = strlen(pattern) - 1;
    bool fits = strlen(host) > suffix && strcmp(host + strlen(host) - suffix, pattern + 1) == 0;
    return fits ? 1 + suffix : 0;
}

static unsigned method_rank(const struct config_route *route, const char *method)
{
    unsigned rank = route->method_count == 0 ? 1 : 0;
    for (size_t i = 0; i < route->method_count; i++) {
        bool same = strcmp(route->methods[i], method) == 0;
        bool head = strcmp(route->methods[i], "GET") == 0 && strcmp(method, "HEAD") == 0;
        unsigned this = same ? 3 : head ? 2 : 0;
        rank = this > rank ? this : rank;
    }
    return rank;
}

static int find_by_trying(const struct config *config, const char *host, const char *method, const char *path)
{
    int best = -1;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        size_t host_fit = host_rank(route->host, host);
        unsigned method_fit = method_rank(route, method);
        if (host_fit == 0 || method_fit == 0 || !path_fits(route->path, path)) {
            continue;
        }
        if (best >= 0) {
            const struct config_route *other = &config->routes[best];
            size_t other_host = host_rank(other->host, host);
            int paths = compare_paths(route->path, other->path);
            if (host_fit < other_host || (host_fit == other_host && paths < 0) ||
                (host_fit == other_host && paths == 0 && method_fit <= method_rank(other, method))) {
                continue;
            }
        }
        best = (int)i;
    }
    return best;
}

static const char *const literals[] = { "a", "b", "ab", "abc", "c" };
static const char *const hosts[] = { "h.t", "x.h.t", "y.x.h.t", "t", "z" };
static const char *const methods[] = { "GET", "HEAD", "POST" };

static void random_route(char text[static 128])
{
    static const char *const named[] = { "", "", "", "GET ", "POST ", "HEAD ", "GET,POST " };
    static const char *const patterns[] = { "", "", "", "h.t", "*.t", "*.h.t", "*.x.h.t", "x.h.t" };
    static const char *const ends[] = { "", "", "/", "*", "/*" };
    size_t used = (size_t)snprintf(text, 128, "%s%s", named[below(7)], patterns[below(8)]);
    unsigned depth = below(5);
    bool parameter = false;
    for (unsigned i = 0; i < depth; i++) {
        parameter = below(3) == 0;
        used += (size_t)snprintf(text + used, 128 - used, "/%s", parameter ? "{x}" : literals[below(5)]);
    }
    const char *end = depth == 0 ? "/" : ends[below(5)];
    snprintf(text + used, 128 - used, "%s", parameter && *end == '*' ? "/*" : end); /* no "{x}*" */
}

static void random_path(char text[static 128])
{
    size_t used = 0;
    for (unsigned i = below(6); i > 0; i--) {
        used += (size_t)snprintf(text + used, 128 - used, "/%s", literals[below(5)]);
    }
    snprintf(text + used, 128 - used, "%s", used == 0 || below(4) == 0 ? "/" : "");
}

static void the_walk_and_the_trial_of_every_route_agree(void **state)
{
    (void)state;
    unsigned met = 0, missed = 0;
    for (unsigned round = 0; round < 400; round++) {
        char text[128];
        unsigned count = 1 + below(60);
        struct site site = { .config = { .routes = calloc(count, sizeof(struct config_route)) } };
        for (unsigned i = 0; i < count; i++) {
            random_route(text);
            add_route(&site.config, text);
        }
        open_site(&site);
        for (unsigned i = 0; i < 500; i++) {
            random_path(text);
            const char *host = hosts[below(5)];
            const char *method = methods[below(3)];
            int walked = routes_find(site.routes, slice_of(host), slice_of(method), slice_of(text));
            int tried = find_by_trying(&site.config, host, method, text);
            if (walked != tried) {
                fail_msg("%s %s%s: walked to %s, tried %s", method, host, text,
                         walked < 0 ? "none" : site.config.routes[walked].name,
                         tried < 0 ? "none" : site.config.routes[tried].name);
            }
            met += walked >= 0;
            missed += walked < 0;
        }
        close_site(&site);
    }
    assert_true(met > 50000 && missed > 10000); /* the comparison had something to compare */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_met_whole_unless_it_ends_open),
        cmocka_unit_test(the_most_specific_path_wins),
        cmocka_unit_test(the_longest_beginning_of_a_segment_wins),
        cmocka_unit_test(an_exact_host_beats_a_wildcard_and_that_none),
        cmocka_unit_test(a_route_whose_methods_do_not_fit_is_not_there),
        cmocka_unit_test(of_equals_the_first_written_wins),
        cmocka_unit_test(a_path_is_written_in_any_spelling),
        cmocka_unit_test(without_routes_nothing_is_met),
        cmocka_unit_test(a_hundred_thousand_routes_are_all_found),
        cmocka_unit_test(the_walk_and_the_trial_of_every_route_agree),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
