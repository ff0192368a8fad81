/* rule: the notations themselves. Every parser walks its text once, left to right, and decides on bytes alone: no
 * locale, no look-back. Bounds are checked before a multiplication, never after. */
#include "rule.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S  (1000 * NS_PER_MS)
#define NS_PER_M  (60 * NS_PER_S)
#define NS_PER_H  (60 * NS_PER_M)
#define NS_PER_D  (24 * NS_PER_H)

#define DURATION_MAX  (3650 * NS_PER_D) /* ten years: 3.2 · 10^17 ns, far below 2^63 */
#define SIZE_MAX_2_50 (1ull << 50)

static const uint8_t v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alphanumeric(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Decimal digits without leading zeros, at most `most`. Moves *at behind them; false leaves everything as it was. */
static bool take_number(const char **at, uint64_t most, uint64_t *out)
{
    const char *p = *at;
    if (!is_digit(*p) || (*p == '0' && is_digit(p[1]))) {
        return false;
    }
    uint64_t number = 0;
    for (; is_digit(*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (number > (most - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
    }
    *at = p;
    *out = number;
    return true;
}

struct unit {
    const char *name;
    uint64_t worth;
};

/* ---- rates, durations, sizes ------------------------------------------------------------------------------------- */

const char *rule_duration(const char *text, uint64_t *nanoseconds)
{
    static const struct unit units[] = {
        /* in falling order */
        { "d", NS_PER_D }, { "h", NS_PER_H }, { "m", NS_PER_M }, { "s", NS_PER_S }, { "ms", NS_PER_MS },
    };
    static const char form[] =
        "a duration is written like 500ms, 2s, 1m30s, 1h or 7d: each number with its unit, the largest "
        "unit first";
    static const char too_long[] = "a duration is at most 3650d";
    const char *at = text;
    size_t next = 0; /* the largest unit still allowed */
    uint64_t total = 0;
    do {
        uint64_t number;
        if (!is_digit(*at)) {
            return form;
        }
        if (!take_number(&at, DURATION_MAX, &number)) {
            return *at == '0' ? form : too_long;
        }
        size_t length = strspn(at, "dhms");
        size_t u = next;
        while (u < sizeof units / sizeof *units &&
               (strlen(units[u].name) != length || memcmp(units[u].name, at, length) != 0)) {
            u++;
        }
        if (u == sizeof units / sizeof *units) {
            return form;
        }
        if (number > (DURATION_MAX - total) / units[u].worth) {
            return too_long;
        }
        total += number * units[u].worth;
        next = u + 1;
        at += length;
    } while (*at != '\0');
    *nanoseconds = total;
    return NULL;
}

static const char *period_ns(const char *text, uint64_t *out)
{
    static const struct unit words[] = {
        { "second", NS_PER_S },
        { "minute", NS_PER_M },
        { "hour", NS_PER_H },
        { "day", NS_PER_D },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i].name) == 0) {
            *out = words[i].worth;
            return NULL;
        }
    }
    if (!is_digit(*text)) {
        return "a rate is written like 100/second, 5/minute, 1/hour, 7/day, or 3/90s for any other period";
    }
    const char *problem = rule_duration(text, out);
    if (problem == NULL && *out < NS_PER_MS) {
        problem = "the period of a rate is at least 1ms";
    }
    return problem;
}

const char *rule_rate(const char *text, struct rule_rate *out)
{
    static const char too_fast[] = "a rate is at most 1000000000 per second";
    const char *at = text;
    struct rule_rate rate;
    if (is_digit(*at) && !(at[0] == '0' && is_digit(at[1])) && !take_number(&at, DURATION_MAX, &rate.tokens)) {
        return too_fast; /* at one token per ns, no period holds more tokens than DURATION_MAX */
    }
    if (at == text || *at != '/') {
        return "a rate is written like 100/second, 5/minute, 1/hour, 7/day, or 3/90s for any other period";
    }
    if (rate.tokens == 0) {
        return "a rate is at least 1 per period; to refuse every request, let the route respond with a status of its "
               "own";
    }
    const char *problem = period_ns(at + 1, &rate.period_ns);
    if (problem != NULL) {
        return problem;
    }
    if (rate.tokens > rate.period_ns) { /* 10^9 per second is one per nanosecond */
        return too_fast;
    }
    *out = rate;
    return NULL;
}

const char *rule_size(const char *text, uint64_t *bytes)
{
    static const struct unit units[] = {
        { "", 1 },      { "KiB", 1ull << 10 }, { "MiB", 1ull << 20 }, { "GiB", 1ull << 30 },
        { "KB", 1000 }, { "MB", 1000000 },     { "GB", 1000000000 },
    };
    static const char form[] = "a size is written like 512, 16KiB, 1MiB or 2GiB (or KB, MB, GB: thousands)";
    static const char too_big[] = "a size is at most 1048576GiB";
    const char *at = text;
    uint64_t number;
    if (!is_digit(*at)) {
        return form;
    }
    if (!take_number(&at, SIZE_MAX_2_50, &number)) {
        return *at == '0' ? form : too_big;
    }
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        if (strcmp(at, units[u].name) == 0) {
            if (number > SIZE_MAX_2_50 / units[u].worth) {
                return too_big;
            }
            *bytes = number * units[u].worth;
            return NULL;
        }
    }
    return form;
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

bool rule_ip_parse(const char *text, size_t length, struct rule_ip *out)
{
    char copy[RULE_IP_TEXT];
    if (length == 0 || length >= sizeof copy || memchr(text, '\0', length) != NULL) {
        return false;
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    struct rule_ip ip;
    /* inet_pton is as strict as we are: no leading zeros, no hexadecimal, no fewer than four parts, no zone. */
    if (memchr(copy, ':', length) != NULL) {
        if (inet_pton(AF_INET6, copy, ip.bytes) != 1) {
            return false;
        }
    } else {
        memcpy(ip.bytes, v4_mapped, sizeof v4_mapped);
        if (inet_pton(AF_INET, copy, ip.bytes + sizeof v4_mapped) != 1) {
            return false;
        }
    }
    *out = ip;
    return true;
}

bool rule_ip_is_v4(const struct rule_ip *ip)
{
    return memcmp(ip->bytes, v4_mapped, sizeof v4_mapped) == 0;
}

bool rule_ip_is_loopback(const struct rule_ip *ip)
{
    static const struct rule_ip v6_loopback = { .bytes[15] = 1 };
    return rule_ip_is_v4(ip) ? ip->bytes[12] == 127 : memcmp(ip, &v6_loopback, sizeof *ip) == 0;
}

bool rule_ip_is_any(const struct rule_ip *ip)
{
    static const struct rule_ip zeros;
    return memcmp(ip->bytes + 12, zeros.bytes, 4) == 0 &&
           (rule_ip_is_v4(ip) || memcmp(ip->bytes, zeros.bytes, 12) == 0);
}

/* RFC 5952 §4.2: the longest run of two or more zero groups, the first of equals. */
static void longest_zero_run(const unsigned groups[static 8], unsigned *start, unsigned *length)
{
    *start = 8;
    *length = 1; /* a single zero group is not worth "::" (§4.2.2) */
    for (unsigned i = 0; i < 8; i++) {
        unsigned run = 0;
        while (i + run < 8 && groups[i + run] == 0) {
            run++;
        }
        if (run > *length) {
            *start = i;
            *length = run;
        }
        i += run;
    }
}

static size_t put_number(char *out, unsigned number, unsigned base)
{
    char reversed[8]; /* at most "255" or "ffff" */
    size_t length = 0;
    do {
        reversed[length++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    for (size_t i = 0; i < length; i++) {
        out[i] = reversed[length - 1 - i];
    }
    return length;
}

static size_t v4_text(const uint8_t bytes[static 4], char *out)
{
    size_t used = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0) {
            out[used++] = '.';
        }
        used += put_number(out + used, bytes[i], 10);
    }
    return used;
}

static size_t v6_text(const uint8_t bytes[static 16], char *out)
{
    unsigned groups[8];
    for (unsigned i = 0; i < 8; i++) {
        groups[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
    }
    unsigned gap, gap_length;
    longest_zero_run(groups, &gap, &gap_length);
    size_t used = 0;
    for (unsigned i = 0; i < 8; i++) {
        if (i == gap) {
            out[used++] = ':';
            out[used++] = ':';
            i += gap_length - 1;
            continue;
        }
        if (i > 0 && i != gap + gap_length) {
            out[used++] = ':';
        }
        used += put_number(out + used, groups[i], 16);
    }
    return used;
}

/* Not inet_ntop(): C libraries differ in what they print for ::1.2.3.4, keys are made of this text, and each request
 * has one. */
size_t rule_ip_text(const struct rule_ip *ip, char out[static RULE_IP_TEXT])
{
    size_t length = rule_ip_is_v4(ip) ? v4_text(ip->bytes + sizeof v4_mapped, out) : v6_text(ip->bytes, out);
    out[length] = '\0';
    return length;
}

static void clear_bits_behind(struct rule_ip *ip, unsigned prefix)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned kept = prefix <= 8 * i ? 0 : prefix - 8 * i;
        if (kept < 8) {
            ip->bytes[i] &= (uint8_t)(0xff00u >> kept);
        }
    }
}

void rule_ip_mask(struct rule_ip *ip, unsigned v4_prefix, unsigned v6_prefix)
{
    clear_bits_behind(ip, rule_ip_is_v4(ip) ? 96 + v4_prefix : v6_prefix);
}

/* The one sentence that is not the same for every input: it lives until the thread asks again. */
static const char *network_meant(const struct rule_ip *base, unsigned written_prefix)
{
    static _Thread_local char sentence[96 + RULE_IP_TEXT];
    char text[RULE_IP_TEXT];
    rule_ip_text(base, text);
    snprintf(sentence, sizeof sentence, "bits are set behind the prefix; the network is %s/%u", text, written_prefix);
    return sentence;
}

const char *rule_network(const char *text, struct rule_network *out)
{
    static const char form[] = "a network is written like 10.0.0.0/8 or fd00::/8, one address like 192.0.2.1";
    size_t length = strcspn(text, "/");
    struct rule_network network = { .prefix = 128 };
    if (!rule_ip_parse(text, length, &network.base)) {
        return form;
    }
    if (text[length] == '\0') {
        *out = network;
        return NULL;
    }
    bool dotted = memchr(text, ':', length) == NULL;
    const char *at = text + length + 1;
    uint64_t prefix;
    if (!is_digit(*at)) {
        return form;
    }
    if (!take_number(&at, dotted ? 32 : 128, &prefix) || *at != '\0') {
        return dotted ? "the prefix of an IPv4 network is 0 to 32" : "the prefix of an IPv6 network is 0 to 128";
    }
    network.prefix = (unsigned)prefix + (dotted ? 96 : 0);
    struct rule_ip given = network.base;
    clear_bits_behind(&network.base, network.prefix);
    if (memcmp(&given, &network.base, sizeof given) != 0) {
        return network_meant(&network.base, (unsigned)prefix);
    }
    *out = network;
    return NULL;
}

bool rule_network_contains(const struct rule_network *network, const struct rule_ip *ip)
{
    /* Whoever trusts ::/0 has said nothing about IPv4. */
    if (rule_ip_is_v4(ip) && network->prefix < 96) {
        return false;
    }
    struct rule_ip masked = *ip;
    clear_bits_behind(&masked, network->prefix);
    return memcmp(&masked, &network->base, sizeof masked) == 0;
}

static bool take_port(const char **at, uint16_t *port)
{
    uint64_t number;
    if (!take_number(at, UINT16_MAX, &number)) {
        return false;
    }
    *port = (uint16_t)number;
    return true;
}

const char *rule_address(const char *text, struct rule_address *out)
{
    static const char form[] =
        "an address to listen on is written like 127.0.0.1:8080, 0.0.0.0:80 (every IPv4 address) or "
        "[::1]:8080; names are not looked up";
    struct rule_address address = { .v6 = text[0] == '[' };
    const char *ip = text + address.v6;
    size_t length = strcspn(ip, address.v6 ? "]" : ":");
    const char *at = ip + length;
    if (!rule_ip_parse(ip, length, &address.ip) || (address.v6 && (*at++ != ']' || memchr(ip, ':', length) == NULL))) {
        return form;
    }
    if (*at++ != ':') {
        return "the port is missing: write it behind a colon, like 127.0.0.1:8080 or [::1]:8080";
    }
    if (address.v6 && rule_ip_is_v4(&address.ip)) {
        return "this is an IPv4 address in IPv6 clothes: write it in dotted decimal, without brackets";
    }
    if (!take_port(&at, &address.port) || *at != '\0') {
        return "a port is a number from 1 to 65535";
    }
    *out = address;
    return NULL;
}

/* ---- URLs and names ---------------------------------------------------------------------------------------------- */

/* RFC 1123 §2.1 labels, and "_", which names of containers have. A name whose last label is a number is an address
 * that was mistyped (300.1.1.1, 127.1): resolvers would guess, we do not. */
static bool is_host_name(const char *host, size_t length)
{
    size_t label = 0; /* length of the label we are in */
    bool digits = false;
    for (size_t i = 0; i < length; i++) {
        char c = host[i];
        if (c == '.') {
            if (label == 0 || host[i - 1] == '-') {
                return false;
            }
            label = 0;
        } else if (is_alphanumeric(c) || c == '_' || (c == '-' && label > 0)) {
            digits = is_digit(c) && (label == 0 || digits);
            if (++label > 63) {
                return false;
            }
        } else {
            return false;
        }
    }
    return length > 0 && host[0] != '.' && host[length - 1] != '-' && !digits;
}

/* `host` of `length` bytes, brackets included, into `out` without them. */
static const char *take_host(const char *host, size_t length, char out[static RULE_HOST_MAX])
{
    bool bracketed = host[0] == '[';
    if (bracketed) {
        if (length < 2 || host[length - 1] != ']') {
            return "an IPv6 address in a URL stands in brackets: http://[::1]:9000";
        }
        host++;
        length -= 2;
    }
    struct rule_ip ip;
    bool colons = memchr(host, ':', length) != NULL;
    if (colons == bracketed && rule_ip_parse(host, length, &ip)) {
        char text[RULE_IP_TEXT];
        memcpy(out, text, rule_ip_text(&ip, text) + 1);
        return NULL;
    }
    if (bracketed) {
        return "what stands in brackets is not an IPv6 address";
    }
    if (length >= RULE_HOST_MAX || !is_host_name(host, length)) {
        return "the host is neither a name (letters, digits, - and _ between dots, 253 bytes at most) nor an IP "
               "address";
    }
    for (size_t i = 0; i < length; i++) {
        out[i] = lower(host[i]);
    }
    out[length] = '\0';
    return NULL;
}

/* Moves *at behind `scheme` when the text begins with it; schemes know no case (RFC 3986 §3.1). */
static bool take_scheme(const char **at, const char *scheme)
{
    size_t i = 0;
    while (scheme[i] != '\0' && lower((*at)[i]) == scheme[i]) {
        i++;
    }
    *at += scheme[i] == '\0' ? i : 0;
    return scheme[i] == '\0';
}

const char *rule_url(const char *text, struct rule_url *out)
{
    struct rule_url url = { .port = 80 };
    const char *at = text;
    if (take_scheme(&at, "https://")) {
        url.tls = true;
        url.port = 443;
    } else if (!take_scheme(&at, "http://")) {
        return "an upstream is a URL like http://10.0.0.1:9000, http://name:9000 or https://api.internal";
    }
    size_t authority = strcspn(at, "/?#");
    if (memchr(at, '@', authority) != NULL) {
        return "a URL with a user is not accepted here: send credentials in a header";
    }
    if (strcmp(at + authority, "") != 0 && strcmp(at + authority, "/") != 0) {
        return "a URL with a path, query or fragment is not accepted here: the client's own target is sent unchanged";
    }
    const char *end = at + authority;
    const char *colon = at[0] == '[' ? memchr(at, ']', authority) : memchr(at, ':', authority);
    colon = colon != NULL && *colon == ']' ? colon + 1 : colon;
    const char *problem = take_host(at, (size_t)((colon != NULL ? colon : end) - at), url.host);
    if (problem != NULL) {
        return problem;
    }
    if (colon != NULL && colon != end) {
        const char *port = colon + 1;
        if (*colon != ':' || !take_port(&port, &url.port) || port != end || url.port == 0) {
            return "a port is a number from 1 to 65535";
        }
    }
    *out = url;
    return NULL;
}

bool rule_is_token(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!is_alphanumeric(text[i]) && (text[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text[i]) == NULL)) {
            return false;
        }
    }
    return length > 0;
}
