/* route: (host, method, path) → which route of the config.
 *
 * Most specific wins: exact host over wildcard (longer suffix first) over none; then exact path, `{name}` segments compared segment
 * by segment (literal over {name}), longer prefix over shorter. A route whose methods do not fit is as if it were not there.
 * Compiled once at load; a look-up allocates nothing and its cost does not grow with the number of routes but with the length of the
 * path (hash of literal paths and prefixes per host; a trie for {name}). Pure; any thread.
 */
#ifndef WEIR_ROUTE_H
#define WEIR_ROUTE_H

#include "config.h"
#include "request.h"

struct routes;

/* Borrows the config, which must outlive it. NULL when memory is short. */
struct routes *routes_create(const struct config *config);
void routes_destroy(struct routes **routes);

/* Index into config.routes, or -1. host, path: as request_check() left them; method as sent. */
int routes_find(const struct routes *routes, struct slice host, struct slice method, struct slice path);

#endif
