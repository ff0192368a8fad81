/* limiter: check all limits of a request, then charge all, or none.
 *
 * Reads top down: what a limit is; how a limiter is made, from nothing or from the one before a reload; one ask in four
 * steps (prefetch, check, charge, give back); a request in three rounds. Buckets live in a table of their own each
 * (table.h) with the arithmetic of their kind (gcra.h); all concurrency limits share one semaphore.
 */
#include "digest.h"
#include "gcra.h"
#include "semaphore.h"
#include "table.h"

#include <string.h>

/* A limit's buckets and the numbers they are counted in. */
struct buckets {
    struct table table;
    struct gcra gcra;
    struct limiter_rule rule; /* what gcra was made of; the name is not kept */
    unsigned holders;         /* limiters: more than one after a reload */
};

struct slots {
    struct semaphore semaphore;
    unsigned holders;
};

struct limit {
    enum limiter_kind kind;
    struct digest digest;    /* its name under the secret: where every key's digest starts */
    const char *name;        /* borrowed */
    uint64_t in_flight;      /* concurrency */
    struct buckets *buckets; /* token bucket */
};

struct limiter {
    struct slots *slots; /* of all concurrency limits; NULL when there are none */
    uint8_t secret[LIMITER_SECRET_SIZE];
    size_t limit_count;
    struct limit limits[];
};

/* ---- kinds of bucket ---- */

static uint64_t token_bucket_clock(const void *rule, uint64_t now_ns)
{
    return gcra_clock(rule, now_ns);
}

static bool token_bucket_check(const void *rule, uint64_t state, uint64_t cost, uint64_t clock)
{
    return gcra_check(rule, state, cost, clock);
}

static uint64_t token_bucket_charge(const void *rule, uint64_t state, uint64_t cost, uint64_t clock)
{
    return gcra_charge(rule, state, cost, clock);
}

static uint64_t token_bucket_refund(const void *rule, uint64_t state, uint64_t cost, uint64_t clock)
{
    return gcra_refund(rule, state, cost, clock);
}

static void token_bucket_describe(const void *rule, uint64_t state, uint64_t cost, uint64_t clock, uint64_t now_ns,
                                  struct limiter_answer *answer)
{
    gcra_describe(rule, state, cost, clock, now_ns, answer);
}

static const struct table_kind token_bucket = {
    .clock = token_bucket_clock,
    .check = token_bucket_check,
    .charge = token_bucket_charge,
    .refund = token_bucket_refund,
    .describe = token_bucket_describe,
};

/* ---- rules and life ---- */

__extension__ const char *limiter_rule_error(const struct limiter_rule *rule)
{
    if (rule->kind == LIMITER_CONCURRENCY) {
        return rule->in_flight < 1 || rule->in_flight > SEMAPHORE_SLOTS_MAX
                   ? "the number of requests in flight must be 1 to 4294967295"
                   : NULL;
    }
    if (rule->period_ns < 1 || rule->period_ns > (uint64_t)1 << 62) {
        return "the period must be 1 ns to 146 years";
    }
    if (rule->tokens < 1 || rule->tokens > rule->period_ns) { /* 10^9 per second is one per ns */
        return "the rate must be 1 per period to 10^9 per second";
    }
    if (rule->burst < 1) {
        return "the burst must be at least 1";
    }
    if ((unsigned __int128)rule->burst * rule->period_ns > ((unsigned __int128)rule->tokens << 61)) {
        return "an empty bucket must be full again within 73 years";
    }
    return NULL;
}

/* Zeroed memory for what has a cache line of its own inside; NULL when short. */
static void *allocate_aligned(size_t alignment, size_t bytes)
{
    const size_t whole = (bytes + alignment - 1) / alignment * alignment;
    void *memory = aligned_alloc(alignment, whole);
    return memory != NULL ? memset(memory, 0, whole) : NULL;
}

static struct buckets *buckets_create(const struct limiter_rule *rule)
{
    struct buckets *buckets = allocate_aligned(_Alignof(struct buckets), sizeof *buckets);
    if (buckets == NULL) {
        return NULL;
    }
    buckets->gcra = gcra_of(rule);
    buckets->rule = *rule;
    buckets->rule.name = NULL;
    buckets->holders = 1;
    if (!table_init(&buckets->table, rule->keys, &token_bucket, &buckets->gcra)) {
        free(buckets);
        return NULL;
    }
    return buckets;
}

static bool same_numbers(const struct limiter_rule *a, const struct limiter_rule *b)
{
    return a->tokens == b->tokens && a->period_ns == b->period_ns && a->burst == b->burst && a->keys == b->keys;
}

