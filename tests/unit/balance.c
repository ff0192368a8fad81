/* balance: who is chosen, how evenly, and what failures do to that. */
#include "balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SERVERS 4

static struct balance_server servers[SERVERS];
static uint64_t generator;

static int begin(void **state)
{
    (void)state;
    memset(servers, 0, sizeof servers);
    generator = 88172645463325252u; /* Marsaglia's own */
    return 0;
}

static size_t choose(size_t count, size_t avoid, uint64_t now_ms)
{
    size_t chosen = balance_choose(servers, count, avoid, now_ms, &generator);
    assert_true(chosen < count && (chosen != avoid));
    return chosen;
}

static void fail_server(size_t server, unsigned times, uint64_t now_ms)
{
    for (unsigned i = 0; i < times; i++) {
        balance_failed(&servers[server], now_ms);
    }
}

static void requests_spread_evenly(void **state)
{
    (void)state;
    for (size_t count = 1; count <= SERVERS; count++) {
        begin(state);
        for (size_t i = 0; i < 400 * count; i++) {
            balance_begin(&servers[choose(count, BALANCE_NONE, 0)]);
        }
        for (size_t i = 0; i < count; i++) { /* two choices: the fullest is ahead by a few, not by a tenth */
            assert_in_range(servers[i].requests, 380, 420);
        }
    }
}

static void a_server_that_is_slow_to_answer_gets_less(void **state)
{
    (void)state;
    unsigned given[2] = { 0 };
    for (int i = 0; i < 50; i++) {
        balance_begin(&servers[0]); /* and they do not end */
    }
    for (int i = 0; i < 1000; i++) {
        size_t chosen = choose(2, BALANCE_NONE, 0);
        given[chosen]++;
        balance_begin(&servers[chosen]);
        balance_end(&servers[chosen]);
    }
    assert_int_equal(given[0], 0);
}

static void the_one_to_avoid_is_avoided(void **state)
{
    (void)state;
    unsigned given[SERVERS] = { 0 };
    for (int i = 0; i < 1000; i++) {
        given[choose(SERVERS, 2, 0)]++;
    }
    for (size_t i = 0; i < SERVERS; i++) {
        assert_true((given[i] > 0) == (i != 2));
    }
    fail_server(0, BALANCE_FAILURES, 0); /* also when nobody else is up */
    fail_server(1, BALANCE_FAILURES, 0);
    fail_server(3, BALANCE_FAILURES, 0);
    for (int i = 0; i < 100; i++) {
        choose(SERVERS, 2, 0);
    }
}

static void a_server_goes_down_after_failures_in_a_row(void **state)
{
    (void)state;
    fail_server(1, BALANCE_FAILURES - 1, 0);
    assert_false(balance_is_down(&servers[1]));
    balance_succeeded(&servers[1]);
    fail_server(1, BALANCE_FAILURES - 1, 0);
    assert_false(balance_is_down(&servers[1])); /* not in a row */
    fail_server(1, 1, 0);
    assert_true(balance_is_down(&servers[1]));
    for (int i = 0; i < 1000; i++) {
        assert_int_not_equal(choose(2, BALANCE_NONE, BALANCE_DOWN_MS - 1), 1);
    }
}

static void one_request_a_second_tries_a_server_that_is_down(void **state)
{
    (void)state;
    uint64_t now = 0;
    fail_server(1, BALANCE_FAILURES, now);
    for (int second = 0; second < 3; second++) {
        unsigned tries = 0;
        now += BALANCE_DOWN_MS;
        for (int i = 0; i < 1000; i++) {
            tries += choose(2, BALANCE_NONE, now) == 1;
        }
        assert_int_equal(tries, 1);
        fail_server(1, 1, now);
    }
    now += BALANCE_DOWN_MS;
    while (choose(2, BALANCE_NONE, now) != 1) {
    }
    balance_succeeded(&servers[1]);
    unsigned tries = 0;
    for (int i = 0; i < 1000; i++) {
        tries += choose(2, BALANCE_NONE, now) == 1;
    }
    assert_in_range(tries, 400, 600);
}

static void a_try_that_nobody_hears_of_is_not_the_last(void **state)
{
    (void)state;
    fail_server(1, BALANCE_FAILURES, 0);
    while (choose(2, BALANCE_NONE, BALANCE_DOWN_MS) != 1) { /* its client leaves before it is connected */
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(choose(2, BALANCE_NONE, 2 * BALANCE_DOWN_MS - 1), 0);
    }
    while (choose(2, BALANCE_NONE, 2 * BALANCE_DOWN_MS) != 1) {
    }
}

static void when_all_are_down_all_are_tried(void **state)
{
    (void)state;
    unsigned given[3] = { 0 };
    for (size_t i = 0; i < 3; i++) {
        fail_server(i, BALANCE_FAILURES, 0);
    }
    for (int i = 0; i < 1000; i++) {
        given[choose(3, BALANCE_NONE, 1)]++;
    }
    for (size_t i = 0; i < 3; i++) {
        assert_in_range(given[i], 200, 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(requests_spread_evenly, begin),
        cmocka_unit_test_setup(a_server_that_is_slow_to_answer_gets_less, begin),
        cmocka_unit_test_setup(the_one_to_avoid_is_avoided, begin),
        cmocka_unit_test_setup(a_server_goes_down_after_failures_in_a_row, begin),
        cmocka_unit_test_setup(one_request_a_second_tries_a_server_that_is_down, begin),
        cmocka_unit_test_setup(a_try_that_nobody_hears_of_is_not_the_last, begin),
        cmocka_unit_test_setup(when_all_are_down_all_are_tried, begin),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
