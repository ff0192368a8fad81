/* upstream: calls against real sockets on 127.0.0.1, with a scripted origin on the same loop. */
#include "upstream.h"

#include "origin.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
/* after the four it needs */
#include <cmocka.h>

#define MS          1000000ull
#define PATIENCE_MS 20000 /* of a test that waits for what does not come; generous: sanitizers, busy machines */

#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

#define SERVERS 4

/* The world: a loop, up to four origins, one upstream over them, a worker or two. */

static struct world {
    uv_loop_t loop;
    struct origin origins[SERVERS];
    struct config_server servers[SERVERS];
    char urls[SERVERS][64];
    struct config_upstream upstream;
    struct config config;
    struct upstream_shared *shared;
    struct upstreams *upstreams, *others;
    uv_timer_t patience, wait;
    bool out_of_patience;
    bool inside; /* one of our own calls: no event may come now */
} world;

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    world.out_of_patience = true;
}

static int begin(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    uv_loop_init(&world.loop);
    uv_timer_init(&world.loop, &world.patience);
    uv_timer_init(&world.loop, &world.wait);
    uv_timer_start(&world.patience, on_patience, PATIENCE_MS, 0);
    world.upstream = (struct config_upstream){ .name = (char *)(uintptr_t) "api",
                                               .servers = world.servers,
                                               .retries = 1,
                                               .connections = 8,
                                               .connect_ns = 60000 * MS,
                                               .response_ns = 60000 * MS,
                                               .idle_ns = 60000 * MS };
    world.config = (struct config){ .upstreams = &world.upstream, .upstream_count = 1 };
    return 0;
}

static void add_server(const char *host, uint16_t port)
{
    size_t i = world.upstream.server_count++;
    struct config_server *server = &world.servers[i];
    snprintf(world.urls[i], sizeof world.urls[i], "http://%s:%u", host, port);
    server->text = world.urls[i];
    snprintf(server->url.host, sizeof server->url.host, "%s", host);
    server->url.port = port;
    server->weight = 1;
}

static struct origin *given_an_origin(const struct act *script)
{
    struct origin *origin = &world.origins[world.upstream.server_count];
    origin_start(origin, &world.loop, script);
    add_server("127.0.0.1", origin->port);
    return origin;
}

/* A port nobody listens on. */
static void given_a_dead_server(void)
{
    origin_refuse(given_an_origin(SCRIPT(HEAD)));
}

static void given_a_worker(void)
{
    world.shared = upstream_shared_create(&world.config);
    world.upstreams = upstreams_create(&world.loop, &world.config, world.shared);
    assert_non_null(world.upstreams);
}

static int end(void **state)
{
    (void)state;
    if (world.upstreams != NULL) {
        upstreams_destroy(&world.upstreams);
    }
    if (world.others != NULL) {
        upstreams_destroy(&world.others);
    }
    if (world.shared != NULL) {
        upstream_shared_destroy(&world.shared);
    }
    for (size_t i = 0; i < SERVERS; i++) {
        origin_stop(&world.origins[i]);
    }
    uv_close((uv_handle_t *)&world.patience, NULL);
    uv_close((uv_handle_t *)&world.wait, NULL);
    int alive = uv_run(&world.loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < SERVERS; i++) {
        origin_free(&world.origins[i]);
    }
    return alive != 0 || uv_loop_close(&world.loop) != 0; /* nothing is left open */
}

static void turn(void)
{
    assert_false(world.out_of_patience);
    uv_run(&world.loop, UV_RUN_ONCE);
}

#define run_until(condition)                                                                                           \
    while (!(condition)) {                                                                                             \
        turn();                                                                                                        \
    }

