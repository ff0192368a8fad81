/* rule: the small notations of a weir config, as numbers.
 *
 * "100/minute", "1m30s", "64KiB", "10.0.0.0/8", "[::]:8443", "http://10.0.0.1:9000" → structs. Pure functions on
 * NUL-terminated text: no clock, no I/O, no names resolved, no allocation. Each returns NULL and fills `out`, or
 * returns one static sentence that says what is wrong and what would be right, and leaves `out` alone. Fuzzed
 * (tests/fuzz).
 *
 * Addresses are kept as 16 bytes; an IPv4 address is IPv4-mapped (RFC 4291 §2.5.5.2), so that ::ffff:1.2.3.4 and
 * 1.2.3.4 are one.
 */
#ifndef WEIR_RULE_H
#define WEIR_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rule_rate {
    uint64_t tokens;    /* ≥ 1 */
    uint64_t period_ns; /* ≥ 1 ms */
};
/* "100/second" "5/minute" "1/hour" "7/day" "3/90s" "2/1m30s". At most 10^9 per second. */
const char *rule_rate(const char *text, struct rule_rate *out);

/* "500ms" "2s" "1m30s" "1h" "7d": units in falling order, each at most once, none left out between number and number.
 * Nanoseconds; at most 10 years. "0s" is allowed here; members that need more say so. */
const char *rule_duration(const char *text, uint64_t *nanoseconds);

/* "0" "512" "16KiB" "1MiB" "2GiB" (also "KB" "MB" "GB", decimal). Bytes; at most 2^50. */
const char *rule_size(const char *text, uint64_t *bytes);

struct rule_ip {
    uint8_t bytes[16]; /* network order; IPv4 as ::ffff:a.b.c.d */
};
/* Strict: dotted decimal without leading zeros, or RFC 4291 text; no zone, no port. `length` bytes, need not end in
 * NUL: this is also what walks X-Forwarded-For. */
bool rule_ip_parse(const char *text, size_t length, struct rule_ip *out);
bool rule_ip_is_v4(const struct rule_ip *ip);
bool rule_ip_is_loopback(const struct rule_ip *ip); /* 127.0.0.0/8, ::1 */
bool rule_ip_is_any(const struct rule_ip *ip);      /* 0.0.0.0, :: */
/* Canonical text (RFC 5952; IPv4-mapped as dotted decimal). Returns its length. */
#define RULE_IP_TEXT 46
size_t rule_ip_text(const struct rule_ip *ip, char out[static RULE_IP_TEXT]);
/* Clears all but the first v4_prefix (of 32) or v6_prefix (of 128) bits, by what `ip` is. */
void rule_ip_mask(struct rule_ip *ip, unsigned v4_prefix, unsigned v6_prefix);

struct rule_network {
    struct rule_ip base; /* host bits are zero */
    unsigned prefix;     /* of 128: an IPv4 /8 is 104 */
};
/* "10.0.0.0/8" "192.0.2.1" "fd00::/8". Host bits that are set are an error that names the network meant (that sentence
 * lives until the thread's next call). */
const char *rule_network(const char *text, struct rule_network *out);
/* IPv4 addresses lie in IPv4 networks only: ::/0 is every IPv6 address. */
bool rule_network_contains(const struct rule_network *network, const struct rule_ip *ip);

struct rule_address {
    struct rule_ip ip;
    bool v6;       /* the socket's family */
    uint16_t port; /* 1 … 65535; 0 where the caller allows "pick one" */
};
/* "127.0.0.1:8080" "[::1]:8080" "0.0.0.0:80". No names: a listener binds an address. Port 0 is allowed (tests). */
const char *rule_address(const char *text, struct rule_address *out);

#define RULE_HOST_MAX 254
struct rule_url {
    char host[RULE_HOST_MAX]; /* name or address without brackets; lower case */
    uint16_t port;            /* default 80, 443 for https */
    bool tls;
};
/* "http://name:9000" "http://[::1]:9000" "https://api.internal". No path but "/", no user, no query. */
const char *rule_url(const char *text, struct rule_url *out);

/* RFC 9110 §5.6.2 token. */
bool rule_is_token(const char *text, size_t length);

#endif
