/* document: the only file that knows jansson.
 *
 * The scanner follows the text that jansson has accepted: it checks nothing but the end. When jansson has refused the
 * text, the scanner is run over what stands before the fault: the values it leaves open are the path to the fault
 * ("routes[3].limits").
 */
#include "document.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct scanner {
    struct arena *arena;
    const char *text;
    size_t at, end;
};

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* jansson 2.14 calls a string that it has no memory for an invalid token. So that a good file is not called bad, its
 * allocations are watched. */
static _Thread_local bool allocation_failed;

static void *watched_malloc(size_t size)
{
    void *memory = malloc(size);
    allocation_failed = allocation_failed || memory == NULL;
    return memory;
}

static void watch_allocations(void)
{
    json_set_alloc_funcs(watched_malloc, free);
}

static json_t *parse(struct arena *arena, const char *text, size_t length, json_error_t *error)
{
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    pthread_once(&watched, watch_allocations);
    allocation_failed = false;
    /* Integers are read as reals, so that one that is too big is met where its bounds are known, not here. */
    json_t *value = json_loadb(text, length, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, error);
    if (value == NULL && allocation_failed) {
        longjmp(*arena->short_of_memory, 1);
    }
    return value;
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

/* The offset behind the string that begins at `at`, or `end` when it is not closed before. */
static size_t string_end(const char *text, size_t at, size_t end)
{
    for (at++; at < end; at++) {
        if (text[at] == '\\') {
            at++;
        } else if (text[at] == '"') {
            return at + 1;
        }
    }
    return end;
}

/* Takes the string at scanner->at; false when the text ends inside it. */
static bool take_string(struct scanner *scanner, const char **out, uint32_t *length)
{
    const char *raw = scanner->text + scanner->at;
    size_t stop = string_end(scanner->text, scanner->at, scanner->end);
    size_t raw_length = stop - scanner->at;
    scanner->at = stop;
    if (raw_length < 2 || raw[raw_length - 1] != '"') {
        return false;
    }
    if (memchr(raw, '\\', raw_length) == NULL) {
        *length = (uint32_t)(raw_length - 2);
        *out = arena_copy(scanner->arena, raw + 1, raw_length - 2);
        return true;
    }
    /* Decoded first in place of its own, so that nothing of jansson's is held when the arena may run short. */
    char *decoded = arena_take(scanner->arena, raw_length, 1);
    json_t *string = parse(scanner->arena, raw, raw_length, NULL);
    if (string == NULL) {
        return false; /* the fault was in here */
    }
    *length = (uint32_t)json_string_length(string); /* never longer than with its escapes */
    memcpy(decoded, json_string_value(string), *length);
    json_decref(string);
    *out = decoded;
    return true;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static void skip_space(struct scanner *scanner)
{
    while (scanner->at < scanner->end && memchr(" \t\r\n", scanner->text[scanner->at], 4) != NULL) {
        scanner->at++;
    }
}

/* Moves to the next byte that is not white space and returns it, or '\0' at the end. */
static char look(struct scanner *scanner)
{
    skip_space(scanner);
    return scanner->at < scanner->end ? scanner->text[scanner->at] : '\0';
}

static void take_value(struct scanner *scanner, struct document_value *value);

/* Lists and objects alike: children between `[` and `]` or `{` and `}`. */
static void take_children(struct scanner *scanner, struct document_value *value)
{
    bool named = value->kind == DOCUMENT_OBJECT;
    const struct document_value **tail = &value->first;
    scanner->at++;
    while (true) {
        char c = look(scanner);
        if (c == ',') {
            scanner->at++;
            c = look(scanner);
        }
        if (c == '\0') {
            return;
        }
        if (c == '}' || c == ']') {
            break;
        }
        struct document_value *child = arena_take(scanner->arena, 1, sizeof *child);
        child->parent = value;
        child->index = value->count;
        child->at = child->name_at = (uint32_t)scanner->at;
        child->open = true;
        if (named) {
            uint32_t length;
            if (c != '"' || !take_string(scanner, &child->name, &length) || look(scanner) != ':') {
                return; /* a name without a value is no member yet */
            }
            scanner->at++;
        }
        *tail = child;
        tail = &child->next;
        value->count++;
        take_value(scanner, child);
        if (child->open) {
            return;
        }
    }
    scanner->at++;
    value->open = false;
}

static void take_number(struct scanner *scanner, struct document_value *value)
{
    size_t start = scanner->at;
    while (scanner->at < scanner->end && memchr("+-.0123456789eE", scanner->text[scanner->at], 15) != NULL) {
        scanner->at++;
    }
    value->kind = DOCUMENT_NUMBER;
    value->length = (uint32_t)(scanner->at - start);
    value->text = arena_copy(scanner->arena, scanner->text + start, value->length);
}

/* `value` is open; it stays so when the text ends or is not what jansson would accept. */
static void take_value(struct scanner *scanner, struct document_value *value)
{
    static const struct word {
        const char *text;
        size_t length;
        enum document_kind kind;
    } words[] = { { "true", 4, DOCUMENT_BOOLEAN }, { "false", 5, DOCUMENT_BOOLEAN }, { "null", 4, DOCUMENT_NULL } };
    char c = look(scanner);
    value->at = (uint32_t)scanner->at;
    if (c == '{' || c == '[') {
        value->kind = c == '{' ? DOCUMENT_OBJECT : DOCUMENT_LIST;
        take_children(scanner, value);
        return;
    }
    if (c == '"') {
        value->kind = DOCUMENT_STRING;
        value->open = !take_string(scanner, &value->text, &value->length);
        return;
    }
    if (c == '-' || (c >= '0' && c <= '9')) {
        take_number(scanner, value);
        value->open = false;
        return;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (scanner->end - scanner->at >= words[i].length &&
            memcmp(scanner->text + scanner->at, words[i].text, words[i].length) == 0) {
            value->kind = words[i].kind;
            value->truth = c == 't';
            value->open = false;
            scanner->at += words[i].length;
            return;
        }
    }
}

static struct document_value *scan(struct arena *arena, const char *text, size_t length)
{
    struct scanner scanner = { .arena = arena, .text = text, .end = length };
    struct document_value *root = arena_take(arena, 1, sizeof *root);
    root->open = true;
    take_value(&scanner, root);
    return root;
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

/* jansson's position is behind the token it could not use; its text ends in near 'TOKEN' when the token is short. */
static size_t token_start(const char *text, const json_error_t *error, const char *near)
{
    size_t at = (size_t)error->position;
    size_t quoted = strlen(near);
    if (quoted >= 2 && near[0] == '\'' && near[quoted - 1] == '\'') {
        size_t length = quoted - 2;
        if (length <= at && memcmp(text + at - length, near + 1, length) == 0) {
            at -= length;
        }
    }
    return at;
}

static const struct document_value *innermost_open(const struct document_value *value)
{
    while (true) {
        const struct document_value *last = NULL;
        for (const struct document_value *child = value->first; child != NULL; child = child->next) {
            last = child;
        }
        if (last == NULL || !last->open) {
            return value;
        }
        value = last;
    }
}

static const char *sentence_of(struct arena *arena, const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    if (code == json_error_out_of_memory ||
        error->text[0] == '\0') { /* jansson says nothing where an allocation failed */
        longjmp(*arena->short_of_memory, 1);
    }
    if (code == json_error_premature_end_of_input) {
        return "the file ends too early: a string, list or object is still open";
    }
    if (code == json_error_stack_overflow) {
        return "lists and objects are nested more than 2048 deep";
    }
    if (code == json_error_null_character || code == json_error_null_byte_in_key) {
        return "the character \\u0000 may not stand in a string";
    }
    return arena_print(arena, "this is not JSON: %s", error->text);
}

static void explain(struct arena *arena, const char *text, size_t length, const json_error_t *error,
                    struct document_fault *fault)
{
    const char *near = strstr(error->text, " near ");
    near = near != NULL ? near + strlen(" near ") : "";
    fault->sentence = sentence_of(arena, error);
    fault->at = error->position < 0 || (size_t)error->position > length ? 0 : token_start(text, error, near);
    fault->inside = innermost_open(scan(arena, text, fault->at));
}

/* Values but for one per container have a comma in front of them: a bound on memory that costs nothing to check. */
static size_t count_commas(const char *text, size_t length)
{
    size_t commas = 0;
    for (size_t i = 0; i < length; i++) {
        commas += text[i] == ',';
    }
    return commas;
}

static bool is_blank(const char *text, size_t length)
{
    size_t i = 0;
    while (i < length && memchr(" \t\r\n", text[i], 4) != NULL) {
        i++;
    }
    return i == length;
}

const struct document_value *document_parse(struct arena *arena, const char *text, size_t length,
                                            struct document_fault *fault)
{
    *fault = (struct document_fault){ 0 };
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        fault->sentence = "the file begins with a byte-order mark (EF BB BF); save it as UTF-8 without one";
        return NULL;
    }
    if (is_blank(text, length)) {
        fault->sentence = "the file is empty; it must hold one JSON object";
        return NULL;
    }
    if (count_commas(text, length) >= DOCUMENT_VALUES_MAX) {
        fault->sentence = "the file holds more than 2097152 values, which no configuration needs";
        return NULL;
    }
    json_error_t error;
    json_t *accepted = parse(arena, text, length, &error);
    if (accepted == NULL) {
        explain(arena, text, length, &error, fault);
        return NULL;
    }
    json_decref(accepted);
    return scan(arena, text, length);
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

const struct document_value *document_member(const struct document_value *object, const char *name)
{
    for (const struct document_value *member = object->first; member != NULL; member = member->next) {
        if (member->name != NULL && strcmp(member->name, name) == 0) {
            return member;
        }
    }
    return NULL;
}

const char *document_describe(struct arena *arena, const struct document_value *value)
{
    switch (value->kind) {
    case DOCUMENT_NULL:
        return "null";
    case DOCUMENT_BOOLEAN:
        return value->truth ? "true" : "false";
    case DOCUMENT_NUMBER:
        return arena_print(arena, "the number %.32s%s", value->text, value->length > 32 ? "…" : "");
    case DOCUMENT_STRING:
        return "a string";
    case DOCUMENT_LIST:
        return "a list";
    case DOCUMENT_OBJECT:
        break;
    }
    return "an object";
}

const char *document_library(void)
{
    static char text[32];
    snprintf(text, sizeof text, "jansson %s", jansson_version_str());
    return text;
}
