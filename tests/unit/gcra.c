/* A bucket as one number: ticks, waits and what is left, against 128-bit division. */
#include "gcra.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

__extension__ typedef unsigned __int128 u128;

#define SECOND  UINT64_C(1000000000)
#define DAY     (86400 * SECOND)
#define NOW_MAX ((uint64_t)1 << 62)

static const struct limiter_rule rules[] = {
    { .tokens = 7, .period_ns = 3 * SECOND, .burst = 20 },
    { .tokens = 1, .period_ns = 30 * DAY, .burst = 3 },
    { .tokens = 4294967296, .period_ns = DAY, .burst = 4294967296 },
    { .tokens = 1000000, .period_ns = SECOND, .burst = 1000 },
    { .tokens = 1000, .period_ns = SECOND, .burst = 1 },
    { .tokens = SECOND, .period_ns = SECOND, .burst = 1 },
    { .tokens = SECOND - 1, .period_ns = SECOND, .burst = 1 },
    { .tokens = SECOND / 2 + 1, .period_ns = SECOND, .burst = 5 }, /* a tick of hardly more than half a nanosecond */
    { .tokens = 1, .period_ns = 1, .burst = (uint64_t)1 << 61 },
    { .tokens = 1, .period_ns = (uint64_t)1 << 61, .burst = 1 },
    { .tokens = 3, .period_ns = ((uint64_t)1 << 62) - 1, .burst = 1 },
    { .tokens = ((uint64_t)1 << 62) - 57, .period_ns = (uint64_t)1 << 62, .burst = 12345 },
};
enum { RULES = sizeof rules / sizeof rules[0] };

