/* exposition: the Prometheus text format, byte for byte. */
#include "exposition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_family_and_its_samples_are_spelled_as_prometheus_reads_them(void **state)
{
    (void)state;
    struct exposition out = { 0 };
    struct exposition_label labels[] = { { "route", "GET /v1/{id}" }, { "odd", "a\"b\\c\nd\xc3\xa9" } };
    exposition_family(&out, "weir_x_total", "counter", "What it is.");
    exposition_sample(&out, "", labels, 2, 7);
    exposition_sample(&out, "_count", labels, 1, UINT64_MAX);
    exposition_sample(&out, "", NULL, 0, 0);
    exposition_seconds(&out, "_sum", NULL, 0, 1500000000);
    size_t length = 0;
    char *text = exposition_finish(&out, &length);
    assert_string_equal(text, "# HELP weir_x_total What it is.\n"
                              "# TYPE weir_x_total counter\n"
                              "weir_x_total{route=\"GET /v1/{id}\",odd=\"a\\\"b\\\\c\\nd\xc3\xa9\"} 7\n"
                              "weir_x_total_count{route=\"GET /v1/{id}\"} 18446744073709551615\n"
                              "weir_x_total 0\n"
                              "weir_x_total_sum 1.5\n");
    assert_int_equal(length, strlen(text));
    free(text);
}

static void seconds_have_no_trailing_zeros(void **state)
{
    (void)state;
    static const struct {
        uint64_t nanoseconds;
        const char *spelled;
    } cases[] = { { 0, "0" },
                  { 1, "0.000000001" },
                  { 10000, "0.00001" },
                  { 250000, "0.00025" },
                  { 1000000000, "1" },
                  { 2500000000, "2.5" },
                  { 50000000000, "50" },
                  { 12345678901, "12.345678901" },
                  { UINT64_MAX, "18446744073.709551615" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char spelled[EXPOSITION_SECONDS];
        exposition_seconds_text(cases[i].nanoseconds, spelled);
        assert_string_equal(spelled, cases[i].spelled);
    }
}

static void the_text_grows_as_far_as_it_must(void **state)
{
    (void)state;
    struct exposition out = { 0 };
    char value[40000];
    memset(value, '"', sizeof value - 1); /* twice as long when escaped */
    value[sizeof value - 1] = 0;
    struct exposition_label label = { "l", value };
    exposition_family(&out, "f", "gauge", "h");
    for (int i = 0; i < 100; i++) {
        exposition_sample(&out, "", &label, 1, 1);
    }
    size_t length = 0;
    char *text = exposition_finish(&out, &length);
    assert_non_null(text);
    assert_int_equal(length,
                     strlen("# HELP f h\n# TYPE f gauge\n") + 100 * (strlen("f{l=\"\"} 1\n") + 2 * (sizeof value - 1)));
    free(text);
}

static void an_empty_exposition_is_an_empty_string(void **state)
{
    (void)state;
    struct exposition out = { 0 };
    size_t length = 1;
    char *text = exposition_finish(&out, &length);
    assert_string_equal(text, "");
    assert_int_equal(length, 0);
    free(text);
}

static void when_memory_is_short_there_is_no_half_exposition(void **state)
{
    (void)state;
    struct exposition out = { 0 };
    exposition_family(&out, "f", "gauge", "h");
    out.failed = true; /* what a realloc() that returned NULL leaves behind */
    exposition_sample(&out, "", &(struct exposition_label){ "l", "v" }, 1, 1);
    size_t length = 0;
    assert_null(exposition_finish(&out, &length));
    assert_null(out.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_and_its_samples_are_spelled_as_prometheus_reads_them),
        cmocka_unit_test(seconds_have_no_trailing_zeros),
        cmocka_unit_test(the_text_grows_as_far_as_it_must),
        cmocka_unit_test(an_empty_exposition_is_an_empty_string),
        cmocka_unit_test(when_memory_is_short_there_is_no_half_exposition),
    };
    return cmocka_run_group_tests_name("exposition", tests, NULL, NULL);
}
