/* balance: which server of an upstream takes the next request, and which are left alone for a while.
 *
 * Least requests by the power of two choices: of two servers drawn at random, the one with fewer requests in flight.
 * Nearly as even as asking all of them, and workers that act on the same counts do not all run to the same server
 * (Mitzenmacher 2001).
 *
 * Health is passive: a server that failed to accept connections several times in a row is skipped for a moment,
 * unless all are. When the moment is over one request may try it; the others see it down until that one has
 * succeeded.
 *
 * Shared by all workers: atomics, no locks.
 */
#ifndef WEIR_BALANCE_H
#define WEIR_BALANCE_H

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
};
static_assert(sizeof(struct balance_server) == 64, "one cache line per server");

#define BALANCE_NONE SIZE_MAX

/* An index below `count` (≥ 1) that is not `avoid` (BALANCE_NONE: none to avoid; with it count is ≥ 2). `random` is
 * the caller's generator, not 0. */
size_t balance_choose(struct balance_server *servers, size_t count, size_t avoid, uint64_t now_ms, uint64_t *random);

void balance_begin(struct balance_server *server); /* a request is given to it … */
void balance_end(struct balance_server *server);   /* … and over */

void balance_succeeded(struct balance_server *server); /* it accepted a connection */
void balance_failed(struct balance_server *server, uint64_t now_ms);

bool balance_is_down(const struct balance_server *server);

#endif
