/* config_limits: what is limited, per whom, and how much memory each limit may use. */
#include "limiter.h"
#include "sections.h"
#include "values.h"

#include <inttypes.h>
#include <string.h>

#define SOURCES_MAX    8
#define NAME_MAX_BYTES 256 /* of a cookie or query parameter */
#define COUNT_MAX                                                                                                      \
    1000000000000 /* burst, concurrency: far from overflow; limiter_rule_error() has the real bound of a burst */
#define NS_PER_S 1000000000ull

/* ---- key --------------------------------------------------------------------------------------------------------- */

static const struct word {
    const char *text; /* ends in ':' when a name follows */
    enum config_source_kind kind;
} words[] = {
    { "client_ip", CONFIG_SOURCE_CLIENT_IP }, { "header:", CONFIG_SOURCE_HEADER }, { "cookie:", CONFIG_SOURCE_COOKIE },
    { "query:", CONFIG_SOURCE_QUERY },        { "path", CONFIG_SOURCE_PATH },      { "host", CONFIG_SOURCE_HOST },
    { "method", CONFIG_SOURCE_METHOD },       { "route", CONFIG_SOURCE_ROUTE },    { "global", CONFIG_SOURCE_GLOBAL },
};

/* `text` is what follows "client_ip": nothing, or "/24". */
static const char *read_client_ip(const char *text, const struct config_client_ip *defaults,
                                  struct config_source *source)
{
    source->ipv4_prefix = defaults->ipv4_prefix;
    source->ipv6_prefix = defaults->ipv6_prefix;
    if (text[0] == '\0') {
        return NULL;
    }
    const char *digits = text + 1;
    size_t length = strspn(digits, "0123456789");
    unsigned prefix = length == 1 || length == 2 ? (unsigned)(digits[0] - '0') : 33;
    if (length == 2) {
        prefix = digits[0] == '0' ? 33 : 10 * prefix + (unsigned)(digits[1] - '0');
    }
    if (digits[length] != '\0' || prefix > 32) {
        return "the prefix behind client_ip is that of IPv4, 0 to 32 (for IPv6 there is client_ip.ipv6_prefix)";
    }
    source->ipv4_prefix = prefix;
    return NULL;
}

static const char *read_named(struct load *load, const char *name, struct config_source *source)
{
    size_t length = strlen(name);
    if (source->kind == CONFIG_SOURCE_QUERY ? length == 0 : !rule_is_token(name, length)) {
        return source->kind == CONFIG_SOURCE_QUERY
                   ? "the name of the parameter is missing behind query:"
                   : "what follows the colon is no name of a header or cookie (RFC 9110, token)";
    }
    if (length > NAME_MAX_BYTES) {
        return "the name behind the colon is longer than 256 bytes";
    }
    source->name =
        source->kind == CONFIG_SOURCE_HEADER ? value_keep_lower(load, name) : arena_copy(&load->lasting, name, length);
    return NULL;
}

/* Fills `source`, or returns what is wrong with `text`. */
static const char *read_source(struct load *load, const char *text, struct config_source *source)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i].text);
        if (strncmp(text, words[i].text, length) != 0) {
            continue;
        }
        const char *rest = text + length;
        source->kind = words[i].kind;
        if (words[i].text[length - 1] == ':') {
            return read_named(load, rest, source);
        }
        if (source->kind == CONFIG_SOURCE_CLIENT_IP && (*rest == '\0' || *rest == '/')) {
            return read_client_ip(rest, &load->config->client_ip, source);
        }
        if (*rest == '\0') {
            return NULL;
        }
    }
    return "a key is client_ip, client_ip/24, header:NAME, cookie:NAME, query:NAME, path, host, method, route or "
           "global, or a list of these";
}

static bool same_source(const struct config_source *a, const struct config_source *b)
{
    return a->kind == b->kind && (a->name == NULL || strcmp(a->name, b->name) == 0);
}

