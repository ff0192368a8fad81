/* members: which members each object of a configuration has, as tables.
 *
 * A table row is a name, a reader and what the reader needs to know: where the value goes, and its bounds. The tables
 * are the single source of what is accepted: unknown members, the schema test and the readers all look here. The order
 * of the rows is the order of reading, so that a row may rely on those above it (routes on limits); errors are sorted
 * into the order of the file later.
 */
#ifndef WEIR_MEMBERS_H
#define WEIR_MEMBERS_H

#include "document.h"
#include "load.h"

#include <stddef.h>

struct member;

/* Checks `value` and stores it in the struct that `into` points to; or adds an error. (A type of function, not of
 * pointer, so that readers can be declared in one line.) */
typedef void member_reader(struct load *load, const struct member *member, const struct document_value *value,
                           void *into);

struct member {
    const char *name;
    member_reader *read;
    size_t offset;                 /* of the field in the struct that the object fills */
    uint64_t least, most;          /* numbers, durations (ns), sizes (bytes) */
    const char *const *words;      /* one of these; the index is stored; ends in NULL */
    const struct members *members; /* of the object, or of each object in the list or map */
};

struct members {
    const char *name; /* of the object, as in weir.schema.json's $defs; "" for the whole file */
    const struct member *list;
    size_t count;
};

#define MEMBERS_MAX 24 /* of one object */
#define MEMBERS(name, list)                                                                                            \
    {                                                                                                                  \
        (name), (list), sizeof(list) / sizeof *(list)                                                                  \
    }

/* Reads all members of `object` into the struct at `into`. Members that are unknown, given twice, or known only to
 * later versions are errors. False when there was such a member, so that the caller does not also complain about what
 * it may have been meant to be; or when `object` is no object (then `expected` says what was wanted). */
bool members_read(struct load *load, const struct members *members, const struct document_value *object,
                  const char *expected, void *into);

/* The names of an object whose members are named by the operator (upstreams, limits): checks each (1 … 64 of
 * A-Z a-z 0-9 . _ -, none twice) and sorts them into `names`; index: the member's place. */
void members_name(struct load *load, const struct document_value *object, const char *what, struct names *names);

#endif
