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
#include "metrics.h"

#include "check.h"
#include "exposition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
    unsigned workers;
    size_t route_count, limit_count, upstream_count;
    size_t stride; /* bytes from one block to the next */
    char *blocks;
    uint64_t process_start_s; /* since 1970; 0 unknown */
};

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

static struct metrics_worker *block(const struct metrics *metrics, unsigned worker)
{
    return (struct metrics_worker *)(void *)(metrics->blocks + worker * metrics->stride);
}

struct metrics *metrics_create(const struct config *config, unsigned workers)
{
    CHECK(workers > 0);
    size_t routes = (config->route_count + 1) * sizeof(struct route_counts);
    size_t limits = config->limit_count * sizeof(struct limit_counts);
    size_t upstreams = config->upstream_count * sizeof(struct histogram);
    size_t needed = sizeof(struct metrics_worker) + routes + limits + upstreams;
    size_t stride = (needed + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;

    struct metrics *metrics = calloc(1, sizeof *metrics);
    char *blocks = aligned_alloc(CACHE_LINE, stride * workers);
    if (metrics == NULL || blocks == NULL) {
        free(metrics);
        free(blocks);
        return NULL;
    }
    memset(blocks, 0, stride * workers);
    *metrics = (struct metrics){ .workers = workers,
                                 .route_count = config->route_count,
                                 .limit_count = config->limit_count,
                                 .upstream_count = config->upstream_count,
                                 .stride = stride,
                                 .blocks = blocks,
                                 .process_start_s = process_start() };
    for (unsigned i = 0; i < workers; i++) {
        struct metrics_worker *worker = block(metrics, i);
        char *arrays = (char *)(worker + 1);
        worker->metrics = metrics;
        worker->routes = (struct route_counts *)(void *)arrays;
        worker->limits = (struct limit_counts *)(void *)(arrays + routes);
        worker->upstreams = (struct histogram *)(void *)(arrays + routes + limits);
    }
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
    CHECK(worker < metrics->workers);
    return block(metrics, worker);
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

static uint64_t value_of(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed); /* relaxed: no other word is read on the strength of it */
}

uint64_t metrics_open_connections(const struct metrics *metrics)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->workers; i++) {
        sum += value_of(&block(metrics, i)->open_connections);
    }
    return sum;
}

struct metrics_limit_counts metrics_limit(const struct metrics *metrics, size_t limit)
{
    CHECK(limit < metrics->limit_count);
    struct metrics_limit_counts sum = { 0 };
    for (unsigned i = 0; i < metrics->workers; i++) {
        const struct limit_counts *counts = &block(metrics, i)->limits[limit];
        for (size_t outcome = 0; outcome < METRICS_OUTCOMES; outcome++) {
            sum.outcomes[outcome] += value_of(&counts->outcomes[outcome]);
        }
    }
    return sum;
}

/* What one scrape is made of. */
struct scrape {
    const struct metrics *metrics;
    const struct config *config;
    const struct metrics_sources *sources;
    struct exposition out;
};

struct histogram_sum {
    uint64_t buckets[BOUNDS + 1];
    uint64_t sum_ns;
};

static void add_histogram(struct histogram_sum *sum, const struct histogram *histogram)
{
    for (size_t i = 0; i <= BOUNDS; i++) {
        sum->buckets[i] += value_of(&histogram->buckets[i]);
    }
    sum->sum_ns += value_of(&histogram->sum_ns);
}

/* `label`: the one the histogram has, or one without a name. */
static void write_histogram(struct exposition *out, const struct histogram_sum *sum, struct exposition_label label)
{
    size_t named = label.name != NULL;
    uint64_t below = 0;
    for (size_t i = 0; i <= BOUNDS; i++) {
        char bound[EXPOSITION_SECONDS] = "+Inf";
        if (i < BOUNDS) {
            exposition_seconds_text(bounds_ns[i], bound);
        }
        struct exposition_label labels[2] = { label };
        labels[named] = (struct exposition_label){ "le", bound };
        below += sum->buckets[i];
        exposition_sample(out, "_bucket", labels, named + 1, below);
    }
    exposition_seconds(out, "_sum", &label, named, sum->sum_ns);
    exposition_sample(out, "_count", &label, named, below); /* of the same readings, so that it equals +Inf */
}

static const char *route_name(const struct scrape *scrape, size_t route)
{
    return route < scrape->config->route_count ? scrape->config->routes[route].name : "";
}

