/* uplink: one connection to a scripted origin: bytes both ways, its end, and what cannot be done with it. */
#include "uplink.h"

#include "origin.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    uv_loop_t loop;
    struct origin origin;
    struct uplink_home home;
    struct uplink *uplink;
    bool connected, lost, orderly;
    const char *problem;
    unsigned written;
    char said[64];
} world;

static void on_connected(struct uplink *uplink, const char *problem)
{
    assert_ptr_equal(uplink, world.uplink);
    world.connected = problem == NULL;
    world.problem = problem;
}

static void on_bytes(struct uplink *uplink, const char *data, size_t length)
{
    assert_ptr_equal(uplink, world.uplink);
    strncat(world.said, data, length);
}

static void on_lost(struct uplink *uplink, bool orderly)
{
    assert_ptr_equal(uplink, world.uplink);
    world.lost = true;
    world.orderly = orderly;
    uplink_close(&world.uplink);
}

static void on_written(struct uplink *uplink)
{
    assert_ptr_equal(uplink, world.uplink);
    world.written++;
}

static int begin(void **state)
{
    static const struct uplink_events events = {
        .on_connected = on_connected, .on_bytes = on_bytes, .on_lost = on_lost, .on_written = on_written
    };
    static const struct http_events no_events = { 0 };
    static char buffer[UPLINK_READ_SIZE];
    (void)state;
    memset(&world, 0, sizeof world);
    uv_loop_init(&world.loop);
    world.home =
        (struct uplink_home){ .loop = &world.loop, .events = &events, .http_events = &no_events, .buffer = buffer };
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (world.uplink != NULL) {
        uplink_close(&world.uplink);
    }
    origin_stop(&world.origin);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    origin_free(&world.origin);
    return uv_loop_close(&world.loop);
}

#define run_until(condition)                                                                                           \
    while (!(condition)) {                                                                                             \
        uv_run(&world.loop, UV_RUN_ONCE);                                                                              \
    }

static void open_to(const char *address, uint16_t port)
{
    struct sockaddr_in to;
    uv_ip4_addr(address, port, &to);
    world.uplink = uplink_open(&world.home, (struct sockaddr *)&to, &world.problem);
}

static void given_a_connection(const struct act *script)
{
    origin_start(&world.origin, &world.loop, script);
    open_to("127.0.0.1", world.origin.port);
    assert_non_null(world.uplink);
    assert_false(world.connected);
    run_until(world.connected);
}

static enum uplink_result write_text(const char *text)
{
    struct slice part = { text, strlen(text) };
    return uplink_write(world.uplink, &part, 1);
}

static void bytes_go_both_ways(void **state)
{
    (void)state;
    given_a_connection(SCRIPT(READ(8), SAY("and back")));
    struct slice parts[] = { SLICE("here "), { NULL, 0 }, SLICE("and") };
    assert_int_equal(uplink_write(world.uplink, parts, 3), UPLINK_WRITTEN);
    assert_int_equal(world.uplink->sent, 8);
    assert_int_equal(uplink_queued(world.uplink), 0);
    run_until(strcmp(world.said, "and back") == 0);
    assert_string_equal(world.origin.seen.bytes, "here and");
    assert_int_equal(world.written, 0); /* nothing had to wait */
}

static void what_cannot_be_written_at_once_waits_and_arrives_in_order(void **state)
{
    (void)state;
    enum { SIZE = 8 * 1024 * 1024 };
    given_a_connection(SCRIPT(DEAF));
    char *text = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        text[i] = origin_pattern(i);
    }
    struct slice parts[] = { { text, 7 }, { text + 7, SIZE - 9 }, { text + SIZE - 2, 1 } };
    assert_int_equal(uplink_write(world.uplink, parts, 3), UPLINK_WRITTEN);
    assert_in_range(uplink_queued(world.uplink), 1, SIZE);
    struct slice last = { text + SIZE - 1, 1 }; /* and does not overtake */
    assert_int_equal(uplink_write(world.uplink, &last, 1), UPLINK_WRITTEN);
    memset(text, '!', SIZE); /* it was copied */
    free(text);
    run_until(world.origin.accepted == 1 && world.origin.connections[0].deaf);
    origin_listen(&world.origin.connections[0]);
    run_until(world.origin.seen.length == SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        if (world.origin.seen.bytes[i] != origin_pattern(i)) {
            fail_msg("byte %zu", i);
        }
    }
    run_until(uplink_queued(world.uplink) == 0);
    assert_true(world.written > 8); /* told piece by piece */
}

static void a_pause_holds_what_is_said(void **state)
{
    (void)state;
    given_a_connection(SCRIPT(READ(1), SAY("hi"), READ(1), SAY("!")));
    uplink_pause(world.uplink);
    assert_int_equal(write_text("12"), UPLINK_WRITTEN);
    run_until(world.origin.seen.length == 2);
    for (int i = 0; i < 3; i++) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
    }
    assert_string_equal(world.said, "");
    uplink_resume(world.uplink);
    run_until(strcmp(world.said, "hi!") == 0);
}

