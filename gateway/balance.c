/* balance: see balance.h. All counters are relaxed: each is a fact of its own that publishes no other memory. */
#include "balance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NONE SIZE_MAX

/* ---- parts ------------------------------------------------------------------------------------------------------- */

/* xorshift64 (Marsaglia 2003): a draw needs to be even, not secret. */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The finalizer of splitmix64 (Steele, Lea and Flood 2014): every bit of the result depends on every bit of x. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* FNV-1a, mixed. */
uint64_t balance_hash(const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ at[i]) * 0x100000001b3u;
    }
    return mix(hash);
}

bool balance_set_has(const struct balance_set *set, size_t server)
{
    return (set->bits[server / 64] >> server % 64 & 1) != 0;
}

void balance_set_add(struct balance_set *set, size_t server)
{
    set->count += !balance_set_has(set, server);
    set->bits[server / 64] |= UINT64_C(1) << server % 64;
}

static void set_remove(struct balance_set *set, size_t server)
{
    set->count -= balance_set_has(set, server);
    set->bits[server / 64] &= ~(UINT64_C(1) << server % 64);
}

bool balance_init(struct balance *balance, const struct config_upstream *config)
{
    size_t count = config->server_count;
    CHECK(count >= 1 && count <= CONFIG_SERVERS_MAX);
    *balance = (struct balance){ .way = config->balance, .even = true, .count = count };
    balance->servers = aligned_alloc(alignof(struct balance_server), count * sizeof *balance->servers);
    if (balance->servers == NULL) {
        return false;
    }
    memset(balance->servers, 0, count * sizeof *balance->servers);
    for (size_t i = 0; i < count; i++) {
        const struct config_server *server = &config->servers[i];
        balance->servers[i].weight = server->weight;
        balance->servers[i].name = balance_hash(server->text, strlen(server->text));
        balance->weight += server->weight;
        balance->even = balance->even && server->weight == config->servers[0].weight;
    }
    return true;
}

void balance_fini(struct balance *balance)
{
    free(balance->servers);
    balance->servers = NULL;
}

/* ---- health ------------------------------------------------------------------------------------------------------ */

bool balance_is_healthy(const struct balance_server *server)
{
    return !atomic_load_explicit(&server->unhealthy, memory_order_relaxed);
}

bool balance_set_healthy(struct balance_server *server, bool healthy)
{
    bool news = atomic_exchange_explicit(&server->unhealthy, !healthy, memory_order_relaxed) == healthy;
    if (news && healthy) { /* whatever was held against it before is over */
        atomic_store_explicit(&server->failures, 0, memory_order_relaxed);
        atomic_store_explicit(&server->down_until_ms, 0, memory_order_relaxed);
    }
    return news;
}

bool balance_is_down(const struct balance_server *server)
{
    return !balance_is_healthy(server) || atomic_load_explicit(&server->down_until_ms, memory_order_relaxed) != 0;
}

/* Up, or down for long enough. */
static bool is_open(const struct balance_server *server, uint64_t now_ms)
{
    return balance_is_healthy(server) && now_ms >= atomic_load_explicit(&server->down_until_ms, memory_order_relaxed);
}

/* Up, or down for long enough and this caller is the one that may try. */
static bool may_try(struct balance_server *server, uint64_t now_ms)
{
    if (!balance_is_healthy(server)) {
        return false;
    }
    uint64_t until = atomic_load_explicit(&server->down_until_ms, memory_order_relaxed);
    return until == 0 || (now_ms >= until && atomic_compare_exchange_strong_explicit(
                                                 &server->down_until_ms, &until, now_ms + BALANCE_DOWN_MS,
                                                 memory_order_relaxed, memory_order_relaxed));
}

/* ---- least_requests ---------------------------------------------------------------------------------------------- */

static uint32_t requests(const struct balance_server *server)
{
    return atomic_load_explicit(&server->requests, memory_order_relaxed);
}

