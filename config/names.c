/* names: sorting, searching, guessing. */
#include "names.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GUESS_LENGTH_MAX 64  /* of a name: as long as the name of a limit may be */
#define GUESS_COUNT_MAX  256 /* names: a guess costs some microseconds for each */
#define LISTED_MAX       16  /* the object with most members has as many */

static int by_text_and_index(const void *a, const void *b)
{
    const struct name *left = a;
    const struct name *right = b;
    int order = strcmp(left->text, right->text);
    return order != 0 ? order : left->index < right->index ? -1 : left->index > right->index;
}

void names_sort(struct names *names)
{
    if (names->count > 1) {
        qsort(names->sorted, names->count, sizeof *names->sorted, by_text_and_index);
    }
}

size_t names_find(const struct names *names, const char *text)
{
    size_t low = 0;
    size_t high = names->count; /* the first name that is not below `text` is in [low, high] */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(names->sorted[middle].text, text) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < names->count && strcmp(names->sorted[low].text, text) == 0 ? names->sorted[low].index : NAMES_NONE;
}

static unsigned least_of(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. Both lengths ≤
 * GUESS_LENGTH_MAX. */
static unsigned slips(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned rows[3][GUESS_LENGTH_MAX + 1];
    unsigned *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_length; j++) {
        last[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            now[j] = least_of(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < now[j]) {
                now[j] = before[j - 2] + 1;
            }
        }
        unsigned *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[b_length];
}

const char *names_nearest(const struct names *names, const char *text)
{
    size_t length = strnlen(text, GUESS_LENGTH_MAX + 1);
    if (length > GUESS_LENGTH_MAX || names->count > GUESS_COUNT_MAX) {
        return NULL;
    }
    const char *nearest = NULL;
    unsigned least = length < 4 ? 2 : 3; /* in a short word two slips may be any word */
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->sorted[i].text;
        size_t name_length = strnlen(name, GUESS_LENGTH_MAX + 1);
        if (name_length > GUESS_LENGTH_MAX || name_length > length + 2 || length > name_length + 2) {
            continue;
        }
        unsigned distance = slips(text, length, name, name_length);
        if (distance < least && distance < name_length) {
            least = distance;
            nearest = name;
        }
    }
    return nearest;
}

const char *names_hint(struct arena *arena, const struct names *names, const char *text)
{
    const char *nearest = names_nearest(names, text);
    if (nearest != NULL) {
        return arena_print(arena, "; did you mean \"%s\"?", nearest);
    }
    if (names->count == 0 || names->count > LISTED_MAX) {
        return "";
    }
    const char *list = "";
    for (size_t i = 0; i < names->count; i++) {
        size_t shown = strnlen(names->sorted[i].text, GUESS_LENGTH_MAX);
        list = arena_print(arena, "%s%s\"%.*s\"", list, i == 0 ? "" : ", ", (int)shown, names->sorted[i].text);
    }
    return arena_print(arena, "; known here: %s", list);
}
