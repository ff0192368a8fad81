/* rule: the notations, at their bounds and beyond. */
#include "rule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define MS UINT64_C(1000000)
#define S  (1000 * MS)
#define M  (60 * S)
#define H  (60 * M)
#define D  (24 * H)

/* A problem that is a sentence of ours and says `words`. */
static void assert_problem(const char *problem, const char *words, const char *text)
{
    if (problem == NULL || strstr(problem, words) == NULL) {
        fail_msg("\"%s\": expected a problem with \"%s\", got: %s", text, words, problem == NULL ? "none" : problem);
    }
}

static void assert_fine(const char *problem, const char *text)
{
    if (problem != NULL) {
        fail_msg("\"%s\": %s", text, problem);
    }
}

/* ---- rates, durations, sizes ------------------------------------------------------------------------------------- */

static void rates_are_tokens_per_period(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct rule_rate rate;
    } cases[] = {
        { "100/second", { 100, S } },
        { "5/minute", { 5, M } },
        { "1/hour", { 1, H } },
        { "7/day", { 7, D } },
        { "3/90s", { 3, 90 * S } },
        { "2/1m30s", { 2, 90 * S } },
        { "1/1ms", { 1, MS } },
        { "1000000000/second", { 1000000000, S } },
        { "1000000/1ms", { 1000000, MS } },
        { "1/3650d", { 1, 3650 * D } },
        { "315360000000000000/3650d", { 3650 * D, 3650 * D } },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_rate rate;
        assert_fine(rule_rate(cases[i].text, &rate), cases[i].text);
        assert_int_equal(rate.tokens, cases[i].rate.tokens);
        assert_int_equal(rate.period_ns, cases[i].rate.period_ns);
    }
}

static void a_rate_that_is_none_is_explained(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "a rate is written like" },
        { "100", "a rate is written like" },
        { "/second", "a rate is written like" },
        { "100/", "a rate is written like" },
        { "100/fortnight", "a rate is written like" },
        { "100/seconds", "a rate is written like" },
        { "100 /second", "a rate is written like" },
        { " 100/second", "a rate is written like" },
        { "100/second ", "a rate is written like" },
        { "100/Second", "a rate is written like" },
        { "-1/second", "a rate is written like" },
        { "+1/second", "a rate is written like" },
        { "1.5/second", "a rate is written like" },
        { "1e3/second", "a rate is written like" },
        { "0x10/second", "a rate is written like" },
        { "007/second", "a rate is written like" },
        { "0/second", "at least 1" },
        { "1/0s", "at least 1ms" },
        { "1/90", "a duration is written like" },
        { "1/1m30", "a duration is written like" },
        { "1/3651d", "at most 3650d" },
        { "1000000001/second", "at most 1000000000 per second" },
        { "1000001/1ms", "at most 1000000000 per second" },
        { "315360000000000001/3650d", "at most 1000000000 per second" },
        { "18446744073709551617/second", "at most 1000000000 per second" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_rate rate = { 42, 43 };
        assert_problem(rule_rate(cases[i].text, &rate), cases[i].words, cases[i].text);
        assert_int_equal(rate.tokens, 42);
        assert_int_equal(rate.period_ns, 43);
    }
}

static void durations_are_nanoseconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } cases[] = {
        { "500ms", 500 * MS },
        { "2s", 2 * S },
        { "1m30s", 90 * S },
        { "1h", H },
        { "7d", 7 * D },
        { "0s", 0 },
        { "0ms", 0 },
        { "1d2h3m4s5ms", D + 2 * H + 3 * M + 4 * S + 5 * MS },
        { "1h5ms", H + 5 * MS },
        { "90m", 90 * M },
        { "3650d", 3650 * D },
        { "3649d24h", 3650 * D },
        { "315360000000ms", 3650 * D },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t ns;
        assert_fine(rule_duration(cases[i].text, &ns), cases[i].text);
        assert_int_equal(ns, cases[i].ns);
    }
}

