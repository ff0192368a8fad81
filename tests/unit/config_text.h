/* config_text: configurations from strings, for the tests of the config room. */
#ifndef WEIR_CONFIG_TEXT_H
#define WEIR_CONFIG_TEXT_H

#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  (1000 * NS_PER_MS)

/* Loads what `text` holds, by way of a file that is only in memory. */
static inline struct config *load_bytes(const char *text, size_t length, struct config_errors *errors)
{
    char path[32];
    int fd = memfd_create("config", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, length), length);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct config *config = config_load(path, errors);
    close(fd);
    if (config == NULL) {
        assert_true(errors->count > 0);
    } else {
        assert_int_equal(errors->count, 0);
    }
    return config;
}

/* One error that is expected: where ("2:9 limits.l.rate") and a part of its sentence. */
struct refusal {
    const char *text, *where, *words;
};

static inline void assert_error(const struct config_error *error, const char *where, const char *words,
                                const char *text)
{
    char found[1024];
    snprintf(found, sizeof found, "%zu:%zu%s%s", error->line, error->column, error->path[0] == '\0' ? "" : " ",
             error->path);
    if (strcmp(found, where) != 0 || strstr(error->sentence, words) == NULL) {
        fail_msg("%s\nexpected  %s: …%s…\nfound     %s: %s", text, where, words, found, error->sentence);
    }
}

/* Exactly these errors, in this order. */
static inline void assert_errors(const char *text, const struct refusal *refusals, size_t count)
{
    struct config_errors errors;
    struct config *config = load_bytes(text, strlen(text), &errors);
    if (config != NULL || errors.count != count) {
        config_errors_print(&errors, stderr);
        fail_msg("%s\nexpected %zu errors, found %zu", text, count, errors.count);
    }
    for (size_t i = 0; i < count; i++) {
        assert_error(&errors.list[i], refusals[i].where, refusals[i].words, text);
    }
    config_errors_free(&errors);
}

/* Each text, on a line of its own (line 2) between `before` and `after`, is refused with exactly one error. */
static inline void assert_each_refused(const char *before, const char *after, const struct refusal *refusals,
                                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *text;
        assert_true(asprintf(&text, "%s\n%s\n%s", before, refusals[i].text, after) > 0);
        assert_errors(text, &refusals[i], 1);
        free(text);
    }
}

/* The config, which must be fine. */
static inline struct config *load_text(const char *text)
{
    struct config_errors errors;
    struct config *config = load_bytes(text, strlen(text), &errors);
    if (config == NULL) {
        config_errors_print(&errors, stderr);
        fail_msg("%s\nwas refused", text);
    }
    config_errors_free(&errors);
    return config;
}

static inline struct config *load_between(const char *before, const char *fragment, const char *after)
{
    char *text;
    assert_true(asprintf(&text, "%s\n%s\n%s", before, fragment, after) > 0);
    struct config *config = load_text(text);
    free(text);
    return config;
}

#endif
