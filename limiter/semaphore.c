/* semaphore: label a cell, make sure that it is the only one, count.
 *
 * The life of a cell:
 *
 *      free, count 0 ----label----> tentative X ----confirm----> X, count 1, 2, … , 0 = free again (still labelled X)
 *            ^                            |
 *            +---------withdraw-----------+        every arrow is one compare-and-swap of the whole cell
 *
 * acquire(X):  a confirmed cell of X        -> count + 1 if that is within the limit
 *              a tentative one              -> is it the only cell with that label? then confirm it, count 1;
 *                                              if a later cell has it too, withdraw that one; look again
 *              neither, but a free one      -> label it X, tentatively; look again
 *              neither                      -> FULL
 *
 * It does not matter who set a label: whoever comes by confirms or withdraws it, so nobody waits for a thread that
 * sleeps.
 *
 * X never has two confirmed cells. Say i and j were confirmed for X at the same time. Whoever confirmed i first saw its
 * label, then looked at j and saw no X there, then swapped i, which was the same word still (generation). So the label
 * in j came after that look: j was labelled after i. By the same argument i was labelled after j. Both cannot be. (It
 * takes one order of all labels and looks that all threads agree on: swaps are full barriers, these loads are seq_cst.)
 * Hence a count is all of X's requests, one swap decides about the limit, and a holder's cell, being above 0, stays
 * where it is until the holder releases it.
 */
#include "semaphore.h"

#define TENTATIVE         ((uint64_t)1 << 63)
#define GENERATION        ((uint64_t)1 << 32) /* one of it */
#define COUNT(state)      ((state)&UINT32_MAX)
#define RELABELLED(state) ((((state) & ~TENTATIVE & ~(uint64_t)UINT32_MAX) + GENERATION) | TENTATIVE)

/* Each failed try is another request's success in the same set; see TABLE_TRIES in table.c. Then the request is
 * refused: what is not counted cannot be released. */
#define ACQUIRE_TRIES 1024

bool semaphore_init(struct semaphore *semaphore, size_t keys)
{
    const size_t sets_per_key = (SEMAPHORE_CELLS_PER_KEY + SEMAPHORE_WAYS - 1) / SEMAPHORE_WAYS;
    if (keys > SIZE_MAX / 2 / sizeof(struct semaphore_set) / sets_per_key) {
        return false;
    }
    semaphore->set_count = (keys + (keys == 0)) * sets_per_key;
    semaphore->sets = cell_allocate(semaphore->set_count * sizeof(struct semaphore_set));
    return semaphore->sets != NULL;
}

void semaphore_fini(struct semaphore *semaphore)
{
    free(semaphore->sets);
    semaphore->sets = NULL;
}

static struct cell *cells_of(const struct semaphore *semaphore, uint64_t digest)
{
    return semaphore->sets[cell_set_of(digest, semaphore->set_count)].cells;
}

/* A cell and what it held; cell NULL: there is none. */
struct seen {
    struct cell *cell;
    struct word word;
};

struct view {
    struct seen confirmed; /* when there is one, nothing after it was looked at */
    struct seen tentative; /* the first */
    struct seen rival;     /* the second */
    struct seen free;      /* the one that changed keys the fewest times, so that labels live long */
};

/* From the key's home on, as in table.c. */
static void scan(struct cell *cells, uint64_t digest, struct view *view)
{
    view->confirmed.cell = view->tentative.cell = view->rival.cell = view->free.cell = NULL;
    for (size_t i = 0; i < SEMAPHORE_WAYS; i++) {
        struct cell *const cell = &cells[(digest + i) % SEMAPHORE_WAYS];
        const struct word word = cell_load_settled(cell);
        const bool tentative = (word.state & TENTATIVE) != 0;
        if (word.key == digest && !tentative) {
            view->confirmed = (struct seen){ cell, word };
            return;
        }
        if (word.key == digest) {
            *(view->tentative.cell == NULL ? &view->tentative : &view->rival) = (struct seen){ cell, word };
        } else if (!tentative && COUNT(word.state) == 0 &&
                   (view->free.cell == NULL || word.state < view->free.word.state)) {
            view->free = (struct seen){ cell, word };
        }
    }
}

