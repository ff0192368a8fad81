/* worker: one thread, one libuv loop, one front per listener, one upstream pool. Workers share only the immutable config, the limiter behind `admit`, and
 * atomics of the upstreams; each counts and logs into blocks of its own.
 *
 *   loop turn:  sockets, timers, upstream events  →  exchange_settle()  →  front_turn()  →  poll
 */
#ifndef WEIR_WORKER_H
#define WEIR_WORKER_H

#include "admit.h"
#include "config.h"
#include "id.h"
#include "log.h"
#include "metrics.h"
#include "reply.h"
#include "route.h"
#include "upstream.h"

struct front;
struct exchange;

/* What all workers of a process share. Borrowed from the server; outlives every worker. */
struct worker_shared {
    const struct config *config;
    const struct routes *routes;
    struct reply_policies *policies;
    struct admit *admit;
    struct metrics *metrics;
    struct log *log;
    struct upstream_shared *upstreams;
    struct limiter *
        connections; /* in-flight counts of client connections: limit 0 the process's, limit 1 per address (if bounded) */
    bool connections_per_ip;
};

struct worker {
    const struct worker_shared *shared;
    unsigned index;
    struct uv_loop_s *loop;
    struct metrics_worker *metrics;
    struct log_worker *log;
    struct upstreams *upstreams;
    struct front **fronts; /* one per config.listens */
    struct id_source ids;
    struct exchange
        *undecided; /* answers whose head came in this turn and whose body has not ended: exchange_settle() */
    struct exchange *spare;
    struct worker_life *life; /* thread, handles: worker.c's own */
};

/* Starts the thread. `listen_fds`: one per config.listens, bound and listening, owned by the worker from here on. NULL and a sentence in *why. */
struct worker *worker_start(const struct worker_shared *shared, unsigned index, const int *listen_fds,
                            const char **why);
/* From any thread: no new connections, answers close theirs, the thread ends when nothing is in flight, or after timeouts.shutdown. */
void worker_drain(struct worker *worker);
void worker_join(struct worker **worker);

/* Parts of exchange_handler (front.h) that are the worker's, not one exchange's. */
void worker_on_refused(void *owner, const struct rule_ip *peer, unsigned status);
bool worker_on_connection(void *owner, const struct rule_ip *peer, int change);

/* CLOCK_BOOTTIME, in ns: runs on while the machine sleeps, never jumps. */
uint64_t worker_now_ns(void);

#endif
