/* config_clients: addresses, proxies, clients, bounds. */
#include "config_text.h"

static const char before[] = "{ \"routes\": [ { \"path\": \"/\", \"respond\": {} } ],";
static const char after[] = "}";

static void listen_is_an_address_an_object_or_a_list_of_both(void **state)
{
    (void)state;
    struct config *config = load_between(before, "\"headers\": \"none\"", after);
    assert_int_equal(config->listen_count, 1);
    assert_string_equal(config->listens[0].text, "127.0.0.1:8080");
    assert_int_equal(config->listens[0].address.port, 8080);
    config_free(&config);
    config = load_between(before, "\"listen\": \"[::1]:81\"", after);
    assert_int_equal(config->listen_count, 1);
    assert_true(config->listens[0].address.v6);
    config_free(&config);
    config = load_between(before, "\"listen\": { \"address\": \"0.0.0.0:81\" }", after);
    assert_string_equal(config->listens[0].text, "0.0.0.0:81");
    config_free(&config);
    config = load_between(before, "\"listen\": [\"127.0.0.1:0\", { \"address\": \"127.0.0.1:82\" }, \"127.0.0.1:0\"]",
                          after);
    assert_int_equal(config->listen_count, 3);
    assert_int_equal(config->listens[0].address.port, 0);
    assert_int_equal(config->listens[1].address.port, 82);
    config_free(&config);
}

static void listen_takes_one_certificate_or_a_list(void **state)
{
    (void)state;
    struct config *config = load_between(before, "\"listen\": { \"address\": \"127.0.0.1:82\" }", after);
    assert_int_equal(config->listens[0].certificate_count, 0);
    config_free(&config);
    static const char pair[] = "{ \"certificate\": \"/proc/self/exe\", \"key\": \"/proc/self/../self/exe\" }";
    char text[512];
    snprintf(text, sizeof text, "\"listen\": { \"address\": \"127.0.0.1:82\", \"tls\": %s }", pair);
    config = load_between(before, text, after);
    assert_int_equal(config->listens[0].certificate_count, 1);
    assert_string_equal(config->listens[0].certificates[0].certificate, "/proc/self/exe");
    assert_string_equal(config->listens[0].certificates[0].key, "/proc/self/../self/exe");
    config_free(&config);
    snprintf(text, sizeof text, "\"listen\": [{ \"address\": \"127.0.0.1:82\", \"tls\": [%s, %s] }]", pair, pair);
    config = load_between(before, text, after);
    assert_int_equal(config->listens[0].certificate_count, 2);
    config_free(&config);
}

