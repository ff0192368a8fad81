/* front_state: what front.c (the library's callbacks), front_loop.c (parking, turns, deadlines) and the other front_*.c share of a front. Nobody else includes it. */
#ifndef WEIR_FRONT_STATE_H
#define WEIR_FRONT_STATE_H

#include "deadline.h"
#include "front.h"
#include "leaver.h"
#include "tls.h"
#include "tunnel.h"
#include "wire.h"

#include <sys/types.h>

#define SCRATCH_INLINE 1024 /* holds target and normalised path of nearly all requests */
enum park { PARK_NOT, PARK_BLOCKED, PARK_SUSPENDED };

struct connection {
    struct front *front;
    int fd;
    bool refused;
    bool shut;   /* connection_shut() */
    bool kept;   /* a request has ended on it */
    bool unread; /* an answer was given over bytes that nobody will read */
    struct rule_ip peer;
    struct front_request *request; /* the one that is not over */
    struct wire wire;
    struct tls *tls;          /* held; NULL: plain, or refused */
    void *tls_session;        /* the library's, as tls.h takes it */
    struct deadline deadline; /* in front.heads until a head is whole, in front.idles between requests */
};

struct front_request {
    struct front *front;
    struct MHD_Connection *mhd;
    struct connection *connection;
    void *exchange;                /* NULL until on_request */
    struct MHD_Response *response; /* an answer not yet queued */
    unsigned status;
    uint64_t run; /* of the library, in which its request line came */
    bool head_seen, body_ended, close_now, answered;
    bool early;                                      /* answered before its body ended: what comes of that is dropped */
    bool gone, timed_out, too_large, malformed, cut; /* how it ends */
    bool tunnelled, tunnel_over, lingering;
    bool body_paused, watched, in_ready, feed;
    enum park park;
    uint64_t parked_ms;
    uint64_t body_bytes, sent_bytes, discarded;
    struct deadline
        body_deadline; /* in front.bodies while a body is awaited; of a tunnel: in front.tunnels, then .lingers */
    struct deadline watch_deadline;
    struct tunnel *tunnel;                      /* while it is open */
    struct MHD_UpgradeResponseHandle *upgraded; /* until front_library_end_tunnel() */
    struct front_request *next_ready, *next_free;
    struct front_request *previous_live, *next_live;
    char *target; /* raw, NUL-terminated; in `scratch` or malloc'd */
    char scratch[SCRATCH_INLINE];
    char *scratch_more;
    struct request request;
};

struct front {
    struct front_handles *handles; /* on the loop: front_loop.c's own */
    struct MHD_Daemon *daemon;
    struct leaver *leaver;
    struct wires wires;
    struct tls *tls; /* held, for connections to come; NULL: plain */
    struct front_limits limits;
    const struct front_handler *handler;
    void *owner;
    struct deadline_list heads, idles, bodies, waits, tunnels, lingers; /* ms */
    uint64_t ticked_ms;                                                 /* the last tick */
    struct front_request *ready, **ready_end;
    struct front_request *free, *live;
    uint64_t runs; /* of the library */
    unsigned active, connections, blocked, progress;
    unsigned accepts; /* connections so far */
    bool pending, in_run, draining, stopping;
    bool polled;  /* the library's descriptor is ready */
    bool starved; /* and is not asked until the next tick */
};

/* ---- front_loop.c ---- */

uint64_t front_now_ms(const struct front *front); /* of this turn */

struct uv_loop_s *front_loop(const struct front *front);

/* The library asks for something that is not there yet. From its callbacks only. */
void front_park(struct front_request *r);
void front_unpark(struct front_request *r);
/* It has an answer, more of a stream, or came to its end: looked at before the library runs next. */
void front_push_ready(struct front_request *r);
void front_drop_ready(struct front_request *r);
/* The client has left, or is to be left: the request ends as soon as the library can be told. */
void front_end_gone(struct front_request *r);

/* ---- front_request.c ---- */

/* A request line is whole. NULL when memory is short. */
struct front_request *front_request_create(struct front *front, struct connection *connection, const char *target);
/* It is over: out of all lists, its connection idle. */
void front_request_detach(struct front_request *r);
/* How it has ended, which the library knows only in part: for all it has `seen`. */
enum front_end front_request_end(const struct front_request *r, enum front_end seen);
void front_request_destroy(struct front_request *r);
/* May the head that r->request now holds be served? Fills in the rest of r->request. */
struct request_problem front_request_judge(struct front_request *r, size_t head_size);

/* ---- front_connection.c ---- */

struct sockaddr;
/* `tls_session`: of a front with certificates; NULL otherwise. */
struct connection *connection_open(struct front *front, int fd, const struct sockaddr *address, void *tls_session);
/* The library is about to close the socket. */
void connection_close(struct connection **connection);
/* Ends it where no request is in hand. */
void connection_shut(struct connection *connection);
/* Writes an answer by hand, the last one, while the library has nothing to write itself. Returns how much of its body was written; -1: the
 * connection is broken. */
ssize_t connection_answer(struct connection *connection, const struct front_answer *answer);
ssize_t connection_refuse(struct connection *connection, unsigned status, const char *detail);

/* ---- front_early.c ---- */

/* The answer would have to wait long for the end of the request: it goes out at once, and ends the connection. */
bool front_is_early(const struct front_request *r, const struct front_answer *answer);
void front_answer_early(struct front_request *r, const struct front_answer *answer);
void front_too_large(struct front_request *r); /* the body is: 413 */
/* So much more of a body that nobody wants has come. False: that is enough. */
bool front_discard(struct front_request *r, size_t length);

/* ---- front_tunnel.c ---- */

/* The 101 has been sent; `extra`: bytes that came behind the request. */
void front_begin_tunnel(struct front_request *r, int fd, const char *extra, size_t extra_length);
/* One side has ended: time for the other to say its last, and no more. */
void front_linger(struct front_request *r);
void front_end_tunnel(struct front_request *r); /* on_done follows from the library's next run */

/* ---- front.c: what the loop asks of the library ---- */

bool front_library_start(struct front *front, int listen_fd, int *epoll_fd);
int front_library_quiesce(struct front *front); /* the listening socket, no longer the library's */
void front_library_stop(struct front *front);
void front_library_run(struct front *front);
bool front_library_wants_run(const struct front *front); /* at once, without anything happening on a socket */
void front_library_suspend(struct front_request *r);
void front_library_resume(struct front_request *r);
/* Hands over r->response. False: it would not take it, and the connection is to be closed. `r` may be gone afterwards. */
bool front_library_answer(struct front_request *r);
void front_library_end_tunnel(struct front_request *r);

#endif
