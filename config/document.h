/* document: a JSON text as a tree that knows where everything stands.
 *
 * jansson decides whether the text is JSON (RFC 8259) but forgets where in the text a value was; an operator needs
 * line and column. So jansson judges, and then a scanner of ours, which may trust the text, walks it once and builds
 * this tree of offsets. Duplicate members are kept, one after the other: whoever reads an object decides what to say
 * about them.
 */
#ifndef WEIR_DOCUMENT_H
#define WEIR_DOCUMENT_H

#include "arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum document_kind {
    DOCUMENT_NULL,
    DOCUMENT_BOOLEAN,
    DOCUMENT_NUMBER,
    DOCUMENT_STRING,
    DOCUMENT_LIST,
    DOCUMENT_OBJECT,
};

struct document_value {
    enum document_kind kind;
    bool open;        /* the text ended, or broke, inside this value */
    bool truth;       /* boolean */
    uint32_t at;      /* where the value begins, in bytes from the start of the text */
    uint32_t name_at; /* where its name begins, when it is a member */
    uint32_t index;   /* its place in the parent, from 0 */
    uint32_t count;   /* list, object: children */
    uint32_t length;  /* of text */
    const char *text; /* string: decoded; number: as written. Ends in NUL and holds no other. */
    const char *name; /* member of an object: decoded; else NULL */
    const struct document_value *parent;
    const struct document_value *first; /* list, object: children in the order of the text */
    const struct document_value *next;
};

/* What is wrong with a text that is not JSON, and where. */
struct document_fault {
    size_t at;                           /* offset of the token that cannot be, or the end */
    const struct document_value *inside; /* the innermost value that was open there; NULL at the top */
    const char *sentence;
};

/* At most this many bytes: 100,000 routes take about 10 MiB. */
#define DOCUMENT_MAX (16u << 20)
/* At most this many values (some 128 bytes of tree each): 100,000 routes are about a million. */
#define DOCUMENT_VALUES_MAX (2u << 20)

/* The tree, or NULL and `fault`. `length` ≤ DOCUMENT_MAX. Everything is in `arena`; the text is not needed afterwards.
 */
const struct document_value *document_parse(struct arena *arena, const char *text, size_t length,
                                            struct document_fault *fault);

/* The first member of that name, or NULL; also NULL when `object` is not an object. Walks the members. */
const struct document_value *document_member(const struct document_value *object, const char *name);

/* "a string", "the number 10.5", "null", …: for messages. The text of numbers is cut after 32 bytes. */
const char *document_describe(struct arena *arena, const struct document_value *value);

const char *document_library(void); /* "jansson 2.14" */

#endif
