/* resolve: a server's name → addresses, looked up off the loop, used in turn.
 *
 * A literal address is never looked up. A name is when it is first known, again when its addresses are old or did not
 * answer; until a lookup has succeeded the last good answer stays in use. One thread: the loop's.
 */
#ifndef WEIR_RESOLVE_H
#define WEIR_RESOLVE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define RESOLVE_OLD_MS    30000 /* names change rarely; getaddrinfo() does not tell for how long its answer holds */
#define RESOLVE_AGAIN_MS  1000  /* not more often, however many connections fail */
#define RESOLVE_ADDRESSES 16    /* of one name; more are ignored */

union resolve_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un socket;
};

struct uv_loop_s;
struct resolve_lookup;

struct resolve {
    struct uv_loop_s *loop;
    const char *host;
    uint16_t port;
    bool literal;
    void (*on_done)(struct resolve *resolve); /* a lookup is over, well or not */
    struct resolve_lookup *lookup;            /* under way, or NULL */
    uint64_t asked_ms;                        /* when the last one began */
    uint64_t generation;                      /* changes with the set of addresses */
    union resolve_address addresses[RESOLVE_ADDRESSES];
    size_t count, next;
};

/* `host` is borrowed. Begins the first lookup. on_done is never called from within. */
void resolve_init(struct resolve *resolve, struct uv_loop_s *loop, const char *host, uint16_t port,
                  void (*on_done)(struct resolve *resolve));
/* A socket in the file system (its path fits a sockaddr_un) is its own and only address. */
void resolve_init_socket(struct resolve *resolve, struct uv_loop_s *loop, const char *path,
                         void (*on_done)(struct resolve *resolve));
void resolve_fini(struct resolve *resolve);

/* The address whose turn it is, valid until the loop's next turn; NULL when none is known. Looks up again what is
 * old. */
const struct sockaddr *resolve_next(struct resolve *resolve);

/* Its addresses do not answer, or there are none: looks up again unless that was just done. True while a lookup is
 * under way. */
bool resolve_again(struct resolve *resolve);

#endif
