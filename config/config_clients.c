/* config_clients: the side that faces clients: where weir listens, whom it believes, how long it waits, how much it
 * holds. */
#include "config_file.h"
#include "sections.h"
#include "values.h"

#include <string.h>

#define LISTENS_MAX      64
#define CERTIFICATES_MAX 64    /* of one listener: each handshake looks through their names */
#define NETWORKS_MAX     65536 /* the address list of a large content network is a few thousand */
#define MS               1000000ull
#define HOUR             (3600 * 1000 * MS)
#define DAY              (24 * HOUR)

/* ---- listen ------------------------------------------------------------------------------------------------------ */

static void read_address(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_listen *listen = into;
    (void)member;
    (void)value_address(load, value, &listen->address, &listen->text);
}

/* The path of a file that can be read now. What is in it is judged by who knows TLS (gateway/tls.c). */
static void read_file_path(struct load *load, const struct member *member, const struct document_value *value,
                           void *into)
{
    if (!value_is(load, value, DOCUMENT_STRING, "the path of a PEM file")) {
        return;
    }
    char *path = config_file_beside(&load->lasting, load->config->path, value->text);
    const char *problem = config_file_check(&load->scratch, path);
    if (problem != NULL) {
        value_refuse(load, value, problem);
        return;
    }
    *(char **)((char *)into + member->offset) = path;
}

static const struct member tls_list[] = {
    { .name = "certificate", .read = read_file_path, .offset = offsetof(struct config_certificate, certificate) },
    { .name = "key", .read = read_file_path, .offset = offsetof(struct config_certificate, key) },
};
const struct members config_tls_members = MEMBERS("tls", tls_list);

static void read_certificate(struct load *load, const struct document_value *value, struct config_certificate *pair)
{
    if (!members_read(load, &config_tls_members, value, "an object with \"certificate\" and \"key\"", pair)) {
        return;
    }
    for (size_t i = 0; i < config_tls_members.count; i++) {
        const char *name = config_tls_members.list[i].name;
        if (document_member(value, name) == NULL) {
            config_errors_at(&load->faults, value, "\"%s\" is missing: the path of a PEM file", name);
        }
    }
}

static void read_tls(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_listen *listen = into;
    (void)member;
    if (value->kind != DOCUMENT_LIST) {
        listen->certificates = arena_take(&load->lasting, 1, sizeof *listen->certificates);
        listen->certificate_count = 1;
        read_certificate(load, value, listen->certificates);
        return;
    }
    if (!value_is_list(load, value, "a list of certificates", 1, CERTIFICATES_MAX)) {
        return;
    }
    listen->certificates = arena_take(&load->lasting, value->count, sizeof *listen->certificates);
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        read_certificate(load, item, &listen->certificates[listen->certificate_count++]);
    }
}

static const struct member listen_list[] = {
    { .name = "address", .read = read_address },
    { .name = "tls", .read = read_tls, .members = &config_tls_members },
};
const struct members config_listen_members = MEMBERS("listen", listen_list);

static void read_listen(struct load *load, const struct document_value *value, struct config_listen *listen)
{
    if (value->kind == DOCUMENT_STRING) {
        read_address(load, NULL, value, listen);
        return;
    }
    bool clean = members_read(load, &config_listen_members, value, "an address such as \"127.0.0.1:8080\"", listen);
    if (clean && document_member(value, "address") == NULL) {
        config_errors_at(&load->faults, value, "\"address\" is missing: the address to listen on");
    }
}

void config_clients_listens(struct load *load, const struct member *member, const struct document_value *value,
                            void *into)
{
    struct config *config = into;
    (void)member;
    if (value->kind != DOCUMENT_LIST) {
        config->listens = arena_take(&load->lasting, 1, sizeof *config->listens);
        config->listen_count = 1;
        read_listen(load, value, config->listens);
        return;
    }
    if (!value_is_list(load, value, "a list of addresses", 1, LISTENS_MAX)) {
        return;
    }
    config->listens = arena_take(&load->lasting, value->count, sizeof *config->listens);
    config->listen_count = 0; /* there was the default one */
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        read_listen(load, item, &config->listens[config->listen_count++]);
    }
}

/* Port 0 means "any that is free": two of those differ. */
static bool same_address(const struct rule_address *a, const struct rule_address *b)
{
    return a->port != 0 && a->port == b->port && memcmp(&a->ip, &b->ip, sizeof a->ip) == 0;
}

