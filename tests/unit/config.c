/* config: whole files: what they give, everything they say at once, and what no file may do to the process. */
#include "config_text.h"

#include <glob.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/* Sanitizers and coverage slow a program down and take memory of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WATCHED 1
#else
#define WATCHED 0
#endif

/* ---- what a file gives ------------------------------------------------------------------------------------------- */

static void five_lines_are_enough(void **state)
{
    (void)state;
    struct config_errors errors;
    struct config *config = config_load("config/minimal.json", &errors);
    assert_non_null(config);
    assert_int_equal(errors.count, 0);
    assert_string_equal(errors.file, "config/minimal.json");
    config_errors_free(&errors);
    assert_string_equal(config->path, "config/minimal.json");
    assert_string_equal(config->listens[0].text, "127.0.0.1:8080");
    assert_string_equal(config->upstreams[0].servers[0].text, "http://127.0.0.1:9000");
    assert_int_equal(config->limits[0].rate.tokens, 100);
    assert_int_equal(config->limits[0].burst, 200);
    assert_int_equal(config->limits[0].keys, 1000000);
    assert_string_equal(config->routes[0].name, "/");

    /* the rest is the defaults that config.h promises */
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->trusted_proxy_count, 0);
    assert_int_equal(config->client_ip.ipv4_prefix, 32);
    assert_int_equal(config->client_ip.ipv6_prefix, 64);
    assert_string_equal(config->client_ip.header, "x-forwarded-for");
    assert_int_equal(config->timeouts.request_head_ns, 10 * NS_PER_S);
    assert_int_equal(config->timeouts.request_body_ns, 30 * NS_PER_S);
    assert_int_equal(config->timeouts.idle_ns, 65 * NS_PER_S);
    assert_int_equal(config->timeouts.shutdown_ns, 30 * NS_PER_S);
    assert_int_equal(config->sizes.request_head, 16384);
    assert_int_equal(config->sizes.request_body, 0);
    assert_int_equal(config->sizes.connections, 20000);
    assert_int_equal(config->sizes.connections_per_ip, 0);
    assert_true(config->admin.enabled);
    assert_string_equal(config->admin.text, "127.0.0.1:9901");
    assert_int_equal(config->headers, CONFIG_HEADERS_DRAFT_11);
    assert_int_equal(config->log.access, CONFIG_LOG_OFF);
    assert_int_equal(config->log.sample_denied.tokens, 100);
    assert_int_equal(config->log.sample_denied.period_ns, NS_PER_S);
    assert_false(config->log.keys);
    assert_int_equal(config->state_keys, 1000000);
    config_free(&config);
    assert_null(config);
    config_free(&config);
}

static void every_example_loads(void **state)
{
    (void)state;
    glob_t examples;
    assert_int_equal(glob("config/*.json", 0, NULL, &examples), 0);
    assert_true(examples.gl_pathc >= 4);
    for (size_t i = 0; i < examples.gl_pathc; i++) {
        if (strcmp(examples.gl_pathv[i], "config/weir.schema.json") == 0) {
            continue;
        }
        struct config_errors errors;
        struct config *config = config_load(examples.gl_pathv[i], &errors);
        if (config == NULL) {
            config_errors_print(&errors, stderr);
            fail_msg("%s was refused", examples.gl_pathv[i]);
        }
        config_errors_free(&errors);
        config_free(&config);
    }
    globfree(&examples);
}

static void the_full_example_says_what_it_means(void **state)
{
    (void)state;
    struct config_errors errors;
    struct config *config = config_load("config/full.json", &errors);
    assert_non_null(config);
    config_errors_free(&errors);
    assert_int_equal(config->listen_count, 2);
    assert_int_equal(config->trusted_proxy_count, 2);
    assert_int_equal(config->upstream_count, 3);
    assert_int_equal(config->upstreams[0].server_count, 2);
    assert_string_equal(config->upstreams[2].servers[0].socket, "/run/reports.sock");
    assert_int_equal(config->limit_count, 6);
    assert_int_equal(config->route_count, 5);
    assert_string_equal(config->admin.token, "replace-this-example-token"); /* found beside the config */
    assert_int_equal(config->log.access, CONFIG_LOG_STDOUT);
    const struct config_route *search = &config->routes[1];
    assert_string_equal(search->name, "GET,POST api.example.com/v1/search");
    assert_int_equal(search->cost.constant, 5);
    assert_string_equal(config->limits[search->limits[1]].name, "per-key");
    config_free(&config);
}