/* Both words are ticks of their own rule: the same share of a burst is owed afterwards, rounded up, so that however
 * many reloads give nothing away. */
__extension__ static uint64_t converted(const struct gcra *from, const struct gcra *to, uint64_t state, uint64_t now_ns)
{
    const uint64_t owed = gcra_owed(state, gcra_clock(from, now_ns));
    const uint64_t share = (uint64_t)(((unsigned __int128)owed * to->full + from->full - 1) / from->full);
    return owed == 0 ? 0 : gcra_clock(to, now_ns) + share;
}

/* Shared when the numbers are the same, else a converted copy. */
static struct buckets *buckets_inherit(struct buckets *previous, const struct limiter_rule *rule, uint64_t now_ns)
{
    if (same_numbers(&previous->rule, rule)) {
        previous->holders++;
        return previous;
    }
    struct buckets *buckets = buckets_create(rule);
    if (buckets != NULL) {
        struct table_walk walk = { .table = &previous->table };
        for (struct word word; table_next(&walk, &word);) {
            table_put(&buckets->table, word.key, converted(&previous->gcra, &buckets->gcra, word.state, now_ns));
        }
    }
    return buckets;
}

static const struct limit *find_limit(const struct limiter *limiter, const struct limiter_rule *rule)
{
    for (size_t i = 0; limiter != NULL && i < limiter->limit_count; i++) {
        if (limiter->limits[i].kind == rule->kind && strcmp(limiter->limits[i].name, rule->name) == 0) {
            return &limiter->limits[i];
        }
    }
    return NULL;
}

static bool limit_init(struct limit *limit, const struct limiter_rule *rule, const uint8_t *secret,
                       const struct limiter *previous, uint64_t now_ns)
{
    limit->kind = rule->kind;
    limit->name = rule->name;
    limit->digest = digest_of_limit(secret, rule->name);
    if (rule->kind == LIMITER_CONCURRENCY) {
        limit->in_flight = rule->in_flight;
        return true;
    }
    const struct limit *known = find_limit(previous, rule);
    limit->buckets = known != NULL ? buckets_inherit(known->buckets, rule, now_ns) : buckets_create(rule);
    return limit->buckets != NULL;
}

static struct slots *slots_create(size_t keys)
{
    struct slots *slots = malloc(sizeof *slots);
    if (slots != NULL && !semaphore_init(&slots->semaphore, keys)) {
        free(slots);
        return NULL;
    }
    if (slots != NULL) {
        slots->holders = 1;
    }
    return slots;
}

static struct slots *slots_inherit(const struct limiter *previous)
{
    if (previous == NULL || previous->slots == NULL) {
        return NULL;
    }
    previous->slots->holders++;
    return previous->slots;
}

static struct limiter *create(const struct limiter *previous, const struct limiter_rule *rules, size_t rule_count,
                              size_t in_flight_keys, const uint8_t *secret, uint64_t now_ns)
{
    _Static_assert(LIMITER_SECRET_SIZE == DIGEST_SECRET_SIZE, "one secret");
    if (rule_count > (SIZE_MAX / 2 - sizeof(struct limiter)) / sizeof(struct limit)) {
        return NULL;
    }
    struct limiter *limiter = calloc(1, sizeof *limiter + rule_count * sizeof(struct limit));
    if (limiter == NULL) {
        return NULL;
    }
    memcpy(limiter->secret, secret, sizeof limiter->secret);
    limiter->slots = slots_inherit(previous);
    bool concurrency = false, ready = true;
    for (size_t i = 0; i < rule_count && ready; i++) {
        LIMITER_CHECK(limiter_rule_error(&rules[i]) == NULL);
        ready = limit_init(&limiter->limits[i], &rules[i], secret, previous, now_ns);
        limiter->limit_count++;
        concurrency = concurrency || rules[i].kind == LIMITER_CONCURRENCY;
    }
    if (ready && concurrency && limiter->slots == NULL) {
        limiter->slots = slots_create(in_flight_keys);
        ready = limiter->slots != NULL;
    }
    if (!ready) {
        limiter_destroy(&limiter);
    }
    return limiter;
}

struct limiter *limiter_create(const struct limiter_rule *rules, size_t rule_count, size_t in_flight_keys,
                               const uint8_t secret[LIMITER_SECRET_SIZE])
{
    return create(NULL, rules, rule_count, in_flight_keys, secret, 0);
}

struct limiter *limiter_create_from(const struct limiter *previous, const struct limiter_rule *rules, size_t rule_count,
                                    size_t in_flight_keys, uint64_t now_ns)
{
    return create(previous, rules, rule_count, in_flight_keys, previous->secret, now_ns);
}

