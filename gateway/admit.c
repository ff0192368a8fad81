/* admit: see admit.h. */
#include "admit.h"

#include <stdlib.h>
#include <sys/random.h>

struct admit {
    const struct config *config;
    struct limiter *limiter;
    /* Per limit: about how long a slot is held, an exponential average (1/8 of each new value). Relaxed: a hint, lost updates only make it learn slower. */
    _Atomic uint64_t *held_ns;
};

static struct limiter_rule rule_of(const struct config_limit *limit)
{
    struct limiter_rule rule = { .name = limit->name };
    if (limit->kind == CONFIG_LIMIT_CONCURRENCY) {
        rule.kind = LIMITER_CONCURRENCY;
        rule.in_flight = limit->concurrency;
    } else {
        rule.kind = LIMITER_TOKEN_BUCKET;
        rule.tokens = limit->rate.tokens;
        rule.period_ns = limit->rate.period_ns;
        rule.burst = limit->burst;
        rule.keys = limit->keys;
    }
    return rule;
}

/* How many (limit, key) pairs can be in flight: every connection times the most concurrency limits a route has. */
static size_t in_flight_keys(const struct config *config)
{
    size_t most = 0;
    for (size_t r = 0; r < config->route_count; r++) {
        size_t count = 0;
        for (size_t i = 0; i < config->routes[r].limit_count; i++) {
            count += config->limits[config->routes[r].limits[i]].kind == CONFIG_LIMIT_CONCURRENCY;
        }
        most = count > most ? count : most;
    }
    return most * (size_t)config->sizes.connections;
}

struct admit *admit_create(const struct config *config, const struct admit *previous, uint64_t now_ns)
{
    struct admit *admit = calloc(1, sizeof *admit);
    struct limiter_rule *rules = calloc(config->limit_count + 1, sizeof *rules);
    uint8_t secret[LIMITER_SECRET_SIZE];
    if (admit != NULL && rules != NULL && getrandom(secret, sizeof secret, 0) == (ssize_t)sizeof secret) {
        for (size_t i = 0; i < config->limit_count; i++) {
            rules[i] = rule_of(&config->limits[i]);
        }
        admit->config = config;
        size_t keys = in_flight_keys(config);
        admit->limiter = previous != NULL
                             ? limiter_create_from(previous->limiter, rules, config->limit_count, keys, now_ns)
                             : limiter_create(rules, config->limit_count, keys, secret);
        admit->held_ns = calloc(config->limit_count + 1, sizeof *admit->held_ns);
    }
    free(rules);
    if (admit != NULL && (admit->limiter == NULL || admit->held_ns == NULL)) {
        admit_destroy(&admit);
    }
    return admit;
}

void admit_destroy(struct admit **admit)
{
    if (*admit != NULL) {
        limiter_destroy(&(*admit)->limiter);
        free((*admit)->held_ns);
        free(*admit);
        *admit = NULL;
    }
}

struct limiter *admit_limiter(struct admit *admit)
{
    return admit->limiter;
}

/* A plain decimal number of any length; beyond COST_MOST, which no burst reaches, it stays there. */
#define COST_MOST UINT64_C(1000000000000000000)
static bool read_number(struct slice text, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < text.length; i++) {
        unsigned digit = (unsigned char)text.at[i] - (unsigned)'0';
        if (digit > 9) {
            return false;
        }
        *number = *number < COST_MOST / 10 ? *number * 10 + digit : COST_MOST;
    }
    return text.length > 0;
}

/* A cost from a header is clamped to 1 … burst (here and in clamp_cost()). What is no number, or more than one (lines are one list,
 * RFC 9110 §5.3), costs 1 and is counted. */
static uint64_t request_cost(const struct request *request, const struct config_route *route,
                             struct metrics_worker *metrics)
{
    if (route->cost.header == NULL) {
        return route->cost.constant;
    }
    struct slice name = { route->cost.header, strlen(route->cost.header) };
    uint64_t cost = 0;
    unsigned good = 0, found = 0;
    for (size_t i = 0; i < request->field_count; i++) {
        if (slice_equals_nocase(request->fields[i].name, name)) {
            found++;
            good += read_number(request->fields[i].value, &cost);
        }
    }
    if (found != 1 || good != 1) {
        metrics_bad_cost(metrics);
        return 1;
    }
    return cost > 0 ? cost : 1;
}

static uint64_t clamp_cost(const struct config_limit *limit, const struct config_route *route, uint64_t cost)
{
    if (limit->kind == CONFIG_LIMIT_CONCURRENCY) {
        return 1;
    }
    return route->cost.header != NULL && cost > limit->burst ? limit->burst : cost;
}

