/* config_admin: the operator's address and secret, the log, the state. */
#include "config_text.h"

static const char before[] = "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ],";
static const char after[] = "}";

static char token_path[] = "/tmp/weir-token-XXXXXX";

static int create_token_file(void **state)
{
    (void)state;
    strcpy(token_path + strlen(token_path) - 6, "XXXXXX");
    int fd = mkstemp(token_path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_token_file(void **state)
{
    (void)state;
    return unlink(token_path);
}

static void write_token(const char *text, size_t length)
{
    FILE *file = fopen(token_path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void the_admin_api_is_on_loopback_by_default_and_can_be_off(void **state)
{
    (void)state;
    struct config *config = load_between(before, "\"headers\": \"none\"", after);
    assert_true(config->admin.enabled);
    assert_string_equal(config->admin.text, "127.0.0.1:9901");
    assert_int_equal(config->admin.address.port, 9901);
    assert_null(config->admin.token);
    config_free(&config);
    config = load_between(before, "\"admin\": false, \"listen\": \"127.0.0.1:9901\"", after);
    assert_false(config->admin.enabled);
    config_free(&config);
    config = load_between(before, "\"admin\": { \"listen\": \"[::1]:1\" }", after);
    assert_true(config->admin.address.v6);
    config_free(&config);
    config = load_between(before, "\"admin\": {}", after);
    assert_true(config->admin.enabled);
    config_free(&config);
}

static void without_a_token_it_stays_on_loopback(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"admin\": { \"listen\": \"0.0.0.0:9901\" }", "2:22 admin.listen", "without \"token_file\"" },
        { "\"admin\": { \"listen\": \"[::]:9901\" }", "2:22 admin.listen", "without \"token_file\"" },
        { "\"admin\": { \"listen\": \"10.0.0.1:9901\" }", "2:22 admin.listen", "without \"token_file\"" },
        { "\"admin\": { \"listen\": \"localhost:9901\" }", "2:22 admin.listen", "names are not looked up" },
        { "\"admin\": { \"listen\": 9901 }", "2:22 admin.listen", "expected an address such as \"127.0.0.1:8080\"" },
        { "\"admin\": true", "2:10 admin", "expected an object, or false to switch the admin API off, found true" },
        { "\"admin\": null", "2:10 admin", "found null" },
        { "\"admin\": { \"listen\": \"0.0.0.0:9901\", \"token_fil\": \"x\" }", "2:38 admin.token_fil",
          "did you mean \"token_file\"?" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void the_token_is_one_line_of_its_file(void **state)
{
    (void)state;
    char text[128];
    snprintf(text, sizeof text, "\"admin\": { \"listen\": \"0.0.0.0:9901\", \"token_file\": \"%s\" }", token_path);
    static const struct {
        const char *content, *token;
    } fine[] = { { "s3cret", "s3cret" }, { "s3cret\n", "s3cret" }, { "s3cret\r\n", "s3cret" } };
    for (size_t i = 0; i < COUNT(fine); i++) {
        write_token(fine[i].content, strlen(fine[i].content));
        struct config *config = load_between(before, text, after);
        assert_string_equal(config->admin.token, fine[i].token);
        config_free(&config);
    }
    static const struct {
        const char *content;
        size_t length;
        const char *words;
    } wrong[] = {
        { "", 0, "the token file is empty" },        { "\n", 1, "the token file is empty" },
        { "\r\n", 2, "the token file is empty" },    { "s3cret\n\n", 8, "one line of ASCII" },
        { "s3 cret\n", 8, "one line of ASCII" },     { "s3\0cret", 7, "one line of ASCII" },
        { "s3cr\xc3\xa9t", 7, "one line of ASCII" },
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        write_token(wrong[i].content, wrong[i].length);
        assert_each_refused(before, after, &(struct refusal){ text, "2:52 admin.token_file", wrong[i].words }, 1);
    }
    char large[4097];
    memset(large, 's', sizeof large);
    write_token(large, 4096);
    struct config *config = load_between(before, text, after);
    assert_int_equal(strlen(config->admin.token), 4096);
    config_free(&config);
    write_token(large, 4097);
    assert_each_refused(before, after,
                        &(struct refusal){ text, "2:52 admin.token_file", "it is larger than 4096 bytes" }, 1);
}

static void a_missing_secret_is_named_and_none_is_echoed(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"admin\": { \"token_file\": \"/nonexistent/token\" }", "2:26 admin.token_file",
          "\"/nonexistent/token\": cannot open it: No such file or directory" },
        { "\"admin\": { \"token_file\": \"/tmp\" }", "2:26 admin.token_file",
          "\"/tmp\": this is a directory, not a file" },
        { "\"admin\": { \"token_file\": \"/dev/zero\" }", "2:26 admin.token_file", "not a regular file" },
        { "\"admin\": { \"token_file\": \"\" }", "2:26 admin.token_file", "this is a directory" },
        { "\"admin\": { \"token_file\": 5 }", "2:26 admin.token_file",
          "expected the path of a file that holds the token" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));

    static const char secret[] = "hunter2 hunter2";
    write_token(secret, strlen(secret));
    char *text;
    assert_true(asprintf(&text, "%s \"admin\": { \"token_file\": \"%s\" } }", before, token_path) > 0);
    struct config_errors errors;
    assert_null(load_bytes(text, strlen(text), &errors));
    assert_int_equal(errors.count, 1);
    assert_null(strstr(errors.list[0].sentence, "hunter2"));
    config_errors_free(&errors);
    free(text);
}

static void the_access_log_goes_nowhere_unless_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int access;
        const char *file;
    } cases[] = {
        { "\"log\": {}", CONFIG_LOG_OFF, NULL },
        { "\"log\": { \"access\": \"off\", \"format\": \"json\" }", CONFIG_LOG_OFF, NULL },
        { "\"log\": { \"access\": \"stdout\" }", CONFIG_LOG_STDOUT, NULL },
        { "\"log\": { \"access\": \"stderr\" }", CONFIG_LOG_STDERR, NULL },
        { "\"log\": { \"access\": \"/var/log/weir.log\" }", CONFIG_LOG_FILE, "/var/log/weir.log" },
        { "\"log\": { \"access\": \"./off\" }", CONFIG_LOG_FILE, "/proc/self/fd/./off" }, /* beside the config */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config = load_between(before, cases[i].text, after);
        assert_int_equal(config->log.access, cases[i].access);
        assert_int_equal(config->log.file == NULL, cases[i].file == NULL);
        if (cases[i].file != NULL) {
            assert_string_equal(config->log.file, cases[i].file);
        }
        assert_int_equal(config->log.sample_denied.tokens, 100);
        assert_false(config->log.keys);
        config_free(&config);
    }
    static const struct refusal wrong[] = {
        { "\"log\": { \"access\": \"stdot\" }", "2:20 log.access",
          "write off, stdout, stderr, or the path of a file with a slash" },
        { "\"log\": { \"access\": \"\" }", "2:20 log.access", "write off, stdout, stderr" },
        { "\"log\": { \"access\": false }", "2:20 log.access",
          "expected \"off\", \"stdout\", \"stderr\" or the path of a file, found false" },
        { "\"log\": { \"format\": \"combined\" }", "2:20 log.format",
          "\"combined\": this format is not supported by this version of weir" },
        { "\"log\": { \"format\": 5 }", "2:20 log.format", "expected \"json\", found the number 5" },
    };
    assert_each_refused(before, after, wrong, COUNT(wrong));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_admin_api_is_on_loopback_by_default_and_can_be_off),
        cmocka_unit_test(without_a_token_it_stays_on_loopback),
        cmocka_unit_test_setup_teardown(the_token_is_one_line_of_its_file, create_token_file, remove_token_file),
        cmocka_unit_test_setup_teardown(a_missing_secret_is_named_and_none_is_echoed, create_token_file,
                                        remove_token_file),
        cmocka_unit_test(the_access_log_goes_nowhere_unless_told),
    };
    return cmocka_run_group_tests_name("config_admin", tests, NULL, NULL);
}
