/* generation: one config and everything made of it: routes, limiter, counters, log, what upstreams share.
 *
 * Built by the main thread, read by all; a reload builds the next one beside it. A request belongs to the generation it began under until it ends, so
 * nothing changes beneath it. A generation is freed when the last worker has left it (worker.h: tenure).
 *
 * What must outlive a config is handed from one generation to the next: the limits' state by limit name (limiter.h), the counters by the names of their
 * labels (metrics.h).
 */
#ifndef WEIR_GENERATION_H
#define WEIR_GENERATION_H

#include "admit.h"
#include "config.h"
#include "log.h"
#include "metrics.h"
#include "reply.h"
#include "route.h"
#include "tls.h"
#include "upstream.h"

/* What is the process's, whichever generation serves. */
struct generation_process {
    _Atomic uint64_t reloads, reloads_failed;
};

struct generation {
    struct generation_process *process; /* borrowed */
    struct config *config;
    struct tls **tls; /* of each of config.listens; NULL: plain */
    struct routes *routes;
    struct reply_policies *policies;
    struct admit *admit;
    struct metrics *metrics;
    struct log *log;
    struct upstream_shared *upstreams;
    struct limiter
        *connections; /* in-flight counts of client connections: limit 0 the process's, limit 1 per address */
    /* Threads that still use it. Release on leaving, acquire on finding 0: what they wrote is seen before it is freed. */
    _Atomic unsigned users;
    struct generation *next; /* the server's list of those that wait to be freed */
};

/* Takes the config over, also when it fails: NULL and a sentence in *why. `previous`: the one serving now, or NULL at start. */
struct generation *generation_create(struct config *config, unsigned workers, struct generation *previous,
                                     uint64_t now_ns, const char **why);
/* `heir`: the one serving now takes over what was counted meanwhile; NULL at the end of the process. CHECKs that nobody uses it. */
void generation_destroy(struct generation **generation, const struct generation *heir);

#endif