static void on_waited(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void run_for(uint64_t ms)
{
    bool waited = false;
    world.wait.data = &waited;
    uv_timer_start(&world.wait, on_waited, ms, 0);
    run_until(waited);
}

/* A call and what was told of it. */

struct probe {
    struct upstream_call *call;
    char story[256]; /* "head 200, body, end" */
    char text[256];  /* the first bytes of the body */
    size_t bytes;    /* of the body */
    bool right;      /* all of them were the pattern's */
    struct http_head head;
    enum upstream_failure failure;
    const char *detail;
    bool over, writable;
    void (*then)(struct probe *probe, const char *event); /* what the owner does about it, from within */
};

static void tell(struct probe *p, const char *event)
{
    assert_false(world.inside);
    size_t length = strlen(p->story);
    size_t same = strlen(event);
    if (length < same || strcmp(p->story + length - same, event) != 0) { /* once is enough for a row of the same */
        snprintf(p->story + length, sizeof p->story - length, "%s%s", length > 0 ? ", " : "", event);
    }
    if (p->then != NULL) {
        p->then(p, event);
    }
}

static void on_writable(void *user)
{
    struct probe *p = user;
    p->writable = true;
    tell(p, "writable");
}

static void on_head(void *user, const struct http_head *head)
{
    struct probe *p = user;
    char event[32];
    p->head = *head;
    snprintf(event, sizeof event, "head %u", head->status);
    tell(p, event);
}

static void on_body(void *user, const char *data, size_t length)
{
    struct probe *p = user;
    for (size_t i = 0; i < length; i++) {
        if (p->bytes + i < sizeof p->text - 1) {
            p->text[p->bytes + i] = data[i];
        }
        p->right = p->right && data[i] == origin_pattern(p->bytes + i);
    }
    p->bytes += length;
    tell(p, "body");
}

static void on_end(void *user)
{
    struct probe *p = user;
    p->over = true;
    tell(p, "end");
    p->call = NULL;
}

static void on_fail(void *user, enum upstream_failure failure, const char *detail)
{
    static const char *const names[] = {
        "connect", "connect timeout", "busy", "response timeout", "closed", "protocol"
    };
    struct probe *p = user;
    char event[32];
    p->over = true;
    p->failure = failure;
    p->detail = detail;
    snprintf(event, sizeof event, "fail %s", names[failure]);
    tell(p, event);
    p->call = NULL;
}

static const struct upstream_events probe_events = {
    .on_writable = on_writable, .on_head = on_head, .on_body = on_body, .on_end = on_end, .on_fail = on_fail
};

static void start_with(struct probe *p, struct upstreams *upstreams, struct upstream_request request)
{
    bool inside = world.inside; /* also from within an event */
    memset(p->story, 0, sizeof p->story);
    memset(p->text, 0, sizeof p->text);
    p->bytes = 0;
    p->right = true;
    p->over = p->writable = false;
    uv_update_time(&world.loop); /* as after a wait: a test's own work is not the origin's delay */
    world.inside = true;
    p->call = upstream_start(upstreams, &request, &probe_events, p);
    world.inside = inside;
    assert_non_null(p->call);
}

static struct upstream_request get(void)
{
    return (struct upstream_request){ .head = SLICE("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), .idempotent = true };
}

static struct upstream_request post(uint64_t length)
{
    static char head[128];
    int size = snprintf(head, sizeof head, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %llu\r\n\r\n",
                        (unsigned long long)length);
    return (
        struct upstream_request){ .head = { head, (size_t)size }, .body = REQUEST_LENGTH, .content_length = length };
}

static struct upstream_request post_chunked(void)
{
    return (struct upstream_request){ .head = SLICE("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
                                      .body = REQUEST_CHUNKED };
}

static void start(struct probe *p, struct upstream_request request)
{
    start_with(p, world.upstreams, request);
}

static bool give(struct probe *p, const char *data, size_t length)
{
    bool inside = world.inside;
    world.inside = true;
    bool more = upstream_send(p->call, data, length);
    world.inside = inside;
    return more;
}

static void finish(struct probe *p)
{
    world.inside = true;
    upstream_finish(p->call);
    world.inside = false;
}

static void cancel(struct probe *p)
{
    bool inside = world.inside;
    world.inside = true;
    upstream_cancel(&p->call);
    world.inside = inside;
    assert_null(p->call);
}

static void get_and_wait(struct probe *p)
{
    start(p, get());
    run_until(p->over);
}

static struct upstream_usage usage(void)
{
    return upstream_usage(world.upstreams, 0);
}

/* Plain. */

static void a_get_is_answered(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY(OK_HI)));
    given_a_worker();
    get_and_wait(&p);
    assert_string_equal(p.story, "head 200, body, end");
    assert_string_equal(p.text, "hi");
    assert_string_equal(world.origins[0].seen.bytes, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
}

static void a_kept_connection_is_used_again(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    given_a_worker();
    for (int i = 0; i < 5; i++) {
        get_and_wait(&p);
        assert_string_equal(p.story, "head 200, body, end");
    }
    assert_int_equal(origin->accepted, 1);
    assert_int_equal(usage().connects, 1);
    assert_int_equal(usage().reused, 4);
    assert_int_equal(usage().idle, 1);
    assert_int_equal(usage().active, 0);
}

static void a_head_request_has_no_body_to_wait_for(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"), AGAIN));
    given_a_worker();
    struct upstream_request request = get();
    request.head_method = true;
    for (int i = 0; i < 2; i++) {
        start(&p, request);
        run_until(p.over);
        assert_string_equal(p.story, "head 200, end");
        assert_int_equal(p.head.content_length, 99);
    }
    assert_int_equal(usage().connects, 1);
}

static void responses_that_forbid_it_leave_no_connection_behind(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", /* it says so */
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",                      /* it is too old to say otherwise */
        OK_HI "!",                                                             /* it has said more than it should */
        OK_HI "\r\n",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct probe p = { 0 };
        struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(answers[i])));
        given_a_worker();
        get_and_wait(&p);
        assert_string_equal(p.story, "head 200, body, end");
        assert_string_equal(p.text, "hi");
        assert_int_equal(usage().idle, 0);
        assert_int_equal(usage().active, 0);
        run_until(origin_connected(origin) == 0);
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

static void a_body_may_end_with_the_connection(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\n\r\nhello"), CLOSE));
    given_a_worker();
    get_and_wait(&p);
    assert_string_equal(p.story, "head 200, body, end");
    assert_string_equal(p.text, "hello");
    assert_int_equal(usage().idle, 0);
}

static void say_it_again(struct probe *p, const char *event)
{
    if (strcmp(event, "end") == 0 && usage().reused < 3) {
        start(p, get());
    }
}

static void the_next_request_may_start_where_the_last_one_is_told_to_end(void **state)
{
    (void)state;
    struct probe p = { .then = say_it_again };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    given_a_worker();
    start(&p, get());
    run_until(usage().idle == 1 && usage().reused == 3);
    assert_int_equal(origin->heads, 4);
    assert_int_equal(origin->accepted, 1);
}

/* Kept connections. */

static void a_kept_connection_that_the_origin_ends_is_dropped(void **state)
{
    (void)state;
    const struct act *const scripts[] = {
        SCRIPT(HEAD, SAY(OK_HI), CLOSE),
        SCRIPT(HEAD, SAY(OK_HI), RESET),
    };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct probe p = { 0 };
        struct origin *origin = given_an_origin(scripts[i]);
        given_a_worker();
        get_and_wait(&p);
        run_until(usage().idle == 0);
        get_and_wait(&p);
        assert_string_equal(p.story, "head 200, body, end");
        assert_int_equal(origin->accepted, 2);
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

static void a_kept_connection_that_speaks_unasked_is_dropped(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI)));
    given_a_worker();
    get_and_wait(&p);
    assert_int_equal(usage().idle, 1);
    origin_say(&origin->connections[0], "HTTP/1.1 408 Request Timeout\r\n\r\n", 32);
    run_until(usage().idle == 0);
    run_until(origin_connected(origin) == 0);
}

static void a_kept_connection_that_nobody_needs_is_closed(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    world.upstream.idle_ns = 30 * MS;
    given_a_worker();
    get_and_wait(&p);
    assert_int_equal(usage().idle, 1);
    run_until(origin_connected(origin) == 0);
    assert_int_equal(usage().idle, 0);
}

