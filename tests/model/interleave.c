/* interleave: every schedule of two to four requests over the limiter's real code.
 *
 * The limiter is compiled into this program with its two accesses to shared memory, the load of half a cell and the
 * swap of a whole one, replaced by a scheduler's. A thread is a function whose course depends on nothing but what these
 * accesses return, so a thread stopped before one of them is known by the answers it has had so far: to take one more
 * step, it is run again from the start, is told those answers, makes the next access for real, and is left by longjmp()
 * before the one after. No stacks to switch, and to go back in time is to copy a few cells.
 *
 * States (the cells, and every thread's answers) that were met before are not explored again, which loses nothing; the
 * number of schedules they stand for is counted all the same. In every state and at every end the scenario's promises
 * are checked. Sets are three cells wide here, and every scenario is run with its keys at home in each of them.
 *
 * Time stands still in a scenario, but the threads need not agree on it. One token is one nanosecond.
 */
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cell;
struct word;
static uint64_t model_load(const _Atomic uint64_t *half, bool settled);
static bool model_swap(struct cell *cell, struct word before, struct word after);

#define CELL_LOAD(half, order)         model_load(half, (order) == memory_order_seq_cst)
#define CELL_SWAP(cell, before, after) model_swap(cell, before, after)
#define TABLE_WAYS                     WAYS
#define SEMAPHORE_WAYS                 WAYS

#include "scenarios.h"

#include "cell.c"
#include "limiter.c"
#include "semaphore.c"
#include "table.c"

/* gcc's sanitizers, twenty times slower and with a single thread to look at, are content with one home. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HOMES 1
#else
#define HOMES WAYS
#endif

enum {
    ANSWERS_MAX = 512, /* to one thread, in the longest schedule */
    CELLS_MAX = LIMITS_MAX * WAYS,
};

/* ---- threads ---- */

/* Where a thread stands. What it is about to do follows from the answers it has had. */
struct stand {
    size_t known;    /* answers had */
    uint64_t digest; /* of them */
    bool done, holds;
    enum limiter_verdict verdict;
};

struct thread {
    struct stand at;
    uint64_t answers[ANSWERS_MAX]; /* only ever appended to: to step back is to know fewer */
};

static struct {
    const struct scenario *scenario;
    struct limiter *limiter;
    struct cell *cells[CELLS_MAX];
    size_t cell_count;
    uint64_t shift; /* of all keys */
    struct actor actors[THREADS_MAX];
    struct thread threads[THREADS_MAX];
    size_t thread_count;
    struct thread *running;
    size_t asked;   /* accesses the running thread has made in this run */
    bool stepped;   /* its one new access is behind it */
    size_t settled; /* loads by cell_load_settled() in this run */
    jmp_buf stop;
} world;

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/* Before every access. True: it was made in an earlier run, with this answer. False: it is to be made now, as this
 * step's one access or at the same moment as that. */
static bool remembered(uint64_t *answer, bool same_moment)
{
    if (world.asked < world.running->at.known) {
        *answer = world.running->answers[world.asked++];
        return true;
    }
    if (world.stepped && !same_moment) {
        longjmp(world.stop, 1);
    }
    world.stepped = true;
    return false;
}

static uint64_t learn(uint64_t answer)
{
    struct stand *at = &world.running->at;
    LIMITER_CHECK(at->known < ANSWERS_MAX);
    world.running->answers[at->known++] = answer;
    world.asked++;
    at->digest = mix(at->digest * 31 + answer + 1);
    return answer;
}

static uint64_t model_load(const _Atomic uint64_t *half, bool settled)
{
    uint64_t answer;
    const bool same_moment = settled && world.scenario->coarse && world.settled++ % 3 != 0;
    return remembered(&answer, same_moment) ? answer : learn(atomic_load(half));
}

static bool model_swap(struct cell *cell, struct word before, struct word after)
{
    uint64_t answer;
    if (remembered(&answer, false)) {
        return answer != 0;
    }
    const bool same = cell->state == before.state && cell->key == before.key;
    if (same) {
        cell->state = after.state;
        cell->key = after.key;
    }
    return learn(same) != 0;
}

/* A moment for others in which this thread touches nothing. */
static void linger(void)
{
    uint64_t answer;
    if (!remembered(&answer, false)) {
        (void)learn(0);
    }
}

