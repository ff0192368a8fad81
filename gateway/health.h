/* health: a container's HEALTHCHECK, asked through the binary itself, so that the image needs no curl. */
#ifndef WEIR_HEALTH_H
#define WEIR_HEALTH_H

/* GETs an http URL with a path and waits at most 2 s. 0: the answer was 200. 1: it was not, or there was none; one sentence on stderr says which. */
int health_ask(const char *url);

#endif
