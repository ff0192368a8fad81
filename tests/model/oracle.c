/* oracle: random traffic against a bucket that is exact by construction.
 *
 * The limiter keeps one time per key and multiplies by reciprocals. The oracle keeps what the textbook keeps, a level
 * and when it was true, as an integer, and divides in 128 bits. Its unit is the limiter's tick (docs/LIMITER.md): a
 * token is m units, one unit flows in per tick, and an arrival is stamped with the tick that runs at its nanosecond.
 * Nothing is ever rounded after that.
 *
 * Every step must agree: the verdict, the tokens remaining, the nanoseconds until the same request would pass, and
 * until the bucket is full. Afterwards every window of the trace is held against the envelope: what was admitted
 * between two stamps s and t (and not given back) is at most burst + rate · (t - s). Clocks lag, costs vary, requests
 * are refunded.
 */
#include "limiter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

#define SECOND UINT64_C(1000000000)
#define DAY    (86400 * SECOND)

enum { KEYS = 3, STEPS_OF_TRACE = 20000, STEPS_OF_RULE = 100000 };

struct oracle {
    uint64_t token; /* units of one token: m */
    u128 scaled;    /* m · tokens: ticks of one period */
    u128 period;    /* in nanoseconds */
    int64_t full;   /* units */
    int64_t level;  /* units, at the tick below; negative for a clock that lags behind it */
    uint64_t at;
};

static struct oracle oracle_of(const struct limiter_rule *rule)
{
    const uint64_t token = (rule->period_ns + rule->tokens - 1) / rule->tokens;
    const int64_t full = (int64_t)(rule->burst * token);
    return (struct oracle){ token, (u128)token * rule->tokens, rule->period_ns, full, full, 0 };
}

static uint64_t tick_of(const struct oracle *oracle, uint64_t now_ns)
{
    return (uint64_t)(now_ns * oracle->scaled / oracle->period);
}

/* The first nanosecond whose tick is at least this one. */
static uint64_t ns_of(const struct oracle *oracle, uint64_t tick)
{
    return (uint64_t)((tick * oracle->period + oracle->scaled - 1) / oracle->scaled);
}

static int64_t level_at(const struct oracle *oracle, uint64_t tick)
{
    const int64_t level = oracle->level + (int64_t)(tick - oracle->at);
    return level < oracle->full ? level : oracle->full;
}

/* Takes the cost if it is there. Charges count from the tick of the request, or from that of an earlier one whose clock
 * was ahead. */
static bool oracle_admit(struct oracle *oracle, uint64_t cost, uint64_t tick)
{
    const int64_t units = (int64_t)(cost * oracle->token), level = level_at(oracle, tick);
    if (level < units) {
        return false;
    }
    if (cost > 0) {
        oracle->level = level - units;
        oracle->at = tick;
    }
    return true;
}

static void oracle_refund(struct oracle *oracle, uint64_t cost, uint64_t tick)
{
    const int64_t level = level_at(oracle, tick) + (int64_t)(cost * oracle->token);
    if (level_at(oracle, tick) < oracle->full) {
        oracle->level = level < oracle->full ? level : oracle->full;
        oracle->at = tick;
    }
}

/* ---- traces ---- */

static const struct limiter_rule rules[] = {
    { .name = "7/3s", .tokens = 7, .period_ns = 3 * SECOND, .burst = 5 },
    { .name = "7/3s, burst 1", .tokens = 7, .period_ns = 3 * SECOND, .burst = 1 },
    { .name = "1/30d", .tokens = 1, .period_ns = 30 * DAY, .burst = 3 },
    { .name = "4294967296/day", .tokens = 4294967296, .period_ns = DAY, .burst = 1000000 },
    { .name = "1000000/s", .tokens = 1000000, .period_ns = SECOND, .burst = 100 },
    { .name = "1000/s", .tokens = 1000, .period_ns = SECOND, .burst = 2000 },
    { .name = "999983/1009ms", .tokens = 999983, .period_ns = 1009 * SECOND / 1000, .burst = 7 },
    { .name = "1000000000/s", .tokens = SECOND, .period_ns = SECOND, .burst = 3 },
    { .name = "999999999/s", .tokens = SECOND - 1, .period_ns = SECOND, .burst = 3 },
    { .name = "500000001/s", .tokens = 500000001, .period_ns = SECOND, .burst = 10 },
    { .name = "3/7ns", .tokens = 3, .period_ns = 7, .burst = (uint64_t)1 << 40 },
    { .name = "1/10y", .tokens = 1, .period_ns = 3652 * DAY, .burst = 2 },
};