static void write_requests(struct scrape *scrape)
{
    static const char *const class_names[STATUS_CLASSES] = { "1xx", "2xx", "3xx", "4xx", "5xx" };
    exposition_family(&scrape->out, "weir_requests_total", "counter",
                      "Requests answered, by route (empty: none matched or the head was refused) and class of status.");
    for (size_t route = 0; route <= scrape->metrics->route_count; route++) {
        for (size_t class = 0; class < STATUS_CLASSES; class ++) {
            uint64_t sum = 0;
            for (unsigned i = 0; i < scrape->metrics->workers; i++) {
                sum += value_of(&block(scrape->metrics, i)->routes[route].classes[class]);
            }
            struct exposition_label labels[] = { { "route", route_name(scrape, route) },
                                                 { "status_class", class_names[class] } };
            exposition_sample(&scrape->out, "", labels, 2, sum);
        }
    }
}

static void write_request_durations(struct scrape *scrape)
{
    exposition_family(&scrape->out, "weir_request_duration_seconds", "histogram",
                      "From the request's head to the last byte of the answer.");
    for (size_t route = 0; route <= scrape->metrics->route_count; route++) {
        struct histogram_sum sum = { 0 };
        for (unsigned i = 0; i < scrape->metrics->workers; i++) {
            add_histogram(&sum, &block(scrape->metrics, i)->routes[route].duration);
        }
        write_histogram(&scrape->out, &sum, (struct exposition_label){ "route", route_name(scrape, route) });
    }
}

static void write_upstream_durations(struct scrape *scrape)
{
    exposition_family(&scrape->out, "weir_upstream_duration_seconds", "histogram",
                      "What the upstream took of a request, connecting included.");
    for (size_t upstream = 0; upstream < scrape->metrics->upstream_count; upstream++) {
        struct histogram_sum sum = { 0 };
        for (unsigned i = 0; i < scrape->metrics->workers; i++) {
            add_histogram(&sum, &block(scrape->metrics, i)->upstreams[upstream]);
        }
        const char *name = scrape->config->upstreams[upstream].name;
        write_histogram(&scrape->out, &sum, (struct exposition_label){ "upstream", name });
    }
}

static void write_added_latency(struct scrape *scrape)
{
    exposition_family(&scrape->out, "weir_added_latency_seconds", "histogram",
                      "What weir itself added to a proxied request: its duration minus the upstream's.");
    struct histogram_sum sum = { 0 };
    for (unsigned i = 0; i < scrape->metrics->workers; i++) {
        add_histogram(&sum, &block(scrape->metrics, i)->added_latency);
    }
    write_histogram(&scrape->out, &sum, (struct exposition_label){ NULL, NULL });
}

static void write_decisions(struct scrape *scrape)
{
    static const char *const outcome_names[METRICS_OUTCOMES] = {
        [METRICS_ALLOWED] = "allowed", [METRICS_DENIED] = "denied", [METRICS_SHADOWED] = "shadowed",
        [METRICS_DELAYED] = "delayed", [METRICS_QUEUED] = "queued", [METRICS_SKIPPED] = "skipped",
        [METRICS_ERROR] = "error",
    };
    exposition_family(&scrape->out, "weir_limit_decisions_total", "counter", "What each limit said to requests.");
    for (size_t limit = 0; limit < scrape->metrics->limit_count; limit++) {
        struct metrics_limit_counts counts = metrics_limit(scrape->metrics, limit);
        for (size_t outcome = 0; outcome < METRICS_OUTCOMES; outcome++) {
            struct exposition_label labels[] = { { "limit", scrape->config->limits[limit].name },
                                                 { "outcome", outcome_names[outcome] } };
            exposition_sample(&scrape->out, "", labels, 2, counts.outcomes[outcome]);
        }
    }
}

/* All concurrency limits share one table, so one walk of it serves them all. NULL when memory is short. */
static struct limiter_usage *read_usage(const struct scrape *scrape)
{
    size_t limit_count = scrape->metrics->limit_count;
    struct limiter_usage *usage = calloc(limit_count + 1, sizeof *usage);
    const struct limiter_usage *shared = NULL;
    for (size_t limit = 0; usage != NULL && limit < limit_count; limit++) {
        bool concurrency = scrape->config->limits[limit].kind == CONFIG_LIMIT_CONCURRENCY;
        if (concurrency && shared != NULL) {
            usage[limit] = *shared;
            continue;
        }
        usage[limit] = limiter_usage(scrape->sources->limiter, (uint32_t)limit, scrape->sources->now_ns);
        if (concurrency) {
            shared = &usage[limit];
        }
    }
    return usage;
}

