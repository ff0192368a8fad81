/* arena: pieces, and what happens when there is none. */
#include "arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void pieces_are_zeroed_and_released_together(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    for (size_t size = 0; size < 100; size++) {
        unsigned char *piece = arena_take(&arena, size, 3);
        assert_int_equal((uintptr_t)piece % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < 3 * size; i++) {
            assert_int_equal(piece[i], 0);
        }
        memset(piece, 0xff, 3 * size);
    }
    assert_string_equal(arena_copy(&arena, "abcdef", 3), "abc");
    assert_string_equal(arena_print(&arena, "%s-%d", "x", 42), "x-42");
    arena_release(&arena);
    assert_null(arena.pieces);
    arena_release(&arena);
}

/* What jumps and what is jumped to are in different frames, as in config.c. */
static void take_too_much(struct arena *arena, size_t count, size_t size)
{
    (void)arena_take(arena, 10, 10);
    (void)arena_take(arena, count, size);
}

static bool jumps(struct arena *arena, size_t count, size_t size)
{
    jmp_buf short_of_memory;
    arena->short_of_memory = &short_of_memory;
    if (setjmp(short_of_memory) != 0) {
        return true;
    }
    take_too_much(arena, count, size);
    return false;
}

static void running_short_of_memory_jumps_to_the_owner(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    assert_true(jumps(&arena, SIZE_MAX / 2, 3));
    assert_true(jumps(&arena, SIZE_MAX, 1));
    assert_false(jumps(&arena, 1, 1));
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_zeroed_and_released_together),
        cmocka_unit_test(running_short_of_memory_jumps_to_the_owner),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
