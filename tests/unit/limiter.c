/* May this request pass? All of its limits or none, and not a byte of state for a refusal. */
#include "limiter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define NOW    (UINT64_C(1000) * SECOND)
#define DAY    (86400 * SECOND)

static const uint8_t secret[LIMITER_SECRET_SIZE] = "0123456789abcde";

/* ---- the memory a limiter takes, seen from below: all its state comes from aligned_alloc() ---- */

static struct {
    void *start;
    size_t size;
} blocks[64];
static size_t block_count;
static size_t allowed_blocks = SIZE_MAX; /* the next ones fail */

void *aligned_alloc(size_t alignment, size_t size)
{
    void *start = NULL;
    if (allowed_blocks == 0 || posix_memalign(&start, alignment, size) != 0) {
        return NULL;
    }
    allowed_blocks--;
    if (block_count < sizeof blocks / sizeof blocks[0]) {
        blocks[block_count].start = start;
        blocks[block_count++].size = size;
    }
    return start;
}

/* All of it, one block after the other; free() it. */
static uint8_t *copy_of_all_state(size_t *size)
{
    *size = 0;
    for (size_t i = 0; i < block_count; i++) {
        *size += blocks[i].size;
    }
    uint8_t *copy = malloc(*size), *end = copy;
    assert_non_null(copy);
    for (size_t i = 0; i < block_count; i++) {
        memcpy(end, blocks[i].start, blocks[i].size);
        end += blocks[i].size;
    }
    return copy;
}

/* ---- short words for rules and requests ---- */

static struct limiter_rule bucket(const char *name, uint64_t tokens, uint64_t period_ns, uint64_t burst)
{
    return (struct limiter_rule){
        .name = name, .kind = LIMITER_TOKEN_BUCKET, .tokens = tokens, .period_ns = period_ns, .burst = burst, .keys = 64
    };
}

static struct limiter_rule slots(const char *name, uint64_t count)
{
    return (struct limiter_rule){ .name = name, .kind = LIMITER_CONCURRENCY, .in_flight = count };
}

static struct limiter *limiter_of(const struct limiter_rule *rules, size_t count)
{
    block_count = 0;
    struct limiter *limiter = limiter_create(rules, count, 4, secret);
    assert_non_null(limiter);
    return limiter;
}

static struct limiter_ask ask(const struct limiter *limiter, uint32_t limit, const char *key, uint64_t cost)
{
    return (struct limiter_ask){ limit, limiter_digest(limiter, limit, key, strlen(key)), cost };
}

static struct limiter_answer one(struct limiter *limiter, uint32_t limit, const char *key, uint64_t cost, uint64_t now)
{
    const struct limiter_ask asks[] = { ask(limiter, limit, key, cost) };
    struct limiter_answer answer;
    const enum limiter_verdict verdict = limiter_admit(limiter, asks, 1, now, &answer);
    assert_true(answer.allowed == (verdict == LIMITER_ADMITTED));
    return answer;
}

/* ---- rules ---- */