static void write_usage(struct scrape *scrape)
{
    struct limiter_usage *usage = read_usage(scrape);
    if (usage == NULL) {
        scrape->out.failed = true;
        return;
    }
    exposition_family(
        &scrape->out, "weir_limit_keys", "gauge",
        "Keys that owe tokens now; for concurrency limits, which share one table, the keys of all of them.");
    for (size_t limit = 0; limit < scrape->metrics->limit_count; limit++) {
        struct exposition_label label = { "limit", scrape->config->limits[limit].name };
        exposition_sample(&scrape->out, "", &label, 1, usage[limit].keys);
    }
    exposition_family(&scrape->out, "weir_limit_live_evictions_total", "counter",
                      "Debts forgotten because the table was full: raise state.keys when this grows.");
    for (size_t limit = 0; limit < scrape->metrics->limit_count; limit++) {
        struct exposition_label label = { "limit", scrape->config->limits[limit].name };
        exposition_sample(&scrape->out, "", &label, 1, usage[limit].live_evictions);
    }
    free(usage);
}

/* A server may be listed twice; its series must not. */
static bool listed_before(const struct config_upstream *upstream, size_t server)
{
    for (size_t i = 0; i < server; i++) {
        if (strcmp(upstream->servers[i].text, upstream->servers[server].text) == 0) {
            return true;
        }
    }
    return false;
}

static void write_upstreams(struct scrape *scrape)
{
    const struct metrics_sources *sources = scrape->sources;
    size_t upstream_count = scrape->metrics->upstream_count;
    if (sources->upstream_healthy != NULL) {
        exposition_family(&scrape->out, "weir_upstream_healthy", "gauge", "1 while requests are sent to the server.");
    }
    for (size_t u = 0; sources->upstream_healthy != NULL && u < upstream_count; u++) {
        const struct config_upstream *upstream = &scrape->config->upstreams[u];
        for (size_t s = 0; s < upstream->server_count; s++) {
            struct exposition_label labels[] = { { "upstream", upstream->name },
                                                 { "server", upstream->servers[s].text } };
            if (!listed_before(upstream, s)) {
                exposition_sample(&scrape->out, "", labels, 2, sources->upstream_healthy(sources->user, u, s));
            }
        }
    }
    if (sources->upstream_connections != NULL) {
        exposition_family(&scrape->out, "weir_upstream_connections", "gauge", "Open connections to the upstream.");
    }
    for (size_t u = 0; sources->upstream_connections != NULL && u < upstream_count; u++) {
        uint64_t idle = 0, active = 0;
        sources->upstream_connections(sources->user, u, &idle, &active);
        struct exposition_label labels[] = { { "upstream", scrape->config->upstreams[u].name }, { "state", "idle" } };
        exposition_sample(&scrape->out, "", labels, 2, idle);
        labels[1].value = "active";
        exposition_sample(&scrape->out, "", labels, 2, active);
    }
}

static void write_single(struct exposition *out, const char *name, const char *type, const char *help, uint64_t value)
{
    exposition_family(out, name, type, help);
    exposition_sample(out, "", NULL, 0, value);
}

static void write_process(struct scrape *scrape)
{
    struct exposition *out = &scrape->out;
    uint64_t bad_costs = 0;
    for (unsigned i = 0; i < scrape->metrics->workers; i++) {
        bad_costs += value_of(&block(scrape->metrics, i)->bad_costs);
    }
    write_single(out, "weir_open_connections", "gauge", "Client connections that are open.",
                 metrics_open_connections(scrape->metrics));
    write_single(out, "weir_bad_cost_total", "counter", "Requests whose cost header held no number: they cost 1.",
                 bad_costs);
    write_single(out, "weir_log_lines_dropped_total", "counter",
                 "Access log lines given up because the log could not be written fast enough.",
                 scrape->sources->log_lines_dropped);
    write_single(out, "weir_surprises_total", "counter", "Harmless things that should not happen. Worth a report.",
                 value_of(&check_surprises));
    exposition_family(out, "weir_build_info", "gauge", "Always 1; the version is in the label.");
    struct exposition_label version = { "version", WEIR_VERSION };
    exposition_sample(out, "", &version, 1, 1);
    if (scrape->metrics->process_start_s != 0) {
        write_single(out, "process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.",
                     scrape->metrics->process_start_s);
    }
}

char *metrics_text(const struct metrics *metrics, const struct config *config, const struct metrics_sources *sources,
                   size_t *length)
{
    CHECK(config->route_count == metrics->route_count && config->limit_count == metrics->limit_count &&
          config->upstream_count == metrics->upstream_count);
    struct scrape scrape = { .metrics = metrics, .config = config, .sources = sources };
    write_requests(&scrape);
    write_request_durations(&scrape);
    write_upstream_durations(&scrape);
    write_added_latency(&scrape);
    write_decisions(&scrape);
    write_usage(&scrape);
    write_upstreams(&scrape);
    write_process(&scrape);
    return exposition_finish(&scrape.out, length);
}
