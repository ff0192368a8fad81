/* generation: see generation.h. */
#include "generation.h"

#include <stdlib.h>
#include <sys/random.h>

/* In-flight counts of client connections; a connection may open under one config and close under another. */
static struct limiter *connection_limiter(const struct config *config, const struct generation *previous)
{
    uint8_t secret[LIMITER_SECRET_SIZE];
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) {
        return NULL;
    }
    uint64_t per_ip = config->sizes.connections_per_ip;
    struct limiter_rule rules[2] = {
        { .name = "connections", .kind = LIMITER_CONCURRENCY, .in_flight = config->sizes.connections },
        /* counted even where it is not bounded, so that a reload may bound it */
        { .name = "connections_per_ip",
          .kind = LIMITER_CONCURRENCY,
          .in_flight = per_ip > 0 ? per_ip : config->sizes.connections },
    };
    size_t keys = (size_t)config->sizes.connections + 1;
    return previous != NULL ? limiter_create_from(previous->connections, rules, 2, keys, 1)
                            : limiter_create(rules, 2, keys, secret);
}

/* NULL and a sentence in *why. */
static struct tls **create_tls(const struct config *config, const char **why)
{
    struct tls **tls = calloc(config->listen_count, sizeof(struct tls *));
    for (size_t i = 0; tls != NULL && i < config->listen_count; i++) {
        if (config->listens[i].certificate_count > 0 && (tls[i] = tls_create(&config->listens[i], why)) == NULL) {
            while (i-- > 0) {
                tls_drop(&tls[i]);
            }
            free(tls);
            return NULL;
        }
    }
    return tls;
}

static bool build(struct generation *generation, unsigned workers, struct generation *previous, uint64_t now_ns,
                  const char **why)
{
    const struct config *config = generation->config;
    *why = "out of memory";
    generation->routes = routes_create(config);
    generation->policies = reply_policies_create(config);
    generation->admit = admit_create(config, previous != NULL ? previous->admit : NULL, now_ns);
    generation->metrics = metrics_create(config, workers);
    generation->upstreams = upstream_shared_create(config);
    generation->connections = connection_limiter(config, previous);
    if (generation->routes == NULL || generation->policies == NULL || generation->admit == NULL ||
        generation->metrics == NULL || generation->upstreams == NULL || generation->connections == NULL) {
        return false;
    }
    generation->tls = create_tls(config, why);
    if (generation->tls == NULL) {
        return false;
    }
    generation->log = log_create(config, workers, why);
    if (generation->log == NULL) {
        return false;
    }
    if (previous != NULL) {
        metrics_inherit(generation->metrics, config, previous->metrics, previous->config);
    }
    return true;
}

struct generation *generation_create(struct config *config, unsigned workers, struct generation *previous,
                                     uint64_t now_ns, const char **why)
{
    struct generation *generation = calloc(1, sizeof *generation);
    *why = "out of memory";
    if (generation == NULL) {
        config_free(&config);
        return NULL;
    }
    generation->config = config;
    generation->process = previous != NULL ? previous->process : NULL;
    if (!build(generation, workers, previous, now_ns, why)) {
        generation_destroy(&generation, NULL);
    }
    return generation;
}

void generation_destroy(struct generation **destroyed, const struct generation *heir)
{
    struct generation *generation = *destroyed;
    *destroyed = NULL;
    if (heir != NULL && generation->metrics != NULL) {
        metrics_inherit(heir->metrics, heir->config, generation->metrics, generation->config);
    }
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
    for (size_t i = 0; generation->tls != NULL && i < generation->config->listen_count; i++) {
        tls_drop(&generation->tls[i]);
    }
    free(generation->tls);
    config_free(&generation->config);
    free(generation);
}
