/* limiter: may this request pass?
 *
 * The room's public face. A gateway creates one `struct limiter` from its rules, turns each request into a list of asks
 * ("limit 3, this key, cost 5"), and calls limiter_admit(): either every limit of the request is charged, or none is
 * and not one byte of state has changed.
 *
 * Pure: no clock, no I/O, no locks, no allocation after create. Time is an argument, in nanoseconds of any monotonic
 * clock that never reads 0 (CLOCK_BOOTTIME in production, a counter in tests).
 *
 * Threads: create and destroy belong to one thread. Every other function may be called by any number of threads at the
 * same time, each with its own idea of `now`; a thread whose clock lags by d is treated as if its request came d
 * earlier.
 *
 * Rules: token bucket = GCRA (ITU-T I.371, ATM Forum TM 4.0 "virtual scheduling"). See docs/LIMITER.md for the proof.
 */
#ifndef WEIR_LIMITER_H
#define WEIR_LIMITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum limiter_kind {
    LIMITER_TOKEN_BUCKET, /* `rate`: tokens per period, up to burst at once */
    LIMITER_CONCURRENCY,  /* `concurrency`: requests in flight */
};

/* What one limit says, in numbers. Bounds (limiter_rule_error() names the first that is broken):
 *   tokens 1 … 10^9 per second of period, period_ns 1 … 2^62 (146 years), burst ≥ 1, burst · period / tokens ≤ 2^61 ns
 *   (73 years); in_flight 1 … 2^32 - 1. */
struct limiter_rule {
    const char *name; /* part of every key's digest; borrowed, must outlive the limiter */
    enum limiter_kind kind;
    uint64_t tokens;    /* token bucket: this many … */
    uint64_t period_ns; /* … per this long */
    uint64_t burst;     /* token bucket: capacity */
    uint64_t in_flight; /* concurrency: how many at once */
    size_t keys;        /* token bucket: cells of this limit's table (rounded up to a multiple of 8, at least 8) */
};

/* NULL when the rule is within bounds, else one sentence (static) that says which bound is broken. */
const char *limiter_rule_error(const struct limiter_rule *rule);

struct limiter;

#define LIMITER_SECRET_SIZE 16

/* Takes memory for all state at once; nothing grows later. `in_flight_keys`: how many (limit, key) pairs may be in
 * flight at one moment over all concurrency limits (the gateway's connection bound times the concurrency limits of a
 * request); the table has 16 cells for each, so that LIMITER_FULL is not met in a lifetime (arithmetic in
 * docs/LIMITER.md). NULL when memory is short. Rules are copied; the caller keeps `rules`, but each name must outlive
 * the limiter. */
struct limiter *limiter_create(const struct limiter_rule *rules, size_t rule_count, size_t in_flight_keys,
                               const uint8_t secret[LIMITER_SECRET_SIZE]);

/* The same for a reload: what `previous` knows of a limit of the same name and kind lives on. When the rule is the
 * same, both limiters work on one table: nothing is lost, whoever asks which. When its numbers differ, each key's debt
 * is converted so that the same share of the burst is used: a reload never gives budget away. (What requests still
 * charge to `previous` after that is not seen by the new one.) Slots are always shared; their table keeps the size it
 * was created with. The secret is previous's. `previous` stays whole, and may be destroyed before or after. Create and
 * destroy from one thread. */
struct limiter *limiter_create_from(const struct limiter *previous, const struct limiter_rule *rules, size_t rule_count,
                                    size_t in_flight_keys, uint64_t now_ns);

/* Frees what no other limiter shares, and clears the pointer. CHECKs nothing about slots still held: the process may
 * end with requests in flight. */
void limiter_destroy(struct limiter **limiter);

/* The identity of one key of one limit: SipHash-2-4 of (name length, name, key bytes) under the secret. Never 0. */
uint64_t limiter_digest(const struct limiter *limiter, uint32_t limit, const void *key, size_t key_length);

/* One limit that a request meets. Two asks of one request may name the same limit with different keys, never the same
 * limit and key. */
struct limiter_ask {
    uint32_t limit;  /* index into the rules given to limiter_create() */
    uint64_t digest; /* from limiter_digest() */
    uint64_t cost;   /* token bucket: tokens, 0 peeks; concurrency: must be 1 or 0 (0 peeks) */
};

/* What the limit says about the key. After an admission it describes the state with this request charged; after a
 * refusal, the state as it was found (and left). */
struct limiter_answer {
    bool allowed;            /* by this limit; the request may still be refused by another */
    uint64_t capacity;       /* burst, or slots */
    uint64_t remaining;      /* whole tokens, or free slots */
    uint64_t retry_after_ns; /* 0 when allowed. The exact wait after which this cost fits, were nobody else to come. For
                              * concurrency 0: the limiter cannot know; the gateway estimates from service times.
                              * LIMITER_NEVER when cost > burst. */
    uint64_t reset_after_ns; /* until the bucket is full again; concurrency: 0 */
};
#define LIMITER_NEVER UINT64_MAX

enum limiter_verdict {
    LIMITER_ADMITTED, /* every ask was charged: concurrency asks must be released, exactly once */
    LIMITER_REFUSED,  /* nothing was charged */
    LIMITER_FULL,     /* nothing was charged: no cell was free to count a request in flight */
};

/* At most this many asks per request. */
#define LIMITER_ASKS_MAX 32

/* Checks every ask, then charges every ask, or none. `answers[i]` belongs to `asks[i]`; all are filled in either case,
 * so that the caller can name the limit with the longest wait. If a race lets the check pass but a charge fail, what
 * was charged is given back and the verdict is LIMITER_REFUSED. now_ns: 1 … 2^62. */
__attribute__((warn_unused_result)) enum limiter_verdict limiter_admit(struct limiter *limiter,
                                                                       const struct limiter_ask *asks, size_t ask_count,
                                                                       uint64_t now_ns, struct limiter_answer *answers);

/* Gives back the slots of an admitted request's concurrency asks (token-bucket asks are passed over). Call exactly once
 * per admission: at the last byte of the response, when the client has gone, or when the upstream failed. */
void limiter_release(struct limiter *limiter, const struct limiter_ask *asks, size_t ask_count);

/* Gives back the tokens of an admitted request's token-bucket asks (concurrency asks are passed over): for a request
 * that never reached its upstream. Never beyond a full bucket; does nothing for a key that was forgotten meanwhile. */
void limiter_refund(struct limiter *limiter, const struct limiter_ask *asks, size_t ask_count, uint64_t now_ns);

/* The state of one key, charged nothing. */
struct limiter_answer limiter_peek(const struct limiter *limiter, uint32_t limit, uint64_t digest, uint64_t now_ns);

/* Forgets one key: its bucket is full again. Concurrency keys are left alone. True when the key was known. */
bool limiter_forget(struct limiter *limiter, uint32_t limit, uint64_t digest);

struct limiter_usage {
    uint64_t capacity;       /* cells */
    uint64_t keys;           /* cells whose key is live (owes tokens, or has requests in flight) at now_ns */
    uint64_t live_evictions; /* debts forgotten because a set was full: a table too small */
};
/* Walks the limit's table: O(capacity), for a scrape, not for a request. All concurrency limits share one table: each
 * reports that table's capacity and the keys of all of them. */
struct limiter_usage limiter_usage(const struct limiter *limiter, uint32_t limit, uint64_t now_ns);

#endif