/* Any but `except` (or NONE), as often as its weight says. */
static size_t draw_server(const struct balance *balance, uint64_t *random, size_t except)
{
    if (balance->even) {
        size_t at = draw(random) % (balance->count - (except != NONE ? 1 : 0));
        return at >= except ? at + 1 : at;
    }
    uint64_t left = draw(random) % (balance->weight - (except != NONE ? balance->servers[except].weight : 0));
    size_t at = except == 0 ? 1 : 0;
    while (left >= balance->servers[at].weight) {
        left -= balance->servers[at].weight;
        at += at + 1 == except ? 2 : 1;
    }
    return at;
}

/* The next one, in a circle, that may be tried; when none may, the next that was not. */
static size_t next_usable(struct balance *balance, size_t first, const struct balance_ask *ask)
{
    size_t untried = NONE;
    for (size_t i = 0; i < balance->count; i++) {
        size_t at = (first + i) % balance->count;
        if (balance_set_has(ask->tried, at)) {
            continue;
        }
        if (may_try(&balance->servers[at], ask->now_ms)) {
            return at;
        }
        untried = untried == NONE ? at : untried;
    }
    return untried;
}

static size_t least_requests(struct balance *balance, struct balance_worker *worker, const struct balance_ask *ask)
{
    size_t first = next_usable(balance, draw_server(balance, &worker->random, NONE), ask);
    size_t second = draw_server(balance, &worker->random, first);
    const struct balance_server *a = &balance->servers[first], *b = &balance->servers[second];
    bool comparable = !balance_set_has(ask->tried, second) && !balance_is_down(b) && !balance_is_down(a);
    bool b_is_better = (uint64_t)requests(b) * a->weight < (uint64_t)requests(a) * b->weight;
    return comparable && b_is_better ? second : first;
}

/* ---- round_robin and hash: the best of those that may be chosen --------------------------------------------------- */

typedef size_t (*best_of)(const struct balance *balance, const struct balance_worker *worker,
                          const struct balance_ask *ask, const struct balance_set *set);

/* `forced`: health does not matter. */
static struct balance_set candidates(const struct balance *balance, const struct balance_ask *ask, bool forced)
{
    struct balance_set set = { .count = 0 };
    for (size_t i = 0; i < balance->count; i++) {
        if (!balance_set_has(ask->tried, i) && (forced || is_open(&balance->servers[i], ask->now_ms))) {
            balance_set_add(&set, i);
        }
    }
    return set;
}

/* *set: those it was chosen from. */
static size_t choose_best(struct balance *balance, const struct balance_worker *worker, const struct balance_ask *ask,
                          best_of best, struct balance_set *set)
{
    *set = candidates(balance, ask, false);
    while (set->count > 0) {
        size_t at = best(balance, worker, ask, set);
        if (may_try(&balance->servers[at], ask->now_ms)) {
            return at;
        }
        set_remove(set, at); /* another request tries it */
    }
    *set = candidates(balance, ask, true);
    return best(balance, worker, ask, set);
}

static size_t most_owed(const struct balance *balance, const struct balance_worker *worker,
                        const struct balance_ask *ask, const struct balance_set *set)
{
    size_t best = NONE;
    int64_t most = INT64_MIN;
    (void)ask;
    for (size_t i = 0; i < balance->count; i++) {
        int64_t owed = worker->credits[i] + balance->servers[i].weight;
        if (balance_set_has(set, i) && owed > most) {
            most = owed;
            best = i;
        }
    }
    return best;
}

/* Everyone earns its weight; who is chosen pays what all have earned. */
static void pay(const struct balance *balance, struct balance_worker *worker, const struct balance_set *set,
                size_t chosen)
{
    for (size_t i = 0; i < balance->count; i++) {
        if (balance_set_has(set, i)) {
            worker->credits[i] += balance->servers[i].weight;
            worker->credits[chosen] -= balance->servers[i].weight;
        }
    }
}

