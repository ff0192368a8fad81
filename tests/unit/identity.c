/* identity: which address a client has, which bytes are its key, and that no one has two of either. */
#include "identity.h"

#include "../head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct rule_ip ip_of(const char *text)
{
    struct rule_ip ip;
    assert_true(rule_ip_parse(text, strlen(text), &ip));
    return ip;
}

static const char *ip_text(const struct rule_ip *ip)
{
    static char text[RULE_IP_TEXT];
    rule_ip_text(ip, text);
    return text;
}

/* ---- the client's address -------------------------------------------------------------------------------------- */

/* Trusts 127.0.0.0/8, 10.0.0.0/8 and fd00::/8. */
static struct config config_of(const char *header)
{
    static struct rule_network trusted[3];
    assert_null(rule_network("127.0.0.0/8", &trusted[0]));
    assert_null(rule_network("10.0.0.0/8", &trusted[1]));
    assert_null(rule_network("fd00::/8", &trusted[2]));
    struct config config = { .trusted_proxies = trusted, .trusted_proxy_count = 3 };
    config.client_ip.header = strdup(header);
    return config;
}

/* `lines` without the request line and Host. */
static struct identity asked_by(const char *peer, const char *header, const char *lines)
{
    char text[20000];
    snprintf(text, sizeof text, "GET / HTTP/1.1\nHost: gw.test\n%s", lines);
    struct head *head = head_of(text);
    struct config config = config_of(header);
    head->request.peer = ip_of(peer);
    struct identity identity = identity_of(&head->request, &config);
    free(config.client_ip.header);
    head_free(&head);
    return identity;
}

struct asked {
    const char *lines, *client;
};

static void check_clients(const char *header, const struct asked *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct identity identity = asked_by("127.0.0.1", header, rows[i].lines);
        if (strcmp(ip_text(&identity.client), rows[i].client) != 0) {
            fail_msg("%s is taken for %s, not %s", rows[i].lines, ip_text(&identity.client), rows[i].client);
        }
        assert_true(identity.peer_trusted);
    }
}
#define CHECK_CLIENTS(header, rows) check_clients(header, rows, sizeof(rows) / sizeof *(rows))

static void a_stranger_cannot_say_who_he_is(void **state)
{
    (void)state;
    static const char *const lines[] = { "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 127.0.0.1",
                                         "Forwarded: for=6.6.6.6" };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct identity identity = asked_by("203.0.113.7", "x-forwarded-for", lines[i]);
        assert_string_equal(ip_text(&identity.client), "203.0.113.7");
        assert_false(identity.peer_trusted);
    }
}

static void behind_trusted_proxies_the_right_most_stranger_is_the_client(void **state)
{
    (void)state;
    static const struct asked rows[] = {
        { "", "127.0.0.1" },
        { "X-Forwarded-For: 1.2.3.4", "1.2.3.4" },
        { "X-Forwarded-For: 6.6.6.6, 1.2.3.4", "1.2.3.4" },
        { "X-Forwarded-For: 6.6.6.6,1.2.3.4,10.0.0.5", "1.2.3.4" },
        { "X-Forwarded-For: 6.6.6.6 ,\t1.2.3.4 , 10.0.0.5, fd00::5", "1.2.3.4" },
        { "X-Forwarded-For: 10.0.0.9, 10.0.0.5", "10.0.0.9" }, /* trusted to its end: the farthest */
        /* all lines, in order */
        { "X-Forwarded-For: 6.6.6.6\nX-Forwarded-For: 1.2.3.4", "1.2.3.4" },
        { "X-Forwarded-For: 6.6.6.6, 1.2.3.4\nx-forwarded-for: 10.0.0.5", "1.2.3.4" },
        { "X-Forwarded-For: 1.2.3.4\nX-Forwarded-For:", "1.2.3.4" },
        { "Forwarded: for=6.6.6.6\nX-Forwarded-For: 1.2.3.4", "1.2.3.4" },
        { "X_Forwarded_For: 6.6.6.6", "127.0.0.1" },
    };
    CHECK_CLIENTS("x-forwarded-for", rows);
}

