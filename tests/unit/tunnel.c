/* tunnel: one end of a pair of sockets is the tunnel's, the other the client's, whom the test plays. */
#include "tunnel.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#define MUCH (4 * 1024 * 1024) /* more than any socket takes */

static struct {
    uv_loop_t loop;
    int ours, client;
    struct tunnel *tunnel;
    char said[64];      /* by the client, as told */
    size_t said_length; /* all of it */
    bool said_end, over, close_when_over, pause_when_told;
    size_t to_send, sent; /* bytes of the pattern that on_pull has left; that were sent */
    long then;            /* what on_pull answers when they are gone */
    size_t pulls;
} world;

static void on_bytes(void *user, const char *data, size_t length)
{
    assert_ptr_equal(user, &world);
    if (world.said_length + length < sizeof world.said) {
        memcpy(world.said + world.said_length, data, length);
    }
    world.said_length += length;
    if (world.pause_when_told) {
        tunnel_pause(world.tunnel);
    }
}

static void on_bytes_end(void *user)
{
    (void)user;
    assert_false(world.said_end);
    world.said_end = true;
}

static long on_pull(void *user, char *out, size_t size)
{
    (void)user;
    assert_false(world.over);
    world.pulls++;
    size_t count = world.to_send < size ? world.to_send : size;
    memset(out, 'p', count);
    world.to_send -= count;
    return count > 0 ? (long)count : world.then;
}

static void on_sent(void *user, size_t length)
{
    (void)user;
    world.sent += length;
}

static void on_over(void *user)
{
    (void)user;
    assert_false(world.over);
    world.over = true;
    if (world.close_when_over) {
        tunnel_close(&world.tunnel);
    }
}

static const struct tunnel_events events = {
    .on_bytes = on_bytes, .on_bytes_end = on_bytes_end, .on_pull = on_pull, .on_sent = on_sent, .on_over = on_over
};

static int begin(void **state)
{
    int pair[2];
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    memset(&world, 0, sizeof world);
    uv_loop_init(&world.loop);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) {
        return -1;
    }
    world.ours = pair[0];
    world.client = pair[1];
    world.tunnel = tunnel_open(&world.loop, world.ours, &events, &world);
    return world.tunnel != NULL ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    if (world.tunnel != NULL) {
        tunnel_close(&world.tunnel);
    }
    close(world.ours);
    if (world.client >= 0) {
        close(world.client);
    }
    uv_run(&world.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&world.loop);
}

#define run_until(condition)                                                                                           \
    while (!(condition)) {                                                                                             \
        uv_run(&world.loop, UV_RUN_ONCE);                                                                              \
    }

static void run_a_little(void)
{
    for (int i = 0; i < 20; i++) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
    }
}

static void client_says(const char *text)
{
    assert_int_equal(write(world.client, text, strlen(text)), strlen(text));
}

/* All that is there now; -1 at the end. */
static ssize_t client_reads(void)
{
    char bytes[4096];
    ssize_t all = 0, got;
    while ((got = read(world.client, bytes, sizeof bytes)) > 0) {
        all += got;
    }
    return got == 0 && all == 0 ? -1 : all;
}

static void client_leaves(void)
{
    close(world.client);
    world.client = -1;
}

static void what_the_client_says_is_told(void **state)
{
    (void)state;
    client_says("hello");
    run_until(world.said_length == 5);
    assert_string_equal(world.said, "hello");
}

static void what_is_fed_is_sent(void **state)
{
    (void)state;
    world.to_send = 100;
    tunnel_feed(world.tunnel);
    assert_int_equal(client_reads(), 100); /* at once, not when the loop runs */
    assert_int_equal(world.sent, 100);
}

static void no_more_is_pulled_than_the_client_takes(void **state)
{
    (void)state;
    world.to_send = MUCH;
    tunnel_feed(world.tunnel);
    run_a_little();
    assert_true(world.to_send > 0);
    assert_true(MUCH - world.to_send - world.sent <= TUNNEL_BLOCK); /* waits in the tunnel */
    size_t pulls = world.pulls;
    tunnel_feed(world.tunnel); /* changes nothing while something waits */
    run_a_little();
    assert_int_equal(world.pulls, pulls);
    size_t got = 0;
    while (got < MUCH) {
        ssize_t some = client_reads();
        assert_true(some >= 0);
        got += (size_t)some;
        uv_run(&world.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(world.sent, MUCH);
}

static void a_paused_tunnel_is_not_read(void **state)
{
    (void)state;
    world.pause_when_told = true;
    client_says("one");
    run_until(world.said_length == 3);
    client_says("two");
    run_a_little();
    assert_int_equal(world.said_length, 3);
    tunnel_resume(world.tunnel);
    run_until(world.said_length == 6);
    assert_string_equal(world.said, "onetwo");
}

static void each_way_has_its_own_end(void **state)
{
    (void)state;
    shutdown(world.client, SHUT_WR);
    run_until(world.said_end);
    assert_false(world.over);
    world.to_send = 10;
    world.then = TUNNEL_ENDED;
    tunnel_feed(world.tunnel);
    assert_true(world.over);
    assert_int_equal(client_reads(), 10);
    assert_int_equal(client_reads(), -1);
}

static void a_client_may_speak_after_it_was_told_the_end(void **state)
{
    (void)state;
    world.then = TUNNEL_ENDED;
    tunnel_feed(world.tunnel);
    assert_int_equal(client_reads(), -1);
    client_says("last words");
    client_leaves();
    run_until(world.over);
    assert_string_equal(world.said, "last words");
    assert_true(world.said_end);
}

static void a_broken_source_ends_it_at_once(void **state)
{
    (void)state;
    world.then = TUNNEL_BROKEN;
    world.close_when_over = true;
    tunnel_feed(world.tunnel);
    assert_true(world.over);
    assert_null(world.tunnel);
}

static void a_client_that_cannot_be_written_to_ends_it(void **state)
{
    (void)state;
    client_leaves();
    world.to_send = 1;
    world.close_when_over = true;
    tunnel_feed(world.tunnel);
    assert_true(world.over);
    assert_false(world.said_end);
}

static void a_client_that_leaves_while_it_is_not_read_costs_no_turns(void **state)
{
    (void)state;
    tunnel_pause(world.tunnel);
    shutdown(world.client, SHUT_WR);
    run_a_little();
    assert_false(world.said_end);
    assert_false(uv_loop_alive(&world.loop)); /* nothing is watched any more */
    tunnel_resume(world.tunnel);
    run_until(world.said_end);
}

static void a_closed_tunnel_tells_nothing(void **state)
{
    (void)state;
    client_says("hello");
    tunnel_close(&world.tunnel);
    assert_null(world.tunnel);
    run_a_little();
    assert_int_equal(world.said_length, 0);
    assert_true(fcntl(world.ours, F_GETFD) >= 0); /* the socket is the caller's */
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, finish)
    const struct CMUnitTest tests[] = {
        STORY(what_the_client_says_is_told),
        STORY(what_is_fed_is_sent),
        STORY(no_more_is_pulled_than_the_client_takes),
        STORY(a_paused_tunnel_is_not_read),
        STORY(each_way_has_its_own_end),
        STORY(a_client_may_speak_after_it_was_told_the_end),
        STORY(a_broken_source_ends_it_at_once),
        STORY(a_client_that_cannot_be_written_to_ends_it),
        STORY(a_client_that_leaves_while_it_is_not_read_costs_no_turns),
        STORY(a_closed_tunnel_tells_nothing),
    };
    return cmocka_run_group_tests_name("tunnel", tests, NULL, NULL);
}
