/* pool: the connections of one worker to one upstream: those kept between requests, and the bound on all of them.
 *
 * The bound (config: connections) holds over all workers together, so a worker must not sit on idle connections that
 * leave others none. Each keeps at most its even share of the bound idle: a worker with nothing finds at least its
 * own share not idle elsewhere.
 *
 * Kept connections are used again last in, first out: the warmest is taken, the surplus grows old and is closed.
 */
#ifndef WEIR_POOL_H
#define WEIR_POOL_H

#include "agenda.h"
#include "balance.h"
#include "config.h"
#include "list.h"
#include "resolve.h"
#include "uplink.h"

/* Of one upstream, for all workers. */
struct pool_shared {
    alignas(64) _Atomic uint64_t open; /* connections, also those being opened */
    alignas(64) struct balance balance;
    _Atomic bool checked; /* a worker's checker asks the servers */
};
/* False when memory is short. */
bool pool_shared_init(struct pool_shared *shared, const struct config_upstream *config);
void pool_shared_fini(struct pool_shared *shared);

struct pool_server {
    struct pool *pool;
    const struct config_server *config;
    struct balance_server *balance;
    struct resolve resolve;
    struct list idle;     /* uplinks, the last used first */
    struct list nameless; /* dials that wait for its addresses */
};

struct checker;

struct pool {
    const struct config_upstream *config;
    struct pool_shared *shared;
    const _Atomic unsigned *workers; /* how many pools share the bound */
    const struct uplink_home *home;
    struct agenda *agenda;
    struct checker *checker;     /* config: health; or NULL */
    struct pool_server *servers; /* config->server_count */
    struct list waiting;         /* dials that wait for a connection to become free, the first first */
    struct deadline_list connects, responses, idles, looks;
    struct deadline look; /* set while dials wait: other workers do not tell when they free a slot */
    struct balance_worker balance;
    uint64_t open, idle, connects_made, reused, failures;
};

/* Addresses are looked up from here on; on_name is told when those of a server are. False when memory is short. */
bool pool_init(struct pool *pool, const struct config_upstream *config, struct pool_shared *shared,
               const _Atomic unsigned *workers, const struct uplink_home *home, struct agenda *agenda,
               void (*on_name)(struct resolve *resolve));
/* All its uplinks but idle ones have been dropped, nobody waits. */
void pool_fini(struct pool *pool);

/* The kept connection to `server` that was used last, or with NULL to any; NULL when there is none. It is the
 * caller's. */
struct uplink *pool_take(struct pool *pool, struct pool_server *server);

/* A new connection to the server, at the address whose turn it is. NULL: why says what is in the way; with
 * POOL_PROBLEM, *problem too. */
enum pool_refusal { POOL_FULL, POOL_NAMELESS, POOL_PROBLEM };
struct uplink *pool_open(struct pool_server *server, enum pool_refusal *why, const char **problem);

void pool_keep(struct uplink **uplink);   /* after a request: for the next one, or closes it */
void pool_drop(struct uplink **uplink);   /* closes it: one of the caller's, or an idle one */
bool pool_drop_oldest(struct pool *pool); /* of the idle ones, to make room; false when there is none */

void pool_drop_expired(struct pool *pool);
bool pool_has_room(const struct pool *pool); /* a connection is idle, or one more may be opened */

#endif