static void a_stale_connection_costs_an_idempotent_request_nothing(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), HEAD, CLOSE));
    origin_then(origin, SCRIPT(HEAD, SAY(OK_HI)));
    given_a_worker();
    get_and_wait(&p);
    get_and_wait(&p);
    assert_string_equal(p.story, "head 200, body, end");
    assert_int_equal(origin->heads, 3); /* the second came twice */
    assert_int_equal(origin->accepted, 2);
}

static void a_stale_connection_is_excused_once(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), HEAD, CLOSE));
    origin_then(origin, SCRIPT(HEAD, CLOSE));
    given_a_worker();
    get_and_wait(&p);
    get_and_wait(&p);
    assert_string_equal(p.story, "fail closed");
    assert_int_equal(origin->heads, 3);
}

static void a_new_connection_is_not_excused(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, CLOSE));
    given_a_worker();
    get_and_wait(&p);
    assert_string_equal(p.story, "fail closed");
    assert_int_equal(origin->heads, 1);
    assert_string_equal(p.detail, "the connection ended before a response");
}

static void a_post_that_may_have_arrived_is_never_sent_twice(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), HEAD, CLOSE));
    given_a_worker();
    get_and_wait(&p);
    start(&p, post(2));
    assert_true(give(&p, "ab", 2));
    finish(&p);
    run_until(p.over);
    assert_string_equal(p.story, "fail closed");
    assert_int_equal(origin->heads, 2);
    /* nor a PUT whose body has begun: it is gone */
    get_and_wait(&p);
    struct upstream_request put = post(2);
    put.idempotent = true;
    start(&p, put);
    assert_true(give(&p, "a", 1));
    run_until(p.over);
    assert_string_equal(p.story, "fail closed");
}

static void what_was_begun_is_not_begun_again(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), HEAD, SAY("HTTP/1.1 200"), CLOSE));
    given_a_worker();
    get_and_wait(&p);
    get_and_wait(&p);
    assert_string_equal(p.story, "fail closed");
    assert_int_equal(origin->heads, 2);
}

/* A write fails only on a connection that is known to be dead before the loop hears of it: the origin resets it
 * behind the loop's back. */
static void reset_behind_the_loop(struct origin *origin)
{
    struct linger linger = { .l_onoff = 1 };
    uv_os_fd_t fd;
    uv_fileno((uv_handle_t *)&origin->connections[0].tcp, &fd);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    int dead = socket(AF_INET, SOCK_STREAM, 0);
    dup2(dead, fd); /* closes the connection: a reset goes out */
    close(dead);
}

static void a_post_of_which_nothing_was_sent_goes_out_again(void **state)
{
    (void)state;
    for (int chunked = 0; chunked < 2; chunked++) {
        struct probe p = { 0 };
        struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI)));
        origin_then(origin, SCRIPT(HEAD, READ(2), SAY(OK_HI)));
        given_a_worker();
        get_and_wait(&p);
        reset_behind_the_loop(origin);
        start(&p, chunked ? post_chunked() : post(2));
        assert_true(give(&p, "ab", 2));
        finish(&p);
        run_until(p.over);
        assert_string_equal(p.story, "head 200, body, end");
        assert_int_equal(origin->accepted, 2);
        assert_string_equal(origin->seen.bytes + origin->seen.length - (chunked ? 12 : 6),
                            chunked ? "2\r\nab\r\n0\r\n\r\n" : "\r\n\r\nab");
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

/* Failures. */

static void a_dead_server_refuses(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_a_dead_server();
    given_a_worker();
    get_and_wait(&p);
    assert_string_equal(p.story, "fail connect");
    assert_string_equal(p.detail, "the upstream refused the connection");
}

static void nothing_is_sent_in_the_clear_to_a_server_that_wants_tls(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI)));
    world.servers[0].url.tls = true;
    given_a_worker();
    get_and_wait(&p);
    assert_string_equal(p.story, "fail connect");
    assert_int_equal(origin->accepted, 0);
}

static void another_server_is_tried(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_a_dead_server();
    given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")));
    given_a_worker();
    for (int i = 0; i < 12; i++) {
        get_and_wait(&p);
        assert_string_equal(p.story, "head 200, body, end");
    }
    assert_int_equal(usage().connects, 12);
    assert_int_equal(usage().failures, 0);
}

static void as_many_others_are_tried_as_retries_say(void **state)
{
    (void)state;
    static const struct {
        unsigned retries;
        const char *story;
    } cases[] = {
        { 0, "fail connect" }, { 2, "fail connect" }, { 3, "head 200, body, end" }, { 9, "head 200, body, end" }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct probe p = { 0 };
        for (int dead = 1; dead < SERVERS; dead++) {
            given_a_dead_server();
        }
        given_an_origin(SCRIPT(HEAD, READ(2), SAY(OK_HI)));
        world.upstream.retries = cases[i].retries;
        world.upstream.balance = CONFIG_BALANCE_ROUND_ROBIN;
        for (size_t dead = 0; dead < SERVERS - 1; dead++) {
            world.servers[dead].weight = 1000; /* the one that lives is the last choice */
        }
        given_a_worker();
        start(&p, post(2));
        assert_true(give(&p, "ab", 2));
        finish(&p);
        run_until(p.over);
        assert_string_equal(p.story, cases[i].story);
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

static void two_dead_servers_are_one_failure(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_a_dead_server();
    given_a_dead_server();
    given_a_worker();
    for (int i = 0; i < 10; i++) { /* and are tried even when both are known to be down */
        get_and_wait(&p);
        assert_string_equal(p.story, "fail connect");
    }
    assert_int_equal(usage().failures, 10);
    assert_int_equal(usage().connects, 0);
}

/* On Linux a listener whose backlog is full answers no more SYNs. */
static void an_origin_that_does_not_accept_is_given_the_connect_timeout(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fillers[4];
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 0), 0);
    getsockname(listener, (struct sockaddr *)&address, &length);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, length);
    }
    add_server("127.0.0.1", ntohs(address.sin_port));
    world.upstream.connect_ns = 40 * MS;
    given_a_worker();
    uint64_t begun = uv_hrtime();
    get_and_wait(&p);
    assert_string_equal(p.story, "fail connect timeout");
    assert_true(uv_hrtime() - begun >= 39 * MS);
    assert_int_equal(usage().active, 0);
    for (int i = 0; i < 4; i++) {
        close(fillers[i]);
    }
    close(listener);
}

