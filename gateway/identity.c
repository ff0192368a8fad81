/* identity: the client's address, and the keys of limits. See identity.h.
 *
 * Everything here reads bytes that the asker may have chosen. Addresses: the right end of a forwarding header was
 * written by the proxy we trust, the left end by anybody; so lists are taken apart from the right, quotes included, and
 * nothing left of an element can change how it is read. Keys: one identity must not come in several spellings, or each
 * would have a limit of its own; addresses are therefore compared as numbers, parameters decoded.
 */
#include "identity.h"

#include "target.h"
#include "text.h"

#define HOPS_MAX 64 /* elements of a forwarding header that are looked at: real chains are below ten */

/* ---- the client's address -------------------------------------------------------------------------------------- */

static bool is_trusted(const struct config *config, const struct rule_ip *ip)
{
    for (size_t i = 0; i < config->trusted_proxy_count; i++) {
        if (rule_network_contains(&config->trusted_proxies[i], ip)) {
            return true;
        }
    }
    return false;
}

static const char *find(struct slice text, char byte)
{
    return text.length > 0 ? memchr(text.at, byte, text.length) : NULL;
}

/* ":" and up to five digits. */
static bool is_port(struct slice text)
{
    for (size_t i = 1; i < text.length; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') {
            return false;
        }
    }
    return text.length >= 2 && text.length <= 6 && text.at[0] == ':';
}

/* "1.2.3.4" "1.2.3.4:5678" "::1" "[::1]" "[::1]:5" */
static bool read_node(struct slice text, struct rule_ip *ip)
{
    bool bracketed = text.length > 0 && text.at[0] == '[';
    const char *end = find(text, bracketed ? ']' : ':');
    struct slice address = text;
    struct slice port = { NULL, 0 };
    if (bracketed) {
        if (end == NULL) {
            return false;
        }
        address = (struct slice){ text.at + 1, (size_t)(end - text.at) - 1 };
        port = (struct slice){ end + 1, text.length - address.length - 2 };
    } else if (end != NULL && memrchr(text.at, ':', text.length) == end) { /* one colon: IPv4 and a port */
        address.length = (size_t)(end - text.at);
        port = (struct slice){ end, text.length - address.length };
    }
    bool in_place = !bracketed || find(address, ':') != NULL; /* no IPv4 in brackets: RFC 3986 §3.2.2 */
    return in_place && (port.length == 0 || is_port(port)) && rule_ip_parse(address.at, address.length, ip);
}

/* Takes the last part off a list, trimmed, looking through quoted strings (RFC 9110 §5.6.4). False when none is left.
 */
static bool take_last(struct slice *list, char separator, struct slice *part)
{
    if (list->at == NULL) {
        return false;
    }
    size_t start = list->length;
    bool quoted = false;
    while (start > 0) {
        char c = list->at[start - 1];
        bool escaped = start > 1 && list->at[start - 2] == '\\';
        if (c == '"' && !(quoted && escaped)) {
            quoted = !quoted;
        } else if (c == separator && !quoted) {
            break;
        }
        start--;
    }
    *part = slice_trim((struct slice){ list->at + start, list->length - start });
    *list = start > 0 ? (struct slice){ list->at, start - 1 } : (struct slice){ NULL, 0 };
    return true;
}

/* for=1.2.3.4;proto=http;by="[::1]" */
static bool read_forwarded(struct slice element, struct rule_ip *ip)
{
    unsigned found = 0;
    struct slice node = { NULL, 0 };
    struct slice pair;
    while (take_last(&element, ';', &pair)) {
        struct slice value = pair;
        struct slice name;
        if (slice_take(&value, '=', &name) && slice_equals_nocase(name, SLICE("for"))) {
            node = value;
            found++;
        }
    }
    if (node.length >= 2 && node.at[0] == '"' && node.at[node.length - 1] == '"') {
        node = (struct slice){ node.at + 1, node.length - 2 };
    }
    return found == 1 && read_node(node, ip);
}