static void an_address_has_many_spellings_and_is_one(void **state)
{
    (void)state;
    static const struct asked rows[] = {
        { "X-Forwarded-For: 1.2.3.4:5678", "1.2.3.4" },
        { "X-Forwarded-For: ::ffff:1.2.3.4", "1.2.3.4" },
        { "X-Forwarded-For: [::ffff:1.2.3.4]:80", "1.2.3.4" },
        { "X-Forwarded-For: 1.2.3.4, ", "1.2.3.4" },
        { "X-Forwarded-For: 1.2.3.4,,, ,", "1.2.3.4" },
        { "X-Forwarded-For: ::1", "::1" },
        { "X-Forwarded-For: [::1]", "::1" },
        { "X-Forwarded-For: [::1]:5", "::1" },
        { "X-Forwarded-For: 2001:DB8:0:0::1", "2001:db8::1" },
        { "X-Forwarded-For: [2001:db8:0:0:0:0:0:1]:65535", "2001:db8::1" },
    };
    CHECK_CLIENTS("x-forwarded-for", rows);
}

static void what_is_no_address_ends_the_walk_at_the_last_good_hop(void **state)
{
    (void)state;
    static const char *const spoilt[] = {
        "unknown",     "_hidden",    "0x7f.1",      "01.02.03.04",    "1.2.3",   "1.2.3.4.5",
        "1.2.3.256",   "1.2.3.4:",   "1.2.3.4:x",   "1.2.3.4:123456", "[::1",    "[]",
        "[]:5",        "[1.2.3.4]",  "[::1]5",      "[::1]:",         "[::1]:x", "::1::",
        "fe80::1%1",   "localhost",  "\"1.2.3.4\"", "1.2.3.4 5",      ":",       "[",
        "for=1.2.3.4", "2130706433", ":5",          "1.2.3.4/32",
    };
    for (size_t i = 0; i < sizeof spoilt / sizeof *spoilt; i++) {
        char lines[200];
        snprintf(lines, sizeof lines, "X-Forwarded-For: 6.6.6.6, %s", spoilt[i]);
        struct identity identity = asked_by("127.0.0.1", "x-forwarded-for", lines);
        assert_string_equal(ip_text(&identity.client), "127.0.0.1");
        snprintf(lines, sizeof lines, "X-Forwarded-For: 6.6.6.6, %s, 10.0.0.5", spoilt[i]);
        identity = asked_by("127.0.0.1", "x-forwarded-for", lines);
        assert_string_equal(ip_text(&identity.client), "10.0.0.5");
    }
}

static void the_walk_has_an_end(void **state)
{
    (void)state;
    static char lines[20000];
    for (unsigned trusted = 63; trusted <= 64; trusted++) { /* with the client: 64 and 65 elements */
        int used = snprintf(lines, sizeof lines, "X-Forwarded-For: 1.2.3.4");
        for (unsigned i = 0; i < trusted; i++) {
            used += snprintf(lines + used, sizeof lines - (size_t)used, ", 10.0.0.%u", i);
        }
        struct identity identity = asked_by("127.0.0.1", "x-forwarded-for", lines);
        assert_string_equal(ip_text(&identity.client), trusted == 63 ? "1.2.3.4" : "10.0.0.0");
    }
    int used = snprintf(lines, sizeof lines, "X-Forwarded-For: 1.2.3.4");
    for (unsigned i = 0; i < 10000; i++) {
        lines[used++] = ',';
    }
    lines[used] = '\0';
    struct identity identity = asked_by("127.0.0.1", "x-forwarded-for", lines);
    assert_string_equal(ip_text(&identity.client), "127.0.0.1");
}

