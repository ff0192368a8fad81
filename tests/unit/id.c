/* id: ULIDs sort by time, spell their time, and do not repeat. */
#include "id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_time_comes_first_and_is_spelt_in_crockford_base_32(void **state)
{
    (void)state;
    struct id_source source;
    char id[ID_LENGTH];
    id_source_init(&source);
    id_make(&source, 1469918176385, id); /* the ULID specification's example: 01ARYZ6S41… */
    assert_memory_equal(id, "01ARYZ6S41", 10);
    id_make(&source, 0, id);
    assert_memory_equal(id, "0000000000", 10);
    id_make(&source, 281474976710655, id);
    assert_memory_equal(id, "7ZZZZZZZZZ", 10);
}

static void test_only_the_alphabet_and_later_sorts_after_earlier(void **state)
{
    (void)state;
    struct id_source source;
    char before[ID_LENGTH], after[ID_LENGTH];
    id_source_init(&source);
    for (uint64_t ms = 1; ms < 2000; ms++) {
        id_make(&source, ms * 977, before);
        id_make(&source, ms * 977 + 1, after);
        assert_true(memcmp(before, after, ID_LENGTH) < 0);
        for (size_t i = 0; i < ID_LENGTH; i++) {
            assert_non_null(memchr("0123456789ABCDEFGHJKMNPQRSTVWXYZ", after[i], 32));
        }
    }
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, ID_LENGTH);
}

static void test_a_hundred_thousand_of_one_millisecond_all_differ(void **state)
{
    (void)state;
    static char ids[100000][ID_LENGTH];
    struct id_source source;
    id_source_init(&source);
    for (size_t i = 0; i < 100000; i++) {
        id_make(&source, 42, ids[i]);
    }
    qsort(ids, 100000, ID_LENGTH, compare);
    for (size_t i = 1; i < 100000; i++) {
        assert_memory_not_equal(ids[i - 1], ids[i], ID_LENGTH);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_comes_first_and_is_spelt_in_crockford_base_32),
        cmocka_unit_test(test_only_the_alphabet_and_later_sorts_after_earlier),
        cmocka_unit_test(test_a_hundred_thousand_of_one_millisecond_all_differ),
    };
    return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}
