/* config_errors: order, lines, paths, and one line each whatever the names are. */
#include "config_errors.h"

#include "config_text.h"

struct fixture {
    struct arena arena;
    struct config_faults faults;
    const struct document_value *root;
    const char *text;
};

static void begin(struct fixture *fixture, const char *text)
{
    struct document_fault fault;
    *fixture = (struct fixture){ .text = text };
    fixture->faults.arena = &fixture->arena;
    fixture->root = document_parse(&fixture->arena, text, strlen(text), &fault);
    assert_non_null(fixture->root);
}

static struct config_errors finish(struct fixture *fixture)
{
    struct config_errors errors;
    config_errors_finish(&fixture->faults, "weir.json", fixture->text, strlen(fixture->text), &errors);
    arena_release(&fixture->arena);
    return errors;
}

/* What config_errors_print() writes; freed by the caller. */
static char *printed(const struct config_errors *errors)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_errors_print(errors, out);
    fclose(out);
    return text;
}

static void errors_come_out_in_the_order_of_the_file(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "{\"a\":1,\n \"b\": {\"c\":\n[2,\r\n 3]},\n\n\"d\":4}");
    const struct document_value *a = fixture.root->first, *b = a->next, *c = b->first, *two = c->first, *d = b->next;
    config_errors_at(&fixture.faults, d, "last");
    config_errors_at(&fixture.faults, two->next, "three %s", "is wrong");
    config_errors_at_name(&fixture.faults, b, "name of b");
    config_errors_at(&fixture.faults, two, "two");
    config_errors_at(&fixture.faults, two, "two again");
    config_errors_at(&fixture.faults, b, "value of b");
    config_errors_at(&fixture.faults, fixture.root, "first");
    struct config_errors errors = finish(&fixture);
    char *text = printed(&errors);
    assert_string_equal(text, "weir.json:1:1: first\n"
                              "weir.json:2:2: b: name of b\n"
                              "weir.json:2:7: b: value of b\n"
                              "weir.json:3:2: b.c[0]: two\n"
                              "weir.json:3:2: b.c[0]: two again\n"
                              "weir.json:4:2: b.c[1]: three is wrong\n"
                              "weir.json:6:5: d: last\n");
    free(text);
    config_errors_free(&errors);
    assert_int_equal(errors.count, 0);
    config_errors_free(&errors);
}

static void an_error_about_the_whole_file_has_no_line(void **state)
{
    (void)state;
    struct config_errors errors;
    config_errors_whole("dir/weir.json", "is not there", &errors);
    char *text = printed(&errors);
    assert_string_equal(text, "dir/weir.json: is not there\n");
    free(text);
    config_errors_free(&errors);
}

static void names_from_the_file_cannot_break_the_line(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "{\"a\\nb\\u001b[31m\\u007f\":{\"\":0}}");
    const struct document_value *member = fixture.root->first;
    config_errors_at_name(&fixture.faults, member, "unknown %s", config_errors_quote(&fixture.arena, member->name));
    config_errors_at(&fixture.faults, member->first, "a raw \n newline");
    struct config_errors errors = finish(&fixture);
    assert_string_equal(errors.list[0].path, "a\\x0Ab\\x1B[31m\\x7F");
    assert_string_equal(errors.list[0].sentence, "unknown \"a\\x0Ab\\x1B[31m\\x7F\"");
    assert_string_equal(errors.list[1].path, "a\\x0Ab\\x1B[31m\\x7F.");
    assert_string_equal(errors.list[1].sentence, "a raw \\x0A newline");
    config_errors_free(&errors);
}

static void long_names_are_cut_between_characters(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    char text[80] = { 0 };
    memset(text, 'x', 64);
    const char *quoted = config_errors_quote(&arena, text);
    assert_int_equal(strlen(quoted), 66);
    memcpy(text + 63, "\xc3\xa9", 2); /* é across the edge */
    quoted = config_errors_quote(&arena, text);
    assert_int_equal(strlen(quoted), 2 + 63 + strlen("…"));
    assert_string_equal(quoted + 60, "xxxx…\"");
    arena_release(&arena);
}

static void deep_paths_are_cut(void **state)
{
    (void)state;
    char text[2001];
    memset(text, '[', 1000);
    memset(text + 1000, ']', 1000);
    text[2000] = '\0';
    struct fixture fixture;
    begin(&fixture, text);
    const struct document_value *value = fixture.root;
    while (value->first != NULL) {
        value = value->first;
    }
    config_errors_at(&fixture.faults, value, "deep");
    struct config_errors errors = finish(&fixture);
    assert_int_equal(errors.list[0].column, 1000);
    assert_true(strlen(errors.list[0].path) < 300);
    config_errors_free(&errors);
}

static void what_is_too_much_is_counted(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "[]");
    for (int i = 0; i < CONFIG_ERRORS_MAX + 234; i++) {
        assert_int_equal(config_errors_wanted(&fixture.faults), i < CONFIG_ERRORS_MAX);
        config_errors_at(&fixture.faults, fixture.root, "number %d", i);
    }
    struct config_errors errors = finish(&fixture);
    assert_int_equal(errors.count, CONFIG_ERRORS_MAX + 1);
    assert_string_equal(errors.list[CONFIG_ERRORS_MAX - 1].sentence, "number 999");
    assert_string_equal(errors.list[CONFIG_ERRORS_MAX].sentence, "234 more errors are not shown");
    config_errors_free(&errors);
}

static void a_fault_of_the_text_has_a_place_of_its_own(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "{\n\"a\":1}");
    config_errors_at_offset(&fixture.faults, 8, fixture.root->first, "at the end");
    config_errors_at_offset(&fixture.faults, 1, NULL, "on the line break");
    struct config_errors errors = finish(&fixture);
    assert_error(&errors.list[0], "1:2", "on the line break", "");
    assert_error(&errors.list[1], "2:7 a", "at the end", "");
    config_errors_free(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_come_out_in_the_order_of_the_file),
        cmocka_unit_test(an_error_about_the_whole_file_has_no_line),
        cmocka_unit_test(names_from_the_file_cannot_break_the_line),
        cmocka_unit_test(long_names_are_cut_between_characters),
        cmocka_unit_test(deep_paths_are_cut),
        cmocka_unit_test(what_is_too_much_is_counted),
        cmocka_unit_test(a_fault_of_the_text_has_a_place_of_its_own),
    };
    return cmocka_run_group_tests_name("config_errors", tests, NULL, NULL);
}
