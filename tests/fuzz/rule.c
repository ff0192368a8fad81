/* rule: every notation, given any bytes, yields a value within its bounds or a sentence; and what it yields can be
 * written and read again. The first byte chooses the notation. */
#include "rule.h"
#include "check.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ip(const char *text, size_t length)
{
    struct rule_ip ip, again;
    if (!rule_ip_parse(text, length, &ip)) {
        return;
    }
    char canonical[RULE_IP_TEXT];
    size_t canonical_length = rule_ip_text(&ip, canonical);
    CHECK(canonical_length < RULE_IP_TEXT && strlen(canonical) == canonical_length);
    CHECK(rule_ip_parse(canonical, canonical_length, &again));
    CHECK(memcmp(&ip, &again, sizeof ip) == 0);
    rule_ip_mask(&again, 24, 64);
    struct rule_network network = { .base = again, .prefix = rule_ip_is_v4(&ip) ? 96 + 24 : 64 };
    /* An IPv4 address never becomes one of another family by being masked; an IPv6 one may, as the mapped prefix is 0.
     */
    CHECK(!rule_ip_is_v4(&ip) || (rule_ip_is_v4(&again) && rule_network_contains(&network, &ip)));
}

static void check_network(const char *text)
{
    struct rule_network network;
    const char *problem = rule_network(text, &network);
    if (problem != NULL) {
        CHECK(problem[0] != '\0');
        return;
    }
    CHECK(network.prefix <= 128);
    CHECK(rule_network_contains(&network, &network.base) || network.prefix < 96);
}

static void check_address_and_url(const char *text)
{
    struct rule_address address;
    struct rule_url url;
    if (rule_address(text, &address) == NULL) {
        CHECK(address.v6 != rule_ip_is_v4(&address.ip));
    }
    if (rule_url(text, &url) == NULL) {
        CHECK(url.port > 0 && url.host[0] != '\0' && strlen(url.host) < RULE_HOST_MAX);
        CHECK(strpbrk(url.host, "[]/@?# \r\n") == NULL);
    }
}

static void check_quantities(const char *text)
{
    struct rule_rate rate;
    uint64_t number;
    if (rule_rate(text, &rate) == NULL) {
        CHECK(rate.tokens >= 1 && rate.period_ns >= 1000000 && rate.tokens <= rate.period_ns);
    }
    if (rule_duration(text, &number) == NULL) {
        CHECK(number <= UINT64_C(3650) * 86400 * 1000000000 && number % 1000000 == 0);
    }
    if (rule_size(text, &number) == NULL) {
        CHECK(number <= UINT64_C(1) << 50);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t length = size - 1;
    char *text = malloc(length + 1); /* of exactly this size: a byte read too many is seen */
    memcpy(text, data + 1, length);
    text[length] = '\0';
    switch (data[0] % 5) {
    case 0:
        check_ip(text, length);
        break;
    case 1:
        check_network(text);
        break;
    case 2:
        check_address_and_url(text);
        break;
    case 3:
        check_quantities(text);
        break;
    default:
        CHECK(!rule_is_token(text, length) || (length > 0 && strpbrk(text, " :,;\"()/\r\n") == NULL));
    }
    free(text);
    return 0;
}