static void rfc_7239_elements_are_read(void **state)
{
    (void)state;
    static const struct asked rows[] = {
        { "Forwarded: for=1.2.3.4", "1.2.3.4" },
        { "Forwarded: for=6.6.6.6, For=1.2.3.4;proto=http;by=10.0.0.5", "1.2.3.4" },
        { "Forwarded: proto=https; FOR=\"1.2.3.4:5678\" ;host=\"a,b;for=6.6.6.6\"", "1.2.3.4" },
        { "Forwarded: for=\"[2001:db8::1]:4711\"", "2001:db8::1" },
        { "Forwarded: for=\"[2001:db8::1]\", for=10.0.0.5", "2001:db8::1" },
        { "Forwarded: for=1.2.3.4\nForwarded: for=10.0.0.5", "1.2.3.4" },
        { "Forwarded: for=1.2.3.4, for=\"10.0.0.5\";host=\"a\\\",b\"", "1.2.3.4" },
        /* no address, or no telling which */
        { "Forwarded: for=6.6.6.6, for=unknown", "127.0.0.1" },
        { "Forwarded: for=6.6.6.6, for=_hidden, for=10.0.0.5", "10.0.0.5" },
        { "Forwarded: for=6.6.6.6, proto=http", "127.0.0.1" },
        { "Forwarded: for=6.6.6.6;for=7.7.7.7", "127.0.0.1" },
        { "Forwarded: for=", "127.0.0.1" },
        { "Forwarded: for=\"", "127.0.0.1" },
        { "Forwarded: for=\"\"", "127.0.0.1" },
        { "Forwarded: for", "127.0.0.1" },
        { "Forwarded: 6.6.6.6", "127.0.0.1" },
        { "X-Forwarded-For: 6.6.6.6", "127.0.0.1" },
        /* what a client left unfinished on the left does not swallow what the proxy wrote on the right */
        { "Forwarded: for=\"6.6.6.6, for=1.2.3.4", "1.2.3.4" },
        { "Forwarded: for=\"6.6.6.6\\, for=\"1.2.3.4\"", "1.2.3.4" },
        { "Forwarded: \"\nForwarded: for=1.2.3.4", "1.2.3.4" },
    };
    CHECK_CLIENTS("forwarded", rows);
}

static void a_header_with_one_address_will_do(void **state)
{
    (void)state;
    static const struct asked rows[] = {
        { "X-Real-Ip: 1.2.3.4\nX-Forwarded-For: 6.6.6.6", "1.2.3.4" },
        { "X-Forwarded-For: 6.6.6.6", "127.0.0.1" },
    };
    CHECK_CLIENTS("x-real-ip", rows);
}

static void exempt_networks_contain_the_client_not_the_peer(void **state)
{
    (void)state;
    struct rule_network exempt[2];
    assert_null(rule_network("192.0.2.0/24", &exempt[0]));
    assert_null(rule_network("2001:db8::/32", &exempt[1]));
    struct config_route route = { .exempt = exempt, .exempt_count = 2 };
    struct config_route plain = { .exempt_count = 0 };
    struct identity inside = { .client = ip_of("192.0.2.77") };
    struct identity inside_v6 = { .client = ip_of("2001:db8::77") };
    struct identity outside = { .client = ip_of("192.0.3.77"), .peer_trusted = true };
    assert_true(identity_exempt(&inside, &route));
    assert_true(identity_exempt(&inside_v6, &route));
    assert_false(identity_exempt(&outside, &route));
    assert_false(identity_exempt(&inside, &plain));
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

/* Reads "client_ip" "client_ip/24" "header:x-key" "cookie:sid" "query:k" "path" "host" "method" "route" "global". */
static struct config_source source_of(const char *text)
{
    static const char *const kinds[] = { "client_ip", "header", "cookie", "query", "path",
                                         "host",      "method", "route",  "global" };
    struct config_source source = { .ipv4_prefix = 32, .ipv6_prefix = 64 };
    size_t length = strcspn(text, ":/");
    while (strlen(kinds[source.kind]) != length || strncmp(kinds[source.kind], text, length) != 0) {
        source.kind++;
    }
    if (text[length] == ':') {
        source.name = strdup(text + length + 1);
    } else if (text[length] == '/') {
        source.ipv4_prefix = (unsigned)atoi(text + length + 1);
    }
    return source;
}

#define SOURCES_MAX 4
struct key {
    enum identity_result result;
    char bytes[IDENTITY_KEY_MAX + 1];
    size_t length;
    char text[256];
};

/* `sources` separated by blanks; `target` is the request's, `lines` follow its Host. */
static struct key key_of(const char *sources, const char *client, const char *target, const char *lines)
{
    char text[10000];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\nHost: GW.test:80\n%s", target, lines);
    struct head *head = head_of(text);
    assert_int_equal(head_check(head).status, 0);
    struct config_source list[SOURCES_MAX];
    struct config_limit limit = { .sources = list };
    char words[200];
    snprintf(words, sizeof words, "%s", sources);
    char *rest = words;
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        list[limit.source_count++] = source_of(word);
    }
    struct config_route route = { .name = strdup("GET /x") };
    struct identity identity = { .client = ip_of(client) };
    struct key key = { .length = 0 };
    key.result = identity_key(&head->request, &identity, &route, &limit, key.bytes, sizeof key.bytes, &key.length);
    size_t shown = identity_key_text(key.bytes, key.length, &limit, key.text, sizeof key.text);
    assert_int_equal(shown, strlen(key.text));
    for (size_t i = 0; i < limit.source_count; i++) {
        free(list[i].name);
    }
    free(route.name);
    head_free(&head);
    return key;
}

