/* resolve: see resolve.h. */
#include "resolve.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Outlives its asker if need be: a thread cannot be called back from getaddrinfo(). */
struct resolve_lookup {
    uv_getaddrinfo_t request;
    struct resolve *resolve; /* NULL: nobody waits any more */
};

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(union resolve_address));
}

/* Sorted: a resolver answers in another order each time, which is no change. */
static size_t collect(const struct addrinfo *answers, uint16_t port,
                      union resolve_address out[static RESOLVE_ADDRESSES])
{
    size_t count = 0;
    memset(out, 0, RESOLVE_ADDRESSES * sizeof out[0]);
    for (const struct addrinfo *a = answers; a != NULL && count < RESOLVE_ADDRESSES; a = a->ai_next) {
        if (a->ai_family == AF_INET && a->ai_addrlen == sizeof out->v4) {
            memcpy(&out[count].v4, a->ai_addr, sizeof out->v4);
            out[count++].v4.sin_port = htons(port);
        } else if (a->ai_family == AF_INET6 && a->ai_addrlen == sizeof out->v6) {
            memcpy(&out[count].v6, a->ai_addr, sizeof out->v6);
            out[count++].v6.sin6_port = htons(port);
        }
    }
    qsort(out, count, sizeof out[0], compare);
    return count;
}

static bool is_known(const struct resolve *resolve, const union resolve_address *addresses, size_t count)
{
    bool known = count == resolve->count;
    for (size_t i = 0; known && i < count; i++) {
        known = compare(&addresses[i], &resolve->addresses[i]) == 0;
    }
    return known;
}

static void adopt(struct resolve *resolve, const struct addrinfo *answers)
{
    union resolve_address addresses[RESOLVE_ADDRESSES];
    size_t count = collect(answers, resolve->port, addresses);
    if (count > 0 && !is_known(resolve, addresses, count)) {
        memcpy(resolve->addresses, addresses, sizeof addresses);
        resolve->count = count;
        resolve->generation++;
    }
}

static void on_answer(uv_getaddrinfo_t *request, int status, struct addrinfo *answers)
{
    struct resolve_lookup *lookup = request->data;
    struct resolve *resolve = lookup->resolve;
    if (resolve != NULL) {
        resolve->lookup = NULL;
        if (status == 0) {
            adopt(resolve, answers);
        }
        resolve->on_done(resolve);
    }
    uv_freeaddrinfo(answers);
    free(lookup);
}

static void look_up(struct resolve *resolve)
{
    static const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    resolve->asked_ms = uv_now(resolve->loop);
    struct resolve_lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL) {
        return;
    }
    lookup->request.data = lookup;
    lookup->resolve = resolve;
    if (uv_getaddrinfo(resolve->loop, &lookup->request, on_answer, resolve->host, NULL, &hints) != 0) {
        free(lookup);
        return;
    }
    resolve->lookup = lookup;
}

static bool take_literal(struct resolve *resolve)
{
    union resolve_address *address = &resolve->addresses[0];
    return uv_ip4_addr(resolve->host, resolve->port, &address->v4) == 0 ||
           uv_ip6_addr(resolve->host, resolve->port, &address->v6) == 0;
}

void resolve_init(struct resolve *resolve, struct uv_loop_s *loop, const char *host, uint16_t port,
                  void (*on_done)(struct resolve *resolve))
{
    *resolve = (struct resolve){ .loop = loop, .host = host, .port = port, .on_done = on_done };
    if (take_literal(resolve)) {
        resolve->literal = true;
        resolve->count = 1;
    } else {
        look_up(resolve);
    }
}

void resolve_init_socket(struct resolve *resolve, struct uv_loop_s *loop, const char *path,
                         void (*on_done)(struct resolve *resolve))
{
    *resolve = (struct resolve){ .loop = loop, .host = path, .on_done = on_done, .literal = true, .count = 1 };
    struct sockaddr_un *address = &resolve->addresses[0].socket;
    size_t length = strlen(path);
    CHECK(length < sizeof address->sun_path);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length + 1);
}

void resolve_fini(struct resolve *resolve)
{
    if (resolve->lookup != NULL) {
        resolve->lookup->resolve = NULL;
        uv_cancel((uv_req_t *)&resolve->lookup->request); /* fails when a thread has begun it: then it ends by itself */
        resolve->lookup = NULL;
    }
}

static bool asked_within(const struct resolve *resolve, uint64_t ms)
{
    return uv_now(resolve->loop) - resolve->asked_ms < ms;
}

const struct sockaddr *resolve_next(struct resolve *resolve)
{
    if (!resolve->literal && resolve->lookup == NULL && !asked_within(resolve, RESOLVE_OLD_MS)) {
        look_up(resolve);
    }
    return resolve->count > 0 ? &resolve->addresses[resolve->next++ % resolve->count].any : NULL;
}

bool resolve_again(struct resolve *resolve)
{
    if (!resolve->literal && resolve->lookup == NULL && !asked_within(resolve, RESOLVE_AGAIN_MS)) {
        look_up(resolve);
    }
    return resolve->lookup != NULL;
}