static size_t round_robin(struct balance *balance, struct balance_worker *worker, const struct balance_ask *ask)
{
    struct balance_set set;
    size_t chosen = choose_best(balance, worker, ask, most_owed, &set);
    pay(balance, worker, &set, chosen);
    return chosen;
}

/* Each server draws its arrival from an exponential distribution, at the rate of its weight, by the client's and its
 * own name: the first to arrive is each server as often as its weight says. */
static size_t first_to_arrive(const struct balance *balance, const struct balance_worker *worker,
                              const struct balance_ask *ask, const struct balance_set *set)
{
    size_t best = NONE;
    double earliest = INFINITY;
    (void)worker;
    for (size_t i = 0; i < balance->count; i++) {
        if (!balance_set_has(set, i)) {
            continue;
        }
        uint64_t bits = mix(ask->client ^ balance->servers[i].name);
        double even = ((double)(bits >> 11) + 0.5) * 0x1p-53; /* between 0 and 1, never either */
        double arrival = -log(even) / balance->servers[i].weight;
        if (arrival < earliest) {
            earliest = arrival;
            best = i;
        }
    }
    return best;
}

/* ---- the choice --------------------------------------------------------------------------------------------------- */

bool balance_worker_init(struct balance_worker *worker, const struct balance *balance, uint64_t seed)
{
    worker->random = seed != 0 ? seed : 1; /* 0 is the generator's one fixed point */
    worker->credits = calloc(balance->count, sizeof *worker->credits);
    if (worker->credits == NULL) {
        return false;
    }
    if (balance->way == CONFIG_BALANCE_ROUND_ROBIN) { /* the workers do not all begin at the first server */
        const struct balance_set none = { .count = 0 };
        struct balance_set all = candidates(balance, &(struct balance_ask){ .tried = &none }, true);
        for (size_t turns = draw(&worker->random) % balance->count; turns > 0; turns--) {
            pay(balance, worker, &all, most_owed(balance, worker, NULL, &all));
        }
    }
    return true;
}

void balance_worker_fini(struct balance_worker *worker)
{
    free(worker->credits);
    worker->credits = NULL;
}

size_t balance_choose(struct balance *balance, struct balance_worker *worker, const struct balance_ask *ask)
{
    CHECK(ask->tried->count < balance->count);
    if (balance->count == 1) {
        return 0;
    }
    struct balance_set set;
    switch (balance->way) {
    case CONFIG_BALANCE_LEAST_REQUESTS:
        break;
    case CONFIG_BALANCE_ROUND_ROBIN:
        return round_robin(balance, worker, ask);
    case CONFIG_BALANCE_HASH:
        return choose_best(balance, worker, ask, first_to_arrive, &set);
    }
    return least_requests(balance, worker, ask);
}

void balance_begin(struct balance_server *server)
{
    atomic_fetch_add_explicit(&server->requests, 1, memory_order_relaxed);
}

void balance_end(struct balance_server *server)
{
    atomic_fetch_sub_explicit(&server->requests, 1, memory_order_relaxed);
}

void balance_succeeded(struct balance_server *server)
{
    /* Read first: a line that only agrees stays shared between the workers' caches. */
    if (atomic_load_explicit(&server->failures, memory_order_relaxed) != 0) {
        atomic_store_explicit(&server->failures, 0, memory_order_relaxed);
        atomic_store_explicit(&server->down_until_ms, 0, memory_order_relaxed);
    }
}

void balance_failed(struct balance_server *server, uint64_t now_ms)
{
    uint32_t failures = atomic_fetch_add_explicit(&server->failures, 1, memory_order_relaxed) + 1;
    if (failures >= BALANCE_FAILURES) {
        atomic_store_explicit(&server->down_until_ms, now_ms + BALANCE_DOWN_MS, memory_order_relaxed);
    }
}
