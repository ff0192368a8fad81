/* metrics: counted per worker, summed when scraped, and an exposition that Prometheus accepts whole. */
#include "metrics.h"

#include <ctype.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* ---- the world the scrape asks, linked in instead of the limiter ------------------------------------------------- */

static unsigned usage_calls;
struct limiter_usage limiter_usage(const struct limiter *limiter, uint32_t limit, uint64_t now_ns)
{
    assert_ptr_equal(limiter, &usage_calls);
    assert_int_equal(now_ns, 99);
    usage_calls++;
    return (struct limiter_usage){ .capacity = 1024, .keys = 10 + limit, .live_evictions = 100 + limit };
}

static void connections_of(void *user, size_t upstream, uint64_t *idle, uint64_t *active)
{
    assert_ptr_equal(user, &usage_calls);
    *idle = 3 + upstream;
    *active = 5 + upstream;
}

static bool healthy(void *user, size_t upstream, size_t server)
{
    assert_ptr_equal(user, &usage_calls);
    return upstream == 0 && server == 0;
}

static const struct metrics_sources sources = { .limiter = (const struct limiter *)(const void *)&usage_calls,
                                                .now_ns = 99,
                                                .upstream_connections = connections_of,
                                                .upstream_healthy = healthy,
                                                .user = &usage_calls,
                                                .log_lines_dropped = 4,
                                                .reloads = 6,
                                                .reloads_failed = 1 };

static char search[] = "GET \"api\".example\\x/v1/search", root[] = "/", per_key[] = "per-key", slots[] = "slots",
            more_slots[] = "more-slots", api[] = "api", other[] = "other", url_1[] = "http://10.1.0.1:9000",
            url_2[] = "http://10.1.0.2:9000";
static struct config_route routes[] = { { .name = search }, { .name = root } };
static struct config_limit limits[] = { { .name = per_key },
                                        { .name = slots, .kind = CONFIG_LIMIT_CONCURRENCY },
                                        { .name = more_slots, .kind = CONFIG_LIMIT_CONCURRENCY } };
static struct config_server servers[] = { { .text = url_1 }, { .text = url_2 }, { .text = url_1 } };
static struct config_upstream upstreams[] = { { .name = api, .servers = servers, .server_count = 3 },
                                              { .name = other, .servers = servers, .server_count = 1 } };
static const struct config config = {
    .routes = routes, .route_count = 2, .limits = limits, .limit_count = 3, .upstreams = upstreams, .upstream_count = 2
};

static char *scraped(const struct metrics *metrics, const struct config *of)
{
    size_t length = 0;
    char *text = metrics_text(metrics, of, &sources, &length);
    assert_non_null(text);
    assert_int_equal(length, strlen(text));
    return text;
}

/* The value of a series, by its whole name with labels. */
static const char *value_in(const char *text, const char *series)
{
    static char value[64];
    size_t length = strlen(series);
    for (const char *line = text; line != NULL && *line != 0; line = strchr(line, '\n') + 1) {
        if (strncmp(line, series, length) == 0 && line[length] == ' ') {
            sscanf(line + length + 1, "%63s", value);
            return value;
        }
    }
    fail_msg("no series %s", series);
    return NULL;
}

/* ---- a validator of the text format ------------------------------------------------------------------------------ */

struct validator {
    char family[128], type[16];
    char families[64][128];
    size_t family_count;
    char *series[4096];
    size_t series_count;
    char histogram[512];
    double last_bound;
    uint64_t last_bucket;
};

static size_t name_length(const char *at)
{
    size_t length = 0;
    while (isalpha((unsigned char)at[length]) || at[length] == '_' || at[length] == ':' ||
           (length > 0 && isdigit((unsigned char)at[length]))) {
        length++;
    }
    return length;
}

