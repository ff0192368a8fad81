/* ratelimit: limits, spelled for header fields and for people. See ratelimit.h for the mapping. */
#include "ratelimit.h"

#define SECOND_NS UINT64_C(1000000000)

uint64_t ratelimit_ceil_seconds(uint64_t nanoseconds)
{
    return nanoseconds / SECOND_NS + (nanoseconds % SECOND_NS != 0);
}

/* Whole seconds in which `rate` makes `tokens`: rounded up, at least 1. */
static uint64_t seconds_for(uint64_t tokens, struct rule_rate rate)
{
    /* 128 bits: tokens and period may each be near 2^60. */
    __extension__ unsigned __int128 nanoseconds = (unsigned __int128)tokens * rate.period_ns;
    __extension__ unsigned __int128 per_second = (unsigned __int128)rate.tokens * SECOND_NS;
    __extension__ unsigned __int128 seconds = (nanoseconds + per_second - 1) / per_second;
    if (seconds > UINT64_MAX) {
        return UINT64_MAX;
    }
    return seconds > 0 ? (uint64_t)seconds : 1;
}

/* An integer of RFC 9651 §3.3.1 has at most 15 digits. */
static void put_integer(struct text *text, uint64_t number)
{
    const uint64_t most = UINT64_C(999999999999999);
    text_number(text, number < most ? number : most);
}

static void put_parameter(struct text *text, const char *key, uint64_t number)
{
    text_string(text, key);
    put_integer(text, number);
}

void ratelimit_name(struct text *text, const struct config_limit *limit)
{
    text_literal(text, "\"");
    text_string(text, limit->name);
    text_literal(text, "\"");
}

void ratelimit_allowance(struct text *text, const struct config_limit *limit)
{
    static const struct {
        uint64_t seconds;
        const char *name;
    } units[] = { { 1, "second" }, { 60, "minute" }, { 3600, "hour" }, { 86400, "day" } };

    if (limit->kind == CONFIG_LIMIT_CONCURRENCY) {
        text_number(text, limit->concurrency);
        text_string(text, limit->concurrency == 1 ? " request at once" : " requests at once");
        return;
    }
    text_number(text, limit->rate.tokens);
    text_literal(text, " per ");
    uint64_t period_ns = limit->rate.period_ns;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (period_ns == units[i].seconds * SECOND_NS) {
            text_string(text, units[i].name);
            return;
        }
    }
    bool whole = period_ns % SECOND_NS == 0;
    text_number(text, period_ns / (whole ? SECOND_NS : 1000000)); /* a rate's period is whole milliseconds */
    text_string(text, whole ? " seconds" : " ms");
}

static void put_policy(struct text *text, const struct config_limit *limit)
{
    ratelimit_name(text, limit);
    switch (limit->kind) {
    case CONFIG_LIMIT_RATE:
        /* The window in which a full bucket refills: the rate is q per w, whatever the operator's period was. */
        put_parameter(text, ";q=", limit->burst);
        put_parameter(text, ";w=", seconds_for(limit->burst, limit->rate));
        break;
    case CONFIG_LIMIT_CONCURRENCY:
        put_parameter(text, ";q=", limit->concurrency);
        text_literal(text, ";qu=\"concurrent-requests\"");
        break;
    }
}

void ratelimit_policies(struct text *text, const struct config *config, const struct config_route *route)
{
    for (size_t i = 0; i < route->limit_count; i++) {
        if (i > 0) {
            text_literal(text, ", ");
        }
        put_policy(text, &config->limits[route->limits[i]]);
    }
}

static void put_left(struct text *text, const struct config_limit *limit, const struct reply_limit *said)
{
    ratelimit_name(text, limit);
    if (!said->answer.allowed) {
        text_literal(text, ";r=0");
        if (said->retry_after_s > 0) {
            put_parameter(text, ";t=", said->retry_after_s);
        }
        return;
    }
    put_parameter(text, ";r=", said->answer.remaining);
    if (limit->kind == CONFIG_LIMIT_RATE) {
        put_parameter(text, ";t=", seconds_for(said->answer.remaining, limit->rate));
    }
}

bool ratelimit_draft_11(const struct config *config)
{
    return config->headers == CONFIG_HEADERS_DRAFT_11 || config->headers == CONFIG_HEADERS_BOTH;
}

static bool wants_x_ratelimit(const struct config *config)
{
    return config->headers == CONFIG_HEADERS_X_RATELIMIT || config->headers == CONFIG_HEADERS_BOTH;
}

/* The de-facto fields. Reset is in seconds from now, and only where something refills by itself. */
static size_t put_x_ratelimit(struct text *text, const struct config *config, const struct reply_limit *said,
                              struct field *fields)
{
    const struct config_limit *limit = &config->limits[said->limit];
    size_t count = 0;
    const char *from = text->at;
    text_number(text, said->answer.capacity);
    fields[count++] = (struct field){ SLICE("X-RateLimit-Limit"), text_since(text, from) };
    from = text->at;
    text_number(text, said->answer.allowed ? said->answer.remaining : 0);
    fields[count++] = (struct field){ SLICE("X-RateLimit-Remaining"), text_since(text, from) };
    if (limit->kind == CONFIG_LIMIT_RATE) {
        from = text->at;
        text_number(text, ratelimit_ceil_seconds(said->answer.reset_after_ns));
        fields[count++] = (struct field){ SLICE("X-RateLimit-Reset"), text_since(text, from) };
    }
    return count;
}

size_t ratelimit_fields(struct text *text, const struct config *config, struct slice policies,
                        const struct reply_limit *said, struct field *fields)
{
    size_t count = 0;
    if (ratelimit_draft_11(config) && policies.length > 0) {
        fields[count++] = (struct field){ SLICE("RateLimit-Policy"), policies };
    }
    if (said == NULL) {
        return count;
    }
    if (ratelimit_draft_11(config)) {
        const char *from = text->at;
        put_left(text, &config->limits[said->limit], said);
        fields[count++] = (struct field){ SLICE("RateLimit"), text_since(text, from) };
    }
    if (wants_x_ratelimit(config)) {
        count += put_x_ratelimit(text, config, said, fields + count);
    }
    return count;
}