void limiter_destroy(struct limiter **limiter)
{
    if (*limiter == NULL) {
        return;
    }
    for (size_t i = 0; i < (*limiter)->limit_count; i++) {
        struct buckets *buckets = (*limiter)->limits[i].buckets;
        if (buckets != NULL && --buckets->holders == 0) {
            table_fini(&buckets->table);
            free(buckets);
        }
    }
    struct slots *slots = (*limiter)->slots;
    if (slots != NULL && --slots->holders == 0) {
        semaphore_fini(&slots->semaphore);
        free(slots);
    }
    free(*limiter);
    *limiter = NULL;
}

uint64_t limiter_digest(const struct limiter *limiter, uint32_t limit, const void *key, size_t key_length)
{
    LIMITER_CHECK(limit < limiter->limit_count);
    return digest_of(&limiter->limits[limit].digest, key, key_length);
}

/* ---- one ask ---- */

static void ask_prefetch(const struct limiter *limiter, const struct limiter_ask *ask)
{
    const struct limit *limit = &limiter->limits[ask->limit];
    if (limit->kind == LIMITER_CONCURRENCY) {
        semaphore_prefetch(&limiter->slots->semaphore, ask->digest);
    } else {
        table_prefetch(&limit->buckets->table, ask->digest);
    }
}

static enum outcome ask_check(const struct limiter *limiter, const struct limiter_ask *ask, uint64_t now_ns,
                              struct sight *sight)
{
    const struct limit *limit = &limiter->limits[ask->limit];
    if (limit->kind != LIMITER_CONCURRENCY) {
        return table_check(&limit->buckets->table, ask->digest, ask->cost, now_ns, sight);
    }
    LIMITER_CHECK(ask->cost <= 1);
    const enum outcome outcome =
        semaphore_check(&limiter->slots->semaphore, ask->digest, limit->in_flight, &sight->state);
    return ask->cost == 0 ? OUTCOME_FITS : outcome;
}

static enum outcome ask_charge(struct limiter *limiter, const struct limiter_ask *ask, struct sight *sight)
{
    struct limit *limit = &limiter->limits[ask->limit];
    if (ask->cost == 0) {
        return OUTCOME_FITS;
    }
    return limit->kind == LIMITER_CONCURRENCY
               ? semaphore_acquire(&limiter->slots->semaphore, ask->digest, limit->in_flight, &sight->state)
               : table_charge(&limit->buckets->table, ask->digest, ask->cost, sight);
}

static void ask_give_back(struct limiter *limiter, const struct limiter_ask *ask, uint64_t now_ns)
{
    struct limit *limit = &limiter->limits[ask->limit];
    if (ask->cost == 0) {
        return;
    }
    if (limit->kind == LIMITER_CONCURRENCY) {
        semaphore_release(&limiter->slots->semaphore, ask->digest);
    } else {
        table_refund(&limit->buckets->table, ask->digest, ask->cost, now_ns);
    }
}

/* answer->allowed is read. */
static void ask_describe(const struct limiter *limiter, const struct limiter_ask *ask, uint64_t now_ns,
                         const struct sight *sight, struct limiter_answer *answer)
{
    const struct limit *limit = &limiter->limits[ask->limit];
    if (limit->kind != LIMITER_CONCURRENCY) {
        table_describe(&limit->buckets->table, ask->cost, now_ns, sight, answer);
        return;
    }
    answer->capacity = limit->in_flight;
    /* more are in flight than allowed when a reload has just lowered the limit */
    answer->remaining = sight->state < limit->in_flight ? limit->in_flight - sight->state : 0;
    answer->retry_after_ns = answer->reset_after_ns = 0;
}

/* ---- one request ---- */

/* A refusal outranks a full table: it is the caller's own doing, and says more. */
static enum limiter_verdict with(enum limiter_verdict verdict, enum outcome outcome)
{
    if (verdict == LIMITER_REFUSED || outcome == OUTCOME_REFUSED) {
        return LIMITER_REFUSED;
    }
    return outcome == OUTCOME_FULL ? LIMITER_FULL : verdict;
}

