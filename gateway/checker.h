/* checker: asks the servers of one upstream how they are (config: health), and keeps those that are not well from
 * getting requests.
 *
 * Each server is asked once in an interval, by a GET on a connection of its own that is outside the bound on
 * connections: a full upstream is not a sick one. A status from 200 to 399 is good; anything else, and no answer within
 * the interval or 2 s, is bad. `fall` bad answers in a row make a server unhealthy, `rise` good ones healthy again; the
 * very first answer decides by itself, so that a gateway that starts or reloads knows at once.
 *
 * Every worker has a checker, one of the process works: whichever claims the upstream first, until it ends.
 */
#ifndef WEIR_CHECKER_H
#define WEIR_CHECKER_H

#include "pool.h"

struct checker;

/* `buffer` is the worker's, as in uplink_home. NULL when memory is short. Pool and buffer outlive it. */
MUST_CHECK struct checker *checker_create(struct pool *pool, char *buffer);
void checker_destroy(struct checker **checker); /* frees itself when the loop has closed its handles */

#endif