/* Looked at after the label was seen, does no other cell carry it? */
static bool alone(struct cell *cells, const struct seen *tentative)
{
    for (size_t i = 0; i < SEMAPHORE_WAYS; i++) {
        if (&cells[i] != tentative->cell && cell_load_settled(&cells[i]).key == tentative->word.key) {
            return false;
        }
    }
    return true;
}

/* The label goes, the generation stays. Fails when somebody confirmed or withdrew it first: as well. */
static void withdraw(const struct seen *tentative)
{
    if (tentative->cell != NULL) {
        (void)cell_swap(tentative->cell, tentative->word,
                        (struct word){ .state = tentative->word.state & ~TENTATIVE, .key = 0 });
    }
}

enum outcome semaphore_check(const struct semaphore *semaphore, uint64_t digest, uint64_t slots, uint64_t *held)
{
    struct view view;
    scan(cells_of(semaphore, digest), digest, &view);
    *held = view.confirmed.cell != NULL ? COUNT(view.confirmed.word.state) : 0;
    if (view.confirmed.cell == NULL && view.tentative.cell == NULL && view.free.cell == NULL) {
        return OUTCOME_FULL;
    }
    return *held < slots ? OUTCOME_FITS : OUTCOME_REFUSED;
}

/* Swaps in a count of `count`; confirms a tentative cell. */
static bool count_up(const struct seen *seen, uint64_t count)
{
    const uint64_t generation = seen->word.state & ~TENTATIVE & ~(uint64_t)UINT32_MAX;
    return cell_swap(seen->cell, seen->word, (struct word){ .state = generation | count, .key = seen->word.key });
}

enum outcome semaphore_acquire(struct semaphore *semaphore, uint64_t digest, uint64_t slots, uint64_t *held)
{
    struct cell *const cells = cells_of(semaphore, digest);
    struct seen label = { .cell = NULL }; /* the last one we set: ours to withdraw, if another cell was confirmed */
    for (int tries = 0; tries < ACQUIRE_TRIES; tries++) {
        struct view view;
        scan(cells, digest, &view);
        if (view.confirmed.cell != NULL) {
            *held = COUNT(view.confirmed.word.state);
            const bool fits = *held < slots;
            if (!fits || count_up(&view.confirmed, *held + 1)) {
                withdraw(&label);
                *held += fits;
                return fits ? OUTCOME_FITS : OUTCOME_REFUSED;
            }
        } else if (view.tentative.cell != NULL) {
            withdraw(&view.rival);
            if (alone(cells, &view.tentative) && count_up(&view.tentative, 1)) {
                *held = 1;
                return OUTCOME_FITS;
            }
        } else if (view.free.cell != NULL) {
            const struct word word = { .state = RELABELLED(view.free.word.state), .key = digest };
            if (cell_swap(view.free.cell, view.free.word, word)) {
                label = (struct seen){ view.free.cell, word };
            }
        } else {
            *held = 0;
            return OUTCOME_FULL;
        }
    }
    withdraw(&label);
    return OUTCOME_REFUSED;
}

void semaphore_release(struct semaphore *semaphore, uint64_t digest)
{
    struct cell *const cells = cells_of(semaphore, digest);
    for (;;) { /* ends: a failed swap is another's acquire or release of this key, and those are bounded by its slots */
        struct view view;
        scan(cells, digest, &view);
        LIMITER_CHECK(view.confirmed.cell != NULL && COUNT(view.confirmed.word.state) > 0);
        if (count_up(&view.confirmed, COUNT(view.confirmed.word.state) - 1)) {
            return;
        }
    }
}

uint64_t semaphore_capacity(const struct semaphore *semaphore)
{
    return (uint64_t)semaphore->set_count * SEMAPHORE_WAYS;
}

uint64_t semaphore_live(const struct semaphore *semaphore)
{
    uint64_t live = 0;
    for (size_t set = 0; set < semaphore->set_count; set++) {
        for (size_t i = 0; i < SEMAPHORE_WAYS; i++) {
            live += COUNT(cell_load_settled(&semaphore->sets[set].cells[i]).state) > 0;
        }
    }
    return live;
}
