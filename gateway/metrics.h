/* metrics: what happened, as numbers. Per-worker counters, summed only when scraped.
 *
 * Each worker writes its own block (relaxed loads and stores, one writer), the scraper adds the blocks up. The number
 * of series is fixed by the config: never a label per key. Prometheus text format 0.0.4.
 */
#ifndef WEIR_METRICS_H
#define WEIR_METRICS_H

#include "check.h"
#include "config.h"
#include "limiter.h"

struct metrics;        /* the process's */
struct metrics_worker; /* one thread's block */

/* Takes its size from the config and keeps nothing of it. NULL when memory is short. */
MUST_CHECK struct metrics *metrics_create(const struct config *config, unsigned workers);
void metrics_destroy(struct metrics **metrics);
/* A reload makes new metrics; counters must not fall because of it. Adds to `into` what `from` counted since it was last inherited from, label by
 * label of the same name: when `into` begins, and again when the last request of `from` has ended. One thread at a time. */
void metrics_inherit(struct metrics *into, const struct config *into_config, struct metrics *from,
                     const struct config *from_config);
struct metrics_worker *metrics_of(struct metrics *metrics, unsigned worker);

enum metrics_outcome {
    METRICS_ALLOWED,
    METRICS_DENIED,
    METRICS_SHADOWED,
    METRICS_DELAYED,
    METRICS_QUEUED,
    METRICS_SKIPPED,
    METRICS_ERROR,
    METRICS_OUTCOMES
};

/* Route -1: no route matched or the request was refused before (label route=""). */
void metrics_request(struct metrics_worker *worker, int route, unsigned status, uint64_t duration_ns);
void metrics_decision(struct metrics_worker *worker, size_t limit, enum metrics_outcome outcome);
void metrics_upstream(struct metrics_worker *worker, size_t upstream, uint64_t duration_ns);
/* What weir itself added to a proxied request: total minus the upstream's time. */
void metrics_added_latency(struct metrics_worker *worker, uint64_t added_ns);
void metrics_connection(struct metrics_worker *worker, int change); /* +1 opened, -1 closed */
void metrics_bad_cost(struct metrics_worker *worker);               /* a cost header that was no number */
uint64_t metrics_open_connections(const struct metrics *metrics);

struct metrics_limit_counts {
    uint64_t outcomes[METRICS_OUTCOMES];
};
struct metrics_limit_counts metrics_limit(const struct metrics *metrics, size_t limit);

/* Gauges the scrape asks for at the moment it is written. */
struct metrics_sources {
    const struct limiter *limiter; /* of the same config; its tables are walked */
    uint64_t now_ns;
    /* Totals over all workers of one upstream, the health of one server. NULL: those families are left out. */
    void (*upstream_connections)(void *user, size_t upstream, uint64_t *idle, uint64_t *active);
    bool (*upstream_healthy)(void *user, size_t upstream, size_t server);
    void *user;
    uint64_t log_lines_dropped;
    uint64_t reloads, reloads_failed;
};
/* The whole exposition, malloc'd, NUL-terminated; NULL when memory is short. `config`: the one given to
 * metrics_create(), or one of the same shape: names are taken from it. Any thread, while the workers count. */
MUST_CHECK char *metrics_text(const struct metrics *metrics, const struct config *config,
                              const struct metrics_sources *sources, size_t *length);

#endif
