/* members: reading an object by its table. */
#include "members.h"

#include <string.h>

#define NAME_MAX_BYTES 64

/* What the contract names but this version does not do yet. Never ignored: an operator who asks for a cluster-wide
 * limit must not get a local one. A version that learns one of these deletes its row here and adds one to the object's
 * table. */
static const struct later {
    const char *object, *member;
} later[] = {
    { "", "redis" },
    { "upstream", "tls" },
    { "limit", "delay" },
    { "limit", "exactness" },
    { "limit", "mode" },
    { "limit", "on_redis_failure" },
    { "limit", "overrides" },
    { "limit", "queue" },
    { "limit", "quota" },
    { "limit", "scope" },
    { "limit", "timezone" },
    { "limit", "window" },
    { "state", "file" },
};

static bool comes_later(const struct members *members, const char *name)
{
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (strcmp(later[i].object, members->name) == 0 && strcmp(later[i].member, name) == 0) {
            return true;
        }
    }
    return false;
}

static const struct member *find(const struct members *members, const char *name)
{
    for (size_t i = 0; i < members->count; i++) {
        if (strcmp(members->list[i].name, name) == 0) {
            return &members->list[i];
        }
    }
    return NULL;
}

static void refuse_unknown(struct load *load, const struct members *members, const struct document_value *value)
{
    if (!config_errors_wanted(&load->faults)) {
        config_errors_at_name(&load->faults, value, "unknown member");
        return;
    }
    struct name sorted[MEMBERS_MAX];
    struct names names = { sorted, members->count };
    for (size_t i = 0; i < members->count; i++) {
        sorted[i] = (struct name){ members->list[i].name, i };
    }
    names_sort(&names);
    config_errors_at_name(&load->faults, value, "unknown member %s%s", config_errors_quote(&load->scratch, value->name),
                          names_hint(&load->scratch, &names, value->name));
}

bool members_read(struct load *load, const struct members *members, const struct document_value *object,
                  const char *expected, void *into)
{
    if (object->kind != DOCUMENT_OBJECT) {
        config_errors_at(&load->faults, object, "expected %s, found %s", expected,
                         document_describe(&load->scratch, object));
        return false;
    }
    const struct document_value *given[MEMBERS_MAX] = { NULL };
    bool clean = true;
    for (const struct document_value *value = object->first; value != NULL; value = value->next) {
        const struct member *member = find(members, value->name);
        if (member != NULL && given[member - members->list] == NULL) {
            given[member - members->list] = value;
            continue;
        }
        clean = false;
        if (member != NULL) {
            config_errors_at_name(&load->faults, value, "\"%s\" is given twice; keep one", member->name);
        } else if (comes_later(members, value->name)) {
            config_errors_at_name(&load->faults, value, "\"%s\" is not supported by this version of weir", value->name);
        } else {
            refuse_unknown(load, members, value);
        }
    }
    for (size_t i = 0; i < members->count; i++) {
        if (given[i] != NULL) {
            members->list[i].read(load, &members->list[i], given[i], into);
        }
    }
    return clean;
}

static bool is_name(const char *name)
{
    size_t length = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return name[length] == '\0' && length >= 1 && length <= NAME_MAX_BYTES;
}

void members_name(struct load *load, const struct document_value *object, const char *what, struct names *names)
{
    names->sorted = arena_take(&load->scratch, object->count, sizeof *names->sorted);
    const struct document_value **by_index = arena_take(&load->scratch, object->count, sizeof *by_index);
    for (const struct document_value *value = object->first; value != NULL; value = value->next) {
        if (!is_name(value->name)) {
            config_errors_at_name(&load->faults, value, "%s is no name for %s: use 1 to %d of A-Z a-z 0-9 . _ -",
                                  config_errors_quote(&load->scratch, value->name), what, NAME_MAX_BYTES);
        }
        by_index[names->count] = value;
        names->sorted[names->count] = (struct name){ value->name, names->count };
        names->count++;
    }
    names_sort(names);
    for (size_t i = 1; i < names->count; i++) {
        if (strcmp(names->sorted[i - 1].text, names->sorted[i].text) == 0) {
            const struct document_value *second = by_index[names->sorted[i].index];
            config_errors_at_name(&load->faults, second, "%s is given twice; rename or remove one",
                                  config_errors_quote(&load->scratch, second->name));
        }
    }
}
