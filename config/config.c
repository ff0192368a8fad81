/* config: one file, from bytes to structs.
 *
 * Read this room in this order: here; members.h (how tables read objects); one section, say config_limits.c;
 * document.h (where lines and columns come from).
 *
 * All memory of a config is one arena, that of its errors and its JSON tree another. When memory runs short, taking
 * from either jumps back to read_guarded(): the load ends with one sentence, and a running gateway keeps the config it
 * has.
 */
#include "config.h"

#include "config_file.h"
#include "sections.h"
#include "values.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000ull

/* What config_free() needs to know; the config comes first, so that a pointer to one is a pointer to the other. */
struct whole {
    struct config config;
    struct arena memory;
};

static const char *const headers_words[] = { [CONFIG_HEADERS_DRAFT_11] = "draft-11",
                                             [CONFIG_HEADERS_X_RATELIMIT] = "x-ratelimit",
                                             [CONFIG_HEADERS_BOTH] = "both",
                                             [CONFIG_HEADERS_NONE] = "none",
                                             NULL };

/* Limits take the defaults of client_ip, routes name limits and upstreams: their rows come later. */
static const struct member file_list[] = {
    { .name = "$schema", .read = value_nothing },
    { .name = "listen", .read = config_clients_listens, .members = &config_listen_members },
    { .name = "workers",
      .read = config_clients_workers,
      .offset = offsetof(struct config, workers),
      .least = 1,
      .most = 1024 },
    { .name = "trusted_proxies", .read = config_clients_trusted },
    { .name = "client_ip",
      .read = value_object,
      .offset = offsetof(struct config, client_ip),
      .members = &config_client_ip_members },
    { .name = "timeouts",
      .read = value_object,
      .offset = offsetof(struct config, timeouts),
      .members = &config_timeouts_members },
    { .name = "sizes",
      .read = value_object,
      .offset = offsetof(struct config, sizes),
      .members = &config_sizes_members },
    { .name = "upstreams", .read = config_upstreams_read, .members = &config_upstream_members },
    { .name = "limits", .read = config_limits_read, .members = &config_limit_members },
    { .name = "routes", .read = config_routes_read, .members = &config_route_members },
    { .name = "admin", .read = config_admin_read, .members = &config_admin_members },
    { .name = "headers", .read = value_choice, .offset = offsetof(struct config, headers), .words = headers_words },
    { .name = "log", .read = value_object, .offset = offsetof(struct config, log), .members = &config_log_members },
    { .name = "state", .read = value_object, .members = &config_state_members }, /* its fields are the config's own */
};
const struct members config_members = MEMBERS("", file_list);

static void set_defaults(struct load *load, struct config *config)
{
    config->client_ip = (struct config_client_ip){ .ipv4_prefix = 32,
                                                   .ipv6_prefix = 64,
                                                   .header = arena_print(&load->lasting, "x-forwarded-for") };
    config->timeouts = (struct config_timeouts){ .request_head_ns = 10 * NS_PER_S,
                                                 .request_body_ns = 30 * NS_PER_S,
                                                 .idle_ns = 65 * NS_PER_S,
                                                 .shutdown_ns = 30 * NS_PER_S };
    config->sizes = (struct config_sizes){ .request_head = 16 << 10, .connections = 20000 };
    config->listens = arena_take(&load->lasting, 1, sizeof *config->listens);
    config->listen_count = 1;
    config->listens->text = arena_print(&load->lasting, "127.0.0.1:8080");
    config->admin = (struct config_admin){ .enabled = true, .text = arena_print(&load->lasting, "127.0.0.1:9901") };
    config->log.sample_denied = (struct rule_rate){ 100, NS_PER_S };
    config->state_keys = 1000000;
    (void)!rule_address(config->listens->text, &config->listens->address);
    (void)!rule_address(config->admin.text, &config->admin.address);
}

/* FNV-1a: tells one version of a file from another; nobody who can choose the bytes gains by a collision. */
static void digest(const char *bytes, size_t length, char out[static 17])
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3;
    }
    snprintf(out, 17, "%016" PRIx64, hash);
}

static void read_root(struct load *load, const struct document_value *root)
{
    struct config *config = load->config;
    if (members_read(load, &config_members, root, "an object", config) && document_member(root, "routes") == NULL) {
        config_errors_at(&load->faults, root, "\"routes\" is missing: the list of what is served");
    }
    config_clients_check(load, root);
    config_upstreams_check(load, root);
    config_limits_divide_keys(config);
}

/* Everything that takes from the arenas. `errors` is filled when something is wrong. */
static void read_all(struct load *load, const char *path, struct config_errors *errors)
{
    struct whole *whole = arena_take(&load->lasting, 1, sizeof *whole);
    struct config *config = load->config = &whole->config;
    config->path = arena_copy(&load->lasting, path, strlen(path));
    set_defaults(load, config);

    size_t length;
    const char *problem;
    const char *text = config_file_read(&load->scratch, path, DOCUMENT_MAX, &length, &problem);
    if (text == NULL) {
        config_errors_whole(path, problem, errors);
        return;
    }
    digest(text, length, config->digest);
    struct document_fault fault;
    const struct document_value *root = document_parse(&load->scratch, text, length, &fault);
    if (root == NULL) {
        config_errors_at_offset(&load->faults, fault.at, fault.inside, fault.sentence);
    } else {
        read_root(load, root);
    }
    if (load->faults.count > 0) {
        config_errors_finish(&load->faults, path, text, length, errors);
    }
}

/* A function of its own: nothing that changes behind setjmp() is in its frame (C17 7.13.2.1). */
static bool read_guarded(struct load *load, const char *path, struct config_errors *errors)
{
    load->lasting.short_of_memory = load->scratch.short_of_memory = &load->short_of_memory;
    if (setjmp(load->short_of_memory) != 0) {
        return false;
    }
    read_all(load, path, errors);
    return true;
}

struct config *config_load(const char *path, struct config_errors *errors)
{
    *errors = (struct config_errors){ 0 };
    struct load load = { .faults.arena = &load.scratch };
    if (!read_guarded(&load, path, errors)) {
        config_errors_whole(path, "there is not enough memory to read it", errors);
    }
    arena_release(&load.scratch);
    if (errors->count > 0) {
        arena_release(&load.lasting);
        return NULL;
    }
    errors->file = strdup(path);
    ((struct whole *)load.config)->memory.pieces = load.lasting.pieces;
    return load.config;
}

void config_free(struct config **config)
{
    if (*config == NULL) {
        return;
    }
    struct arena memory = ((struct whole *)*config)->memory; /* it lies in what it releases */
    arena_release(&memory);
    *config = NULL;
}
