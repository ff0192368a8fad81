/* admin: see admin.h. Every answer is made on the spot, from counters that others write. */
#include "admin.h"

#include "front.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#define ADMIN_CONNECTIONS 256 /* an operator's tools, not the world */

struct admin {
    struct generation *generation;
    struct front *front;
    uv_loop_t loop;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    pthread_t thread;
    unsigned connections;
    _Atomic bool draining, stopping;
    _Atomic(struct generation *) next; /* admin_switch() */
    sem_t switched;
};

static void answer_text(struct front_request *front_request, unsigned status, const char *type, struct slice body,
                        bool owned)
{
    struct field fields[] = { { SLICE("Content-Type"), { type, strlen(type) } },
                              { SLICE("Cache-Control"), SLICE("no-store") } };
    struct front_answer answer = {
        .status = status, .fields = fields, .field_count = 2, .body = FRONT_WHOLE, .whole = body, .owned = owned
    };
    CHECK(front_answer(front_request, &answer)); /* a few short fields always fit */
}

static void answer_problem(struct front_request *front_request, unsigned status, const char *detail)
{
    struct reply reply;
    reply_problem(&reply, status, detail, (struct slice){ "", 0 }, 0);
    struct field fields[REPLY_FIELDS_MAX + 1];
    memcpy(fields, reply.fields, reply.field_count * sizeof fields[0]);
    size_t count = reply.field_count;
    if (status == 401) {
        fields[count++] = (struct field){ SLICE("WWW-Authenticate"), SLICE("Bearer realm=\"weir\"") };
    }
    for (size_t i = 0; i < count; i++) {
        if (slice_equals(fields[i].name, SLICE("Allow"))) { /* the reply speaks for the routes: these pages are read */
            fields[i].value = SLICE("GET, HEAD");
        }
    }
    struct front_answer answer = {
        .status = status, .fields = fields, .field_count = count, .body = FRONT_WHOLE, .whole = reply.body
    };
    CHECK(front_answer(front_request, &answer)); /* a few short fields always fit */
}

/* Takes as long for a wrong token as for a right one of the same length. */
static bool token_fits(const struct admin *admin, const struct request *request)
{
    const char *token = admin->generation->config->admin.token;
    if (token == NULL) {
        return true;
    }
    const struct field *field = request_field(request, SLICE("authorization"));
    struct slice scheme = SLICE("Bearer ");
    size_t length = strlen(token);
    if (field == NULL || field->value.length != scheme.length + length ||
        !slice_equals_nocase((struct slice){ field->value.at, scheme.length }, scheme)) {
        return false;
    }
    unsigned char difference = 0;
    for (size_t i = 0; i < length; i++) {
        difference |= (unsigned char)(field->value.at[scheme.length + i] ^ token[i]);
    }
    return difference == 0;
}

static void upstream_connections(void *user, size_t upstream, uint64_t *idle, uint64_t *active)
{
    const struct generation *generation = user;
    struct upstream_totals totals = upstream_totals(generation->upstreams, upstream);
    *idle = totals.idle;
    *active = totals.active;
}

static bool server_healthy(void *user, size_t upstream, size_t server)
{
    const struct generation *generation = user;
    return upstream_takes(generation->upstreams, upstream, server);
}

/* Routes lead to upstreams, and all servers of all of these are unhealthy. */
static bool has_nowhere_to_go(const struct generation *generation)
{
    const struct config *config = generation->config;
    bool leads_on = false, healthy = false;
    for (size_t i = 0; !healthy && i < config->route_count; i++) {
        if (config->routes[i].upstream >= 0) {
            leads_on = true;
            healthy = upstream_healthy(generation->upstreams, (size_t)config->routes[i].upstream);
        }
    }
    return leads_on && !healthy;
}

static void answer_ready(struct admin *admin, struct front_request *front_request)
{
    /* relaxed: a flag that publishes nothing else */
    bool draining = atomic_load_explicit(&admin->draining, memory_order_relaxed);
    bool ready = !draining && !has_nowhere_to_go(admin->generation);
    answer_text(front_request, ready ? 200 : 503, "text/plain",
                ready      ? SLICE("ready\n")
                : draining ? SLICE("draining\n")
                           : SLICE("no upstream is healthy\n"),
                false);
}

static void answer_metrics(struct admin *admin, struct front_request *front_request)
{
    struct generation_process *process = admin->generation->process;
    struct metrics_sources sources = { .limiter = admit_limiter(admin->generation->admit),
                                       .now_ns = worker_now_ns(),
                                       .upstream_connections = upstream_connections,
                                       .upstream_healthy = server_healthy,
                                       .user = admin->generation,
                                       .log_lines_dropped = log_dropped(admin->generation->log),
                                       /* relaxed: counters that publish nothing else */
                                       .reloads = atomic_load_explicit(&process->reloads, memory_order_relaxed),
                                       .reloads_failed =
                                           atomic_load_explicit(&process->reloads_failed, memory_order_relaxed) };
    size_t length = 0;
    char *text = metrics_text(admin->generation->metrics, admin->generation->config, &sources, &length);
    if (text == NULL) {
        answer_problem(front_request, 503, "out of memory");
        return;
    }
    answer_text(front_request, 200, "text/plain; version=0.0.4; charset=utf-8", (struct slice){ text, length }, true);
}

