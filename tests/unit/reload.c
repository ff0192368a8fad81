/* A reload: what one limiter knows lives on in the next, and nobody gets budget from it. */
#include "limiter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define NOW    (UINT64_C(1000) * SECOND)
static const uint8_t secret[LIMITER_SECRET_SIZE] = "0123456789abcde";

static struct limiter_rule bucket(const char *name, uint64_t per_second, uint64_t burst)
{
    return (struct limiter_rule){ .name = name,
                                  .kind = LIMITER_TOKEN_BUCKET,
                                  .tokens = per_second,
                                  .period_ns = SECOND,
                                  .burst = burst,
                                  .keys = 64 };
}

static struct limiter_rule slots(const char *name, uint64_t count)
{
    return (struct limiter_rule){ .name = name, .kind = LIMITER_CONCURRENCY, .in_flight = count };
}

static struct limiter_answer ask(struct limiter *limiter, uint32_t limit, uint64_t cost, uint64_t now)
{
    struct limiter_ask asks[] = { { limit, limiter_digest(limiter, limit, "key", 3), cost } };
    struct limiter_answer answer;
    (void)!limiter_admit(limiter, asks, 1, now, &answer);
    return answer;
}

static void test_the_same_rule_shares_its_table_both_ways(void **state)
{
    (void)state;
    struct limiter_rule rules[] = { bucket("a", 1, 10) };
    struct limiter *old = limiter_create(rules, 1, 1, secret);
    assert_int_equal(ask(old, 0, 4, NOW).remaining, 6);
    struct limiter *next = limiter_create_from(old, rules, 1, 1, NOW);
    assert_int_equal(ask(next, 0, 1, NOW).remaining, 5);
    assert_int_equal(ask(old, 0, 1, NOW).remaining, 4); /* a request that still runs under the old one */
    assert_int_equal(ask(next, 0, 0, NOW).remaining, 4);
    limiter_destroy(&old);
    assert_int_equal(ask(next, 0, 0, NOW).remaining, 4);
    limiter_destroy(&next);
}

static void test_a_limit_is_known_by_its_name_not_by_its_place(void **state)
{
    (void)state;
    struct limiter_rule rules[] = { bucket("a", 1, 10), bucket("b", 1, 10) };
    struct limiter_rule turned[] = { bucket("b", 1, 10), bucket("new", 1, 10), bucket("a", 1, 10) };
    struct limiter *old = limiter_create(rules, 2, 1, secret);
    (void)ask(old, 0, 3, NOW);
    (void)ask(old, 1, 7, NOW);
    struct limiter *next = limiter_create_from(old, turned, 3, 1, NOW);
    limiter_destroy(&old);
    assert_int_equal(ask(next, 0, 0, NOW).remaining, 3);
    assert_int_equal(ask(next, 1, 0, NOW).remaining, 10);
    assert_int_equal(ask(next, 2, 0, NOW).remaining, 7);
    limiter_destroy(&next);
}

static void test_other_numbers_keep_the_share_of_the_burst_that_is_used(void **state)
{
    (void)state;
    static const struct {
        uint64_t rate, burst, remaining;
    } cases[] = { { 1, 100, 25 }, { 1000, 20, 5 }, { 3, 4, 1 }, { 1, 1, 0 }, { 7, 1000000, 250000 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct limiter_rule before = bucket("a", 1, 20), after = bucket("a", cases[i].rate, cases[i].burst);
        struct limiter *old = limiter_create(&before, 1, 1, secret);
        assert_int_equal(ask(old, 0, 15, NOW).remaining, 5); /* a quarter is left */
        struct limiter *next = limiter_create_from(old, &after, 1, 1, NOW);
        limiter_destroy(&old);
        assert_int_equal(ask(next, 0, 0, NOW).remaining, cases[i].remaining);
        limiter_destroy(&next);
    }
}

static void test_turning_a_limit_up_and_down_again_gives_nothing_away(void **state)
{
    (void)state;
    struct limiter_rule low = bucket("a", 1, 10), high = bucket("a", 1000, 1000);
    struct limiter *limiter = limiter_create(&low, 1, 1, secret);
    assert_int_equal(ask(limiter, 0, 10, NOW).remaining, 0);
    for (int i = 0; i < 100; i++) {
        struct limiter *next = limiter_create_from(limiter, i % 2 == 0 ? &high : &low, 1, 1, NOW);
        limiter_destroy(&limiter);
        limiter = next;
    }
    assert_int_equal(ask(limiter, 0, 0, NOW).remaining, 0);
    assert_false(ask(limiter, 0, 1, NOW).allowed);
    limiter_destroy(&limiter);
}

static void test_a_full_bucket_needs_no_cell_in_the_next(void **state)
{
    (void)state;
    struct limiter_rule before = bucket("a", 1, 10), after = bucket("a", 1, 20);
    struct limiter *old = limiter_create(&before, 1, 1, secret);
    (void)ask(old, 0, 5, NOW);
    struct limiter *next = limiter_create_from(old, &after, 1, 1, NOW + 60 * SECOND);
    assert_int_equal(limiter_usage(next, 0, NOW + 60 * SECOND).keys, 0);
    assert_int_equal(ask(next, 0, 0, NOW + 60 * SECOND).remaining, 20);
    limiter_destroy(&old);
    limiter_destroy(&next);
}

static void test_slots_are_held_across_and_given_back_by_either(void **state)
{
    (void)state;
    struct limiter_rule before = slots("s", 2), after[] = { bucket("x", 1, 1), slots("s", 1) };
    struct limiter *old = limiter_create(&before, 1, 8, secret);
    struct limiter_ask held[] = { { 0, limiter_digest(old, 0, "key", 3), 1 } };
    struct limiter_answer answer;
    assert_int_equal(limiter_admit(old, held, 1, NOW, &answer), LIMITER_ADMITTED);
    assert_int_equal(limiter_admit(old, held, 1, NOW, &answer), LIMITER_ADMITTED);

    /* when the limit falls below what is in flight */
    struct limiter *next = limiter_create_from(old, after, 2, 8, NOW);
    answer = ask(next, 1, 1, NOW);
    assert_false(answer.allowed);
    assert_int_equal(answer.remaining, 0);

    /* then it takes as many ends, told to the old one, as the new number says */
    limiter_release(old, held, 1);
    assert_false(ask(next, 1, 1, NOW).allowed);
    limiter_release(old, held, 1);
    limiter_destroy(&old);
    assert_true(ask(next, 1, 1, NOW).allowed);
    limiter_destroy(&next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_rule_shares_its_table_both_ways),
        cmocka_unit_test(test_a_limit_is_known_by_its_name_not_by_its_place),
        cmocka_unit_test(test_other_numbers_keep_the_share_of_the_burst_that_is_used),
        cmocka_unit_test(test_turning_a_limit_up_and_down_again_gives_nothing_away),
        cmocka_unit_test(test_a_full_bucket_needs_no_cell_in_the_next),
        cmocka_unit_test(test_slots_are_held_across_and_given_back_by_either),
    };
    return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
