/* uplink: one connection to a server: its socket, what waits to be written to it, and the parser of what it says.
 *
 * It knows nothing of requests: whose turn it is on the connection is noted in it by those who keep, dial and use it.
 * It reads from the moment it is connected until it is closed, also while nobody uses it, unless paused: that is how
 * the end of a kept connection is noticed, and it costs no system call per request. What can be written at once is,
 * the rest is copied.
 */
#ifndef WEIR_UPLINK_H
#define WEIR_UPLINK_H

#include "deadline.h"
#include "http.h"
#include "list.h"

struct uv_loop_s;
struct sockaddr;
struct pool_server;
struct dial;
struct upstream_call;

struct uplink {
    struct http_parser *parser; /* its events' user is the uplink */
    struct pool_server *server;
    struct dial *dial;          /* waits for it to be connected, or NULL */
    struct upstream_call *call; /* has a request on it, or NULL */
    struct list link;           /* in server->idle */
    struct deadline idle;
    uint64_t generation; /* of the server's addresses when it was opened */
    uint64_t requests;   /* calls that had it, the present one included */
    uint64_t sent;       /* bytes of the present call that were accepted, here or by the system */
    bool broken;         /* a write failed: it takes no more bytes, but may still have some to read */
};

/* Neither is called from within a function of this file. */
struct uplink_events {
    void (*on_connected)(struct uplink *uplink,
                         const char *problem); /* NULL: it is; else a static sentence; close it */
    void (*on_bytes)(struct uplink *uplink, const char *data, size_t length);
    void (*on_lost)(struct uplink *uplink, bool orderly); /* the other side ended it, or broke it; close it */
    void (*on_written)(struct uplink *uplink);            /* some of what waited has been written */
};

/* What the uplinks of one worker share. */
struct uplink_home {
    struct uv_loop_s *loop;
    const struct uplink_events *events;
    const struct http_events *http_events;
    char *buffer; /* UPLINK_READ_SIZE bytes: one read at a time, handed on before the next */
};
#define UPLINK_READ_SIZE (64 * 1024) /* a small response in one read; a large one in as few as are worth while */

/* Begins to connect. NULL and a static sentence when that cannot even be tried. `home` outlives it. */
struct uplink *uplink_open(const struct uplink_home *home, const struct sockaddr *address, const char **problem);
/* At once, without further events. It must be in no list, and have no deadline. */
void uplink_close(struct uplink **uplink);

enum uplink_result {
    UPLINK_WRITTEN,
    UPLINK_BROKEN, /* on_lost follows when what the other side said before has been read */
    UPLINK_NO_MEMORY,
};
#define UPLINK_PARTS 8
MUST_CHECK enum uplink_result uplink_write(struct uplink *uplink, const struct slice *parts, size_t count);
size_t uplink_queued(struct uplink *uplink); /* bytes that wait to be written */
void uplink_finish(struct uplink *uplink);   /* ends what is written, behind what waits; reading goes on. Once */

void uplink_pause(struct uplink *uplink);
void uplink_resume(struct uplink *uplink);

#endif
