/* worker: one thread, one libuv loop, one front per listener, one upstream pool. Workers share only the generation (generation.h): what is immutable, the
 * limiter behind `admit`, atomics of the upstreams; each counts and logs into blocks of its own.
 *
 *   loop turn:  sockets, timers, upstream events  →  exchange_settle()  →  front_turn()  →  poll
 */
#ifndef WEIR_WORKER_H
#define WEIR_WORKER_H

#include "generation.h"
#include "id.h"

#include <semaphore.h>

struct front;
struct exchange;

/* A worker's share in one generation. Exchanges point to the one they began under. */
struct tenure {
    struct generation *generation;
    struct metrics_worker *metrics;
    struct log_worker *log;
    struct upstreams *upstreams;
    unsigned live;       /* exchanges that hold it */
    struct tenure *next; /* among the worker's past ones */
};

struct worker {
    unsigned index;
    struct uv_loop_s *loop;
    struct tenure *tenure; /* for requests that begin now */
    struct id_source ids;
    struct exchange
        *undecided; /* answers whose head came in this turn and whose body has not ended: exchange_settle() */
    struct exchange *spare;
    struct worker_life *life; /* thread, handles, fronts: worker.c's own */
};

/* Starts the thread. `listen_fds`: one per config.listens, bound and listening, owned by the worker from here on. NULL and a sentence in *why. */
struct worker *worker_start(struct generation *generation, unsigned index, const int *listen_fds, const char **why);
/* From any thread: requests that begin from now on are of another generation. Listeners whose text is in both configs go on; for a new one `listen_fds`
 * has a socket (else -1), which is the worker's from here on. Posts `taken` when it is done; `failed`: memory was short and nothing has changed. One order at
 * a time. */
struct worker_order {
    struct generation *generation;
    const int *listen_fds;
    bool failed;
    sem_t taken;
};
void worker_switch(struct worker *worker, struct worker_order *order);
/* From any thread: no new connections, answers close theirs, the thread ends when nothing is in flight, or after timeouts.shutdown. */
void worker_drain(struct worker *worker);
void worker_join(struct worker **worker);

/* Parts of exchange_handler (front.h) that are the worker's, not one exchange's. */
void worker_on_refused(void *owner, const struct rule_ip *peer, unsigned status);
bool worker_on_connection(void *owner, const struct rule_ip *peer, int change);

/* CLOCK_BOOTTIME, in ns: runs on while the machine sleeps, never jumps. */
uint64_t worker_now_ns(void);

#endif
