/* target: what a request points at: the forms of its target (RFC 9112 §3.2), the authority, the path in one spelling.
 *
 * The parts of request_check() that know RFC 3986. Pure: no I/O, no allocation; any thread. Slices borrow from their
 * arguments.
 */
#ifndef WEIR_TARGET_H
#define WEIR_TARGET_H

#include "request.h"

struct target {
    bool absolute;          /* absolute-form: `authority` is part of the target and wins over Host (RFC 9112 §3.2.2) */
    struct slice authority; /* host[:port] as sent; empty when not absolute */
    struct slice path;      /* as sent; may be empty in absolute-form; "*" for asterisk-form */
    struct slice query;     /* after the first '?'; empty when none */
    struct slice rest;      /* path?query as sent: all that follows the authority */
};

/* Takes a raw target apart and checks every byte of it but the authority's. NULL, or one static sentence that says
 * what is wrong. */
const char *target_split(struct slice method, struct slice raw, struct target *target);

/* The byte that the percent-encoding at text.at[at] stands for; -1 when none begins there. */
int target_encoded(struct slice text, size_t at);

/* The one spelling in which paths are matched and counted: "/" first, unreserved characters decoded (once), the
 * hexadecimal digits of what stays encoded in upper case, "//" merged, then dot segments resolved (RFC 3986 §6.2.2,
 * §5.2.4). %2F stays %2F; so does a % that no two hex digits follow. Doing it twice changes nothing. `out` holds
 * path.length + 1 bytes; returns how many were written, no NUL. */
size_t target_normalise(struct slice path, char *out);

/* Checks host[:port] and writes the host in one spelling: lower case, no port, no trailing dot, an IPv6 address as
 * RFC 5952 has it in brackets. `out` holds authority.length + 2 bytes (an address may grow: [1::3:4:5:6:7:8] is
 * [1:0:3:4:5:6:7:8]). False: it is no host. */
bool target_host(struct slice authority, char *out, size_t *length);

#endif
