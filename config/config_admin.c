/* config_admin: the operator's own door: the admin API, the access log, the state. */
#include "config_file.h"
#include "sections.h"
#include "values.h"

#include <string.h>

#define TOKEN_MAX 4096

static void read_listen(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_admin *admin = into;
    (void)member;
    (void)value_address(load, value, &admin->address, &admin->text);
}

/* What is wrong with a secret; says nothing of what it is. */
static const char *check_token(const char *token, size_t length)
{
    if (length == 0) {
        return "the token file is empty";
    }
    for (size_t i = 0; i < length; i++) {
        if (token[i] <= ' ' || token[i] >= 0x7f) {
            return "the token file must hold one line of ASCII without spaces";
        }
    }
    return NULL;
}

static void read_token(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_admin *admin = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_STRING, "the path of a file that holds the token")) {
        return;
    }
    const char *path = config_file_beside(&load->scratch, load->config->path, value->text);
    const char *problem = NULL;
    size_t length;
    char *token = config_file_read(&load->scratch, path, TOKEN_MAX, &length, &problem);
    if (token != NULL) {
        length -= length > 0 && token[length - 1] == '\n';
        length -= length > 0 && token[length - 1] == '\r';
        problem = check_token(token, length);
    }
    if (problem != NULL) {
        value_refuse(load, value, problem);
        return;
    }
    admin->token = arena_copy(&load->lasting, token, length);
}

static const struct member admin_list[] = {
    { .name = "listen", .read = read_listen },
    { .name = "token_file", .read = read_token },
};
const struct members config_admin_members = MEMBERS("admin", admin_list);

void config_admin_read(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config *config = into;
    (void)member;
    if (value->kind == DOCUMENT_BOOLEAN && !value->truth) {
        config->admin = (struct config_admin){ .enabled = false };
        return;
    }
    bool clean = members_read(load, &config_admin_members, value, "an object, or false to switch the admin API off",
                              &config->admin);
    const struct document_value *listen = document_member(value, "listen");
    if (clean && listen != NULL && !rule_ip_is_loopback(&config->admin.address.ip) &&
        document_member(value, "token_file") == NULL) {
        value_refuse(load, listen,
                     "without \"token_file\" the admin API listens on a loopback address only, such as 127.0.0.1:9901");
    }
}

/* ---- log --------------------------------------------------------------------------------------------------------- */

static void read_access(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    static const char *const words[] = {
        [CONFIG_LOG_OFF] = "off", [CONFIG_LOG_STDOUT] = "stdout", [CONFIG_LOG_STDERR] = "stderr"
    };
    struct config_log *log = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_STRING, "\"off\", \"stdout\", \"stderr\" or the path of a file")) {
        return;
    }
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(value->text, words[i]) == 0) {
            log->access = i;
            return;
        }
    }
    /* A slash tells a path from a word misspelt. */
    if (strchr(value->text, '/') == NULL) {
        value_refuse(load, value,
                     "write off, stdout, stderr, or the path of a file with a slash in it, such as ./access.log");
        return;
    }
    log->access = CONFIG_LOG_FILE;
    log->file = config_file_beside(&load->lasting, load->config->path, value->text);
}

static void read_format(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    (void)member, (void)into;
    if (value_is(load, value, DOCUMENT_STRING, "\"json\"") && strcmp(value->text, "json") != 0) {
        value_refuse(load, value, "this format is not supported by this version of weir; write json");
    }
}

static const struct member log_list[] = {
    { .name = "access", .read = read_access },
    { .name = "format", .read = read_format },
    { .name = "sample_denied", .read = value_rate, .offset = offsetof(struct config_log, sample_denied) },
    { .name = "keys", .read = value_flag, .offset = offsetof(struct config_log, keys) },
};
const struct members config_log_members = MEMBERS("log", log_list);

/* ---- state ------------------------------------------------------------------------------------------------------- */

/* 64: one limit needs eight cells; 10^9 cells are 16 GB. */
static const struct member state_list[] = {
    { .name = "keys",
      .read = value_count,
      .offset = offsetof(struct config, state_keys),
      .least = 64,
      .most = 1000000000 },
};
const struct members config_state_members = MEMBERS("state", state_list);
