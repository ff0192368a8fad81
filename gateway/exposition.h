/* exposition: numbers in the Prometheus text format 0.0.4, in memory that grows. metrics.c says which numbers.
 *
 * A family is begun (its HELP and TYPE lines), then its samples follow. When memory runs short nothing more is
 * written and exposition_finish() returns NULL. One thread.
 */
#ifndef WEIR_EXPOSITION_H
#define WEIR_EXPOSITION_H

#include "check.h"

#include <stddef.h>

struct exposition {
    char *memory;
    size_t length, capacity;
    bool failed;
    const char *family; /* its name */
};

struct exposition_label {
    const char *name;
    const char *value; /* UTF-8; escaped */
};

/* `type`: counter, gauge, histogram. All three static: the name is borrowed until the next family begins. */
void exposition_family(struct exposition *exposition, const char *name, const char *type, const char *help);

/* One line: the family's name, `suffix` ("" or "_bucket" …), labels, the value. */
void exposition_sample(struct exposition *exposition, const char *suffix, const struct exposition_label *labels,
                       size_t label_count, uint64_t value);

/* The same for nanoseconds, written as seconds. */
void exposition_seconds(struct exposition *exposition, const char *suffix, const struct exposition_label *labels,
                        size_t label_count, uint64_t nanoseconds);

/* Seconds without trailing zeros ("0.00025", "10"), for labels. Ends in NUL. */
#define EXPOSITION_SECONDS 32
void exposition_seconds_text(uint64_t nanoseconds, char out[static EXPOSITION_SECONDS]);

/* malloc'd and NUL-terminated, or NULL. The exposition is empty afterwards. */
MUST_CHECK char *exposition_finish(struct exposition *exposition, size_t *length);

#endif
