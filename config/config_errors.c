/* config_errors: gather, sort, number, print. */
#include "config_errors.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define QUOTED_MAX     64
#define PATH_SHOWN_MAX 256

struct config_fault {
    struct config_fault *older;
    size_t at;    /* offset in the text */
    size_t order; /* of its noticing: keeps the sort stable */
    const char *path;
    const char *sentence;
};

/* What config_errors holds when there is no memory to say anything else. Never freed. */
static struct config_error no_memory = { .path = (char[]){ "" },
                                         .sentence = (char[]){ "there is not enough memory to read it" } };

/* ---- text -------------------------------------------------------------------------------------------------------- */

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

/* Bytes of `text` that fit into `most` without cutting a UTF-8 character in two. */
static size_t cut(const char *text, size_t most)
{
    size_t length = strnlen(text, most + 1);
    if (length > most) {
        length = most;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) {
            length--;
        }
    }
    return length;
}

/* Control bytes as \xNN: an error is one line, and a terminal obeys none of its bytes. */
static char *printable(struct arena *arena, const char *text, size_t length)
{
    char *out = arena_take(arena, 4 * length + 1, 1);
    char *at = out;
    for (size_t i = 0; i < length; i++) {
        if (is_control(text[i])) {
            at += sprintf(at, "\\x%02X", (unsigned char)text[i]);
        } else {
            *at++ = text[i];
        }
    }
    return out;
}

const char *config_errors_quote(struct arena *arena, const char *text)
{
    size_t shown = cut(text, QUOTED_MAX);
    return arena_print(arena, "\"%s%s\"", printable(arena, text, shown), text[shown] == '\0' ? "" : "…");
}

/* "limits.per-client.rate", "routes[3].upstream". */
static const char *whole_path(struct arena *arena, const struct document_value *value)
{
    if (value == NULL || value->parent == NULL) {
        return "";
    }
    const char *parent = whole_path(arena, value->parent);
    if (value->name == NULL) {
        return arena_print(arena, "%s[%u]", parent, (unsigned)value->index);
    }
    size_t shown = cut(value->name, QUOTED_MAX);
    return arena_print(arena, "%s%s%s%s", parent, parent[0] == '\0' ? "" : ".", printable(arena, value->name, shown),
                       value->name[shown] == '\0' ? "" : "…");
}

/* A path of the schema is far shorter; nesting that is refused may be 2048 levels deep. */
static const char *path_of(struct arena *arena, const struct document_value *value)
{
    const char *path = whole_path(arena, value);
    size_t shown = cut(path, PATH_SHOWN_MAX);
    return path[shown] == '\0' ? path : arena_print(arena, "%.*s…", (int)shown, path);
}

/* ---- gathering --------------------------------------------------------------------------------------------------- */

bool config_errors_wanted(const struct config_faults *faults)
{
    return faults->count < CONFIG_ERRORS_MAX;
}

static void add(struct config_faults *faults, size_t at, const struct document_value *where, const char *sentence)
{
    struct config_fault *fault = arena_take(faults->arena, 1, sizeof *fault);
    *fault = (struct config_fault){ .older = faults->newest,
                                    .at = at,
                                    .order = faults->count,
                                    .path = path_of(faults->arena, where),
                                    .sentence = printable(faults->arena, sentence, strlen(sentence)) };
    faults->newest = fault;
}

__attribute__((format(printf, 4, 0))) static void add_formatted(struct config_faults *faults, size_t at,
                                                                const struct document_value *where, const char *format,
                                                                va_list arguments)
{
    if (config_errors_wanted(faults)) {
        add(faults, at, where, arena_print_list(faults->arena, format, arguments));
    }
    faults->count++;
}

void config_errors_at(struct config_faults *faults, const struct document_value *value, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_formatted(faults, value->at, value, format, arguments);
    va_end(arguments);
}

void config_errors_at_name(struct config_faults *faults, const struct document_value *member, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_formatted(faults, member->name_at, member, format, arguments);
    va_end(arguments);
}

void config_errors_at_offset(struct config_faults *faults, size_t at, const struct document_value *inside,
                             const char *sentence)
{
    add(faults, at, inside, sentence);
    faults->count++;
}

/* ---- handing over ------------------------------------------------------------------------------------------------ */

