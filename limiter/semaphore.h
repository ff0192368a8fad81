/* semaphore: requests in flight, by (limit, key).
 *
 * One fixed array for all concurrency limits: a key's digest contains its limit. A cell counts the requests of one key;
 * at 0 it is nobody's and the next key may have it. A cell above 0 is never taken over, because its requests will come
 * to give their slots back: when a set has no cell at 0, a new key is told FULL. semaphore_init() takes so many cells
 * that this does not happen (the arithmetic is in docs/LIMITER.md).
 *
 *   state word:   tentative : 1 | generation : 31 | count : 32
 *
 * generation   grows each time the cell changes keys, so that a word seen twice is the same word
 * tentative    the cell is labelled with a key, but may not be counted on yet: another cell might carry the same label
 *
 * Unlike a table of buckets, where a cell's debt only time can end, a count falls to 0 at any moment, and two requests
 * of a new key can see different cells free. Hence labels are tried before they count, as in "Non-blocking Hashtables
 * with Open Addressing" (Purcell and Harris, DISC 2005); semaphore.c has the protocol and why it is exact.
 */
#ifndef WEIR_SEMAPHORE_H
#define WEIR_SEMAPHORE_H

#include "cell.h"

#ifndef SEMAPHORE_WAYS /* the model makes sets smaller */
#define SEMAPHORE_WAYS 16
#endif

#define SEMAPHORE_CELLS_PER_KEY 16
#define SEMAPHORE_SLOTS_MAX     UINT32_MAX

struct semaphore_set {
    struct cell cells[SEMAPHORE_WAYS];
} __attribute__((aligned(128)));

struct semaphore {
    struct semaphore_set *sets;
    size_t set_count;
};

/* Room for `keys` in flight at once; false when memory is short. */
__attribute__((warn_unused_result)) bool semaphore_init(struct semaphore *semaphore, size_t keys);
void semaphore_fini(struct semaphore *semaphore);

/* Starts to fetch the line where the search for the key begins, and mostly ends. */
static inline void semaphore_prefetch(const struct semaphore *semaphore, uint64_t digest)
{
    const struct semaphore_set *set = &semaphore->sets[cell_set_of(digest, semaphore->set_count)];
    __builtin_prefetch(&set->cells[digest % SEMAPHORE_WAYS]);
}

/* How many requests of the key are in flight: *held. FITS when one more would be within `slots`, else REFUSED; FULL
 * when the key has no cell and there is none to be had. Writes nothing. */
enum outcome semaphore_check(const struct semaphore *semaphore, uint64_t digest, uint64_t slots, uint64_t *held);

/* Takes a slot: FITS, REFUSED or FULL, with *held as it is now. Never UNCHARGED: what is not counted cannot be
 * released. */
enum outcome semaphore_acquire(struct semaphore *semaphore, uint64_t digest, uint64_t slots, uint64_t *held);

/* Gives a slot back that semaphore_acquire() gave; anything else is a defect of the caller's and CHECKed. */
void semaphore_release(struct semaphore *semaphore, uint64_t digest);

/* Cells, and those of them above 0. Walks the whole array. */
uint64_t semaphore_capacity(const struct semaphore *semaphore);
uint64_t semaphore_live(const struct semaphore *semaphore);

#endif
