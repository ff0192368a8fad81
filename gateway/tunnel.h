/* tunnel: the client's end of a connection that has changed to another protocol: a socket whose bytes are only carried.
 *
 * What comes is told, unless paused; what is to go is asked for when the socket takes more, so that at most TUNNEL_BLOCK
 * bytes wait here and the rest where they come from. Each way has its own end: a side that has ended still hears the other.
 * The socket is the caller's, and stays open. One thread: the loop's.
 */
#ifndef WEIR_TUNNEL_H
#define WEIR_TUNNEL_H

#include "check.h"

#include <stddef.h>

struct uv_loop_s;
struct tunnel;

struct tunnel_events {
    void (*on_bytes)(void *user, const char *data, size_t length);
    void (*on_bytes_end)(void *user); /* the client sends no more */
    /* Copies up to `size` bytes that are to be sent; returns how many, or one of the words below. */
    long (*on_pull)(void *user, char *out, size_t size);
    void (*on_sent)(void *user, size_t length);
    /* Both ways have ended, or it is broken: the last event. The only one that may also come from within tunnel_feed(). */
    void (*on_over)(void *user);
};
#define TUNNEL_DRY    (0L)  /* nothing now: tunnel_feed() will be called */
#define TUNNEL_ENDED  (-1L) /* nothing more: the client is told when all has been sent */
#define TUNNEL_BROKEN (-2L) /* over at once */

#define TUNNEL_BLOCK (64 * 1024)

/* NULL when memory is short. Nothing is told from within. */
MUST_CHECK struct tunnel *tunnel_open(struct uv_loop_s *loop, int fd, const struct tunnel_events *events, void *user);
/* Without further events, also from within one; before the socket is closed. Frees itself when the loop has closed its handle. */
void tunnel_close(struct tunnel **tunnel);

void tunnel_feed(struct tunnel *tunnel); /* there is something to pull */
void tunnel_pause(struct tunnel *tunnel);
void tunnel_resume(struct tunnel *tunnel);

#endif