/* After the labels; NULL-terminated line. Asserts their syntax and leaves what is not "le" in `rest`. */
static const char *read_labels(const char *at, char *rest, char *le)
{
    size_t rest_length = 0;
    *le = 0;
    if (*at == '{') {
        do {
            at++;
            size_t length = name_length(at);
            assert_true(length > 0);
            const char *name = at;
            at += length;
            assert_memory_equal(at, "=\"", 2);
            const char *value = at += 2;
            for (; *at != '"'; at++) {
                assert_true((unsigned char)*at >= 0x20);
                if (*at == '\\') {
                    at++;
                    assert_true(*at == '\\' || *at == '"' || *at == 'n');
                }
            }
            if (length == 2 && memcmp(name, "le", 2) == 0) {
                sprintf(le, "%.*s", (int)(at - value), value);
            } else {
                rest_length += (size_t)sprintf(rest + rest_length, "%.*s,", (int)(at + 1 - name), name);
            }
            at++;
        } while (*at == ',');
        assert_int_equal(*at, '}');
        at++;
    }
    rest[rest_length] = 0;
    return at;
}

static void begin_family(struct validator *v, const char *line)
{
    char help_of[128];
    assert_int_equal(sscanf(line, "# HELP %127s", help_of), 1);
    const char *type_line = strchr(line, 0) + 1; /* lines were cut apart */
    assert_int_equal(sscanf(type_line, "# TYPE %127s %15s", v->family, v->type), 2);
    assert_string_equal(help_of, v->family);
    assert_int_equal(name_length(v->family), strlen(v->family));
    for (size_t i = 0; i < v->family_count; i++) {
        assert_string_not_equal(v->families[i], v->family);
    }
    strcpy(v->families[v->family_count++], v->family);
    assert_true(strcmp(v->type, "counter") == 0 || strcmp(v->type, "gauge") == 0 || strcmp(v->type, "histogram") == 0);
    assert_int_equal(strcmp(v->type, "counter") == 0,
                     strlen(v->family) > 6 && strcmp(v->family + strlen(v->family) - 6, "_total") == 0);
    *v->histogram = 0;
}

static void check_bucket(struct validator *v, const char *suffix, const char *rest, const char *le, const char *value)
{
    uint64_t number = strtoull(value, NULL, 10);
    if (strcmp(suffix, "_bucket") == 0) {
        double bound = strtod(le, NULL);
        if (strcmp(rest, v->histogram) == 0 && v->last_bound < bound) {
            assert_true(number >= v->last_bucket);
        }
        strcpy(v->histogram, rest);
        v->last_bound = bound;
        v->last_bucket = number;
    } else {
        assert_true(strcmp(suffix, "_sum") == 0 || strcmp(suffix, "_count") == 0);
        assert_string_equal(rest, v->histogram);
        assert_true(v->last_bound > 1e300); /* +Inf was the last */
        if (strcmp(suffix, "_count") == 0) {
            assert_int_equal(number, v->last_bucket);
        }
    }
}

static void check_sample(struct validator *v, const char *line)
{
    size_t length = name_length(line);
    size_t family = strlen(v->family);
    assert_true(length >= family && memcmp(line, v->family, family) == 0);
    char suffix[32], rest[512], le[64];
    sprintf(suffix, "%.*s", (int)(length - family), line + family);
    const char *at = read_labels(line + length, rest, le);
    assert_int_equal(*at, ' ');
    char *end;
    double value = strtod(at + 1, &end);
    assert_true(end > at + 1 && *end == 0 && value >= 0);
    assert_int_equal(*le != 0, strcmp(suffix, "_bucket") == 0);
    if (strcmp(v->type, "histogram") == 0) {
        check_bucket(v, suffix, rest, le, at + 1);
    } else {
        assert_string_equal(suffix, "");
    }
    char *series = strndup(line, (size_t)(at - line));
    for (size_t i = 0; i < v->series_count; i++) {
        assert_string_not_equal(v->series[i], series);
    }
    assert_true(v->series_count < 4096);
    v->series[v->series_count++] = series;
}

