/* metrics_text: the exposition. What metrics.c counted and what the gauges say at this moment, in Prometheus' text format. */
#include "metrics_state.h"

#include "check.h"
#include "exposition.h"

#include <stdlib.h>
#include <string.h>

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
        sum->buckets[i] += metrics_value(&histogram->buckets[i]);
    }
    sum->sum_ns += metrics_value(&histogram->sum_ns);
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
                sum += metrics_value(&metrics_block(scrape->metrics, i)->routes[route].classes[class]);
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
            add_histogram(&sum, &metrics_block(scrape->metrics, i)->routes[route].duration);
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
            add_histogram(&sum, &metrics_block(scrape->metrics, i)->upstreams[upstream]);
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
        add_histogram(&sum, &metrics_block(scrape->metrics, i)->added_latency);
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
        bad_costs += metrics_value(&metrics_block(scrape->metrics, i)->bad_costs);
    }
    write_single(out, "weir_open_connections", "gauge", "Client connections that are open.",
                 metrics_open_connections(scrape->metrics));
    write_single(out, "weir_bad_cost_total", "counter", "Requests whose cost header held no number: they cost 1.",
                 bad_costs);
    write_single(out, "weir_log_lines_dropped_total", "counter",
                 "Access log lines given up because the log could not be written fast enough.",
                 scrape->sources->log_lines_dropped);
    exposition_family(out, "weir_config_reloads_total", "counter", "Reloads asked for, by how they ended.");
    struct exposition_label result = { "result", "success" };
    exposition_sample(out, "", &result, 1, scrape->sources->reloads);
    result.value = "failure";
    exposition_sample(out, "", &result, 1, scrape->sources->reloads_failed);
    write_single(out, "weir_surprises_total", "counter", "Harmless things that should not happen. Worth a report.",
                 metrics_value(&check_surprises));
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