static void an_origin_that_does_not_answer_is_given_the_response_timeout(void **state)
{
    (void)state;
    static const char *const said[] = { "", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello" };
    static const char *const stories[] = { "fail response timeout", "head 200, body, fail response timeout" };
    for (size_t i = 0; i < 2; i++) {
        struct probe p = { 0 };
        given_an_origin(SCRIPT(HEAD, SAY(said[i])));
        world.upstream.response_ns = 100 * MS;
        given_a_worker();
        uint64_t begun = uv_hrtime();
        get_and_wait(&p);
        assert_string_equal(p.story, stories[i]);
        assert_true(uv_hrtime() - begun >= 99 * MS);
        assert_int_equal(usage().active, 0);
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

static void each_read_gives_it_more_time(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")));
    world.upstream.response_ns = 150 * MS;
    given_a_worker();
    start(&p, get());
    run_until(p.head.status == 200);
    for (size_t i = 0; i < 8; i++) { /* 240 ms in all */
        run_for(30);
        origin_say(&origin->connections[0], "x", 1);
    }
    run_until(p.over);
    assert_string_equal(p.story, "head 200, body, end");
}

static void a_response_cut_short_is_never_taken_for_complete(void **state)
{
    (void)state;
    const struct act *const scripts[] = {
        SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), CLOSE),
        SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), CLOSE),
        SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), READ(1), RESET),
        SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\n\r\nhello"), READ(1), RESET), /* only an orderly end ends that body */
    };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct probe p = { 0 };
        given_an_origin(scripts[i]);
        given_a_worker();
        start(&p, i < 2 ? get() : post_chunked());
        run_until(p.bytes == 5 || p.over || i >= 2);
        if (i >= 2) { /* the body's first byte makes the origin reset */
            run_until(p.bytes == 5);
            (void)give(&p, "!", 1);
        }
        run_until(p.over);
        assert_string_equal(p.story, "head 200, body, fail closed");
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

static void a_broken_response_is_told_as_such(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct probe p = { 0 };
        struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(answers[i])));
        given_a_worker();
        get_and_wait(&p);
        assert_string_equal(p.story, "fail protocol");
        run_until(origin_connected(origin) == 0);
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

/* Names. */

static void names_are_resolved(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    strcpy(world.servers[0].url.host, "localhost"); /* perhaps ::1 too, where nobody listens */
    given_a_worker();
    get_and_wait(&p);
    assert_string_equal(p.story, "head 200, body, end");
    assert_int_equal(origin->accepted, 1);
}

/* No resolver asks anyone about a label of more than 63 bytes. */
#define NO_NAME "a-label-that-is-longer-than-sixty-three-bytes-is-no-name-at-all-x.test"

static void an_unknown_name_fails_now_and_at_once_later(void **state)
{
    (void)state;
    struct probe p = { 0 };
    add_server(NO_NAME, 80);
    given_a_worker();
    for (int i = 0; i < 2; i++) {
        get_and_wait(&p);
        assert_string_equal(p.story, "fail connect");
        assert_string_equal(p.detail, "the upstream's name is unknown");
    }
}

static void an_unknown_name_leads_to_another_server(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    add_server(NO_NAME, 80);
    given_a_worker();
    for (int i = 0; i < 8; i++) {
        get_and_wait(&p);
        assert_string_equal(p.story, "head 200, body, end");
    }
}

static void a_call_may_be_cancelled_while_its_name_is_looked_up(void **state)
{
    (void)state;
    struct probe p = { 0 };
    add_server(NO_NAME, 80);
    given_a_worker();
    start(&p, get());
    cancel(&p);
    start(&p, get());
    upstreams_destroy(&world.upstreams); /* and the lookup outlives everything */
    assert_string_equal(p.story, "");
}

/* The bound on connections. */

static void calls_beyond_the_bound_wait_their_turn(void **state)
{
    (void)state;
    struct probe p[5] = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    world.upstream.connections = 2;
    given_a_worker();
    for (size_t i = 0; i < 5; i++) {
        start(&p[i], get());
    }
    for (size_t i = 0; i < 5; i++) {
        run_until(p[i].over);
        assert_string_equal(p[i].story, "head 200, body, end");
    }
    assert_int_equal(origin->accepted, 2);
    assert_int_equal(usage().reused, 3);
}

static void a_connection_that_is_closed_makes_room(void **state)
{
    (void)state;
    struct probe p[3] = { 0 };
    struct origin *origin =
        given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")));
    world.upstream.connections = 1;
    given_a_worker();
    for (size_t i = 0; i < 3; i++) {
        start(&p[i], get());
    }
    run_until(p[2].over);
    assert_true(p[0].over && p[1].over); /* first come, first served */
    assert_string_equal(p[2].story, "head 200, body, end");
    assert_int_equal(origin->accepted, 3);
}

static void who_waits_too_long_is_told_that_all_are_busy(void **state)
{
    (void)state;
    struct probe p[2] = { 0 };
    given_an_origin(SCRIPT(HEAD));
    world.upstream.connections = 1;
    world.upstream.connect_ns = 100 * MS;
    given_a_worker();
    start(&p[0], get());
    start(&p[1], get());
    run_until(p[1].over);
    assert_string_equal(p[1].story, "fail busy");
    assert_false(p[0].over);
    cancel(&p[0]);
}