static void act(const struct actor *actor, struct stand *at)
{
    struct limiter_answer answers[ASKS_MAX];
    const uint64_t now = actor->now != 0 ? actor->now : NOW;
    switch (actor->deed) {
    case REQUEST:
    case REQUEST_AND_RELEASE:
        at->verdict = limiter_admit(world.limiter, actor->asks, actor->ask_count, now, answers);
        at->holds = at->verdict == LIMITER_ADMITTED;
        if (at->holds && actor->deed == REQUEST_AND_RELEASE) {
            linger();
            at->holds = false;
            limiter_release(world.limiter, actor->asks, actor->ask_count);
        }
        break;
    case RELEASE:
        limiter_release(world.limiter, actor->asks, actor->ask_count);
        break;
    case REFUND:
        limiter_refund(world.limiter, actor->asks, actor->ask_count, now);
        break;
    case FORGET:
        (void)limiter_forget(world.limiter, actor->asks[0].limit, actor->asks[0].digest);
        break;
    }
    at->done = true;
}

/* One more access of thread t, and on to the next. */
static void step(size_t t)
{
    world.running = &world.threads[t];
    world.asked = 0;
    world.stepped = false;
    world.settled = 0;
    world.running->at.holds = false;
    if (setjmp(world.stop) == 0) {
        act(&world.actors[t], &world.threads[t].at);
    }
}

/* ---- states ---- */

struct state_key {
    uint64_t a, b;
};

static struct {
    struct state_key *keys; /* open addressing; a = 0: empty */
    double *schedules;      /* from this state to an end */
    size_t size, used;
} met;

static void met_clear(void)
{
    free(met.keys);
    free(met.schedules);
    met.size = 1 << 16;
    met.used = 0;
    met.keys = calloc(met.size, sizeof *met.keys);
    met.schedules = calloc(met.size, sizeof *met.schedules);
    LIMITER_CHECK(met.keys != NULL && met.schedules != NULL);
}

static size_t met_place(struct state_key key)
{
    size_t place = key.a & (met.size - 1);
    while (met.keys[place].a != 0 && (met.keys[place].a != key.a || met.keys[place].b != key.b)) {
        place = (place + 1) & (met.size - 1);
    }
    return place;
}

static void met_add(struct state_key key, double schedules)
{
    if (met.used * 2 >= met.size) {
        struct state_key *keys = met.keys;
        double *counts = met.schedules;
        const size_t size = met.size;
        met.size *= 2;
        met.keys = calloc(met.size, sizeof *met.keys);
        met.schedules = calloc(met.size, sizeof *met.schedules);
        LIMITER_CHECK(met.keys != NULL && met.schedules != NULL);
        for (size_t i = 0; i < size; i++) {
            if (keys[i].a != 0) {
                const size_t place = met_place(keys[i]);
                met.keys[place] = keys[i];
                met.schedules[place] = counts[i];
            }
        }
        free(keys);
        free(counts);
    }
    const size_t place = met_place(key);
    met.keys[place] = key;
    met.schedules[place] = schedules;
    met.used++;
}

static struct state_key state_key(void)
{
    struct state_key key = { 1, 2 };
    for (size_t i = 0; i < world.cell_count; i++) {
        key.a = mix(key.a * 3 + world.cells[i]->state);
        key.a = mix(key.a * 5 + world.cells[i]->key);
        key.b = mix(key.b * 7 + world.cells[i]->key * 11 + world.cells[i]->state);
    }
    for (size_t t = 0; t < world.thread_count; t++) {
        key.a = mix(key.a * 13 + world.threads[t].at.digest);
        key.b = mix(key.b * 17 + world.threads[t].at.digest + world.threads[t].at.done);
    }
    key.a |= 1;
    return key;
}

/* ---- promises ---- */

/* Of the scenario being explored. */
static struct {
    unsigned least[PROMISES_MAX], most[PROMISES_MAX]; /* admitted, by promise */
    const char *broken;                               /* the first thing that was */
} seen;

static void expect(bool held, const char *what)
{
    if (!held && seen.broken == NULL) {
        seen.broken = what;
    }
}