static uint64_t random_state;
static uint64_t random_bits(void)
{
    random_state += 0x9e3779b97f4a7c15; /* splitmix64 */
    uint64_t x = random_state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

static uint64_t random_below(uint64_t bound)
{
    return bound == 0 ? 0 : random_bits() % bound;
}

struct admission {
    uint64_t tick, cost; /* cost 0: refunded */
};

struct trace {
    const struct limiter_rule *rule;
    struct limiter *limiter;
    uint64_t interval_ns, digests[KEYS], clock_ns;
    struct oracle oracles[KEYS];
    struct admission admissions[KEYS][STEPS_OF_TRACE];
    size_t counts[KEYS];
    uint64_t steps, admitted, refused; /* of all traces of the rule */
};

/* Time goes on as traffic does: not at all, by a moment, by about a token, by about a burst. */
static uint64_t pause_ns(const struct trace *trace)
{
    const uint64_t token = trace->interval_ns, burst = token * (trace->rule->burst < 8 ? trace->rule->burst : 8);
    switch (random_below(8)) {
    case 0:
        return burst + random_below(burst * 4);
    case 1:
    case 2:
        return random_below(token * 2);
    case 3:
        return token; /* as told, to the nanosecond or one off */
    case 4:
        return token + 1;
    case 5:
        return random_below(3);
    default:
        return random_below(token / 2 + 1);
    }
}

static uint64_t some_cost(const struct trace *trace)
{
    const uint64_t burst = trace->rule->burst;
    switch (random_below(16)) {
    case 0:
        return 0;
    case 1:
        return burst;
    case 2:
        return burst + 1 + random_below(1000);
    case 3:
    case 4:
        return 1 + random_below(burst);
    default:
        return burst < 1000 ? 1 : 1 + random_below(burst / 4);
    }
}

static bool complain(const struct trace *trace, const char *what, uint64_t expected, uint64_t found)
{
    printf("FAIL %s, step %llu: %s: the oracle says %llu, the limiter %llu\n", trace->rule->name,
           (unsigned long long)trace->steps, what, (unsigned long long)expected, (unsigned long long)found);
    return false;
}

/* One request of one key at a time that may lag: everything the limiter says is what the oracle says. */
static bool step_agrees(struct trace *trace, size_t key, uint64_t cost, uint64_t now_ns)
{
    struct oracle *oracle = &trace->oracles[key];
    const uint64_t tick = tick_of(oracle, now_ns);
    const bool fits = cost <= trace->rule->burst && oracle_admit(oracle, cost, tick);
    const struct limiter_ask ask = { 0, trace->digests[key], cost };
    struct limiter_answer answer;
    /* a cost of 0 passes even where the clock lags so far that less than nothing is left */
    const bool admitted = limiter_admit(trace->limiter, &ask, 1, now_ns, &answer) == LIMITER_ADMITTED;
    if (admitted != (fits || cost == 0) || answer.allowed != admitted) {
        return complain(trace, "admitted", fits, admitted);
    }
    const int64_t level = level_at(oracle, tick);
    const uint64_t remaining = level > 0 ? (uint64_t)level / oracle->token : 0;
    if (answer.remaining != remaining) {
        return complain(trace, "remaining", remaining, answer.remaining);
    }
    const uint64_t reset = level < oracle->full ? ns_of(oracle, tick + (uint64_t)(oracle->full - level)) - now_ns : 0;
    if (answer.reset_after_ns != reset) {
        return complain(trace, "reset after", reset, answer.reset_after_ns);
    }
    uint64_t retry = 0;
    if (!admitted) {
        retry = cost > trace->rule->burst
                    ? LIMITER_NEVER
                    : ns_of(oracle, tick + (uint64_t)((int64_t)(cost * oracle->token) - level)) - now_ns;
    }
    if (answer.retry_after_ns != retry) {
        return complain(trace, "retry after", retry, answer.retry_after_ns);
    }
    trace->admitted += admitted;
    trace->refused += !admitted;
    if (admitted) {
        trace->admissions[key][trace->counts[key]++] = (struct admission){ tick, cost };
    }
    return true;
}

/* Gives back the last admission of the key, if it has not been. */
static void refund(struct trace *trace, size_t key, uint64_t now_ns)
{
    if (trace->counts[key] == 0) {
        return;
    }
    struct admission *last = &trace->admissions[key][trace->counts[key] - 1];
    const struct limiter_ask ask = { 0, trace->digests[key], last->cost };
    if (last->cost > 0) {
        limiter_refund(trace->limiter, &ask, 1, now_ns);
        oracle_refund(&trace->oracles[key], last->cost, tick_of(&trace->oracles[key], now_ns));
        last->cost = 0;
    }
}

static int by_tick(const void *a, const void *b)
{
    const struct admission *x = a, *y = b;
    return (x->tick > y->tick) - (x->tick < y->tick);
}

/* For every s ≤ t: what was admitted from s to t ≤ burst + (t - s). With A(t) all that was admitted until t, that is
 * A(t) - t ≤ burst + the least A(before s) - s so far. */
static bool envelope_holds(struct trace *trace, size_t key)
{
    const struct oracle *oracle = &trace->oracles[key];
    struct admission *admissions = trace->admissions[key];
    qsort(admissions, trace->counts[key], sizeof *admissions, by_tick);
    __extension__ __int128 units = 0, least = 0;
    for (size_t i = 0; i < trace->counts[key]; i++) {
        if (admissions[i].cost == 0) {
            continue;
        }
        const uint64_t tick = admissions[i].tick;
        least = units == 0 || units - tick < least ? units - tick : least;
        units += (u128)admissions[i].cost * oracle->token;
        if (units - tick > oracle->full + least) {
            return complain(trace, "units over the envelope", 0, (uint64_t)(units - tick - least - oracle->full));
        }
    }
    return true;
}

/* From empty cells until there are enough steps, or time would leave the limiter's range. */
static bool trace_agrees(struct trace *trace)
{
    static const uint8_t secret[LIMITER_SECRET_SIZE] = "an oracle's own";
    struct limiter_rule rule = *trace->rule;
    rule.keys = 64;
    trace->limiter = limiter_create(&rule, 1, 0, secret);
    trace->interval_ns = rule.period_ns / rule.tokens;
    trace->clock_ns = 1 + random_below(1000 * DAY);
    for (size_t key = 0; key < KEYS; key++) {
        trace->oracles[key] = oracle_of(&rule);
        trace->digests[key] = limiter_digest(trace->limiter, 0, &key, sizeof key);
        trace->counts[key] = 0;
    }
    const uint64_t lag_max = trace->interval_ns < SECOND ? trace->interval_ns : SECOND;
    bool agrees = true;
    for (size_t i = 0; i < STEPS_OF_TRACE && agrees && trace->clock_ns < (uint64_t)1 << 61; i++) {
        const size_t key = random_below(KEYS);
        trace->clock_ns += pause_ns(trace);
        const uint64_t lag = random_below(4) == 0 ? random_below(lag_max) : 0;
        const uint64_t now_ns = lag < trace->clock_ns ? trace->clock_ns - lag : trace->clock_ns;
        if (random_below(10) == 0) {
            refund(trace, key, now_ns);
        }
        agrees = step_agrees(trace, key, some_cost(trace), now_ns);
        trace->steps++;
    }
    for (size_t key = 0; key < KEYS; key++) {
        agrees = agrees && envelope_holds(trace, key);
    }
    limiter_destroy(&trace->limiter);
    return agrees;
}

int main(void)
{
    static struct trace trace;
    unsigned passed = 0, failed = 0;
    uint64_t steps = 0;
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
        trace.rule = &rules[r];
        trace.steps = trace.admitted = trace.refused = 0;
        random_state = r;
        bool agrees = true;
        while (agrees && trace.steps < STEPS_OF_RULE) {
            agrees = trace_agrees(&trace);
        }
        printf("%s %-16s %6llu admitted, %6llu refused\n", agrees ? "ok  " : "FAIL", rules[r].name,
               (unsigned long long)trace.admitted, (unsigned long long)trace.refused);
        steps += trace.steps;
        passed += agrees;
        failed += !agrees;
    }
    printf("%llu steps\n%u passed, %u failed\n", (unsigned long long)steps, passed, failed);
    return failed != 0;
}