static void who_waits_may_leave(void **state)
{
    (void)state;
    struct probe p[3] = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    world.upstream.connections = 1;
    given_a_worker();
    for (size_t i = 0; i < 3; i++) {
        start(&p[i], get());
    }
    cancel(&p[1]);
    run_until(p[2].over);
    assert_string_equal(p[1].story, "");
    cancel(&(struct probe){ .call = (start(&p[1], get()), p[1].call) }); /* one that has just been given its turn */
    assert_int_equal(usage().active, 0);
}

static void a_slot_that_another_worker_frees_is_found(void **state)
{
    (void)state;
    struct probe mine = { 0 }, theirs = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhi"), READ(1)));
    world.upstream.connections = 1;
    given_a_worker();
    world.others = upstreams_create(&world.loop, &world.config, world.shared);
    start_with(&theirs, world.others, get());
    run_until(theirs.bytes == 2);
    start(&mine, get());
    run_for(20);
    assert_string_equal(mine.story, "");
    cancel(&theirs);
    run_until(mine.bytes == 2);
    cancel(&mine);
}

static void idle_connections_leave_other_workers_their_share(void **state)
{
    (void)state;
    struct probe p[4] = { 0 }, theirs = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    world.upstream.connections = 4;
    given_a_worker();
    world.others = upstreams_create(&world.loop, &world.config, world.shared);
    for (size_t i = 0; i < 4; i++) {
        start(&p[i], get());
    }
    for (size_t i = 0; i < 4; i++) {
        run_until(p[i].over);
    }
    assert_int_equal(usage().idle, 2);
    start_with(&theirs, world.others, get());
    run_until(theirs.over);
    assert_string_equal(theirs.story, "head 200, body, end");
}

static void at_the_bound_an_idle_connection_to_another_server_will_do(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    world.upstream.connections = 1;
    given_a_worker();
    for (int i = 0; i < 12; i++) {
        get_and_wait(&p);
        assert_string_equal(p.story, "head 200, body, end");
    }
    assert_int_equal(usage().connects, 1);
}

static void at_the_bound_a_second_try_takes_the_place_of_an_idle_connection(void **state)
{
    (void)state;
    struct probe p[2] = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), HEAD, SAY(OK_HI), HEAD, CLOSE));
    origin_then(origin, SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    world.upstream.connections = 2;
    given_a_worker();
    start(&p[0], get());
    run_until(origin->accepted == 1);
    start(&p[1], get());
    run_until(p[0].over && p[1].over);
    assert_int_equal(usage().idle, 2);
    for (int i = 0; i < 6; i++) { /* the first connection fails at its third request, whenever that is */
        start(&p[0], get());
        start(&p[1], get());
        run_until(p[0].over && p[1].over);
        assert_string_equal(p[0].story, "head 200, body, end");
        assert_string_equal(p[1].story, "head 200, body, end");
    }
    assert_int_equal(origin->accepted, 3);
}

/* Request bodies. */

static void a_body_of_known_length_goes_as_it_is(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, READ(6), SAY(OK_HI), AGAIN));
    given_a_worker();
    for (int i = 0; i < 2; i++) { /* on a new connection, and on a kept one */
        start(&p, post(6));
        assert_true(give(&p, "abc", 3));
        assert_true(give(&p, "", 0));
        assert_true(give(&p, "def", 3));
        finish(&p);
        run_until(p.over);
        assert_string_equal(p.story, "head 200, body, end");
    }
    assert_int_equal(origin->accepted, 1);
    assert_non_null(strstr(origin->seen.bytes, "\r\n\r\nabcdefPOST"));
}

static void a_body_of_unknown_length_goes_in_chunks(void **state)
{
    (void)state;
    struct probe p = { 0 };
    const char *wire = "\r\n\r\n3\r\nabc\r\n12\r\ndefghijklmnopqrstu\r\n0\r\n\r\n";
    struct origin *origin = given_an_origin(SCRIPT(HEAD, READ(36), SAY(OK_HI), AGAIN));
    given_a_worker();
    for (int i = 0; i < 2; i++) {
        start(&p, post_chunked());
        assert_true(give(&p, "abc", 3));
        assert_true(give(&p, "", 0)); /* would end it */
        run_for(2);
        assert_true(give(&p, "defghijklmnopqrstu", 18));
        finish(&p);
        run_until(p.over);
        assert_string_equal(p.story, "head 200, body, end");
        assert_string_equal(origin->seen.bytes + origin->seen.length - strlen(wire), wire);
    }
    assert_int_equal(origin->accepted, 1);
}

static void a_head_does_not_wait_for_its_body(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, READ(2), SAY(OK_HI), AGAIN));
    given_a_worker();
    for (size_t i = 1; i <= 2; i++) {
        start(&p, post(2));
        run_until(origin->heads == i);
        assert_true(give(&p, "ab", 2));
        finish(&p);
        run_until(p.over);
        assert_string_equal(p.story, "head 200, body, end");
    }
}

static void a_body_may_turn_out_empty(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    given_a_worker();
    for (int i = 0; i < 2; i++) {
        start(&p, post(0));
        finish(&p);
        run_until(p.over);
        assert_string_equal(p.story, "head 200, body, end");
    }
    start(&p, get());
    finish(&p); /* there is none; no harm */
    run_until(p.over);
    assert_int_equal(origin->accepted, 1);
}

static void a_body_of_another_length_than_announced_fails_and_nothing_wrong_is_sent(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD));
    given_a_worker();
    uint64_t before = check_surprises;
    start(&p, post(3));
    assert_true(give(&p, "ab", 2));
    run_until(origin->heads == 1);
    assert_true(give(&p, "GET / HTTP/1.1\r\n\r\n", 18));
    assert_true(give(&p, "more", 4)); /* not yet told, but dead */
    finish(&p);
    run_until(p.over);
    assert_string_equal(p.story, "fail closed");
    start(&p, post(3));
    assert_true(give(&p, "ab", 2));
    finish(&p);
    run_until(p.over);
    assert_string_equal(p.story, "fail closed");
    start(&p, get());
    assert_true(give(&p, "a body where none was announced", 31));
    run_until(p.over);
    assert_string_equal(p.story, "fail closed");
    run_until(origin_connected(origin) == 0);
    assert_null(strstr(origin->seen.bytes, "GET"));
    assert_int_equal(check_surprises - before, 3);
}

