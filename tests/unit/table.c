/* Buckets by key: who finds which cell, who gives way, and what a refusal leaves behind. With a kind of its own, the
 * simplest that keeps the promises: a word is a time, a token is a nanosecond. The table must not know more. */
#include "table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t burst = 10;

static uint64_t toy_clock(const void *rule, uint64_t now_ns)
{
    (void)rule;
    return now_ns;
}

static uint64_t toy_owed(uint64_t state, uint64_t clock)
{
    return state > clock ? state - clock : 0;
}

static bool toy_check(const void *rule, uint64_t state, uint64_t cost, uint64_t clock)
{
    return toy_owed(state, clock) + cost <= *(const uint64_t *)rule;
}

static uint64_t toy_charge(const void *rule, uint64_t state, uint64_t cost, uint64_t clock)
{
    (void)rule;
    return clock + toy_owed(state, clock) + cost;
}

static uint64_t toy_refund(const void *rule, uint64_t state, uint64_t cost, uint64_t clock)
{
    (void)rule;
    const uint64_t owed = toy_owed(state, clock);
    return owed == 0 ? state : clock + (owed > cost ? owed - cost : 0);
}

static void toy_describe(const void *rule, uint64_t state, uint64_t cost, uint64_t clock, uint64_t now_ns,
                         struct limiter_answer *answer)
{
    (void)cost, (void)now_ns;
    answer->remaining = *(const uint64_t *)rule - toy_owed(state, clock);
}

static const struct table_kind toy = { toy_clock, toy_check, toy_charge, toy_refund, toy_describe };

enum { NOW = 1000 };

static struct table table_of(size_t keys)
{
    struct table table;
    assert_true(table_init(&table, keys, &toy, &burst));
    return table;
}

static enum outcome take(struct table *table, uint64_t key, uint64_t cost, uint64_t now)
{
    struct sight sight;
    const enum outcome outcome = table_check(table, key, cost, now, &sight);
    return outcome == OUTCOME_FITS ? table_charge(table, key, cost, &sight) : outcome;
}

static uint64_t remaining(const struct table *table, uint64_t key, uint64_t now)
{
    struct sight sight;
    struct limiter_answer answer = { .allowed = true };
    (void)table_check(table, key, 0, now, &sight);
    table_describe(table, 0, now, &sight, &answer);
    return answer.remaining;
}

static void test_keys_are_rounded_up_to_whole_sets_on_whole_lines(void **state)
{
    (void)state;
    static const struct {
        size_t keys, sets;
    } cases[] = { { 0, 1 }, { 1, 1 }, { 8, 1 }, { 9, 2 }, { 1000, 125 }, { 1 << 20, 1 << 17 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct table table = table_of(cases[i].keys);
        assert_int_equal(table.set_count, cases[i].sets);
        assert_int_equal((uintptr_t)table.sets % 128, 0);
        assert_int_equal(sizeof table.sets[0], 128);
        assert_int_equal((uintptr_t)&table.live_evictions % 64, 0);
        assert_int_equal(table_live(&table, NOW), 0);
        table_fini(&table);
        assert_null(table.sets);
    }
}

/* AddressSanitizer, too, is to say no to such a size instead of stopping the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_more_memory_than_there_is_is_said(void **state)
{
    (void)state;
    struct table table;
    assert_false(table_init(&table, SIZE_MAX, &toy, &burst));
    assert_false(table_init(&table, SIZE_MAX / 64, &toy, &burst));
}

static void test_a_key_is_charged_in_its_own_cell_up_to_its_burst(void **state)
{
    (void)state;
    struct table table = table_of(8);
    assert_int_equal(take(&table, 77, 4, NOW), OUTCOME_FITS);
    assert_int_equal(take(&table, 77, 6, NOW), OUTCOME_FITS);
    assert_int_equal(take(&table, 77, 1, NOW), OUTCOME_REFUSED);
    assert_int_equal(remaining(&table, 77, NOW), 0);
    assert_int_equal(remaining(&table, 78, NOW), 10);
    assert_int_equal(remaining(&table, 77, NOW + 3), 3);
    assert_int_equal(table_live(&table, NOW), 1);
    assert_int_equal(table_live(&table, NOW + 10), 0);
    table_fini(&table);
}

static void test_a_peek_makes_no_cell(void **state)
{
    (void)state;
    struct table table = table_of(8);
    assert_int_equal(take(&table, 77, 0, NOW), OUTCOME_FITS);
    for (size_t i = 0; i < TABLE_WAYS; i++) {
        assert_int_equal(table.sets[0].cells[i].key, 0);
    }
    table_fini(&table);
}

static void test_a_key_prefers_its_own_cell_to_any_idle_one(void **state)
{
    (void)state;
    /* wherever the key and the idle cells stand */
    for (uint64_t key = 8; key < 16; key++) {
        for (size_t place = 0; place < TABLE_WAYS; place++) {
            struct table table = table_of(8);
            table.sets[0].cells[place].key = key;
            table.sets[0].cells[place].state = NOW + 9;
            assert_int_equal(take(&table, key, 2, NOW), OUTCOME_REFUSED);
            assert_int_equal(take(&table, key, 1, NOW), OUTCOME_FITS);
            assert_int_equal(table.sets[0].cells[place].state, NOW + 10);
            table_fini(&table);
        }
    }
}

