/* ring: a pipe of bytes in memory between two threads, one that writes and one that reads. Neither ever waits.
 *
 * The writer puts whole pieces or nothing, so whatever the reader finds is whole pieces. `head` and `tail` count
 * bytes since the beginning and never wrap (2^64 bytes are centuries); each is written by one side only, on a cache
 * line of its own. The writer keeps the last `tail` it saw and looks at the reader's line again only when the ring
 * seems full: while it has room, a put touches no memory that the other core writes.
 */
#ifndef WEIR_RING_H
#define WEIR_RING_H

#include "check.h"
#include "request.h"

struct ring {
    /* The writer's. */
    _Alignas(64) _Atomic uint64_t head; /* bytes ever put */
    uint64_t tail_seen;
    char *memory;
    size_t size; /* a power of two */
    /* The reader's. */
    _Alignas(64) _Atomic uint64_t tail; /* bytes ever taken */
};

/* False when memory is short. `size`: a power of two. */
MUST_CHECK bool ring_init(struct ring *ring, size_t size);
void ring_fini(struct ring *ring);

/* Writer: the whole piece or nothing. */
MUST_CHECK bool ring_put(struct ring *ring, const char *bytes, size_t length);

/* Reader: what is there, in order, in two pieces (the second may be empty). They stay until they are taken. Returns
 * their length. */
size_t ring_peek(const struct ring *ring, struct slice pieces[static 2]);
void ring_take(struct ring *ring, size_t length);

#endif