#define LARGE (8 * 1024 * 1024)

/* What a large upload has still to give; goes on when told that there is room. */
static size_t to_give;

static void give_more(struct probe *p, const char *event)
{
    static char block[16 * 1024];
    if (strcmp(event, "writable") != 0 && strcmp(event, "start") != 0) {
        return;
    }
    bool more = true;
    while (more && to_give > 0) {
        size_t size = to_give < sizeof block ? to_give : sizeof block;
        for (size_t i = 0; i < size; i++) {
            block[i] = origin_pattern(LARGE - to_give + i);
        }
        more = give(p, block, size);
        to_give -= size;
    }
    if (to_give == 0) {
        bool inside = world.inside;
        world.inside = true;
        upstream_finish(p->call);
        world.inside = inside;
    }
}

static void a_large_upload_waits_for_a_slow_origin(void **state)
{
    (void)state;
    struct probe p = { .then = give_more };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, DEAF, READ(LARGE), SAY(OK_HI), AGAIN));
    given_a_worker();
    for (int i = 0; i < 2; i++) {
        start(&p, post(LARGE));
        to_give = LARGE;
        give_more(&p, "start");
        run_until(origin->connections[0].deaf);
        run_for(30);
        assert_in_range(to_give, 1, LARGE - 1); /* it is not taken faster than it goes */
        origin_listen(&origin->connections[0]);
        run_until(p.over);
        assert_string_equal(p.text, "hi");
        assert_non_null(strstr(p.story, "writable"));
        size_t body = origin->seen.length - LARGE;
        for (size_t at = 0; at < LARGE; at++) {
            if (origin->seen.bytes[body + at] != origin_pattern(at)) {
                fail_msg("byte %zu", at);
            }
        }
    }
    assert_int_equal(origin->accepted, 1);
}

static void an_origin_that_takes_no_more_is_given_the_response_timeout(void **state)
{
    (void)state;
    struct probe p = { .then = give_more };
    given_an_origin(SCRIPT(HEAD, DEAF));
    world.upstream.response_ns = 50 * MS;
    given_a_worker();
    start(&p, post(LARGE));
    to_give = LARGE;
    give_more(&p, "start");
    run_until(p.over);
    assert_non_null(strstr(p.story, "fail response timeout"));
}

static void a_client_that_gives_nothing_is_not_the_origins_fault(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_an_origin(SCRIPT(HEAD, READ(2), SAY(OK_HI)));
    world.upstream.response_ns = 30 * MS;
    given_a_worker();
    start(&p, post(2));
    assert_true(give(&p, "a", 1));
    run_for(80);
    assert_false(p.over);
    assert_true(give(&p, "b", 1));
    finish(&p);
    run_until(p.over);
    assert_string_equal(p.story, "head 200, body, end");
}

static void an_early_answer_is_told_before_the_body_is_complete(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")));
    given_a_worker();
    start(&p, post(1000000));
    assert_true(give(&p, "abc", 3));
    run_until(p.over);
    assert_string_equal(p.story, "head 413, end");
    assert_int_equal(usage().idle, 0); /* the rest of the body would be taken for a request */
    run_until(origin_connected(origin) == 0);
}