/* All asks were found to fit. When one no longer does, what was charged before it is given back. */
static enum limiter_verdict charge_all(struct limiter *limiter, const struct limiter_ask *asks, size_t ask_count,
                                       uint64_t now_ns, struct sight *sights, struct limiter_answer *answers)
{
    uint32_t charged = 0; /* a bit for each ask */
    for (size_t i = 0; i < ask_count; i++) {
        const enum outcome outcome = ask_charge(limiter, &asks[i], &sights[i]);
        if (outcome == OUTCOME_FITS) {
            charged |= (uint32_t)1 << i;
            continue;
        }
        if (outcome == OUTCOME_UNCHARGED) {
            continue;
        }
        answers[i].allowed = false;
        for (size_t k = 0; k < i; k++) {
            if ((charged >> k & 1) != 0) {
                ask_give_back(limiter, &asks[k], now_ns);
            }
            answers[k].allowed = ask_check(limiter, &asks[k], now_ns, &sights[k]) == OUTCOME_FITS;
        }
        return with(LIMITER_ADMITTED, outcome);
    }
    return LIMITER_ADMITTED;
}

enum limiter_verdict limiter_admit(struct limiter *limiter, const struct limiter_ask *asks, size_t ask_count,
                                   uint64_t now_ns, struct limiter_answer *answers)
{
    LIMITER_CHECK(ask_count <= LIMITER_ASKS_MAX);
    struct sight sights[LIMITER_ASKS_MAX];
    for (size_t i = 0; i < ask_count; i++) {
        LIMITER_CHECK(asks[i].limit < limiter->limit_count);
        if (ask_count > 1) { /* a single one is about to be looked at anyway */
            ask_prefetch(limiter, &asks[i]);
        }
    }
    enum limiter_verdict verdict = LIMITER_ADMITTED;
    for (size_t i = 0; i < ask_count; i++) {
        const enum outcome outcome = ask_check(limiter, &asks[i], now_ns, &sights[i]);
        answers[i].allowed = outcome == OUTCOME_FITS;
        verdict = with(verdict, outcome);
    }
    if (verdict == LIMITER_ADMITTED) {
        verdict = charge_all(limiter, asks, ask_count, now_ns, sights, answers);
    }
    for (size_t i = 0; i < ask_count; i++) {
        ask_describe(limiter, &asks[i], now_ns, &sights[i], &answers[i]);
    }
    return verdict;
}

void limiter_release(struct limiter *limiter, const struct limiter_ask *asks, size_t ask_count)
{
    for (size_t i = 0; i < ask_count; i++) {
        LIMITER_CHECK(asks[i].limit < limiter->limit_count);
        if (limiter->limits[asks[i].limit].kind == LIMITER_CONCURRENCY) {
            ask_give_back(limiter, &asks[i], 0);
        }
    }
}

void limiter_refund(struct limiter *limiter, const struct limiter_ask *asks, size_t ask_count, uint64_t now_ns)
{
    for (size_t i = 0; i < ask_count; i++) {
        LIMITER_CHECK(asks[i].limit < limiter->limit_count);
        if (limiter->limits[asks[i].limit].kind != LIMITER_CONCURRENCY) {
            ask_give_back(limiter, &asks[i], now_ns);
        }
    }
}

/* ---- for the operator ---- */

struct limiter_answer limiter_peek(const struct limiter *limiter, uint32_t limit, uint64_t digest, uint64_t now_ns)
{
    LIMITER_CHECK(limit < limiter->limit_count);
    const struct limiter_ask ask = { .limit = limit, .digest = digest, .cost = 0 };
    struct limiter_answer answer = { .allowed = true };
    struct sight sight;
    (void)ask_check(limiter, &ask, now_ns, &sight);
    ask_describe(limiter, &ask, now_ns, &sight, &answer);
    return answer;
}

bool limiter_forget(struct limiter *limiter, uint32_t limit, uint64_t digest)
{
    LIMITER_CHECK(limit < limiter->limit_count);
    struct limit *known = &limiter->limits[limit];
    return known->kind != LIMITER_CONCURRENCY && table_forget(&known->buckets->table, digest);
}

struct limiter_usage limiter_usage(const struct limiter *limiter, uint32_t limit, uint64_t now_ns)
{
    LIMITER_CHECK(limit < limiter->limit_count);
    const struct limit *known = &limiter->limits[limit];
    if (known->kind == LIMITER_CONCURRENCY) {
        return (struct limiter_usage){
            .capacity = semaphore_capacity(&limiter->slots->semaphore),
            .keys = semaphore_live(&limiter->slots->semaphore),
        };
    }
    return (struct limiter_usage){
        .capacity = (uint64_t)known->buckets->table.set_count * TABLE_WAYS,
        .keys = table_live(&known->buckets->table, now_ns),
        /* relaxed: a counter that publishes nothing else */
        .live_evictions = atomic_load_explicit(&known->buckets->table.live_evictions, memory_order_relaxed),
    };
}