static uint64_t random_state = 1;
static uint64_t random_bits(void)
{
    random_state += 0x9e3779b97f4a7c15; /* splitmix64 */
    uint64_t x = random_state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/* Of any magnitude up to `bound`, both ends now and then. */
static uint64_t random_up_to(uint64_t bound)
{
    const uint64_t x = random_bits() >> (random_bits() % 64);
    const uint64_t kind = random_bits() % 16;
    return kind == 0 ? 0 : kind == 1 ? bound : bound == UINT64_MAX ? x : x % (bound + 1);
}

/* floor(now · m · tokens / period), by definition */
static uint64_t ticks_by_division(const struct limiter_rule *rule, uint64_t now_ns)
{
    const u128 token = (rule->period_ns + (u128)rule->tokens - 1) / rule->tokens;
    const u128 scaled = token * rule->tokens; /* period ≤ scaled < 2 · period ≤ 2^63 */
    return (uint64_t)((u128)now_ns * scaled / rule->period_ns);
}

static void test_a_ratio_is_the_quotient_of_a_division_for_every_magnitude(void **state)
{
    (void)state;
    for (int i = 0; i < 1000000; i++) {
        const uint64_t denominator = 1 + random_up_to(((uint64_t)1 << 63) - 2);
        const uint64_t numerator = random_up_to(denominator), x = random_up_to(UINT64_MAX);
        const struct gcra_ratio ratio = gcra_ratio_of(numerator, denominator);
        assert_true(gcra_ratio_floor(&ratio, x) == (uint64_t)((u128)x * numerator / denominator));
    }
}

static void test_the_clock_is_exact(void **state)
{
    (void)state;
    for (size_t r = 0; r < RULES; r++) {
        const struct gcra gcra = gcra_of(&rules[r]);
        for (int i = 0; i < 100000; i++) {
            const uint64_t now = random_up_to(NOW_MAX);
            assert_true(gcra_clock(&gcra, now) == ticks_by_division(&rules[r], now));
        }
    }
}

static void test_a_tick_lasts_at_most_one_nanosecond_and_more_than_half_of_one(void **state)
{
    (void)state;
    for (size_t r = 0; r < RULES; r++) {
        const struct gcra gcra = gcra_of(&rules[r]);
        const u128 ticks_of_period = (u128)gcra.token * rules[r].tokens;
        assert_true(ticks_of_period >= rules[r].period_ns);
        assert_true(ticks_of_period < (u128)2 * rules[r].period_ns);
    }
}

static void test_the_first_nanosecond_of_a_tick_is_the_first(void **state)
{
    (void)state;
    for (size_t r = 0; r < RULES; r++) {
        const struct gcra gcra = gcra_of(&rules[r]);
        for (int i = 0; i < 100000; i++) {
            const uint64_t tick = 1 + random_up_to(gcra_clock(&gcra, NOW_MAX) - 1);
            const uint64_t ns = gcra_ns(&gcra, tick);
            assert_true(gcra_clock(&gcra, ns) >= tick);
            assert_true(ns == 0 || gcra_clock(&gcra, ns - 1) < tick);
        }
    }
}

static void test_a_thousand_periods_later_exactly_a_thousand_times_the_tokens_have_come(void **state)
{
    (void)state;
    /* given a bucket of one token, asked for whenever it says that there is one */
    for (size_t r = 0; r < 8; r++) {
        const struct limiter_rule rule = { .tokens = rules[r].tokens, .period_ns = rules[r].period_ns, .burst = 1 };
        const struct gcra gcra = gcra_of(&rule);
        const uint64_t begin = 1000 * SECOND, steps = 1000;
        uint64_t word = 0, now = begin;
        for (uint64_t i = 0; i < steps; i++) {
            assert_true(gcra_check(&gcra, word, 1, gcra_clock(&gcra, now)));
            word = gcra_charge(&gcra, word, 1, gcra_clock(&gcra, now));
            struct limiter_answer answer = { .allowed = false };
            gcra_describe(&gcra, word, 1, gcra_clock(&gcra, now), now, &answer);
            assert_true(answer.retry_after_ns > 0);
            assert_false(gcra_check(&gcra, word, 1, gcra_clock(&gcra, now + answer.retry_after_ns - 1)));
            now += answer.retry_after_ns;
        }
        /* then the time is that of the tokens, and each arrival was late by less than a nanosecond and a tick */
        const u128 ideal = (u128)steps * rule.period_ns / rule.tokens;
        assert_true(now - begin >= ideal);
        assert_true(now - begin <= ideal + 2 * steps);
    }
}

static void test_a_debt_of_a_million_tokens_has_not_drifted_by_a_tick(void **state)
{
    (void)state;
    /* 7 per 3 s: 7 000 000 tokens take 3 000 000 s, to the nanosecond */
    const struct limiter_rule rule = { .tokens = 7, .period_ns = 3 * SECOND, .burst = 7000000 };
    const struct gcra gcra = gcra_of(&rule);
    const uint64_t now_ns = 21 * SECOND, now = gcra_clock(&gcra, now_ns);
    uint64_t word = 0;
    for (int i = 0; i < 7000000; i++) {
        word = gcra_charge(&gcra, word, 1, now);
    }
    assert_true(gcra_ns(&gcra, word) - now_ns == 3000000 * SECOND);
    assert_false(gcra_check(&gcra, word, 1, now));
    assert_true(gcra_check(&gcra, word, 7000000, gcra_clock(&gcra, now_ns + 3000000 * SECOND)));
    assert_false(gcra_check(&gcra, word, 7000000, gcra_clock(&gcra, now_ns + 3000000 * SECOND - 1)));
}

static void test_waiting_as_long_as_told_admits_and_a_nanosecond_less_does_not(void **state)
{
    (void)state;
    for (size_t r = 0; r < RULES; r++) {
        const struct gcra gcra = gcra_of(&rules[r]);
        for (int i = 0; i < 20000; i++) {
            const uint64_t now_ns = 1 + random_up_to((uint64_t)1 << 60), now = gcra_clock(&gcra, now_ns);
            const uint64_t word = now + random_up_to(gcra.full), cost = 1 + random_up_to(gcra.burst - 1);
            if (gcra_check(&gcra, word, cost, now)) {
                continue;
            }
            struct limiter_answer answer = { .allowed = false };
            gcra_describe(&gcra, word, cost, now, now_ns, &answer);
            const uint64_t then = now_ns + answer.retry_after_ns;
            assert_true(answer.retry_after_ns > 0);
            assert_true(gcra_check(&gcra, word, cost, gcra_clock(&gcra, then)));
            assert_false(gcra_check(&gcra, word, cost, gcra_clock(&gcra, then - 1)));
        }
    }
}

static void test_reset_is_when_the_bucket_is_full_and_not_before(void **state)
{
    (void)state;
    for (size_t r = 0; r < RULES; r++) {
        const struct gcra gcra = gcra_of(&rules[r]);
        for (int i = 0; i < 20000; i++) {
            const uint64_t now_ns = 1 + random_up_to((uint64_t)1 << 60), now = gcra_clock(&gcra, now_ns);
            const uint64_t word = now + 1 + random_up_to(gcra.full - 1);
            struct limiter_answer answer = { .allowed = true };
            gcra_describe(&gcra, word, 1, now, now_ns, &answer);
            assert_true(gcra_owed(word, gcra_clock(&gcra, now_ns + answer.reset_after_ns)) == 0);
            assert_true(gcra_owed(word, gcra_clock(&gcra, now_ns + answer.reset_after_ns - 1)) > 0);
            assert_int_equal(answer.retry_after_ns, 0);
        }
    }
}

static void test_remaining_is_the_largest_cost_that_fits(void **state)
{
    (void)state;
    for (size_t r = 0; r < RULES; r++) {
        const struct gcra gcra = gcra_of(&rules[r]);
        for (int i = 0; i < 20000; i++) {
            const uint64_t now = random_up_to((uint64_t)1 << 62), word = now + random_up_to(gcra.full + gcra.full / 4);
            struct limiter_answer answer = { .allowed = true };
            gcra_describe(&gcra, word, 0, now, 1, &answer);
            assert_int_equal(answer.capacity, rules[r].burst);
            assert_true(gcra_check(&gcra, word, answer.remaining, now));
            assert_false(gcra_check(&gcra, word, answer.remaining + 1, now));
        }
    }
}

static void test_more_than_the_bucket_holds_never_fits(void **state)
{
    (void)state;
    const struct limiter_rule rule = { .tokens = 10, .period_ns = SECOND, .burst = 5 };
    const struct gcra gcra = gcra_of(&rule);
    static const uint64_t costs[] = { 6, 1000, UINT64_MAX / 2, UINT64_MAX };
    for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++) {
        assert_false(gcra_check(&gcra, 0, costs[i], 1000));
        struct limiter_answer answer = { .allowed = false };
        gcra_describe(&gcra, 0, costs[i], gcra_clock(&gcra, 1000), 1000, &answer);
        assert_true(answer.retry_after_ns == LIMITER_NEVER);
        assert_int_equal(answer.remaining, 5);
    }
}