static void a_duration_that_is_none_is_explained(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "is written like" },
        { "1", "is written like" },
        { "1m30", "is written like" },
        { "30", "is written like" },
        { "s", "is written like" },
        { "-1s", "is written like" },
        { "1 s", "is written like" },
        { "1s ", "is written like" },
        { "1s1m", "is written like" },
        { "1s1s", "is written like" },
        { "1ms1s", "is written like" },
        { "1mss", "is written like" },
        { "1sm", "is written like" },
        { "1S", "is written like" },
        { "1us", "is written like" },
        { "1w", "is written like" },
        { "1.5s", "is written like" },
        { "01s", "is written like" },
        { "1m00s", "is written like" },
        { "1s\n", "is written like" },
        { "3651d", "at most 3650d" },
        { "3650d1ms", "at most 3650d" },
        { "99999999999d", "at most 3650d" },
        { "18446744073709551617s", "at most 3650d" },
        { "99999999999999999999999999999999ms", "at most 3650d" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t ns = 42;
        assert_problem(rule_duration(cases[i].text, &ns), cases[i].words, cases[i].text);
        assert_int_equal(ns, 42);
    }
}

static void sizes_are_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        { "0", 0 },
        { "512", 512 },
        { "16KiB", 16384 },
        { "1MiB", 1 << 20 },
        { "2GiB", UINT64_C(2) << 30 },
        { "1KB", 1000 },
        { "3MB", 3000000 },
        { "1GB", 1000000000 },
        { "0KiB", 0 },
        { "1048576GiB", UINT64_C(1) << 50 },
        { "1125899906842624", UINT64_C(1) << 50 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t bytes;
        assert_fine(rule_size(cases[i].text, &bytes), cases[i].text);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void a_size_that_is_none_is_explained(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "is written like" },         { "KiB", "is written like" },    { "16 KiB", "is written like" },
        { "16kib", "is written like" },    { "16K", "is written like" },    { "16kB", "is written like" },
        { "-1", "is written like" },       { "1.5MiB", "is written like" }, { "01KiB", "is written like" },
        { "1KiBB", "is written like" },    { "1TiB", "is written like" },   { "1048577GiB", "at most" },
        { "1125899906842625", "at most" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t bytes = 42;
        assert_problem(rule_size(cases[i].text, &bytes), cases[i].words, cases[i].text);
        assert_int_equal(bytes, 42);
    }
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static struct rule_ip ip_of(const char *text)
{
    struct rule_ip ip;
    if (!rule_ip_parse(text, strlen(text), &ip)) {
        fail_msg("\"%s\" is an address", text);
    }
    return ip;
}

static void an_address_has_one_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        { "1.2.3.4", "1.2.3.4" },
        { "0.0.0.0", "0.0.0.0" },
        { "255.255.255.255", "255.255.255.255" },
        { "::ffff:1.2.3.4", "1.2.3.4" },
        { "::FFFF:102:304", "1.2.3.4" },
        { "0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4" },
        /* RFC 5952 §4.1: leading zeros; §4.2.1: as short as possible; §4.2.2: not one group; §4.2.3: the longest, the
         * first */
        { "::", "::" },
        { "::1", "::1" },
        { "1::", "1::" },
        { "2001:0db8::0001", "2001:db8::1" },
        { "2001:db8:0:0:0:0:2:1", "2001:db8::2:1" },
        { "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" },
        { "2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1" },
        { "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" },
        { "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" },
        { "0:0:0:0:1:0:0:0", "::1:0:0:0" },
        { "1:0:0:0:0:0:0:0", "1::" },
        { "0:1:0:1:0:1:0:1", "0:1:0:1:0:1:0:1" },
        { "2001:DB8::ABCD", "2001:db8::abcd" },
        { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
        { "::1.2.3.4", "::102:304" },
        { "64:ff9b::192.0.2.1", "64:ff9b::c000:201" },
        { "::fffe:1.2.3.4", "::fffe:102:304" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_ip ip = ip_of(cases[i].text);
        char text[RULE_IP_TEXT];
        assert_int_equal(rule_ip_text(&ip, text), strlen(cases[i].canonical));
        assert_string_equal(text, cases[i].canonical);
        struct rule_ip again = ip_of(text);
        assert_memory_equal(&again, &ip, sizeof ip);
    }
}

static void an_address_that_someone_would_have_to_guess_is_none(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.04",
        "0x7f.0.0.1",
        "127.1",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1.2.3.4:80",
        "1.2.3.",
        ".1.2.3",
        "1..2.3",
        "+1.2.3.4",
        ":",
        ":::",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::8",
        "1::2::3",
        "12345::",
        "::g",
        "::1%eth0",
        "fe80::1%1",
        "[::1]",
        "::1.2.3",
        "::01.2.3.4",
        "1.2.3.4::",
        "::1/64",
        "1:2:3:4:5:6:7:",
        ":1:2:3:4:5:6:7",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffff",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:00",
        "localhost",
        "unknown",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_ip ip;
        if (rule_ip_parse(cases[i], strlen(cases[i]), &ip)) {
            fail_msg("\"%s\" was taken for an address", cases[i]);
        }
    }
}