static void test_a_full_set_forgets_its_smallest_debt_and_counts_it(void **state)
{
    (void)state;
    struct table table = table_of(8);
    /* given eight keys that owe 3, 4, … 10 */
    for (uint64_t key = 1; key <= 8; key++) {
        assert_int_equal(take(&table, key, key + 2, NOW), OUTCOME_FITS);
    }
    assert_int_equal(table_live(&table, NOW), 8);
    /* when a ninth comes: the smallest debt is forgotten, not inherited */
    assert_int_equal(take(&table, 9, 10, NOW), OUTCOME_FITS);
    assert_int_equal(table.live_evictions, 1);
    assert_int_equal(remaining(&table, 1, NOW), 10);
    for (uint64_t key = 2; key <= 8; key++) {
        assert_int_equal(remaining(&table, key, NOW), 8 - key);
    }
    /* then the offender stays, however many strangers come by, each pushing out the last */
    for (uint64_t key = 100; key < 200; key++) {
        assert_int_equal(take(&table, key, 1, NOW), OUTCOME_FITS);
    }
    assert_int_equal(take(&table, 8, 1, NOW), OUTCOME_REFUSED);
    assert_int_equal(table.live_evictions, 101);
    table_fini(&table);
}

static void test_an_expired_cell_is_taken_over_and_nobody_is_forgotten(void **state)
{
    (void)state;
    struct table table = table_of(8);
    for (uint64_t key = 1; key <= 8; key++) {
        assert_int_equal(take(&table, key, key, NOW), OUTCOME_FITS);
    }
    assert_int_equal(take(&table, 9, 1, NOW + 1), OUTCOME_FITS); /* key 1 owes nothing any more */
    assert_int_equal(table.live_evictions, 0);
    assert_int_equal(table_live(&table, NOW + 1), 8);
    table_fini(&table);
}

static void test_a_refund_gives_back_what_is_owed_and_no_more(void **state)
{
    (void)state;
    struct table table = table_of(8);
    (void)take(&table, 5, 6, NOW);
    table_refund(&table, 5, 2, NOW);
    assert_int_equal(remaining(&table, 5, NOW), 6);
    table_refund(&table, 5, 10, NOW + 1);
    assert_int_equal(remaining(&table, 5, NOW + 1), 10);
    assert_int_equal(table_live(&table, NOW + 1), 0);
    /* a key that is not there, and one that owes nothing, are left alone */
    const struct table_set before = table.sets[0];
    table_refund(&table, 6, 1, NOW);
    table_refund(&table, 5, 1, NOW + 50);
    assert_memory_equal(&before, table.sets, sizeof before);
    table_fini(&table);
}

