/* activation: listening sockets that a service manager opened before weir was started: systemd's LISTEN_FDS protocol (sd_listen_fds(3)), by hand.
 *
 * Such a socket outlives the process: clients that connect during a restart wait in its queue instead of being refused, and ports below 1024 need no right.
 * Main thread only.
 */
#ifndef WEIR_ACTIVATION_H
#define WEIR_ACTIVATION_H

#include "rule.h"

/* Once, before any thread and any listener: takes the sockets over and forgets the variables, so that nobody takes them twice. */
void activation_take(void);
/* The passed socket that listens on exactly this address, once for each of `count` users: all are the same socket, so all share one queue. 0 and fds[] filled,
 * or the errno: ENOENT when there is none. */
int activation_use(const struct rule_address *address, int *fds, unsigned count);
/* Closes what nobody has used, one sentence each. Used ones are kept for configs to come. */
void activation_close_unused(void);

#endif
