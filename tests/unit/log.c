/* log: the lines that users parse, what is sampled and dropped, and the writer's way through trouble. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

static char directory[64];
static int true_stderr;

/* A directory of its own; events go to the file "events". */
static int enter_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/weir-log-XXXXXX");
    if (mkdtemp(directory) == NULL || chdir(directory) != 0) {
        return 1;
    }
    int events = open("events", O_WRONLY | O_CREAT | O_APPEND, 0600);
    true_stderr = dup(STDERR_FILENO);
    dup2(events, STDERR_FILENO);
    return close(events);
}

static int leave_directory(void **state)
{
    (void)state;
    dup2(true_stderr, STDERR_FILENO);
    close(true_stderr);
    static const char *const left[] = { "log", "log.1", "pipe", "events", "link" };
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        unlink(left[i]);
    }
    return chdir("/") != 0 || rmdir(directory) != 0;
}

static char *content_of(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *content = calloc(1, 16 << 20);
    assert_true(fread(content, 1, (16 << 20) - 1, file) < (16 << 20) - 1);
    fclose(file);
    return content;
}

static size_t count_of(const char *text, const char *what)
{
    size_t count = 0, length = strlen(what);
    for (const char *at = text; *at != 0; at++) { /* strstr() measures the whole text each time under a sanitizer */
        count += *at == *what && strncmp(at, what, length) == 0;
    }
    return count;
}

static void wait_for_text(const char *path, const char *what)
{
    for (int i = 0; i < 400; i++) { /* the writer naps 50 ms; 4 s is for busy machines */
        char *content = access(path, F_OK) == 0 ? content_of(path) : NULL;
        bool found = content != NULL && strstr(content, what) != NULL;
        free(content);
        if (found) {
            return;
        }
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    fail_msg("%s never said \"%s\"", path, what);
}

static char log_path[] = "log", pipe_path[] = "pipe", link_path[] = "link";

static struct config config_of(char *file)
{
    return (struct config){ .log = { .access = CONFIG_LOG_FILE, .file = file, .sample_denied = { 100, SECOND } } };
}

static struct log *log_to(char *file, unsigned workers)
{
    const struct config config = config_of(file);
    const char *why = NULL;
    struct log *log = log_create(&config, workers, &why);
    assert_non_null(log);
    assert_null(why);
    return log;
}

/* Writes one line and returns the file. */
static char *written(const struct log_line *line)
{
    struct log *log = log_to(log_path, 1);
    log_access(log_of(log, 0), line, SECOND);
    log_destroy(&log);
    assert_null(log);
    return content_of(log_path);
}

static void a_line_has_every_field_users_were_promised(void **state)
{
    (void)state;
    struct rule_ip client = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 7 } };
    struct log_line line = { .realtime_ns = UINT64_C(1767323045678999999),
                             .request_id = SLICE("01JABC"),
                             .method = SLICE("GET"),
                             .host = SLICE("api.example.com"),
                             .path = SLICE("/v1/x"),
                             .client = &client,
                             .route = "api.example.com/v1/",
                             .status = 429,
                             .bytes_in = 12,
                             .bytes_out = 3456,
                             .duration_ns = 1234567,
                             .upstream = "http://10.1.0.1:9000",
                             .upstream_ns = 1000999,
                             .verdict = "denied",
                             .limit = "per-key",
                             .key_hash = 0xabc,
                             .key = "k-1",
                             .retry_after_s = 3 };
    char *content = written(&line);
    assert_string_equal(content,
                        "{\"time\":\"2026-01-02T03:04:05.678Z\",\"request_id\":\"01JABC\",\"client\":\"203.0.113.7\","
                        "\"method\":\"GET\",\"host\":\"api.example.com\",\"path\":\"/v1/x\","
                        "\"route\":\"api.example.com/v1/\",\"status\":429,\"bytes_in\":12,\"bytes_out\":3456,"
                        "\"duration_ms\":1.234,\"upstream\":\"http://10.1.0.1:9000\",\"upstream_ms\":1.000,"
                        "\"verdict\":\"denied\",\"limit\":\"per-key\",\"key_hash\":\"0000000000000abc\","
                        "\"key\":\"k-1\",\"retry_after\":3}\n");
    free(content);
}