void config_clients_check(struct load *load, const struct document_value *root)
{
    const struct config *config = load->config;
    const struct document_value *listen = document_member(root, "listen");
    const struct document_value *item = listen == NULL ? NULL : listen->first;
    for (size_t i = 0; i < config->listen_count && item != NULL; i++, item = item->next) {
        for (size_t j = 0; j < i; j++) {
            if (same_address(&config->listens[i].address, &config->listens[j].address)) {
                config_errors_at(&load->faults, item, "this is the address of listen[%zu], too; remove one", j);
                break;
            }
        }
    }
    const struct document_value *admin = document_member(root, "admin");
    for (size_t i = 0; i < config->listen_count && config->admin.enabled; i++) {
        if (same_address(&config->listens[i].address, &config->admin.address)) {
            const struct document_value *given = admin == NULL ? NULL : document_member(admin, "listen");
            config_errors_at(&load->faults, given != NULL ? given : listen,
                             "clients and the admin API would share the address %s; give one of them another port",
                             config_errors_quote(&load->scratch, config->admin.text));
            break;
        }
    }
}

/* ---- workers, trusted proxies ------------------------------------------------------------------------------------ */

void config_clients_workers(struct load *load, const struct member *member, const struct document_value *value,
                            void *into)
{
    struct config *config = into;
    if (value->kind != DOCUMENT_STRING) {
        value_unsigned(load, member, value, into);
    } else if (strcmp(value->text, "auto") == 0) {
        config->workers = 0;
    } else {
        config_errors_at(&load->faults, value,
                         "expected \"auto\" (one worker per CPU) or a whole number from 1 to 1024, found %s",
                         config_errors_quote(&load->scratch, value->text));
    }
}

void config_clients_networks(struct load *load, const struct document_value *value, struct rule_network **networks,
                             size_t *count)
{
    if (!value_is_list(load, value, "a list of networks such as \"10.0.0.0/8\"", 0, NETWORKS_MAX)) {
        return;
    }
    *networks = arena_take(&load->lasting, value->count, sizeof **networks);
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        if (!value_is(load, item, DOCUMENT_STRING, "a network such as \"10.0.0.0/8\"")) {
            continue;
        }
        const char *problem = rule_network(item->text, &(*networks)[*count]);
        if (problem != NULL) {
            value_refuse(load, item, problem);
            continue;
        }
        (*count)++;
    }
}

void config_clients_trusted(struct load *load, const struct member *member, const struct document_value *value,
                            void *into)
{
    struct config *config = into;
    (void)member;
    config_clients_networks(load, value, &config->trusted_proxies, &config->trusted_proxy_count);
}

/* ---- plain objects ----------------------------------------------------------------------------------------------- */

static const struct member client_ip_list[] = {
    { .name = "ipv4_prefix",
      .read = value_unsigned,
      .offset = offsetof(struct config_client_ip, ipv4_prefix),
      .least = 0,
      .most = 32 },
    { .name = "ipv6_prefix",
      .read = value_unsigned,
      .offset = offsetof(struct config_client_ip, ipv6_prefix),
      .least = 0,
      .most = 128 },
    { .name = "header", .read = value_header, .offset = offsetof(struct config_client_ip, header) },
};
const struct members config_client_ip_members = MEMBERS("client_ip", client_ip_list);

static const struct member timeouts_list[] = {
    { .name = "request_head",
      .read = value_duration,
      .offset = offsetof(struct config_timeouts, request_head_ns),
      .least = MS,
      .most = HOUR },
    { .name = "request_body",
      .read = value_duration,
      .offset = offsetof(struct config_timeouts, request_body_ns),
      .least = MS,
      .most = DAY },
    { .name = "idle",
      .read = value_duration,
      .offset = offsetof(struct config_timeouts, idle_ns),
      .least = MS,
      .most = DAY },
    { .name = "shutdown",
      .read = value_duration,
      .offset = offsetof(struct config_timeouts, shutdown_ns),
      .least = 0,
      .most = DAY },
};
const struct members config_timeouts_members = MEMBERS("timeouts", timeouts_list);

static const struct member sizes_list[] = {
    { .name = "request_head",
      .read = value_size,
      .offset = offsetof(struct config_sizes, request_head),
      .least = 4 << 10,
      .most = 1 << 20 },
    { .name = "request_body",
      .read = value_size,
      .offset = offsetof(struct config_sizes, request_body),
      .least = 0,
      .most = 1ull << 50 },
    { .name = "connections",
      .read = value_count,
      .offset = offsetof(struct config_sizes, connections),
      .least = 1,
      .most = 10000000 },
    { .name = "connections_per_ip",
      .read = value_count,
      .offset = offsetof(struct config_sizes, connections_per_ip),
      .least = 0,
      .most = 10000000 },
};
const struct members config_sizes_members = MEMBERS("sizes", sizes_list);
