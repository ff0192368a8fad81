/* reply: the gateway's own answers, spelled. See reply.h.
 *
 * A reply carries its text with it: field values first, then the body, one after the other in reply->text. Every
 * piece that goes in has a bound, the bounds below add up to less than the buffer, and a CHECK stands behind the sum.
 */
#include "reply.h"

#include "ratelimit.h"
#include "text.h"

#include <assert.h>
#include <stdlib.h>

#define DETAIL_MAX  512 /* as JSON */
#define ID_JSON_MAX 256
/* What a refusal writes at most: policies, RateLimit or X-RateLimit, Retry-After, id; in the body type, title and
 * members' names (below 300), a sentence of 190 around the limit's name, the violated policies, the id again. A
 * keyless request may name more in its sentence, but violates one policy. */
static_assert(RATELIMIT_POLICIES_MAX + REPLY_LIMIT_TEXT + 20 + REPLY_ID_MAX + 300 + 190 +
                      (size_t)RATELIMIT_ROUTE_MAX * (RATELIMIT_NAME_MAX + 3) + ID_JSON_MAX <=
                  REPLY_TEXT_MAX,
              "the longest refusal fits");

/* ---- small spellings ------------------------------------------------------------------------------------------- */

static const char *const phrases[] = {
    [100] = "Continue",
    [101] = "Switching Protocols",
    [200] = "OK",
    [201] = "Created",
    [202] = "Accepted",
    [203] = "Non-Authoritative Information",
    [204] = "No Content",
    [205] = "Reset Content",
    [206] = "Partial Content",
    [300] = "Multiple Choices",
    [301] = "Moved Permanently",
    [302] = "Found",
    [303] = "See Other",
    [304] = "Not Modified",
    [307] = "Temporary Redirect",
    [308] = "Permanent Redirect",
    [400] = "Bad Request",
    [401] = "Unauthorized",
    [402] = "Payment Required",
    [403] = "Forbidden",
    [404] = "Not Found",
    [405] = "Method Not Allowed",
    [406] = "Not Acceptable",
    [407] = "Proxy Authentication Required",
    [408] = "Request Timeout",
    [409] = "Conflict",
    [410] = "Gone",
    [411] = "Length Required",
    [412] = "Precondition Failed",
    [413] = "Content Too Large",
    [414] = "URI Too Long",
    [415] = "Unsupported Media Type",
    [416] = "Range Not Satisfiable",
    [417] = "Expectation Failed",
    [421] = "Misdirected Request",
    [422] = "Unprocessable Content",
    [425] = "Too Early",
    [426] = "Upgrade Required",
    [428] = "Precondition Required",
    [429] = "Too Many Requests",
    [431] = "Request Header Fields Too Large",
    [451] = "Unavailable For Legal Reasons",
    [500] = "Internal Server Error",
    [501] = "Not Implemented",
    [502] = "Bad Gateway",
    [503] = "Service Unavailable",
    [504] = "Gateway Timeout",
    [505] = "HTTP Version Not Supported",
    [511] = "Network Authentication Required",
};

const char *reply_reason(unsigned status)
{
    bool known = status < sizeof phrases / sizeof *phrases && phrases[status] != NULL;
    return known ? phrases[status] : "";
}

uint64_t reply_seconds(uint64_t wait_ns)
{
    uint64_t seconds = ratelimit_ceil_seconds(wait_ns);
    return seconds > 0 ? seconds : 1;
}

struct reply_policies {
    size_t route_count;
    struct slice *values; /* one per route, into text */
    char *text;
};

struct reply_policies *reply_policies_create(const struct config *config)
{
    size_t policies = 0;
    for (size_t i = 0; i < config->route_count; i++) {
        policies += config->routes[i].limit_count;
    }
    struct reply_policies *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    size_t size = policies * RATELIMIT_POLICY_MAX;
    made->route_count = config->route_count;
    made->values = calloc(config->route_count + 1, sizeof *made->values); /* never 0 bytes, which may be NULL */
    made->text = malloc(size + 1);
    if (made->values == NULL || made->text == NULL) {
        reply_policies_destroy(&made);
        return NULL;
    }
    struct text text = text_over(made->text, size);
    for (size_t i = 0; i < config->route_count; i++) {
        const char *from = text.at;
        ratelimit_policies(&text, config, &config->routes[i]);
        made->values[i] = text_since(&text, from);
    }
    CHECK(!text.cut);
    return made;
}

void reply_policies_destroy(struct reply_policies **policies)
{
    if (*policies != NULL) {
        free((*policies)->values);
        free((*policies)->text);
        free(*policies);
        *policies = NULL;
    }
}

