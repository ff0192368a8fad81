/* exposition: numbers in the Prometheus text format. See exposition.h. */
#include "exposition.h"

#include "text.h"

#include <stdlib.h>

/* Room for `more` bytes and a NUL, or NULL. */
static char *reserve(struct exposition *exposition, size_t more)
{
    if (exposition->failed) {
        return NULL;
    }
    if (exposition->capacity - exposition->length < more + 1) {
        /* Doubling: as many copies as the text has powers of two. It begins with what the metrics of a small config
         * take. */
        size_t capacity = exposition->capacity > 0 ? exposition->capacity : 16384;
        while (capacity - exposition->length < more + 1) {
            capacity *= 2;
        }
        char *memory = realloc(exposition->memory, capacity);
        if (memory == NULL) {
            exposition->failed = true;
            return NULL;
        }
        exposition->memory = memory;
        exposition->capacity = capacity;
    }
    return exposition->memory + exposition->length;
}

static void put_bytes(struct exposition *exposition, const char *bytes, size_t length)
{
    char *at = reserve(exposition, length);
    if (at != NULL) {
        memcpy(at, bytes, length);
        exposition->length += length;
    }
}

static void put(struct exposition *exposition, const char *string)
{
    put_bytes(exposition, string, strlen(string));
}

/* Backslash, quote and line feed are all that the format escapes. */
static void put_escaped(struct exposition *exposition, const char *value)
{
    size_t length = strlen(value);
    char *at = reserve(exposition, 2 * length);
    if (at == NULL) {
        return;
    }
    for (size_t i = 0; i < length; i++) {
        char byte = value[i];
        if (byte == '\n' || byte == '"' || byte == '\\') {
            *at++ = '\\';
        }
        if (byte == '\n') {
            byte = 'n';
        }
        *at++ = byte;
    }
    exposition->length = (size_t)(at - exposition->memory);
}

void exposition_family(struct exposition *exposition, const char *name, const char *type, const char *help)
{
    exposition->family = name;
    const char *const pieces[] = { "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n" };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        put(exposition, pieces[i]);
    }
}

static void put_series(struct exposition *exposition, const char *suffix, const struct exposition_label *labels,
                       size_t label_count)
{
    put(exposition, exposition->family);
    put(exposition, suffix);
    for (size_t i = 0; i < label_count; i++) {
        put(exposition, i == 0 ? "{" : ",");
        put(exposition, labels[i].name);
        put(exposition, "=\"");
        put_escaped(exposition, labels[i].value);
        put(exposition, "\"");
    }
    put(exposition, label_count > 0 ? "} " : " ");
}

void exposition_sample(struct exposition *exposition, const char *suffix, const struct exposition_label *labels,
                       size_t label_count, uint64_t value)
{
    char spelled[32];
    struct text text = text_over(spelled, sizeof spelled);
    text_number(&text, value);
    text_bytes(&text, "\n", sizeof "\n");
    put_series(exposition, suffix, labels, label_count);
    put(exposition, spelled);
}

void exposition_seconds_text(uint64_t nanoseconds, char out[static EXPOSITION_SECONDS])
{
    struct text text = text_over(out, EXPOSITION_SECONDS);
    text_number(&text, nanoseconds / UINT64_C(1000000000));
    uint64_t fraction = nanoseconds % UINT64_C(1000000000);
    unsigned digits = 9;
    while (digits > 0 && fraction % 10 == 0) {
        fraction /= 10;
        digits--;
    }
    if (digits > 0) {
        text_literal(&text, ".");
        text_padded(&text, fraction, digits);
    }
    text_bytes(&text, "", 1);
    CHECK(!text.cut);
}

void exposition_seconds(struct exposition *exposition, const char *suffix, const struct exposition_label *labels,
                        size_t label_count, uint64_t nanoseconds)
{
    char spelled[EXPOSITION_SECONDS];
    exposition_seconds_text(nanoseconds, spelled);
    put_series(exposition, suffix, labels, label_count);
    put(exposition, spelled);
    put(exposition, "\n");
}

char *exposition_finish(struct exposition *exposition, size_t *length)
{
    char *memory = reserve(exposition, 0);
    if (memory == NULL) {
        free(exposition->memory);
    } else {
        *memory = 0;
        memory = exposition->memory;
        *length = exposition->length;
    }
    *exposition = (struct exposition){ 0 };
    return memory;
}
