/* metrics: what happened, as numbers. See metrics.h.
 *
 * One block of counters per worker, each on cache lines of its own, so that counting never waits for another core:
 *
 *     worker 0   [ routes: classes, duration | limits: outcomes | upstreams: duration | added latency, connections, … ]
 *     worker 1   [ the same ]
 *
 * Only its worker writes a block, so a plain load, add and store suffices where a counter shared by all would need a
 * locked instruction; the words are atomic because the scraper reads them meanwhile. It may see one counter a moment
 * older than another: each is right by itself.
 */
#include "metrics_state.h"

#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* When this process started, in seconds since 1970: the kernel keeps it in ticks since boot (proc_pid_stat(5), field
 * 22). 0 where there is no /proc. */
static uint64_t process_start(void)
{
    char stat[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    size_t length = 0;
    if (file != NULL) {
        length = fread(stat, 1, sizeof stat - 1, file);
        fclose(file);
    }
    stat[length] = 0;
    const char *field = strrchr(stat, ')'); /* the end of field 2, the program's name, which may hold anything */
    for (int number = 2; field != NULL && number < 22; number++) {
        field = strchr(field + 1, ' ');
    }
    if (field == NULL) {
        return 0;
    }
    uint64_t ticks = strtoull(field, NULL, 10);
    struct timespec now, since_boot;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &since_boot);
    return (uint64_t)(now.tv_sec - since_boot.tv_sec) + ticks / (uint64_t)sysconf(_SC_CLK_TCK);
}

struct metrics *metrics_create(const struct config *config, unsigned workers)
{
    CHECK(workers > 0);
    workers++;
    size_t routes = (config->route_count + 1) * sizeof(struct route_counts);
    size_t limits = config->limit_count * sizeof(struct limit_counts);
    size_t upstreams = config->upstream_count * sizeof(struct histogram);
    size_t needed = sizeof(struct metrics_worker) + routes + limits + upstreams;
    size_t stride = (needed + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;

    struct metrics *metrics = calloc(1, sizeof *metrics);
    char *blocks = aligned_alloc(CACHE_LINE, stride * (workers + 1));
    if (metrics == NULL || blocks == NULL) {
        free(metrics);
        free(blocks);
        return NULL;
    }
    memset(blocks, 0, stride * (workers + 1));
    *metrics = (struct metrics){ .workers = workers,
                                 .route_count = config->route_count,
                                 .limit_count = config->limit_count,
                                 .upstream_count = config->upstream_count,
                                 .stride = stride,
                                 .blocks = blocks,
                                 .process_start_s = process_start() };
    for (unsigned i = 0; i <= workers; i++) {
        struct metrics_worker *worker = metrics_block(metrics, i);
        char *arrays = (char *)(worker + 1);
        worker->metrics = metrics;
        worker->routes = (struct route_counts *)(void *)arrays;
        worker->limits = (struct limit_counts *)(void *)(arrays + routes);
        worker->upstreams = (struct histogram *)(void *)(arrays + routes + limits);
    }
    metrics->handed = metrics_block(metrics, workers);
    return metrics;
}

void metrics_destroy(struct metrics **metrics)
{
    if (*metrics != NULL) {
        free((*metrics)->blocks);
        free(*metrics);
        *metrics = NULL;
    }
}

struct metrics_worker *metrics_of(struct metrics *metrics, unsigned worker)
{
    CHECK(worker + 1 < metrics->workers);
    return metrics_block(metrics, worker);
}

/* ---- counting: on the request path ------------------------------------------------------------------------------ */

static void count(_Atomic uint64_t *word, uint64_t amount)
{
    /* relaxed: its one writer is this thread, so nothing comes between load and store, and the word publishes nothing
     * but itself */
    uint64_t was = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, was + amount, memory_order_relaxed);
}

static void observe(struct histogram *histogram, uint64_t duration_ns)
{
    size_t bucket = 0;
    while (bucket < BOUNDS && duration_ns > bounds_ns[bucket]) {
        bucket++;
    }
    count(&histogram->buckets[bucket], 1);
    count(&histogram->sum_ns, duration_ns);
}

void metrics_request(struct metrics_worker *worker, int route, unsigned status, uint64_t duration_ns)
{
    size_t none = worker->metrics->route_count;
    CHECK(route < (int)none);
    struct route_counts *counts = &worker->routes[route < 0 ? none : (size_t)route];
    if (COUNT_IF(status != 0 && (status < 100 || status > 599))) {
        status = 500; /* whatever an upstream made up: as good as broken */
    }
    unsigned class = status == 0 ? 4 : status / 100; /* 0: the client left, 499 in the log */
    count(&counts->classes[class - 1], 1);
    observe(&counts->duration, duration_ns);
}

void metrics_decision(struct metrics_worker *worker, size_t limit, enum metrics_outcome outcome)
{
    CHECK(limit < worker->metrics->limit_count && outcome < METRICS_OUTCOMES);
    count(&worker->limits[limit].outcomes[outcome], 1);
}