/* False: the request is refused before the limiter is asked; the verdict is set. */
static bool gather(struct admit *admit, const struct request *request, const struct identity *identity,
                   const struct config_route *route, struct metrics_worker *metrics, struct admission *admission)
{
    char key[IDENTITY_KEY_MAX];
    uint64_t cost = request_cost(request, route, metrics);
    for (size_t i = 0; i < route->limit_count; i++) {
        size_t index = route->limits[i];
        const struct config_limit *limit = &admit->config->limits[index];
        size_t length = 0;
        enum identity_result result = identity_key(request, identity, route, limit, key, sizeof key, &length);
        if (result == IDENTITY_MISSING && limit->missing == CONFIG_MISSING_SKIP) {
            metrics_decision(metrics, index, METRICS_SKIPPED);
            continue;
        }
        if (result == IDENTITY_MISSING && limit->missing == CONFIG_MISSING_DENY) {
            metrics_decision(metrics, index, METRICS_DENIED);
            admission->verdict = ADMIT_KEYLESS;
        } else if (result == IDENTITY_TOO_LONG) {
            metrics_decision(metrics, index, METRICS_ERROR);
            admission->verdict = ADMIT_KEY_TOO_LONG;
        }
        if (admission->verdict != ADMIT_PASS) {
            admission->denied[0] = (struct reply_limit){ .limit = index };
            admission->denied_count = 1;
            return false;
        }
        if (result == IDENTITY_MISSING) {
            length =
                0; /* shared: all who lack it have the empty key, which no one who has it can have: a key holds lengths */
        }
        admission->asks[admission->count++] =
            (struct limiter_ask){ .limit = (uint32_t)index,
                                  .digest = limiter_digest(admit->limiter, (uint32_t)index, key, length),
                                  .cost = clamp_cost(limit, route, cost) };
    }
    return true;
}

/* 0: waiting does not help (the cost is above the burst). */
static uint64_t wait_seconds(const struct admit *admit, size_t limit, const struct limiter_answer *answer)
{
    if (answer->retry_after_ns == LIMITER_NEVER) {
        return 0;
    }
    uint64_t wait = answer->retry_after_ns;
    if (wait == 0) { /* a slot: free when one of the holders ends */
        wait = atomic_load_explicit(&admit->held_ns[limit], memory_order_relaxed);
    }
    return reply_seconds(wait);
}

static void refused(struct admit *admit, struct metrics_worker *metrics, struct admission *admission)
{
    for (size_t i = 0; i < admission->count; i++) {
        if (admission->answers[i].allowed) {
            continue;
        }
        size_t limit = admission->asks[i].limit;
        metrics_decision(metrics, limit, METRICS_DENIED);
        struct reply_limit entry = { limit, admission->answers[i], wait_seconds(admit, limit, &admission->answers[i]) };
        size_t at = admission->denied_count++;
        for (; at > 0 && admission->denied[at - 1].retry_after_s < entry.retry_after_s; at--) {
            admission->denied[at] = admission->denied[at - 1];
        }
        admission->denied[at] = entry;
        if (at == 0) {
            admission->key_hash = admission->asks[i].digest;
        }
    }
}

static void passed(struct metrics_worker *metrics, struct admission *admission)
{
    size_t closest = 0;
    for (size_t i = 0; i < admission->count; i++) {
        const struct limiter_answer *a = &admission->answers[i];
        const struct limiter_answer *b = &admission->answers[closest];
        metrics_decision(metrics, admission->asks[i].limit, METRICS_ALLOWED);
        if ((double)a->remaining / (double)a->capacity < (double)b->remaining / (double)b->capacity) {
            closest = i; /* only a choice of what to tell: rounding is harmless */
        }
    }
    if (admission->count > 0) {
        admission->closest = (struct reply_limit){ admission->asks[closest].limit, admission->answers[closest], 0 };
        admission->key_hash = admission->asks[closest].digest;
        admission->charged = true;
    }
}

void admit_request(struct admit *admit, const struct request *request, const struct identity *identity,
                   size_t route_index, uint64_t now_ns, struct metrics_worker *metrics, struct admission *admission)
{
    const struct config_route *route = &admit->config->routes[route_index];
    admission->verdict = ADMIT_PASS;
    admission->exempt = admission->charged = false;
    admission->count = admission->denied_count = 0;
    admission->key_hash = 0;
    if (route->exempt_count > 0 && identity_exempt(identity, route)) {
        admission->exempt = true;
        return;
    }
    if (route->limit_count == 0 || !gather(admit, request, identity, route, metrics, admission) ||
        admission->count == 0) {
        return;
    }
    switch (limiter_admit(admit->limiter, admission->asks, admission->count, now_ns, admission->answers)) {
    case LIMITER_ADMITTED:
        passed(metrics, admission);
        break;
    case LIMITER_REFUSED:
        admission->verdict = ADMIT_LIMITED;
        refused(admit, metrics, admission);
        break;
    case LIMITER_FULL:
        admission->verdict = ADMIT_FULL;
        metrics_decision(metrics, admission->asks[0].limit, METRICS_ERROR);
        break;
    }
}

void admit_release(struct admit *admit, struct admission *admission, uint64_t held_ns)
{
    if (!admission->charged) {
        return;
    }
    admission->charged = false;
    limiter_release(admit->limiter, admission->asks, admission->count);
    for (size_t i = 0; i < admission->count; i++) {
        size_t limit = admission->asks[i].limit;
        if (admit->config->limits[limit].kind == CONFIG_LIMIT_CONCURRENCY) {
            uint64_t old = atomic_load_explicit(&admit->held_ns[limit], memory_order_relaxed);
            uint64_t new = old == 0 ? held_ns : old - old / 8 + held_ns / 8;
            atomic_store_explicit(&admit->held_ns[limit], new, memory_order_relaxed);
        }
    }
}

void admit_refund(struct admit *admit, const struct admission *admission, uint64_t now_ns)
{
    if (admission->charged) {
        limiter_refund(admit->limiter, admission->asks, admission->count, now_ns);
    }
}