static void the_digest_follows_the_bytes(void **state)
{
    (void)state;
    static const char text[] = "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ] }";
    struct config *one = load_text(text), *same = load_text(text), *other = load_between("", text, "");
    assert_int_equal(strlen(one->digest), 16);
    assert_string_equal(one->digest, same->digest);
    assert_string_not_equal(one->digest, other->digest);
    config_free(&one);
    config_free(&same);
    config_free(&other);
}

/* ---- what it says of a bad one ----------------------------------------------------------------------------------- */

static void everything_wrong_is_said_at_once_in_the_order_of_the_file(void **state)
{
    (void)state;
    static const char text[] =
        "{\n"
        "  \"routes\": [\n"
        "    { \"path\": \"/\", \"upstream\": \"apo\", \"limits\": [\"per-clint\"] },\n"
        "    { \"path\": \"v1\", \"respond\": {} }\n"
        "  ],\n"
        "  \"wokers\": 4,\n"
        "  \"limits\": { \"per-client\": { \"rate\": \"100/fortnight\", \"burst\": 0, \"scope\": \"cluster\" } },\n"
        "  \"sizes\": { \"connections\": 1e3, \"connections\": 5 },\n"
        "  \"upstreams\": { \"api\": \"http://127.0.0.1:8080\" },\n"
        "  \"redis\": {},\n"
        "  \"admin\": { \"listen\": \"0.0.0.0:9901\" }\n"
        "}\n";
    static const struct refusal errors[] = {
        { NULL, "3:32 routes[0].upstream", "there is no upstream \"apo\"; did you mean \"api\"?" },
        { NULL, "3:50 routes[0].limits[0]", "there is no limit \"per-clint\"; did you mean \"per-client\"?" },
        { NULL, "4:15 routes[1].path", "begins with /" },
        { NULL, "6:3 wokers", "did you mean \"workers\"?" },
        { NULL, "7:39 limits.per-client.rate", "\"100/fortnight\": a rate is written like 100/second" },
        { NULL, "7:65 limits.per-client.burst", "found the number 0" },
        { NULL, "7:68 limits.per-client.scope", "\"scope\" is not supported by this version of weir" },
        { NULL, "8:29 sizes.connections", "written in digits, found the number 1e3" },
        { NULL, "8:34 sizes.connections", "given twice" },
        { NULL, "9:25 upstreams.api", "weir itself listens on" },
        { NULL, "10:3 redis", "not supported" },
        { NULL, "11:24 admin.listen", "without \"token_file\"" },
    };
    assert_errors(text, errors, COUNT(errors));
}

static void a_file_that_is_no_configuration_is_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "", "1:1", "the file is empty" },
        { " \n ", "1:1", "the file is empty" },
        { "\xef\xbb\xbf{}", "1:1", "byte-order mark" },
        { "{}", "1:1", "\"routes\" is missing" },
        { "{ \"routes\": {} }", "1:13 routes", "expected a list of routes, found an object" },
        { "[]", "1:1", "expected an object, found a list" },
        { "\n 5", "2:2", "expected an object, found the number 5" },
        { "null", "1:1", "expected an object, found null" },
        { "{\n \"routes\": [\n  { \"path\": \"/\", ", "3:18 routes[0]", "the file ends too early" },
        { "{\n \"routes\": [\n  { \"path\": \"/", "3:13 routes[0].path", "the file ends too early" },
        { "{ \"routes\": [], }", "1:17", "string or '}' expected near '}'" },
        { "{ 'routes': [] }", "1:3", "this is not JSON" },
        { "{ \"routes\": [] } // end", "1:18", "end of file expected" },
        { "{ \"routes\": [ { \"cost\": 1e400 } ] }", "1:25 routes[0].cost", "real number overflow" },
        { "{ \"routes\": [ { \"path\": \"/\\u0000\" } ] }", "1:25 routes[0].path",
          "\\u0000 may not stand in a string" },
        { "{ \"routes\": [ { \"path\": \"/\xff\" } ] }", "1:25 routes[0].path", "unable to decode byte 0xff" },
        { "{ \"routes\": [ { \"path\": \"/\n\" } ] }", "1:25 routes[0].path", "unexpected newline" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_errors(cases[i].text, &cases[i], 1);
    }
}

