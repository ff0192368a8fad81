/* lines: sections of lines, in pieces of every size. What a whole response makes of them is in http.c. */
#include "lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Takes the text in pieces of that size; the problem, or NULL, and how many bytes were the section's. */
static const char *take(enum lines_kind kind, size_t room, const char *text, size_t piece, size_t *taken)
{
    struct lines lines;
    lines_begin(&lines, kind, room);
    *taken = 0;
    while (text[*taken] != '\0' && !lines.over) {
        size_t left = strlen(text + *taken), size = piece < left ? piece : left, some;
        const char *problem = lines_take(&lines, text + *taken, size, &some);
        if (problem != NULL) {
            return problem;
        }
        assert_true(some == size || lines.over);
        *taken += some;
    }
    return lines.over ? NULL : "more is to come";
}

static void a_section_ends_where_its_kind_says(void **state)
{
    (void)state;
    static const struct {
        enum lines_kind kind;
        const char *section, *rest;
    } cases[] = {
        { LINES_HEAD, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "body" },
        { LINES_HEAD, "HTTP/1.0 599\r\n\r\n", "\r\n" },
        { LINES_TRAILERS, "A: b\r\nC: d\r\n\r\n", "HTTP" },
        { LINES_TRAILERS, "\r\n", "\r\n" },
        { LINES_CHUNK_SIZE, "5;x=y\r\n", "hello" },
        { LINES_CHUNK_END, "\r\n", "5\r\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        strcat(strcpy(text, cases[i].section), cases[i].rest);
        for (size_t piece = 1; piece <= strlen(text); piece++) {
            size_t taken;
            assert_null(take(cases[i].kind, 100, text, piece, &taken));
            assert_int_equal(taken, strlen(cases[i].section));
        }
    }
}

static void what_is_not_exactly_a_line_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum lines_kind kind;
        const char *text, *problem;
    } cases[] = {
        { LINES_HEAD, "HTTP/1.1 200 OK\n", "a line ends in LF without CR" },
        { LINES_HEAD, "HTTP/1.1 200 OK\r\nA: b\n", "a line ends in LF without CR" },
        { LINES_HEAD, "HTTP/1.1 200 OK\r\n\n", "a line ends in LF without CR" },
        { LINES_HEAD, "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n", "a CR stands alone" },
        { LINES_HEAD, "HTTP/1.1 200 OK\r\nA: b\r\r\n", "a CR stands alone" },
        { LINES_HEAD, "HTTP/1.1 200 OK\r\n\rA: b\r\n", "a CR stands alone" },
        { LINES_HEAD, "HTTP/1.1 200 OK\r\n A: b\r\n", "a line begins with white space" },
        { LINES_HEAD, "HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n", "a line begins with white space" },
        { LINES_HEAD, "HTTP/1.1 20\r\n", "the status line is too short" },
        { LINES_HEAD, "\r\nHTTP/1.1 200 OK\r\n", "the status line is too short" },
        { LINES_HEAD, "HTTP/1.1 2000 OK\r\n", "the status line is not that of HTTP/1.0 or HTTP/1.1" },
        { LINES_HEAD, "HTTP/1.2 200 OK\r\n", "the status line is not that of HTTP/1.0 or HTTP/1.1" },
        { LINES_HEAD, "HTTP/1/1 200 OK\r\n", "the status line is not that of HTTP/1.0 or HTTP/1.1" },
        { LINES_TRAILERS, "A: b\n\r\n", "a line ends in LF without CR" },
        { LINES_CHUNK_SIZE, "5\n", "a line ends in LF without CR" },
        { LINES_CHUNK_SIZE, "5\rx", "a CR stands alone" },
        { LINES_CHUNK_SIZE, " 5\r\n", "a line begins with white space" },
        { LINES_CHUNK_END, "x\r\n", "a chunk is longer than its size" },
        { LINES_CHUNK_END, "\n", "a line ends in LF without CR" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece = 1; piece <= strlen(cases[i].text); piece++) {
            size_t taken;
            assert_string_equal(take(cases[i].kind, 100, cases[i].text, piece, &taken), cases[i].problem);
        }
    }
}

static void a_section_keeps_to_its_room(void **state)
{
    (void)state;
    const char *head = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    size_t taken;
    for (size_t piece = 1; piece <= strlen(head); piece++) {
        assert_null(take(LINES_HEAD, strlen(head), head, piece, &taken));
        assert_string_equal(take(LINES_HEAD, strlen(head) - 1, head, piece, &taken), "the head is too large");
        assert_string_equal(take(LINES_CHUNK_SIZE, 3, "0000\r\n", piece, &taken),
                            "a chunk's line or the trailers are too large");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_section_ends_where_its_kind_says),
        cmocka_unit_test(what_is_not_exactly_a_line_is_refused),
        cmocka_unit_test(a_section_keeps_to_its_room),
    };
    return cmocka_run_group_tests_name("lines", tests, NULL, NULL);
}
