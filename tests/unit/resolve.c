/* resolve: a scripted resolver and a scripted clock are linked in place of libuv's. */
#include "resolve.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

/* The resolver: remembers the last question, answers when the test says so. */

static uv_loop_t loop;
static uint64_t now_ms;
static struct {
    unsigned count, cancelled;
    uv_getaddrinfo_t *request;
    uv_getaddrinfo_cb answer;
    bool refuse;
} asked;

uint64_t uv_now(const uv_loop_t *of)
{
    assert_ptr_equal(of, &loop);
    return now_ms;
}

int uv_getaddrinfo(uv_loop_t *on, uv_getaddrinfo_t *request, uv_getaddrinfo_cb answer, const char *node,
                   const char *service, const struct addrinfo *hints)
{
    assert_ptr_equal(on, &loop);
    assert_string_equal(node, "api.internal");
    assert_null(service);
    assert_int_equal(hints->ai_socktype, SOCK_STREAM);
    if (asked.refuse) {
        return UV_ENOMEM;
    }
    asked.count++;
    asked.request = request;
    asked.answer = answer;
    return 0;
}

int uv_cancel(uv_req_t *request)
{
    assert_ptr_equal(request, asked.request);
    asked.cancelled++;
    return UV_EBUSY; /* a thread is at it */
}

void uv_freeaddrinfo(struct addrinfo *answers)
{
    while (answers != NULL) {
        struct addrinfo *next = answers->ai_next;
        free(answers);
        answers = next;
    }
}

static struct addrinfo *address(const char *text, struct addrinfo *next)
{
    bool v6 = strchr(text, ':') != NULL;
    struct addrinfo *info = calloc(1, sizeof *info + sizeof(union resolve_address));
    union resolve_address *value = (union resolve_address *)(info + 1);
    info->ai_family = value->any.sa_family = v6 ? AF_INET6 : AF_INET;
    info->ai_addr = &value->any;
    info->ai_addrlen = v6 ? sizeof value->v6 : sizeof value->v4;
    inet_pton(info->ai_family, text, v6 ? (void *)&value->v6.sin6_addr : (void *)&value->v4.sin_addr);
    info->ai_next = next;
    return info;
}

static void answer(struct addrinfo *answers)
{
    asked.answer(asked.request, answers != NULL ? 0 : UV_EAI_NONAME, answers);
}

/* Whose turn it is, as "address port". */
static const char *next(struct resolve *resolve)
{
    static char text[INET6_ADDRSTRLEN + 8];
    const struct sockaddr *taken = resolve_next(resolve);
    if (taken == NULL) {
        return "none";
    }
    union resolve_address value = { 0 };
    memcpy(&value, taken, taken->sa_family == AF_INET6 ? sizeof value.v6 : sizeof value.v4);
    bool v6 = taken->sa_family == AF_INET6;
    inet_ntop(taken->sa_family, v6 ? (void *)&value.v6.sin6_addr : (void *)&value.v4.sin_addr, text, sizeof text);
    snprintf(text + strlen(text), 8, " %u", ntohs(v6 ? value.v6.sin6_port : value.v4.sin_port));
    return text;
}

static unsigned done;

static void on_done(struct resolve *resolve)
{
    (void)resolve;
    done++;
}

static int begin(void **state)
{
    (void)state;
    memset(&asked, 0, sizeof asked);
    now_ms = 1000000;
    done = 0;
    return 0;
}

