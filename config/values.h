/* values: readers of single values, for the rows of member tables. Each checks the type, the notation and the bounds
 * of the row. */
#ifndef WEIR_VALUES_H
#define WEIR_VALUES_H

#include "members.h"

/* Readers: the field at member->offset is of the type in the comment. */
member_reader value_nothing;  /* none: a string that is not kept */
member_reader value_flag;     /* bool */
member_reader value_count;    /* uint64_t */
member_reader value_unsigned; /* unsigned */
member_reader value_duration; /* uint64_t, ns */
member_reader value_size;     /* uint64_t, bytes */
member_reader value_rate;     /* struct rule_rate */
member_reader value_choice;   /* int: an enum */
member_reader value_header;   /* char *: the name of a header field in lower case */
member_reader value_object;   /* a struct of member->members */

/* The parts that readers of their own are made of. Each adds the error itself and then returns false. */

/* `expected` completes "expected …, found a number". */
bool value_is(struct load *load, const struct document_value *value, enum document_kind kind, const char *expected);
bool value_integer(struct load *load, const struct document_value *value, uint64_t least, uint64_t most, uint64_t *out);
/* A list of at most `most` values; `least` is 0 or 1. */
bool value_is_list(struct load *load, const struct document_value *value, const char *expected, size_t least,
                   size_t most);
/* An address to listen on, and its text. */
bool value_address(struct load *load, const struct document_value *value, struct rule_address *address, char **text);
/* An error that begins with the value itself: "300.1.1.1": sentence. */
void value_refuse(struct load *load, const struct document_value *value, const char *sentence);

char *value_keep(struct load *load, const struct document_value *value); /* its text, in the config's memory */
char *value_keep_lower(struct load *load, const char *text);             /* ASCII lower case */

#endif
