/* core: what a check costs, in nanoseconds.
 *
 *   build/release/tests/bench/core [SECONDS PER RUN, default 0.2]
 *
 * One limiter_admit() per operation, all else prepared beforehand: keys are digests drawn at random, as every request's
 * is. The table has four cells for each key. "admitted" spreads arrivals so that every request passes (and is written);
 * "refused" asks for more than the bucket holds (and only reads). Each figure is the median of RUNS runs; a run's time is
 * that of its slowest thread.
 */
#include "limiter.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 5, THREADS_MAX = 2, LIMITS = 3 };

static const uint8_t secret[LIMITER_SECRET_SIZE] = "a bench's secret";

struct thread {
    struct limiter *limiter;
    uint64_t keys, seed, operations, nanoseconds;
    size_t asks;
    uint64_t cost;
    double seconds;
    pthread_barrier_t *start;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* splitmix64: key number to digest, and a generator of key numbers. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

static uint64_t admit_one(const struct thread *thread, uint64_t random, uint64_t now)
{
    struct limiter_ask asks[LIMITS];
    struct limiter_answer answers[LIMITS];
    const uint64_t key = (uint64_t)(((random >> 32) * thread->keys) >> 32);
    for (size_t i = 0; i < thread->asks; i++) {
        asks[i] = (struct limiter_ask){ .limit = (uint32_t)i, .digest = mix(key * LIMITS + i) | 1, .cost = thread->cost };
    }
    return limiter_admit(thread->limiter, asks, thread->asks, now, answers) + answers[0].remaining;
}

static void *run(void *argument)
{
    struct thread *thread = argument;
    uint64_t random = thread->seed, sum = 0, now = 1000000000;
    const uint64_t batch = 4096; /* checks between two looks at the clock */
    pthread_barrier_wait(thread->start);
    const uint64_t begin = now_ns(), end = begin + (uint64_t)(thread->seconds * 1e9);
    uint64_t stop;
    do {
        for (uint64_t i = 0; i < batch; i++) {
            random = random * 6364136223846793005 + 1442695040888963407;
            now += 100;
            sum += admit_one(thread, random, now);
        }
        thread->operations += batch;
        stop = now_ns();
    } while (stop < end);
    thread->nanoseconds = stop - begin;
    static _Atomic uint64_t sink;
    atomic_fetch_add(&sink, sum); /* so that nothing is optimised away */
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_ns(uint64_t keys, size_t threads, size_t asks, uint64_t cost, double seconds)
{
    struct limiter_rule rules[LIMITS];
    for (size_t i = 0; i < LIMITS; i++) {
        static const char *const names[LIMITS] = { "one", "two", "three" };
        rules[i] = (struct limiter_rule){ .name = names[i], .tokens = 1000000007, .period_ns = 1000000013, .burst = 1000,
                                          .keys = (size_t)(keys * 4) };
    }
    struct limiter *limiter = limiter_create(rules, asks, 0, secret);
    if (limiter == NULL) {
        return 0;
    }
    double results[RUNS];
    for (int i = -1; i < RUNS; i++) { /* -1 warms up */
        struct thread state[THREADS_MAX];
        pthread_t ids[THREADS_MAX];
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, (unsigned)threads);
        double slowest = 0;
        for (size_t t = 0; t < threads; t++) {
            state[t] = (struct thread){ .limiter = limiter, .keys = keys, .seed = mix((uint64_t)(i + 1) * 64 + t),
                                        .asks = asks, .cost = cost, .seconds = seconds, .start = &start };
            pthread_create(&ids[t], NULL, run, &state[t]);
        }
        for (size_t t = 0; t < threads; t++) {
            pthread_join(ids[t], NULL);
            const double ns = (double)state[t].nanoseconds / (double)state[t].operations;
            slowest = ns > slowest ? ns : slowest;
        }
        pthread_barrier_destroy(&start);
        if (i >= 0) {
            results[i] = slowest;
        }
    }
    limiter_destroy(&limiter);
    qsort(results, RUNS, sizeof *results, by_value);
    return results[RUNS / 2];
}

int main(int argc, char **argv)
{
    const double seconds = argc > 1 ? atof(argv[1]) : 0.2;
    static const struct {
        const char *name;
        uint64_t keys;
    } sizes[] = { { "1", 1 }, { "1 k", 1000 }, { "100 k", 100000 }, { "10 M", 10000000 } };
    printf("ns per limiter_admit(), median of %d runs of %.2g s\n\n", RUNS, seconds);
    printf("%-8s %12s %12s %12s %12s %14s\n", "keys", "1 thread", "2 threads", "refused", "3 limits", "3 limits / 1");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const double one = median_ns(sizes[i].keys, 1, 1, 1, seconds), two = median_ns(sizes[i].keys, 2, 1, 1, seconds);
        const double refused = median_ns(sizes[i].keys, 1, 1, 1001, seconds);
        const double three = median_ns(sizes[i].keys, 1, 3, 1, seconds);
        printf("%-8s %12.1f %12.1f %12.1f %12.1f %14.2f\n", sizes[i].name, one, two, refused, three, three / one);
    }
    return 0;
}