static void test_a_cost_of_nothing_always_fits_even_for_a_clock_that_lags(void **state)
{
    (void)state;
    const struct gcra gcra = gcra_of(&rules[0]);
    const uint64_t ahead = gcra_clock(&gcra, 100 * SECOND), behind = gcra_clock(&gcra, 99 * SECOND);
    uint64_t word = gcra_charge(&gcra, 0, 20, ahead);
    assert_true(gcra_check(&gcra, word, 0, behind));
    assert_false(gcra_check(&gcra, word, 1, behind));
    struct limiter_answer answer = { .allowed = true };
    gcra_describe(&gcra, word, 0, behind, 99 * SECOND, &answer);
    assert_int_equal(answer.remaining, 0);
}

static void test_the_extremes_of_the_bounds_do_not_overflow(void **state)
{
    (void)state;
    for (size_t r = 0; r < RULES; r++) {
        const struct gcra gcra = gcra_of(&rules[r]);
        const uint64_t now = gcra_clock(&gcra, NOW_MAX);
        assert_true(now < (uint64_t)1 << 63);
        assert_true(gcra.full <= (uint64_t)1 << 62);
        const uint64_t word = gcra_charge(&gcra, 0, rules[r].burst, now);
        assert_true(word > now);
        assert_false(gcra_check(&gcra, word, rules[r].burst, now));
        struct limiter_answer answer = { .allowed = false };
        gcra_describe(&gcra, word, rules[r].burst, now, NOW_MAX, &answer);
        /* a burst's time, up to the nanosecond that the last tick takes to begin and the one that now had begun in */
        const uint64_t burst_ns = (uint64_t)((u128)rules[r].burst * rules[r].period_ns / rules[r].tokens);
        assert_in_range(answer.retry_after_ns, burst_ns == 0 ? 0 : burst_ns - 1, burst_ns + 1);
    }
}

static void test_a_refund_undoes_a_charge_and_never_more_than_fills(void **state)
{
    (void)state;
    for (size_t r = 0; r < RULES; r++) {
        const struct gcra gcra = gcra_of(&rules[r]);
        for (int i = 0; i < 20000; i++) {
            const uint64_t now = random_up_to((uint64_t)1 << 62), word = now + random_up_to(gcra.full / 2);
            const uint64_t cost = 1 + random_up_to(gcra.burst - 1);
            if (gcra_check(&gcra, word, cost, now)) {
                assert_true(gcra_refund(&gcra, gcra_charge(&gcra, word, cost, now), cost, now) == word);
            }
            assert_true(gcra_refund(&gcra, word, cost, now) >= now);
            assert_true(gcra_refund(&gcra, word, cost, now) <= word);
            const uint64_t old = random_up_to(now); /* owes nothing: left as it is */
            assert_true(gcra_refund(&gcra, old, cost, now) == old);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_ratio_is_the_quotient_of_a_division_for_every_magnitude),
        cmocka_unit_test(test_the_clock_is_exact),
        cmocka_unit_test(test_a_tick_lasts_at_most_one_nanosecond_and_more_than_half_of_one),
        cmocka_unit_test(test_the_first_nanosecond_of_a_tick_is_the_first),
        cmocka_unit_test(test_a_thousand_periods_later_exactly_a_thousand_times_the_tokens_have_come),
        cmocka_unit_test(test_a_debt_of_a_million_tokens_has_not_drifted_by_a_tick),
        cmocka_unit_test(test_waiting_as_long_as_told_admits_and_a_nanosecond_less_does_not),
        cmocka_unit_test(test_reset_is_when_the_bucket_is_full_and_not_before),
        cmocka_unit_test(test_remaining_is_the_largest_cost_that_fits),
        cmocka_unit_test(test_more_than_the_bucket_holds_never_fits),
        cmocka_unit_test(test_a_cost_of_nothing_always_fits_even_for_a_clock_that_lags),
        cmocka_unit_test(test_the_extremes_of_the_bounds_do_not_overflow),
        cmocka_unit_test(test_a_refund_undoes_a_charge_and_never_more_than_fills),
    };
    return cmocka_run_group_tests_name("gcra", tests, NULL, NULL);
}
