/* deadline: the first that began is the first that is due. */
#include "deadline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct thing {
    int name;
    struct deadline deadline;
};

static int take(struct deadline_list *list, uint64_t now)
{
    struct deadline *due = deadline_take(list, now);
    return due != NULL ? DEADLINE_OWNER(due, struct thing, deadline)->name : 0;
}

static void test_things_are_due_in_the_order_they_began(void **state)
{
    (void)state;
    struct deadline_list list;
    struct thing a = { .name = 1 }, b = { .name = 2 };
    deadline_list_init(&list, 100);
    deadline_set(&list, &a.deadline, 1000);
    deadline_set(&list, &b.deadline, 1050);
    assert_int_equal(take(&list, 1099), 0);
    assert_int_equal(take(&list, 1100), 1);
    assert_int_equal(take(&list, 1100), 0);
    assert_int_equal(take(&list, 5000), 2);
    assert_int_equal(take(&list, 5000), 0);
}

static void test_setting_again_moves_it_to_the_end(void **state)
{
    (void)state;
    struct deadline_list list;
    struct thing a = { .name = 1 }, b = { .name = 2 };
    deadline_list_init(&list, 100);
    deadline_set(&list, &a.deadline, 1000);
    deadline_set(&list, &b.deadline, 1010);
    deadline_set(&list, &a.deadline, 1020);
    assert_int_equal(take(&list, 1110), 2);
    assert_int_equal(take(&list, 1110), 0);
    assert_int_equal(take(&list, 1120), 1);
}

static void test_one_deadline_changes_lists(void **state)
{
    (void)state;
    struct deadline_list heads, idles;
    struct thing a = { .name = 1 };
    deadline_list_init(&heads, 10);
    deadline_list_init(&idles, 100);
    deadline_set(&heads, &a.deadline, 0);
    deadline_set(&idles, &a.deadline, 5);
    assert_int_equal(take(&heads, 1000), 0);
    assert_int_equal(take(&idles, 104), 0);
    assert_int_equal(take(&idles, 105), 1);
}

static void test_a_cleared_one_is_never_due(void **state)
{
    (void)state;
    struct deadline_list list;
    struct thing a = { .name = 1 }, b = { .name = 2 }, c = { .name = 3 };
    deadline_list_init(&list, 1);
    deadline_set(&list, &a.deadline, 0);
    deadline_set(&list, &b.deadline, 0);
    deadline_set(&list, &c.deadline, 0);
    deadline_clear(&b.deadline);
    deadline_clear(&b.deadline); /* twice is once */
    assert_int_equal(take(&list, 1), 1);
    assert_int_equal(take(&list, 1), 3);
    assert_int_equal(take(&list, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_things_are_due_in_the_order_they_began),
        cmocka_unit_test(test_setting_again_moves_it_to_the_end),
        cmocka_unit_test(test_one_deadline_changes_lists),
        cmocka_unit_test(test_a_cleared_one_is_never_due),
    };
    return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
