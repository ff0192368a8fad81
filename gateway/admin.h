/* admin: the operator's pages, on an address and a thread of their own, so that a scrape never delays a request.
 *
 *   GET /healthz   200 while the process lives (never asks for the token: load balancers probe it)
 *   GET /readyz    200, or 503 while draining
 *   GET /metrics   Prometheus text format
 *
 * With a token, everything but /healthz and /readyz wants `Authorization: Bearer TOKEN`. config.c sees to it that without one the address is loopback.
 */
#ifndef WEIR_ADMIN_H
#define WEIR_ADMIN_H

#include "worker.h"

struct admin;

/* `listen_fd` is bound and listening; owned by the admin from here on. NULL and a sentence in *why. */
struct admin *admin_start(struct generation *generation, int listen_fd, const char **why);
void admin_switch(struct admin *admin, struct generation *generation); /* from now on its pages are about this one */
void admin_set_draining(struct admin *admin);                          /* any thread: /readyz says 503 from now on */
void admin_stop(struct admin **admin);                                 /* ends the thread; what it was sending is cut */

#endif