/* How many series a valid exposition has. */
static size_t validate(const char *exposition)
{
    struct validator *v = calloc(1, sizeof *v);
    size_t length = strlen(exposition);
    assert_int_equal(exposition[length - 1], '\n');
    char *copy = strdup(exposition);
    for (char *line = copy; (line = strchr(line, '\n')) != NULL; line++) {
        *line = 0;
    }
    for (const char *line = copy; line < copy + length; line = strchr(line, 0) + 1) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            begin_family(v, line);
            line = strchr(line, 0) + 1;
        } else {
            check_sample(v, line);
        }
    }
    size_t count = v->series_count;
    for (size_t i = 0; i < count; i++) {
        free(v->series[i]);
    }
    free(v);
    free(copy);
    return count;
}

/* ---- stories -------------------------------------------------------------------------------------------------- */

static void what_every_worker_counted_is_summed(void **state)
{
    (void)state;
    usage_calls = 0;
    struct metrics *metrics = metrics_create(&config, 2);
    struct metrics_worker *a = metrics_of(metrics, 0), *b = metrics_of(metrics, 1);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal((uintptr_t)b % 64, 0);

    metrics_request(a, 0, 200, 1000000);
    metrics_request(b, 0, 204, 1000001);
    metrics_request(b, 0, 429, 9000);
    metrics_request(a, 1, 101, 60000000000);
    metrics_request(a, 1, 302, 0);
    metrics_request(a, -1, 400, 0);
    metrics_request(b, -1, 0, 0); /* the client left */
    metrics_request(b, -1, 999, 0);
    metrics_decision(a, 0, METRICS_ALLOWED);
    metrics_decision(b, 0, METRICS_ALLOWED);
    metrics_decision(b, 0, METRICS_DENIED);
    metrics_decision(a, 2, METRICS_ERROR);
    metrics_upstream(a, 1, 2000000);
    metrics_added_latency(b, 30000);
    metrics_connection(a, 1);
    metrics_connection(a, 1);
    metrics_connection(b, 1);
    metrics_connection(a, -1);
    metrics_bad_cost(a);
    assert_int_equal(metrics_open_connections(metrics), 2);
    assert_int_equal(metrics_limit(metrics, 0).outcomes[METRICS_ALLOWED], 2);
    assert_int_equal(metrics_limit(metrics, 0).outcomes[METRICS_DENIED], 1);

    char *text = scraped(metrics, &config);
    static const struct {
        const char *series, *value;
    } cases[] = {
#define SEARCH "route=\"GET \\\"api\\\".example\\\\x/v1/search\""
        { "weir_requests_total{" SEARCH ",status_class=\"2xx\"}", "2" },
        { "weir_requests_total{" SEARCH ",status_class=\"4xx\"}", "1" },
        { "weir_requests_total{" SEARCH ",status_class=\"5xx\"}", "0" },
        { "weir_requests_total{route=\"/\",status_class=\"1xx\"}", "1" },
        { "weir_requests_total{route=\"/\",status_class=\"3xx\"}", "1" },
        { "weir_requests_total{route=\"\",status_class=\"4xx\"}", "2" },
        { "weir_requests_total{route=\"\",status_class=\"5xx\"}", "1" },
        { "weir_request_duration_seconds_bucket{" SEARCH ",le=\"0.00001\"}", "1" },
        { "weir_request_duration_seconds_bucket{" SEARCH ",le=\"0.001\"}", "2" }, /* bounds belong to their bucket */
        { "weir_request_duration_seconds_bucket{" SEARCH ",le=\"0.0025\"}", "3" },
        { "weir_request_duration_seconds_bucket{" SEARCH ",le=\"+Inf\"}", "3" },
        { "weir_request_duration_seconds_count{" SEARCH "}", "3" },
        { "weir_request_duration_seconds_sum{" SEARCH "}", "0.002009001" },
        { "weir_request_duration_seconds_bucket{route=\"/\",le=\"50\"}", "1" },
        { "weir_request_duration_seconds_bucket{route=\"/\",le=\"+Inf\"}", "2" },
        { "weir_request_duration_seconds_sum{route=\"/\"}", "60" },
        { "weir_upstream_duration_seconds_count{upstream=\"api\"}", "0" },
        { "weir_upstream_duration_seconds_count{upstream=\"other\"}", "1" },
        { "weir_added_latency_seconds_bucket{le=\"0.000025\"}", "0" },
        { "weir_added_latency_seconds_bucket{le=\"0.00005\"}", "1" },
        { "weir_added_latency_seconds_count", "1" },
        { "weir_limit_decisions_total{limit=\"per-key\",outcome=\"allowed\"}", "2" },
        { "weir_limit_decisions_total{limit=\"per-key\",outcome=\"denied\"}", "1" },
        { "weir_limit_decisions_total{limit=\"per-key\",outcome=\"queued\"}", "0" },
        { "weir_limit_decisions_total{limit=\"more-slots\",outcome=\"error\"}", "1" },
        { "weir_limit_keys{limit=\"per-key\"}", "10" },
        { "weir_limit_keys{limit=\"slots\"}", "11" },
        { "weir_limit_keys{limit=\"more-slots\"}", "11" }, /* the shared table, walked once */
        { "weir_limit_live_evictions_total{limit=\"per-key\"}", "100" },
        { "weir_upstream_healthy{upstream=\"api\",server=\"http://10.1.0.1:9000\"}", "1" },
        { "weir_upstream_healthy{upstream=\"api\",server=\"http://10.1.0.2:9000\"}", "0" },
        { "weir_upstream_connections{upstream=\"other\",state=\"idle\"}", "4" },
        { "weir_upstream_connections{upstream=\"api\",state=\"active\"}", "5" },
        { "weir_open_connections", "2" },
        { "weir_bad_cost_total", "1" },
        { "weir_log_lines_dropped_total", "4" },
        { "weir_config_reloads_total{result=\"success\"}", "6" },
        { "weir_config_reloads_total{result=\"failure\"}", "1" },
        { "weir_surprises_total", "1" }, /* status 999 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(value_in(text, cases[i].series), cases[i].value);
    }
    assert_non_null(strstr(text, "\nweir_build_info{version=\""));
    assert_int_equal(usage_calls, 2);
    free(text);
    metrics_destroy(&metrics);
    assert_null(metrics);
    metrics_destroy(&metrics);
}

static void an_heir_goes_on_where_the_old_stood_and_late_counts_follow(void **state)
{
    (void)state;
    /* given counts under one config, and another that has the same limits in another order, one gone, one new */
    struct metrics *old = metrics_create(&config, 2);
    struct config_limit other_limits[] = { limits[2], { .name = root }, limits[0] };
    struct config next_config = config;
    next_config.limits = other_limits;
    struct metrics *next = metrics_create(&next_config, 2);
    metrics_decision(metrics_of(old, 0), 0, METRICS_DENIED);
    metrics_decision(metrics_of(old, 1), 2, METRICS_ALLOWED);
    metrics_decision(metrics_of(old, 1), 1, METRICS_ALLOWED);
    metrics_request(metrics_of(old, 0), 1, 200, 1000);
    metrics_connection(metrics_of(old, 0), 1);

    /* when the next begins */
    metrics_inherit(next, &next_config, old, &config);

    /* then what has a name in both is there, and what is new is 0 */
    assert_int_equal(metrics_limit(next, 2).outcomes[METRICS_DENIED], 1);
    assert_int_equal(metrics_limit(next, 0).outcomes[METRICS_ALLOWED], 1);
    assert_int_equal(metrics_limit(next, 1).outcomes[METRICS_ALLOWED], 0);
    assert_int_equal(metrics_open_connections(next), 1);

    /* and when requests of the old end later, each counts once; a connection it opened is closed under the next */
    metrics_decision(metrics_of(old, 0), 0, METRICS_DENIED);
    metrics_decision(metrics_of(next, 0), 2, METRICS_DENIED);
    metrics_connection(metrics_of(next, 1), -1);
    metrics_inherit(next, &next_config, old, &config);
    assert_int_equal(metrics_limit(next, 2).outcomes[METRICS_DENIED], 3);
    assert_int_equal(metrics_open_connections(next), 0);
    metrics_destroy(&old);
    metrics_destroy(&next);
}

static void the_exposition_is_valid_and_its_size_is_fixed_by_the_config(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_create(&config, 3);
    char *text = scraped(metrics, &config);
    size_t series = validate(text);
    free(text);
    for (unsigned i = 0; i < 3000; i++) {
        struct metrics_worker *worker = metrics_of(metrics, i % 3);
        metrics_request(worker, (int)(i % 3) - 1, 100 + i % 500, (uint64_t)i * i * i * 100);
        metrics_decision(worker, i % 3, i % METRICS_OUTCOMES);
        metrics_upstream(worker, i % 2, (uint64_t)i << i % 32);
        metrics_added_latency(worker, i);
    }
    text = scraped(metrics, &config);
    assert_int_equal(validate(text), series);
    free(text);
    metrics_destroy(&metrics);
}

static void a_config_of_nothing_is_scraped_too(void **state)
{
    (void)state;
    const struct config nothing = { 0 };
    struct metrics *metrics = metrics_create(&nothing, 1);
    struct metrics_sources few = sources;
    few.upstream_connections = NULL;
    few.upstream_healthy = NULL;
    size_t length;
    char *text = metrics_text(metrics, &nothing, &few, &length);
    assert_true(validate(text) > 30);
    assert_null(strstr(text, "weir_upstream_healthy"));
    assert_null(strstr(text, "weir_upstream_connections"));
    free(text);
    metrics_destroy(&metrics);
}

static void the_start_of_the_process_is_told(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_create(&config, 1);
    char *text = scraped(metrics, &config);
    long started = strtol(value_in(text, "process_start_time_seconds"), NULL, 10);
    long now = (long)time(NULL);
    assert_true(started <= now + 1 && started > now - 600);
    free(text);
    metrics_destroy(&metrics);
}

#define ROUNDS 100000
static void *count_along(void *worker)
{
    for (int i = 0; i < ROUNDS; i++) {
        metrics_request(worker, 0, 200, 1000);
        metrics_decision(worker, 0, METRICS_ALLOWED);
        metrics_connection(worker, i % 2 == 0 ? 1 : -1);
    }
    return NULL;
}

static void scraping_while_workers_count_loses_nothing(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_create(&config, 2);
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, count_along, metrics_of(metrics, i));
    }
    uint64_t seen = 0;
    for (int i = 0; i < 20; i++) {
        char *text = scraped(metrics, &config);
        uint64_t now =
            strtoull(value_in(text, "weir_limit_decisions_total{limit=\"per-key\",outcome=\"allowed\"}"), NULL, 10);
        assert_true(now >= seen);
        assert_true(metrics_open_connections(metrics) <= 2);
        seen = now;
        free(text);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(metrics_limit(metrics, 0).outcomes[METRICS_ALLOWED], 2 * ROUNDS);
    assert_int_equal(metrics_open_connections(metrics), 0);
    metrics_destroy(&metrics);
}

