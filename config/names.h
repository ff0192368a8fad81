/* names: which of many named things is meant, and which one was probably meant.
 *
 * Built once from a list of names, sorted; a look-up is a binary search, so that 100,000 routes may refer to 10,000
 * limits.
 */
#ifndef WEIR_NAMES_H
#define WEIR_NAMES_H

#include "arena.h"

#include <stddef.h>

struct name {
    const char *text; /* borrowed */
    size_t index;     /* what it stands for */
};

struct names {
    struct name *sorted; /* by text, then index */
    size_t count;
};

/* Sorts `names.sorted` in place. Equal texts end up side by side, the smaller index first. */
void names_sort(struct names *names);

#define NAMES_NONE ((size_t)-1)
/* The index that belongs to `text` (the smallest of equals), or NAMES_NONE. */
size_t names_find(const struct names *names, const char *text);

/* A name that differs from `text` by one or two slips (a byte too many, too few, wrong, or two swapped), or NULL.
 * Looks at each name; does not try when there are more than 256. */
const char *names_nearest(const struct names *names, const char *text);

/* "; did you mean "limit"?", or, when nothing is near but there are at most 16 names, "; known here: "a", "b"", or "".
 */
const char *names_hint(struct arena *arena, const struct names *names, const char *text);

#endif
