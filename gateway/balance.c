/* balance: see balance.h. All counters are relaxed: each is a fact of its own that publishes no other memory. */
#include "balance.h"

/* xorshift64 (Marsaglia 2003): a draw needs to be even, not secret. */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

bool balance_is_down(const struct balance_server *server)
{
    return atomic_load_explicit(&server->down_until_ms, memory_order_relaxed) != 0;
}

/* Up, or down for long enough and this caller is the one that may try. */
static bool may_try(struct balance_server *server, uint64_t now_ms)
{
    uint64_t until = atomic_load_explicit(&server->down_until_ms, memory_order_relaxed);
    return until == 0 || (now_ms >= until && atomic_compare_exchange_strong_explicit(
                                                 &server->down_until_ms, &until, now_ms + BALANCE_DOWN_MS,
                                                 memory_order_relaxed, memory_order_relaxed));
}

static uint32_t requests(const struct balance_server *server)
{
    return atomic_load_explicit(&server->requests, memory_order_relaxed);
}

/* The next one, in a circle, that may be tried; `first` itself when none may. */
static size_t next_usable(struct balance_server *servers, size_t count, size_t first, size_t avoid, uint64_t now_ms)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = (first + i) % count;
        if (at != avoid && may_try(&servers[at], now_ms)) {
            return at;
        }
    }
    return first;
}

size_t balance_choose(struct balance_server *servers, size_t count, size_t avoid, uint64_t now_ms, uint64_t *random)
{
    if (count == 1) {
        return 0;
    }
    size_t a = draw(random) % count;
    if (a == avoid) {
        a = (a + 1) % count;
    }
    a = next_usable(servers, count, a, avoid, now_ms);
    size_t b = (a + 1 + draw(random) % (count - 1)) % count; /* any other */
    bool b_is_better = b != avoid && !balance_is_down(&servers[b]) && requests(&servers[b]) < requests(&servers[a]);
    return b_is_better && !balance_is_down(&servers[a]) ? b : a;
}

void balance_begin(struct balance_server *server)
{
    atomic_fetch_add_explicit(&server->requests, 1, memory_order_relaxed);
}

void balance_end(struct balance_server *server)
{
    atomic_fetch_sub_explicit(&server->requests, 1, memory_order_relaxed);
}

void balance_succeeded(struct balance_server *server)
{
    /* Read first: a line that only agrees stays shared between the workers' caches. */
    if (atomic_load_explicit(&server->failures, memory_order_relaxed) != 0) {
        atomic_store_explicit(&server->failures, 0, memory_order_relaxed);
        atomic_store_explicit(&server->down_until_ms, 0, memory_order_relaxed);
    }
}

void balance_failed(struct balance_server *server, uint64_t now_ms)
{
    uint32_t failures = atomic_fetch_add_explicit(&server->failures, 1, memory_order_relaxed) + 1;
    if (failures >= BALANCE_FAILURES) {
        atomic_store_explicit(&server->down_until_ms, now_ms + BALANCE_DOWN_MS, memory_order_relaxed);
    }
}
