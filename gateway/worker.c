/* worker: see worker.h. */
#include "worker.h"

#include "exchange.h"
#include "front.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define DRAIN_POLL_MS 20 /* how often a draining worker looks whether all is over */

struct worker_life {
    uv_loop_t loop;
    pthread_t thread;
    uv_async_t wake; /* worker_drain() from another thread */
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t drain;
    _Atomic bool drain_asked;
    bool draining;
    uint64_t drain_until_ms;
    size_t front_count;
    struct front **fronts; /* one per config.listens */
};

uint64_t worker_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what the front tells about connections and about requests it refused itself ---- */

void worker_on_refused(void *owner, const struct rule_ip *peer, unsigned status)
{
    struct worker *worker = owner;
    (void)peer;
    if (status != 0) {
        metrics_request(worker->tenure->metrics, -1, status, 0);
    }
}

bool worker_on_connection(void *owner, const struct rule_ip *peer, int change)
{
    struct worker *worker = owner;
    struct generation *generation = worker->tenure->generation;
    struct limiter *limiter = generation->connections;
    struct limiter_ask asks[2] = {
        { .limit = 0, .digest = limiter_digest(limiter, 0, "", 0), .cost = 1 },
        { .limit = 1, .digest = 0, .cost = 1 },
    };
    size_t count = 1;
    if (generation->connections_per_ip) {
        asks[1].digest = limiter_digest(limiter, 1, peer->bytes, sizeof peer->bytes);
        count = 2;
    }
    if (change < 0) {
        limiter_release(limiter, asks, count);
        metrics_connection(worker->tenure->metrics, -1);
        return true;
    }
    struct limiter_answer answers[2];
    if (limiter_admit(limiter, asks, count, 1, answers) != LIMITER_ADMITTED) { /* slots do not know time */
        return false;
    }
    metrics_connection(worker->tenure->metrics, 1);
    return true;
}

/* ---- the loop ---- */