static void what_is_not_known_is_left_out(void **state)
{
    (void)state;
    struct log_line line = { .realtime_ns = 0 };
    char *content = written(&line);
    assert_string_equal(content, "{\"time\":\"1970-01-01T00:00:00.000Z\",\"status\":499,\"bytes_in\":0,\"bytes_out\":0,"
                                 "\"duration_ms\":0.000}\n");
    free(content);
}

static void hostile_values_stay_inside_their_strings(void **state)
{
    (void)state;
    struct log_line line = {
        .status = 200, .path = SLICE("/\"},\n{\"status\":200\x1b[2J\xff\\"), .host = SLICE("h\0st"), .key = "a\rb"
    };
    char *content = written(&line);
    assert_int_equal(count_of(content, "\n"), 1);
    assert_non_null(strstr(content, "\"host\":\"h\\u0000st\""));
    assert_non_null(strstr(content, "\"path\":\"/\\\"},\\u000a{\\\"status\\\":200\\u001b[2J\\u00ff\\\\\""));
    assert_non_null(strstr(content, "\"key\":\"a\\u000db\""));
    free(content);
}

static void the_longest_line_is_bounded(void **state)
{
    (void)state;
    enum { LONG = 100000 };
    char *bytes = malloc(LONG + 1);
    memset(bytes, 1, LONG); /* six bytes each, escaped */
    bytes[LONG] = 0;
    struct slice value = { bytes, LONG };
    struct rule_ip client = { { 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                0xff, 0xff } };
    struct log_line line = { .realtime_ns = UINT64_MAX,
                             .request_id = value,
                             .method = value,
                             .host = value,
                             .path = value,
                             .client = &client,
                             .route = bytes,
                             .status = 599,
                             .bytes_in = UINT64_MAX,
                             .bytes_out = UINT64_MAX,
                             .duration_ns = UINT64_MAX,
                             .upstream_ns = UINT64_MAX,
                             .upstream = bytes,
                             .verdict = bytes,
                             .limit = bytes,
                             .key_hash = UINT64_MAX,
                             .key = bytes,
                             .retry_after_s = UINT64_MAX };
    char *content = written(&line);
    assert_true(strlen(content) <= 8192);
    assert_int_equal(count_of(content, "\xe2\x80\xa6\""), 9); /* each cut value says so */
    free(content);
    free(bytes);
}

static void refusals_are_sampled_and_nothing_else_is(void **state)
{
    (void)state;
    struct log *log = log_to(log_path, 4);
    struct log_worker *worker = log_of(log, 0);
    struct log_line denied = { .status = 429, .denied = true };
    struct log_line allowed = { .status = 200 };
    for (uint64_t i = 0; i < 20000; i++) { /* 20,000 refusals a second for ten seconds, on one of four workers */
        for (int burst = 0; burst < 10; burst++) {
            log_access(worker, &denied, SECOND + i * (10 * SECOND / 20000));
        }
    }
    for (int i = 0; i < 1000; i++) {
        log_access(worker, &allowed, SECOND);
    }
    assert_int_equal(log_dropped(log), 0);
    log_destroy(&log);
    char *content = content_of(log_path);
    assert_int_equal(count_of(content, "\"status\":200"), 1000);
    size_t kept = count_of(content, "\"status\":429");
    assert_in_range(kept, 250, 275); /* a quarter of 100 a second, and a burst of one second */
    free(content);
}

