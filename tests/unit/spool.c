/* spool: what went in comes out, in order, however the pieces are cut. */
#include "spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_pieces_come_out_as_one_stream(void **state)
{
    (void)state;
    struct spool spool = { 0 };
    uint8_t in = 0, out = 0;
    size_t waiting = 0;
    srand(7);
    for (int i = 0; i < 20000; i++) {
        char piece[97];
        size_t length = (size_t)(rand() % (int)sizeof piece);
        if (rand() % 2 == 0) {
            for (size_t k = 0; k < length; k++) {
                piece[k] = (char)in++;
            }
            assert_true(spool_append(&spool, piece, length));
            waiting += length;
        } else {
            size_t got = spool_take(&spool, piece, length);
            assert_int_equal(got, length < waiting ? length : waiting);
            for (size_t k = 0; k < got; k++) {
                assert_int_equal((uint8_t)piece[k], out++);
            }
            waiting -= got;
        }
        assert_int_equal(spool.length, waiting);
    }
    spool_fini(&spool);
}

static void test_it_does_not_grow_when_it_is_emptied_as_it_is_filled(void **state)
{
    (void)state;
    struct spool spool = { 0 };
    char piece[1000] = { 0 };
    for (int i = 0; i < 10000; i++) {
        assert_true(spool_append(&spool, piece, sizeof piece));
        assert_int_equal(spool_take(&spool, piece, 600), 600);
        assert_true(spool_take(&spool, piece, 600) <= 600);
    }
    assert_true(spool.size <= 4 * sizeof piece);
    spool_fini(&spool);
}

static void test_a_whole_body_is_handed_over(void **state)
{
    (void)state;
    struct spool spool = { 0 };
    assert_null(spool_release(&spool));
    assert_true(spool_append(&spool, "ab", 2));
    assert_true(spool_append(&spool, "cd", 2));
    char *whole = spool_release(&spool);
    assert_memory_equal(whole, "abcd", 4);
    assert_int_equal(spool.length, 0);
    free(whole);
    spool_fini(&spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_come_out_as_one_stream),
        cmocka_unit_test(test_it_does_not_grow_when_it_is_emptied_as_it_is_filled),
        cmocka_unit_test(test_a_whole_body_is_handed_over),
    };
    return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
