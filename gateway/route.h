/* route: (host, method, path) → which route of the config.
 *
 * The most specific route that fits wins; of two that are equally specific, the one written first. In this order:
 *
 *   1. host: exact over wildcard ("*.example.com": one or more labels in front; the longer suffix first) over none;
 *   2. path: one that fits from end to end over a prefix ("/v1/", "/v1/x*"); among either kind segment by segment
 *      from the left: literal over {name}, {name} over the beginning of a segment ("x*", the longer first), that over
 *      a prefix that ends earlier. So a literal path beats {name}, and a longer prefix a shorter one;
 *   3. method: named in `methods` over named by GET (a route for GET also takes HEAD) over routes for any method.
 *
 * A route that does not fit in all three is as if it were not there. Hosts and paths are compared in the spelling of
 * target.h, methods and paths with case. {name} takes exactly one segment that is not empty; "/" takes everything,
 * also "*" (OPTIONS *); "/v1/" does not take "/v1"; "/v1/x" does not take "/v1/x/".
 *
 * Compiled once at load. A look-up allocates nothing, and its cost does not grow with the number of routes but with
 * the length of the path: see route.c. Pure; any thread.
 */
#ifndef WEIR_ROUTE_H
#define WEIR_ROUTE_H

#include "check.h"
#include "config.h"
#include "request.h"

struct routes;

/* Borrows the config, which must outlive it. NULL when memory is short. */
MUST_CHECK struct routes *routes_create(const struct config *config);
void routes_destroy(struct routes **routes);

/* Index into config.routes, or -1. host, path: as request_check() left them; method as sent. */
MUST_CHECK int routes_find(const struct routes *routes, struct slice host, struct slice method, struct slice path);

#endif
