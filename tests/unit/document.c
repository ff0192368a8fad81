/* document: trees with offsets, and where a text stops being JSON. */
#include "document.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* The tree as text: every value as kind@offset, every member as name@offset=… */
static void spell(const struct document_value *value, char *out, size_t size)
{
    static const char kinds[] = { [DOCUMENT_NULL] = 'z',   [DOCUMENT_BOOLEAN] = 'b', [DOCUMENT_NUMBER] = 'n',
                                  [DOCUMENT_STRING] = 's', [DOCUMENT_LIST] = 'l',    [DOCUMENT_OBJECT] = 'o' };
    size_t used = strlen(out);
    if (value->name != NULL) {
        used += (size_t)snprintf(out + used, size - used, "%s@%u=", value->name, value->name_at);
    }
    used += (size_t)snprintf(out + used, size - used, "%c@%u", kinds[value->kind], value->at);
    if (value->text != NULL) {
        used += (size_t)snprintf(out + used, size - used, "'%s'", value->text);
        assert_int_equal(strlen(value->text), value->length);
    }
    assert_false(value->open);
    uint32_t index = 0;
    for (const struct document_value *child = value->first; child != NULL; child = child->next) {
        snprintf(out + strlen(out), size - strlen(out), index == 0 ? "(" : " ");
        assert_ptr_equal(child->parent, value);
        assert_int_equal(child->index, index++);
        spell(child, out, size);
    }
    assert_int_equal(value->count, index);
    if (index > 0) {
        snprintf(out + strlen(out), size - strlen(out), ")");
    }
}

static void the_tree_knows_where_everything_stands(void **state)
{
    (void)state;
    static const struct {
        const char *text, *tree;
    } cases[] = {
        { "{}", "o@0" },
        { " [ ] ", "l@1" },
        { "7", "n@0'7'" },
        { "{\"a\":1}", "o@0(a@1=n@5'1')" },
        { "{\n \"a\" :\t-1.5e+3 ,\"b\":[true, false,null]\r\n}", "o@0(a@3=n@9'-1.5e+3' b@18=l@22(b@23 b@29 z@35))" },
        { "[\"\", \"x\\\"y\\\\\", \"\\u00e9\\ud83d\\ude00\\n\"]",
          "l@0(s@1'' s@5'x\"y\\' s@15'\xc3\xa9\xf0\x9f\x98\x80\n')" },
        { "{\"a\":{\"a\":{}},\"\\u0061\":[[[0]]]}",
          "o@0(a@1=o@5(a@6=o@10) a@14=l@23(l@24(l@25(n@26'0'))))" }, /* duplicates stay */
        { "[{\"}\":\"]\"},\"{\"]", "l@0(o@1(}@2=s@6']') s@11'{')" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena arena = { 0 };
        struct document_fault fault;
        const struct document_value *root = document_parse(&arena, cases[i].text, strlen(cases[i].text), &fault);
        assert_non_null(root);
        char tree[512] = "";
        spell(root, tree, sizeof tree);
        assert_string_equal(tree, cases[i].tree);
        arena_release(&arena);
    }
}

static void what_is_not_json_is_placed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t at;
        const char *inside; /* name of the innermost open value */
        const char *words;
    } cases[] = {
        { "", 0, NULL, "the file is empty" },
        { " \n", 0, NULL, "the file is empty" },
        { "\xef\xbb\xbf{}", 0, NULL, "byte-order mark" },
        { "{", 1, NULL, "ends too early" },
        { "{\"a\":", 5, "a", "ends too early" },
        { "{\"a\":[1,{\"b\":tru", 13, "b", "invalid token near 'tru'" },
        { "{\"a\":[1,{\"b\":\"xy", 13, "b", "ends too early" },
        { "{\"a\":1 \"b\":2}", 7, NULL, "'}' expected" },
        { "{\"a\":1,}", 7, NULL, "string or '}' expected" },
        { "{\"a\" 1}", 5, NULL, "':' expected" },
        { "{a:1}", 1, NULL, "expected" },
        { "[1,]", 3, NULL, "unexpected token near ']'" },
        { "{} x", 3, NULL, "end of file expected near 'x'" },
        { "{\"a\":'b'}", 5, "a", "invalid token near '''" },
        { "{\"a\":01}", 5, "a", "invalid token near '0'" },
        { "{\"a\":1e400}", 5, "a", "real number overflow" },
        { "{\"a\":\"\\u0000\"}", 5, "a", "\\u0000 may not stand" },
        { "{\"a\\u0000\":1}", 1, NULL, "\\u0000 may not stand" },
        { "{\"a\":\"\\q\"}", 5, "a", "invalid escape" },
        { "{\"a\":\"\t\"}", 5, "a", "control character 0x9" },
        { "{\"a\":\"\xff\"}", 5, "a", "unable to decode byte 0xff" },
        { "{\"a\":\"\\ud800\"}", 5, "a", "invalid Unicode" },
        { "{\"\\q\":1}", 1, NULL, "invalid escape" },
        { "nul", 0, NULL, "invalid token" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena arena = { 0 };
        struct document_fault fault;
        assert_null(document_parse(&arena, cases[i].text, strlen(cases[i].text), &fault));
        const char *inside = fault.inside == NULL ? NULL : fault.inside->name;
        if (strstr(fault.sentence, cases[i].words) == NULL || fault.at != cases[i].at ||
            strcmp(inside == NULL ? "" : inside, cases[i].inside == NULL ? "" : cases[i].inside) != 0) {
            fail_msg("%s: at %zu inside %s: %s", cases[i].text, fault.at, inside, fault.sentence);
        }
        arena_release(&arena);
    }
}