static bool asks_for(const struct actor *actor, uint64_t limit, uint64_t key)
{
    for (size_t i = 0; i < actor->ask_count; i++) {
        if (actor->asks[i].limit == limit && actor->asks[i].digest == key) {
            return true;
        }
    }
    return false;
}

/* Threads that did this deed for the key and, if it was a request, were admitted. */
static unsigned done_for(enum deed deed, uint64_t limit, uint64_t key)
{
    unsigned count = 0;
    for (size_t t = 0; t < world.thread_count; t++) {
        count += world.actors[t].deed == deed && asks_for(&world.actors[t], limit, key) &&
                 world.threads[t].at.verdict == LIMITER_ADMITTED;
    }
    return count;
}

static unsigned holders(uint64_t limit, uint64_t key)
{
    unsigned count = 0;
    for (size_t t = 0; t < world.thread_count; t++) {
        count += world.threads[t].at.holds && asks_for(&world.actors[t], limit, key);
    }
    return count;
}

static bool counts_slots(size_t limit)
{
    return world.limiter->limits[limit].kind == LIMITER_CONCURRENCY;
}

/* The one set of a limit: WAYS cells. */
static struct cell *set_of(size_t limit)
{
    return counts_slots(limit) ? world.limiter->slots->semaphore.sets[0].cells
                               : world.limiter->limits[limit].buckets->table.sets[0].cells;
}

/* What must be true at every moment. */
static void check_state(void)
{
    for (size_t limit = 0; limit < world.limiter->limit_count; limit++) {
        const bool slots = counts_slots(limit);
        const uint64_t most = world.limiter->limits[limit].in_flight;
        const struct cell *cells = set_of(limit);
        for (size_t i = 0; i < WAYS; i++) {
            const bool counts = !slots || (cells[i].state & TENTATIVE) == 0;
            for (size_t k = 0; k < i && cells[i].key != 0 && counts && !world.scenario->crowded; k++) {
                expect(cells[k].key != cells[i].key || (slots && (cells[k].state & TENTATIVE) != 0),
                       "a key owns two cells");
            }
            if (slots) {
                expect(COUNT(cells[i].state) <= most, "a count above the limit");
                expect(cells[i].key == 0 || holders(limit, cells[i].key) <= most, "more holders than slots");
            }
        }
    }
}

static int64_t filled(size_t limit, uint64_t key)
{
    for (size_t i = 0; i < WAYS; i++) {
        const struct fill *fill = &world.scenario->fills[i];
        if (fill->key != 0 && fill->limit == limit && fill->key + world.shift == key) {
            return fill->state > 0 ? fill->state : 0;
        }
    }
    return 0;
}

/* Every charge is in the cells, and nothing else is. */
static void check_ledger(size_t limit, uint64_t key)
{
    const bool slots = counts_slots(limit);
    const struct cell *cells = set_of(limit);
    int64_t owed = 0;
    for (size_t i = 0; i < WAYS; i++) {
        if (cells[i].key == key && slots) {
            expect((cells[i].state & TENTATIVE) == 0, "a label was left tentative");
            owed += (int64_t)COUNT(cells[i].state);
        } else if (cells[i].key == key && cells[i].state > NOW) {
            owed += (int64_t)(cells[i].state - NOW);
        }
    }
    const int64_t charged = filled(limit, key) + done_for(REQUEST, limit, key);
    const int64_t returned = (int64_t)done_for(REFUND, limit, key) + done_for(RELEASE, limit, key);
    expect(owed == charged - returned, "what is charged is not what was admitted");
}

static void check_end(void)
{
    static const uint64_t letters[] = { X, Y, Z, P, Q };
    for (size_t limit = 0; limit < world.limiter->limit_count; limit++) {
        for (size_t i = 0; i < sizeof letters / sizeof *letters; i++) {
            if (!world.scenario->crowded && !world.scenario->skewed) {
                check_ledger(limit, letters[i] + world.shift);
            }
        }
    }
    for (size_t i = 0; i < PROMISES_MAX && world.scenario->promises[i].key != 0; i++) {
        const uint64_t key = world.scenario->promises[i].key + world.shift;
        const size_t limit = asks_for(&world.actors[0], 1, key) ? 1 : 0;
        const unsigned admitted = done_for(REQUEST, limit, key) + done_for(REQUEST_AND_RELEASE, limit, key);
        seen.least[i] = admitted < seen.least[i] ? admitted : seen.least[i];
        seen.most[i] = admitted > seen.most[i] ? admitted : seen.most[i];
    }
}