static void add_source(struct load *load, const struct document_value *value, struct config_limit *limit)
{
    if (!value_is(load, value, DOCUMENT_STRING, "a key source such as \"client_ip\" or \"header:x-api-key\"")) {
        return;
    }
    struct config_source *source = &limit->sources[limit->source_count];
    const char *problem = read_source(load, value->text, source);
    for (size_t i = 0; i < limit->source_count && problem == NULL; i++) {
        if (same_source(&limit->sources[i], source)) {
            problem = "this source is in the key already";
        } else if (source->kind == CONFIG_SOURCE_GLOBAL || limit->sources[i].kind == CONFIG_SOURCE_GLOBAL) {
            problem = "global is one key for all requests: it stands alone";
        }
    }
    if (problem != NULL) {
        value_refuse(load, value, problem);
        return;
    }
    limit->source_count++;
}

static void read_key(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config_limit *limit = into;
    (void)member;
    if (value->kind == DOCUMENT_LIST && !value_is_list(load, value, "a list of key sources", 1, SOURCES_MAX)) {
        return;
    }
    limit->source_count = 0;
    limit->sources =
        arena_take(&load->lasting, value->kind == DOCUMENT_LIST ? value->count : 1, sizeof *limit->sources);
    if (value->kind != DOCUMENT_LIST) {
        add_source(load, value, limit);
        return;
    }
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        add_source(load, item, limit);
    }
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static const char *const missing_words[] = {
    [CONFIG_MISSING_SHARED] = "shared", [CONFIG_MISSING_SKIP] = "skip", [CONFIG_MISSING_DENY] = "deny", NULL
};

static const struct member limit_list[] = {
    { .name = "key", .read = read_key },
    { .name = "missing",
      .read = value_choice,
      .offset = offsetof(struct config_limit, missing),
      .words = missing_words },
    { .name = "rate", .read = value_rate, .offset = offsetof(struct config_limit, rate) },
    { .name = "burst",
      .read = value_count,
      .offset = offsetof(struct config_limit, burst),
      .least = 1,
      .most = COUNT_MAX },
    { .name = "concurrency",
      .read = value_count,
      .offset = offsetof(struct config_limit, concurrency),
      .least = 1,
      .most = COUNT_MAX },
};
const struct members config_limit_members = MEMBERS("limit", limit_list);

/* What one second brings, at least 1. */
static uint64_t default_burst(const struct rule_rate *rate)
{
    __extension__ typedef unsigned __int128 wide; /* tokens ≤ period_ns ≤ 3.2 · 10^17: the product has 89 bits */
    uint64_t burst = (uint64_t)((wide)rate->tokens * NS_PER_S / rate->period_ns);
    return burst == 0 ? 1 : burst;
}

static void finish_rate(struct load *load, const struct document_value *value, struct config_limit *limit)
{
    const struct document_value *rate = document_member(value, "rate");
    if (limit->rate.period_ns == 0) {
        return; /* the rate was wrong, and that was said */
    }
    if (limit->burst == 0) {
        limit->burst = default_burst(&limit->rate);
    }
    const struct limiter_rule rule = { .name = limit->name,
                                       .kind = LIMITER_TOKEN_BUCKET,
                                       .tokens = limit->rate.tokens,
                                       .period_ns = limit->rate.period_ns,
                                       .burst = limit->burst,
                                       .keys = 8 };
    const char *problem = limiter_rule_error(&rule);
    if (problem != NULL) {
        config_errors_at(&load->faults, rate, "with a burst of %" PRIu64 ": %s", limit->burst, problem);
    }
}

