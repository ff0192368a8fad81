/* values: type, notation, bounds, store. */
#include "values.h"

#include <inttypes.h>
#include <string.h>

/* ---- parts ------------------------------------------------------------------------------------------------------- */

static void *field(const struct member *member, void *into)
{
    return (char *)into + member->offset;
}

void value_refuse(struct load *load, const struct document_value *value, const char *sentence)
{
    config_errors_at(&load->faults, value, "%s: %s", config_errors_quote(&load->scratch, value->text), sentence);
}

char *value_keep(struct load *load, const struct document_value *value)
{
    return arena_copy(&load->lasting, value->text, value->length);
}

char *value_keep_lower(struct load *load, const char *text)
{
    char *copy = arena_copy(&load->lasting, text, strlen(text));
    for (char *c = copy; *c != '\0'; c++) {
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    }
    return copy;
}

bool value_is(struct load *load, const struct document_value *value, enum document_kind kind, const char *expected)
{
    if (value->kind != kind) {
        config_errors_at(&load->faults, value, "expected %s, found %s", expected,
                         document_describe(&load->scratch, value));
        return false;
    }
    return true;
}

bool value_is_list(struct load *load, const struct document_value *value, const char *expected, size_t least,
                   size_t most)
{
    if (!value_is(load, value, DOCUMENT_LIST, expected)) {
        return false;
    }
    if (value->count < least) { /* that is: none, where one is needed */
        config_errors_at(&load->faults, value, "expected %s, found an empty one", expected);
        return false;
    }
    if (value->count > most) {
        config_errors_at(&load->faults, value, "expected %s, at most %zu of them, found %zu", expected, most,
                         (size_t)value->count);
        return false;
    }
    return true;
}

bool value_address(struct load *load, const struct document_value *value, struct rule_address *address, char **text)
{
    if (!value_is(load, value, DOCUMENT_STRING, "an address such as \"127.0.0.1:8080\"")) {
        return false;
    }
    const char *problem = rule_address(value->text, address);
    if (problem != NULL) {
        value_refuse(load, value, problem);
        return false;
    }
    *text = value_keep(load, value);
    return true;
}

/* Only digits: 1e3 and 10.0 may be whole, but whoever writes them may have meant another unit. What is too large for
 * 64 bits becomes UINT64_MAX, which no member allows. */
static bool take_digits(const char *text, uint64_t *out)
{
    uint64_t number = 0;
    bool overflow = false;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9') {
            return false;
        }
        overflow = overflow || __builtin_mul_overflow(number, 10, &number) ||
                   __builtin_add_overflow(number, (uint64_t)(*c - '0'), &number);
    }
    *out = overflow ? UINT64_MAX : number;
    return true;
}

bool value_integer(struct load *load, const struct document_value *value, uint64_t least, uint64_t most, uint64_t *out)
{
    uint64_t number = 0;
    bool negative = value->kind == DOCUMENT_NUMBER && value->text[0] == '-';
    bool whole = value->kind == DOCUMENT_NUMBER && take_digits(value->text + negative, &number);
    if (whole && !negative && number >= least && number <= most) {
        *out = number;
        return true;
    }
    config_errors_at(&load->faults, value, "expected a whole number from %" PRIu64 " to %" PRIu64 "%s, found %s", least,
                     most, value->kind == DOCUMENT_NUMBER && !whole ? ", written in digits" : "",
                     document_describe(&load->scratch, value));
    return false;
}

/* A bound as the operator would write it: in the largest unit that divides it. */
struct unit {
    const char *name;
    uint64_t worth;
};

static const char *in_units(struct load *load, uint64_t number, const struct unit *units, size_t count)
{
    size_t u = 0;
    while (u + 1 < count && (number < units[u].worth || number % units[u].worth != 0)) {
        u++;
    }
    return arena_print(&load->scratch, "%" PRIu64 "%s", number / units[u].worth, units[u].name);
}