static void its_end_is_told_and_how_it_ended(void **state)
{
    (void)state;
    given_a_connection(SCRIPT(SAY("bye"), CLOSE));
    run_until(world.lost);
    assert_true(world.orderly);
    assert_string_equal(world.said, "bye");
    assert_int_equal(end(state), 0);
    begin(state);
    given_a_connection(SCRIPT(READ(1), RESET));
    assert_int_equal(write_text("!"), UPLINK_WRITTEN);
    run_until(world.lost);
    assert_false(world.orderly);
}

static void a_broken_one_takes_nothing_more(void **state)
{
    (void)state;
    given_a_connection(SCRIPT(READ(1), SAY("last words"), CLOSE));
    uplink_pause(world.uplink); /* the end is not noticed by reading */
    assert_int_equal(write_text("12"), UPLINK_WRITTEN);
    run_until(world.origin.accepted == 1 && !world.origin.connections[0].open);
    uv_run(&world.loop, UV_RUN_NOWAIT); /* closed */
    enum uplink_result result = UPLINK_WRITTEN;
    while (result == UPLINK_WRITTEN) { /* the first one provokes the reset */
        result = write_text("3");
    }
    assert_int_equal(result, UPLINK_BROKEN);
    assert_true(world.uplink->broken);
    assert_int_equal(write_text("4"), UPLINK_BROKEN);
    uplink_resume(world.uplink);
    run_until(world.lost);
}

static void pieces_that_wait_when_it_breaks_are_told(void **state)
{
    (void)state;
    static char text[8 * 1024 * 1024];
    struct slice part = { text, sizeof text };
    given_a_connection(SCRIPT(DEAF, CLOSE));
    uplink_pause(world.uplink);
    assert_int_equal(uplink_write(world.uplink, &part, 1), UPLINK_WRITTEN);
    run_until(world.uplink->broken);
    assert_int_equal(uplink_write(world.uplink, &part, 1), UPLINK_BROKEN);
}

static void what_cannot_be_reached_is_told(void **state)
{
    (void)state;
    origin_start(&world.origin, &world.loop, SCRIPT(DEAF));
    origin_refuse(&world.origin);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    open_to("127.0.0.1", world.origin.port);
    run_until(world.problem != NULL);
    assert_string_equal(world.problem, "the upstream refused the connection");
    uplink_close(&world.uplink);
    world.problem = NULL;
    open_to("255.255.255.255", 80); /* no system lets a stream be broadcast */
    assert_null(world.uplink);
    assert_non_null(world.problem);
}

static void a_socket_in_the_file_system_is_connected_to_like_any_other(void **state)
{
    (void)state;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/weir-uplink-%d.sock", (int)getpid());
    const struct sockaddr *to = (const struct sockaddr *)&address;
    world.uplink = uplink_open(&world.home, to, &world.problem);
    run_until(world.problem != NULL);
    assert_string_equal(world.problem, "the upstream's socket does not exist");
    uplink_close(&world.uplink);
    world.problem = NULL;
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, to, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    world.uplink = uplink_open(&world.home, to, &world.problem);
    run_until(world.connected);
    assert_int_equal(write_text("hello"), UPLINK_WRITTEN);
    char heard[5];
    int peer = accept(listener, NULL, NULL);
    assert_int_equal(read(peer, heard, 5), 5);
    assert_memory_equal(heard, "hello", 5);
    assert_int_equal(write(peer, "and back", 8), 8);
    run_until(strcmp(world.said, "and back") == 0);
    uplink_close(&world.uplink);
    world.uplink = uplink_open(&world.home, to, &world.problem);
    uplink_close(&world.uplink); /* before it is connected */
    close(peer);
    close(listener);
    unlink(address.sun_path);
}

static void it_may_be_closed_before_it_is_connected(void **state)
{
    (void)state;
    origin_start(&world.origin, &world.loop, SCRIPT(SAY("hi")));
    open_to("127.0.0.1", world.origin.port);
    uplink_close(&world.uplink);
    assert_null(world.uplink);
    run_until(world.origin.accepted == 1);
    assert_false(world.connected);
    assert_string_equal(world.said, "");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_go_both_ways, begin, end),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_at_once_waits_and_arrives_in_order, begin, end),
        cmocka_unit_test_setup_teardown(a_pause_holds_what_is_said, begin, end),
        cmocka_unit_test_setup_teardown(its_end_is_told_and_how_it_ended, begin, end),
        cmocka_unit_test_setup_teardown(a_broken_one_takes_nothing_more, begin, end),
        cmocka_unit_test_setup_teardown(pieces_that_wait_when_it_breaks_are_told, begin, end),
        cmocka_unit_test_setup_teardown(what_cannot_be_reached_is_told, begin, end),
        cmocka_unit_test_setup_teardown(a_socket_in_the_file_system_is_connected_to_like_any_other, begin, end),
        cmocka_unit_test_setup_teardown(it_may_be_closed_before_it_is_connected, begin, end),
    };
    return cmocka_run_group_tests_name("uplink", tests, NULL, NULL);
}
