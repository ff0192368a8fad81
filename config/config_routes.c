/* config_routes: which requests go where, and under which limits. */
#include "config_patterns.h"
#include "sections.h"
#include "values.h"

#include <inttypes.h>
#include <string.h>

#define METHODS_MAX      32
#define METHOD_MAX_BYTES 32
#define LIMITS_MAX       16
#define BODY_MAX_BYTES   (1 << 20)
#define COST_MAX         1000000000
#define HOUR             (3600 * 1000000000ull)

/* ---- what is matched --------------------------------------------------------------------------------------------- */

static void read_path(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_route *route = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_STRING, "a path such as \"/v1/\"")) {
        return;
    }
    const char *problem = config_patterns_path(value->text);
    if (problem != NULL) {
        value_refuse(load, value, problem);
        return;
    }
    route->path = value_keep(load, value);
}

static void read_host(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_route *route = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_STRING, "a host such as \"api.example.com\"")) {
        return;
    }
    const char *problem = config_patterns_host(value->text);
    if (problem != NULL) {
        value_refuse(load, value, problem);
        return;
    }
    route->host = value_keep_lower(load, value->text);
}

static const char *check_method(const struct document_value *value)
{
    if (!rule_is_token(value->text, value->length) || value->length > METHOD_MAX_BYTES) {
        return "a method is a word such as GET, at most 32 bytes long (RFC 9110, token)";
    }
    if (strpbrk(value->text, "abcdefghijklmnopqrstuvwxyz") != NULL) {
        return "methods are case-sensitive and upper case: write \"GET\", not \"get\"";
    }
    if (strcmp(value->text, "CONNECT") == 0 || strcmp(value->text, "TRACE") == 0) {
        return "weir answers CONNECT and TRACE with 405 itself; no route sees them";
    }
    return NULL;
}

static void read_methods(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_route *route = into;
    (void)member;
    if (!value_is_list(load, value, "a list of methods (leave it out for any)", 1, METHODS_MAX)) {
        return;
    }
    route->methods = arena_take(&load->lasting, value->count, sizeof *route->methods);
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        if (!value_is(load, item, DOCUMENT_STRING, "a method such as \"GET\"")) {
            continue;
        }
        const char *problem = check_method(item);
        for (size_t i = 0; i < route->method_count && problem == NULL; i++) {
            if (strcmp(route->methods[i], item->text) == 0) {
                problem = "this method is in the list already";
            }
        }
        if (problem != NULL) {
            value_refuse(load, item, problem);
            continue;
        }
        route->methods[route->method_count++] = value_keep(load, item);
    }
}

/* ---- where it goes ----------------------------------------------------------------------------------------------- */

static void refuse_unknown_name(struct load *load, const struct document_value *value, const char *kind,
                                const struct names *names)
{
    const char *hint = config_errors_wanted(&load->faults) ? names_hint(&load->scratch, names, value->text) : "";
    config_errors_at(&load->faults, value, "there is no %s %s%s", kind,
                     config_errors_quote(&load->scratch, value->text), hint);
}

static void read_upstream(struct load *load, const struct member *member, const struct document_value *value,
                          void *into)
{
    struct config_route *route = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_STRING, "the name of an upstream")) {
        return;
    }
    size_t index = names_find(&load->upstream_names, value->text);
    if (index == NAMES_NONE) {
        refuse_unknown_name(load, value, "upstream", &load->upstream_names);
        return;
    }
    route->upstream = (int)index;
}

static void read_body(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_respond *respond = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_STRING, "a string")) {
        return;
    }
    if (value->length > BODY_MAX_BYTES) {
        config_errors_at(&load->faults, value, "a body is at most 1MiB; serve larger ones from an upstream");
        return;
    }
    respond->body = value_keep(load, value);
    respond->body_length = value->length;
}

static void read_content_type(struct load *load, const struct member *member, const struct document_value *value,
                              void *into)
{
    struct config_respond *respond = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_STRING, "a media type such as \"application/json\"")) {
        return;
    }
    /* type "/" subtype, then parameters: what may stand in a field value without quoting doubts. */
    size_t type = strcspn(value->text, "/");
    size_t subtype = value->text[type] == '\0' ? 0 : strcspn(value->text + type + 1, "; ");
    bool visible = true;
    for (const char *c = value->text; *c != '\0'; c++) {
        visible = visible && *c >= ' ' && *c < 0x7f;
    }
    if (!visible || !rule_is_token(value->text, type) || !rule_is_token(value->text + type + 1, subtype) ||
        value->length > 256) {
        value_refuse(load, value, "a media type is written like application/json or text/plain; charset=utf-8");
        return;
    }
    respond->content_type = value_keep(load, value);
}

