/* Requests in flight, by key: counted once, never above the limit, never in another's cell. */
#include "semaphore.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct semaphore semaphore_of(size_t keys)
{
    struct semaphore semaphore;
    assert_true(semaphore_init(&semaphore, keys));
    return semaphore;
}

static enum outcome acquire(struct semaphore *semaphore, uint64_t key, uint64_t slots)
{
    uint64_t held;
    return semaphore_acquire(semaphore, key, slots, &held);
}

static uint64_t held(const struct semaphore *semaphore, uint64_t key)
{
    uint64_t count;
    (void)semaphore_check(semaphore, key, 1, &count);
    return count;
}

static void test_sixteen_cells_for_each_key_in_flight(void **state)
{
    (void)state;
    static const size_t keys[] = { 0, 1, 2, 100 };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct semaphore semaphore = semaphore_of(keys[i]);
        assert_int_equal(semaphore_capacity(&semaphore), 16 * (keys[i] == 0 ? 1 : keys[i]));
        assert_int_equal((uintptr_t)semaphore.sets % 128, 0);
        semaphore_fini(&semaphore);
        assert_null(semaphore.sets);
    }
    struct semaphore semaphore;
    assert_false(semaphore_init(&semaphore, SIZE_MAX));
}

static void test_slots_are_taken_up_to_the_limit_and_given_back(void **state)
{
    (void)state;
    struct semaphore semaphore = semaphore_of(4);
    for (int round = 0; round < 3; round++) {
        uint64_t count;
        for (uint64_t i = 0; i < 3; i++) {
            assert_int_equal(semaphore_check(&semaphore, 7, 3, &count), OUTCOME_FITS);
            assert_int_equal(count, i);
            assert_int_equal(semaphore_acquire(&semaphore, 7, 3, &count), OUTCOME_FITS);
            assert_int_equal(count, i + 1);
        }
        assert_int_equal(semaphore_check(&semaphore, 7, 3, &count), OUTCOME_REFUSED);
        assert_int_equal(semaphore_acquire(&semaphore, 7, 3, &count), OUTCOME_REFUSED);
        assert_int_equal(count, 3);
        assert_int_equal(semaphore_live(&semaphore), 1);
        for (int i = 0; i < 3; i++) {
            semaphore_release(&semaphore, 7);
        }
        assert_int_equal(held(&semaphore, 7), 0);
        assert_int_equal(semaphore_live(&semaphore), 0);
    }
    semaphore_fini(&semaphore);
}

static void test_a_check_writes_nothing(void **state)
{
    (void)state;
    struct semaphore semaphore = semaphore_of(1);
    (void)acquire(&semaphore, 7, 1);
    const struct semaphore_set before = semaphore.sets[0];
    uint64_t count;
    assert_int_equal(semaphore_check(&semaphore, 7, 1, &count), OUTCOME_REFUSED);
    assert_int_equal(semaphore_check(&semaphore, 8, 1, &count), OUTCOME_FITS);
    assert_int_equal(acquire(&semaphore, 7, 1), OUTCOME_REFUSED);
    assert_memory_equal(&before, semaphore.sets, sizeof before);
    semaphore_fini(&semaphore);
}

static void test_a_set_with_every_cell_in_use_is_full_for_a_new_key_only(void **state)
{
    (void)state;
    struct semaphore semaphore = semaphore_of(1);
    for (uint64_t key = 1; key <= SEMAPHORE_WAYS; key++) {
        assert_int_equal(acquire(&semaphore, key, 2), OUTCOME_FITS);
    }
    uint64_t count = 99;
    assert_int_equal(semaphore_check(&semaphore, 50, 2, &count), OUTCOME_FULL);
    assert_int_equal(semaphore_acquire(&semaphore, 50, 2, &count), OUTCOME_FULL);
    assert_int_equal(count, 0);
    assert_int_equal(semaphore_live(&semaphore), SEMAPHORE_WAYS);
    for (uint64_t key = 1; key <= SEMAPHORE_WAYS; key++) {
        assert_int_equal(acquire(&semaphore, key, 2), OUTCOME_FITS);
    }
    /* when one ends, its cell serves the next */
    semaphore_release(&semaphore, 3);
    assert_int_equal(acquire(&semaphore, 50, 2), OUTCOME_FULL);
    semaphore_release(&semaphore, 3);
    assert_int_equal(acquire(&semaphore, 50, 2), OUTCOME_FITS);
    assert_int_equal(held(&semaphore, 3), 0);
    for (uint64_t key = 1; key <= SEMAPHORE_WAYS; key++) {
        assert_int_equal(held(&semaphore, key), key == 3 ? 0 : 2);
    }
    semaphore_fini(&semaphore);
}