static void an_address_is_found_by_length_not_by_nul(void **state)
{
    (void)state;
    struct rule_ip ip;
    assert_true(rule_ip_parse("10.0.0.12, 1.1.1.1", 8, &ip));
    assert_int_equal(ip.bytes[15], 1);
    assert_false(rule_ip_parse("1.2.3.4\0", 8, &ip));
    assert_false(rule_ip_parse("1.2\0.3.4", 8, &ip));
}

static void loopback_and_any_are_known_in_both_families(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool loopback, any;
    } cases[] = {
        { "127.0.0.1", true, false },  { "127.255.0.9", true, false },
        { "128.0.0.1", false, false }, { "::1", true, false },
        { "::2", false, false },       { "0.0.0.0", false, true },
        { "::", false, true },         { "0.0.0.1", false, false },
        { "1::", false, false },       { "::ffff:127.0.0.1", true, false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_ip ip = ip_of(cases[i].text);
        assert_int_equal(rule_ip_is_loopback(&ip), cases[i].loopback);
        assert_int_equal(rule_ip_is_any(&ip), cases[i].any);
    }
}

static void masks_keep_what_the_family_says(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned v4, v6;
        const char *masked;
    } cases[] = {
        { "192.0.2.255", 32, 0, "192.0.2.255" },
        { "192.0.2.255", 24, 128, "192.0.2.0" },
        { "192.0.2.255", 25, 128, "192.0.2.128" },
        { "192.0.2.255", 31, 128, "192.0.2.254" },
        { "192.0.2.255", 1, 128, "128.0.0.0" },
        { "192.0.2.255", 0, 128, "0.0.0.0" },
        { "2001:db8:1:2:3:4:5:6", 0, 128, "2001:db8:1:2:3:4:5:6" },
        { "2001:db8:1:2:3:4:5:6", 0, 64, "2001:db8:1:2::" },
        { "2001:db8:1:2:3:4:5:6", 0, 48, "2001:db8:1::" },
        { "2001:db8:1:ffff:3:4:5:6", 0, 49, "2001:db8:1:8000::" },
        { "2001:db8:1:2:3:4:5:6", 0, 0, "::" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_ip ip = ip_of(cases[i].text);
        rule_ip_mask(&ip, cases[i].v4, cases[i].v6);
        char text[RULE_IP_TEXT];
        rule_ip_text(&ip, text);
        assert_string_equal(text, cases[i].masked);
    }
}

static void networks_contain_their_own(void **state)
{
    (void)state;
    static const struct {
        const char *network;
        unsigned prefix;
        const char *inside, *outside;
    } cases[] = {
        { "10.0.0.0/8", 104, "10.255.1.2", "11.0.0.0" },
        { "192.0.2.1", 128, "192.0.2.1", "192.0.2.2" },
        { "192.0.2.1/32", 128, "::ffff:192.0.2.1", "192.0.2.0" },
        { "192.0.2.128/25", 121, "192.0.2.200", "192.0.2.127" },
        { "0.0.0.0/0", 96, "255.255.255.255", "::1" },
        { "fd00::/8", 8, "fdff::1", "fe00::1" },
        { "::1", 128, "::1", "::2" },
        { "2001:db8::/33", 33, "2001:db8:7fff::1", "2001:db8:8000::1" },
        { "::/0", 0, "ffff::", "10.0.0.1" }, /* IPv4 lies in IPv4 networks only */
        { "::/64", 64, "::1", "1.2.3.4" },
        { "::ffff:10.0.0.0/104", 104, "10.1.1.1", "11.1.1.1" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_network network;
        assert_fine(rule_network(cases[i].network, &network), cases[i].network);
        assert_int_equal(network.prefix, cases[i].prefix);
        struct rule_ip inside = ip_of(cases[i].inside), outside = ip_of(cases[i].outside);
        assert_true(rule_network_contains(&network, &inside));
        assert_false(rule_network_contains(&network, &outside));
    }
}

static void a_network_that_is_none_is_explained(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "is written like" },
        { "/8", "is written like" },
        { "10.0.0.0/", "is written like" },
        { "10.0.0.0/x", "is written like" },
        { "10.0.0.0/-1", "is written like" },
        { "300.1.1.1", "is written like" },
        { "10.0.0/8", "is written like" },
        { "any", "is written like" },
        { "10.0.0.0/33", "0 to 32" },
        { "10.0.0.0/08", "0 to 32" },
        { "10.0.0.0/8 ", "0 to 32" },
        { "10.0.0.0/8/8", "0 to 32" },
        { "::/129", "0 to 128" },
        { "::/99999999999999999999", "0 to 128" },
        { "10.0.0.1/8", "the network is 10.0.0.0/8" },
        { "192.0.2.129/25", "the network is 192.0.2.128/25" },
        { "fd00::1/8", "the network is fd00::/8" },
        { "1.2.3.4/0", "the network is 0.0.0.0/0" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_network network = { .prefix = 42 };
        assert_problem(rule_network(cases[i].text, &network), cases[i].words, cases[i].text);
        assert_int_equal(network.prefix, 42);
    }
}

