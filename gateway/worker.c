/* worker: see worker.h. */
#include "worker.h"

#include "exchange.h"
#include "front.h"
#include "outcome.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define DRAIN_POLL_MS 20 /* how often a draining worker looks whether all is over */

struct listening {
    struct listening *next;
    char *text; /* the address as the config writes it: what makes it the same after a reload */
    struct front_limits limits;
    bool tls;
    struct front *front;
    bool leaving; /* no longer in the config: ends when its last request has */
};

struct worker_life {
    uv_loop_t loop;
    pthread_t thread;
    uv_async_t wake; /* worker_drain() from another thread */
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t drain;
    _Atomic bool drain_asked;
    _Atomic(struct worker_order *) order;
    uv_timer_t tidy; /* active while something of an earlier generation is left */
    bool draining;
    uint64_t drain_until_ms;
    struct listening *listenings;
    struct tenure *past; /* tenures that requests in flight still hold */
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
    if (status != 0) {
        outcome_refused(worker->tenure, peer, status);
    }
}

bool worker_on_connection(void *owner, const struct rule_ip *peer, int change)
{
    struct worker *worker = owner;
    struct limiter *limiter = worker->tenure->generation->connections;
    struct limiter_ask asks[2] = {
        { .limit = 0, .digest = limiter_digest(limiter, 0, "", 0), .cost = 1 },
        { .limit = 1, .digest = limiter_digest(limiter, 1, peer->bytes, sizeof peer->bytes), .cost = 1 },
    };
    if (change < 0) {
        limiter_release(limiter, asks, 2);
        metrics_connection(worker->tenure->metrics, -1);
        return true;
    }
    struct limiter_answer answers[2];
    if (limiter_admit(limiter, asks, 2, 1, answers) != LIMITER_ADMITTED) { /* slots do not know time */
        return false;
    }
    metrics_connection(worker->tenure->metrics, 1);
    return true;
}

/* ---- the loop ---- */

