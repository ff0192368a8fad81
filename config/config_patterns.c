/* config_patterns: segment by segment, label by label. */
#include "config_patterns.h"

#include "rule.h"

#include <stdbool.h>
#include <string.h>

#define PATH_MAX_BYTES 2048
#define PARAMETERS_MAX 16 /* {segments} of one path */

/* ---- paths ------------------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *found = c == '\0' ? NULL : strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
    return found == NULL ? -1 : (int)(found - digits);
}

/* RFC 3986 §2.3. */
static bool is_unreserved(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("-._~", c) != NULL);
}

static const char *check_bytes(const char *path)
{
    for (const char *c = path; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f) {
            return "spaces, control bytes and bytes beyond ASCII are percent-encoded in a path";
        }
        if (*c == '?' || *c == '#') {
            return "a path ends before ? and #: queries are not matched";
        }
        if (*c == '*' && c[1] != '\0') {
            return "* stands only at the end of a path, where it matches any rest";
        }
        if (*c == '%') {
            int high = hex_digit(c[1]);
            int low = high < 0 ? -1 : hex_digit(c[2]);
            if (low < 0) {
                return "% is followed by two hexadecimal digits";
            }
            if (is_unreserved(high * 16 + low)) {
                return "a letter, digit or one of -._~ is percent-encoded: paths are compared decoded, write it as it "
                       "is";
            }
        }
    }
    return NULL;
}

struct segment {
    const char *text;
    size_t length;
};

static bool is_parameter(struct segment segment)
{
    return segment.length > 0 && segment.text[0] == '{';
}

/* {name}: a letter or _, then those and digits. */
static const char *check_parameter(struct segment segment, const struct segment *earlier, size_t earlier_count)
{
    const char *name = segment.text + 1;
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    if (length == 0 || length + 2 != segment.length || name[length] != '}') {
        return "{name} is a whole segment between slashes, its name made of letters, digits and _";
    }
    for (size_t i = 0; i < earlier_count; i++) {
        if (earlier[i].length == segment.length && memcmp(earlier[i].text, segment.text, segment.length) == 0) {
            return "two {segments} of the path have the same name";
        }
    }
    return earlier_count == PARAMETERS_MAX ? "a path has at most 16 {segments}" : NULL;
}

static const char *check_literal(struct segment segment, bool last)
{
    if (memchr(segment.text, '{', segment.length) != NULL || memchr(segment.text, '}', segment.length) != NULL) {
        return "{name} is a whole segment between slashes, its name made of letters, digits and _";
    }
    if (segment.length == 0 && !last) {
        return "// is merged into / before paths are compared: this would never match";
    }
    if ((segment.length == 1 && segment.text[0] == '.') ||
        (segment.length == 2 && memcmp(segment.text, "..", 2) == 0)) {
        return "the segments . and .. are resolved before paths are compared: this would never match";
    }
    return NULL;
}

const char *config_patterns_path(const char *path)
{
    if (path[0] != '/') {
        return "a path begins with /; \"/\" alone matches every path";
    }
    if (strlen(path) > PATH_MAX_BYTES) {
        return "a path is at most 2048 bytes long";
    }
    const char *problem = check_bytes(path);
    struct segment parameters[PARAMETERS_MAX];
    size_t parameter_count = 0;
    bool last = false;
    for (const char *at = path + 1; problem == NULL && !last; at++) {
        struct segment segment = { at, strcspn(at, "/") };
        at += segment.length;
        last = *at == '\0';
        if (is_parameter(segment)) {
            problem = check_parameter(segment, parameters, parameter_count);
            if (problem == NULL) {
                parameters[parameter_count++] = segment;
            }
        } else {
            problem = check_literal(segment, last);
        }
    }
    return problem;
}

char *config_patterns_shape(struct arena *arena, const char *path)
{
    char *shape = arena_copy(arena, path, strlen(path));
    char *out = shape;
    for (const char *c = path; *c != '\0'; c++) {
        if (*c == '{') {
            c += strcspn(c, "}");
            *out++ = '{';
        }
        bool hexadecimal = *c >= 'a' && *c <= 'f' && (c[-1] == '%' || (c - path > 1 && c[-2] == '%'));
        *out++ = hexadecimal ? (char)(*c - 'a' + 'A') : *c;
    }
    *out = '\0';
    /* With or without a star behind its slash, it is the same prefix. */
    if (out - shape >= 2 && out[-1] == '*' && out[-2] == '/') {
        out[-1] = '\0';
    }
    return shape;
}

/* ---- hosts ------------------------------------------------------------------------------------------------------- */

const char *config_patterns_host(const char *host)
{
    /* The rule room knows hosts as parts of URLs: a host is good when the URL made of it has nothing else in it. */
    static const char form[] =
        "a host is written like api.example.com, *.example.com, 192.0.2.1 or [::1], without port";
    bool wildcard = strncmp(host, "*.", 2) == 0;
    const char *name = wildcard ? host + 2 : host;
    size_t length = strlen(name);
    char url[sizeof "http://" + RULE_HOST_MAX];
    struct rule_url parsed;
    struct rule_ip ip;
    if (strcmp(host, "*") == 0) {
        return "leave \"host\" out to match any host";
    }
    if (length == 0 || length >= RULE_HOST_MAX || strpbrk(name, "/?#@") != NULL ||
        (name[0] != '[' && strchr(name, ':') != NULL) || name[length - 1] == '.') {
        return form;
    }
    memcpy(url, "http://", 7);
    memcpy(url + 7, name, length + 1);
    if (rule_url(url, &parsed) != NULL || (name[0] == '[' && name[length - 1] != ']')) {
        return form;
    }
    if (wildcard && rule_ip_parse(parsed.host, strlen(parsed.host), &ip)) {
        return "* stands in front of a name, not of an address";
    }
    return NULL;
}