static void an_early_answer_is_told_even_if_the_origin_reads_no_more(void **state)
{
    (void)state;
    struct probe p = { .then = give_more };
    struct origin *origin =
        given_an_origin(SCRIPT(HEAD, DEAF, SAY("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), CLOSE));
    given_a_worker();
    start(&p, post(LARGE));
    to_give = LARGE;
    give_more(&p, "start");
    run_until(p.over);
    /* The system may throw the answer away together with the connection. What must not be is a wait for the timeout. */
    assert_true(strstr(p.story, "head 413, end") != NULL || strstr(p.story, "fail closed") != NULL);
    assert_int_equal(origin->accepted, 1);
}

/* Response bodies. */

static void breathe(struct probe *p, const char *event)
{
    if (strcmp(event, "body") == 0) {
        world.inside = true;
        upstream_pause(p->call);
        upstream_pause(p->call);
        world.inside = false;
    }
}

static void a_large_download_waits_for_a_slow_client(void **state)
{
    (void)state;
    struct probe p = { .then = breathe };
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n";
    given_an_origin(SCRIPT(HEAD, SAY(head), FLOOD(LARGE), AGAIN));
    given_a_worker();
    for (int i = 0; i < 2; i++) {
        int pauses = 0;
        start(&p, get());
        while (!p.over) {
            size_t before = p.bytes;
            turn();
            assert_in_range(p.bytes - before, 0, 64 * 1024);
            if (p.bytes > before && !p.over) {
                pauses++;
                upstream_resume(p.call);
                upstream_resume(p.call);
            }
        }
        assert_int_equal(p.bytes, LARGE);
        assert_true(p.right);
        assert_in_range(pauses, LARGE / (64 * 1024) - 1, LARGE);
    }
    assert_int_equal(usage().connects, 1); /* paused last, it was not left so */
}

static void a_slow_client_is_not_the_origins_fault(void **state)
{
    (void)state;
    struct probe p = { .then = breathe };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")));
    world.upstream.response_ns = 100 * MS;
    given_a_worker();
    start(&p, get());
    run_until(p.bytes == 4);
    origin_say(&origin->connections[0], "well", 4);
    run_for(200);
    assert_string_equal(p.story, "head 200, body");
    upstream_resume(p.call);
    run_until(p.over);
    assert_string_equal(p.story, "head 200, body, end");
    assert_string_equal(p.text, "halfwell");
}

static void a_call_may_be_paused_before_it_is_connected(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
    given_a_worker();
    start(&p, get());
    upstream_pause(p.call);
    run_until(origin->heads == 1);
    run_for(20);
    assert_string_equal(p.story, "");
    upstream_resume(p.call);
    run_until(p.over);
    assert_string_equal(p.story, "head 200, body, end");
}

/* Cancelling. */

static void a_call_may_be_cancelled_at_any_time(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin =
        given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhi"), READ(1)));
    given_a_worker();
    start(&p, get());
    cancel(&p); /* being connected */
    start(&p, get());
    run_until(origin->accepted >= 1);
    cancel(&p); /* waiting for an answer */
    start(&p, get());
    run_until(p.bytes == 2);
    cancel(&p); /* in the middle of one */
    start(&p, post(LARGE));
    run_until(origin->heads >= 2);
    static char block[1024 * 1024];
    while (give(&p, block, sizeof block)) {
    }
    cancel(&p); /* with much to be written */
    run_until(origin_connected(origin) == 0);
    assert_int_equal(usage().active, 0);
    assert_int_equal(usage().idle, 0);
}

static const char *cancel_at;

static void cancel_there(struct probe *p, const char *event)
{
    if (strncmp(event, cancel_at, strlen(cancel_at)) == 0) {
        cancel(p);
    }
}

static void a_call_may_be_cancelled_from_within_any_event(void **state)
{
    (void)state;
    static const struct {
        const char *at, *story;
        bool kept;
    } cases[] = {
        { "head", "head 200", false },
        { "body", "head 200, body", false },
        { "end", "head 200, body, end", true }, /* too late to matter */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct probe p = { .then = cancel_there };
        struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(OK_HI), AGAIN));
        given_a_worker();
        cancel_at = cases[i].at;
        start(&p, get());
        run_until(p.call == NULL);
        assert_string_equal(p.story, cases[i].story);
        assert_int_equal(usage().idle, cases[i].kept);
        run_until(origin_connected(origin) == (size_t)cases[i].kept);
        assert_int_equal(end(state), 0);
        begin(state);
    }
    struct probe p = { .then = cancel_there };
    given_a_dead_server();
    given_a_worker();
    cancel_at = "fail";
    get_and_wait(&p);
    assert_string_equal(p.story, "fail connect");
}

static void cancel_when_writable(struct probe *p, const char *event)
{
    if (strcmp(event, "writable") == 0) {
        cancel(p);
    }
}

static void a_call_may_be_cancelled_when_told_to_go_on(void **state)
{
    (void)state;
    struct probe p = { .then = cancel_when_writable };
    static char block[2 * UPSTREAM_QUEUE_MAX];
    struct origin *origin = given_an_origin(SCRIPT(HEAD, READ(sizeof block)));
    given_a_worker();
    start(&p, post(LARGE));
    assert_false(give(&p, block, sizeof block)); /* not even connected */
    run_until(p.call == NULL);
    assert_string_equal(p.story, "writable");
    run_until(origin_connected(origin) == 0);
}

static struct probe *victim;

static void cancel_the_other(struct probe *p, const char *event)
{
    (void)p, (void)event;
    if (victim->call != NULL) {
        cancel(victim);
    }
}

static void a_call_may_be_cancelled_in_the_event_of_another(void **state)
{
    (void)state;
    struct probe p[2] = { { .then = cancel_the_other }, { 0 } };
    given_a_dead_server();
    given_a_worker();
    victim = &p[1];
    start(&p[0], get());
    start(&p[1], get());
    run_until(p[0].over);
    assert_string_equal(p[0].story, "fail connect");
    run_for(10);
    assert_string_equal(p[1].story, "");
}

static void ask_the_server(struct probe *p, const char *event)
{
    (void)event;
    assert_string_equal(upstream_server(p->call), world.urls[0]);
}

static void its_server_is_known_in_every_event(void **state)
{
    (void)state;
    struct probe p = { .then = ask_the_server };
    given_an_origin(SCRIPT(HEAD, SAY(OK_HI), HEAD, SAY("?\r\n")));
    given_a_worker();
    get_and_wait(&p);
    get_and_wait(&p);
    assert_string_equal(p.story, "fail protocol");
}

static void when_all_is_destroyed_nothing_is_told(void **state)
{
    (void)state;
    struct probe p[4] = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhi")));
    world.upstream.connections = 2;
    given_a_worker();
    start(&p[0], get());
    run_until(p[0].bytes == 2);
    start(&p[1], post(LARGE)); /* being connected */
    start(&p[2], get());       /* waiting */
    static char block[2 * UPSTREAM_QUEUE_MAX];
    assert_false(give(&p[1], block, sizeof block));
    upstreams_destroy(&world.upstreams);
    assert_null(world.upstreams);
    run_until(origin_connected(origin) == 0);
    assert_string_equal(p[0].story, "head 200, body");
    assert_string_equal(p[1].story, "");
    assert_string_equal(p[2].story, "");
}

static void destroy_all(struct probe *p, const char *event)
{
    if (strncmp(event, cancel_at, strlen(cancel_at)) == 0) {
        upstreams_destroy(&world.upstreams);
        p->over = true;
    }
}

static void all_may_be_destroyed_from_within_any_event(void **state)
{
    (void)state;
    static const char *const events[] = { "head", "body", "end", "fail", "writable" };
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        struct probe p[2] = { { .then = destroy_all }, { 0 } };
        static char block[2 * UPSTREAM_QUEUE_MAX];
        struct origin *origin = given_an_origin(i < 3    ? SCRIPT(HEAD, SAY(OK_HI))
                                                : i == 3 ? SCRIPT(HEAD, CLOSE)
                                                         : SCRIPT(HEAD, READ(LARGE)));
        given_a_worker();
        cancel_at = events[i];
        start(&p[0], i == 4 ? post(LARGE) : get());
        start(&p[1], get());
        if (i == 4) {
            assert_false(give(&p[0], block, sizeof block));
        }
        run_until(p[0].over);
        assert_null(world.upstreams);
        run_until(origin_connected(origin) == 0);
        assert_int_equal(end(state), 0);
        begin(state);
    }
}

/* Tunnels. */

#define SWITCHED "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

