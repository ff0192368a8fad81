/* identity: whatever the fields say, the client is an address that somebody trusted wrote, and a key is well formed.
 *
 * Input: a head as tests/head.h reads it. Its peer is trusted, as are 10.0.0.0/8 and fd00::/8.
 */
#include "identity.h"

#include "../head.h"
#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct rule_network trusted[] = {
    { .base = { { [10] = 0xff, 0xff, 203, 0, 113, 7 } }, .prefix = 128 },
    { .base = { { [10] = 0xff, 0xff, 10 } }, .prefix = 104 },
    { .base = { { 0xfd } }, .prefix = 8 },
};

static void check_client(struct request *request, char *header)
{
    struct config config = { .client_ip = { .header = header } };
    struct identity identity = identity_of(request, &config);
    CHECK(!identity.peer_trusted);
    CHECK(memcmp(&identity.client, &request->peer, sizeof identity.client) == 0);
    config.trusted_proxies = trusted;
    config.trusted_proxy_count = sizeof trusted / sizeof *trusted;
    identity = identity_of(request, &config);
    CHECK(identity.peer_trusted);
    if (request_field(request, (struct slice){ header, strlen(header) }) == NULL) {
        CHECK(memcmp(&identity.client, &request->peer, sizeof identity.client) == 0);
    }
    /* What a proxy appends decides, whatever stands left of it. */
    if (request->field_count < REQUEST_FIELDS_MAX) {
        bool forwarded = strcmp(header, "forwarded") == 0;
        request->fields[request->field_count++] =
            (struct field){ { header, strlen(header) },
                            forwarded ? SLICE("for=\"[2001:db8::7]:1\"") : SLICE("2001:db8::7") };
        static const uint8_t appended[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 7 };
        identity = identity_of(request, &config);
        CHECK(memcmp(identity.client.bytes, appended, sizeof appended) == 0);
        request->field_count--;
    }
}

static void check_key(const struct request *request, struct config_source *sources, size_t source_count)
{
    struct identity identity = { .client = request->peer };
    struct config_route route = { .name = (char[]){ "GET /x" } };
    struct config_limit limit = { .sources = sources, .source_count = source_count };
    char *key = malloc(IDENTITY_KEY_MAX);
    size_t length = 0;
    if (identity_key(request, &identity, &route, &limit, key, IDENTITY_KEY_MAX, &length) == IDENTITY_KEY) {
        CHECK(length >= 4 * source_count && length <= IDENTITY_KEY_MAX);
        size_t at = 0;
        for (size_t i = 0; i < source_count; i++) {
            const unsigned char *head = (unsigned char *)key + at;
            at += 4 + ((size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
            CHECK(at <= length);
        }
        CHECK(at == length);
    }
    for (size_t size = 1; size <= 64; size *= 8) {
        char *text = malloc(size);
        size_t shown = identity_key_text(key, length, &limit, text, size);
        CHECK(shown < size && text[shown] == '\0');
        for (size_t i = 0; i < shown; i++) {
            CHECK(text[i] >= ' ' && text[i] < 0x7f);
        }
        free(text);
    }
    free(key);
}

static void check_foreign_key(const uint8_t *data, size_t size)
{
    struct config_source sources[] = { { .kind = CONFIG_SOURCE_CLIENT_IP }, { .kind = CONFIG_SOURCE_PATH } };
    struct config_limit limit = { .sources = sources, .source_count = 2 };
    char *key = malloc(size);
    if (size > 0) {
        memcpy(key, data, size);
    }
    char text[32];
    CHECK(identity_key_text(key, size, &limit, text, sizeof text) == strlen(text));
    free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char name[] = "k";
    struct config_source sources[] = {
        { .kind = CONFIG_SOURCE_HEADER, .name = name },
        { .kind = CONFIG_SOURCE_COOKIE, .name = name },
        { .kind = CONFIG_SOURCE_QUERY, .name = name },
        { .kind = CONFIG_SOURCE_CLIENT_IP, .ipv4_prefix = 24, .ipv6_prefix = 64 },
    };
    static char headers[][16] = { "x-forwarded-for", "forwarded", "x-real-ip" };
    struct head *head = head_of_bytes((const char *)data, size);
    head_check(head); /* for path and query; identity is asked of accepted requests only, but must not depend on it */
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        check_client(&head->request, headers[i]);
    }
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        check_key(&head->request, &sources[i], 1);
    }
    check_key(&head->request, sources, sizeof sources / sizeof *sources);
    check_foreign_key(data, size);
    head_free(&head);
    return 0;
}