/* Walks one line. True when the walk is over: it is known who the client is, or that no more can be known. */
static bool walk_line(struct identity *identity, const struct config *config, struct slice line, bool forwarded,
                      unsigned *hops_left)
{
    struct slice element;
    while (take_last(&line, ',', &element)) {
        struct rule_ip ip;
        if ((*hops_left)-- == 0) {
            return true;
        }
        if (element.length == 0) {
            continue;
        }
        if (!(forwarded ? read_forwarded(element, &ip) : read_node(element, &ip))) {
            return true;
        }
        identity->client = ip;
        if (!is_trusted(config, &ip)) {
            return true;
        }
    }
    return false;
}

struct identity identity_of(const struct request *request, const struct config *config)
{
    struct identity identity = { .client = request->peer, .peer_trusted = is_trusted(config, &request->peer) };
    struct slice header = { config->client_ip.header, strlen(config->client_ip.header) };
    bool forwarded = slice_equals(header, SLICE("forwarded"));
    unsigned hops_left = HOPS_MAX;
    bool over = !identity.peer_trusted;
    for (size_t i = request->field_count; i > 0 && !over; i--) {
        const struct field *field = &request->fields[i - 1];
        if (slice_equals_nocase(field->name, header)) {
            over = walk_line(&identity, config, field->value, forwarded, &hops_left);
        }
    }
    return identity;
}

bool identity_exempt(const struct identity *identity, const struct config_route *route)
{
    for (size_t i = 0; i < route->exempt_count; i++) {
        if (rule_network_contains(&route->exempt[i], &identity->client)) {
            return true;
        }
    }
    return false;
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

static void write_header(struct text *key, const struct request *request, struct slice name)
{
    const char *start = key->at;
    for (size_t i = 0; i < request->field_count; i++) {
        const struct field *field = &request->fields[i];
        if (field->value.length > 0 && slice_equals_nocase(field->name, name)) {
            if (key->at > start) {
                text_literal(key, ", ");
            }
            text_slice(key, field->value);
        }
    }
}

static void write_cookie(struct text *key, const struct request *request, struct slice wanted)
{
    for (size_t i = 0; i < request->field_count; i++) {
        if (!slice_equals_nocase(request->fields[i].name, SLICE("cookie"))) {
            continue;
        }
        struct slice pairs = request->fields[i].value;
        struct slice pair;
        while (slice_take(&pairs, ';', &pair)) {
            struct slice name;
            slice_take(&pair, '=', &name);
            if (slice_equals(name, wanted) && slice_trim(pair).length > 0) {
                text_slice(key, slice_trim(pair));
                return;
            }
        }
    }
}

/* Takes one byte off percent-encoded text. */
static char take_decoded(struct slice *text)
{
    int code = target_encoded(*text, 0);
    char byte = (char)(code < 0 ? text->at[0] : code);
    size_t taken = code < 0 ? 1 : 3;
    *text = (struct slice){ text->at + taken, text->length - taken };
    return byte;
}

static bool decodes_to(struct slice text, struct slice wanted)
{
    size_t matched = 0;
    while (text.length > 0 && matched < wanted.length && take_decoded(&text) == wanted.at[matched]) {
        matched++;
    }
    return text.length == 0 && matched == wanted.length;
}

static void write_parameter(struct text *key, struct slice query, struct slice wanted)
{
    struct slice parameter;
    while (slice_take(&query, '&', &parameter)) {
        struct slice name;
        slice_take(&parameter, '=', &name);
        if (parameter.length == 0 || !decodes_to(name, wanted)) {
            continue;
        }
        while (parameter.length > 0 && !key->cut) {
            char byte = take_decoded(&parameter);
            text_bytes(key, &byte, 1);
        }
        return;
    }
}

static void write_source(struct text *key, const struct request *request, const struct identity *identity,
                         const struct config_route *route, const struct config_source *source)
{
    struct rule_ip ip;
    struct slice name = { source->name, source->name != NULL ? strlen(source->name) : 0 };
    switch (source->kind) {
    case CONFIG_SOURCE_CLIENT_IP:
        ip = identity->client;
        rule_ip_mask(&ip, source->ipv4_prefix, source->ipv6_prefix);
        text_bytes(key, (const char *)ip.bytes, sizeof ip.bytes);
        break;
    case CONFIG_SOURCE_HEADER:
        write_header(key, request, name);
        break;
    case CONFIG_SOURCE_COOKIE:
        write_cookie(key, request, name);
        break;
    case CONFIG_SOURCE_QUERY:
        write_parameter(key, request->query, name);
        break;
    case CONFIG_SOURCE_PATH:
        text_slice(key, request->path);
        break;
    case CONFIG_SOURCE_HOST:
        text_slice(key, request->host);
        break;
    case CONFIG_SOURCE_METHOD:
        text_slice(key, request->method);
        break;
    case CONFIG_SOURCE_ROUTE:
        text_string(key, route->name);
        break;
    case CONFIG_SOURCE_GLOBAL:
        break;
    }
}

#define LENGTH_BYTES 4 /* in front of each part */

enum identity_result identity_key(const struct request *request, const struct identity *identity,
                                  const struct config_route *route, const struct config_limit *limit, char *key,
                                  size_t key_size, size_t *key_length)
{
    struct text text = text_over(key, key_size < IDENTITY_KEY_MAX ? key_size : IDENTITY_KEY_MAX);
    for (size_t i = 0; i < limit->source_count; i++) {
        const struct config_source *source = &limit->sources[i];
        char *start = text.at;
        text_bytes(&text, (const char[LENGTH_BYTES]){ 0 }, LENGTH_BYTES);
        write_source(&text, request, identity, route, source);
        if (text.cut) {
            return IDENTITY_TOO_LONG;
        }
        size_t length = (size_t)(text.at - start) - LENGTH_BYTES;
        if (length == 0 && source->kind != CONFIG_SOURCE_GLOBAL) {
            return IDENTITY_MISSING;
        }
        for (unsigned byte = 0; byte < LENGTH_BYTES; byte++) {
            start[byte] = (char)(length >> 8 * (LENGTH_BYTES - 1 - byte) & 0xff);
        }
    }
    *key_length = text_length(&text);
    return IDENTITY_KEY;
}

/* ---- keys for people ------------------------------------------------------------------------------------------- */

static void write_address(struct text *text, const struct config_source *source, const char *bytes)
{
    struct rule_ip ip;
    char spelled[RULE_IP_TEXT];
    memcpy(ip.bytes, bytes, sizeof ip.bytes);
    text_bytes(text, spelled, rule_ip_text(&ip, spelled));
    bool v4 = rule_ip_is_v4(&ip);
    unsigned prefix = v4 ? source->ipv4_prefix : source->ipv6_prefix;
    if (prefix < (v4 ? 32 : 128)) {
        text_literal(text, "/");
        text_number(text, prefix);
    }
}

static void write_escaped(struct text *text, struct slice part, bool joined)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < part.length; i++) {
        unsigned char c = (unsigned char)part.at[i];
        if (c < ' ' || c >= 0x7f || c == '\\' || (c == ',' && joined)) {
            text_bytes(text, (const char[]){ '\\', 'x', hex[c >> 4], hex[c & 0xf] }, 4);
        } else {
            text_bytes(text, part.at + i, 1);
        }
    }
}