static const struct member respond_list[] = {
    { .name = "status",
      .read = value_unsigned,
      .offset = offsetof(struct config_respond, status),
      .least = 200,
      .most = 599 },
    { .name = "body", .read = read_body },
    { .name = "content_type", .read = read_content_type },
    { .name = "delay",
      .read = value_duration,
      .offset = offsetof(struct config_respond, delay_ns),
      .least = 0,
      .most = HOUR },
};
static const struct members respond_members = MEMBERS("respond", respond_list);

static void read_respond(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_route *route = into;
    (void)member;
    struct config_respond *respond = arena_take(&load->lasting, 1, sizeof *respond);
    *respond = (struct config_respond){ .status = 200,
                                        .body = arena_copy(&load->lasting, "", 0),
                                        .content_type = arena_print(&load->lasting, "text/plain; charset=utf-8") };
    (void)members_read(load, &respond_members, value, "an object such as { \"status\": 200 }", respond);
    if ((respond->status == 204 || respond->status == 304) && respond->body_length > 0) {
        config_errors_at(&load->faults, document_member(value, "body"),
                         "a response with status %u has no body (RFC 9110 §6.4.1)", respond->status);
    }
    route->respond = respond;
}

/* ---- under which limits ------------------------------------------------------------------------------------------ */

static void add_limit(struct load *load, const struct document_value *value, struct config_route *route)
{
    if (!value_is(load, value, DOCUMENT_STRING, "the name of a limit")) {
        return;
    }
    size_t index = names_find(&load->limit_names, value->text);
    if (index == NAMES_NONE) {
        refuse_unknown_name(load, value, "limit", &load->limit_names);
        return;
    }
    for (size_t i = 0; i < route->limit_count; i++) {
        if (route->limits[i] == index) {
            value_refuse(load, value, "this limit is in the list already");
            return;
        }
    }
    route->limits[route->limit_count++] = index;
}

static void read_limits(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_route *route = into;
    (void)member;
    if (!value_is_list(load, value, "a list of names of limits", 0, LIMITS_MAX)) {
        return;
    }
    route->limits = arena_take(&load->lasting, value->count, sizeof *route->limits);
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        add_limit(load, item, route);
    }
}

/* Comes behind "limits" in the table: a constant cost is held against their bursts. */
static void read_cost(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_route *route = into;
    (void)member;
    if (value->kind == DOCUMENT_STRING) {
        const char *name = strncmp(value->text, "header:", 7) == 0 ? value->text + 7 : "";
        if (!rule_is_token(name, strlen(name))) {
            value_refuse(load, value, "a cost is a whole number, or header:NAME for a request header that holds one");
            return;
        }
        route->cost.header = value_keep_lower(load, name);
        return;
    }
    if (!value_integer(load, value, 0, COST_MAX, &route->cost.constant)) {
        return;
    }
    for (size_t i = 0; i < route->limit_count; i++) {
        const struct config_limit *limit = &load->config->limits[route->limits[i]];
        if (limit->kind == CONFIG_LIMIT_RATE && limit->burst > 0 && route->cost.constant > limit->burst) {
            config_errors_at(&load->faults, value,
                             "a cost of %" PRIu64 " is above the burst of limit \"%s\", %" PRIu64
                             ": such a request could never pass",
                             route->cost.constant, limit->name, limit->burst);
        }
    }
}

static void read_exempt(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_route *route = into;
    (void)member;
    config_clients_networks(load, value, &route->exempt, &route->exempt_count);
}

/* ---- routes ------------------------------------------------------------------------------------------------------ */

static const struct member route_list[] = {
    { .name = "path", .read = read_path },
    { .name = "host", .read = read_host },
    { .name = "methods", .read = read_methods },
    { .name = "upstream", .read = read_upstream },
    { .name = "respond", .read = read_respond, .members = &respond_members },
    { .name = "limits", .read = read_limits },
    { .name = "cost", .read = read_cost },
    { .name = "exempt", .read = read_exempt },
};
const struct members config_route_members = MEMBERS("route", route_list);

