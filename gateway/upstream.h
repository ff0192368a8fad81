/* upstream: origins. Pools of kept-alive connections, which server to take, one call per request.
 *
 * Each worker has one `struct upstreams` on its loop: all calls and callbacks are on that thread. A call is one
 * request to one upstream: started with a request head, fed a body, answered by events. Exactly one of on_end and
 * on_fail ends it, unless the owner cancels it first; after that the pointer is dead. No event is called from within
 * upstream_start(), upstream_send(), upstream_finish() or upstream_cancel(): what they find out is told on the loop's
 * next turn at the latest.
 *
 * A kept-alive connection that dies before the first byte of the response was a stale one: the call goes out once
 * more, on a fresh connection, if the method is idempotent (RFC 9110 §9.2.2) and no body was given, or if nothing of
 * it was sent. (RFC 9112 §9.3.1)
 *
 * When on_head tells of 101 the call has become a tunnel: upstream_send(), upstream_finish() and on_body carry bytes of
 * another protocol, each way until its own end; the time for the response does not run; on_end tells that the upstream
 * has ended its way, and with it the call.
 */
#ifndef WEIR_UPSTREAM_H
#define WEIR_UPSTREAM_H

#include "check.h"
#include "config.h"
#include "http.h"

struct uv_loop_s;
struct upstreams;
struct upstream_call;
struct upstream_shared; /* what workers share: counts of open connections per upstream, health */

struct upstream_shared *upstream_shared_create(const struct config *config);
void upstream_shared_destroy(struct upstream_shared **shared);

/* Over all workers, at this moment; any thread. A call that waits for its server's name counts as a connection. */
struct upstream_totals {
    uint64_t idle, active;
};
struct upstream_totals upstream_totals(const struct upstream_shared *shared, size_t upstream);
bool upstream_takes(const struct upstream_shared *shared, size_t upstream, size_t server); /* requests go to it */
/* Its health checks say so of at least one server; who is not asked is taken to be well: only requests would tell. */
bool upstream_healthy(const struct upstream_shared *shared, size_t upstream);

/* NULL when memory is short. Starts resolving names; calls wait for that within their connect timeout. */
struct upstreams *upstreams_create(struct uv_loop_s *loop, const struct config *config, struct upstream_shared *shared);
/* Closes everything: calls still open end without events. Also from within an event. The loop must run until its
 * handles are closed before it is destroyed. */
void upstreams_destroy(struct upstreams **upstreams);

enum upstream_failure {
    UPSTREAM_CONNECT,          /* refused, unreachable, name unknown: nothing was sent → 502, refund */
    UPSTREAM_CONNECT_TIMEOUT,  /* nothing was sent → 504, refund */
    UPSTREAM_BUSY,             /* no connection became free in that time: nothing was sent → 503, refund */
    UPSTREAM_RESPONSE_TIMEOUT, /* → 504, or a cut response when the head has been seen */
    UPSTREAM_CLOSED,           /* ended early → 502 or cut */
    UPSTREAM_PROTOCOL,         /* broken response → 502 or cut */
};

struct upstream_events {
    /* The write queue fell below half of UPSTREAM_QUEUE_MAX after upstream_send() said it was full. */
    void (*on_writable)(void *user);
    void (*on_head)(void *user, const struct http_head *head);
    void (*on_body)(void *user, const char *data, size_t length);
    void (*on_end)(void *user);
    void (*on_fail)(void *user, enum upstream_failure failure, const char *detail); /* detail: static sentence */
};

struct upstream_request {
    size_t upstream;   /* index into config.upstreams */
    struct slice head; /* whole request head, ending in CRLFCRLF; must stay valid until on_head or the end */
    bool head_method;  /* the method is HEAD */
    bool idempotent;
    bool upgrade;            /* the head asks for another protocol; never with a body */
    enum request_body body;  /* how upstream_send() is framed: as is, or as chunks */
    uint64_t content_length; /* REQUEST_LENGTH: as announced; a body of another length fails the call */
    uint64_t client;         /* balance_hash() of whom it is from; only upstreams that balance by it look */
};

#define UPSTREAM_QUEUE_MAX (256 * 1024) /* bytes waiting to be written before the caller should pause */

/* Never NULL but when memory is short. */
MUST_CHECK struct upstream_call *upstream_start(struct upstreams *upstreams, const struct upstream_request *request,
                                                const struct upstream_events *events, void *user);
/* Copies what it cannot write at once. False: the queue is over its mark; send no more until on_writable. */
MUST_CHECK bool upstream_send(struct upstream_call *call, const char *data, size_t length);
void upstream_finish(struct upstream_call *call); /* the request body is complete */

/* Stops and starts reading the response: the client is slower than the upstream. */
void upstream_pause(struct upstream_call *call);
void upstream_resume(struct upstream_call *call);

/* Ends the call and clears the pointer. The connection is closed unless the response was complete. Within the event
 * that ends a call the call is still there to be asked for its server, and cancelling it does nothing. */
void upstream_cancel(struct upstream_call **call);

/* For logs and metrics. */
const char *upstream_server(const struct upstream_call *call); /* its URL as written, or "" before one was chosen */

struct upstream_usage { /* of one upstream, this worker */
    uint64_t idle, active, connects, reused, failures;
};
struct upstream_usage upstream_usage(const struct upstreams *upstreams, size_t upstream);

#endif
