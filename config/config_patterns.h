/* config_patterns: the hosts and paths that routes are written with. Pure. */
#ifndef WEIR_CONFIG_PATTERNS_H
#define WEIR_CONFIG_PATTERNS_H

#include "arena.h"

/* NULL, or a sentence. A pattern that no normalised path can match (dot segments, //, encoded letters) is an error,
 * too. */
const char *config_patterns_path(const char *path);

/* NULL, or a sentence. "api.example.com", "*.example.com", "192.0.2.1", "[::1]"; no port, letters of either case. */
const char *config_patterns_host(const char *host);

/* What the path matches, without the names of its {segments}: patterns of one shape match the same
 * paths. %2f is %2F. */
char *config_patterns_shape(struct arena *arena, const char *path);

#endif