static void test_a_forgotten_key_starts_anew_and_its_cell_comes_free_in_time(void **state)
{
    (void)state;
    struct table table = table_of(8);
    (void)take(&table, 5, 10, NOW);
    assert_true(table_forget(&table, 5));
    assert_false(table_forget(&table, 5));
    assert_int_equal(remaining(&table, 5, NOW), 10);
    assert_int_equal(table_live(&table, NOW), 0);
    /* a full set takes the nameless cell without counting a debt: nobody's was forgotten */
    for (uint64_t key = 11; key <= 18; key++) {
        assert_int_equal(take(&table, key, 10, NOW + 1), OUTCOME_FITS);
    }
    assert_int_equal(table.live_evictions, 0);
    assert_int_equal(table_live(&table, NOW + 1), 8);
    table_fini(&table);
}

static void test_a_charge_that_is_overtaken_looks_again(void **state)
{
    (void)state;
    struct table table = table_of(8);
    struct sight first, second;
    /* given two requests of a new key that have both been checked */
    assert_int_equal(table_check(&table, 5, 6, NOW, &first), OUTCOME_FITS);
    assert_int_equal(table_check(&table, 5, 4, NOW, &second), OUTCOME_FITS);
    struct sight third = second;
    assert_int_equal(table_charge(&table, 5, 6, &first), OUTCOME_FITS);
    /* then the second finds what the first left, the third that nothing is left */
    assert_int_equal(table_charge(&table, 5, 4, &second), OUTCOME_FITS);
    assert_int_equal(table_charge(&table, 5, 4, &third), OUTCOME_REFUSED);
    assert_int_equal(third.state, NOW + 10);
    table_fini(&table);
}

static void test_a_set_is_read_around_from_the_keys_home(void **state)
{
    (void)state;
    /* eight keys with eight homes: each in its own */
    struct table table = table_of(8);
    for (uint64_t key = 8; key < 16; key++) {
        (void)take(&table, key, 1, NOW);
        assert_int_equal(table.sets[0].cells[key % 8].key, key);
    }
    table_fini(&table);
}

static void test_digests_spread_over_any_number_of_sets(void **state)
{
    (void)state;
    static const size_t counts[] = { 1, 2, 3, 7, 1000, 1 << 20 };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        assert_int_equal(cell_set_of(0, counts[i]), 0);
        assert_int_equal(cell_set_of(UINT64_MAX, counts[i]), counts[i] - 1);
        assert_int_equal(cell_set_of(UINT64_MAX / 2, counts[i]), (counts[i] - 1) / 2);
    }
}

static void test_a_walk_meets_every_key_once_and_a_copy_keeps_the_largest_debts(void **state)
{
    (void)state;
    struct table table = table_of(64), copy = table_of(8);
    for (uint64_t i = 1; i <= 20; i++) {
        (void)take(&table, i << 59 | i, i % 10 + 1, NOW);
    }
    struct table_walk walk = { .table = &table };
    size_t keys = 0;
    for (struct word word; table_next(&walk, &word); keys++) {
        table_put(&copy, word.key, word.state);
    }
    assert_int_equal(keys, 20);
    assert_int_equal(table_live(&copy, NOW), 8);
    assert_int_equal(table_live(&copy, NOW + 6), 8); /* all eight owe 7 or more: those of 20 that owed the most */
    table_fini(&table);
    table_fini(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_are_rounded_up_to_whole_sets_on_whole_lines),
        cmocka_unit_test(test_more_memory_than_there_is_is_said),
        cmocka_unit_test(test_a_key_is_charged_in_its_own_cell_up_to_its_burst),
        cmocka_unit_test(test_a_peek_makes_no_cell),
        cmocka_unit_test(test_a_key_prefers_its_own_cell_to_any_idle_one),
        cmocka_unit_test(test_a_full_set_forgets_its_smallest_debt_and_counts_it),
        cmocka_unit_test(test_an_expired_cell_is_taken_over_and_nobody_is_forgotten),
        cmocka_unit_test(test_a_refund_gives_back_what_is_owed_and_no_more),
        cmocka_unit_test(test_a_forgotten_key_starts_anew_and_its_cell_comes_free_in_time),
        cmocka_unit_test(test_a_charge_that_is_overtaken_looks_again),
        cmocka_unit_test(test_a_set_is_read_around_from_the_keys_home),
        cmocka_unit_test(test_digests_spread_over_any_number_of_sets),
        cmocka_unit_test(test_a_walk_meets_every_key_once_and_a_copy_keeps_the_largest_debts),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