static void assert_unreadable(const char *path, const char *words)
{
    struct config_errors errors;
    assert_null(config_load(path, &errors));
    assert_int_equal(errors.count, 1);
    assert_error(&errors.list[0], "0:0", words, path);
    assert_string_equal(errors.file, path);
    config_errors_free(&errors);
}

static void what_is_no_file_is_refused_in_one_sentence(void **state)
{
    (void)state;
    assert_unreadable("/nonexistent/weir.json", "cannot open it: No such file or directory");
    assert_unreadable("/tmp", "this is a directory, not a file");
    assert_unreadable("/dev/zero", "not a regular file");
    char path[] = "/tmp/weir-large-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(ftruncate(fd, INT64_C(1) << 30), 0);
    assert_unreadable(path, "it is larger than 16777216 bytes");
    close(fd);
    unlink(path);
}

/* ---- what no file may do ----------------------------------------------------------------------------------------- */

/* Of this process, so that a busy machine fails no test. */
static uint64_t cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A file of so many routes, each with `route` in it. */
static char *many_routes(size_t count, const char *route, size_t *length)
{
    char *text;
    FILE *out = open_memstream(&text, length);
    fputs(
        "{ \"upstreams\": { \"api\": \"http://a\" }, \"limits\": { \"l\": { \"rate\": \"5/second\" } }, \"routes\": [",
        out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%s{ \"path\": \"/v1/resources/%zu/{id}\", %s }", i == 0 ? "" : ",\n", i, route);
    }
    fputs("] }", out);
    fclose(out);
    return text;
}

static void a_hundred_thousand_routes_load_in_a_moment(void **state)
{
    (void)state;
    size_t length;
    char *text = many_routes(
        100000, "\"methods\": [\"GET\", \"PUT\"], \"upstream\": \"api\", \"limits\": [\"l\"], \"cost\": 2", &length);
    uint64_t start = cpu_ms();
    struct config_errors errors;
    struct config *config = load_bytes(text, length, &errors);
    uint64_t took = cpu_ms() - start;
    assert_non_null(config);
    assert_int_equal(config->route_count, 100000);
    assert_string_equal(config->routes[99999].name, "GET,PUT /v1/resources/99999/{id}");
    assert_true(took < 2000 || WATCHED);
    config_errors_free(&errors);
    config_free(&config);
    free(text);
}

static void a_hundred_thousand_wrong_routes_are_refused_in_a_moment(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "\"upstream\": \"apo\", \"limits\": [\"m\"], \"cost\": 10, \"pth\": 5",
        "\"upstream\": \"api\", \"host\": \"*\", \"cost\": -1",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        size_t length;
        char *text = many_routes(100000, wrong[i], &length);
        uint64_t start = cpu_ms();
        struct config_errors errors;
        assert_null(load_bytes(text, length, &errors));
        assert_true(cpu_ms() - start < 2000 || WATCHED);
        assert_int_equal(errors.count, 1001);
        assert_int_equal(errors.list[0].line, 1);
        assert_int_equal(errors.list[999].line > 300, 1);
        assert_non_null(strstr(errors.list[1000].sentence, "more errors are not shown"));
        config_errors_free(&errors);
        free(text);
    }
}

/* xorshift64*: the same mutations in every run. */
static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(2685821657736338717);
}

/* One to four bytes changed, taken out, or put in; returns the new length. */
static size_t mutate(char *text, size_t length, uint64_t *seed)
{
    static const char likely[] = "{}[]\",:0123456789-+.eE\\u/*% \n\0\xff";
    for (uint64_t rounds = 1 + random_next(seed) % 4; rounds > 0; rounds--) {
        size_t at = random_next(seed) % length;
        char byte = random_next(seed) % 2 == 0 ? likely[random_next(seed) % sizeof likely] : (char)random_next(seed);
        switch (random_next(seed) % 3) {
        case 0:
            text[at] = byte;
            break;
        case 1:
            memmove(text + at, text + at + 1, --length - at);
            break;
        default:
            memmove(text + at + 1, text + at, length++ - at);
            text[at] = byte;
        }
    }
    return length;
}