size_t reply_limit_fields(const struct reply_policies *policies, const struct config *config, size_t route,
                          const struct reply_limit *closest, struct field *fields, char text[static REPLY_LIMIT_TEXT])
{
    if (closest == NULL) {
        return 0;
    }
    CHECK(route < policies->route_count);
    struct text values = text_over(text, REPLY_LIMIT_TEXT);
    size_t count = ratelimit_fields(&values, config, policies->values[route], closest, fields);
    CHECK(!values.cut);
    return count;
}

/* ---- whole answers --------------------------------------------------------------------------------------------- */

static void add_field(struct reply *reply, struct slice name, struct slice value)
{
    CHECK(reply->field_count < REPLY_FIELDS_MAX);
    reply->fields[reply->field_count++] = (struct field){ name, value };
}

/* Statuses that say the request could not be read to its end, or should not be: what follows on the connection is no
 * request (RFC 9112 §9.6). */
static bool ends_connection(unsigned status)
{
    static const unsigned statuses[] = { 400, 405, 408, 413, 414, 417, 431, 501, 505 };
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        if (status == statuses[i]) {
            return true;
        }
    }
    return false;
}

static struct text reply_begin(struct reply *reply, unsigned status)
{
    reply->status = status;
    reply->field_count = 0;
    reply->body = (struct slice){ "", 0 };
    reply->close = ends_connection(status);
    reply->text_length = 0;
    return text_over(reply->text, sizeof reply->text);
}

static void reply_end(struct reply *reply, const struct text *text)
{
    CHECK(!text->cut);
    reply->text_length = text_length(text);
}

static void add_retry_after(struct reply *reply, struct text *text, uint64_t seconds)
{
    if (seconds > 0) {
        const char *from = text->at;
        text_number(text, seconds);
        add_field(reply, SLICE("Retry-After"), text_since(text, from));
    }
}

/* What a problem says beyond its status. */
struct problem {
    struct slice detail;
    const struct config *config;
    const struct reply_limit *violated;
    size_t violated_count;
    struct slice request_id;
};

