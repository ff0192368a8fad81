/* deadline: "not longer than this", for thousands of things at once.
 *
 * All waits of one class last equally long, so the first that began is the first that is due: a list in the order of beginning is a
 * priority queue, and setting, moving and clearing a deadline are a few pointer writes. One timer of the loop looks at the heads of the
 * lists. Times are whatever clock the caller hands in; one thread per list.
 */
#ifndef WEIR_DEADLINE_H
#define WEIR_DEADLINE_H

#include <stddef.h>
#include <stdint.h>

struct deadline {
    struct deadline *previous, *next; /* NULL: not set */
    uint64_t due;
};

struct deadline_list {
    struct deadline head; /* of a ring; head.next is the one due first */
    uint64_t duration;
};

static inline void deadline_list_init(struct deadline_list *list, uint64_t duration)
{
    list->head.previous = list->head.next = &list->head;
    list->duration = duration;
}

static inline void deadline_clear(struct deadline *deadline)
{
    if (deadline->next == NULL) {
        return;
    }
    deadline->previous->next = deadline->next;
    deadline->next->previous = deadline->previous;
    deadline->previous = deadline->next = NULL;
}

/* Due one duration from `now`; replaces what was set before, in whichever list. */
static inline void deadline_set(struct deadline_list *list, struct deadline *deadline, uint64_t now)
{
    deadline_clear(deadline);
    deadline->due = now + list->duration;
    deadline->previous = list->head.previous;
    deadline->next = &list->head;
    deadline->previous->next = deadline;
    list->head.previous = deadline;
}

/* The first that is due at `now`, already cleared; NULL when none is. Call until NULL. */
static inline struct deadline *deadline_take(struct deadline_list *list, uint64_t now)
{
    struct deadline *first = list->head.next;
    if (first == &list->head || first->due > now) {
        return NULL;
    }
    deadline_clear(first);
    return first;
}

#define DEADLINE_OWNER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