static void an_address_is_never_looked_up(void **state)
{
    (void)state;
    static const struct {
        const char *host, *taken;
    } cases[] = { { "10.1.2.3", "10.1.2.3 9000" }, { "::1", "::1 9000" }, { "2001:db8::7", "2001:db8::7 9000" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct resolve resolve;
        resolve_init(&resolve, &loop, cases[i].host, 9000, on_done);
        assert_string_equal(next(&resolve), cases[i].taken);
        now_ms += 10 * RESOLVE_OLD_MS;
        assert_string_equal(next(&resolve), cases[i].taken);
        assert_false(resolve_again(&resolve));
        resolve_fini(&resolve);
    }
    assert_int_equal(asked.count, 0);
}

static void a_socket_is_its_own_address(void **state)
{
    (void)state;
    struct resolve resolve;
    resolve_init_socket(&resolve, &loop, "/run/api.sock", on_done);
    for (int i = 0; i < 3; i++) {
        const struct sockaddr *address = resolve_next(&resolve);
        assert_int_equal(address->sa_family, AF_UNIX);
        assert_string_equal(((const struct sockaddr_un *)(const void *)address)->sun_path, "/run/api.sock");
        now_ms += 10 * RESOLVE_OLD_MS;
        assert_false(resolve_again(&resolve));
    }
    resolve_fini(&resolve);
    assert_int_equal(asked.count, 0);
}

static void all_addresses_of_a_name_are_used_in_turn(void **state)
{
    (void)state;
    struct resolve resolve;
    resolve_init(&resolve, &loop, "api.internal", 80, on_done);
    assert_int_equal(asked.count, 1);
    assert_string_equal(next(&resolve), "none");
    assert_true(resolve_again(&resolve)); /* it is under way */
    answer(address("10.0.0.2", address("2001:db8::1", address("10.0.0.1", NULL))));
    assert_int_equal(done, 1);
    assert_int_equal(resolve.count, 3);
    unsigned seen[3] = { 0 };
    for (int i = 0; i < 9; i++) {
        const char *taken = next(&resolve);
        seen[0] += strcmp(taken, "10.0.0.1 80") == 0;
        seen[1] += strcmp(taken, "10.0.0.2 80") == 0;
        seen[2] += strcmp(taken, "2001:db8::1 80") == 0;
    }
    assert_true(seen[0] == 3 && seen[1] == 3 && seen[2] == 3);
    assert_int_equal(asked.count, 1);
    resolve_fini(&resolve);
}

static void an_old_answer_is_used_while_it_is_renewed(void **state)
{
    (void)state;
    struct resolve resolve;
    resolve_init(&resolve, &loop, "api.internal", 80, on_done);
    answer(address("10.0.0.1", NULL));
    uint64_t generation = resolve.generation;
    now_ms += RESOLVE_OLD_MS - 1;
    (void)next(&resolve);
    assert_int_equal(asked.count, 1);
    now_ms += 1;
    assert_string_equal(next(&resolve), "10.0.0.1 80");
    assert_string_equal(next(&resolve), "10.0.0.1 80");
    assert_int_equal(asked.count, 2);
    answer(NULL); /* no such name: the old answer is better than none */
    assert_string_equal(next(&resolve), "10.0.0.1 80");
    assert_int_equal(resolve.generation, generation);
    now_ms += RESOLVE_OLD_MS;
    (void)next(&resolve);
    answer(address("10.0.0.9", NULL));
    assert_string_equal(next(&resolve), "10.0.0.9 80");
    assert_int_equal(resolve.generation, generation + 1);
    resolve_fini(&resolve);
}

static void another_order_is_no_change(void **state)
{
    (void)state;
    struct resolve resolve;
    resolve_init(&resolve, &loop, "api.internal", 80, on_done);
    answer(address("10.0.0.1", address("10.0.0.2", NULL)));
    uint64_t generation = resolve.generation;
    now_ms += RESOLVE_AGAIN_MS;
    assert_true(resolve_again(&resolve));
    answer(address("10.0.0.2", address("10.0.0.1", NULL)));
    assert_int_equal(resolve.generation, generation);
    resolve_fini(&resolve);
}

static void failures_do_not_make_it_ask_all_the_time(void **state)
{
    (void)state;
    struct resolve resolve;
    resolve_init(&resolve, &loop, "api.internal", 80, on_done);
    answer(NULL);
    for (int i = 0; i < 100; i++) {
        assert_false(resolve_again(&resolve));
    }
    now_ms += RESOLVE_AGAIN_MS;
    assert_true(resolve_again(&resolve));
    assert_true(resolve_again(&resolve));
    assert_int_equal(asked.count, 2);
    answer(address("10.0.0.1", NULL));
    asked.refuse = true;
    now_ms += RESOLVE_AGAIN_MS;
    assert_false(resolve_again(&resolve)); /* cannot even be asked */
    assert_string_equal(next(&resolve), "10.0.0.1 80");
    resolve_fini(&resolve);
}

static void more_addresses_than_there_is_room_for_are_ignored(void **state)
{
    (void)state;
    struct resolve resolve;
    struct addrinfo *answers = NULL;
    for (int i = 0; i < RESOLVE_ADDRESSES + 5; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.0.0.%d", i + 1);
        answers = address(text, answers);
    }
    resolve_init(&resolve, &loop, "api.internal", 80, on_done);
    answer(answers);
    assert_int_equal(resolve.count, RESOLVE_ADDRESSES);
    resolve_fini(&resolve);
}

static void an_answer_that_nobody_waits_for_is_dropped(void **state)
{
    (void)state;
    struct resolve resolve;
    resolve_init(&resolve, &loop, "api.internal", 80, on_done);
    resolve_fini(&resolve);
    assert_int_equal(asked.cancelled, 1);
    answer(address("10.0.0.1", NULL));
    assert_int_equal(done, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_address_is_never_looked_up, begin),
        cmocka_unit_test_setup(a_socket_is_its_own_address, begin),
        cmocka_unit_test_setup(all_addresses_of_a_name_are_used_in_turn, begin),
        cmocka_unit_test_setup(an_old_answer_is_used_while_it_is_renewed, begin),
        cmocka_unit_test_setup(another_order_is_no_change, begin),
        cmocka_unit_test_setup(failures_do_not_make_it_ask_all_the_time, begin),
        cmocka_unit_test_setup(more_addresses_than_there_is_room_for_are_ignored, begin),
        cmocka_unit_test_setup(an_answer_that_nobody_waits_for_is_dropped, begin),
    };
    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