static void test_a_key_that_comes_back_finds_its_label(void **state)
{
    (void)state;
    struct semaphore semaphore = semaphore_of(1);
    (void)acquire(&semaphore, 7, 1);
    semaphore_release(&semaphore, 7);
    const uint64_t generation = semaphore.sets[0].cells[7].state;
    assert_int_equal(semaphore.sets[0].cells[7].key, 7);
    for (uint64_t key = 100; key < 115; key++) { /* fifteen others take the cells never used, not this one */
        (void)acquire(&semaphore, key, 1);
        semaphore_release(&semaphore, key);
    }
    (void)acquire(&semaphore, 7, 1);
    assert_int_equal(semaphore.sets[0].cells[7].state, generation + 1);
    semaphore_fini(&semaphore);
}

/* Labels that threads left where they were stopped: any passer-by finishes or clears them away. */
#define TENTATIVE_LABEL(generation) ((uint64_t)1 << 63 | (uint64_t)(generation) << 32)

static void test_a_label_of_a_thread_that_sleeps_is_confirmed_by_the_next(void **state)
{
    (void)state;
    struct semaphore semaphore = semaphore_of(1);
    semaphore.sets[0].cells[4].key = 7;
    semaphore.sets[0].cells[4].state = TENTATIVE_LABEL(5);
    uint64_t count;
    assert_int_equal(semaphore_check(&semaphore, 7, 1, &count), OUTCOME_FITS);
    assert_int_equal(acquire(&semaphore, 7, 1), OUTCOME_FITS);
    assert_int_equal(semaphore.sets[0].cells[4].state, (uint64_t)5 << 32 | 1);
    assert_int_equal(acquire(&semaphore, 7, 1), OUTCOME_REFUSED);
    semaphore_fini(&semaphore);
}

static void test_of_several_labels_one_is_confirmed_and_the_others_are_withdrawn(void **state)
{
    (void)state;
    struct semaphore semaphore = semaphore_of(1);
    static const size_t places[] = { 9, 12, 2 };
    for (size_t i = 0; i < 3; i++) {
        semaphore.sets[0].cells[places[i]].key = 7;
        semaphore.sets[0].cells[places[i]].state = TENTATIVE_LABEL(i);
    }
    assert_int_equal(acquire(&semaphore, 7, 1), OUTCOME_FITS);
    size_t labelled = 0;
    for (size_t i = 0; i < SEMAPHORE_WAYS; i++) {
        labelled += semaphore.sets[0].cells[i].key == 7;
        assert_true(semaphore.sets[0].cells[i].state >> 63 == 0);
    }
    assert_int_equal(labelled, 1);
    assert_int_equal(held(&semaphore, 7), 1);
    semaphore_fini(&semaphore);
}

static void test_a_generation_that_wraps_stays_a_generation(void **state)
{
    (void)state;
    struct semaphore semaphore = semaphore_of(1);
    for (size_t i = 0; i < SEMAPHORE_WAYS; i++) {
        semaphore.sets[0].cells[i].state = (uint64_t)INT32_MAX << 32;
    }
    assert_int_equal(acquire(&semaphore, 7, 1), OUTCOME_FITS);
    assert_int_equal(semaphore.sets[0].cells[7].state, 1);
    assert_int_equal(acquire(&semaphore, 7, 1), OUTCOME_REFUSED);
    semaphore_release(&semaphore, 7);
    semaphore_fini(&semaphore);
}

static void test_a_release_too_many_dies_loudly(void **state)
{
    (void)state;
    struct semaphore semaphore = semaphore_of(1);
    (void)acquire(&semaphore, 7, 1);
    semaphore_release(&semaphore, 7);
    static const uint64_t keys[] = { 7, 8 };
    for (size_t i = 0; i < 2; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            signal(SIGABRT, SIG_DFL); /* not cmocka's */
            semaphore_release(&semaphore, keys[i]);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
    semaphore_fini(&semaphore);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sixteen_cells_for_each_key_in_flight),
        cmocka_unit_test(test_slots_are_taken_up_to_the_limit_and_given_back),
        cmocka_unit_test(test_a_check_writes_nothing),
        cmocka_unit_test(test_a_set_with_every_cell_in_use_is_full_for_a_new_key_only),
        cmocka_unit_test(test_a_key_that_comes_back_finds_its_label),
        cmocka_unit_test(test_a_label_of_a_thread_that_sleeps_is_confirmed_by_the_next),
        cmocka_unit_test(test_of_several_labels_one_is_confirmed_and_the_others_are_withdrawn),
        cmocka_unit_test(test_a_generation_that_wraps_stays_a_generation),
        cmocka_unit_test(test_a_release_too_many_dies_loudly),
    };
    return cmocka_run_group_tests_name("semaphore", tests, NULL, NULL);
}
