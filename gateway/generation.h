/* generation: one config and everything made of it: routes, limiter, counters, log, what upstreams share.
 *
 * Built by the main thread, read by all; a reload builds the next one beside it. A request belongs to the generation it began under until it ends, so
 * nothing changes beneath it. A generation is freed when the last worker has left it (worker.h: tenure).
 *
 * What must outlive a config is handed from one generation to the next.
 */
#ifndef WEIR_GENERATION_H
#define WEIR_GENERATION_H

#include "admit.h"
#include "config.h"
#include "log.h"
#include "metrics.h"
#include "reply.h"
#include "route.h"
#include "upstream.h"

struct generation {
    struct config *config;
    struct routes *routes;
    struct reply_policies *policies;
    struct admit *admit;
    struct metrics *metrics;
    struct log *log;
    struct upstream_shared *upstreams;
    struct limiter
        *connections; /* in-flight counts of client connections: limit 0 the process's, limit 1 per address */
    bool connections_per_ip;
    /* Threads that still use it. Release on leaving, acquire on finding 0: what they wrote is seen before it is freed. */
    _Atomic unsigned users;
};

/* Takes the config over, also when it fails: NULL and a sentence in *why. */
struct generation *generation_create(struct config *config, unsigned workers, const char **why);
void generation_destroy(struct generation **generation); /* CHECKs that nobody uses it */

#endif