static void turn(struct worker *worker)
{
    exchange_settle(worker);
    for (struct listening *l = worker->life->listenings; l != NULL; l = l->next) {
        front_turn(l->front);
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
    for (const struct listening *l = worker->life->listenings; l != NULL; l = l->next) {
        count += front_active(l->front);
    }
    return count;
}

static void close_listening(struct listening *listening)
{
    front_destroy(&listening->front);
    free(listening->text);
    free(listening);
}

/* Everything that lives on the loop is closed; when the last handle is, uv_run() returns and the thread ends. */
static void close_all(struct worker *worker)
{
    struct worker_life *life = worker->life;
    while (life->listenings != NULL) {
        struct listening *first = life->listenings;
        life->listenings = first->next;
        close_listening(first);
    }
    if (worker->tenure != NULL) {
        worker->tenure->next = life->past;
        life->past = worker->tenure;
        worker->tenure = NULL;
    }
    for (struct tenure *tenure = life->past; tenure != NULL; tenure = tenure->next) {
        if (tenure->upstreams != NULL) {
            upstreams_destroy(&tenure->upstreams);
        }
    }
    uv_close((uv_handle_t *)&life->wake, NULL);
    uv_close((uv_handle_t *)&life->prepare, NULL);
    uv_close((uv_handle_t *)&life->check, NULL);
    uv_close((uv_handle_t *)&life->drain, NULL);
    uv_close((uv_handle_t *)&life->tidy, NULL);
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

static void drain(struct worker *worker)
{
    struct worker_life *life = worker->life;
    life->draining = true;
    for (struct listening *l = life->listenings; l != NULL; l = l->next) {
        if (!l->leaving) {
            close(front_drain(l->front, true));
        }
    }
    life->drain_until_ms = uv_now(worker->loop) + worker->tenure->generation->config->timeouts.shutdown_ns / 1000000;
    uv_timer_start(&life->drain, on_drain_tick, 0, DRAIN_POLL_MS);
}

/* ---- generations ---- */

/* NULL when memory is short. */
static struct tenure *tenure_begin(struct worker *worker, struct generation *generation)
{
    struct tenure *tenure = calloc(1, sizeof *tenure);
    if (tenure == NULL) {
        return NULL;
    }
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

static void tenure_end(struct tenure *tenure)
{
    CHECK(tenure->live == 0);
    atomic_fetch_sub_explicit(&tenure->generation->users, 1, memory_order_release); /* see generation.h */
    free(tenure);
}

static struct front_limits limits_of(const struct config *config)
{
    return (struct front_limits){
        .request_head = config->sizes.request_head,
        .request_body = config->sizes.request_body,
        .head_ns = config->timeouts.request_head_ns,
        .body_ns = config->timeouts.request_body_ns,
        .idle_ns = config->timeouts.idle_ns,
        /* Ours is the bound that refuses (worker_on_connection); the library's, at which it stops accepting, lies beyond it. */
        .connections = (unsigned)config->sizes.connections + 1024,
    };
}

/* `index`: of config.listens. */
static bool open_listening(struct worker *worker, size_t index, int fd, const char **why)
{
    const struct generation *generation = worker->tenure->generation;
    struct listening *listening = calloc(1, sizeof *listening);
    char *text = strdup(generation->config->listens[index].text);
    *why = "out of memory";
    if (listening == NULL || text == NULL) {
        free(listening);
        free(text);
        close(fd);
        return false;
    }
    listening->text = text;
    listening->limits = limits_of(generation->config);
    listening->tls = generation->tls[index] != NULL;
    listening->front =
        front_create(worker->loop, fd, generation->tls[index], &listening->limits, &exchange_handler, worker, why);
    if (listening->front == NULL) {
        free(text);
        free(listening);
        return false;
    }
    listening->next = worker->life->listenings;
    worker->life->listenings = listening;
    return true;
}

static struct listening *find_listening(const struct worker *worker, const char *text)
{
    struct listening *l = worker->life->listenings;
    while (l != NULL && (l->leaving || strcmp(l->text, text) != 0)) {
        l = l->next;
    }
    return l;
}

static bool same_limits(const struct front_limits *a, const struct front_limits *b)
{
    return a->request_head == b->request_head && a->request_body == b->request_body && a->head_ns == b->head_ns &&
           a->body_ns == b->body_ns && a->idle_ns == b->idle_ns && a->connections == b->connections;
}

/* What a front was built with cannot change: another takes over its socket, so that nobody who waits to be accepted is lost. */
static int socket_of_changed(struct worker *worker, size_t index, struct listening *known)
{
    const struct generation *generation = worker->tenure->generation;
    struct front_limits limits = limits_of(generation->config);
    struct tls *tls = generation->tls[index];
    if (same_limits(&limits, &known->limits) && known->tls == (tls != NULL)) {
        if (tls != NULL) {
            front_renew_tls(known->front, tls);
        }
        return -1;
    }
    known->leaving = true;
    return front_drain(known->front, false);
}

static void switch_listenings(struct worker *worker, const struct worker_order *order)
{
    const struct config *config = order->generation->config;
    for (struct listening *l = worker->life->listenings; l != NULL; l = l->next) {
        bool kept = l->leaving;
        for (size_t i = 0; i < config->listen_count && !kept; i++) {
            kept = strcmp(l->text, config->listens[i].text) == 0;
        }
        if (!kept) {
            l->leaving = true;
            close(front_drain(l->front, false));
        }
    }
    for (size_t i = 0; i < config->listen_count; i++) {
        struct listening *known = find_listening(worker, config->listens[i].text);
        int fd = known != NULL ? socket_of_changed(worker, i, known) : order->listen_fds[i];
        const char *why;
        if (fd >= 0 && !open_listening(worker, i, fd, &why)) {
            log_event("worker %u no longer listens on %s: %s", worker->index, config->listens[i].text, why);
        }
    }
}

/* What an earlier generation left behind goes when its last request has. */
static void on_tidy(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    struct worker_life *life = worker->life;
    bool left = false;
    for (struct listening **link = &life->listenings; *link != NULL;) {
        struct listening *l = *link;
        left = left || l->leaving;
        if (l->leaving && front_connections(l->front) == 0) {
            *link = l->next;
            close_listening(l);
        } else {
            link = &l->next;
        }
    }
    for (struct tenure **link = &life->past; *link != NULL;) {
        struct tenure *tenure = *link;
        left = true;
        if (tenure->live == 0 && tenure->upstreams == NULL) { /* destroyed a tick ago: its handles are closed by now */
            *link = tenure->next;
            tenure_end(tenure);
            continue;
        }
        if (tenure->live == 0) {
            upstreams_destroy(&tenure->upstreams);
        }
        link = &tenure->next;
    }
    if (!left) {
        uv_timer_stop(&life->tidy);
    }
}

static void take_order(struct worker *worker, struct worker_order *order)
{
    struct worker_life *life = worker->life;
    struct tenure *tenure = tenure_begin(worker, order->generation);
    if (tenure != NULL) {
        worker->tenure->next = life->past;
        life->past = worker->tenure;
        worker->tenure = tenure;
        switch_listenings(worker, order);
        uv_timer_start(&life->tidy, on_tidy, DRAIN_POLL_MS, DRAIN_POLL_MS);
    }
    order->failed = tenure == NULL;
    sem_post(&order->taken);
}

static void on_wake(uv_async_t *wake)
{
    struct worker *worker = wake->data;
    struct worker_life *life = worker->life;
    /* acquire: what the order points to was written before it was put there */
    struct worker_order *order = atomic_exchange_explicit(&life->order, NULL, memory_order_acquire);
    if (order != NULL) {
        take_order(worker, order);
    }
    /* relaxed: the flag only tells what for; uv_async_send() is the publication */
    if (!life->draining && atomic_load_explicit(&life->drain_asked, memory_order_relaxed)) {
        drain(worker);
    }
}

/* ---- life ---- */

static void free_worker(struct worker **worker)
{
    struct worker_life *life = (*worker)->life;
    while (life->past != NULL) {
        struct tenure *tenure = life->past;
        life->past = tenure->next;
        tenure_end(tenure);
    }
    free(life);
    free(*worker);
    *worker = NULL;
}

/* False: *why says what failed. The descriptors given are the fronts' or closed in either case. */
static bool open_listenings(struct worker *worker, const int *listen_fds, const char **why)
{
    const struct config *config = worker->tenure->generation->config;
    bool good = true;
    for (size_t i = 0; i < config->listen_count; i++) {
        good = open_listening(worker, i, listen_fds[i], why) && good;
    }
    return good;
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
    uv_timer_init(&life->loop, &life->tidy);
    life->wake.data = life->prepare.data = life->check.data = life->drain.data = life->tidy.data = worker;
    uv_prepare_start(&life->prepare, on_prepare);
    uv_check_start(&life->check, on_check);
}

struct worker *worker_start(struct generation *generation, unsigned index, const int *listen_fds, const char **why)
{
    struct worker *worker = calloc(1, sizeof *worker);
    CHECK(worker != NULL); /* at start: a process short of a page will not serve */
    worker->life = calloc(1, sizeof *worker->life);
    CHECK(worker->life != NULL);
    worker->index = index;
    id_source_init(&worker->ids);
    init_loop(worker);
    worker->tenure = tenure_begin(worker, generation);
    *why = "out of memory";
    bool good = worker->tenure != NULL && open_listenings(worker, listen_fds, why);
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

void worker_switch(struct worker *worker, struct worker_order *order)
{
    atomic_store_explicit(&worker->life->order, order, memory_order_release); /* see on_wake() */
    uv_async_send(&worker->life->wake);
}

void worker_join(struct worker **worker)
{
    pthread_join((*worker)->life->thread, NULL);
    free_worker(worker);
}
