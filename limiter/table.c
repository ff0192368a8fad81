/* table: find a key's cell and charge it, in one compare-and-swap. */
#include "table.h"

#include <string.h>

/* How often a charge is tried. Each failure means that another request changed this very cell in the few nanoseconds
 * between our load and our swap. Even 64 cores that did nothing but charge one key would lose 1024 times in a row once
 * in ten million charges, (1 - 1/64)^1024. Then the check's verdict stands: the request passes, uncharged. */
#define TABLE_TRIES 1024

bool table_init(struct table *table, size_t keys, const struct table_kind *kind, const void *rule)
{
    const size_t sets = keys / TABLE_WAYS + (keys % TABLE_WAYS != 0 || keys == 0);
    if (sets > SIZE_MAX / 2 / sizeof(struct table_set)) {
        return false;
    }
    table->sets = cell_allocate(sets * sizeof(struct table_set));
    table->set_count = sets;
    table->kind = kind;
    table->rule = rule;
    atomic_init(&table->live_evictions, 0);
    return table->sets != NULL;
}

void table_fini(struct table *table)
{
    free(table->sets);
    table->sets = NULL;
}

/* The key's own cell, else the one with the smallest word, the first of equals: a choice that depends on nothing but
 * the key and what the cells hold, which the proof below needs. Each key starts at a cell of its own: in a table with
 * room that is where it settles, so that the first load finds it and the branch predictor knows. */
static inline void look(const struct table *table, uint64_t digest, struct sight *sight)
{
    struct cell *const cells = table->sets[cell_set_of(digest, table->set_count)].cells;
    const size_t home = (size_t)digest % TABLE_WAYS;
    struct cell *smallest = &cells[home];
    struct word found = cell_load(smallest);
    for (size_t i = 1; i < TABLE_WAYS && found.key != digest; i++) {
        struct cell *const cell = &cells[(home + i) % TABLE_WAYS];
        const struct word word = cell_load(cell);
        if (word.key == digest || word.state < found.state) {
            smallest = cell;
            found = word;
        }
    }
    sight->cell = smallest;
    sight->found = found;
    sight->state = found.key == digest ? found.state : 0;
}

enum outcome table_check(const struct table *table, uint64_t digest, uint64_t cost, uint64_t now_ns,
                         struct sight *sight)
{
    look(table, digest, sight);
    sight->clock = table->kind->clock(table->rule, now_ns);
    return table->kind->check(table->rule, sight->state, cost, sight->clock) ? OUTCOME_FITS : OUTCOME_REFUSED;
}

/* Two threads that meet with the same new key must not each give it a cell: its budget would double.
 *
 * Let L be the lowest clock of all requests that are under way while these two are, and let the set hold a word below L
 * whenever one of them looks: it has room. Then each of them takes a cell with a word below L. Nobody under way writes
 * such a word (promise 3), so it was there before they began and stays until its cell is taken over. Say the first took
 * cell i and the second, later, cell j. Both looked at i and at j before i was taken, or the second would have found its
 * key there; so both saw the same two words, and the choice between them depends on nothing else: i is j. Then the
 * second's swap fails, it looks again and finds its key.
 *
 * Without room (all eight owe something, or owed it until a moment ago by which the threads' clocks differ) somebody's
 * debt is forgotten anyway, and a second cell forgets no more: what is charged to it. Later requests find the first. */
enum outcome table_charge(struct table *table, uint64_t digest, uint64_t cost, struct sight *sight)
{
    if (cost == 0) {
        return OUTCOME_FITS;
    }
    const uint64_t clock = sight->clock;
    for (int tries = 0; tries < TABLE_TRIES; tries++) {
        const uint64_t charged = table->kind->charge(table->rule, sight->state, cost, clock);
        if (cell_swap(sight->cell, sight->found, (struct word){ .state = charged, .key = digest })) {
            if (sight->found.key != digest && sight->found.key != 0 && sight->found.state > clock) {
                /* relaxed: a counter that publishes nothing else */
                atomic_fetch_add_explicit(&table->live_evictions, 1, memory_order_relaxed);
            }
            sight->state = charged;
            return OUTCOME_FITS;
        }
        look(table, digest, sight);
        if (!table->kind->check(table->rule, sight->state, cost, clock)) {
            return OUTCOME_REFUSED;
        }
    }
    return OUTCOME_UNCHARGED;
}

void table_refund(struct table *table, uint64_t digest, uint64_t cost, uint64_t now_ns)
{
    const uint64_t clock = table->kind->clock(table->rule, now_ns);
    for (int tries = 0; tries < TABLE_TRIES; tries++) {
        struct sight sight;
        look(table, digest, &sight);
        const uint64_t state = table->kind->refund(table->rule, sight.state, cost, clock);
        if (sight.found.key != digest || state == sight.state ||
            cell_swap(sight.cell, sight.found, (struct word){ .state = state, .key = digest })) {
            return;
        }
    }
}

/* The name goes, the word stays: a word that fell to 0 would break the proof above, and it falls due by itself. */
bool table_forget(struct table *table, uint64_t digest)
{
    for (;;) { /* ends: a failed swap is another request's success, and those are bounded by the key's burst */
        struct sight sight;
        look(table, digest, &sight);
        if (sight.found.key != digest) {
            return false;
        }
        if (cell_swap(sight.cell, sight.found, (struct word){ .state = sight.found.state, .key = 0 })) {
            return true;
        }
    }
}

bool table_next(struct table_walk *walk, struct word *word)
{
    for (; walk->set < walk->table->set_count; walk->set++, walk->cell = 0) {
        while (walk->cell < TABLE_WAYS) {
            *word = cell_load(&walk->table->sets[walk->set].cells[walk->cell++]);
            if (word->key != 0) {
                return true;
            }
        }
    }
    return false;
}

void table_put(struct table *table, uint64_t digest, uint64_t state)
{
    struct sight sight;
    look(table, digest, &sight);
    if (state > sight.found.state) {
        (void)cell_swap(sight.cell, sight.found, (struct word){ .state = state, .key = digest });
    }
}

uint64_t table_live(const struct table *table, uint64_t now_ns)
{
    const uint64_t clock = table->kind->clock(table->rule, now_ns);
    uint64_t live = 0;
    for (size_t set = 0; set < table->set_count; set++) {
        for (size_t i = 0; i < TABLE_WAYS; i++) {
            const struct word word = cell_load(&table->sets[set].cells[i]);
            live += word.key != 0 && word.state > clock;
        }
    }
    return live;
}
