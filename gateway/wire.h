/* wire: a client's bytes on their way into the HTTP library.
 *
 * libmicrohttpd 1.0 reads chunked bodies right only while no chunk has an extension (a; b=c behind its size). With one it takes the line's LF for
 * data, refuses the request, forgets to tell us that it is over, or waits for ever; and it believes any size that fits 64 bits. RFC 9112 §7.1.1 wants
 * extensions read over, and senders of them exist. The library has no hook for the bytes it reads, so this file has one: it defines recv(), which
 * the linker prefers to libc's, also for a shared libmicrohttpd. What it does to the bytes of a connection is little, and all of it is
 * wire_pass(): it follows the framing, takes extensions out of chunk-size lines and empty lines from before requests, and where a size line must not be believed it passes bytes that
 * the library answers with 400. Everything else passes as it came: heads and trailers are judged by the library and by request.c.
 *
 * Only what a thread reads between two wires_reading() is touched, and there only connections that were added; any other recv() in the process is
 * libc's. With TLS it is gnutls_record_recv() that the library calls: tls.c does there what is done here.
 */
#ifndef WEIR_WIRE_H
#define WEIR_WIRE_H

#include "check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_NAME_MAX 17 /* of the names it looks for: "transfer-encoding" */

/* Where in its framing a connection is. All zero: before the first request. */
struct wire {
    bool encrypted; /* recv() is not for it: tls.c is */
    uint8_t state;
    uint8_t name_length;
    bool any;          /* a byte has come, ever */
    bool begun;        /* one has come of this message */
    bool started;      /* the request line has come: an empty line would end the head */
    bool trailers;     /* these lines come behind a last chunk */
    bool coded;        /* the head has a Transfer-Encoding */
    bool digits;       /* the size line has some */
    uint32_t overhead; /* of empty lines; bytes of this body's size lines that say nothing, less its data */
    uint64_t left;     /* of the body or the chunk; its size, while that is read */
    char name[WIRE_NAME_MAX];
};

/* Passes `length` bytes as they arrive, in place; returns how many remain. They are never more than came, but for a refusal,
 * which may need two where one came: `room` is the size of the buffer. */
size_t wire_pass(struct wire *wire, char *bytes, size_t length, size_t room);

/* The wires of a thread's connections, by descriptor. All zero: none. */
struct wires {
    struct wire **of;
    size_t size;
};
MUST_CHECK bool wires_add(struct wires *wires, int fd, struct wire *wire); /* false: out of memory */
void wires_remove(struct wires *wires, int fd);
void wires_fini(struct wires *wires);

/* From now on this thread's recv() is the library's, for these connections. NULL: no longer. */
void wires_reading(const struct wires *wires);
/* The one that the library is reading; NULL: it is not, or not this one. */
struct wire *wire_reading(int fd);

#endif
