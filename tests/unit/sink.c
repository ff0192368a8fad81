/* sink: what happens to lines when writing goes wrong. */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[64];

static int enter_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/weir-sink-XXXXXX");
    return mkdtemp(directory) == NULL || chdir(directory) != 0;
}

static int leave_directory(void **state)
{
    (void)state;
    unlink("log");
    unlink("log.1");
    unlink("pipe");
    return chdir("/") != 0 || rmdir(directory) != 0;
}

static size_t write_text(struct sink *sink, const char *first, const char *second)
{
    struct slice pieces[2] = { { first, strlen(first) }, { second, strlen(second) } };
    return sink_write(sink, pieces);
}

static const char *content_of(const char *path)
{
    static char content[4096];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    content[fread(content, 1, sizeof content - 1, file)] = 0;
    fclose(file);
    return content;
}

static void lines_are_appended_to_a_file(void **state)
{
    (void)state;
    struct sink sink;
    assert_true(sink_init(&sink, "log", -1));
    assert_int_equal(write_text(&sink, "one\ntw", "o\n"), 8);
    assert_int_equal(sink.error, 0);
    assert_false(sink.inside_line);
    sink_fini(&sink);
    assert_true(sink_init(&sink, "log", -1));
    assert_int_equal(write_text(&sink, "three\n", ""), 6);
    sink_fini(&sink);
    assert_string_equal(content_of("log"), "one\ntwo\nthree\n");
    struct stat status;
    assert_int_equal(stat("log", &status), 0);
    assert_int_equal(status.st_mode & 0007, 0); /* addresses of people are nobody else's business */
}

static void a_file_that_was_renamed_is_left_for_a_new_one(void **state)
{
    (void)state;
    struct sink sink;
    assert_true(sink_init(&sink, "log", -1));
    write_text(&sink, "old\n", "");
    assert_int_equal(rename("log", "log.1"), 0);
    write_text(&sink, "still old\n", "");
    assert_true(sink_reopen(&sink));
    write_text(&sink, "new\n", "");
    sink_fini(&sink);
    assert_string_equal(content_of("log.1"), "old\nstill old\n");
    assert_string_equal(content_of("log"), "new\n");
}

static void a_path_that_cannot_be_opened_again_leaves_the_old_file_in_use(void **state)
{
    (void)state;
    struct sink sink;
    assert_true(sink_init(&sink, "log", -1));
    assert_int_equal(rename("log", "log.1"), 0);
    assert_int_equal(mkdir("log", 0700), 0);
    assert_false(sink_reopen(&sink));
    assert_int_equal(errno, EISDIR);
    assert_int_equal(write_text(&sink, "old\n", ""), 4);
    sink_fini(&sink);
    assert_string_equal(content_of("log.1"), "old\n");
    rmdir("log");
}

static void a_place_that_is_none_is_refused(void **state)
{
    (void)state;
    struct sink sink;
    assert_false(sink_init(&sink, "no/such/directory", -1));
    assert_int_equal(errno, ENOENT);
    sink_fini(&sink);
    assert_false(sink_init(&sink, NULL, 999));
    sink_fini(&sink);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_false(sink_init(&sink, "pipe", -1)); /* nobody reads it; and it does not wait for somebody to */
    assert_int_equal(errno, ENXIO);
    sink_fini(&sink);
}

static void a_full_disk_is_an_error_that_passes(void **state)
{
    (void)state;
    struct sink sink;
    assert_true(sink_init(&sink, "/dev/full", -1));
    assert_int_equal(write_text(&sink, "lost?\n", ""), 0);
    assert_int_equal(sink.error, ENOSPC);
    assert_int_equal(write_text(&sink, "lost?\n", ""), 0);
    sink_fini(&sink);
}

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_line_cut_by_a_full_disk_goes_on_where_it_stopped(void **state)
{
    (void)state;
    struct sink sink;
    assert_true(sink_init(&sink, "log", -1));
    limit_file_size(6);
    assert_int_equal(write_text(&sink, "one\ntwo\n", ""), 6);
    assert_true(sink.inside_line);
    assert_int_equal(write_text(&sink, "o\n", ""), 0);
    assert_int_equal(sink.error, EFBIG);
    limit_file_size(RLIM_INFINITY);
    assert_int_equal(write_text(&sink, "o\nthree\n", ""), 8);
    assert_int_equal(sink.error, 0);
    sink_fini(&sink);
    assert_string_equal(content_of("log"), "one\ntwo\nthree\n");
}

static void a_line_cut_by_rotation_does_not_begin_the_new_file(void **state)
{
    (void)state;
    struct sink sink;
    assert_true(sink_init(&sink, "log", -1));
    limit_file_size(6);
    assert_int_equal(write_text(&sink, "one\ntwo\n", ""), 6);
    limit_file_size(RLIM_INFINITY);
    assert_int_equal(rename("log", "log.1"), 0);
    assert_true(sink_reopen(&sink));
    assert_int_equal(write_text(&sink, "o", "\nthree\n"), 2);
    assert_int_equal(sink.cut, 1);
    assert_int_equal(write_text(&sink, "three\n", ""), 6);
    sink_fini(&sink);
    assert_string_equal(content_of("log.1"), "one\ntw");
    assert_string_equal(content_of("log"), "three\n");
}

static void a_pipe_is_written_in_whole_lines_and_never_waited_for(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0); /* blocking, as standard output may be */
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
    struct sink sink;
    assert_true(sink_init(&sink, NULL, ends[1]));
    assert_true(sink_reopen(&sink)); /* nothing to reopen */

    char lines[9001];
    for (size_t i = 0; i < 9000; i++) {
        lines[i] = i % 1000 == 999 ? '\n' : 'x';
    }
    lines[9000] = 0;
    assert_int_equal(write_text(&sink, lines, ""), 4000);
    assert_false(sink.inside_line);
    assert_int_equal(write_text(&sink, lines, ""), 0); /* no reader took anything yet */
    assert_int_equal(sink.error, 0);
    char taken[4096];
    assert_int_equal(read(ends[0], taken, sizeof taken), 4000);
    assert_int_equal(write_text(&sink, "x\n", lines), 4002); /* the short line and four of a thousand */

    assert_int_equal(read(ends[0], taken, sizeof taken), 4002);
    memset(lines, 'y', 6000); /* one line that is longer than one write */
    assert_int_equal(write_text(&sink, lines, ""), 4096);
    assert_true(sink.inside_line);

    close(ends[0]);
    assert_int_equal(write_text(&sink, "x\n", ""), 0);
    assert_int_equal(sink.error, EPIPE);
    sink_fini(&sink);
    assert_int_equal(close(ends[1]), 0); /* was not the sink's to close */
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
#define STORY(name) cmocka_unit_test_setup_teardown(name, enter_directory, leave_directory)
    const struct CMUnitTest tests[] = {
        STORY(lines_are_appended_to_a_file),
        STORY(a_file_that_was_renamed_is_left_for_a_new_one),
        STORY(a_path_that_cannot_be_opened_again_leaves_the_old_file_in_use),
        STORY(a_place_that_is_none_is_refused),
        STORY(a_full_disk_is_an_error_that_passes),
        STORY(a_line_cut_by_a_full_disk_goes_on_where_it_stopped),
        STORY(a_line_cut_by_rotation_does_not_begin_the_new_file),
        STORY(a_pipe_is_written_in_whole_lines_and_never_waited_for),
    };
    return cmocka_run_group_tests_name("sink", tests, NULL, NULL);
}