static struct upstream_request upgrade(void)
{
    struct upstream_request request = get();
    request.upgrade = true;
    return request;
}

static void a_tunnel_carries_bytes_both_ways_until_each_ends(void **state)
{
    (void)state;
    struct probe p = { 0 };
    struct origin *origin = given_an_origin(SCRIPT(HEAD, SAY(SWITCHED "first"), READ(4), SAY(", second"), CLOSE));
    given_a_worker();
    start(&p, upgrade());
    run_until(p.bytes == 5); /* came in one read with the head */
    assert_true(give(&p, "ping", 4));
    finish(&p);
    run_until(p.over);
    assert_string_equal(p.story, "head 101, body, end");
    assert_string_equal(p.text, "first, second");
    assert_non_null(strstr(origin->seen.bytes, "\r\n\r\nping"));
    assert_int_equal(usage().idle + usage().active, 0); /* never used for a request again */
}

static void a_silent_tunnel_has_no_time_for_a_response(void **state)
{
    (void)state;
    struct probe p = { 0 };
    world.upstream.response_ns = 20 * MS;
    given_an_origin(SCRIPT(HEAD, SAY(SWITCHED)));
    given_a_worker();
    start(&p, upgrade());
    run_for(100);
    assert_string_equal(p.story, "head 101");
    cancel(&p);
}

static void a_tunnel_that_is_reset_fails(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY(SWITCHED), READ(4), RESET));
    given_a_worker();
    start(&p, upgrade());
    run_until(p.head.status == 101);
    assert_true(give(&p, "ping", 4));
    run_until(p.over);
    assert_string_equal(p.story, "head 101, fail closed");
}

static void another_answer_to_an_upgrade_is_an_ordinary_one(void **state)
{
    (void)state;
    struct probe p = { 0 };
    given_an_origin(SCRIPT(HEAD, SAY(OK_HI)));
    given_a_worker();
    start(&p, upgrade());
    run_until(p.over);
    assert_string_equal(p.story, "head 200, body, end");
    assert_int_equal(usage().idle, 1);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        STORY(a_get_is_answered),
        STORY(a_kept_connection_is_used_again),
        STORY(a_head_request_has_no_body_to_wait_for),
        STORY(a_tunnel_carries_bytes_both_ways_until_each_ends),
        STORY(a_silent_tunnel_has_no_time_for_a_response),
        STORY(a_tunnel_that_is_reset_fails),
        STORY(another_answer_to_an_upgrade_is_an_ordinary_one),
        STORY(responses_that_forbid_it_leave_no_connection_behind),
        STORY(a_body_may_end_with_the_connection),
        STORY(the_next_request_may_start_where_the_last_one_is_told_to_end),
        STORY(a_kept_connection_that_the_origin_ends_is_dropped),
        STORY(a_kept_connection_that_speaks_unasked_is_dropped),
        STORY(a_kept_connection_that_nobody_needs_is_closed),
        STORY(a_stale_connection_costs_an_idempotent_request_nothing),
        STORY(a_stale_connection_is_excused_once),
        STORY(a_new_connection_is_not_excused),
        STORY(a_post_that_may_have_arrived_is_never_sent_twice),
        STORY(what_was_begun_is_not_begun_again),
        STORY(a_post_of_which_nothing_was_sent_goes_out_again),
        STORY(a_dead_server_refuses),
        STORY(nothing_is_sent_in_the_clear_to_a_server_that_wants_tls),
        STORY(another_server_is_tried),
        STORY(as_many_others_are_tried_as_retries_say),
        STORY(two_dead_servers_are_one_failure),
        STORY(an_origin_that_does_not_accept_is_given_the_connect_timeout),
        STORY(an_origin_that_does_not_answer_is_given_the_response_timeout),
        STORY(each_read_gives_it_more_time),
        STORY(a_response_cut_short_is_never_taken_for_complete),
        STORY(a_broken_response_is_told_as_such),
        STORY(names_are_resolved),
        STORY(an_unknown_name_fails_now_and_at_once_later),
        STORY(an_unknown_name_leads_to_another_server),
        STORY(a_call_may_be_cancelled_while_its_name_is_looked_up),
        STORY(calls_beyond_the_bound_wait_their_turn),
        STORY(a_connection_that_is_closed_makes_room),
        STORY(who_waits_too_long_is_told_that_all_are_busy),
        STORY(who_waits_may_leave),
        STORY(a_slot_that_another_worker_frees_is_found),
        STORY(idle_connections_leave_other_workers_their_share),
        STORY(at_the_bound_an_idle_connection_to_another_server_will_do),
        STORY(at_the_bound_a_second_try_takes_the_place_of_an_idle_connection),
        STORY(a_body_of_known_length_goes_as_it_is),
        STORY(a_body_of_unknown_length_goes_in_chunks),
        STORY(a_head_does_not_wait_for_its_body),
        STORY(a_body_may_turn_out_empty),
        STORY(a_body_of_another_length_than_announced_fails_and_nothing_wrong_is_sent),
        STORY(a_large_upload_waits_for_a_slow_origin),
        STORY(an_origin_that_takes_no_more_is_given_the_response_timeout),
        STORY(a_client_that_gives_nothing_is_not_the_origins_fault),
        STORY(an_early_answer_is_told_before_the_body_is_complete),
        STORY(an_early_answer_is_told_even_if_the_origin_reads_no_more),
        STORY(a_large_download_waits_for_a_slow_client),
        STORY(a_slow_client_is_not_the_origins_fault),
        STORY(a_call_may_be_paused_before_it_is_connected),
        STORY(a_call_may_be_cancelled_at_any_time),
        STORY(a_call_may_be_cancelled_from_within_any_event),
        STORY(a_call_may_be_cancelled_when_told_to_go_on),
        STORY(a_call_may_be_cancelled_in_the_event_of_another),
        STORY(its_server_is_known_in_every_event),
        STORY(when_all_is_destroyed_nothing_is_told),
        STORY(all_may_be_destroyed_from_within_any_event),
    };
    return cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
}