static void turn(struct worker *worker)
{
    exchange_settle(worker);
    for (size_t i = 0; i < worker->life->front_count; i++) {
        if (worker->life->fronts[i] != NULL) {
            front_turn(worker->life->fronts[i]);
        }
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

static unsigned in_flight(const struct worker *worker)
{
    unsigned count = 0;
    for (size_t i = 0; i < worker->life->front_count; i++) {
        count += front_active(worker->life->fronts[i]);
    }
    return count;
}

/* Everything that lives on the loop is closed; when the last handle is, uv_run() returns and the thread ends. */
static void close_all(struct worker *worker)
{
    struct worker_life *life = worker->life;
    for (size_t i = 0; i < worker->life->front_count; i++) {
        front_destroy(&worker->life->fronts[i]);
    }
    if (worker->tenure != NULL) {
        upstreams_destroy(&worker->tenure->upstreams);
    }
    uv_close((uv_handle_t *)&life->wake, NULL);
    uv_close((uv_handle_t *)&life->prepare, NULL);
    uv_close((uv_handle_t *)&life->check, NULL);
    uv_close((uv_handle_t *)&life->drain, NULL);
}

static void on_drain_tick(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    unsigned left = in_flight(worker);
    bool over = uv_now(worker->loop) >= worker->life->drain_until_ms;
    if (left > 0 && !over) {
        return;
    }
    if (left > 0) {
        log_event("worker %u: %u requests were still in flight after timeouts.shutdown and are cut", worker->index,
                  left);
    }
    close_all(worker);
}

static void on_wake(uv_async_t *wake)
{
    struct worker *worker = wake->data;
    struct worker_life *life = worker->life;
    /* relaxed: uv_async_send() is the publication; the flag only tells what for */
    if (life->draining || !atomic_load_explicit(&life->drain_asked, memory_order_relaxed)) {
        return;
    }
    life->draining = true;
    for (size_t i = 0; i < worker->life->front_count; i++) {
        front_drain(worker->life->fronts[i]);
    }
    life->drain_until_ms = uv_now(worker->loop) + worker->tenure->generation->config->timeouts.shutdown_ns / 1000000;
    uv_timer_start(&life->drain, on_drain_tick, 0, DRAIN_POLL_MS);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    int more = uv_run(worker->loop, UV_RUN_DEFAULT);
    CHECK(more == 0 && worker->undecided == NULL);
    CHECK(uv_loop_close(worker->loop) == 0); /* nothing is left open */
    exchange_drop_spares(worker);
    return NULL;
}

static void init_loop(struct worker *worker)
{
    struct worker_life *life = worker->life;
    worker->loop = &life->loop;
    uv_loop_init(&life->loop);
    uv_async_init(&life->loop, &life->wake, on_wake);
    uv_prepare_init(&life->loop, &life->prepare);
    uv_check_init(&life->loop, &life->check);
    uv_timer_init(&life->loop, &life->drain);
    life->wake.data = life->prepare.data = life->check.data = life->drain.data = worker;
    uv_prepare_start(&life->prepare, on_prepare);
    uv_check_start(&life->check, on_check);
}

/* False: *why says what failed. The descriptors given are the fronts' or closed in either case. */
static bool open_fronts(struct worker *worker, const int *listen_fds, const char **why)
{
    const struct config *config = worker->tenure->generation->config;
    struct front_limits limits = {
        .request_head = config->sizes.request_head,
        .request_body = config->sizes.request_body,
        .head_ns = config->timeouts.request_head_ns,
        .body_ns = config->timeouts.request_body_ns,
        .idle_ns = config->timeouts.idle_ns,
        /* Ours is the bound that refuses (exchange's on_connection); the library's, at which it stops accepting, lies beyond it. */
        .connections = (unsigned)config->sizes.connections + 1024,
    };
    bool good = true;
    for (size_t i = 0; i < config->listen_count; i++) {
        worker->life->fronts[i] = front_create(worker->loop, listen_fds[i], &limits, &exchange_handler, worker, why);
        good = good && worker->life->fronts[i] != NULL;
    }
    return good;
}

/* NULL when memory is short. */
static struct tenure *tenure_begin(struct worker *worker, struct generation *generation)
{
    struct tenure *tenure = calloc(1, sizeof *tenure);
    if (tenure == NULL) {
        return NULL;
    }
    tenure->worker = worker;
    tenure->generation = generation;
    tenure->metrics = metrics_of(generation->metrics, worker->index);
    tenure->log = log_of(generation->log, worker->index);
    tenure->upstreams = upstreams_create(worker->loop, generation->config, generation->upstreams);
    if (tenure->upstreams == NULL) {
        free(tenure);
        return NULL;
    }
    /* relaxed: only the leaving of it publishes anything (generation.h) */
    atomic_fetch_add_explicit(&generation->users, 1, memory_order_relaxed);
    return tenure;
}

static void tenure_end(struct tenure **tenure)
{
    atomic_fetch_sub_explicit(&(*tenure)->generation->users, 1, memory_order_release); /* see generation.h */
    free(*tenure);
    *tenure = NULL;
}

static void free_worker(struct worker **worker)
{
    if ((*worker)->tenure != NULL) {
        tenure_end(&(*worker)->tenure);
    }
    free((*worker)->life->fronts);
    free((*worker)->life);
    free(*worker);
    *worker = NULL;
}

struct worker *worker_start(struct generation *generation, unsigned index, const int *listen_fds, const char **why)
{
    struct worker *worker = calloc(1, sizeof *worker);
    CHECK(worker != NULL); /* at start: a process short of a page will not serve */
    worker->life = calloc(1, sizeof *worker->life);
    CHECK(worker->life != NULL);
    worker->life->front_count = generation->config->listen_count;
    worker->life->fronts = calloc(worker->life->front_count, sizeof(struct front *));
    CHECK(worker->life->fronts != NULL);
    worker->index = index;
    id_source_init(&worker->ids);
    init_loop(worker);
    worker->tenure = tenure_begin(worker, generation);
    *why = "out of memory";
    bool good = worker->tenure != NULL && open_fronts(worker, listen_fds, why);
    bool threaded = good && pthread_create(&worker->life->thread, NULL, work, worker) == 0;
    if (good && !threaded) {
        *why = "the system has no thread left";
    }
    if (!threaded) {
        close_all(worker);
        (void)work(worker); /* only closes what was opened */
        free_worker(&worker);
    }
    return worker;
}

void worker_drain(struct worker *worker)
{
    atomic_store_explicit(&worker->life->drain_asked, true, memory_order_relaxed); /* see on_wake() */
    uv_async_send(&worker->life->wake);
}

void worker_join(struct worker **worker)
{
    pthread_join((*worker)->life->thread, NULL);
    free_worker(worker);
}
