/* config_errors: what is wrong with a configuration, gathered while it is read.
 *
 * Errors are added in the order in which they are noticed, with an offset into the text; config_errors_finish() sorts
 * them into the order of the file, turns offsets into lines and columns in one walk, and hands them over as the struct
 * of config.h.
 */
#ifndef WEIR_CONFIG_ERRORS_H
#define WEIR_CONFIG_ERRORS_H

#include "arena.h"
#include "config.h"
#include "document.h"

/* Further errors are counted, not described: whoever gave the wrong file is not helped by a million lines. */
#define CONFIG_ERRORS_MAX 1000

struct config_fault;
struct config_faults {
    struct arena *arena; /* path and sentence live there until they are handed over */
    struct config_fault *newest;
    size_t count;
};

/* At a value; path is that of the value. */
__attribute__((format(printf, 3, 4))) void
config_errors_at(struct config_faults *faults, const struct document_value *value, const char *format, ...);
/* At a member's name: when the member should not be there. */
__attribute__((format(printf, 3, 4))) void
config_errors_at_name(struct config_faults *faults, const struct document_value *member, const char *format, ...);
/* At an offset, inside `inside` (NULL: at the top): for a text that is no JSON. */
void config_errors_at_offset(struct config_faults *faults, size_t at, const struct document_value *inside,
                             const char *sentence);

/* True while errors are still described: what costs time to describe well (nearest names) may be left out afterwards.
 */
bool config_errors_wanted(const struct config_faults *faults);

/* `text` as it may stand in a sentence: in double quotes, cut after 64 bytes (at a character), control bytes as \xNN.
 */
const char *config_errors_quote(struct arena *arena, const char *text);

/* Fills `errors` with the faults of `path`, in the order of the text. */
void config_errors_finish(const struct config_faults *faults, const char *path, const char *text, size_t length,
                          struct config_errors *errors);
/* Fills `errors` with one sentence about the file as a whole. */
void config_errors_whole(const char *path, const char *sentence, struct config_errors *errors);

#endif
