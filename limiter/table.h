/* table: buckets by key, in a fixed array that any number of threads charge at once.
 *
 * Sets of eight cells on two adjacent cache lines; a key may live in any cell of its set. Nothing is ever removed: a
 * key that owes nothing means the same as no key, so its cell is simply the next to be taken over. When all eight owe
 * something, the newcomer takes the cell with the smallest debt, which is forgotten (and counted), not inherited:
 * offenders carry the largest debts and keep them, and no newcomer pays for them.
 *
 * One table belongs to one limit: words of one limit can be compared, a flood on one cannot push out the debts of
 * another, and "too small" is said of the limit that is.
 *
 * The table does not know what a word means. A kind of limit brings five functions and promises:
 *   1. a word at or below clock() means what 0 means: nothing is owed;
 *   2. check(word) stays true for every smaller word;
 *   3. charge() returns more than clock (unless the cost is 0), refund() no less than clock (or the word unchanged).
 * From these alone follows that a key never owns two cells (the proof is at table_charge() in table.c), so a further
 * kind of limit is one more header of arithmetic and no new thought about threads.
 */
#ifndef WEIR_TABLE_H
#define WEIR_TABLE_H

#include "cell.h"
#include "limiter.h"

struct table_kind {
    uint64_t (*clock)(const void *rule, uint64_t now_ns);
    bool (*check)(const void *rule, uint64_t state, uint64_t cost, uint64_t clock);
    uint64_t (*charge)(const void *rule, uint64_t state, uint64_t cost, uint64_t clock);
    uint64_t (*refund)(const void *rule, uint64_t state, uint64_t cost, uint64_t clock);
    void (*describe)(const void *rule, uint64_t state, uint64_t cost, uint64_t clock, uint64_t now_ns,
                     struct limiter_answer *answer);
};

#ifndef TABLE_WAYS /* the model makes sets smaller */
#define TABLE_WAYS 8
#endif

struct table_set {
    struct cell cells[TABLE_WAYS];
} __attribute__((aligned(128))); /* two lines that the processor's adjacent-line prefetch brings as one */

struct table {
    struct table_set *sets;
    size_t set_count;
    const struct table_kind *kind;
    const void *rule; /* the kind's numbers; outlives the table */
    /* On a line of its own: a flood that evicts must not take the words above from the other cores. */
    _Atomic uint64_t live_evictions __attribute__((aligned(64)));
};

/* Room for `keys`, rounded up to whole sets; false when memory is short. */
__attribute__((warn_unused_result)) bool table_init(struct table *table, size_t keys, const struct table_kind *kind,
                                                    const void *rule);
void table_fini(struct table *table);

/* Starts to fetch the key's set. Call it for all limits of a request before looking at the first. */
static inline void table_prefetch(const struct table *table, uint64_t digest)
{
    const char *set = (const char *)&table->sets[cell_set_of(digest, table->set_count)];
    __builtin_prefetch(set); /* for reading: a refused request must leave the line shared */
    __builtin_prefetch(set + 64);
}

/* Looks, writes nothing. FITS or REFUSED; *sight is what table_charge() and table_describe() go on from. */
enum outcome table_check(const struct table *table, uint64_t digest, uint64_t cost, uint64_t now_ns,
                         struct sight *sight);

/* Charges what table_check() found to fit: FITS; or REFUSED, when others came in between and it no longer does; or
 * UNCHARGED, when others came in between every time. *sight is brought up to date: after FITS, sight->state is the
 * state with the cost charged. A cost of 0 writes nothing. */
enum outcome table_charge(struct table *table, uint64_t digest, uint64_t cost, struct sight *sight);

/* Gives a charge back, unless the key was forgotten meanwhile. */
void table_refund(struct table *table, uint64_t digest, uint64_t cost, uint64_t now_ns);

/* answer->allowed is read: whether the cost fitted. */
static inline void table_describe(const struct table *table, uint64_t cost, uint64_t now_ns, const struct sight *sight,
                                  struct limiter_answer *answer)
{
    table->kind->describe(table->rule, sight->state, cost, sight->clock, now_ns, answer);
}

/* True when the key had a cell: now it has none. */
bool table_forget(struct table *table, uint64_t digest);

/* One cell after the other, for copying a table; begin with { .table = … }. False at the end. Words without a key are
 * passed over. */
struct table_walk {
    const struct table *table;
    size_t set, cell;
};
bool table_next(struct table_walk *walk, struct word *word);

/* Puts a key's word into a table that nobody else uses yet: for copying. In a full set the smallest word gives way. */
void table_put(struct table *table, uint64_t digest, uint64_t state);

/* Keys that owe something. Walks the whole table. */
uint64_t table_live(const struct table *table, uint64_t now_ns);

#endif
