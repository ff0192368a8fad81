/* core: what a check costs, in nanoseconds.
 *
 *   build/release/tests/bench/core [SECONDS PER RUN, default 0.1]
 *
 * One limiter_admit() per operation, keys at random, four cells for each key:
 *
 *   admitted   the bucket has enough: found, charged, described. On one thread, and on two that share the table
 *   refused    the bucket is empty: found, described; nothing is written
 *   3 limits   one request that meets three limits, each with a table of its own, a third of the size, and another key
 *
 * Each figure is the median of RUNS runs, a run's that of its slowest thread, and includes the two nanoseconds or so that
 * it takes to draw a key. Hashing is apart: the last line has it, for a key of 16 bytes.
 */
#include "limiter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RUNS = 5, THREADS_MAX = 2, LIMITS = 3, BURST = 1000 };

static const uint8_t secret[LIMITER_SECRET_SIZE] = "a bench's secret";
static _Atomic uint64_t sink; /* what is added here cannot be optimised away */

struct setting {
    uint64_t keys;
    size_t threads, limits;
    bool refused;
    double seconds;
};

struct thread {
    const struct setting *setting;
    struct limiter *limiter;
    pthread_barrier_t *start;
    uint64_t seed;
    double ns_per_operation;
};

/* This thread's own time: what else the machine does is not counted. */
static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Key number to digest; never 0. */
static uint64_t digest_of_key(uint64_t key)
{
    uint64_t x = (key + 1) * 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 32)) * 0xbf58476d1ce4e5b9;
    return x ^ (x >> 29);
}

static uint64_t admit(const struct thread *thread, uint64_t key, uint64_t cost, uint64_t now)
{
    static const uint64_t odd[LIMITS] = { 1, 0xd1342543de82ef95, 0xaf251af3b0f025b5 };
    struct limiter_ask asks[LIMITS];
    struct limiter_answer answers[LIMITS];
    const uint64_t digest = digest_of_key(key);
    for (size_t i = 0; i < thread->setting->limits; i++) { /* another key for each limit */
        asks[i] = (struct limiter_ask){ .limit = (uint32_t)i, .digest = digest * odd[i], .cost = cost };
    }
    return limiter_admit(thread->limiter, asks, thread->setting->limits, now, answers) + answers[0].remaining;
}

static void *run(void *argument)
{
    struct thread *thread = argument;
    const uint64_t batch = 4096;                              /* operations between two looks at the clock */
    const uint64_t step = thread->setting->refused ? 0 : 100; /* at 10^9 tokens per second: enough */
    uint64_t random = thread->seed, sum = 0, now = 1000000000, operations = 0, end;
    pthread_barrier_wait(thread->start);
    const uint64_t begin = clock_ns();
    do {
        for (uint64_t i = 0; i < batch; i++) {
            random = random * 6364136223846793005 + 1442695040888963407;
            now += step;
            sum += admit(thread, ((random >> 32) * thread->setting->keys) >> 32, 1, now);
        }
        operations += batch;
        end = clock_ns();
    } while ((double)(end - begin) < thread->setting->seconds * 1e9);
    thread->ns_per_operation = (double)(end - begin) / (double)operations;
    atomic_fetch_add(&sink, sum);
    return NULL;
}

static double run_once(const struct setting *setting, struct limiter *limiter, uint64_t seed)
{
    struct thread threads[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    pthread_barrier_t start;
    double slowest = 0;
    pthread_barrier_init(&start, NULL, (unsigned)setting->threads);
    for (size_t t = 0; t < setting->threads; t++) {
        threads[t] = (struct thread){ setting, limiter, &start, (seed * THREADS_MAX + t) * 7919, 0 };
        pthread_create(&ids[t], NULL, run, &threads[t]);
    }
    for (size_t t = 0; t < setting->threads; t++) {
        pthread_join(ids[t], NULL);
        slowest = threads[t].ns_per_operation > slowest ? threads[t].ns_per_operation : slowest;
    }
    pthread_barrier_destroy(&start);
    return slowest;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_ns(uint64_t all_keys, size_t threads, size_t limits, bool refused, double seconds)
{
    const uint64_t keys = all_keys / limits + (all_keys < limits); /* of each limit */
    static const char *const names[LIMITS] = { "one", "two", "three" };
    const struct setting setting = { keys, threads, limits, refused, seconds };
    struct limiter_rule rules[LIMITS];
    for (size_t i = 0; i < LIMITS; i++) {
        rules[i] = (struct limiter_rule){
            .name = names[i], .tokens = 1000000007, .period_ns = 1000000013, .burst = BURST, .keys = (size_t)keys * 4
        };
    }
    struct limiter *limiter = limiter_create(rules, limits, 0, secret);
    if (limiter == NULL) {
        return 0;
    }
    const struct thread filler = { .setting = &setting, .limiter = limiter };
    for (uint64_t key = 0; key < keys; key++) { /* every key has its cell, and has spent its burst */
        atomic_fetch_add(&sink, admit(&filler, key, BURST, 1000000000));
    }
    double results[RUNS];
    for (uint64_t i = 0; i < RUNS; i++) {
        results[i] = run_once(&setting, limiter, i + 1);
    }
    limiter_destroy(&limiter);
    qsort(results, RUNS, sizeof *results, by_value);
    return results[RUNS / 2];
}

static double hashing_ns(void)
{
    const struct limiter_rule rule = { .name = "one", .tokens = 1, .period_ns = 1, .burst = 1 };
    struct limiter *limiter = limiter_create(&rule, 1, 0, secret);
    const uint64_t count = 2000000;
    uint64_t key[2] = { 1, 2 };
    const uint64_t begin = clock_ns();
    for (uint64_t i = 0; i < count; i++) {
        key[0] = limiter_digest(limiter, 0, key, sizeof key);
    }
    const uint64_t end = clock_ns();
    atomic_fetch_add(&sink, key[0]);
    limiter_destroy(&limiter);
    return (double)(end - begin) / (double)count;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint64_t keys;
    } sizes[] = { { "1", 1 }, { "1 k", 1000 }, { "100 k", 100000 }, { "10 M", 10000000 } };
    const double seconds = argc > 1 ? atof(argv[1]) : 0.1;
    printf("ns per limiter_admit(), median of %d runs of %g s\n\n%-8s %12s %12s %12s %12s %10s\n", RUNS, seconds,
           "keys", "admitted", "by each of 2", "refused", "3 limits", "3 : 1");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const uint64_t keys = sizes[i].keys;
        const double one = median_ns(keys, 1, 1, false, seconds), three = median_ns(keys, 1, 3, false, seconds);
        printf("%-8s %12.1f %12.1f %12.1f %12.1f %10.2f\n", sizes[i].name, one, median_ns(keys, 2, 1, false, seconds),
               median_ns(keys, 1, 1, true, seconds), three, three / one);
        fflush(stdout);
    }
    printf("\nlimiter_digest() of 16 bytes: %.1f ns\n", hashing_ns());
    return 0;
}
