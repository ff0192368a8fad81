/* gcra: a token bucket that is one number.
 *
 * The generic cell rate algorithm (ITU-T I.371, ATM Forum TM 4.0 "virtual scheduling") keeps, instead of a fill level
 * and the time it was true at, the theoretical arrival time: the instant at which the bucket will be full again if
 * nobody comes. Until then tokens are owed; a token taken moves it one token's time ahead; a request fits while it
 * stays at most a whole burst ahead of now. A time in the past owes nothing, so an old word, a zeroed word and no word
 * are the same.
 *
 *      now           time                     now + burst·token
 *   ----|--------------|---------------------------|------->        time - now   what is owed
 *                      |<- what may still come --->|                state word = time
 *
 * Exactness. One token takes period / tokens nanoseconds, which is seldom whole (7 per 3 s: 428571428.57…). So time is
 * counted in ticks of our own: with m = ceil(period / tokens), a tick is the m-th part of a token's time. A token costs
 * exactly m ticks, so nothing drifts, ever. A tick is at most 1 ns and more than half of one; arrival times are rounded
 * down to a tick, and that is the only rounding there is. Waits are handed out as the first whole nanosecond that is
 * late enough: waiting that long admits, a nanosecond less does not.
 *
 * Range. Times are at most 2^62 ns, so less than 2^63 ticks; a burst takes at most 2^61 ns, so at most 2^62 ticks.
 * Every sum below stays under 2^64 (with a cost of at most the burst, which is checked first).
 *
 * Pure arithmetic: no memory, no threads; tests/model/oracle.c holds it against an exact rational bucket.
 */
#ifndef WEIR_GCRA_H
#define WEIR_GCRA_H

#include "limiter.h"

/* floor(x · numerator / denominator) for many x: numerator ≤ denominator < 2^63. */
struct gcra_ratio {
    uint64_t numerator, denominator;
    uint64_t reciprocal; /* floor(2^64 · numerator / denominator), at most 2^64 - 1 */
};

static inline struct gcra_ratio gcra_ratio_of(uint64_t numerator, uint64_t denominator)
{
    struct gcra_ratio ratio = { numerator, denominator, 0 };
    /* Long division, bit by bit: happens once per rule, and a 128-bit division would call libgcc. */
    for (int bit = 0; bit < 64; bit++) {
        numerator <<= 1;
        ratio.reciprocal <<= 1;
        if (numerator >= denominator) {
            numerator -= denominator;
            ratio.reciprocal |= 1;
        }
    }
    return ratio;
}

/* The reciprocal is less than one unit of 2^-64 too small, so for x < 2^64 the product is less than 1 too small: its
 * floor is the quotient or one less. The remainder tells which: it is below twice the denominator, so that computing it
 * modulo 2^64 loses nothing. */
__extension__ static inline uint64_t gcra_ratio_floor(const struct gcra_ratio *ratio, uint64_t x)
{
    uint64_t quotient = (uint64_t)(((unsigned __int128)x * ratio->reciprocal) >> 64);
    uint64_t remainder = x * ratio->numerator - quotient * ratio->denominator;
    return quotient + (remainder >= ratio->denominator);
}

struct gcra {
    uint64_t burst;               /* tokens */
    uint64_t token;               /* ticks of one token: m */
    uint64_t full;                /* ticks of a whole burst */
    struct gcra_ratio more_ticks; /* a nanosecond is 1 + this many ticks */
    struct gcra_ratio fewer_ns;   /* a tick is 1 - this many nanoseconds */
    struct gcra_ratio tokens;     /* of a tick */
};

/* A rule within limiter_rule_error()'s bounds. */
static inline struct gcra gcra_of(const struct limiter_rule *rule)
{
    const uint64_t period = rule->period_ns, tokens = rule->tokens;
    const uint64_t token = period / tokens + (period % tokens != 0);
    /* A nanosecond is tokens · m / period ticks: one, and with 0 ≤ tokens · m - period < tokens ≤ period a part of
     * one. */
    const uint64_t more = tokens * token - period;
    return (struct gcra){
        .burst = rule->burst,
        .token = token,
        .full = rule->burst * token,
        .more_ticks = gcra_ratio_of(more, period),
        .fewer_ns = gcra_ratio_of(more, period + more),
        .tokens = gcra_ratio_of(1, token),
    };
}

/* The tick that is running at now_ns. */
static inline uint64_t gcra_clock(const struct gcra *gcra, uint64_t now_ns)
{
    return now_ns + gcra_ratio_floor(&gcra->more_ticks, now_ns);
}

/* The first nanosecond at which tick `time` has begun: the least n with gcra_clock(n) ≥ time. */
static inline uint64_t gcra_ns(const struct gcra *gcra, uint64_t time)
{
    return time - gcra_ratio_floor(&gcra->fewer_ns, time);
}

static inline uint64_t gcra_owed(uint64_t time, uint64_t now)
{
    return time > now ? time - now : 0;
}

/* Does the cost fit? `now` is gcra_clock()'s. A cost of 0 always does, also to a thread whose clock lags behind the one
 * that filled the bucket. */
static inline bool gcra_check(const struct gcra *gcra, uint64_t time, uint64_t cost, uint64_t now)
{
    return cost == 0 || (cost <= gcra->burst && gcra_owed(time, now) + cost * gcra->token <= gcra->full);
}

/* The word once a cost that fits is charged: later than now unless the cost is 0. */
static inline uint64_t gcra_charge(const struct gcra *gcra, uint64_t time, uint64_t cost, uint64_t now)
{
    return now + gcra_owed(time, now) + cost * gcra->token;
}

/* The word once a charge is given back: not before now, for a bucket is never more than full. `cost` is at most the
 * burst. */
static inline uint64_t gcra_refund(const struct gcra *gcra, uint64_t time, uint64_t cost, uint64_t now)
{
    const uint64_t owed = gcra_owed(time, now), back = cost * gcra->token;
    return owed == 0 ? time : now + (owed > back ? owed - back : 0);
}

/* Fills everything but `allowed`, which it reads: whether `cost` fitted. */
static inline void gcra_describe(const struct gcra *gcra, uint64_t time, uint64_t cost, uint64_t now, uint64_t now_ns,
                                 struct limiter_answer *answer)
{
    const uint64_t owed = gcra_owed(time, now);
    answer->capacity = gcra->burst;
    answer->remaining = owed < gcra->full ? gcra_ratio_floor(&gcra->tokens, gcra->full - owed) : 0;
    answer->reset_after_ns = owed == 0 ? 0 : gcra_ns(gcra, time) - now_ns;
    answer->retry_after_ns = 0;
    if (!answer->allowed) {
        /* It fits once what is owed and the cost are a burst together. Not 0: it does not fit at this nanosecond. */
        answer->retry_after_ns =
            cost > gcra->burst ? LIMITER_NEVER : gcra_ns(gcra, time + cost * gcra->token - gcra->full) - now_ns;
    }
}

#endif