static bool same_key(const struct key *a, const struct key *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

static void each_source_gives_its_part(void **state)
{
    (void)state;
    static const struct {
        const char *sources, *target, *lines, *text; /* NULL: missing */
    } rows[] = {
        { "client_ip", "/", "", "192.0.2.77" },
        { "client_ip/24", "/", "", "192.0.2.0/24" },
        { "client_ip/0", "/", "", "0.0.0.0/0" },
        { "path", "/x/..//%6cogin?a", "", "/login" },
        { "host", "/", "", "gw.test" },
        { "method", "/", "", "GET" },
        { "route", "/", "", "GET /x" },
        { "global", "/", "", "global" },
        { "client_ip route", "/", "", "192.0.2.77,GET /x" },
        /* header */
        { "header:x-key", "/", "X-KEY: abc", "abc" },
        { "header:x-key", "/", "X-Key: \t abc \t", "abc" },
        { "header:x-key", "/", "X-Key: a\nOther: x\nx-key: b", "a, b" },
        { "header:x-key", "/", "X-Key:\nX-Key: a\nX-Key:", "a" },
        { "header:x-key", "/", "", NULL },
        { "header:x-key", "/", "X-Key:\nX-Key:", NULL },
        { "header:x-key", "/", "X-Key2: a", NULL },
        { "header:x-key", "/", "Connection: X-Key\nX-Key: abc", "abc" },
        { "header:x-key", "/", "X-Key: \xc3\xa9 {}\"\\", "\\xc3\\xa9 {}\"\\x5c" },
        /* cookie */
        { "cookie:sid", "/", "Cookie: sid=abc", "abc" },
        { "cookie:sid", "/", "Cookie: a=b; sid=abc;c=d", "abc" },
        { "cookie:sid", "/", "Cookie: a=b;sid = abc ", "abc" },
        { "cookie:sid", "/", "Cookie: a=b\nCookie: sid=x=y", "x=y" },
        { "cookie:sid", "/", "Cookie: sid=\"a b\"", "\"a b\"" },
        { "cookie:sid", "/", "Cookie: sid=; sid=abc; sid=def", "abc" },
        { "cookie:sid", "/", "Cookie: SID=abc; xsid=abc; sid", NULL },
        { "cookie:sid", "/", "Cookie:", NULL },
        { "cookie:sid", "/", "Cookie: sid=", NULL },
        { "cookie:sid", "/", "X-Cookie: sid=abc", NULL },
        /* query */
        { "query:k", "/?k=abc", "", "abc" },
        { "query:k", "/?a=b&k=abc&k=def", "", "abc" },
        { "query:k", "/?k=&k=abc", "", "abc" },
        { "query:k", "/?%6b=%61%62c", "", "abc" },
        { "query:k", "/?k=a+b%2B%20c", "", "a+b+ c" },
        { "query:k", "/?k=a=b", "", "a=b" },
        { "query:k", "/?k=%00%0a", "", "\\x00\\x0a" },
        { "query:k", "/?K=a&kk=a&%6b%6b=a&k", "", NULL },
        { "query:k", "/?", "", NULL },
        { "query:k", "/", "", NULL },
        { "query:k", "/k=abc", "", NULL },
        /* several: one absent is all absent */
        { "header:x-key client_ip", "/", "", NULL },
        { "client_ip header:x-key", "/", "", NULL },
        { "header:x-key path", "/a,b", "X-Key: a,b", "a\\x2cb,/a\\x2cb" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct key key = key_of(rows[i].sources, "192.0.2.77", rows[i].target, rows[i].lines);
        enum identity_result expected = rows[i].text != NULL ? IDENTITY_KEY : IDENTITY_MISSING;
        const char *text = rows[i].text != NULL ? rows[i].text : "(missing)";
        if (key.result != expected || strcmp(key.text, text) != 0) {
            fail_msg("%s of %s %s: %d \"%s\"", rows[i].sources, rows[i].target, rows[i].lines, (int)key.result,
                     key.text);
        }
        assert_int_equal(key.result == IDENTITY_KEY, key.length > 0);
    }
}

static void the_bytes_of_a_key_are_the_same_everywhere(void **state)
{
    (void)state;
    struct key key = key_of("client_ip global header:x-key", "192.0.2.77", "/", "X-Key: abc");
    static const char expected[] = "\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x4d"
                                   "\0\0\0\0"
                                   "\0\0\0\x03"
                                   "abc";
    assert_int_equal(key.length, sizeof expected - 1);
    assert_memory_equal(key.bytes, expected, key.length);
}

static void different_identities_have_different_keys(void **state)
{
    (void)state;
    static const struct {
        const char *sources, *one, *other; /* lines */
    } rows[] = {
        { "header:a header:b", "A: a:b\nB: c", "A: a\nB: b:c" },
        { "header:a header:b", "A: ab\nB: c", "A: a\nB: bc" },
        { "header:a header:b", "A: a,b\nB: c", "A: a\nB: b,c" },
        { "header:a", "A: x", "A: X" },
        { "header:a", "A: x", "A: x\nA: x" },
        { "header:a", "A: \\x00", "A: \\\\x00" },
        { "header:a", "A: \xc3\xa9", "A: e\xcc\x81" }, /* é in two Unicode forms: bytes are compared */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct key one = key_of(rows[i].sources, "192.0.2.77", "/", rows[i].one);
        struct key other = key_of(rows[i].sources, "192.0.2.77", "/", rows[i].other);
        assert_int_equal(one.result, IDENTITY_KEY);
        assert_false(same_key(&one, &other));
        assert_string_not_equal(one.text, other.text);
    }
}

static void one_network_has_one_key(void **state)
{
    (void)state;
    struct key a = key_of("client_ip", "2001:db8:1:2::1", "/", "");
    struct key b = key_of("client_ip", "2001:db8:1:2:ffff:ffff:ffff:ffff", "/", "");
    struct key c = key_of("client_ip", "2001:db8:1:3::1", "/", "");
    assert_true(same_key(&a, &b));
    assert_false(same_key(&a, &c));
    assert_string_equal(a.text, "2001:db8:1:2::/64");
    struct key mapped = key_of("client_ip", "::ffff:192.0.2.77", "/", "");
    struct key plain = key_of("client_ip", "192.0.2.77", "/", "");
    assert_true(same_key(&mapped, &plain));
}

static void a_key_is_at_most_4096_bytes(void **state)
{
    (void)state;
    static char lines[5000];
    for (int length = 4092; length <= 4093; length++) { /* and four that say how long it is */
        snprintf(lines, sizeof lines, "X-Key: %0*d", length, 1);
        struct key key = key_of("header:x-key", "192.0.2.77", "/", lines);
        assert_int_equal(key.result, length == 4092 ? IDENTITY_KEY : IDENTITY_TOO_LONG);
        assert_int_equal(key.length, length == 4092 ? 4096 : 0);
        snprintf(lines, sizeof lines, "/?k=%0*d", length, 1);
        key = key_of("query:k", "192.0.2.77", lines, "");
        assert_int_equal(key.result, length == 4092 ? IDENTITY_KEY : IDENTITY_TOO_LONG);
        snprintf(lines, sizeof lines, "X-Key: %0*d", length - 20, 1);
        key = key_of("header:x-key client_ip", "192.0.2.77", "/", lines);
        assert_int_equal(key.result, length == 4092 ? IDENTITY_KEY : IDENTITY_TOO_LONG);
    }
}

static void a_small_buffer_is_never_left(void **state)
{
    (void)state;
    struct head *head = head_of("GET /?k=%61bc HTTP/1.1\nHost: gw.test\nX-Key: abc\nX-Key: def");
    assert_int_equal(head_check(head).status, 0);
    struct config_source sources[] = { source_of("header:x-key"), source_of("query:k"), source_of("client_ip") };
    struct config_limit limit = { .sources = sources, .source_count = 3 };
    struct identity identity = { .client = ip_of("192.0.2.77") };
    struct config_route route = { .name = NULL };
    const size_t whole = 4 + 8 + 4 + 3 + 4 + 16;
    for (size_t size = 0; size <= whole; size++) {
        char *key = malloc(size);
        size_t length = 0;
        enum identity_result result = identity_key(&head->request, &identity, &route, &limit, key, size, &length);
        assert_int_equal(result, size == whole ? IDENTITY_KEY : IDENTITY_TOO_LONG);
        free(key);
    }
    free(sources[0].name);
    free(sources[1].name);
    head_free(&head);
}

static void a_text_is_cut_between_its_pieces(void **state)
{
    (void)state;
    static const char key[] = "\0\0\0\x04"
                              "ab\x01"
                              "c"
                              "\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x4d";
    static const char whole[] = "ab\\x01c,192.0.2.77";
    struct config_source sources[] = { source_of("path"), source_of("client_ip") };
    struct config_limit limit = { .sources = sources, .source_count = 2 };
    for (size_t size = 1; size <= sizeof whole; size++) {
        char *text = malloc(size);
        size_t length = identity_key_text(key, sizeof key - 1, &limit, text, size);
        assert_int_equal(length, strlen(text));
        assert_memory_equal(text, whole, length);
        assert_true(length < 3 || length >= 6); /* no half escape */
        free(text);
    }
}

static void a_broken_key_is_shown_as_far_as_it_goes(void **state)
{
    (void)state;
    static const struct {
        const char *sources[2], *key;
        size_t length;
        const char *text;
    } rows[] = {
        { { "path", "path" }, "\0\0", 2, "," },
        { { "path", "path" },
          "\0\0\0\x09"
          "ab",
          6,
          "ab," },
        { { "client_ip", "path" },
          "\0\0\0\x02"
          "ab\0\0\0\x01/",
          11,
          "ab,/" },
        { { "path", "global" }, "", 0, "(missing)" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config_source sources[] = { source_of(rows[i].sources[0]), source_of(rows[i].sources[1]) };
        struct config_limit limit = { .sources = sources, .source_count = 2 };
        char text[64];
        identity_key_text(rows[i].key, rows[i].length, &limit, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stranger_cannot_say_who_he_is),
        cmocka_unit_test(behind_trusted_proxies_the_right_most_stranger_is_the_client),
        cmocka_unit_test(an_address_has_many_spellings_and_is_one),
        cmocka_unit_test(what_is_no_address_ends_the_walk_at_the_last_good_hop),
        cmocka_unit_test(the_walk_has_an_end),
        cmocka_unit_test(rfc_7239_elements_are_read),
        cmocka_unit_test(a_header_with_one_address_will_do),
        cmocka_unit_test(exempt_networks_contain_the_client_not_the_peer),
        cmocka_unit_test(each_source_gives_its_part),
        cmocka_unit_test(the_bytes_of_a_key_are_the_same_everywhere),
        cmocka_unit_test(different_identities_have_different_keys),
        cmocka_unit_test(one_network_has_one_key),
        cmocka_unit_test(a_key_is_at_most_4096_bytes),
        cmocka_unit_test(a_small_buffer_is_never_left),
        cmocka_unit_test(a_text_is_cut_between_its_pieces),
        cmocka_unit_test(a_broken_key_is_shown_as_far_as_it_goes),
    };
    return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
