/* config_upstreams: the origins behind the gateway. */
#include "sections.h"
#include "values.h"

#include <string.h>

#define MS  1000000ull
#define DAY (24 * 3600 * 1000 * MS)

static const char expected_url[] = "a URL such as \"http://10.0.0.1:9000\"";

/* ---- servers ----------------------------------------------------------------------------------------------------- */

/* NULL, or what is wrong with it. */
static const char *read_socket(struct load *load, const char *path, struct config_server *server)
{
    size_t length = strlen(path);
    if (path[0] != '/' || path[1] == '\0' || length > CONFIG_SOCKET_MAX) {
        return "a socket is unix: and its absolute path, at most 107 bytes, such as \"unix:/run/api.sock\"";
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)path[i] <= ' ' || path[i] == 0x7f) { /* it appears in log lines */
            return "a socket's path has no spaces or control characters";
        }
    }
    server->socket = arena_copy(&load->lasting, path, length);
    return NULL;
}

static void read_url(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_server *server = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_STRING, expected_url)) {
        return;
    }
    static const char scheme[] = "unix:";
    bool socket = strncmp(value->text, scheme, sizeof scheme - 1) == 0;
    const char *problem =
        socket ? read_socket(load, value->text + sizeof scheme - 1, server) : rule_url(value->text, &server->url);
    if (problem == NULL && server->url.tls) {
        problem = "https to an upstream is not supported by this version of weir; write http";
    }
    if (problem != NULL) {
        value_refuse(load, value, problem);
        return;
    }
    server->text = value_keep(load, value);
}

static const struct member server_list[] = {
    { .name = "url", .read = read_url },
    { .name = "weight",
      .read = value_unsigned,
      .offset = offsetof(struct config_server, weight),
      .least = 1,
      .most = 1000 },
};
static const struct members server_members = MEMBERS("server", server_list);

static void read_server(struct load *load, const struct document_value *value, struct config_server *server)
{
    server->weight = 1;
    if (value->kind == DOCUMENT_STRING) {
        read_url(load, NULL, value, server);
        return;
    }
    if (members_read(load, &server_members, value, expected_url, server) && document_member(value, "url") == NULL) {
        config_errors_at(&load->faults, value, "\"url\" is missing: %s", expected_url);
    }
}

static bool is_same(const struct config_server *a, const struct config_server *b)
{
    if (a->socket != NULL || b->socket != NULL) {
        return a->socket != NULL && b->socket != NULL && strcmp(a->socket, b->socket) == 0;
    }
    return a->url.port == b->url.port && strcmp(a->url.host, b->url.host) == 0;
}

static void refuse_twins(struct load *load, const struct document_value *value, const struct config_upstream *upstream,
                         size_t last)
{
    for (size_t i = 0; i < last && upstream->servers[last].text != NULL; i++) {
        if (is_same(&upstream->servers[i], &upstream->servers[last])) {
            config_errors_at(&load->faults, value, "this is the same server as servers[%zu]; remove one", i);
            return;
        }
    }
}

static void read_servers(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_upstream *upstream = into;
    (void)member;
    if (!value_is_list(load, value, "a list of URLs", 1, CONFIG_SERVERS_MAX)) {
        return;
    }
    upstream->servers = arena_take(&load->lasting, value->count, sizeof *upstream->servers);
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        read_server(load, item, &upstream->servers[item->index]);
        refuse_twins(load, item, upstream, item->index);
        upstream->server_count++;
    }
}

/* ---- upstreams --------------------------------------------------------------------------------------------------- */

static const struct member timeouts_list[] = {
    { .name = "connect",
      .read = value_duration,
      .offset = offsetof(struct config_upstream, connect_ns),
      .least = MS,
      .most = DAY },
    { .name = "response",
      .read = value_duration,
      .offset = offsetof(struct config_upstream, response_ns),
      .least = MS,
      .most = DAY },
    { .name = "idle",
      .read = value_duration,
      .offset = offsetof(struct config_upstream, idle_ns),
      .least = MS,
      .most = DAY },
};
static const struct members timeouts_members = MEMBERS("upstream_timeouts", timeouts_list);

static void read_path(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_health *health = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_STRING, "a path such as \"/healthz\"")) {
        return;
    }
    bool visible = value->text[0] == '/' && value->length <= CONFIG_HEALTH_PATH_MAX;
    for (size_t i = 0; visible && i < value->length; i++) {
        visible = value->text[i] > ' ' && value->text[i] < 0x7f && value->text[i] != '#';
    }
    if (!visible) {
        value_refuse(load, value,
                     "a path begins with / and has no spaces, control characters, # or more than 1024 bytes");
        return;
    }
    health->path = value_keep(load, value);
}

static const struct member health_list[] = {
    { .name = "path", .read = read_path },
    { .name = "interval",
      .read = value_duration,
      .offset = offsetof(struct config_health, interval_ns),
      .least = 100 * MS,
      .most = DAY },
    { .name = "fall", .read = value_unsigned, .offset = offsetof(struct config_health, fall), .least = 1, .most = 100 },
    { .name = "rise", .read = value_unsigned, .offset = offsetof(struct config_health, rise), .least = 1, .most = 100 },
};
static const struct members health_members = MEMBERS("health", health_list);