static void put_problem(struct text *text, unsigned status, const struct problem *problem)
{
    text_literal(text, "{\"type\":\"");
    if (status == 429) {
        text_literal(text, "https://iana.org/assignments/http-problem-types#quota-exceeded");
    } else if (status == 503) {
        text_literal(text, "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
    } else {
        text_literal(text, "about:blank"); /* nothing to say beyond the status, RFC 9457 §4.2.1 */
    }
    text_literal(text, "\",\"title\":\"");
    text_string(text, reply_reason(status));
    text_literal(text, "\",\"status\":");
    text_number(text, status);
    text_literal(text, ",\"detail\":\"");
    text_json(text, problem->detail, DETAIL_MAX);
    text_literal(text, "\"");
    if (problem->violated_count > 0) {
        text_literal(text, ",\"violated-policies\":[");
        for (size_t i = 0; i < problem->violated_count; i++) {
            if (i > 0) {
                text_literal(text, ",");
            }
            ratelimit_name(text, &problem->config->limits[problem->violated[i].limit]);
        }
        text_literal(text, "]");
    }
    if (problem->request_id.length > 0) {
        text_literal(text, ",\"instance\":\"");
        text_json(text, problem->request_id, ID_JSON_MAX);
        text_literal(text, "\"");
    }
    text_literal(text, "}\n");
}

/* The fields and the body that all problems share. */
static void add_problem(struct reply *reply, struct text *text, struct problem *problem)
{
    /* It tells of one request at one moment: not for any other. For 429 RFC 6585 §4 forbids to store it, and by itself
     * a cache may keep 404, 405, 414 and 501 (RFC 9110 §15.1). */
    add_field(reply, SLICE("Cache-Control"), SLICE("no-store"));
    if (problem->request_id.length > 0) {
        if (problem->request_id.length > REPLY_ID_MAX) {
            problem->request_id.length = REPLY_ID_MAX;
        }
        const char *from = text->at;
        text_slice(text, problem->request_id);
        add_field(reply, SLICE("X-Request-Id"), text_since(text, from));
    }
    const char *from = text->at;
    put_problem(text, reply->status, problem);
    reply->body = text_since(text, from);
}

void reply_problem(struct reply *reply, unsigned status, const char *detail, struct slice request_id,
                   uint64_t retry_after_s)
{
    struct text text = reply_begin(reply, status);
    add_field(reply, SLICE("Content-Type"), SLICE("application/problem+json"));
    if (status == 405) {
        /* RFC 9110 §15.5.6 demands it. weir refuses only CONNECT and TRACE; what an origin refuses is its affair. */
        add_field(reply, SLICE("Allow"), SLICE("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    add_retry_after(reply, &text, retry_after_s);
    struct problem problem = { .detail = { detail, strlen(detail) }, .request_id = request_id };
    add_problem(reply, &text, &problem);
    reply_end(reply, &text);
}

/* A refusal by limits. `said`: what RateLimit and Retry-After tell; NULL when there is no key to tell of. */
static void refuse(struct reply *reply, unsigned status, const struct config_route *route,
                   const struct reply_limit *said, struct problem *problem)
{
    struct text text = reply_begin(reply, status);
    add_field(reply, SLICE("Content-Type"), SLICE("application/problem+json"));
    add_retry_after(reply, &text, said != NULL ? said->retry_after_s : 0);
    const char *from = text.at;
    if (ratelimit_draft_11(problem->config)) {
        ratelimit_policies(&text, problem->config, route);
    }
    reply->field_count +=
        ratelimit_fields(&text, problem->config, text_since(&text, from), said, reply->fields + reply->field_count);
    add_problem(reply, &text, problem);
    reply_end(reply, &text);
}

void reply_refused(struct reply *reply, const struct config *config, size_t route, unsigned status,
                   const struct reply_limit *denied, size_t denied_count, struct slice request_id)
{
    CHECK(denied_count > 0 && denied_count <= RATELIMIT_ROUTE_MAX);
    const struct config_limit *limit = &config->limits[denied->limit];
    char sentence[DETAIL_MAX];
    struct text detail = text_over(sentence, sizeof sentence);
    text_literal(&detail, "limit ");
    text_string(&detail, limit->name);
    text_literal(&detail, " allows ");
    ratelimit_allowance(&detail, limit);
    if (denied->retry_after_s > 0) {
        text_literal(&detail, "; try again in ");
        text_number(&detail, denied->retry_after_s);
        text_literal(&detail, " s");
    } else if (denied->answer.retry_after_ns == LIMITER_NEVER) {
        text_literal(&detail, ", and this request asks for more than it ever allows at once");
    }
    struct problem problem = { .detail = text_since(&detail, sentence),
                               .config = config,
                               .violated = denied,
                               .violated_count = denied_count,
                               .request_id = request_id };
    refuse(reply, status, &config->routes[route], denied, &problem);
}

/* As the operator wrote it: "header:x-api-key". */
static void put_source(struct text *text, const struct config_source *source)
{
    switch (source->kind) {
    case CONFIG_SOURCE_CLIENT_IP:
        text_literal(text, "client_ip");
        break;
    case CONFIG_SOURCE_HEADER:
        text_literal(text, "header:");
        break;
    case CONFIG_SOURCE_COOKIE:
        text_literal(text, "cookie:");
        break;
    case CONFIG_SOURCE_QUERY:
        text_literal(text, "query:");
        break;
    case CONFIG_SOURCE_PATH:
        text_literal(text, "path");
        break;
    case CONFIG_SOURCE_HOST:
        text_literal(text, "host");
        break;
    case CONFIG_SOURCE_METHOD:
        text_literal(text, "method");
        break;
    case CONFIG_SOURCE_ROUTE:
        text_literal(text, "route");
        break;
    case CONFIG_SOURCE_GLOBAL:
        text_literal(text, "global");
        break;
    }
    if (source->name != NULL) {
        text_string(text, source->name);
    }
}

void reply_keyless(struct reply *reply, const struct config *config, size_t route, size_t limit,
                   struct slice request_id)
{
    const struct config_limit *keyed = &config->limits[limit];
    char sentence[DETAIL_MAX];
    struct text detail = text_over(sentence, sizeof sentence);
    text_literal(&detail, "limit ");
    text_string(&detail, keyed->name);
    text_literal(&detail, " needs ");
    for (size_t i = 0; i < keyed->source_count; i++) {
        if (i > 0) {
            text_literal(&detail, " and ");
        }
        put_source(&detail, &keyed->sources[i]);
    }
    text_string(&detail, keyed->source_count == 1 ? ", which this request does not have"
                                                  : ", one of which this request does not have");
    struct reply_limit violated = { .limit = limit };
    struct problem problem = { .detail = text_since(&detail, sentence),
                               .config = config,
                               .violated = &violated,
                               .violated_count = 1,
                               .request_id = request_id };
    refuse(reply, 429, &config->routes[route], NULL, &problem);
}

void reply_respond(struct reply *reply, const struct config_respond *respond)
{
    struct text text = reply_begin(reply, respond->status);
    reply->close = false; /* whatever it says, it says it of a request that was read to its end */
    if (respond->body_length > 0) {
        add_field(reply, SLICE("Content-Type"), (struct slice){ respond->content_type, strlen(respond->content_type) });
        reply->body = (struct slice){ respond->body, respond->body_length };
    }
    reply_end(reply, &text);
}