/* config/full.json, with a path to its token that holds from anywhere. */
static char *full_example(size_t *length)
{
    static char bytes[8192];
    FILE *file = fopen("config/full.json", "r");
    assert_non_null(file);
    bytes[fread(bytes, 1, sizeof bytes - 1, file)] = '\0';
    fclose(file);
    char *token = strstr(bytes, "full.token"), *folder = realpath("config", NULL), *text;
    assert_true(token != NULL && folder != NULL);
    int printed = asprintf(&text, "%.*s%s/%s", (int)(token - bytes), bytes, folder, token);
    assert_true(printed > 0);
    *length = (size_t)printed;
    free(folder);
    return text;
}

static void twenty_thousand_damaged_files_end_in_a_config_or_in_errors(void **state)
{
    (void)state;
    size_t length;
    char *original = full_example(&length);
    char *text = malloc(length + 4);
    uint64_t seed = 20240229;
    size_t loaded = 0, refused_as_text = 0;
    for (size_t i = 0; i < 20000; i++) {
        memcpy(text, original, length);
        size_t mutated = mutate(text, length, &seed);
        struct config_errors errors;
        struct config *config = load_bytes(text, mutated, &errors);
        for (size_t e = 0; e < errors.count; e++) {
            assert_true(errors.list[e].line > 0 && errors.list[e].column > 0);
            assert_true(errors.list[e].sentence[0] != '\0');
            refused_as_text += strstr(errors.list[e].sentence, "JSON") != NULL;
        }
        loaded += config != NULL;
        config_errors_free(&errors);
        config_free(&config);
    }
    assert_in_range(loaded, 500, 10000); /* all kinds of damage occur */
    assert_in_range(refused_as_text, 4000, 19000);
    free(original);
    free(text);
}

#if !WATCHED
/* In a child, because memory that was once taken stays: loads with `extra` bytes of address space to go. 0: loaded,
 * 1: refused for want of memory, 2: anything else. */
static int load_with_little_memory(const char *text, size_t length, size_t extra)
{
    pid_t child = fork();
    if (child == 0) {
        char statm[64] = "";
        FILE *file = fopen("/proc/self/statm", "r");
        size_t pages = file != NULL && fgets(statm, sizeof statm, file) != NULL ? strtoull(statm, NULL, 10) : 0;
        fclose(file);
        char path[32];
        int fd = memfd_create("config", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (write(fd, text, length) != (ssize_t)length) {
            _exit(2);
        }
        rlim_t most = pages * (rlim_t)sysconf(_SC_PAGESIZE) + extra;
        setrlimit(RLIMIT_AS, &(struct rlimit){ most, most });
        struct config_errors errors;
        struct config *config = config_load(path, &errors);
        bool short_of_memory = config == NULL && strstr(errors.list[0].sentence, "not enough memory") != NULL;
        int result = config != NULL ? 0 : short_of_memory ? 1 : 2;
        config_errors_free(&errors);
        config_free(&config);
        _exit(result);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void without_memory_there_is_an_error_not_a_crash(void **state)
{
    (void)state;
    size_t length;
    char *text = many_routes(10000, "\"upstream\": \"api\", \"host\": \"\\u0061\"", &length);
    size_t loaded = 0, refused = 0;
    for (size_t megabytes = 0; megabytes < 40; megabytes++) {
        int result = load_with_little_memory(text, length, megabytes << 20);
        assert_in_range(result, 0, 1);
        loaded += result == 0;
        refused += result == 1;
    }
    assert_true(refused >= 3);
    assert_true(loaded >= 3);
    free(text);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#if !WATCHED
        cmocka_unit_test(without_memory_there_is_an_error_not_a_crash), /* first: what later tests free would be used */
#endif
        cmocka_unit_test(five_lines_are_enough),
        cmocka_unit_test(every_example_loads),
        cmocka_unit_test(the_full_example_says_what_it_means),
        cmocka_unit_test(the_digest_follows_the_bytes),
        cmocka_unit_test(everything_wrong_is_said_at_once_in_the_order_of_the_file),
        cmocka_unit_test(a_file_that_is_no_configuration_is_refused),
        cmocka_unit_test(what_is_no_file_is_refused_in_one_sentence),
        cmocka_unit_test(a_hundred_thousand_routes_load_in_a_moment),
        cmocka_unit_test(a_hundred_thousand_wrong_routes_are_refused_in_a_moment),
        cmocka_unit_test(twenty_thousand_damaged_files_end_in_a_config_or_in_errors),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
