/* limiter: real threads on one limiter.
 *
 *   STRESS_SECONDS=2 build/release/tests/stress/limiter
 *
 * tests/model/interleave.c tries every schedule of a few requests with a stand-in for the atomics; this tries what the
 * machine does, millions of times, with the real ones: at full speed for the outcome, under ThreadSanitizer (make tsan)
 * for the declarations. The clock is the test's: it stands still for a round and then jumps, so that the outcome of a
 * round is known to the token however the threads were scheduled. All keys share one set, where claims meet.
 */
#include "limiter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND UINT64_C(1000000000)

enum { THREADS_MAX = 8, BUCKET_KEYS = 6, SLOT_KEYS = 12, SLOTS = 3, BURST = 300, CROWD = 40 };
enum { A, B, IN_FLIGHT };

struct player {
    uint64_t random;
};

/* What the threads agree on, and what they have done, as they know it themselves. */
static struct {
    struct limiter *limiter;
    pthread_barrier_t barrier;
    _Atomic uint64_t now_ns;
    _Atomic bool over;
    _Atomic uint64_t admitted, refused, violations;
    _Atomic int64_t charged[2][BUCKET_KEYS]; /* tokens */
    _Atomic int64_t held[SLOT_KEYS];
} shared;

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static uint64_t random_below(struct player *player, uint64_t bound)
{
    player->random = player->random * 6364136223846793005 + 1442695040888963407;
    return (player->random >> 33) % bound;
}

/* Small digests: all in the first set of whatever table. */
static uint64_t digest_of_key(uint64_t key)
{
    return key + 1;
}

static void expect(bool held)
{
    if (!held) {
        atomic_fetch_add(&shared.violations, 1);
    }
}

static bool admit(const struct limiter_ask *asks, size_t count)
{
    struct limiter_answer answers[LIMITER_ASKS_MAX];
    const bool admitted =
        limiter_admit(shared.limiter, asks, count, atomic_load(&shared.now_ns), answers) == LIMITER_ADMITTED;
    for (size_t i = 0; i < count; i++) {
        expect(answers[i].remaining <= answers[i].capacity);
        expect(!admitted || answers[i].allowed);
    }
    atomic_fetch_add(admitted ? &shared.admitted : &shared.refused, 1);
    return admitted;
}

/* ---- one hot key ---- */

static void drain(struct player *player)
{
    (void)player;
    const struct limiter_ask ask = { A, digest_of_key(0), 1 };
    while (admit(&ask, 1)) {
    }
}

/* The burst in the first round; then, of 3 per 7 ns, as many as the clock says, to the last one. */
static void check_drained(uint64_t round)
{
    expect(atomic_load(&shared.admitted) == (round == 0 ? BURST : round * 3 % BURST));
    atomic_store(&shared.admitted, 0);
    atomic_fetch_add(&shared.now_ns, (round + 1) * 3 % BURST / 3 * 7);
}

/* ---- one new key per round, in a set with room ---- */

static void claim(struct player *player)
{
    (void)player;
    const struct limiter_ask ask = { A, digest_of_key(atomic_load(&shared.now_ns)), BURST };
    (void)admit(&ask, 1);
}

static void check_claimed(uint64_t round)
{
    (void)round;
    expect(atomic_exchange(&shared.admitted, 0) == 1);
    atomic_fetch_add(&shared.now_ns, 200); /* a bucket fills in 700: four keys of eight cells owe something */
}

/* ---- slots ---- */

static void hold(struct player *player)
{
    for (int i = 0; i < 200; i++) {
        const uint64_t key = random_below(player, SLOT_KEYS);
        const struct limiter_ask ask = { IN_FLIGHT, digest_of_key(key), 1 };
        if (admit(&ask, 1)) {
            expect(atomic_fetch_add(&shared.held[key], 1) < SLOTS);
            atomic_fetch_sub(&shared.held[key], 1);
            limiter_release(shared.limiter, &ask, 1);
        }
    }
}

static void check_released(uint64_t round)
{
    (void)round;
    expect(limiter_usage(shared.limiter, IN_FLIGHT, 1).keys == 0);
    for (uint64_t key = 0; key < SLOT_KEYS; key++) {
        expect(limiter_peek(shared.limiter, IN_FLIGHT, digest_of_key(key), 1).remaining == SLOTS);
    }
}

/* ---- everything at once ---- */

static void mix(struct player *player)
{
    for (int i = 0; i < 100; i++) {
        const uint64_t a = random_below(player, BUCKET_KEYS), b = random_below(player, BUCKET_KEYS);
        const uint64_t slot = random_below(player, SLOT_KEYS), cost = 1 + random_below(player, 4);
        const struct limiter_ask asks[] = { { A, digest_of_key(a), cost },
                                            { IN_FLIGHT, digest_of_key(slot), 1 },
                                            { B, digest_of_key(b), 1 } };
        if (!admit(asks, 3)) {
            continue;
        }
        atomic_fetch_add(&shared.charged[A][a], (int64_t)cost);
        atomic_fetch_add(&shared.charged[B][b], 1);
        expect(atomic_fetch_add(&shared.held[slot], 1) < SLOTS);
        if (random_below(player, 4) == 0) {
            limiter_refund(shared.limiter, asks, 3, atomic_load(&shared.now_ns));
            atomic_fetch_sub(&shared.charged[A][a], (int64_t)cost);
            atomic_fetch_sub(&shared.charged[B][b], 1);
        }
        atomic_fetch_sub(&shared.held[slot], 1);
        limiter_release(shared.limiter, asks, 3);
    }
}

