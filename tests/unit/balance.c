/* balance: who is chosen, how evenly, and what failures do to that. */
#include "balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SERVERS 4

#define NONE SIZE_MAX

static struct balance balance;
static struct balance_worker worker;
static struct balance_server *servers;

static void given(enum config_balance way, size_t count, const unsigned *weights)
{
    static char urls[SERVERS][48];
    struct config_server configs[SERVERS] = { 0 };
    for (size_t i = 0; i < count; i++) {
        snprintf(urls[i], sizeof urls[i], "http://10.0.0.%zu:9000", i + 1);
        configs[i] = (struct config_server){ .text = urls[i], .weight = weights != NULL ? weights[i] : 1 };
    }
    balance_worker_fini(&worker);
    balance_fini(&balance);
    const struct config_upstream config = { .servers = configs, .server_count = count, .balance = way };
    assert_true(balance_init(&balance, &config));
    assert_true(balance_worker_init(&worker, &balance, 88172645463325252u)); /* Marsaglia's own */
    servers = balance.servers;
}

static int begin(void **state)
{
    (void)state;
    given(CONFIG_BALANCE_LEAST_REQUESTS, SERVERS, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    balance_worker_fini(&worker);
    balance_fini(&balance);
    return 0;
}

static size_t choose_for(uint64_t client, size_t avoid, uint64_t now_ms)
{
    struct balance_set tried = { .count = 0 };
    if (avoid != NONE) {
        balance_set_add(&tried, avoid);
    }
    struct balance_ask ask = { .tried = &tried, .now_ms = now_ms, .client = client };
    size_t chosen = balance_choose(&balance, &worker, &ask);
    assert_true(chosen < balance.count && (chosen != avoid));
    return chosen;
}

/* Of the first `count` servers. */
static size_t choose(size_t count, size_t avoid, uint64_t now_ms)
{
    balance.count = balance.weight = count;
    return choose_for(0, avoid, now_ms);
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
            balance_begin(&servers[choose(count, NONE, 0)]);
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
        size_t chosen = choose(2, NONE, 0);
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
        assert_int_not_equal(choose(2, NONE, BALANCE_DOWN_MS - 1), 1);
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
            tries += choose(2, NONE, now) == 1;
        }
        assert_int_equal(tries, 1);
        fail_server(1, 1, now);
    }
    now += BALANCE_DOWN_MS;
    while (choose(2, NONE, now) != 1) {
    }
    balance_succeeded(&servers[1]);
    unsigned tries = 0;
    for (int i = 0; i < 1000; i++) {
        tries += choose(2, NONE, now) == 1;
    }
    assert_in_range(tries, 400, 600);
}

static void a_try_that_nobody_hears_of_is_not_the_last(void **state)
{
    (void)state;
    fail_server(1, BALANCE_FAILURES, 0);
    while (choose(2, NONE, BALANCE_DOWN_MS) != 1) { /* its client leaves before it is connected */
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(choose(2, NONE, 2 * BALANCE_DOWN_MS - 1), 0);
    }
    while (choose(2, NONE, 2 * BALANCE_DOWN_MS) != 1) {
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
        given[choose(3, NONE, 1)]++;
    }
    for (size_t i = 0; i < 3; i++) {
        assert_in_range(given[i], 200, 500);
    }
}

/* Weights, and the other ways. */

static void requests_spread_by_weight(void **state)
{
    (void)state;
    static const unsigned weights[] = { 1, 2, 5 };
    unsigned given_to[3] = { 0 };
    given(CONFIG_BALANCE_LEAST_REQUESTS, 3, weights);
    for (int i = 0; i < 8000; i++) { /* one at a time: nobody is ever busy */
        given_to[choose_for(0, NONE, 0)]++;
    }
    for (int i = 0; i < 800; i++) { /* none ends */
        balance_begin(&servers[choose_for(0, NONE, 0)]);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_in_range(given_to[i], 900 * weights[i], 1100 * weights[i]);
        assert_in_range(servers[i].requests, 85 * weights[i], 115 * weights[i]);
    }
}

static void a_heavy_server_that_is_down_or_tried_is_left_out(void **state)
{
    (void)state;
    static const unsigned weights[] = { 1000, 1, 1 };
    given(CONFIG_BALANCE_LEAST_REQUESTS, 3, weights);
    for (int i = 0; i < 1000; i++) {
        choose_for(0, 0, 0);
    }
    fail_server(0, BALANCE_FAILURES, 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_not_equal(choose_for(0, NONE, 1), 0);
    }
}

static void round_robin_takes_each_in_turn_smoothly(void **state)
{
    (void)state;
    static const unsigned weights[] = { 3, 1 };
    size_t last = NONE, in_a_row = 0;
    unsigned given_to[2] = { 0 };
    given(CONFIG_BALANCE_ROUND_ROBIN, 2, weights);
    for (int i = 0; i < 400; i++) {
        size_t chosen = choose_for(0, NONE, 0);
        given_to[chosen]++;
        in_a_row = chosen == last ? in_a_row + 1 : 1;
        last = chosen;
        assert_true(in_a_row <= weights[chosen]);
    }
    assert_int_equal(given_to[0], 300);
    given(CONFIG_BALANCE_ROUND_ROBIN, SERVERS, NULL);
    size_t first = choose_for(0, NONE, 0);
    for (size_t i = 1; i < 3 * SERVERS; i++) {
        assert_int_equal(choose_for(0, NONE, 0), (first + i) % SERVERS);
    }
}