static void read_health(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_upstream *upstream = into;
    upstream->health = (struct config_health){
        .path = arena_copy(&load->lasting, "/", 1), .interval_ns = 5000 * MS, .fall = 3, .rise = 2
    };
    (void)members_read(load, member->members, value, "an object", &upstream->health);
}

static const char *const ways[] = { "least_requests", "round_robin", "hash", NULL }; /* enum config_balance */

static const struct member upstream_list[] = {
    { .name = "servers", .read = read_servers, .members = &server_members },
    { .name = "balance", .read = value_choice, .offset = offsetof(struct config_upstream, balance), .words = ways },
    { .name = "retries",
      .read = value_unsigned,
      .offset = offsetof(struct config_upstream, retries),
      .least = 0,
      .most = CONFIG_SERVERS_MAX - 1 },
    { .name = "connections",
      .read = value_count,
      .offset = offsetof(struct config_upstream, connections),
      .least = 1,
      .most = 1000000 },
    { .name = "health", .read = read_health, .members = &health_members },
    { .name = "timeouts", .read = value_object, .members = &timeouts_members }, /* its fields are the upstream's own */
};
const struct members config_upstream_members = MEMBERS("upstream", upstream_list);

static void read_upstream(struct load *load, const struct document_value *value, struct config_upstream *upstream)
{
    *upstream = (struct config_upstream){ .name = arena_copy(&load->lasting, value->name, strlen(value->name)),
                                          .retries = 1,
                                          .connections = 256,
                                          .connect_ns = 2000 * MS,
                                          .response_ns = 30000 * MS,
                                          .idle_ns = 60000 * MS };
    if (value->kind == DOCUMENT_STRING) {
        upstream->servers = arena_take(&load->lasting, 1, sizeof *upstream->servers);
        upstream->server_count = 1;
        read_server(load, value, upstream->servers);
        return;
    }
    bool clean = members_read(load, &config_upstream_members, value, "a URL, or an object with \"servers\"", upstream);
    if (clean && document_member(value, "servers") == NULL) {
        config_errors_at(&load->faults, value, "\"servers\" is missing: the list of URLs requests are sent to");
    }
}

void config_upstreams_read(struct load *load, const struct member *member, const struct document_value *value,
                           void *into)
{
    struct config *config = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_OBJECT, "an object of upstreams by name")) {
        return;
    }
    members_name(load, value, "an upstream", &load->upstream_names);
    config->upstreams = arena_take(&load->lasting, value->count, sizeof *config->upstreams);
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        read_upstream(load, item, &config->upstreams[config->upstream_count++]);
    }
}

/* ---- loops ------------------------------------------------------------------------------------------------------- */

/* Would a connection to the server reach the listener? Only what the file itself shows: names and other addresses of
 * this machine are not looked up (a loop through those is found by the Via field, RFC 9110 §7.6). */
static bool reaches(const struct rule_url *url, const struct rule_address *listen)
{
    struct rule_ip ip;
    if (url->port != listen->port || !rule_ip_parse(url->host, strlen(url->host), &ip)) {
        return false;
    }
    bool here = rule_ip_is_loopback(&ip) || rule_ip_is_any(&ip); /* who connects to "any" reaches loopback */
    bool same_family = rule_ip_is_v4(&ip) == rule_ip_is_v4(&listen->ip);
    bool listens_here = rule_ip_is_any(&listen->ip) || (rule_ip_is_any(&ip) && rule_ip_is_loopback(&listen->ip));
    return memcmp(&ip, &listen->ip, sizeof ip) == 0 || (here && same_family && listens_here);
}

static void check_server(struct load *load, const struct config_server *server, const struct document_value *value)
{
    const struct config *config = load->config;
    for (size_t i = 0; i < config->listen_count && server->text != NULL; i++) {
        if (config->listens[i].text != NULL && reaches(&server->url, &config->listens[i].address)) {
            config_errors_at(&load->faults, value, "weir itself listens on %s: requests would go round for ever",
                             config_errors_quote(&load->scratch, config->listens[i].text));
            return;
        }
    }
}

void config_upstreams_check(struct load *load, const struct document_value *root)
{
    const struct config *config = load->config;
    const struct document_value *upstreams = document_member(root, "upstreams");
    const struct document_value *value = upstreams == NULL ? NULL : upstreams->first;
    for (size_t i = 0; i < config->upstream_count && value != NULL; i++, value = value->next) {
        const struct config_upstream *upstream = &config->upstreams[i];
        const struct document_value *servers = document_member(value, "servers");
        const struct document_value *server = value->kind == DOCUMENT_STRING ? value
                                              : servers == NULL              ? NULL
                                                                             : servers->first;
        for (size_t s = 0; s < upstream->server_count && server != NULL; s++, server = server->next) {
            check_server(load, &upstream->servers[s], server);
        }
    }
}
