/* list: order, and what leaving and moving leave behind. */
#include "list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    int number;
    struct list link;
};

static int take_number(struct list *list)
{
    struct list *link = list_take(list);
    return link != NULL ? LIST_OWNER(link, struct item, link)->number : 0;
}

static void members_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct list list;
    struct item items[] = { { .number = 1 }, { .number = 2 }, { .number = 3 }, { .number = 4 } };
    list_init(&list);
    assert_true(list_is_empty(&list));
    list_append(&list, &items[1].link);
    list_append(&list, &items[2].link);
    list_prepend(&list, &items[0].link);
    list_append(&list, &items[3].link);
    assert_true(list_is_member(&items[2].link));
    list_leave(&items[2].link);
    assert_false(list_is_member(&items[2].link));
    list_leave(&items[2].link); /* again: nothing */
    assert_int_equal(take_number(&list), 1);
    assert_int_equal(take_number(&list), 2);
    assert_int_equal(take_number(&list), 4);
    assert_int_equal(take_number(&list), 0);
    assert_true(list_is_empty(&list));
}

static void a_list_moves_as_a_whole(void **state)
{
    (void)state;
    struct list from, to;
    struct item items[] = { { .number = 1 }, { .number = 2 } };
    list_init(&from);
    list_move(&to, &from); /* of nothing */
    assert_true(list_is_empty(&to));
    list_append(&from, &items[0].link);
    list_append(&from, &items[1].link);
    list_move(&to, &from);
    assert_true(list_is_empty(&from));
    list_leave(&items[0].link); /* whoever leaves need not know where it is */
    assert_int_equal(take_number(&to), 2);
    assert_true(list_is_empty(&to));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_come_out_in_the_order_they_went_in),
        cmocka_unit_test(a_list_moves_as_a_whole),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
