/* ring: bytes from one thread to another, whole pieces in order. */
#include "ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Everything that is there, as a string. */
static const char *content(const struct ring *ring)
{
    static char out[128];
    struct slice pieces[2];
    size_t length = ring_peek(ring, pieces);
    assert_int_equal(length, pieces[0].length + pieces[1].length);
    memcpy(out, pieces[0].at, pieces[0].length);
    memcpy(out + pieces[0].length, pieces[1].at, pieces[1].length);
    out[length] = 0;
    return out;
}

static void pieces_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct ring ring;
    assert_true(ring_init(&ring, 16));
    assert_string_equal(content(&ring), "");
    assert_true(ring_put(&ring, "hello ", 6));
    assert_true(ring_put(&ring, "world", 5));
    assert_string_equal(content(&ring), "hello world");
    ring_take(&ring, 6);
    assert_string_equal(content(&ring), "world");
    assert_true(ring_put(&ring, "-round-it-", 10)); /* over the end of the memory */
    assert_string_equal(content(&ring), "world-round-it-");
    ring_take(&ring, 15);
    assert_string_equal(content(&ring), "");
    ring_fini(&ring);
}

static void what_does_not_fit_is_refused_whole(void **state)
{
    (void)state;
    struct ring ring;
    assert_true(ring_init(&ring, 8));
    assert_false(ring_put(&ring, "ninebytes", 9));
    assert_true(ring_put(&ring, "12345", 5));
    assert_false(ring_put(&ring, "6789", 4));
    assert_true(ring_put(&ring, "678", 3));
    assert_false(ring_put(&ring, "9", 1));
    assert_string_equal(content(&ring), "12345678");
    ring_take(&ring, 1);
    assert_true(ring_put(&ring, "9", 1));
    assert_string_equal(content(&ring), "23456789");
    ring_fini(&ring);
}

#define PIECES 50000

static void *put_numbers(void *argument)
{
    for (int i = 0; i < PIECES; i++) {
        char piece[16];
        int length = snprintf(piece, sizeof piece, "%d\n", i);
        while (!ring_put(argument, piece, (size_t)length)) {
            sched_yield();
        }
    }
    return NULL;
}

static void two_threads_lose_and_mix_nothing(void **state)
{
    (void)state;
    struct ring *ring = aligned_alloc(64, sizeof *ring);
    assert_true(ring_init(ring, 256));
    pthread_t writer;
    pthread_create(&writer, NULL, put_numbers, ring);
    int expected = 0, number = 0;
    while (expected < PIECES) {
        struct slice pieces[2];
        size_t length = ring_peek(ring, pieces);
        for (size_t i = 0; i < length; i++) {
            char byte = i < pieces[0].length ? pieces[0].at[i] : pieces[1].at[i - pieces[0].length];
            if (byte == '\n') {
                assert_int_equal(number, expected);
                expected++;
                number = 0;
            } else {
                number = number * 10 + (byte - '0');
            }
        }
        assert_true(length == 0 || number == 0); /* never half a piece */
        ring_take(ring, length);
        if (length == 0) {
            sched_yield();
        }
    }
    pthread_join(writer, NULL);
    ring_fini(ring);
    free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_come_out_in_the_order_they_went_in),
        cmocka_unit_test(what_does_not_fit_is_refused_whole),
        cmocka_unit_test(two_threads_lose_and_mix_nothing),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
