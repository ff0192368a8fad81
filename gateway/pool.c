/* pool: see pool.h. */
#include "pool.h"

#include <stdlib.h>
#include <uv.h>

#define LOOK_MS                                                                                                        \
    5 /* how long a slot freed by another worker may go unseen: short against any connect timeout, dear to no one */

bool pool_shared_init(struct pool_shared *shared, const struct config_upstream *config)
{
    atomic_init(&shared->open, 0);
    atomic_init(&shared->checked, false);
    return balance_init(&shared->balance, config);
}

void pool_shared_fini(struct pool_shared *shared)
{
    balance_fini(&shared->balance);
}

static uint64_t ms_of(uint64_t ns)
{
    return (ns + 999999) / 1000000; /* never earlier than said */
}

static void init_server(struct pool *pool, size_t i, void (*on_name)(struct resolve *resolve))
{
    struct pool_server *server = &pool->servers[i];
    server->pool = pool;
    server->config = &pool->config->servers[i];
    server->balance = &pool->shared->balance.servers[i];
    list_init(&server->idle);
    list_init(&server->nameless);
    const struct config_server *config = server->config;
    if (config->socket != NULL) {
        resolve_init_socket(&server->resolve, pool->home->loop, config->socket, on_name);
    } else {
        resolve_init(&server->resolve, pool->home->loop, config->url.host, config->url.port, on_name);
    }
}

bool pool_init(struct pool *pool, const struct config_upstream *config, struct pool_shared *shared,
               const _Atomic unsigned *workers, const struct uplink_home *home, struct agenda *agenda,
               void (*on_name)(struct resolve *resolve))
{
    *pool = (struct pool){ .config = config, .shared = shared, .workers = workers, .home = home, .agenda = agenda };
    list_init(&pool->waiting);
    deadline_list_init(&pool->connects, ms_of(config->connect_ns));
    deadline_list_init(&pool->responses, ms_of(config->response_ns));
    deadline_list_init(&pool->idles, ms_of(config->idle_ns));
    deadline_list_init(&pool->looks, LOOK_MS);
    if (!balance_worker_init(&pool->balance, &shared->balance, uv_hrtime() ^ (uintptr_t)pool)) {
        return false;
    }
    pool->servers = calloc(config->server_count, sizeof *pool->servers);
    for (size_t i = 0; pool->servers != NULL && i < config->server_count; i++) {
        init_server(pool, i, on_name);
    }
    return pool->servers != NULL;
}

void pool_fini(struct pool *pool)
{
    balance_worker_fini(&pool->balance);
    if (pool->servers == NULL) {
        return;
    }
    CHECK(list_is_empty(&pool->waiting) && pool->open == pool->idle);
    while (pool_drop_oldest(pool)) {
    }
    for (size_t i = 0; i < pool->config->server_count; i++) {
        CHECK(list_is_empty(&pool->servers[i].nameless));
        resolve_fini(&pool->servers[i].resolve);
    }
    deadline_clear(&pool->look);
    free(pool->servers);
    pool->servers = NULL;
}

/* Slots: relaxed, the count is all there is to agree on. */

static bool take_slot(struct pool *pool)
{
    uint64_t open = atomic_load_explicit(&pool->shared->open, memory_order_relaxed);
    do {
        if (open >= pool->config->connections) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&pool->shared->open, &open, open + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    pool->open++;
    return true;
}

/* Whoever waits here hears of it before the loop sleeps. */
static void tell_waiting(struct pool *pool)
{
    if (!list_is_empty(&pool->waiting)) {
        agenda_soon(pool->agenda);
    }
}

static void free_slot(struct pool *pool)
{
    CHECK(pool->open > 0);
    pool->open--;
    atomic_fetch_sub_explicit(&pool->shared->open, 1, memory_order_relaxed);
    tell_waiting(pool);
}

bool pool_has_room(const struct pool *pool)
{
    return pool->idle > 0 ||
           atomic_load_explicit(&pool->shared->open, memory_order_relaxed) < pool->config->connections;
}

static void leave_idle(struct pool *pool, struct uplink *uplink)
{
    if (list_is_member(&uplink->link)) {
        list_leave(&uplink->link);
        deadline_clear(&uplink->idle);
        pool->idle--;
    }
}

/* The server's name means other addresses since. */
static bool is_outdated(const struct uplink *uplink)
{
    return uplink->generation != uplink->server->resolve.generation;
}

static struct uplink *take_from(struct pool_server *server)
{
    while (!list_is_empty(&server->idle)) {
        struct uplink *uplink = LIST_OWNER(server->idle.next, struct uplink, link);
        leave_idle(server->pool, uplink);
        if (!is_outdated(uplink)) {
            server->pool->reused++;
            return uplink;
        }
        pool_drop(&uplink);
    }
    return NULL;
}

struct uplink *pool_take(struct pool *pool, struct pool_server *server)
{
    if (server != NULL) {
        return take_from(server);
    }
    struct uplink *uplink = NULL;
    for (size_t i = 0; uplink == NULL && i < pool->config->server_count; i++) {
        uplink = take_from(&pool->servers[i]);
    }
    return uplink;
}

struct uplink *pool_open(struct pool_server *server, enum pool_refusal *why, const char **problem)
{
    struct pool *pool = server->pool;
    if (server->config->url.tls) {
        *why = POOL_PROBLEM;
        *problem = "TLS to upstreams is not supported";
        return NULL;
    }
    const struct sockaddr *address = resolve_next(&server->resolve);
    if (address == NULL) {
        *why = POOL_NAMELESS;
        return NULL;
    }
    if (!take_slot(pool)) {
        *why = POOL_FULL;
        return NULL;
    }
    struct uplink *uplink = uplink_open(pool->home, address, problem);
    if (uplink == NULL) {
        *why = POOL_PROBLEM;
        free_slot(pool);
        return NULL;
    }
    uplink->server = server;
    uplink->generation = server->resolve.generation;
    return uplink;
}

/* An even share of the bound; the only worker needs to leave nothing to others. See pool.h. */
static bool may_keep_another(const struct pool *pool)
{
    unsigned workers = atomic_load_explicit(pool->workers, memory_order_relaxed);
    return workers <= 1 || pool->idle < pool->config->connections / workers || !list_is_empty(&pool->waiting);
}

void pool_keep(struct uplink **uplink)
{
    struct pool_server *server = (*uplink)->server;
    struct pool *pool = server->pool;
    if (is_outdated(*uplink) || !may_keep_another(pool)) {
        pool_drop(uplink);
        return;
    }
    list_prepend(&server->idle, &(*uplink)->link);
    agenda_set(pool->agenda, &pool->idles, &(*uplink)->idle);
    pool->idle++;
    tell_waiting(pool);
    *uplink = NULL;
}

void pool_drop(struct uplink **uplink)
{
    struct pool *pool = (*uplink)->server->pool;
    leave_idle(pool, *uplink);
    uplink_close(uplink);
    free_slot(pool);
}

bool pool_drop_oldest(struct pool *pool)
{
    struct deadline *oldest = pool->idles.head.next;
    if (oldest == &pool->idles.head) {
        return false;
    }
    struct uplink *uplink = DEADLINE_OWNER(oldest, struct uplink, idle);
    pool_drop(&uplink);
    return true;
}

void pool_drop_expired(struct pool *pool)
{
    struct deadline *due;
    while ((due = deadline_take(&pool->idles, agenda_now(pool->agenda))) != NULL) {
        struct uplink *uplink = DEADLINE_OWNER(due, struct uplink, idle);
        pool_drop(&uplink);
    }
}
