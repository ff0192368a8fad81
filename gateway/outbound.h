/* outbound: one request on its way to an upstream: its head, the framing of its body, and what is kept until there is
 * a connection.
 *
 * The head goes out together with the first bytes of the body, in one system call. Never more of a body is written
 * than the head announces: bytes beyond it would be the next request on that connection.
 */
#ifndef WEIR_OUTBOUND_H
#define WEIR_OUTBOUND_H

#include "uplink.h"
#include "upstream.h"

struct outbound {
    struct upstream_request request;
    char *kept; /* of the body, framed */
    size_t kept_length, kept_size;
    uint64_t left;     /* REQUEST_LENGTH: bytes still to be given */
    bool head_written; /* on the present uplink */
    bool raw;          /* bytes of another protocol go out, as they are */
    bool given;        /* some of the body */
    bool finished;     /* all of it */
};

enum outbound_result {
    OUTBOUND_FINE,
    OUTBOUND_BROKEN, /* the uplink; if it took none of this request (uplink->sent is 0) all that was given is kept */
    OUTBOUND_NO_MEMORY,
    OUTBOUND_WRONG_LENGTH, /* not that announced; nothing of it was written */
};

void outbound_init(struct outbound *outbound, const struct upstream_request *request);
void outbound_fini(struct outbound *outbound);

/* `uplink` is NULL while there is none. */
MUST_CHECK enum outbound_result outbound_give(struct outbound *outbound, struct uplink *uplink, const char *data,
                                              size_t length);
MUST_CHECK enum outbound_result outbound_finish(struct outbound *outbound, struct uplink *uplink);
/* The head, if it has not been written, and what was kept. */
MUST_CHECK enum outbound_result outbound_flush(struct outbound *outbound, struct uplink *uplink);

/* The upstream has switched to another protocol: what is given and finished from here on is that. */
void outbound_switch(struct outbound *outbound);

/* It starts again, on another uplink. Only while nothing was sent, or nothing of a body was given. */
void outbound_restart(struct outbound *outbound);

size_t outbound_queued(const struct outbound *outbound, struct uplink *uplink); /* bytes that wait to be written */

#endif
