/* load: what the readers of a configuration share while they read it. */
#ifndef WEIR_LOAD_H
#define WEIR_LOAD_H

#include "arena.h"
#include "config.h"
#include "config_errors.h"
#include "document.h"
#include "names.h"

struct load {
    jmp_buf short_of_memory; /* where both arenas jump to */
    struct arena lasting;    /* the config's own memory: it outlives the load */
    struct arena scratch;    /* text, tree, errors: gone when the load is over */
    struct config_faults faults;
    struct config *config;       /* in `lasting`, filled as the readers go */
    struct names upstream_names; /* index: into config->upstreams; complete before the first route is read */
    struct names limit_names;    /* index: into config->limits; likewise */
};

#endif
