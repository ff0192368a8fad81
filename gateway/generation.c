/* generation: see generation.h. */
#include "generation.h"

#include <stdlib.h>
#include <sys/random.h>

static struct limiter *connection_limiter(const struct config *config)
{
    uint8_t secret[LIMITER_SECRET_SIZE];
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) {
        return NULL;
    }
    uint64_t per_ip = config->sizes.connections_per_ip;
    struct limiter_rule rules[2] = {
        { .name = "connections", .kind = LIMITER_CONCURRENCY, .in_flight = config->sizes.connections },
        { .name = "connections_per_ip", .kind = LIMITER_CONCURRENCY, .in_flight = per_ip > 0 ? per_ip : 1 },
    };
    return limiter_create(rules, 2, per_ip > 0 ? (size_t)config->sizes.connections + 1 : 1, secret);
}

static bool build(struct generation *generation, unsigned workers, const char **why)
{
    const struct config *config = generation->config;
    *why = "out of memory";
    generation->routes = routes_create(config);
    generation->policies = reply_policies_create(config);
    generation->admit = admit_create(config);
    generation->metrics = metrics_create(config, workers);
    generation->upstreams = upstream_shared_create(config);
    generation->connections = connection_limiter(config);
    generation->connections_per_ip = config->sizes.connections_per_ip > 0;
    if (generation->routes == NULL || generation->policies == NULL || generation->admit == NULL ||
        generation->metrics == NULL || generation->upstreams == NULL || generation->connections == NULL) {
        return false;
    }
    generation->log = log_create(config, workers, why);
    return generation->log != NULL;
}

struct generation *generation_create(struct config *config, unsigned workers, const char **why)
{
    struct generation *generation = calloc(1, sizeof *generation);
    *why = "out of memory";
    if (generation == NULL) {
        config_free(&config);
        return NULL;
    }
    generation->config = config;
    if (!build(generation, workers, why)) {
        generation_destroy(&generation);
    }
    return generation;
}

void generation_destroy(struct generation **destroyed)
{
    struct generation *generation = *destroyed;
    *destroyed = NULL;
    CHECK(atomic_load_explicit(&generation->users, memory_order_acquire) == 0); /* see generation.h */
    if (generation->log != NULL) {
        log_destroy(&generation->log);
    }
    limiter_destroy(&generation->connections);
    upstream_shared_destroy(&generation->upstreams);
    metrics_destroy(&generation->metrics);
    admit_destroy(&generation->admit);
    reply_policies_destroy(&generation->policies);
    routes_destroy(&generation->routes);
    config_free(&generation->config);
    free(generation);
}