static void nul_bytes_do_not_end_the_text(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    struct document_fault fault;
    assert_null(document_parse(&arena, "{\"a\":1}\0x", 9, &fault));
    assert_null(document_parse(&arena, "\0{}", 3, &fault));
    assert_null(document_parse(&arena, "{\"a\0\":1}", 8, &fault));
    arena_release(&arena);
}

static void depth_and_number_of_values_are_bounded(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    struct document_fault fault;
    size_t length = 5 << 20;
    char *text = malloc(length);
    memset(text, '[', length);
    assert_null(document_parse(&arena, text, length, &fault));
    assert_string_equal(fault.sentence, "lists and objects are nested more than 2048 deep");
    assert_int_equal(fault.at, 2048);
    for (size_t i = 0; i < length; i++) {
        text[i] = i % 2 == 0 ? ',' : '0';
    }
    text[0] = '[';
    text[length - 1] = ']';
    assert_null(document_parse(&arena, text, length, &fault));
    assert_non_null(strstr(fault.sentence, "more than 2097152 values"));
    free(text);
    arena_release(&arena);
}

static void members_are_found_by_name(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    struct document_fault fault;
    static const char text[] =
        "{\"a\":1,\"b\":[7,\"seven\",null,true,false,{},[],12345678901234567890123456789012345],\"a\":2}";
    const struct document_value *root = document_parse(&arena, text, strlen(text), &fault);
    assert_string_equal(document_member(root, "a")->text, "1");
    assert_null(document_member(root, "c"));
    const struct document_value *list = document_member(root, "b");
    assert_null(document_member(list, "a"));
    assert_null(document_member(list->first, "a"));
    static const char *const described[] = { "the number 7", "a string",
                                             "null",         "true",
                                             "false",        "an object",
                                             "a list",       "the number 12345678901234567890123456789012…" };
    const struct document_value *item = list->first;
    for (size_t i = 0; i < COUNT(described); i++, item = item->next) {
        assert_string_equal(document_describe(&arena, item), described[i]);
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_knows_where_everything_stands),
        cmocka_unit_test(what_is_not_json_is_placed),
        cmocka_unit_test(nul_bytes_do_not_end_the_text),
        cmocka_unit_test(depth_and_number_of_values_are_bounded),
        cmocka_unit_test(members_are_found_by_name),
    };
    return cmocka_run_group_tests_name("document", tests, NULL, NULL);
}