/* Takes the next part off a key; of a key that identity_key() did not make, what there is. */
static struct slice take_part(struct slice *key)
{
    size_t length = 0;
    size_t head = key->length < LENGTH_BYTES ? key->length : LENGTH_BYTES;
    for (size_t i = 0; i < head; i++) {
        length = length << 8 | (unsigned char)key->at[i];
    }
    length = length <= key->length - head ? length : key->length - head;
    struct slice part = { key->at + head, length };
    *key = (struct slice){ part.at + length, key->length - head - length };
    return part;
}

size_t identity_key_text(const char *key, size_t key_length, const struct config_limit *limit, char *text,
                         size_t text_size)
{
    struct text out = text_over(text, text_size - 1);
    struct slice left = { key, key_length };
    if (key_length == 0) {
        text_literal(&out, "(missing)");
    }
    for (size_t i = 0; i < limit->source_count && key_length > 0; i++) {
        const struct config_source *source = &limit->sources[i];
        struct slice part = take_part(&left);
        if (i > 0) {
            text_literal(&out, ",");
        }
        if (source->kind == CONFIG_SOURCE_GLOBAL) {
            text_literal(&out, "global");
        } else if (source->kind == CONFIG_SOURCE_CLIENT_IP && part.length == sizeof(struct rule_ip)) {
            write_address(&out, source, part.at);
        } else {
            write_escaped(&out, part, limit->source_count > 1);
        }
    }
    *out.at = '\0';
    return text_length(&out);
}