void metrics_upstream(struct metrics_worker *worker, size_t upstream, uint64_t duration_ns)
{
    CHECK(upstream < worker->metrics->upstream_count);
    observe(&worker->upstreams[upstream], duration_ns);
}

void metrics_added_latency(struct metrics_worker *worker, uint64_t added_ns)
{
    observe(&worker->added_latency, added_ns);
}

void metrics_connection(struct metrics_worker *worker, int change)
{
    count(&worker->open_connections, (uint64_t)(int64_t)change); /* -1 wraps round to one less */
}

void metrics_bad_cost(struct metrics_worker *worker)
{
    count(&worker->bad_costs, 1);
}

/* ---- reading: when scraped -------------------------------------------------------------------------------------- */

uint64_t metrics_open_connections(const struct metrics *metrics)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->workers; i++) {
        sum += metrics_value(&metrics_block(metrics, i)->open_connections);
    }
    return sum;
}

struct metrics_limit_counts metrics_limit(const struct metrics *metrics, size_t limit)
{
    CHECK(limit < metrics->limit_count);
    struct metrics_limit_counts sum = { 0 };
    for (unsigned i = 0; i < metrics->workers; i++) {
        const struct limit_counts *counts = &metrics_block(metrics, i)->limits[limit];
        for (size_t outcome = 0; outcome < METRICS_OUTCOMES; outcome++) {
            sum.outcomes[outcome] += metrics_value(&counts->outcomes[outcome]);
        }
    }
    return sum;
}

/* ---- handing over: at a reload ---------------------------------------------------------------------------------- */

/* `words` counters that lie at the same `offset` in each of the giver's blocks and at `to` in the heir's. */
static void hand_over(struct metrics *from, const void *in_block_0, _Atomic uint64_t *to, size_t words)
{
    size_t offset = (size_t)((const char *)in_block_0 - from->blocks);
    _Atomic uint64_t *handed = (_Atomic uint64_t *)(void *)((char *)from->handed + offset);
    for (size_t word = 0; word < words; word++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < from->workers; i++) {
            const char *at = from->blocks + i * from->stride + offset;
            sum += metrics_value((const _Atomic uint64_t *)(const void *)at + word);
        }
        count(&to[word], sum - metrics_value(&handed[word]));
        count(&handed[word], sum - metrics_value(&handed[word]));
    }
}

/* Where `name` stands in a list whose order seldom changes: looked for behind the last one found, then everywhere. */
static size_t find_name(const char *(*name_of)(const struct config *, size_t), const struct config *config,
                        size_t length, const char *name, size_t *cursor)
{
    for (size_t i = 0; i < length; i++) {
        size_t at = (*cursor + i) % length;
        if (strcmp(name_of(config, at), name) == 0) {
            *cursor = at + 1;
            return at;
        }
    }
    return length;
}

static const char *name_of_route(const struct config *config, size_t i)
{
    return config->routes[i].name;
}

static const char *name_of_limit(const struct config *config, size_t i)
{
    return config->limits[i].name;
}

static const char *name_of_upstream(const struct config *config, size_t i)
{
    return config->upstreams[i].name;
}

/* One kind of labelled counters: `size` bytes of words for each name. */
struct family {
    const char *(*name_of)(const struct config *, size_t);
    const void *giver;
    void *heir;
    size_t giver_count, heir_count, size;
};

static void hand_family(struct metrics *from, const struct config *from_config, const struct config *into_config,
                        struct family family)
{
    size_t cursor = 0;
    for (size_t i = 0; i < family.giver_count; i++) {
        const char *name = family.name_of(from_config, i);
        size_t at = find_name(family.name_of, into_config, family.heir_count, name, &cursor);
        if (at < family.heir_count) {
            hand_over(from, (const char *)family.giver + i * family.size,
                      (void *)((char *)family.heir + at * family.size), family.size / sizeof(uint64_t));
        }
    }
}

void metrics_inherit(struct metrics *into, const struct config *into_config, struct metrics *from,
                     const struct config *from_config)
{
    struct metrics_worker *heir = metrics_block(into, into->workers - 1);
    const struct metrics_worker *giver = metrics_block(from, 0);
    const struct family families[] = {
        { name_of_route, giver->routes, heir->routes, from->route_count, into->route_count,
          sizeof(struct route_counts) },
        { name_of_limit, giver->limits, heir->limits, from->limit_count, into->limit_count,
          sizeof(struct limit_counts) },
        { name_of_upstream, giver->upstreams, heir->upstreams, from->upstream_count, into->upstream_count,
          sizeof(struct histogram) },
    };
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        hand_family(from, from_config, into_config, families[i]);
    }
    hand_over(from, &giver->routes[from->route_count], (void *)&heir->routes[into->route_count],
              sizeof(struct route_counts) / sizeof(uint64_t));
    hand_over(from, &giver->added_latency, (void *)&heir->added_latency, sizeof(struct histogram) / sizeof(uint64_t));
    hand_over(from, &giver->open_connections, &heir->open_connections, 1);
    hand_over(from, &giver->bad_costs, &heir->bad_costs, 1);
}
