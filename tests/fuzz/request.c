/* request: no head may make the judge read beside its bytes, and what it lets pass must be what it promised.
 *
 * Input: a head as tests/head.h reads it. What is accepted is routed, and the hop-by-hop rule asked of each field.
 */
#include "request.h"

#include "../head.h"
#include "check.h"
#include "route.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has(struct slice text, const char *part)
{
    return memmem(text.at, text.length, part, strlen(part)) != NULL;
}

static bool ends(struct slice text, const char *end)
{
    size_t length = strlen(end);
    return text.length >= length && memcmp(text.at + text.length - length, end, length) == 0;
}

static void check_refusal(struct request_problem problem)
{
    static const unsigned statuses[] = { 400, 405, 413, 417, 501, 505 };
    bool known = false;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        known |= problem.status == statuses[i];
    }
    CHECK(known || problem.status == 431); /* of a long Connection only: the scratch is as large as promised */
    CHECK(problem.detail != NULL && strlen(problem.detail) > 10);
}

static void check_path(struct slice path)
{
    if (slice_equals(path, SLICE("*"))) {
        return;
    }
    CHECK(path.length > 0 && path.at[0] == '/');
    CHECK(!has(path, "//") && !has(path, "/./") && !has(path, "/../"));
    CHECK(!ends(path, "/.") && !ends(path, "/.."));
    CHECK(!has(path, "\\") && !has(path, "%00") && !has(path, "%2e") && !has(path, "%2E"));
    char *again = malloc(path.length + 1);
    size_t length = target_normalise(path, again);
    CHECK(slice_equals((struct slice){ again, length }, path));
    free(again);
}

static void check_target(const struct request *request)
{
    check_path(request->path);
    CHECK(request->origin_form.length > 0);
    CHECK(request->origin_form.at[0] == '/' || slice_equals(request->origin_form, SLICE("*")));
    for (size_t i = 0; i < request->origin_form.length; i++) {
        CHECK(request->origin_form.at[i] > ' ' && request->origin_form.at[i] < 0x7f &&
              request->origin_form.at[i] != '#');
    }
    CHECK(request->http_1_0 || request->host.length > 0);
    static const char host_bytes[] = "abcdefghijklmnopqrstuvwxyz0123456789-._~[]:";
    for (size_t i = 0; i < request->host.length; i++) {
        CHECK(memchr(host_bytes, request->host.at[i], sizeof host_bytes - 1) != NULL);
    }
    CHECK(!ends(request->host, "."));
}

static void check_body(const struct request *request)
{
    const struct field *length = request_field(request, SLICE("content-length"));
    const struct field *coding = request_field(request, SLICE("transfer-encoding"));
    CHECK((request->body == REQUEST_LENGTH) == (length != NULL));
    CHECK((request->body == REQUEST_CHUNKED) == (coding != NULL));
    CHECK(request->content_length <= INT64_MAX);
    CHECK(!(request->http_1_0 && (coding != NULL || request->upgrade || request->expect_continue)));
}

static void check_fields(const struct request *request)
{
    for (size_t i = 0; i < request->field_count; i++) {
        const struct field *field = &request->fields[i];
        CHECK(rule_is_token(field->name.at, field->name.length));
        bool dropped = request_hop_by_hop(request->fields, request->field_count, field->name);
        CHECK(!dropped || !slice_equals_nocase(field->name, SLICE("host")));
        CHECK(!dropped || !slice_equals_nocase(field->name, SLICE("content-length")));
        CHECK(!dropped || !slice_equals_nocase(field->name, SLICE("x-forwarded-for")));
        CHECK(dropped || !slice_equals_nocase(field->name, SLICE("transfer-encoding")));
        CHECK(dropped || !slice_equals_nocase(field->name, SLICE("connection")));
    }
}

static void check_route(const struct request *request)
{
    static char paths[][16] = { "/login", "/{a}/{b}/c", "/{a}/",          "/{a}/x*", "/a/{b}",
                                "/a/b*",  "/",          "/a/b/{c}/{d}/e", "/" };
    enum { ROUTES = sizeof paths / sizeof *paths, WILDCARD = 6 };
    static char wildcard[] = "*.test";
    static struct config_route list[ROUTES];
    static struct config config = { .routes = list, .route_count = ROUTES };
    static struct routes *routes;
    if (routes == NULL) {
        for (size_t i = 0; i < ROUTES; i++) {
            list[i].path = paths[i];
        }
        list[WILDCARD].host = wildcard;
        routes = routes_create(&config);
        CHECK(routes != NULL);
    }
    int found = routes_find(routes, request->host, request->method, request->path);
    CHECK(found >= 0 && found < ROUTES); /* the last takes everything */
    CHECK(found != 0 || slice_equals(request->path, SLICE("/login")));
    CHECK(found != WILDCARD || ends(request->host, ".test"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct head *head = head_of_bytes((const char *)data, size);
    struct request_problem problem = head_check(head);
    if (problem.status != 0) {
        check_refusal(problem);
    } else {
        check_target(&head->request);
        check_body(&head->request);
        check_fields(&head->request);
        check_route(&head->request);
    }
    head_free(&head);
    return 0;
}