static void a_rate_below_one_line_a_second_is_kept_too(void **state)
{
    (void)state;
    struct config config = config_of(log_path);
    config.log.sample_denied = (struct rule_rate){ 1, 60 * SECOND };
    const char *why;
    struct log *log = log_create(&config, 2, &why);
    struct log_line denied = { .status = 429, .denied = true };
    for (uint64_t i = 0; i < 600; i++) {
        log_access(log_of(log, 1), &denied, (i + 1) * SECOND);
    }
    log_destroy(&log);
    char *content = content_of(log_path);
    assert_int_equal(count_of(content, "\n"), 5);
    free(content);

    config.log.sample_denied = (struct rule_rate){ 1, UINT64_MAX / 2 }; /* next to never: no overflow */
    log = log_create(&config, 7, &why);
    log_access(log_of(log, 6), &denied, SECOND);
    log_access(log_of(log, 6), &denied, SECOND * 1000000);
    log_destroy(&log);
    content = content_of(log_path);
    assert_int_equal(count_of(content, "\n"), 6);
    free(content);
}

static void an_off_log_takes_no_lines_and_no_thread(void **state)
{
    (void)state;
    struct config config = { .log = { .access = CONFIG_LOG_OFF, .sample_denied = { 100, SECOND } } };
    const char *why;
    struct log *log = log_create(&config, 2, &why);
    log_access(log_of(log, 1), &(struct log_line){ .status = 200 }, SECOND);
    log_reopen(log);
    assert_int_equal(log_dropped(log), 0);
    log_destroy(&log);
    log_destroy(&log);
}

static void standard_streams_serve(void **state)
{
    (void)state;
    struct config config = { .log = { .access = CONFIG_LOG_STDERR, .sample_denied = { 100, SECOND } } };
    const char *why;
    struct log *log = log_create(&config, 1, &why);
    log_access(log_of(log, 0), &(struct log_line){ .status = 204 }, SECOND);
    log_reopen(log);
    log_destroy(&log);
    char *content = content_of("events");
    assert_non_null(strstr(content, "\"status\":204"));
    free(content);

    fflush(stdout);
    int true_stdout = dup(STDOUT_FILENO);
    int file = open(log_path, O_WRONLY | O_CREAT, 0600);
    dup2(file, STDOUT_FILENO);
    config.log.access = CONFIG_LOG_STDOUT;
    log = log_create(&config, 1, &why);
    log_access(log_of(log, 0), &(struct log_line){ .status = 205 }, SECOND);
    log_destroy(&log);
    dup2(true_stdout, STDOUT_FILENO);
    close(true_stdout);
    close(file);
    content = content_of(log_path);
    assert_non_null(strstr(content, "\"status\":205"));
    free(content);
}

static void a_file_that_cannot_be_opened_is_told_at_once(void **state)
{
    (void)state;
    char nowhere[] = "no/such/file";
    struct config config = config_of(nowhere);
    const char *why = NULL;
    assert_null(log_create(&config, 1, &why));
    assert_string_equal(why, "access log no/such/file: No such file or directory");
}

static void lines_are_written_while_the_worker_goes_on(void **state)
{
    (void)state;
    struct log *log = log_to(log_path, 2);
    log_access(log_of(log, 1), &(struct log_line){ .status = 201 }, SECOND);
    wait_for_text(log_path, "\"status\":201");
    log_destroy(&log);
}

