/* target: the forms of a request target, authorities, normalised paths. See target.h. */
#include "target.h"

#define HOST_MAX 253 /* of a DNS name in text (RFC 1035 §2.3.4: 255 octets with the root and the first length) */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 3986 §2.3 */
static bool is_unreserved(char c)
{
    return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static bool starts_with_nocase(struct slice text, struct slice start)
{
    return text.length >= start.length && slice_equals_nocase((struct slice){ text.at, start.length }, start);
}

static struct slice after(struct slice text, size_t skipped)
{
    return (struct slice){ text.at + skipped, text.length - skipped };
}

/* How many bytes come before the first of two bytes; all when there is none. */
static size_t span_before(struct slice text, char one, char other)
{
    size_t length = 0;
    while (length < text.length && text.at[length] != one && text.at[length] != other) {
        length++;
    }
    return length;
}

static int hex_digit(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    char small = (char)(c | 0x20);
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

int target_encoded(struct slice text, size_t at)
{
    if (text.at[at] != '%' || text.length - at < 3) {
        return -1;
    }
    int high = hex_digit(text.at[at + 1]);
    int low = hex_digit(text.at[at + 2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* ---- forms ----------------------------------------------------------------------------------------------------- */

static const char *check_bytes(struct slice raw)
{
    for (size_t i = 0; i < raw.length; i++) {
        unsigned char c = (unsigned char)raw.at[i];
        if (c <= ' ' || c >= 0x7f) {
            return "the request target has a control, blank or non-ASCII byte";
        }
        if (c == '#') {
            return "the request target has a fragment";
        }
        if (c == '%' && target_encoded(raw, i) < 0) {
            return "the request target has a % without two hexadecimal digits";
        }
    }
    return NULL;
}

static const char *check_path(struct slice path)
{
    for (size_t i = 0; i < path.length; i++) {
        if (path.at[i] == '\\') {
            return "the path has a backslash";
        }
        if (target_encoded(path, i) == 0) {
            return "the path has an encoded NUL";
        }
    }
    return NULL;
}

/* Cuts scheme and authority off an absolute-form target. */
static const char *take_authority(struct slice *rest, struct target *target)
{
    if (starts_with_nocase(*rest, SLICE("http://"))) {
        *rest = after(*rest, sizeof "http://" - 1);
    } else if (starts_with_nocase(*rest, SLICE("https://"))) {
        *rest = after(*rest, sizeof "https://" - 1);
    } else {
        return "the request target is neither a path nor an http or https URL";
    }
    size_t length = span_before(*rest, '/', '?');
    target->authority = (struct slice){ rest->at, length };
    target->absolute = true;
    *rest = after(*rest, length);
    return NULL;
}

const char *target_split(struct slice method, struct slice raw, struct target *target)
{
    *target = (struct target){ .rest = raw };
    if (slice_equals(raw, SLICE("*"))) {
        target->path = raw;
        return slice_equals(method, SLICE("OPTIONS")) ? NULL : "the request target * is for OPTIONS only";
    }
    const char *problem = check_bytes(raw);
    if (problem == NULL && (raw.length == 0 || raw.at[0] != '/')) {
        problem = take_authority(&target->rest, target);
    }
    if (problem != NULL) {
        return problem;
    }
    size_t length = span_before(target->rest, '?', '?');
    target->path = (struct slice){ target->rest.at, length };
    if (length < target->rest.length) {
        target->query = after(target->rest, length + 1);
    }
    return check_path(target->path);
}

/* ---- paths ----------------------------------------------------------------------------------------------------- */

/* Writes the segment that begins at *at and moves *at to the slash behind it, or to the end. */
static size_t write_segment(struct slice path, size_t *at, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t length = 0;
    size_t i = *at;
    for (; i < path.length && path.at[i] != '/'; i++) {
        int code = target_encoded(path, i);
        if (code < 0) {
            out[length++] = path.at[i];
            continue;
        }
        if (is_unreserved((char)code)) {
            out[length++] = (char)code;
        } else {
            out[length++] = '%';
            out[length++] = hex[code >> 4];
            out[length++] = hex[code & 0xf];
        }
        i += 2;
    }
    *at = i;
    return length;
}

size_t target_normalise(struct slice path, char *out)
{
    size_t length = 0;
    out[length++] = '/';
    for (size_t at = 0; at < path.length; at++) { /* at a segment; the step is over the slash behind it */
        size_t written = write_segment(path, &at, out + length);
        struct slice segment = { out + length, written };
        if (slice_equals(segment, SLICE(".."))) {
            if (length > 1) {
                do {
                    length--;
                } while (out[length - 1] != '/');
            }
        } else if (written > 0 && !slice_equals(segment, SLICE("."))) {
            length += written;
            if (at < path.length) {
                out[length++] = '/';
            }
        }
    }
    return length;
}

/* ---- authorities ----------------------------------------------------------------------------------------------- */

/* "" or ":" or ":0" … ":65535" (RFC 3986 §3.2.3 allows the port to be empty). */
static bool is_port(struct slice text)
{
    if (text.length == 0) {
        return true;
    }
    unsigned port = 0;
    for (size_t i = 1; i < text.length; i++) {
        if (!is_digit(text.at[i]) || i > 5) {
            return false;
        }
        port = port * 10 + (unsigned)(text.at[i] - '0');
    }
    return text.at[0] == ':' && port <= 65535;
}

/* "[::1]" + port */
static bool address_host(struct slice authority, char *out, size_t *length)
{
    size_t inside = span_before(authority, ']', ']') - 1;
    struct rule_ip ip;
    char text[RULE_IP_TEXT];
    if (inside + 2 > authority.length || memchr(authority.at + 1, ':', inside) == NULL ||
        !rule_ip_parse(authority.at + 1, inside, &ip) || !is_port(after(authority, inside + 2))) {
        return false;
    }
    size_t spelled = rule_ip_text(&ip, text);
    out[0] = '[';
    memcpy(out + 1, text, spelled);
    out[spelled + 1] = ']';
    *length = spelled + 2;
    return true;
}

bool target_host(struct slice authority, char *out, size_t *length)
{
    if (authority.length > 0 && authority.at[0] == '[') {
        return address_host(authority, out, length);
    }
    size_t host = span_before(authority, ':', ':');
    if (!is_port(after(authority, host))) {
        return false;
    }
    if (host > 0 && authority.at[host - 1] == '.') {
        host--;
    }
    if (host == 0 || host > HOST_MAX) {
        return false;
    }
    char before = '.';
    for (size_t i = 0; i < host; i++) {
        char c = authority.at[i];
        if (!is_unreserved(c) || (c == '.' && before == '.')) {
            return false;
        }
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        before = c;
    }
    *length = host;
    return before != '.'; /* one trailing dot is the root (RFC 1034 §3.1); two are nothing */
}
