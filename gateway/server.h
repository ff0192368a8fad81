/* server: one process serving one config: its shared state, its workers, its admin pages, its signals. */
#ifndef WEIR_SERVER_H
#define WEIR_SERVER_H

#include "config.h"

/* SIGHUP reads the config's file again and, when it is good, serves it from then on without losing a request; SIGUSR1 reopens the access log.
 * Serves until SIGTERM or SIGINT, drains, and returns the exit code: 0 after a drain, 1 when it could not start (one sentence on stderr says why). A second signal
 * ends it at once. Takes the config over. */
int server_run(struct config *config);

#endif