static void after_rotation_lines_go_to_the_new_file(void **state)
{
    (void)state;
    struct log *log = log_to(log_path, 1);
    log_access(log_of(log, 0), &(struct log_line){ .status = 201 }, SECOND);
    wait_for_text(log_path, "\"status\":201");
    assert_int_equal(rename("log", "log.1"), 0);
    log_reopen(log);
    for (int i = 0; i < 400 && access("log", F_OK) != 0; i++) {
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    log_access(log_of(log, 0), &(struct log_line){ .status = 202 }, SECOND);
    log_destroy(&log);
    char *content = content_of("log.1");
    assert_int_equal(count_of(content, "\n"), 1);
    free(content);
    content = content_of("log");
    assert_int_equal(count_of(content, "\"status\":202"), 1);
    free(content);
}

static void a_rotation_that_fails_is_told_and_the_old_file_serves(void **state)
{
    (void)state;
    struct log *log = log_to(log_path, 1);
    assert_int_equal(rename("log", "log.1"), 0);
    assert_int_equal(mkdir("log", 0700), 0);
    log_reopen(log);
    wait_for_text("events", "access log: cannot open log: Is a directory; the old file stays in use\n");
    log_access(log_of(log, 0), &(struct log_line){ .status = 202 }, SECOND);
    log_destroy(&log);
    rmdir("log");
    char *content = content_of("log.1");
    assert_int_equal(count_of(content, "\"status\":202"), 1);
    free(content);
}

/* Lines that wait for the disk survive; what the ring has no room for is counted; one sentence says so. */
static void a_full_disk_costs_lines_never_requests(void **state)
{
    (void)state;
    assert_int_equal(symlink("/dev/full", "link"), 0);
    struct log *log = log_to(link_path, 1);
    struct log_line line = { .status = 200, .path = SLICE("/a/path/that/is/as/long/as/paths/tend/to/be") };
    for (int i = 0; i < 20000; i++) {
        log_access(log_of(log, 0), &line, SECOND);
    }
    uint64_t dropped = log_dropped(log);
    assert_true(dropped > 0 && dropped < 20000);
    wait_for_text("events", "access log: No space left on device;");

    unlink("link");
    assert_int_equal(symlink("log", "link"), 0);
    log_reopen(log);
    wait_for_text("log", "\n"); /* created by now */
    log_destroy(&log);
    char *content = content_of("log");
    assert_int_equal(count_of(content, "}\n"), 20000 - dropped);
    assert_int_equal(count_of(content, "\n"), 20000 - dropped);
    free(content);
    content = content_of("events");
    assert_int_equal(count_of(content, "access log:"), 1);
    free(content);
}

static void last_lines_that_cannot_be_written_do_not_hold_up_the_end(void **state)
{
    (void)state;
    assert_int_equal(symlink("/dev/full", "link"), 0);
    struct log *log = log_to(link_path, 1);
    log_access(log_of(log, 0), &(struct log_line){ .status = 200 }, SECOND);
    log_destroy(&log);
    char *content = content_of("events");
    assert_non_null(strstr(content, "access log: its last lines could not be written\n"));
    free(content);
}

/* A reader that sleeps: workers go on, lines are dropped whole, and the rest arrives whole once it wakes up. */
static void a_slow_reader_gets_whole_lines_or_none(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    int reader = open(pipe_path, O_RDONLY | O_NONBLOCK);
    struct log *log = log_to(pipe_path, 2);
    struct log_line line = { .status = 200, .path = SLICE("/a/path/that/is/as/long/as/paths/tend/to/be") };
    enum { LINES = 40000 };
    for (int i = 0; i < LINES; i++) {
        log_access(log_of(log, (unsigned)i % 2), &line, SECOND);
    }
    assert_true(log_dropped(log) > 0);
    wait_for_text("events", "access log: it is read too slowly;");

    size_t lines = 0;
    char last = '\n';
    for (int i = 0; i < 5000 && lines + log_dropped(log) < LINES; i++) { /* 10 s, for busy machines */
        char bytes[65536];
        ssize_t length = read(reader, bytes, sizeof bytes);
        for (ssize_t at = 0; at < length; at++) {
            assert_int_equal(last == '\n', bytes[at] == '{'); /* every line from its beginning */
            last = bytes[at];
            lines += last == '\n';
        }
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
    assert_int_equal(last, '\n');
    assert_int_equal(lines + log_dropped(log), LINES);
    log_destroy(&log);
    close(reader);
}

static void a_reader_that_never_wakes_up_does_not_hold_up_the_end_for_long(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    int reader = open(pipe_path, O_RDONLY | O_NONBLOCK);
    struct log *log = log_to(pipe_path, 1);
    for (int i = 0; i < 3000; i++) {
        log_access(log_of(log, 0), &(struct log_line){ .status = 200 }, SECOND);
    }
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    log_destroy(&log);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_in_range(to.tv_sec - from.tv_sec, 1, 3);
    close(reader);
}

static void a_reader_that_left_and_came_back_finds_the_log_going(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    int reader = open(pipe_path, O_RDONLY | O_NONBLOCK);
    struct log *log = log_to(pipe_path, 1);
    close(reader);
    log_access(log_of(log, 0), &(struct log_line){ .status = 203 }, SECOND);
    wait_for_text("events", "access log: Broken pipe;");
    reader = open(pipe_path, O_RDONLY | O_NONBLOCK);
    log_destroy(&log);
    char bytes[512];
    ssize_t length = read(reader, bytes, sizeof bytes - 1);
    assert_true(length > 0);
    bytes[length] = 0;
    assert_non_null(strstr(bytes, "\"status\":203"));
    close(reader);
}

static void events_are_one_line_each_with_a_time(void **state)
{
    (void)state;
    log_event("upstream %s is down\n%s", "api\x1b[2J", "forged line");
    char long_name[3000];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    log_event("%s", long_name);
    char *content = content_of("events");
    assert_int_equal(count_of(content, "\n"), 2);
    assert_memory_equal(content, "weir: 20", 8);
    assert_memory_equal(content + 6 + 24, " upstream api?[2J is down?forged line\n", 38);
    assert_true(strlen(content) < 1200);
    free(content);
}

#define ROUNDS 20000
static void *write_along(void *worker)
{
    for (int i = 0; i < ROUNDS; i++) {
        log_access(worker, &(struct log_line){ .status = 200, .path = SLICE("/x") }, SECOND);
        if (i % 100 == 0) {
            nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
        }
    }
    return NULL;
}

static void threads_write_while_the_file_is_rotated(void **state)
{
    (void)state;
    struct log *log = log_to(log_path, 2);
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, write_along, log_of(log, i));
    }
    for (int i = 0; i < 20; i++) {
        log_reopen(log);
        assert_true(log_dropped(log) <= 2 * ROUNDS);
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    uint64_t dropped = log_dropped(log);
    log_destroy(&log);
    char *content = content_of(log_path);
    assert_int_equal(count_of(content, "{\"time\""), 2 * ROUNDS - dropped);
    assert_int_equal(count_of(content, "}\n"), 2 * ROUNDS - dropped);
    free(content);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define STORY(name) cmocka_unit_test_setup_teardown(name, enter_directory, leave_directory)
    const struct CMUnitTest tests[] = {
        STORY(a_line_has_every_field_users_were_promised),
        STORY(what_is_not_known_is_left_out),
        STORY(hostile_values_stay_inside_their_strings),
        STORY(the_longest_line_is_bounded),
        STORY(refusals_are_sampled_and_nothing_else_is),
        STORY(a_rate_below_one_line_a_second_is_kept_too),
        STORY(an_off_log_takes_no_lines_and_no_thread),
        STORY(standard_streams_serve),
        STORY(a_file_that_cannot_be_opened_is_told_at_once),
        STORY(lines_are_written_while_the_worker_goes_on),
        STORY(after_rotation_lines_go_to_the_new_file),
        STORY(a_rotation_that_fails_is_told_and_the_old_file_serves),
        STORY(a_full_disk_costs_lines_never_requests),
        STORY(last_lines_that_cannot_be_written_do_not_hold_up_the_end),
        STORY(a_slow_reader_gets_whole_lines_or_none),
        STORY(a_reader_that_never_wakes_up_does_not_hold_up_the_end_for_long),
        STORY(a_reader_that_left_and_came_back_finds_the_log_going),
        STORY(events_are_one_line_each_with_a_time),
        STORY(threads_write_while_the_file_is_rotated),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