static void listen_addresses_are_numeric(void **state)
{
    (void)state;
    static const struct {
        const char *text, *ip;
        bool v6;
        uint16_t port;
    } cases[] = {
        { "127.0.0.1:8080", "127.0.0.1", false, 8080 },
        { "0.0.0.0:80", "0.0.0.0", false, 80 },
        { "127.0.0.1:0", "127.0.0.1", false, 0 },
        { "1.2.3.4:65535", "1.2.3.4", false, 65535 },
        { "[::1]:8080", "::1", true, 8080 },
        { "[::]:1", "::", true, 1 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_address address;
        assert_fine(rule_address(cases[i].text, &address), cases[i].text);
        char text[RULE_IP_TEXT];
        rule_ip_text(&address.ip, text);
        assert_string_equal(text, cases[i].ip);
        assert_int_equal(address.v6, cases[i].v6);
        assert_int_equal(address.port, cases[i].port);
    }
    static const struct {
        const char *text, *words;
    } wrong[] = {
        { "", "is written like" },
        { ":", "is written like" },
        { ":8080", "is written like" },
        { "8080", "is written like" },
        { "localhost:http", "is written like" },
        { "localhost:80", "is written like" },
        { "*:80", "is written like" },
        { "[::1", "is written like" },
        { "[]:80", "is written like" },
        { "::1:8080", "is written like" },
        { "[1.2.3.4]:80", "is written like" },
        { "127.0.0.1", "the port is missing" },
        { "[::1]", "the port is missing" },
        { "[::1]8080", "the port is missing" },
        { "127.0.0.1:99999", "1 to 65535" },
        { "127.0.0.1:65536", "1 to 65535" },
        { "127.0.0.1:", "1 to 65535" },
        { "127.0.0.1:-1", "1 to 65535" },
        { "127.0.0.1:080", "1 to 65535" },
        { "127.0.0.1:80 ", "1 to 65535" },
        { "127.0.0.1:80:80", "1 to 65535" },
        { "[::ffff:1.2.3.4]:80", "IPv4 address" },
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct rule_address address = { .port = 42 };
        assert_problem(rule_address(wrong[i].text, &address), wrong[i].words, wrong[i].text);
        assert_int_equal(address.port, 42);
    }
}

/* ---- URLs -------------------------------------------------------------------------------------------------------- */

static void urls_are_host_port_and_scheme(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
        bool tls;
    } cases[] = {
        { "http://10.0.0.1:9000", "10.0.0.1", 9000, false },
        { "http://name:9000", "name", 9000, false },
        { "http://name", "name", 80, false },
        { "http://name/", "name", 80, false },
        { "https://api.internal", "api.internal", 443, true },
        { "https://api.internal:8443/", "api.internal", 8443, true },
        { "HTTP://API.Internal", "api.internal", 80, false },
        { "http://[::1]:9000", "::1", 9000, false },
        { "http://[2001:DB8:0::1]", "2001:db8::1", 80, false },
        { "http://[::ffff:1.2.3.4]:1", "1.2.3.4", 1, false },
        { "http://a-b_c.x1", "a-b_c.x1", 80, false },
        { "http://api.internal.:9000", "api.internal.", 9000, false },
        { "http://1a.2b", "1a.2b", 80, false },
        { "http://a:65535", "a", 65535, false },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_url url;
        assert_fine(rule_url(cases[i].text, &url), cases[i].text);
        assert_string_equal(url.host, cases[i].host);
        assert_int_equal(url.port, cases[i].port);
        assert_int_equal(url.tls, cases[i].tls);
    }
    char text[512] = "http://";
    for (size_t i = 7; i < 7 + 253; i++) {
        text[i] = i % 2 == 0 ? '.' : 'a';
    }
    struct rule_url url;
    assert_fine(rule_url(text, &url), text);
    assert_int_equal(strlen(url.host), 253);
    strcat(text, "a");
    assert_problem(rule_url(text, &url), "253 bytes", text);
}

