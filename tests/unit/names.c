/* names: found, not found, and guessed. */
#include "names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void a_name_leads_to_its_index(void **state)
{
    (void)state;
    struct name list[] = {
        { "per-key", 0 }, { "daily", 1 }, { "", 2 }, { "per-client", 3 }, { "daily", 4 }, { "a", 5 }
    };
    struct names names = { list, COUNT(list) };
    names_sort(&names);
    assert_int_equal(names_find(&names, "per-key"), 0);
    assert_int_equal(names_find(&names, "daily"), 1); /* the first of equals */
    assert_int_equal(names_find(&names, ""), 2);
    assert_int_equal(names_find(&names, "per-client"), 3);
    assert_int_equal(names_find(&names, "a"), 5);
    assert_int_equal(names_find(&names, "per-clien"), NAMES_NONE);
    assert_int_equal(names_find(&names, "zzz"), NAMES_NONE);
    struct names none = { NULL, 0 };
    names_sort(&none);
    assert_int_equal(names_find(&none, "a"), NAMES_NONE);
}

static void every_one_of_many_is_found(void **state)
{
    (void)state;
    static char texts[1000][8];
    static struct name list[1000];
    for (size_t i = 0; i < COUNT(list); i++) {
        snprintf(texts[i], sizeof texts[i], "n%zu", i * 7919 % 1000);
        list[i] = (struct name){ texts[i], i };
    }
    struct names names = { list, COUNT(list) };
    names_sort(&names);
    for (size_t i = 0; i < COUNT(list); i++) {
        assert_int_equal(names_find(&names, texts[i]), i);
    }
}

static void a_slip_is_recognised(void **state)
{
    (void)state;
    struct name list[] = { { "limits", 0 }, { "timeouts", 1 }, { "url", 2 }, { "path", 3 }, { "x", 4 } };
    struct names names = { list, COUNT(list) };
    static const struct {
        const char *text, *meant;
    } cases[] = {
        { "limitss", "limits" },
        { "limit", "limits" },
        { "lmiits", "limits" },
        { "Limits", "limits" },
        { "limtz", "limits" },
        { "timeout", "timeouts" },
        { "time-outs", "timeouts" },
        { "timouts", "timeouts" },
        { "uri", "url" },
        { "ulr", "url" },
        { "pth", "path" },
        { "routes", NULL },
        { "lim", NULL },
        { "abc", NULL },
        { "", NULL },
        { "y", NULL },
        { "timeouts-and-more", NULL },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *nearest = names_nearest(&names, cases[i].text);
        if (cases[i].meant == NULL ? nearest != NULL : nearest == NULL || strcmp(nearest, cases[i].meant) != 0) {
            fail_msg("%s: %s", cases[i].text, nearest == NULL ? "no guess" : nearest);
        }
    }
}

static void guessing_has_bounds(void **state)
{
    (void)state;
    char longest[66] = { 0 };
    memset(longest, 'a', 65);
    static struct name list[257];
    for (size_t i = 0; i < COUNT(list); i++) {
        list[i] = (struct name){ "name", i };
    }
    struct names names = { list, 256 };
    assert_string_equal(names_nearest(&names, "nam"), "name");
    assert_null(names_nearest(&names, longest));
    names.count = 257;
    assert_null(names_nearest(&names, "nam"));
    struct name too_long = { longest, 0 };
    assert_null(names_nearest(&(struct names){ &too_long, 1 }, longest + 2));
    struct name just_fits = { longest + 1, 0 };
    assert_string_equal(names_nearest(&(struct names){ &just_fits, 1 }, longest + 3), longest + 1);
}

static void the_hint_guesses_or_lists_or_is_silent(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    struct name list[17] = { { "fall", 0 }, { "rise", 1 } };
    for (size_t i = 2; i < COUNT(list); i++) {
        list[i] = (struct name){ "other", i };
    }
    assert_string_equal(names_hint(&arena, &(struct names){ list, 2 }, "raise"), "; did you mean \"rise\"?");
    assert_string_equal(names_hint(&arena, &(struct names){ list, 2 }, "interval"), "; known here: \"fall\", \"rise\"");
    assert_string_equal(names_hint(&arena, &(struct names){ list, 17 }, "interval"), "");
    assert_string_equal(names_hint(&arena, &(struct names){ NULL, 0 }, "interval"), "");
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_leads_to_its_index),
        cmocka_unit_test(every_one_of_many_is_found),
        cmocka_unit_test(a_slip_is_recognised),
        cmocka_unit_test(guessing_has_bounds),
        cmocka_unit_test(the_hint_guesses_or_lists_or_is_silent),
    };
    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
