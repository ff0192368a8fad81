/* listener: sockets that accept. One per address and worker, spread by the kernel (SO_REUSEPORT). */
#ifndef WEIR_LISTENER_H
#define WEIR_LISTENER_H

#include "rule.h"

/* Opens `count` listening sockets on one address into fds[]. Port 0 picks one and writes it back, the same for all. False and errno when it cannot; nothing is left
 * open then. An address that another process listens on is EADDRINUSE, although SO_REUSEPORT would have let us share it. */
bool listener_open(struct rule_address *address, int *fds, unsigned count);

struct sockaddr_storage;
/* The address a socket is bound to, as the config would say it. False when it is neither IPv4 nor IPv6. */
bool listener_address(const struct sockaddr_storage *where, struct rule_address *out);

/* "127.0.0.1:8080", "[::1]:8080". */
#define LISTENER_TEXT (RULE_IP_TEXT + 8)
void listener_text(const struct rule_address *address, char out[static LISTENER_TEXT]);

#endif