static void workers_do_not_all_begin_at_the_same_server(void **state)
{
    (void)state;
    unsigned first = 0;
    given(CONFIG_BALANCE_ROUND_ROBIN, SERVERS, NULL);
    for (uint64_t seed = 1; seed <= 64; seed++) {
        balance_worker_fini(&worker);
        assert_true(balance_worker_init(&worker, &balance, seed * 0x9e3779b97f4a7c15u));
        first |= 1u << choose_for(0, NONE, 0);
    }
    assert_int_equal(first, (1u << SERVERS) - 1);
}

static void a_client_keeps_its_server(void **state)
{
    (void)state;
    static const unsigned weights[] = { 1, 2, 1, 4 };
    enum { CLIENTS = 8000 };
    static size_t home[CLIENTS];
    unsigned given_to[SERVERS] = { 0 };
    given(CONFIG_BALANCE_HASH, SERVERS, weights);
    for (unsigned c = 0; c < CLIENTS; c++) {
        home[c] = choose_for(balance_hash(&c, sizeof c), NONE, 0);
        given_to[home[c]]++;
    }
    for (size_t i = 0; i < SERVERS; i++) {
        assert_in_range(given_to[i], 900 * weights[i], 1100 * weights[i]);
    }
    fail_server(1, BALANCE_FAILURES, 0);
    for (unsigned c = 0; c < CLIENTS; c++) { /* only those of the one that is gone move, and not all to one */
        size_t now = choose_for(balance_hash(&c, sizeof c), NONE, 1);
        assert_true(home[c] == 1 ? now != 1 : now == home[c]);
    }
    balance_succeeded(&servers[1]);
    for (unsigned c = 0; c < CLIENTS; c++) {
        assert_int_equal(choose_for(balance_hash(&c, sizeof c), NONE, 1), home[c]);
    }
}

static void in_every_way_one_request_a_second_tries_a_server_that_is_down(void **state)
{
    (void)state;
    for (enum config_balance way = CONFIG_BALANCE_LEAST_REQUESTS; way <= CONFIG_BALANCE_HASH; way++) {
        given(way, SERVERS, NULL);
        fail_server(2, BALANCE_FAILURES, 0);
        unsigned tries = 0;
        for (uint64_t i = 0; i < 4000; i++) {
            tries += choose_for(balance_hash(&i, sizeof i), NONE, BALANCE_DOWN_MS) == 2;
        }
        assert_int_equal(tries, 1);
        for (size_t i = 0; i < SERVERS; i++) {
            fail_server(i, BALANCE_FAILURES, BALANCE_DOWN_MS);
        }
        tries = 0;
        for (uint64_t i = 0; i < 100; i++) { /* all are down: all are tried */
            tries |= 1u << choose_for(balance_hash(&i, sizeof i), 3, BALANCE_DOWN_MS + 1);
        }
        assert_int_equal(tries, 7);
    }
}

static void in_every_way_who_is_unhealthy_gets_nothing_unless_all_are(void **state)
{
    (void)state;
    for (enum config_balance way = CONFIG_BALANCE_LEAST_REQUESTS; way <= CONFIG_BALANCE_HASH; way++) {
        given(way, SERVERS, NULL);
        assert_true(balance_set_healthy(&servers[1], false));
        assert_false(balance_set_healthy(&servers[1], false)); /* no news */
        for (uint64_t i = 0; i < 1000; i++) {
            assert_int_not_equal(choose_for(balance_hash(&i, sizeof i), NONE, 10 * BALANCE_DOWN_MS), 1);
        }
        unsigned chosen = 0;
        for (size_t i = 0; i < SERVERS; i++) {
            balance_set_healthy(&servers[i], false);
        }
        for (uint64_t i = 0; i < 1000; i++) {
            chosen |= 1u << choose_for(balance_hash(&i, sizeof i), NONE, 0);
        }
        assert_int_equal(chosen, (1u << SERVERS) - 1);
        fail_server(2, BALANCE_FAILURES, 0);
        assert_true(balance_set_healthy(&servers[2], true)); /* who answers its checks is up at once */
        assert_false(balance_is_down(&servers[2]));
        assert_int_equal(choose_for(1, NONE, 1), 2);
    }
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        STORY(requests_spread_evenly),
        STORY(a_server_that_is_slow_to_answer_gets_less),
        STORY(the_one_to_avoid_is_avoided),
        STORY(a_server_goes_down_after_failures_in_a_row),
        STORY(one_request_a_second_tries_a_server_that_is_down),
        STORY(a_try_that_nobody_hears_of_is_not_the_last),
        STORY(when_all_are_down_all_are_tried),
        STORY(requests_spread_by_weight),
        STORY(a_heavy_server_that_is_down_or_tried_is_left_out),
        STORY(round_robin_takes_each_in_turn_smoothly),
        STORY(workers_do_not_all_begin_at_the_same_server),
        STORY(a_client_keeps_its_server),
        STORY(in_every_way_one_request_a_second_tries_a_server_that_is_down),
        STORY(in_every_way_who_is_unhealthy_gets_nothing_unless_all_are),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
