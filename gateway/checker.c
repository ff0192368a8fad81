/* checker: see checker.h. */
#include "checker.h"

#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define PATIENCE_MS 2000
#define HEAD_MAX    2048 /* path (CONFIG_HEALTH_PATH_MAX), host and the few fields there are */

/* Of one server. */
struct check {
    struct uplink *uplink; /* under way, or NULL */
    unsigned status;       /* of the answer, 0: none yet */
    bool decided;          /* it has been asked before */
    unsigned good, bad;    /* in a row */
};

struct checker {
    struct pool *pool;
    struct uplink_home home;
    uv_timer_t turn, patience;
    unsigned handles; /* not closed yet */
    bool working;     /* the process's one */
    struct check checks[];
};

static struct checker *checker_of(struct pool_server *server)
{
    return server->pool->checker;
}

static struct check *check_of(struct pool_server *server)
{
    return &checker_of(server)->checks[server - server->pool->servers];
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

static void set_healthy(struct pool_server *server, bool healthy, const char *why)
{
    if (balance_set_healthy(server->balance, healthy)) {
        log_event("upstream %s: %s is %s: %s", server->pool->config->name, server->config->text,
                  healthy ? "healthy again" : "unhealthy", why);
    }
}

/* `problem` is NULL for a good answer. */
static void conclude(struct pool_server *server, const char *problem)
{
    const struct config_health *health = &server->pool->config->health;
    struct check *check = check_of(server);
    if (check->uplink != NULL) {
        uplink_close(&check->uplink);
    }
    check->good = problem == NULL ? check->good + 1 : 0;
    check->bad = problem == NULL ? 0 : check->bad + 1;
    if (problem == NULL && (!check->decided || check->good == health->rise)) {
        set_healthy(server, true, "its health check passes");
    }
    if (problem != NULL && (!check->decided || check->bad == health->fall)) {
        set_healthy(server, false, problem);
    }
    check->decided = true;
}

static void on_head(void *user, const struct http_head *head)
{
    check_of(((struct uplink *)user)->server)->status = head->status;
}

static void on_body(void *user, const char *data, size_t length)
{
    (void)user, (void)data, (void)length;
}

static void on_end(void *user)
{
    (void)user;
}

static const struct http_events http_events = { .on_head = on_head, .on_body = on_body, .on_end = on_end };

/* The status is all that matters: what follows it is not waited for, and does not undo it. */
static void judge(struct pool_server *server, const char *problem)
{
    unsigned status = check_of(server)->status;
    if (status != 0) {
        conclude(server, status < 400 ? NULL : "its health check is answered with an error");
    } else if (problem != NULL) {
        conclude(server, problem);
    }
}

static void on_bytes(struct uplink *uplink, const char *data, size_t length)
{
    size_t used;
    struct pool_server *server = uplink->server;
    judge(server, http_feed(uplink->parser, data, length, &used));
}

static void on_lost(struct uplink *uplink, bool orderly)
{
    (void)orderly;
    judge(uplink->server, "its health check is not answered");
}

static void on_written(struct uplink *uplink)
{
    (void)uplink;
}

/* ---- the question ------------------------------------------------------------------------------------------------ */

static struct slice authority(const struct pool_server *server)
{
    if (server->config->socket != NULL) {
        return SLICE("localhost");
    }
    const char *at = strstr(server->config->text, "://");
    CHECK(at != NULL); /* rule_url() has seen it */
    at += 3;
    return (struct slice){ at, strcspn(at, "/") };
}

static void on_connected(struct uplink *uplink, const char *problem)
{
    struct pool_server *server = uplink->server;
    struct slice host = authority(server);
    char head[HEAD_MAX];
    if (problem != NULL) {
        conclude(server, problem);
        return;
    }
    int length = snprintf(head, sizeof head,
                          "GET %s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir health check\r\nConnection: close\r\n\r\n",
                          server->pool->config->health.path, (int)host.length, host.at);
    CHECK(length > 0 && (size_t)length < sizeof head);
    http_expect(uplink->parser, false, false);
    if (uplink_write(uplink, &(struct slice){ head, (size_t)length }, 1) != UPLINK_WRITTEN) {
        conclude(server, "its health check could not be sent");
    }
}

static const struct uplink_events uplink_events = {
    .on_connected = on_connected, .on_bytes = on_bytes, .on_lost = on_lost, .on_written = on_written
};

static void ask(struct pool_server *server)
{
    struct check *check = check_of(server);
    const char *problem = "its name is unknown";
    check->status = 0;
    const struct sockaddr *address = resolve_next(&server->resolve);
    if (address != NULL) {
        check->uplink = uplink_open(&checker_of(server)->home, address, &problem);
    } else if (resolve_again(&server->resolve) && !check->decided) {
        return; /* the very first lookup is still under way: no verdict yet */
    }
    if (check->uplink != NULL) {
        check->uplink->server = server;
    } else {
        conclude(server, problem);
    }
}

/* Relaxed: the flag publishes nothing, it only says that somebody does the work. */
static bool claim(struct checker *checker)
{
    checker->working =
        checker->working || !atomic_exchange_explicit(&checker->pool->shared->checked, true, memory_order_relaxed);
    return checker->working;
}

static void on_patience(uv_timer_t *timer)
{
    struct checker *checker = timer->data;
    for (size_t i = 0; i < checker->pool->config->server_count; i++) {
        if (checker->checks[i].uplink != NULL) {
            conclude(&checker->pool->servers[i], "its health check is not answered in time");
        }
    }
}

static void on_turn(uv_timer_t *timer)
{
    struct checker *checker = timer->data;
    if (!claim(checker)) {
        return;
    }
    on_patience(&checker->patience); /* an interval shorter than the patience ends it */
    for (size_t i = 0; i < checker->pool->config->server_count; i++) {
        ask(&checker->pool->servers[i]);
    }
    uv_timer_start(&checker->patience, on_patience, PATIENCE_MS, 0);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

struct checker *checker_create(struct pool *pool, char *buffer)
{
    struct checker *checker = calloc(1, sizeof *checker + pool->config->server_count * sizeof checker->checks[0]);
    if (checker == NULL) {
        return NULL;
    }
    checker->pool = pool;
    checker->home = (struct uplink_home){
        .loop = pool->home->loop, .events = &uplink_events, .http_events = &http_events, .buffer = buffer
    };
    uv_timer_init(pool->home->loop, &checker->turn);
    uv_timer_init(pool->home->loop, &checker->patience);
    checker->turn.data = checker->patience.data = checker;
    checker->handles = 2;
    uv_timer_start(&checker->turn, on_turn, 0, pool->config->health.interval_ns / 1000000);
    return checker;
}

static void on_closed(uv_handle_t *handle)
{
    struct checker *checker = handle->data;
    if (--checker->handles == 0) {
        free(checker);
    }
}

void checker_destroy(struct checker **checker)
{
    struct checker *closed = *checker;
    *checker = NULL;
    for (size_t i = 0; i < closed->pool->config->server_count; i++) {
        if (closed->checks[i].uplink != NULL) {
            uplink_close(&closed->checks[i].uplink);
        }
    }
    if (closed->working) {
        atomic_store_explicit(&closed->pool->shared->checked, false, memory_order_relaxed); /* see claim() */
    }
    uv_close((uv_handle_t *)&closed->turn, on_closed);
    uv_close((uv_handle_t *)&closed->patience, on_closed);
}
