/* text: numbers, JSON strings and times in a buffer of fixed size. */
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define assert_text(text, expected)                                                                                    \
    do {                                                                                                               \
        assert_int_equal(text_length(text), strlen(expected));                                                         \
        assert_memory_equal((text)->start, expected, strlen(expected));                                                \
    } while (0)

static void numbers_are_spelled_in_full(void **state)
{
    (void)state;
    static const struct {
        uint64_t number;
        unsigned digits;
        const char *spelled;
    } cases[] = { { 0, 1, "0" },
                  { 7, 1, "7" },
                  { 10, 1, "10" },
                  { 7, 3, "007" },
                  { 0, 2, "00" },
                  { 1234, 2, "1234" },
                  { 0, 20, "00000000000000000000" },
                  { UINT64_MAX, 1, "18446744073709551615" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buffer[32];
        struct text text = text_over(buffer, sizeof buffer);
        text_padded(&text, cases[i].number, cases[i].digits);
        assert_text(&text, cases[i].spelled);
    }
    char buffer[64];
    struct text text = text_over(buffer, sizeof buffer);
    text_number(&text, 10203);
    text_literal(&text, " ");
    text_hex(&text, UINT64_C(0x0123456789abcdef));
    text_string(&text, " ");
    text_hex(&text, 0);
    assert_text(&text, "10203 0123456789abcdef 0000000000000000");
}

static void what_does_not_fit_is_left_out_and_nothing_follows_it(void **state)
{
    (void)state;
    char buffer[8] = "........";
    struct text text = text_over(buffer, 4);
    text_literal(&text, "ab");
    assert_int_equal(text_room(&text), 2);
    text_literal(&text, "cde");
    assert_true(text.cut);
    assert_int_equal(text_room(&text), 0);
    text_literal(&text, "f");
    text_slice(&text, (struct slice){ NULL, 0 });
    assert_text(&text, "ab");
    assert_memory_equal(buffer, "ab......", 8);
}

static void json_strings_escape_everything_a_parser_or_a_terminal_would_obey(void **state)
{
    (void)state;
    static const struct {
        struct slice value;
        const char *spelled;
    } cases[] = {
        { { "", 0 }, "" },
        { { "plain/path?x=1", 14 }, "plain/path?x=1" },
        { { "a\"b\\c", 5 }, "a\\\"b\\\\c" },
        { { "\r\n\t\0\x1b[31m", 9 }, "\\u000d\\u000a\\u0009\\u0000\\u001b[31m" },
        { { "\x7f", 1 }, "\\u007f" },
        { { "\xc2\x9b"
            "2J",
            4 },
          "\\u009b2J" },                                   /* CSI as one C1 character */
        { { "\xc2\xa0\xc3\xa9", 4 }, "\xc2\xa0\xc3\xa9" }, /* the first characters that are none */
        { { "\xe2\x82\xac \xf0\x9f\x8c\x8a", 8 }, "\xe2\x82\xac \xf0\x9f\x8c\x8a" },
        { { "\xff\xfe", 2 }, "\\u00ff\\u00fe" },
        { { "\x80", 1 }, "\\u0080" },
        { { "\xc0\xaf", 2 }, "\\u00c0\\u00af" },                       /* overlong "/" */
        { { "\xe0\x80\xaf", 3 }, "\\u00e0\\u0080\\u00af" },            /* overlong, three bytes */
        { { "\xf0\x80\x80\xaf", 4 }, "\\u00f0\\u0080\\u0080\\u00af" }, /* overlong, four bytes */
        { { "\xed\xa0\x80", 3 }, "\\u00ed\\u00a0\\u0080" },            /* a surrogate */
        { { "\xf4\x90\x80\x80", 4 }, "\\u00f4\\u0090\\u0080\\u0080" }, /* beyond U+10FFFF */
        { { "\xf5\x80\x80\x80", 4 }, "\\u00f5\\u0080\\u0080\\u0080" },
        { { "\xe2\x82", 2 }, "\\u00e2\\u0082" },      /* ends early */
        { { "\xe2\x28\xa1", 3 }, "\\u00e2(\\u00a1" }, /* broken in the middle */
        { { "\xe2\x82\x28", 3 }, "\\u00e2\\u0082(" },
        { { "\xf4\x8f\xbf\xbf\xed\x9f\xbf", 7 }, "\xf4\x8f\xbf\xbf\xed\x9f\xbf" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buffer[128];
        struct text text = text_over(buffer, sizeof buffer);
        text_json(&text, cases[i].value, sizeof buffer);
        assert_text(&text, cases[i].spelled);
    }
}

static void long_values_end_in_an_ellipsis_never_inside_a_character(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        size_t max;
        const char *spelled;
    } cases[] = {
        { "abcdefgh", 8, "abcdefgh" },
        { "abcdefghi", 8, "abcde\xe2\x80\xa6" },
        { "abcdef", 3, "\xe2\x80\xa6" },
        { "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 7, "\xc3\xa9\xc3\xa9\xe2\x80\xa6" },
        { "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 6, "\xc3\xa9\xe2\x80\xa6" },
        { "\n\n\n", 12, "\\u000a\xe2\x80\xa6" },
        { "\n\n", 12, "\\u000a\\u000a" },
        { "abc\n", 8, "abc\xe2\x80\xa6" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buffer[64];
        struct text text = text_over(buffer, sizeof buffer);
        text_json(&text, (struct slice){ cases[i].value, strlen(cases[i].value) }, cases[i].max);
        assert_text(&text, cases[i].spelled);
    }
}

/* The bound holds for any bytes, and what comes out is plain text without a raw quote or control. */
static void no_input_breaks_out_of_a_json_string(void **state)
{
    (void)state;
    srand(1);
    for (int round = 0; round < 20000; round++) {
        char value[40];
        size_t length = (size_t)rand() % sizeof value;
        for (size_t i = 0; i < length; i++) {
            value[i] = (char)rand();
        }
        size_t max = 3 + (size_t)rand() % 100;
        char buffer[256];
        struct text text = text_over(buffer, sizeof buffer);
        text_json(&text, (struct slice){ value, length }, max);
        assert_false(text.cut);
        assert_true(text_length(&text) <= max);
        for (size_t i = 0; i < text_length(&text); i++) {
            unsigned char byte = (unsigned char)buffer[i];
            assert_true(byte >= 0x20 && byte != 0x7f && byte != '"');
            if (byte == '\\') {
                i++;
                assert_true(buffer[i] == 'u' || buffer[i] == '"' || buffer[i] == '\\');
            }
        }
    }
}

static void times_are_rfc_3339_in_utc_with_milliseconds(void **state)
{
    (void)state;
    static const struct {
        uint64_t realtime_ns;
        const char *spelled;
    } cases[] = {
        { 0, "1970-01-01T00:00:00.000Z" },
        { UINT64_C(1767323045678999999), "2026-01-02T03:04:05.678Z" },
        { UINT64_C(1709251199999000000), "2024-02-29T23:59:59.999Z" },
        { UINT64_MAX, "2554-07-21T23:34:33.709Z" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buffer[TEXT_TIME_LENGTH];
        struct text text = text_over(buffer, sizeof buffer);
        text_time(&text, cases[i].realtime_ns);
        assert_text(&text, cases[i].spelled);
    }
}

static void dates_agree_with_the_c_library_for_centuries(void **state)
{
    (void)state;
    for (time_t seconds = 0; seconds / 86400 < 213503; seconds += 86400 + 3601) { /* to the year 2554 */
        char buffer[TEXT_TIME_LENGTH], expected[TEXT_TIME_LENGTH + 1];
        struct text text = text_over(buffer, sizeof buffer);
        text_time(&text, (uint64_t)seconds * 1000000000);
        struct tm utc;
        strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.000Z", gmtime_r(&seconds, &utc));
        assert_text(&text, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_spelled_in_full),
        cmocka_unit_test(what_does_not_fit_is_left_out_and_nothing_follows_it),
        cmocka_unit_test(json_strings_escape_everything_a_parser_or_a_terminal_would_obey),
        cmocka_unit_test(long_values_end_in_an_ellipsis_never_inside_a_character),
        cmocka_unit_test(no_input_breaks_out_of_a_json_string),
        cmocka_unit_test(times_are_rfc_3339_in_utc_with_milliseconds),
        cmocka_unit_test(dates_agree_with_the_c_library_for_centuries),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