static void test_a_rule_outside_its_bounds_is_named(void **state)
{
    (void)state;
    const uint64_t century = 36525 * DAY;
    const struct {
        struct limiter_rule rule;
        const char *word; /* in the sentence; NULL: within bounds */
    } cases[] = {
        { bucket("", 1, 1, 1), NULL },
        { bucket("", SECOND, SECOND, 1), NULL },
        { bucket("", 1, (uint64_t)1 << 61, 1), NULL },
        { bucket("", 2, (uint64_t)1 << 62, 1), NULL },
        { bucket("", 1, 1, (uint64_t)1 << 61), NULL },
        { bucket("", 4294967296, DAY, 4294967296), NULL },
        { slots("", 1), NULL },
        { slots("", UINT32_MAX), NULL },
        { bucket("", 1, 0, 1), "period" },
        { bucket("", 1, ((uint64_t)1 << 62) + 1, 1), "period" },
        { bucket("", 0, SECOND, 1), "rate" },
        { bucket("", SECOND + 1, SECOND, 1), "rate" },
        { bucket("", UINT64_MAX, SECOND, 1), "rate" },
        { bucket("", 1, SECOND, 0), "burst" },
        { bucket("", 1, (uint64_t)1 << 62, 1), "73 years" },
        { bucket("", 1, ((uint64_t)1 << 61) + 1, 1), "73 years" },
        { bucket("", 1, 1, ((uint64_t)1 << 61) + 1), "73 years" },
        { bucket("", 1, century, UINT64_MAX), "73 years" },
        { slots("", 0), "flight" },
        { slots("", (uint64_t)UINT32_MAX + 1), "flight" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *error = limiter_rule_error(&cases[i].rule);
        if (cases[i].word == NULL) {
            assert_null(error);
        } else {
            assert_non_null(error);
            assert_non_null(strstr(error, cases[i].word));
        }
    }
}

static void test_little_memory_is_a_null_and_leaks_nothing(void **state)
{
    (void)state;
    const struct limiter_rule rules[] = { bucket("a", 1, SECOND, 1), slots("s", 1), bucket("b", 1, SECOND, 1) };
    struct limiter *limiter;
    size_t enough = 0;
    for (;; enough++) {
        allowed_blocks = enough;
        limiter = limiter_create(rules, 3, 4, secret);
        if (limiter != NULL) {
            break;
        }
    }
    limiter_destroy(&limiter);
    assert_null(limiter);
    allowed_blocks = SIZE_MAX;
    assert_int_equal(enough, 5); /* two tables with their counters, and the slots */
    assert_null(limiter_create(rules, SIZE_MAX / 64, 4, secret));
    limiter_destroy(&(struct limiter *){ NULL });
}

/* ---- one limit ---- */

static void test_seven_in_three_seconds(void **state)
{
    (void)state;
    const struct limiter_rule rule = bucket("a", 7, 3 * SECOND, 3);
    struct limiter *limiter = limiter_of(&rule, 1);
    static const struct {
        bool allowed;
        uint64_t at_ns, remaining, retry_ns, reset_ns;
    } story[] = {
        { true, 0, 2, 0, 428571429 },          { true, 0, 1, 0, 857142858 },
        { true, 0, 0, 0, 1285714286 },         { false, 0, 0, 428571429, 1285714286 },
        { false, 428571428, 0, 1, 857142858 }, { true, 428571429, 0, 0, 1285714286 },
        { true, 3 * SECOND, 2, 0, 428571429 },
    };
    for (size_t i = 0; i < sizeof story / sizeof story[0]; i++) {
        /* 21 s into the clock a token's time ends with a nanosecond's, so that the numbers above are round ones */
        const struct limiter_answer answer = one(limiter, 0, "k", 1, 21 * SECOND + story[i].at_ns);
        assert_int_equal(answer.allowed, story[i].allowed);
        assert_int_equal(answer.capacity, 3);
        assert_int_equal(answer.remaining, story[i].remaining);
        assert_int_equal(answer.retry_after_ns, story[i].retry_ns);
        assert_in_range(answer.reset_after_ns, story[i].reset_ns - 1, story[i].reset_ns);
    }
    limiter_destroy(&limiter);
}

static void test_a_cost_above_the_burst_is_never_admitted_and_says_so(void **state)
{
    (void)state;
    const struct limiter_rule rule = bucket("a", 10, SECOND, 5);
    struct limiter *limiter = limiter_of(&rule, 1);
    const struct limiter_answer answer = one(limiter, 0, "k", 6, NOW);
    assert_false(answer.allowed);
    assert_true(answer.retry_after_ns == LIMITER_NEVER);
    assert_int_equal(answer.remaining, 5);
    assert_true(one(limiter, 0, "k", 5, NOW).allowed);
    limiter_destroy(&limiter);
}

static void test_keys_and_limits_do_not_know_each_other(void **state)
{
    (void)state;
    const struct limiter_rule rules[] = { bucket("a", 1, SECOND, 1), bucket("b", 1, SECOND, 1), slots("s", 1),
                                          slots("t", 1) };
    struct limiter *limiter = limiter_of(rules, 4);
    for (uint32_t limit = 0; limit < 4; limit++) {
        assert_true(one(limiter, limit, "x", 1, NOW).allowed);
        assert_false(one(limiter, limit, "x", 1, NOW).allowed);
        assert_true(one(limiter, limit, "y", 1, NOW).allowed);
    }
    limiter_destroy(&limiter);
}

static void test_a_peek_charges_nothing_and_never_refuses(void **state)
{
    (void)state;
    const struct limiter_rule rules[] = { bucket("a", 1, SECOND, 2), slots("s", 1) };
    struct limiter *limiter = limiter_of(rules, 2);
    assert_int_equal(one(limiter, 0, "x", 0, NOW).remaining, 2);
    (void)one(limiter, 0, "x", 2, NOW);
    (void)one(limiter, 1, "x", 1, NOW);
    for (uint32_t limit = 0; limit < 2; limit++) {
        const struct limiter_answer answer = one(limiter, limit, "x", 0, NOW);
        assert_true(answer.allowed);
        assert_int_equal(answer.remaining, 0);
        const struct limiter_answer peek = limiter_peek(limiter, limit, limiter_digest(limiter, limit, "x", 1), NOW);
        assert_memory_equal(&peek.capacity, &answer.capacity,
                            sizeof answer - offsetof(struct limiter_answer, capacity));
    }
    assert_int_equal(limiter_peek(limiter, 0, limiter_digest(limiter, 0, "x", 1), NOW).reset_after_ns, 2 * SECOND);
    limiter_destroy(&limiter);
}

/* ---- all or none ---- */

static void test_a_blocked_client_does_not_eat_the_site_wide_quota(void **state)
{
    (void)state;
    const struct limiter_rule rules[] = { bucket("site", 1, SECOND, 100), slots("busy", 10),
                                          bucket("client", 1, SECOND, 1) };
    struct limiter *limiter = limiter_of(rules, 3);
    const struct limiter_ask asks[] = { ask(limiter, 0, "", 1), ask(limiter, 1, "", 1), ask(limiter, 2, "me", 1) };
    struct limiter_answer answers[3];
    assert_int_equal(limiter_admit(limiter, asks, 3, NOW, answers), LIMITER_ADMITTED);
    assert_int_equal(answers[0].remaining, 99);
    assert_int_equal(answers[1].remaining, 9);
    assert_int_equal(answers[2].remaining, 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(limiter_admit(limiter, asks, 3, NOW, answers), LIMITER_REFUSED);
        assert_true(answers[0].allowed && answers[1].allowed && !answers[2].allowed);
        assert_int_equal(answers[0].remaining, 99);
        assert_int_equal(answers[1].remaining, 9);
        assert_int_equal(answers[0].retry_after_ns, 0);
        assert_int_equal(answers[2].retry_after_ns, SECOND);
    }
    limiter_destroy(&limiter);
}

static void test_every_answer_of_a_refused_request_is_filled(void **state)
{
    (void)state;
    const struct limiter_rule rules[] = { bucket("a", 1, SECOND, 1), bucket("b", 1, 60 * SECOND, 1), slots("s", 1) };
    struct limiter *limiter = limiter_of(rules, 3);
    const struct limiter_ask asks[] = { ask(limiter, 0, "k", 1), ask(limiter, 1, "k", 1), ask(limiter, 2, "k", 1) };
    struct limiter_answer answers[3];
    assert_int_equal(limiter_admit(limiter, asks, 3, NOW, answers), LIMITER_ADMITTED);
    memset(answers, 0xa5, sizeof answers);
    assert_int_equal(limiter_admit(limiter, asks, 3, NOW, answers), LIMITER_REFUSED);
    static const uint64_t retry_ns[] = { SECOND, 60 * SECOND, 0 };
    for (size_t i = 0; i < 3; i++) {
        assert_false(answers[i].allowed);
        assert_int_equal(answers[i].capacity, 1);
        assert_int_equal(answers[i].remaining, 0);
        assert_int_equal(answers[i].retry_after_ns, retry_ns[i]);
        assert_int_equal(answers[i].reset_after_ns, retry_ns[i]);
    }
    limiter_destroy(&limiter);
}

static void test_one_limit_with_two_keys_in_one_request(void **state)
{
    (void)state;
    const struct limiter_rule rules[] = { bucket("a", 1, SECOND, 2), slots("s", 1) };
    struct limiter *limiter = limiter_of(rules, 2);
    const struct limiter_ask asks[] = { ask(limiter, 0, "x", 2), ask(limiter, 0, "y", 1), ask(limiter, 1, "x", 1),
                                        ask(limiter, 1, "y", 1) };
    struct limiter_answer answers[4];
    assert_int_equal(limiter_admit(limiter, asks, 4, NOW, answers), LIMITER_ADMITTED);
    assert_int_equal(answers[0].remaining, 0);
    assert_int_equal(answers[1].remaining, 1);
    assert_int_equal(limiter_admit(limiter, asks, 4, NOW, answers), LIMITER_REFUSED);
    assert_true(answers[1].allowed);
    assert_int_equal(answers[1].remaining, 1);
    limiter_release(limiter, asks, 4);
    limiter_refund(limiter, asks, 4, NOW);
    assert_int_equal(limiter_admit(limiter, asks, 4, NOW, answers), LIMITER_ADMITTED);
    limiter_destroy(&limiter);
}

static void test_what_was_charged_before_a_loss_is_given_back(void **state)
{
    (void)state;
    /* given two asks that each fit and together do not: one key named twice, which callers must not do, or two keys for
     * the last free cell of a set of slots */
    const struct limiter_rule rules[] = { bucket("a", 1, SECOND, 10), slots("s", 1), bucket("b", 1, SECOND, 1) };
    struct limiter *limiter = limiter_of(rules, 3);
    struct limiter_ask asks[] = { ask(limiter, 0, "k", 4), ask(limiter, 1, "k", 1), { 0, 0, 0 }, { 0, 0, 0 } };
    struct limiter_answer answers[4];
    asks[2] = asks[3] = ask(limiter, 2, "k", 1);
    assert_int_equal(limiter_admit(limiter, asks, 4, NOW, answers), LIMITER_REFUSED);
    assert_false(answers[3].allowed);
    assert_int_equal(answers[0].remaining, 10);
    assert_int_equal(answers[1].remaining, 1);
    assert_true(answers[2].allowed);

    for (uint64_t i = 1; i < 16; i++) { /* all digests below 2^58 share the first of 4 sets */
        const struct limiter_ask holder = { 1, i, 1 };
        assert_int_equal(limiter_admit(limiter, &holder, 1, NOW, answers), LIMITER_ADMITTED);
    }
    asks[1] = (struct limiter_ask){ 1, 100, 1 };
    asks[2] = (struct limiter_ask){ 1, 101, 1 };
    assert_int_equal(limiter_admit(limiter, asks, 3, NOW, answers), LIMITER_FULL);
    assert_false(answers[2].allowed);
    assert_true(answers[0].allowed && answers[1].allowed);
    assert_int_equal(answers[0].remaining, 10);
    assert_int_equal(answers[1].remaining, 1);
    assert_int_equal(limiter_usage(limiter, 1, NOW).keys, 15);
    limiter_destroy(&limiter);
}

static void test_full_is_told_apart_from_refused_and_yields_to_it(void **state)
{
    (void)state;
    const struct limiter_rule rules[] = { slots("s", 1), bucket("a", 1, SECOND, 1) };
    struct limiter *limiter = limiter_of(rules, 2);
    struct limiter_answer answers[2];
    for (uint64_t i = 1; i <= 16; i++) {
        const struct limiter_ask holder = { 0, i, 1 };
        assert_int_equal(limiter_admit(limiter, &holder, 1, NOW, answers), LIMITER_ADMITTED);
    }
    const struct limiter_ask asks[] = { { 0, 99, 1 }, { 1, 99, 1 } };
    assert_int_equal(limiter_admit(limiter, asks, 2, NOW, answers), LIMITER_FULL);
    assert_false(answers[0].allowed);
    assert_true(answers[1].allowed);
    assert_int_equal(answers[1].remaining, 1);
    assert_true(one(limiter, 1, "other", 1, NOW).allowed);
    const struct limiter_ask peek = { 0, 99, 0 };
    assert_int_equal(limiter_admit(limiter, &peek, 1, NOW, answers), LIMITER_ADMITTED);
    assert_int_equal(limiter_admit(limiter, asks + 1, 1, NOW, answers), LIMITER_ADMITTED);
    assert_int_equal(limiter_admit(limiter, asks, 2, NOW, answers), LIMITER_REFUSED);
    limiter_destroy(&limiter);
}

static void test_a_refusal_leaves_every_byte_as_it_was(void **state)
{
    (void)state;
    struct limiter_rule rules[] = { bucket("a", 7, 3 * SECOND, 3), bucket("b", 10, SECOND, 20), slots("s", 2),
                                    bucket("c", 1, SECOND, 1), slots("t", 3) };
    rules[0].keys = rules[1].keys = 8; /* one set: it overflows, and debts are forgotten */
    struct limiter *limiter = limiter_of(rules, 5);
    uint64_t random = 42, now = NOW;
    struct limiter_ask held[1000][5];
    size_t held_count = 0, refusals = 0, admissions = 0;
    for (int i = 0; i < 100000; i++) {
        struct limiter_ask asks[5];
        struct limiter_answer answers[5];
        size_t count = 0;
        for (uint32_t limit = 0; limit < 5; limit++) {
            random = random * 6364136223846793005 + 1442695040888963407;
            const uint64_t key = random >> 60, cost = limit == 2 || limit == 4 ? 1 : random >> 40 & 3;
            asks[count] = (struct limiter_ask){ limit, limiter_digest(limiter, limit, &key, sizeof key), cost };
            count += (random >> 33) % 4 != 0;
        }
        now += random >> 38;
        size_t size, after_size;
        uint8_t *before = copy_of_all_state(&size);
        if (limiter_admit(limiter, asks, count, now, answers) != LIMITER_ADMITTED) {
            uint8_t *after = copy_of_all_state(&after_size);
            assert_int_equal(size, after_size);
            assert_memory_equal(before, after, size);
            free(after);
            refusals++;
        } else {
            admissions++;
            memset(held[held_count], 0, sizeof held[0]);
            memcpy(held[held_count++], asks, count * sizeof asks[0]);
        }
        free(before);
        for (size_t k = 0; k < count; k++) { /* and the answers say what is now in the tables */
            const struct limiter_answer peek = limiter_peek(limiter, asks[k].limit, asks[k].digest, now);
            assert_int_equal(answers[k].remaining, peek.remaining);
            assert_int_equal(answers[k].capacity, peek.capacity);
            assert_int_equal(answers[k].reset_after_ns, peek.reset_after_ns);
        }
        if (held_count == 8) {
            while (held_count > 0) {
                limiter_release(limiter, held[--held_count], 5);
            }
        }
    }
    assert_true(refusals > 10000 && admissions > 10000);
    limiter_destroy(&limiter);
}

/* ---- afterwards ---- */

static void test_a_release_gives_slots_back_and_a_refund_tokens(void **state)
{
    (void)state;
    const struct limiter_rule rules[] = { bucket("a", 1, SECOND, 5), slots("s", 1) };
    struct limiter *limiter = limiter_of(rules, 2);
    const struct limiter_ask asks[] = { ask(limiter, 0, "k", 3), ask(limiter, 1, "k", 1), ask(limiter, 0, "other", 0),
                                        ask(limiter, 1, "other", 0) };
    struct limiter_answer answers[4];
    assert_int_equal(limiter_admit(limiter, asks, 4, NOW, answers), LIMITER_ADMITTED);
    limiter_release(limiter, asks, 4);
    assert_int_equal(limiter_peek(limiter, 0, asks[0].digest, NOW).remaining, 2);
    assert_int_equal(limiter_peek(limiter, 1, asks[1].digest, NOW).remaining, 1);
    limiter_refund(limiter, asks, 4, NOW);
    assert_int_equal(limiter_peek(limiter, 0, asks[0].digest, NOW).remaining, 5);
    limiter_refund(limiter, asks, 4, NOW); /* never beyond a full bucket */
    assert_int_equal(limiter_peek(limiter, 0, asks[0].digest, NOW).remaining, 5);
    limiter_destroy(&limiter);
}

static void test_a_key_can_be_forgotten_but_what_is_in_flight_cannot(void **state)
{
    (void)state;
    const struct limiter_rule rules[] = { bucket("a", 1, SECOND, 1), slots("s", 1) };
    struct limiter *limiter = limiter_of(rules, 2);
    for (uint32_t limit = 0; limit < 2; limit++) {
        (void)one(limiter, limit, "k", 1, NOW);
    }
    assert_true(limiter_forget(limiter, 0, limiter_digest(limiter, 0, "k", 1)));
    assert_false(limiter_forget(limiter, 0, limiter_digest(limiter, 0, "stranger", 8)));
    assert_false(limiter_forget(limiter, 1, limiter_digest(limiter, 1, "k", 1)));
    assert_true(one(limiter, 0, "k", 1, NOW).allowed);
    assert_false(one(limiter, 1, "k", 1, NOW).allowed);
    limiter_destroy(&limiter);
}

static void test_usage_counts_who_owes_and_who_was_forgotten(void **state)
{
    (void)state;
    struct limiter_rule rules[] = { bucket("a", 1, SECOND, 1), slots("s", 1), slots("t", 1) };
    rules[0].keys = 1; /* eight cells */
    struct limiter *limiter = limiter_of(rules, 3);
    for (char key = 'a'; key < 'a' + 10; key++) {
        (void)one(limiter, 0, (const char[]){ key, 0 }, 1, NOW);
    }
    (void)one(limiter, 1, "k", 1, NOW);
    (void)one(limiter, 2, "k", 1, NOW);
    const struct limiter_usage buckets = limiter_usage(limiter, 0, NOW), held = limiter_usage(limiter, 2, NOW);
    assert_int_equal(buckets.capacity, 8);
    assert_int_equal(buckets.keys, 8);
    assert_int_equal(buckets.live_evictions, 2);
    assert_int_equal(limiter_usage(limiter, 0, NOW + SECOND).keys, 0);
    assert_int_equal(held.capacity, 64);
    assert_int_equal(held.keys, 2); /* those of all concurrency limits */
    assert_int_equal(held.live_evictions, 0);
    limiter_destroy(&limiter);
}

static void test_a_clock_that_lags_is_a_request_that_came_earlier(void **state)
{
    (void)state;
    const struct limiter_rule rule = bucket("a", 1, SECOND, 2);
    struct limiter *limiter = limiter_of(&rule, 1);
    assert_true(one(limiter, 0, "k", 2, NOW).allowed);
    const struct limiter_answer answer = one(limiter, 0, "k", 1, NOW - SECOND / 2);
    assert_false(answer.allowed);
    assert_int_equal(answer.remaining, 0);
    assert_int_equal(answer.retry_after_ns, 3 * SECOND / 2);
    assert_int_equal(answer.reset_after_ns, 5 * SECOND / 2);
    limiter_destroy(&limiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rule_outside_its_bounds_is_named),
        cmocka_unit_test(test_little_memory_is_a_null_and_leaks_nothing),
        cmocka_unit_test(test_seven_in_three_seconds),
        cmocka_unit_test(test_a_cost_above_the_burst_is_never_admitted_and_says_so),
        cmocka_unit_test(test_keys_and_limits_do_not_know_each_other),
        cmocka_unit_test(test_a_peek_charges_nothing_and_never_refuses),
        cmocka_unit_test(test_a_blocked_client_does_not_eat_the_site_wide_quota),
        cmocka_unit_test(test_every_answer_of_a_refused_request_is_filled),
        cmocka_unit_test(test_one_limit_with_two_keys_in_one_request),
        cmocka_unit_test(test_what_was_charged_before_a_loss_is_given_back),
        cmocka_unit_test(test_full_is_told_apart_from_refused_and_yields_to_it),
        cmocka_unit_test(test_a_refusal_leaves_every_byte_as_it_was),
        cmocka_unit_test(test_a_release_gives_slots_back_and_a_refund_tokens),
        cmocka_unit_test(test_a_key_can_be_forgotten_but_what_is_in_flight_cannot),
        cmocka_unit_test(test_usage_counts_who_owes_and_who_was_forgotten),
        cmocka_unit_test(test_a_clock_that_lags_is_a_request_that_came_earlier),
    };
    return cmocka_run_group_tests_name("limiter", tests, NULL, NULL);
}
