/* balance: which server of an upstream takes the next request, and which are left alone for a while.
 *
 * Three ways (config: balance), each by the servers' weights:
 *
 *   least_requests  the power of two choices: of two servers drawn at random, the one with fewer requests in flight for
 *                   its weight. Nearly as even as asking all of them, and workers that act on the same counts do not
 *                   all run to the same server (Mitzenmacher 2001).
 *   round_robin     in turn, smoothly: a, a, b, a for 3 and 1, never a, a, a, b (nginx's). Each worker for itself.
 *   hash            the same client always goes to the same server: rendezvous hashing (Thaler and Ravishankar 1998)
 *                   by the servers' URLs. When one goes, only its clients move; gateways of one config agree.
 *
 * Health is active where servers are asked (checker.h): who is unhealthy is skipped, unless all are. And it is
 * passive everywhere: a server that failed to accept connections several times in a row is skipped for a moment,
 * unless all are. When the moment is over one request may try it; the others see it down until that one has
 * succeeded.
 *
 * Shared by all workers: atomics, no locks.
 */
#ifndef WEIR_BALANCE_H
#define WEIR_BALANCE_H

#include "check.h"
#include "config.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BALANCE_FAILURES 3    /* in a row until a server is down: one may be chance, a restart of it is more */
#define BALANCE_DOWN_MS  1000 /* then at most one failed attempt per second */

struct balance_server {
    alignas(64) _Atomic uint32_t requests; /* in flight; the three change together, and apart from other servers' */
    _Atomic uint32_t failures;             /* to connect, since it last succeeded */
    _Atomic uint64_t down_until_ms;        /* 0: it is up */
    _Atomic bool unhealthy;                /* it was asked, and is not well */
    uint64_t name;                         /* hash of its URL */
    unsigned weight;                       /* ≥ 1 */
};
static_assert(sizeof(struct balance_server) == 64, "one cache line per server");

/* Of one upstream, for all workers. */
struct balance {
    enum config_balance way;
    bool even; /* all weights are equal */
    uint64_t weight;
    size_t count; /* ≥ 1 */
    struct balance_server *servers;
};
/* False when memory is short. */
MUST_CHECK bool balance_init(struct balance *balance, const struct config_upstream *config);
void balance_fini(struct balance *balance);

/* What one worker remembers between its choices. */
struct balance_worker {
    uint64_t random;  /* state of a generator, not 0 */
    int64_t *credits; /* round_robin: what each server is owed; in sum 0 */
};
MUST_CHECK bool balance_worker_init(struct balance_worker *worker, const struct balance *balance, uint64_t seed);
void balance_worker_fini(struct balance_worker *worker);

/* Servers by index. All zero: none. */
struct balance_set {
    uint64_t bits[CONFIG_SERVERS_MAX / 64];
    size_t count;
};
bool balance_set_has(const struct balance_set *set, size_t server);
void balance_set_add(struct balance_set *set, size_t server);

struct balance_ask {
    const struct balance_set *tried; /* to be left out; not all of them */
    uint64_t now_ms;
    uint64_t client; /* hash: balance_hash() of whom the request is from */
};

/* An index below balance->count. */
size_t balance_choose(struct balance *balance, struct balance_worker *worker, const struct balance_ask *ask);

uint64_t balance_hash(const void *bytes, size_t length); /* the same on every gateway; not against adversaries */

void balance_begin(struct balance_server *server); /* a request is given to it … */
void balance_end(struct balance_server *server);   /* … and over */

void balance_succeeded(struct balance_server *server); /* it accepted a connection */
void balance_failed(struct balance_server *server, uint64_t now_ms);

bool balance_is_down(const struct balance_server *server); /* it gets no requests, or only trials */

/* What its health checks say. True when that is news. */
bool balance_set_healthy(struct balance_server *server, bool healthy);
bool balance_is_healthy(const struct balance_server *server);

#endif
