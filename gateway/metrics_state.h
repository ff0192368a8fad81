/* metrics_state: how the counters lie in memory: for metrics.c, which counts, and metrics_text.c, which writes them down. Nobody else includes it. */
#ifndef WEIR_METRICS_STATE_H
#define WEIR_METRICS_STATE_H

#include "metrics.h"

#define CACHE_LINE 64

/* Upper bounds of the histograms' buckets, the same for all durations. Three per decade (1, 2.5, 5): a quantile read
 * from them is off by a factor of 2.5 at most. They begin where weir's own work does (a refusal takes some 10 µs) and
 * end above the 30 s that an upstream may take by default. */
#define DECADE(unit) UINT64_C(unit), UINT64_C(unit) * 5 / 2, UINT64_C(unit) * 5
static const uint64_t bounds_ns[] = { DECADE(10000),     DECADE(100000),     DECADE(1000000),    DECADE(10000000),
                                      DECADE(100000000), DECADE(1000000000), DECADE(10000000000) };
#define BOUNDS (sizeof bounds_ns / sizeof *bounds_ns)

struct histogram {
    _Atomic uint64_t buckets[BOUNDS + 1]; /* the last: above all bounds. Not cumulative: one addition per event */
    _Atomic uint64_t sum_ns;
};

#define STATUS_CLASSES 5 /* 1xx … 5xx */
struct route_counts {
    _Atomic uint64_t classes[STATUS_CLASSES];
    struct histogram duration;
};

struct limit_counts {
    _Atomic uint64_t outcomes[METRICS_OUTCOMES];
};

struct metrics_worker {
    const struct metrics *metrics; /* for the bounds of the arrays, which follow the struct in one piece of memory: */
    struct route_counts *routes;   /* route_count, and one for requests without a route */
    struct limit_counts *limits;   /* limit_count */
    struct histogram *upstreams;   /* upstream_count */
    struct histogram added_latency;
    _Atomic uint64_t open_connections; /* opened here minus closed here */
    _Atomic uint64_t bad_costs;
};

struct metrics {
    unsigned workers;              /* blocks that are summed: one per worker, and one of what was inherited */
    struct metrics_worker *handed; /* a block of its own: what heirs have taken over already */
    size_t route_count, limit_count, upstream_count;
    size_t stride; /* bytes from one block to the next */
    char *blocks;
    uint64_t process_start_s; /* since 1970; 0 unknown */
};

static inline struct metrics_worker *metrics_block(const struct metrics *metrics, unsigned worker)
{
    return (struct metrics_worker *)(void *)(metrics->blocks + worker * metrics->stride);
}

static inline uint64_t metrics_value(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed); /* relaxed: no other word is read on the strength of it */
}

#endif
