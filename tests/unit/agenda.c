/* agenda: what is due soon and what is due later, on a real loop. */
#include "agenda.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

static struct {
    uv_loop_t loop;
    struct agenda *agenda;
    struct deadline_list fast, slow;
    unsigned turns, rings, fast_due, slow_due;
    unsigned more_turns; /* asked for from within */
} world;

static void on_turn(void *user)
{
    assert_ptr_equal(user, &world);
    world.turns++;
    if (world.more_turns > 0) {
        world.more_turns--;
        agenda_soon(world.agenda);
    }
}

static void on_due(void *user)
{
    assert_ptr_equal(user, &world);
    uint64_t now = agenda_now(world.agenda);
    world.rings++;
    while (deadline_take(&world.fast, now) != NULL) {
        world.fast_due++;
    }
    while (deadline_take(&world.slow, now) != NULL) {
        world.slow_due++;
    }
    agenda_plan(world.agenda, &world.fast);
    agenda_plan(world.agenda, &world.slow);
}

static int begin(void **state)
{
    static const struct agenda_events events = { .on_turn = on_turn, .on_due = on_due };
    (void)state;
    memset(&world, 0, sizeof world);
    uv_loop_init(&world.loop);
    deadline_list_init(&world.fast, 10);
    deadline_list_init(&world.slow, 40);
    world.agenda = agenda_create(&world.loop, &events, &world);
    return world.agenda == NULL;
}

static int end(void **state)
{
    (void)state;
    agenda_destroy(&world.agenda);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&world.loop);
}

static void what_is_soon_comes_before_the_loop_sleeps_and_once(void **state)
{
    (void)state;
    agenda_soon(world.agenda);
    agenda_soon(world.agenda);
    assert_int_equal(world.turns, 0); /* not from within */
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(world.turns, 1);
    world.more_turns = 3;
    agenda_soon(world.agenda);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(world.turns, 5);
}

static void deadlines_are_due_in_time_and_not_before(void **state)
{
    (void)state;
    struct deadline slow = { 0 }, fast = { 0 };
    uv_update_time(&world.loop);
    uint64_t begun = uv_now(&world.loop);
    agenda_set(world.agenda, &world.slow, &slow);
    agenda_set(world.agenda, &world.fast, &fast); /* rings earlier than was planned */
    while (world.fast_due == 0) {
        uv_run(&world.loop, UV_RUN_ONCE);
    }
    assert_true(uv_now(&world.loop) - begun >= 10);
    while (world.slow_due == 0) {
        uv_run(&world.loop, UV_RUN_ONCE);
    }
    assert_true(uv_now(&world.loop) - begun >= 40);
    assert_false(uv_loop_alive(&world.loop)); /* nothing is left to ring for */
}

static void a_deadline_that_was_cleared_costs_one_ring_for_nothing(void **state)
{
    (void)state;
    struct deadline deadline = { 0 };
    for (int i = 0; i < 1000; i++) {
        agenda_set(world.agenda, &world.fast, &deadline);
        deadline_clear(&deadline);
    }
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(world.fast_due, 0);
    assert_int_equal(world.rings, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_soon_comes_before_the_loop_sleeps_and_once, begin, end),
        cmocka_unit_test_setup_teardown(deadlines_are_due_in_time_and_not_before, begin, end),
        cmocka_unit_test_setup_teardown(a_deadline_that_was_cleared_costs_one_ring_for_nothing, begin, end),
    };
    return cmocka_run_group_tests_name("agenda", tests, NULL, NULL);
}
