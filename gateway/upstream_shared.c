/* upstream_shared: see upstream_shared.h; its functions are declared in upstream.h. */
#include "upstream_shared.h"

#include "upstream.h"

#include <stdlib.h>

struct upstream_shared *upstream_shared_create(const struct config *config)
{
    struct upstream_shared *shared = NULL;
    size_t size = sizeof *shared + config->upstream_count * sizeof shared->pools[0]; /* a multiple of their alignment */
    shared = aligned_alloc(alignof(struct pool_shared), size);
    if (shared == NULL) {
        return NULL;
    }
    atomic_init(&shared->workers, 0);
    for (shared->count = 0; shared->count < config->upstream_count; shared->count++) {
        if (!pool_shared_init(&shared->pools[shared->count], &config->upstreams[shared->count])) {
            upstream_shared_destroy(&shared);
            return NULL;
        }
    }
    return shared;
}

void upstream_shared_destroy(struct upstream_shared **shared)
{
    for (size_t i = 0; i < (*shared)->count; i++) {
        pool_shared_fini(&(*shared)->pools[i]);
    }
    free(*shared);
    *shared = NULL;
}

/* Not counted twice: what is open is counted by the pools, what is in use by the servers' balance. */
struct upstream_totals upstream_totals(const struct upstream_shared *shared, size_t upstream)
{
    CHECK(upstream < shared->count);
    const struct pool_shared *pool = &shared->pools[upstream];
    uint64_t active = 0;
    for (size_t i = 0; i < pool->balance.count; i++) {
        active += atomic_load_explicit(&pool->balance.servers[i].requests, memory_order_relaxed); /* see balance.c */
    }
    uint64_t open = atomic_load_explicit(&pool->open, memory_order_relaxed); /* see pool.c */
    active = active < open ? active : open;                                  /* the others wait for one */
    return (struct upstream_totals){ .idle = open - active, .active = active };
}

bool upstream_takes(const struct upstream_shared *shared, size_t upstream, size_t server)
{
    CHECK(upstream < shared->count && server < shared->pools[upstream].balance.count);
    return !balance_is_down(&shared->pools[upstream].balance.servers[server]);
}

bool upstream_healthy(const struct upstream_shared *shared, size_t upstream)
{
    CHECK(upstream < shared->count);
    const struct balance *balance = &shared->pools[upstream].balance;
    bool healthy = false;
    for (size_t i = 0; !healthy && i < balance->count; i++) {
        healthy = balance_is_healthy(&balance->servers[i]);
    }
    return healthy;
}