static void a_thousand_limits_on_sixteen_workers_are_scraped_fast(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    static char names[MANY][16];
    static struct config_limit many_limits[MANY];
    static struct config_route many_routes[MANY];
    for (int i = 0; i < MANY; i++) {
        sprintf(names[i], "limit-%d", i);
        many_limits[i].name = names[i];
        many_routes[i].name = names[i];
    }
    const struct config many = {
        .limits = many_limits, .limit_count = MANY, .routes = many_routes, .route_count = MANY
    };
    struct metrics *metrics = metrics_create(&many, 16);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    char *text = scraped(metrics, &many);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    print_message("             %zu bytes in %.1f ms\n", strlen(text), ms);
    assert_true(ms < 1000); /* some 10 ms; the rest is for sanitizers and busy machines */
    free(text);
    metrics_destroy(&metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_every_worker_counted_is_summed),
        cmocka_unit_test(an_heir_goes_on_where_the_old_stood_and_late_counts_follow),
        cmocka_unit_test(the_exposition_is_valid_and_its_size_is_fixed_by_the_config),
        cmocka_unit_test(a_config_of_nothing_is_scraped_too),
        cmocka_unit_test(the_start_of_the_process_is_told),
        cmocka_unit_test(scraping_while_workers_count_loses_nothing),
        cmocka_unit_test(a_thousand_limits_on_sixteen_workers_are_scraped_fast),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