/* "GET,POST api.example.com/v1/search", all parts as written. */
static char *name_route(struct load *load, const struct document_value *value, const struct config_route *route)
{
    const char *methods = "";
    for (size_t i = 0; i < route->method_count; i++) {
        methods = arena_print(&load->scratch, "%s%s%s", methods, i == 0 ? "" : ",", route->methods[i]);
    }
    const struct document_value *host = route->host == NULL ? NULL : document_member(value, "host");
    return arena_print(&load->lasting, "%s%s%s%s", methods, methods[0] == '\0' ? "" : " ",
                       host == NULL ? "" : host->text, route->path);
}

static void read_route(struct load *load, const struct document_value *value, struct config_route *route)
{
    *route = (struct config_route){ .upstream = -1, .cost.constant = 1 };
    bool clean = members_read(load, &config_route_members, value,
                              "an object such as { \"path\": \"/\", \"upstream\": … }", route);
    if (value->kind != DOCUMENT_OBJECT) {
        return;
    }
    const struct document_value *upstream = document_member(value, "upstream");
    const struct document_value *respond = document_member(value, "respond");
    if (upstream != NULL && respond != NULL) {
        config_errors_at_name(&load->faults, respond, "a route has either \"upstream\" or \"respond\"; remove one");
    } else if (upstream == NULL && respond == NULL && clean) {
        config_errors_at(&load->faults, value,
                         "a route needs \"upstream\" (where requests go) or \"respond\" (the answer itself)");
    }
    if (document_member(value, "path") == NULL && clean) {
        config_errors_at(&load->faults, value, "\"path\" is missing; \"/\" matches every path");
    }
    if (route->path != NULL) {
        route->name = name_route(load, value, route);
    }
}

/* One entry for each method of each route: routes that share one answer the same requests. */
static size_t count_entries(const struct config *config)
{
    size_t entries = 0;
    for (size_t i = 0; i < config->route_count; i++) {
        entries += config->routes[i].method_count == 0 ? 1 : config->routes[i].method_count;
    }
    return entries;
}

static void add_entries(struct load *load, const struct config_route *route, size_t index, struct names *entries)
{
    const char *host = route->host == NULL ? "" : route->host;
    const char *shape = config_patterns_shape(&load->scratch, route->path);
    size_t i = 0;
    do {
        const char *method = i < route->method_count ? route->methods[i] : "";
        const char *key = arena_print(&load->scratch, "%s %s%s", method, host, shape);
        entries->sorted[entries->count++] = (struct name){ key, index };
    } while (++i < route->method_count);
}

static void refuse_twins(struct load *load, const struct document_value *const *values)
{
    const struct config *config = load->config;
    struct names entries = { arena_take(&load->scratch, count_entries(config), sizeof *entries.sorted), 0 };
    for (size_t i = 0; i < config->route_count; i++) {
        if (config->routes[i].path != NULL) {
            add_entries(load, &config->routes[i], i, &entries);
        }
    }
    names_sort(&entries);
    /* A route may be the twin of several others, method by method: one error is enough. */
    const struct document_value *said = NULL;
    for (size_t i = 1; i < entries.count; i++) {
        const struct name *first = &entries.sorted[i - 1], *second = &entries.sorted[i];
        const struct document_value *value = values[second->index];
        if (strcmp(first->text, second->text) == 0 && value != said) {
            config_errors_at(&load->faults, value,
                             "%s answers the same requests as routes[%zu]; remove one, or give them different methods",
                             config_errors_quote(&load->scratch, config->routes[second->index].name), first->index);
            said = value;
        }
    }
}

void config_routes_read(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config *config = into;
    (void)member;
    if (!value_is_list(load, value, "a list of routes", 1, DOCUMENT_VALUES_MAX)) {
        return;
    }
    const struct document_value **values = arena_take(&load->scratch, value->count, sizeof *values);
    config->routes = arena_take(&load->lasting, value->count, sizeof *config->routes);
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        values[item->index] = item;
        read_route(load, item, &config->routes[config->route_count++]);
    }
    refuse_twins(load, values);
}
