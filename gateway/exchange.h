/* exchange: the life of one request. The heart of the gateway: read exchange.c first, from its table of steps down.
 *
 * Between the front (a client) and an upstream (an origin) or an answer of our own. All on one worker's thread.
 */
#ifndef WEIR_EXCHANGE_H
#define WEIR_EXCHANGE_H

#include "front.h"

struct worker;

/* The owner argument of these callbacks is a `struct worker *`. */
extern const struct front_handler exchange_handler;

/* Once per loop turn, after the upstreams and before the front: answers whose body has not come whole in this turn begin to stream. */
void exchange_settle(struct worker *worker);

/* Frees the worker's spare exchanges. None may be live. */
void exchange_drop_spares(struct worker *worker);

#endif
