/* list: a ring of things that carry their own links, so that joining and leaving cost nothing and cannot fail.
 *
 * A head and its members are the same struct; a head alone points at itself, a member of no list at nothing.
 */
#ifndef WEIR_LIST_H
#define WEIR_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *previous, *next;
};

static inline void list_init(struct list *head)
{
    head->previous = head->next = head;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline bool list_is_member(const struct list *member)
{
    return member->next != NULL;
}

static inline void list_insert(struct list *after, struct list *member)
{
    member->previous = after;
    member->next = after->next;
    member->next->previous = member;
    after->next = member;
}

static inline void list_append(struct list *head, struct list *member)
{
    list_insert(head->previous, member);
}

static inline void list_prepend(struct list *head, struct list *member)
{
    list_insert(head, member);
}

/* Nothing when it is in no list. */
static inline void list_leave(struct list *member)
{
    if (list_is_member(member)) {
        member->previous->next = member->next;
        member->next->previous = member->previous;
        member->previous = member->next = NULL;
    }
}

/* The first member, which leaves; NULL when there is none. */
static inline struct list *list_take(struct list *head)
{
    struct list *first = head->next;
    if (first == head) {
        return NULL;
    }
    head->next = first->next; /* not by list_leave(): so a reader, and an analyser, see that the head changes */
    head->next->previous = head;
    first->previous = first->next = NULL;
    return first;
}

/* All members of `from` go to the empty `to`, in their order. */
static inline void list_move(struct list *to, struct list *from)
{
    struct list *member;
    list_init(to);
    while ((member = list_take(from)) != NULL) {
        list_append(to, member);
    }
}

#define LIST_OWNER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
