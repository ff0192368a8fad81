/* dial: gets one call a connection: chooses a server, takes a kept connection or opens one, waits for its turn, its
 * address, its answer, and tries the next address, then other servers (config: retries) when one fails; all within the
 * connect timeout, of which a server that did not answer has used up its own: the next one has another.
 *
 *   start ──► kept connection at hand ─────────────────────────────────────────────► on_dialed
 *     │
 *     └──► SLOT (all connections are in use) ──► NAME (no address yet) ──► CONNECT ──► on_dialed
 *            ▲                                                               │
 *            └── the server's next address, then other servers ◄─────────────┴──► on_undialed
 *
 * While it waits, nothing of the request has been sent.
 */
#ifndef WEIR_DIAL_H
#define WEIR_DIAL_H

#include "pool.h"
#include "upstream.h"

struct dial;

/* May be called from within dial_start() and dial_again(). Neither may start a dial from within. */
struct dial_events {
    void (*on_dialed)(struct dial *dial, struct uplink *uplink); /* its owner's now: pool_keep() or pool_drop() it */
    void (*on_undialed)(struct dial *dial, enum upstream_failure failure, const char *detail);
};

enum dial_wait { DIAL_NOTHING, DIAL_SLOT, DIAL_NAME, DIAL_CONNECT };

struct dial {
    const struct dial_events *events;
    struct pool *pool;          /* NULL: never started, or stopped */
    struct pool_server *server; /* chosen; its requests in flight count this one until dial_stop(); kept for its name */
    struct uplink *uplink;      /* DIAL_CONNECT */
    enum dial_wait wait;
    struct list link; /* in pool->waiting or server->nameless */
    struct deadline deadline;
    size_t attempts;          /* failed addresses of this server */
    bool fresh;               /* kept connections do not serve */
    struct balance_set tried; /* servers that were of no use to this call */
    uint64_t client;          /* balance_ask.client */
};

void dial_start(struct dial *dial, struct pool *pool, uint64_t client, const struct dial_events *events);
/* Once more, on a new connection: the one it got was a stale one, and dropped. */
void dial_again(struct dial *dial);
/* The call is over, dialed or not. Nothing happens when it was never started or has been stopped. */
void dial_stop(struct dial *dial);

/* What the loop tells, passed on: */
void dial_on_connected(struct uplink *uplink, const char *problem); /* uplink->dial is set */
void dial_on_name(struct resolve *resolve);                         /* a pool_server's */
void dial_serve(struct pool *pool);                                 /* something became free: those who wait, in turn */
void dial_on_due(struct pool *pool);                                /* deadlines of the pool's connects and looks */

#endif