static void read_limit(struct load *load, const struct document_value *value, struct config_limit *limit)
{
    static const struct config_source by_client_ip = { .kind = CONFIG_SOURCE_CLIENT_IP };
    *limit = (struct config_limit){ .name = arena_copy(&load->lasting, value->name, strlen(value->name)),
                                    .source_count = 1 };
    limit->sources = arena_take(&load->lasting, 1, sizeof *limit->sources);
    *limit->sources = by_client_ip;
    limit->sources->ipv4_prefix = load->config->client_ip.ipv4_prefix;
    limit->sources->ipv6_prefix = load->config->client_ip.ipv6_prefix;

    bool clean = members_read(load, &config_limit_members, value, "an object", limit);
    const struct document_value *rate = document_member(value, "rate");
    const struct document_value *concurrency = document_member(value, "concurrency");
    const struct document_value *burst = document_member(value, "burst");
    if (rate != NULL && concurrency != NULL) {
        config_errors_at_name(&load->faults, concurrency,
                              "a limit has either \"rate\" or \"concurrency\"; make two limits of it");
    } else if (rate == NULL && concurrency == NULL && clean) {
        config_errors_at(&load->faults, value,
                         "a limit needs \"rate\" (requests per time) or \"concurrency\" (requests at once)");
    } else if (rate == NULL && concurrency != NULL && burst != NULL) {
        config_errors_at_name(&load->faults, burst, "\"burst\" belongs to \"rate\"; a limit of concurrency has none");
    }
    limit->kind = rate != NULL ? CONFIG_LIMIT_RATE : CONFIG_LIMIT_CONCURRENCY;
    if (rate != NULL) {
        finish_rate(load, value, limit);
    }
}

void config_limits_read(struct load *load, const struct member *member, const struct document_value *value, void *into)
{
    struct config *config = into;
    (void)member;
    if (!value_is(load, value, DOCUMENT_OBJECT, "an object of limits by name")) {
        return;
    }
    members_name(load, value, "a limit", &load->limit_names);
    config->limits = arena_take(&load->lasting, value->count, sizeof *config->limits);
    for (const struct document_value *item = value->first; item != NULL; item = item->next) {
        read_limit(load, item, &config->limits[config->limit_count++]);
    }
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

#define FEW_KEYS_MAX  1024 /* cells */
#define CELLS_PER_KEY 16   /* where the number of keys is known, so many cells keep a set of eight from filling up */
#define METHODS_SEEN  16   /* nine are registered (RFC 9110 §9, RFC 5789); clients may invent more */
#define CELLS_LEAST   8    /* one set */

/* Cells for a limit whose keys can be counted, or 0. */
static size_t few_keys(const struct config *config, const struct config_limit *limit)
{
    size_t keys = 1;
    for (size_t i = 0; i < limit->source_count; i++) {
        enum config_source_kind kind = limit->sources[i].kind;
        if (kind == CONFIG_SOURCE_ROUTE) {
            keys *= config->route_count;
        } else if (kind == CONFIG_SOURCE_METHOD) {
            keys *= METHODS_SEEN;
        } else if (kind != CONFIG_SOURCE_GLOBAL) {
            return 0;
        }
    }
    return keys > FEW_KEYS_MAX / CELLS_PER_KEY ? 0 : keys == 1 ? CELLS_LEAST : keys * CELLS_PER_KEY;
}

void config_limits_divide_keys(struct config *config)
{
    uint64_t left = config->state_keys;
    size_t sharers = 0;
    for (size_t i = 0; i < config->limit_count; i++) {
        struct config_limit *limit = &config->limits[i];
        if (limit->kind == CONFIG_LIMIT_RATE) {
            limit->keys = few_keys(config, limit);
            left -= limit->keys < left ? limit->keys : left;
            sharers += limit->keys == 0;
        }
    }
    for (size_t i = 0; i < config->limit_count; i++) {
        struct config_limit *limit = &config->limits[i];
        if (limit->kind == CONFIG_LIMIT_RATE && limit->keys == 0) {
            limit->keys = left / sharers < CELLS_LEAST ? CELLS_LEAST : (size_t)(left / sharers);
        }
    }
}