/* The common end of durations and sizes. */
static void store_bounded(struct load *load, const struct member *member, const struct document_value *value,
                          uint64_t number, const struct unit *units, size_t unit_count, void *into)
{
    if (number < member->least || number > member->most) {
        value_refuse(load, value,
                     arena_print(&load->scratch, "this is out of range; write %s to %s",
                                 in_units(load, member->least, units, unit_count),
                                 in_units(load, member->most, units, unit_count)));
        return;
    }
    *(uint64_t *)field(member, into) = number;
}

/* ---- readers ----------------------------------------------------------------------------------------------------- */

void value_nothing(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    (void)member, (void)into;
    (void)value_is(load, value, DOCUMENT_STRING, "a string");
}

void value_flag(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    if (value_is(load, value, DOCUMENT_BOOLEAN, "true or false")) {
        *(bool *)field(member, into) = value->truth;
    }
}

void value_count(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    (void)value_integer(load, value, member->least, member->most, field(member, into));
}

void value_unsigned(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    uint64_t number;
    if (value_integer(load, value, member->least, member->most, &number)) {
        *(unsigned *)field(member, into) = (unsigned)number;
    }
}

void value_duration(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    static const struct unit units[] = {
        { "h", 3600000000000 },
        { "m", 60000000000 },
        { "s", 1000000000 },
        { "ms", 1000000 },
    };
    uint64_t ns;
    if (!value_is(load, value, DOCUMENT_STRING, "a duration such as \"30s\"")) {
        return;
    }
    const char *problem = rule_duration(value->text, &ns);
    if (problem != NULL) {
        value_refuse(load, value, problem);
        return;
    }
    store_bounded(load, member, value, ns, units, sizeof units / sizeof *units, into);
}

void value_size(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    static const struct unit units[] = { { "GiB", 1 << 30 }, { "MiB", 1 << 20 }, { "KiB", 1 << 10 }, { "", 1 } };
    uint64_t bytes;
    if (!value_is(load, value, DOCUMENT_STRING, "a size with its unit such as \"16KiB\"")) {
        return;
    }
    const char *problem = rule_size(value->text, &bytes);
    if (problem != NULL) {
        value_refuse(load, value, problem);
        return;
    }
    store_bounded(load, member, value, bytes, units, sizeof units / sizeof *units, into);
}

void value_rate(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    if (!value_is(load, value, DOCUMENT_STRING, "a rate such as \"100/second\"")) {
        return;
    }
    const char *problem = rule_rate(value->text, field(member, into));
    if (problem != NULL) {
        value_refuse(load, value, problem);
    }
}

/* "a", "b" or "c" */
static const char *list_words(struct load *load, const char *const *words)
{
    const char *list = "";
    for (size_t i = 0; words[i] != NULL; i++) {
        const char *joint = i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ";
        list = arena_print(&load->scratch, "%s%s\"%s\"", list, joint, words[i]);
    }
    return list;
}

void value_choice(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    const char *expected = list_words(load, member->words);
    if (!value_is(load, value, DOCUMENT_STRING, expected)) {
        return;
    }
    for (int i = 0; member->words[i] != NULL; i++) {
        if (strcmp(value->text, member->words[i]) == 0) {
            *(int *)field(member, into) = i;
            return;
        }
    }
    config_errors_at(&load->faults, value, "expected %s, found %s", expected,
                     config_errors_quote(&load->scratch, value->text));
}

void value_header(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    if (!value_is(load, value, DOCUMENT_STRING, "the name of a header field")) {
        return;
    }
    if (!rule_is_token(value->text, value->length)) {
        value_refuse(load, value,
                     "a header name is made of letters, digits and !#$%&'*+-.^_`|~ only (RFC 9110, token)");
        return;
    }
    *(char **)field(member, into) = value_keep_lower(load, value->text);
}

void value_object(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    (void)members_read(load, member->members, value, "an object", field(member, into));
}