static void *on_request(void *owner, struct front_request *front_request, const struct request *request)
{
    struct admin *admin = owner;
    struct slice path = request->path;
    bool known = slice_equals(path, SLICE("/healthz")) || slice_equals(path, SLICE("/readyz")) ||
                 slice_equals(path, SLICE("/metrics"));
    if (!known) {
        answer_problem(front_request, token_fits(admin, request) ? 404 : 401,
                       "the admin pages are /healthz, /readyz and /metrics");
    } else if (!slice_equals(request->method, SLICE("GET")) && !slice_equals(request->method, SLICE("HEAD"))) {
        answer_problem(front_request, 405, "this page is only read: GET or HEAD");
    } else if (slice_equals(path, SLICE("/healthz"))) {
        answer_text(front_request, 200, "text/plain", SLICE("ok\n"), false);
    } else if (slice_equals(path, SLICE("/readyz"))) {
        answer_ready(admin, front_request);
    } else if (!token_fits(admin, request)) {
        answer_problem(front_request, 401, "this page wants Authorization: Bearer and the token of admin.token_file");
    } else {
        answer_metrics(admin, front_request);
    }
    return admin;
}

static void on_body(void *exchange, const char *data, size_t length)
{
    (void)exchange;
    (void)data;
    (void)length;
}

static void on_body_end(void *exchange)
{
    (void)exchange;
}

static long on_pull(void *exchange, char *out, size_t size)
{
    (void)exchange;
    (void)out;
    (void)size;
    return FRONT_ENDED; /* nothing here streams */
}

static void on_done(void *exchange, enum front_end end, uint64_t body_bytes_sent)
{
    (void)exchange;
    (void)end;
    (void)body_bytes_sent;
}

static void on_refused(void *owner, const struct rule_ip *peer, unsigned status)
{
    (void)owner;
    (void)peer;
    (void)status;
}

static bool on_connection(void *owner, const struct rule_ip *peer, int change)
{
    struct admin *admin = owner;
    (void)peer;
    if (change > 0 && admin->connections >= ADMIN_CONNECTIONS) {
        return false;
    }
    admin->connections += change > 0 ? 1 : -1u;
    return true;
}

static const struct front_handler admin_handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_body_end = on_body_end,
    .on_pull = on_pull,
    .on_done = on_done,
    .on_refused = on_refused,
    .on_connection = on_connection,
};

static void turn(struct admin *admin)
{
    if (admin->front != NULL) {
        front_turn(admin->front);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    turn(prepare->data);
}

static void on_check(uv_check_t *check)
{
    turn(check->data);
}

static void close_all(struct admin *admin)
{
    front_destroy(&admin->front);
    uv_close((uv_handle_t *)&admin->wake, NULL);
    uv_close((uv_handle_t *)&admin->prepare, NULL);
    uv_close((uv_handle_t *)&admin->check, NULL);
}

static void on_wake(uv_async_t *wake)
{
    struct admin *admin = wake->data;
    /* acquire: what the generation points to was written before it was put there */
    struct generation *next = atomic_exchange_explicit(&admin->next, NULL, memory_order_acquire);
    if (next != NULL) {
        admin->generation = next;
        sem_post(&admin->switched);
    }
    /* relaxed: the flag only tells what for; uv_async_send() is the publication */
    if (atomic_load_explicit(&admin->stopping, memory_order_relaxed)) {
        close_all(admin);
    }
}

static void *serve(void *argument)
{
    struct admin *admin = argument;
    CHECK(uv_run(&admin->loop, UV_RUN_DEFAULT) == 0);
    CHECK(uv_loop_close(&admin->loop) == 0);
    return NULL;
}

struct admin *admin_start(struct generation *generation, int listen_fd, const char **why)
{
    struct admin *admin = calloc(1, sizeof *admin);
    CHECK(admin != NULL);
    admin->generation = generation;
    sem_init(&admin->switched, 0, 0);
    uv_loop_init(&admin->loop);
    uv_async_init(&admin->loop, &admin->wake, on_wake);
    uv_prepare_init(&admin->loop, &admin->prepare);
    uv_check_init(&admin->loop, &admin->check);
    admin->wake.data = admin->prepare.data = admin->check.data = admin;
    uv_prepare_start(&admin->prepare, on_prepare);
    uv_check_start(&admin->check, on_check);
    struct front_limits limits = { .request_head = 16 * 1024,
                                   .request_body = 64 * 1024,
                                   .head_ns = 10000000000u,
                                   .body_ns = 10000000000u,
                                   .idle_ns = 65000000000u,
                                   .connections = ADMIN_CONNECTIONS + 16 };
    admin->front = front_create(&admin->loop, listen_fd, NULL, &limits, &admin_handler, admin, why);
    bool started = admin->front != NULL && pthread_create(&admin->thread, NULL, serve, admin) == 0;
    if (!started) {
        close_all(admin);
        (void)serve(admin);
        free(admin);
        return NULL;
    }
    return admin;
}

void admin_set_draining(struct admin *admin)
{
    atomic_store_explicit(&admin->draining, true, memory_order_relaxed); /* see on_request() */
}

void admin_switch(struct admin *admin, struct generation *generation)
{
    atomic_store_explicit(&admin->next, generation, memory_order_release); /* see on_wake() */
    uv_async_send(&admin->wake);
    while (sem_wait(&admin->switched) != 0) {
    }
}

void admin_stop(struct admin **admin)
{
    atomic_store_explicit(&(*admin)->stopping, true, memory_order_relaxed); /* see on_wake() */
    uv_async_send(&(*admin)->wake);
    pthread_join((*admin)->thread, NULL);
    sem_destroy(&(*admin)->switched);
    free(*admin);
    *admin = NULL;
}
