/* config_file: what is read, and what is refused without waiting for it. */
#include "config_file.h"

#include "config_text.h"

#include <stdio.h>
#include <sys/stat.h>

struct folder {
    char path[64];
};

static int create_folder(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);
    strcpy(folder->path, "/tmp/weir-config-file-XXXXXX");
    *state = folder;
    return mkdtemp(folder->path) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    struct folder *folder = *state;
    int result = rmdir(folder->path);
    free(folder);
    return result;
}

/* Reads at most 10 bytes of `path`; the problem, or "" and the text in `out`. */
static const char *read_ten(const char *path, char out[16])
{
    static char said[128];
    struct arena arena = { 0 };
    size_t length = 0;
    const char *problem = "";
    char *text = config_file_read(&arena, path, 10, &length, &problem);
    out[0] = '\0';
    if (text != NULL) {
        assert_true(length <= 10);
        memcpy(out, text, length + 1);
    }
    snprintf(said, sizeof said, "%s", text == NULL ? problem : "");
    arena_release(&arena);
    return said;
}

static void assert_problem_of(const char *path, const char *words)
{
    char text[16];
    const char *problem = read_ten(path, text);
    if (problem[0] == '\0' || strstr(problem, words) == NULL) {
        fail_msg("%s: expected \"%s\", got \"%s\"", path, words, problem);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void a_file_is_read_whole_up_to_its_bound(void **state)
{
    struct folder *folder = *state;
    char path[128], text[16];
    snprintf(path, sizeof path, "%s/file", folder->path);
    static const char *const texts[] = { "", "a", "123456789", "1234567890" };
    for (size_t i = 0; i < COUNT(texts); i++) {
        write_file(path, texts[i]);
        assert_string_equal(read_ten(path, text), "");
        assert_string_equal(text, texts[i]);
    }
    write_file(path, "12345678901");
    assert_problem_of(path, "larger than 10 bytes");
    unlink(path);
}

static void what_is_no_readable_file_is_refused_at_once(void **state)
{
    struct folder *folder = *state;
    char fifo[128], hole[128], secret[128];
    assert_problem_of("/nonexistent/weir.json", "No such file or directory");
    assert_problem_of("", "No such file or directory");
    assert_problem_of(folder->path, "this is a directory");
    assert_problem_of("/dev/zero", "not a regular file");
    assert_problem_of("/dev/null", "not a regular file");
    snprintf(fifo, sizeof fifo, "%s/fifo", folder->path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_problem_of(fifo, "not a regular file");
    unlink(fifo);
    snprintf(hole, sizeof hole, "%s/hole", folder->path);
    write_file(hole, "");
    assert_int_equal(truncate(hole, INT64_C(1) << 30), 0);
    assert_problem_of(hole, "larger than 10 bytes");
    unlink(hole);
    snprintf(secret, sizeof secret, "%s/secret", folder->path);
    write_file(secret, "x");
    assert_int_equal(chmod(secret, 0), 0);
    if (geteuid() != 0) { /* root may read everything */
        assert_problem_of(secret, "Permission denied");
    }
    unlink(secret);
    assert_problem_of("/proc/self/mem", "cannot read it: Input/output error");
}

static void names_are_seen_from_the_file_that_names_them(void **state)
{
    (void)state;
    static const struct {
        const char *beside, *name, *path;
    } cases[] = {
        { "/etc/weir/weir.json", "token", "/etc/weir/token" },
        { "/etc/weir/weir.json", "/run/token", "/run/token" },
        { "weir.json", "token", "token" },
        { "conf/weir.json", "../token", "conf/../token" },
        { "/weir.json", "token", "/token" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena arena = { 0 };
        assert_string_equal(config_file_beside(&arena, cases[i].beside, cases[i].name), cases[i].path);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_read_whole_up_to_its_bound, create_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_is_no_readable_file_is_refused_at_once, create_folder, remove_folder),
        cmocka_unit_test(names_are_seen_from_the_file_that_names_them),
    };
    return cmocka_run_group_tests_name("config_file", tests, NULL, NULL);
}