static void certificates_are_files_that_can_be_read(void **state)
{
    (void)state;
#define TLS "\"listen\": { \"address\": \"127.0.0.1:1\", \"tls\": "
    static const struct refusal cases[] = {
        { TLS "true }", "2:46 listen.tls", "expected an object with \"certificate\" and \"key\", found true" },
        { TLS "[] }", "2:46 listen.tls", "found an empty one" },
        { TLS "{ \"certificate\": \"/proc/self/exe\" } }", "2:46 listen.tls", "\"key\" is missing" },
        { TLS "{ \"certificate\": \"/proc/self/exe\", \"key\": 1 } }", "2:88 listen.tls.key",
          "the path of a PEM file" },
        { TLS "[{ \"certificate\": \"/nowhere/x\", \"key\": \"/proc/self/exe\" }] }", "2:64 listen.tls[0].certificate",
          "\"/nowhere/x\": cannot open it: No such file" },
        { TLS "{ \"certificate\": \"/proc/self/exe\", \"key\": \"/dev/null\" } }", "2:88 listen.tls.key",
          "not a regular file" },
        { TLS "{ \"certificate\": \"/proc/self/exe\", \"keys\": \"x\" } }", "2:81 listen.tls.keys",
          "did you mean \"key\"" },
    };
#undef TLS
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void listen_refuses_what_cannot_be_bound(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"listen\": \"127.0.0.1:99999\"", "2:11 listen", "\"127.0.0.1:99999\": a port is a number from 1 to 65535" },
        { "\"listen\": \":\"", "2:11 listen", "is written like 127.0.0.1:8080" },
        { "\"listen\": \"[::1\"", "2:11 listen", "is written like 127.0.0.1:8080" },
        { "\"listen\": \"localhost:http\"", "2:11 listen", "names are not looked up" },
        { "\"listen\": 8080", "2:11 listen", "expected an address such as \"127.0.0.1:8080\", found the number 8080" },
        { "\"listen\": null", "2:11 listen", "expected an address such as \"127.0.0.1:8080\", found null" },
        { "\"listen\": []", "2:11 listen", "expected a list of addresses, found an empty one" },
        { "\"listen\": [\"127.0.0.1:1\", 5]", "2:27 listen[1]", "expected an address" },
        { "\"listen\": {}", "2:11 listen", "\"address\" is missing" },
        { "\"listen\": { \"address\": 5 }", "2:24 listen.address", "expected an address" },
        { "\"listen\": { \"adress\": \"127.0.0.1:1\" }", "2:13 listen.adress", "did you mean \"address\"?" },
        { "\"listen\": [\"127.0.0.1:1\", \"[::1]:1\", { \"address\": \"127.0.0.1:1\" }]", "2:38 listen[2]",
          "this is the address of listen[0], too" },
        { "\"listen\": [\"127.0.0.1:1\", \"127.0.0.1:9901\"]", "2:11 listen",
          "would share the address \"127.0.0.1:9901\"" },
        { "\"admin\": { \"listen\": \"127.0.0.1:8080\" }", "2:22 admin.listen",
          "would share the address \"127.0.0.1:8080\"" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
}

static void workers_are_auto_or_a_number(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"workers\": 0", "2:12 workers", "expected a whole number from 1 to 1024, found the number 0" },
        { "\"workers\": 1025", "2:12 workers", "found the number 1025" },
        { "\"workers\": \"4\"", "2:12 workers",
          "expected \"auto\" (one worker per CPU) or a whole number from 1 to 1024, found \"4\"" },
        { "\"workers\": true", "2:12 workers", "expected a whole number" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config = load_between(before, "\"workers\": \"auto\"", after);
    assert_int_equal(config->workers, 0);
    config_free(&config);
    config = load_between(before, "\"workers\": 1024", after);
    assert_int_equal(config->workers, 1024);
    config_free(&config);
}

static void trusted_proxies_are_networks(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"trusted_proxies\": [\"10.0.0.0/33\"]", "2:21 trusted_proxies[0]", "0 to 32" },
        { "\"trusted_proxies\": [\"300.1.1.1\"]", "2:21 trusted_proxies[0]", "a network is written like" },
        { "\"trusted_proxies\": [\"10.0.0.0/8\", \"::/129\"]", "2:35 trusted_proxies[1]", "0 to 128" },
        { "\"trusted_proxies\": [\"\"]", "2:21 trusted_proxies[0]", "a network is written like" },
        { "\"trusted_proxies\": [\"10.0.0.1/8\"]", "2:21 trusted_proxies[0]", "the network is 10.0.0.0/8" },
        { "\"trusted_proxies\": [5]", "2:21 trusted_proxies[0]",
          "expected a network such as \"10.0.0.0/8\", found the number 5" },
        { "\"trusted_proxies\": \"10.0.0.0/8\"", "2:20 trusted_proxies", "expected a list of networks" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config =
        load_between(before, "\"trusted_proxies\": [\"10.0.0.0/8\", \"fd00::/8\", \"192.0.2.1\"]", after);
    assert_int_equal(config->trusted_proxy_count, 3);
    assert_int_equal(config->trusted_proxies[1].prefix, 8);
    assert_int_equal(config->trusted_proxies[2].prefix, 128);
    config_free(&config);
    config = load_between(before, "\"trusted_proxies\": []", after);
    assert_int_equal(config->trusted_proxy_count, 0);
    config_free(&config);
}

static void prefixes_and_counts_are_bounded(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        { "\"client_ip\": { \"ipv4_prefix\": 33 }", "2:31 client_ip.ipv4_prefix", "from 0 to 32, found the number 33" },
        { "\"client_ip\": { \"ipv6_prefix\": 129 }", "2:31 client_ip.ipv6_prefix",
          "from 0 to 128, found the number 129" },
        { "\"sizes\": { \"connections\": 0 }", "2:27 sizes.connections", "from 1 to 10000000, found the number 0" },
        { "\"sizes\": { \"connections\": \"20000\" }", "2:27 sizes.connections", "found a string" },
    };
    assert_each_refused(before, after, cases, COUNT(cases));
    struct config *config =
        load_between(before, "\"sizes\": { \"connections_per_ip\": 0 }, \"client_ip\": { \"ipv4_prefix\": 0 }", after);
    assert_int_equal(config->sizes.connections_per_ip, 0);
    assert_int_equal(config->client_ip.ipv4_prefix, 0);
    assert_int_equal(config->client_ip.ipv6_prefix, 64);
    config_free(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listen_is_an_address_an_object_or_a_list_of_both),
        cmocka_unit_test(listen_takes_one_certificate_or_a_list),
        cmocka_unit_test(certificates_are_files_that_can_be_read),
        cmocka_unit_test(listen_refuses_what_cannot_be_bound),
        cmocka_unit_test(workers_are_auto_or_a_number),
        cmocka_unit_test(trusted_proxies_are_networks),
        cmocka_unit_test(prefixes_and_counts_are_bounded),
    };
    return cmocka_run_group_tests_name("config_clients", tests, NULL, NULL);
}
