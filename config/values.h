/* values: readers of single values, for the rows of member tables. Each checks the type, the notation and the bounds of the row. */
#ifndef WEIR_VALUES_H
#define WEIR_VALUES_H

#include "members.h"

/* Readers: the field at member->offset is of the type in the comment. */
void value_nothing(struct load *load, const struct member *member, const struct document_value *value,
                   void *into); /* a string, not kept */
void value_flag(struct load *load, const struct member *member, const struct document_value *value,
                void *into); /* bool */
void value_count(struct load *load, const struct member *member, const struct document_value *value,
                 void *into); /* uint64_t */
void value_unsigned(struct load *load, const struct member *member, const struct document_value *value,
                    void *into); /* unsigned */
void value_duration(struct load *load, const struct member *member, const struct document_value *value,
                    void *into); /* uint64_t, ns */
void value_size(struct load *load, const struct member *member, const struct document_value *value,
                void *into); /* uint64_t, bytes */
void value_rate(struct load *load, const struct member *member, const struct document_value *value,
                void *into); /* struct rule_rate */
void value_choice(struct load *load, const struct member *member, const struct document_value *value,
                  void *into); /* int: an enum */
void value_header(struct load *load, const struct member *member, const struct document_value *value,
                  void *into); /* char *, lower case */
void value_object(struct load *load, const struct member *member, const struct document_value *value,
                  void *into); /* a struct of member->members */

/* The parts that readers of their own are made of. Each adds the error itself and then returns false. */

/* `expected` completes "expected …, found a number". */
bool value_is(struct load *load, const struct document_value *value, enum document_kind kind, const char *expected);
bool value_integer(struct load *load, const struct document_value *value, uint64_t least, uint64_t most, uint64_t *out);
/* A list of at most `most` values; `least` is 0 or 1. */
bool value_is_list(struct load *load, const struct document_value *value, const char *expected, size_t least,
                   size_t most);
/* An error that begins with the value itself: "300.1.1.1": sentence. */
void value_refuse(struct load *load, const struct document_value *value, const char *sentence);

char *value_keep(struct load *load, const struct document_value *value); /* its text, in the config's memory */
char *value_keep_lower(struct load *load, const char *text);             /* ASCII lower case */

#endif
