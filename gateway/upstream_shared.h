/* upstream_shared: what the upstreams of all workers share: open connections, and how busy and how well each server is.
 * For upstream.c; everybody else sees upstream.h.
 */
#ifndef WEIR_UPSTREAM_SHARED_H
#define WEIR_UPSTREAM_SHARED_H

#include "pool.h"

struct upstream_shared {
    _Atomic unsigned workers;
    size_t count;
    struct pool_shared pools[];
};

#endif
