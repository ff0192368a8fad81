/* cell: sixteen bytes that change together.
 *
 * All state the limiter keeps about a key is one 64-bit state word, and it stands next to the key it belongs to. Both
 * are changed only by one 128-bit compare-and-swap (x86-64: cmpxchg16b; arm64: casp). That is the limiter's whole
 * answer to threads: there is no moment at which a cell carries a key and somebody else's state, so nobody is charged
 * or refused for another's requests, and a cell is found, claimed and charged in one step. Do not split the word.
 *
 * Reading needs no 128-bit load (which would be a locked write on older x86, and pull the line away from other cores):
 * the two halves are two ordinary atomic loads. A torn pair cannot be written back, since the swap compares both
 * halves. What is decided without a swap, a refusal, is discussed at cell_load() and cell_load_settled().
 */
#ifndef WEIR_CELL_H
#define WEIR_CELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if !defined(__GCC_HAVE_SYNC_COMPARE_AND_SWAP_16) && !(defined(__aarch64__) && defined(__ARM_FEATURE_ATOMICS))
#error "weir needs a 128-bit compare-and-swap: -mcx16 on x86-64, -march=armv8.1-a on arm64"
#endif

/* This room's CHECK(): an invariant of ours, on in production too. It has no stdio to say where; the core file does. */
#define LIMITER_CHECK(condition) ((condition) ? (void)0 : abort())

struct cell {
    _Atomic uint64_t state; /* what it means is for the owner of the table to say; 0 = nothing is owed */
    _Atomic uint64_t key;   /* 0 = nobody's */
} __attribute__((aligned(16)));

_Static_assert(sizeof(struct cell) == 16, "a cell is what one 128-bit compare-and-swap can change");

/* What a cell held when it was looked at, or is to hold. */
struct word {
    uint64_t state;
    uint64_t key;
};

/* tests/model/interleave.c defines these two to put its scheduler before every access to shared memory. */
#ifndef CELL_LOAD
#define CELL_LOAD(half, order) atomic_load_explicit(half, order)
/* The one type name in this room that is not a struct: the language has no other way to say 128 bits. may_alias, since
 * the same bytes are also read as two halves. */
__extension__ typedef unsigned __int128 cell_bits __attribute__((may_alias));
/* __sync and not __atomic or C11: gcc turns 16-byte __atomic calls into calls of libatomic, __sync stays one inline
 * instruction with gcc and clang. It is a full barrier. ThreadSanitizer knows it (as __tsan_atomic128_compare_exchange)
 * and tracks it together with the 8-byte atomic loads of the halves; tests/stress/limiter.c under `make tsan` shows
 * it. */
static inline bool cell_compare_and_swap(struct cell *cell, struct word before, struct word after)
{
    union {
        struct word halves;
        cell_bits whole;
    } old = { .halves = before }, new = { .halves = after };
    return __sync_bool_compare_and_swap((cell_bits *)(void *)cell, old.whole, new.whole);
}
#define CELL_SWAP(cell, before, after) cell_compare_and_swap(cell, before, after)
#endif

/* For words that grow while their key stays, and grow again when another key takes the cell over (a table of buckets).
 * The state is read before the key. If the key is mine, the state was mine too, or it was that of the idle cell that I
 * (another request of mine) took over in between: then the true state is greater still, so a refusal that the smaller
 * one justified is just. The opposite order would refuse an idle key for the debt of the one that has just taken its
 * cell. */
static inline struct word cell_load(const struct cell *cell)
{
    struct word word;
    word.state = CELL_LOAD(&cell->state, memory_order_acquire); /* acquire: the key below is read after it */
    word.key = CELL_LOAD(&cell->key, memory_order_relaxed);     /* relaxed: the word publishes nothing but itself */
    return word;
}

/* For words that carry a generation in their upper half (semaphores): the same generation before and after the key was
 * read means that both belong together. */
static inline struct word cell_load_settled(const struct cell *cell)
{
    struct word word;
    uint64_t earlier;
    do {
        /* seq_cst: "I have labelled my cell, then saw no other label" must hold in one order for all threads
         * (semaphore.c); on x86 and arm64 such a load costs what an acquire costs */
        earlier = CELL_LOAD(&cell->state, memory_order_seq_cst);
        word.key = CELL_LOAD(&cell->key, memory_order_seq_cst);
        word.state = CELL_LOAD(&cell->state, memory_order_seq_cst);
    } while ((earlier ^ word.state) >> 32 != 0);
    return word;
}

/* True when the cell held `before` and now holds `after`; else nothing has changed and the caller looks again. */
static inline bool cell_swap(struct cell *cell, struct word before, struct word after)
{
    return CELL_SWAP(cell, before, after);
}

/* What a request learnt about one key, carried from its check to its charge. */
struct sight {
    struct cell *cell; /* the key's own, or the one it would take over */
    struct word found; /* what that cell held */
    uint64_t state;    /* the key's state: found.state when the cell is its own, else 0 */
    uint64_t clock;    /* `now` as the kind counts it (buckets) */
};

enum outcome {
    OUTCOME_FITS,      /* checked: it would pass; charged: it is charged */
    OUTCOME_REFUSED,   /* nothing was written */
    OUTCOME_FULL,      /* nothing was written: no cell could be had */
    OUTCOME_UNCHARGED, /* passes, but others were always faster: nothing was written */
};

/* Where a key lives among n sets: the high word of digest · n. Any n will do, and no division. */
__extension__ static inline size_t cell_set_of(uint64_t digest, size_t sets)
{
    return (size_t)(((unsigned __int128)digest * sets) >> 64);
}

/* Zeroed memory for `bytes` (a multiple of 128), whole sets on whole cache lines; NULL when short. From 2 MiB on it
 * starts and ends on a 2 MiB border, so that a kernel which gives huge pages on its own can. It is touched here, not
 * later: memory that is missing is noticed at start, not under load. */
void *cell_allocate(size_t bytes);

#endif
