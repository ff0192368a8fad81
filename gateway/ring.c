/* ring: one writer, one reader, no waiting. See ring.h. */
#include "ring.h"

#include <stdlib.h>

bool ring_init(struct ring *ring, size_t size)
{
    CHECK(size > 0 && (size & (size - 1)) == 0);
    *ring = (struct ring){ .memory = malloc(size), .size = size };
    return ring->memory != NULL;
}

void ring_fini(struct ring *ring)
{
    free(ring->memory);
    ring->memory = NULL;
}

bool ring_put(struct ring *ring, const char *bytes, size_t length)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed); /* relaxed: this thread wrote it */
    if (ring->size - (head - ring->tail_seen) < length) {
        /* acquire: the reader has done with the bytes before tail, they may be overwritten (pairs with ring_take) */
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (ring->size - (head - ring->tail_seen) < length) {
            return false;
        }
    }
    size_t offset = (size_t)(head & (ring->size - 1));
    size_t first = length < ring->size - offset ? length : ring->size - offset;
    memcpy(ring->memory + offset, bytes, first);
    memcpy(ring->memory, bytes + first, length - first);
    /* release: publishes the bytes just copied (pairs with ring_peek) */
    atomic_store_explicit(&ring->head, head + length, memory_order_release);
    return true;
}

size_t ring_peek(const struct ring *ring, struct slice pieces[static 2])
{
    /* acquire: the bytes before head are there to be read (pairs with ring_put) */
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed); /* relaxed: this thread wrote it */
    size_t length = (size_t)(head - tail);
    size_t offset = (size_t)(tail & (ring->size - 1));
    size_t first = length < ring->size - offset ? length : ring->size - offset;
    pieces[0] = (struct slice){ ring->memory + offset, first };
    pieces[1] = (struct slice){ ring->memory, length - first };
    return length;
}

void ring_take(struct ring *ring, size_t length)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed); /* relaxed: this thread wrote it */
    /* release: all reading of these bytes comes before they are given back (pairs with ring_put) */
    atomic_store_explicit(&ring->tail, tail + length, memory_order_release);
}