/* ---- all schedules ---- */

static double explore(void)
{
    const struct state_key key = state_key();
    const size_t place = met_place(key);
    if (met.keys[place].a != 0) {
        return met.schedules[place];
    }
    check_state();
    struct word cells[CELLS_MAX];
    for (size_t i = 0; i < world.cell_count; i++) {
        cells[i] = (struct word){ world.cells[i]->state, world.cells[i]->key };
    }
    double schedules = 0;
    bool ended = true;
    for (size_t t = 0; t < world.thread_count; t++) {
        const struct stand before = world.threads[t].at;
        if (before.done) {
            continue;
        }
        ended = false;
        step(t);
        schedules += explore();
        world.threads[t].at = before;
        for (size_t i = 0; i < world.cell_count; i++) {
            world.cells[i]->state = cells[i].state;
            world.cells[i]->key = cells[i].key;
        }
    }
    if (ended) {
        check_end();
        schedules = 1;
    }
    met_add(key, schedules);
    return schedules;
}

static void set_scene(const struct scenario *scenario, uint64_t shift)
{
    static const uint8_t secret[LIMITER_SECRET_SIZE];
    memset(&world, 0, sizeof world);
    world.scenario = scenario;
    world.shift = shift;
    const size_t rules = scenario->rules[1].name != NULL ? 2 : 1;
    world.limiter = limiter_create(scenario->rules, rules, 1, secret);
    LIMITER_CHECK(world.limiter != NULL);
    for (size_t limit = 0; limit < rules; limit++) {
        struct cell *cells = set_of(limit);
        for (size_t i = 0; i < WAYS; i++) {
            world.cells[world.cell_count++] = &cells[i];
        }
        for (size_t i = 0; i < WAYS && scenario->fills[i].key != 0; i++) {
            const struct fill *fill = &scenario->fills[i];
            if (fill->limit == limit) {
                cells[fill->cell].key = fill->key + shift;
                cells[fill->cell].state = (uint64_t)fill->state + (counts_slots(limit) ? 0 : NOW);
            }
        }
    }
    for (size_t t = 0; t < THREADS_MAX && scenario->actors[t].ask_count > 0; t++) {
        world.actors[t] = scenario->actors[t];
        for (size_t i = 0; i < ASKS_MAX; i++) {
            world.actors[t].asks[i].digest += shift;
        }
        world.threads[t].at.holds = scenario->actors[t].deed == RELEASE;
        world.thread_count++;
    }
}

static bool explored(const struct scenario *scenario)
{
    memset(&seen, 0, sizeof seen);
    double schedules = 0;
    size_t states = 0;
    seen.least[0] = seen.least[1] = THREADS_MAX;
    for (uint64_t shift = 0; shift < HOMES; shift++) {
        set_scene(scenario, shift);
        met_clear();
        schedules += explore();
        states += met.used;
        limiter_destroy(&world.limiter);
    }
    for (size_t i = 0; i < PROMISES_MAX && scenario->promises[i].key != 0; i++) {
        expect(seen.least[i] >= scenario->promises[i].least, "fewer admitted than promised");
        expect(seen.most[i] <= scenario->promises[i].most, "more admitted than promised");
        expect(seen.least[i] == scenario->promises[i].least && seen.most[i] == scenario->promises[i].most,
               "not every outcome that was expected was met");
    }
    printf("%s %-100s %9zu states %8.2g schedules  admitted", seen.broken == NULL ? "ok  " : "FAIL", scenario->name,
           states, schedules);
    for (size_t i = 0; i < PROMISES_MAX && scenario->promises[i].key != 0; i++) {
        printf(" %u..%u", seen.least[i], seen.most[i]);
    }
    printf("%s%s\n", seen.broken != NULL ? ": " : "", seen.broken != NULL ? seen.broken : "");
    return seen.broken == NULL;
}

int main(void)
{
    unsigned passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (explored(&scenarios[i])) {
            passed++;
        } else {
            failed++;
        }
        fflush(stdout);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