static int in_order_of_text(const void *a, const void *b)
{
    const struct config_fault *left = *(struct config_fault *const *)a;
    const struct config_fault *right = *(struct config_fault *const *)b;
    if (left->at != right->at) {
        return left->at < right->at ? -1 : 1;
    }
    return left->order < right->order ? -1 : left->order > right->order;
}

/* A walk through the text that moves forward only: all faults together cost one pass. */
struct place {
    const char *text;
    size_t length, at, line, line_start;
};

static void move_to(struct place *place, size_t at)
{
    while (place->at < at && place->at < place->length) {
        const char *newline = memchr(place->text + place->at, '\n', place->length - place->at);
        size_t next = newline == NULL ? place->length : (size_t)(newline - place->text) + 1;
        if (newline == NULL || next > at) {
            break;
        }
        place->at = place->line_start = next;
        place->line++;
    }
}

void config_errors_whole(const char *path, const char *sentence, struct config_errors *errors)
{
    *errors = (struct config_errors){ .file = strdup(path), .list = calloc(1, sizeof *errors->list), .count = 1 };
    if (errors->list != NULL) {
        errors->list->path = strdup("");
        errors->list->sentence = strdup(sentence);
    }
    if (errors->list == NULL || errors->list->path == NULL || errors->list->sentence == NULL) {
        config_errors_free(errors);
        *errors = (struct config_errors){ .list = &no_memory, .count = 1 };
    }
}

static bool fill(struct config_error *error, const struct config_fault *fault, struct place *place)
{
    move_to(place, fault->at);
    *error = (struct config_error){ .line = place->line,
                                    .column = fault->at - place->line_start + 1,
                                    .path = strdup(fault->path),
                                    .sentence = strdup(fault->sentence) };
    return error->path != NULL && error->sentence != NULL;
}

static bool fill_surplus(struct config_error *error, size_t surplus)
{
    error->path = strdup("");
    if (asprintf(&error->sentence, "%zu more errors are not shown", surplus) < 0) {
        error->sentence = NULL;
    }
    return error->path != NULL && error->sentence != NULL;
}

void config_errors_finish(const struct config_faults *faults, const char *path, const char *text, size_t length,
                          struct config_errors *errors)
{
    size_t shown = faults->count < CONFIG_ERRORS_MAX ? faults->count : CONFIG_ERRORS_MAX;
    size_t surplus = faults->count - shown;
    const struct config_fault **sorted = arena_take(faults->arena, shown, sizeof *sorted);
    size_t i = 0;
    for (const struct config_fault *fault = faults->newest; fault != NULL; fault = fault->older) {
        sorted[i++] = fault;
    }
    qsort(sorted, shown, sizeof *sorted, in_order_of_text);

    *errors = (struct config_errors){ .file = strdup(path), .list = calloc(shown + 1, sizeof *errors->list) };
    bool complete = errors->list != NULL;
    struct place place = { .text = text, .length = length, .line = 1 };
    while (complete && errors->count < shown) {
        complete = fill(&errors->list[errors->count], sorted[errors->count], &place);
        errors->count++;
    }
    if (complete && surplus > 0) {
        complete = fill_surplus(&errors->list[errors->count++], surplus);
    }
    if (!complete) {
        config_errors_free(errors);
        *errors = (struct config_errors){ .list = &no_memory, .count = 1 };
    }
}

void config_errors_free(struct config_errors *errors)
{
    for (size_t i = 0; errors->list != &no_memory && i < errors->count && errors->list != NULL; i++) {
        free(errors->list[i].path);
        free(errors->list[i].sentence);
    }
    if (errors->list != &no_memory) {
        free(errors->list);
    }
    free(errors->file);
    *errors = (struct config_errors){ 0 };
}

void config_errors_print(const struct config_errors *errors, FILE *out)
{
    for (size_t i = 0; i < errors->count; i++) {
        const struct config_error *error = &errors->list[i];
        fputs(errors->file != NULL ? errors->file : "?", out);
        if (error->line > 0) {
            fprintf(out, ":%zu:%zu", error->line, error->column);
        }
        fprintf(out, ": %s%s%s\n", error->path, error->path[0] == '\0' ? "" : ": ", error->sentence);
    }
}