/* Every token is where it was charged. Then time enough for all buckets to fill. */
static void check_ledger(uint64_t round)
{
    const uint64_t now = atomic_load(&shared.now_ns);
    for (uint32_t limit = A; limit <= B; limit++) {
        for (uint64_t key = 0; key < BUCKET_KEYS; key++) {
            const struct limiter_answer answer = limiter_peek(shared.limiter, limit, digest_of_key(key), now);
            expect((int64_t)answer.capacity - (int64_t)answer.remaining == atomic_load(&shared.charged[limit][key]));
            atomic_store(&shared.charged[limit][key], 0);
        }
        expect(limiter_usage(shared.limiter, limit, now).live_evictions == 0);
    }
    check_released(round);
    atomic_fetch_add(&shared.now_ns, SECOND);
}

/* ---- more keys than cells: debts are forgotten, nothing else goes wrong ---- */

static void crowd(struct player *player)
{
    for (int i = 0; i < 500; i++) {
        const struct limiter_ask ask = { A, digest_of_key(random_below(player, CROWD)), 1 };
        if (random_below(player, 50) == 0) {
            (void)limiter_forget(shared.limiter, A, ask.digest);
        } else if (admit(&ask, 1) && random_below(player, 3) == 0) {
            limiter_refund(shared.limiter, &ask, 1, atomic_load(&shared.now_ns));
        }
    }
}

static void check_crowd(uint64_t round)
{
    (void)round;
    expect(limiter_usage(shared.limiter, A, atomic_load(&shared.now_ns)).keys <= 8);
    atomic_fetch_add(&shared.now_ns, 70);
}

/* ---- rounds ---- */

static const struct scenario {
    const char *name;
    void (*play)(struct player *player); /* by every thread, in every round */
    void (*check)(uint64_t round);       /* then by one, and time goes on */
} scenarios[] = {
    { "a hot key admits its envelope, to the token", drain, check_drained },
    { "a new key gets one cell, whoever comes first", claim, check_claimed },
    { "slots are never over their limit, and all come back", hold, check_released },
    { "three limits, refunds and releases: every token is accounted for", mix, check_ledger },
    { "a crowd in one set", crowd, check_crowd },
};

static const struct scenario *scenario;

static void *play(void *argument)
{
    struct player *player = argument;
    for (;;) {
        pthread_barrier_wait(&shared.barrier);
        if (atomic_load(&shared.over)) {
            return NULL;
        }
        scenario->play(player);
        pthread_barrier_wait(&shared.barrier);
    }
}

static bool played(size_t threads, double seconds)
{
    const struct limiter_rule rules[] = {
        [A] = { .name = "a", .tokens = 3, .period_ns = 7, .burst = BURST, .keys = 8 },
        [B] = { .name = "b", .tokens = 1, .period_ns = 100, .burst = BURST, .keys = 8 },
        [IN_FLIGHT] = { .name = "s", .kind = LIMITER_CONCURRENCY, .in_flight = SLOTS },
    };
    memset(&shared, 0, sizeof shared);
    shared.now_ns = 7 * SECOND; /* where a token's time and a nanosecond's begin together */
    shared.limiter = limiter_create(rules, 3, 1, (const uint8_t[LIMITER_SECRET_SIZE]){ 0 });
    if (shared.limiter == NULL) {
        return false;
    }
    pthread_barrier_init(&shared.barrier, NULL, (unsigned)threads + 1);
    struct player players[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    for (size_t t = 0; t < threads; t++) {
        players[t] = (struct player){ t + 1 };
        pthread_create(&ids[t], NULL, play, &players[t]);
    }
    const uint64_t end = clock_ns() + (uint64_t)(seconds * (double)SECOND);
    uint64_t rounds = 0, requests = 0;
    for (; clock_ns() < end; rounds++) {
        pthread_barrier_wait(&shared.barrier); /* here they begin */
        pthread_barrier_wait(&shared.barrier); /* and here they have ended */
        requests += atomic_load(&shared.admitted) + atomic_exchange(&shared.refused, 0);
        scenario->check(rounds);
        atomic_store(&shared.admitted, 0);
    }
    atomic_store(&shared.over, true);
    pthread_barrier_wait(&shared.barrier);
    for (size_t t = 0; t < threads; t++) {
        pthread_join(ids[t], NULL);
    }
    pthread_barrier_destroy(&shared.barrier);
    limiter_destroy(&shared.limiter);
    const uint64_t violations = atomic_load(&shared.violations);
    printf("%s %-66s %zu threads, %7llu rounds, %9llu requests", violations == 0 ? "ok  " : "FAIL", scenario->name,
           threads, (unsigned long long)rounds, (unsigned long long)requests);
    printf(violations == 0 ? "\n" : ": %llu violations\n", (unsigned long long)violations);
    return violations == 0;
}

int main(void)
{
    static const size_t threads[] = { 2, 4, THREADS_MAX };
    const size_t plays = sizeof threads / sizeof threads[0] * (sizeof scenarios / sizeof scenarios[0]);
    const char *text = getenv("STRESS_SECONDS");
    const double seconds = (text != NULL ? atof(text) : 2) / (double)plays;
    unsigned passed = 0, failed = 0;
    for (size_t i = 0; i < plays; i++) {
        scenario = &scenarios[i / 3];
        const bool good = played(threads[i % 3], seconds);
        passed += good;
        failed += !good;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