static void a_url_that_is_none_is_explained(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "is a URL like" },
        { "10.0.0.1:9000", "is a URL like" },
        { "http:/a", "is a URL like" },
        { "ftp://a", "is a URL like" },
        { "httpss://a", "is a URL like" },
        { "http://a/v1", "with a path" },
        { "http://a?x", "with a path" },
        { "http://a#x", "with a path" },
        { "http://a//", "with a path" },
        { "http://user@a", "with a user" },
        { "http://user:password@a", "with a user" },
        { "http://a:", "1 to 65535" },
        { "http://a:0", "1 to 65535" },
        { "http://a:65536", "1 to 65535" },
        { "http://a:80x", "1 to 65535" },
        { "http://a:http", "1 to 65535" },
        { "http://[::1]9000", "1 to 65535" },
        { "http://[::1", "in brackets" },
        { "http://[", "in brackets" },
        { "http://[]", "not an IPv6 address" },
        { "http://[1.2.3.4]", "not an IPv6 address" },
        { "http://[::1%25eth0]", "not an IPv6 address" },
        { "http://", "neither a name" },
        { "http:///", "neither a name" },
        { "http://:80", "neither a name" },
        { "http://::1:9000", "neither a name" },
        { "http://300.1.1.1", "neither a name" },
        { "http://1.2.3", "neither a name" },
        { "http://a.1", "neither a name" },
        { "http://a b", "neither a name" },
        { "http://a..b", "neither a name" },
        { "http://.a", "neither a name" },
        { "http://.", "neither a name" },
        { "http://-a", "neither a name" },
        { "http://a-", "neither a name" },
        { "http://a-.b", "neither a name" },
        { "http://b\xc3\xa4", "neither a name" },
        { "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "neither a name" }, /* 64 */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rule_url url = { .port = 42 };
        assert_problem(rule_url(cases[i].text, &url), cases[i].words, cases[i].text);
        assert_int_equal(url.port, 42);
    }
}

static void tokens_are_those_of_rfc_9110(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char text = (char)c;
        bool expected = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
        assert_int_equal(rule_is_token(&text, 1), expected);
    }
    assert_false(rule_is_token("", 0));
    assert_true(rule_is_token("X-Api-Key", 9));
    assert_false(rule_is_token("X Api", 5));
    assert_false(rule_is_token("X-Api:", 6));
    assert_false(rule_is_token("X\0Api", 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_tokens_per_period),
        cmocka_unit_test(a_rate_that_is_none_is_explained),
        cmocka_unit_test(durations_are_nanoseconds),
        cmocka_unit_test(a_duration_that_is_none_is_explained),
        cmocka_unit_test(sizes_are_bytes),
        cmocka_unit_test(a_size_that_is_none_is_explained),
        cmocka_unit_test(an_address_has_one_spelling),
        cmocka_unit_test(an_address_that_someone_would_have_to_guess_is_none),
        cmocka_unit_test(an_address_is_found_by_length_not_by_nul),
        cmocka_unit_test(loopback_and_any_are_known_in_both_families),
        cmocka_unit_test(masks_keep_what_the_family_says),
        cmocka_unit_test(networks_contain_their_own),
        cmocka_unit_test(a_network_that_is_none_is_explained),
        cmocka_unit_test(listen_addresses_are_numeric),
        cmocka_unit_test(urls_are_host_port_and_scheme),
        cmocka_unit_test(a_url_that_is_none_is_explained),
        cmocka_unit_test(tokens_are_those_of_rfc_9110),
    };
    return cmocka_run_group_tests_name("rule", tests, NULL, NULL);
}
