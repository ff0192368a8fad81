/* front: the HTTP side towards clients. The only file that knows libmicrohttpd.
 *
 * A front serves one listening socket on one libuv loop, on one thread. It turns a client's bytes into a `struct request`, hands it to its owner
 * (the exchange, or the admin pages), carries bodies both ways with back-pressure, and tells the owner exactly once when the request is over.
 *
 * Life of a request, as the owner sees it:
 *
 *     on_request ──► [on_body …] ──► on_body_end ──► (front_answer, at any time after on_request) ──► on_done
 *
 * - on_request: the head is whole and request_check() has accepted it. The owner returns its own object, or NULL when memory is short (→ 503, closed).
 * - on_body may be stopped with front_pause_body() and continued with front_resume_body(). on_body_end comes also for requests without a body.
 * - front_answer() may be called from on_request, on_body_end or any later callback of the loop, once. Before the request body has ended, what is left
 *   of it is read and dropped, and the answer follows; or, when that is long, the answer goes out at once and ends the connection (front_early.c).
 * - on_done comes exactly once and last, whatever happens: answered to the last byte, client gone, time-out, error. It may come at any moment after on_request
 *   has returned, but never from within a front_…() call. Afterwards neither side may touch the other.
 *
 * An answer FRONT_TUNNEL (101) changes the connection to another protocol: on_body then brings the client's bytes as they come, and on_body_end once more when
 * it has ended its way; on_pull takes what goes to the client, as of a stream. The tunnel is over (on_done) when both ways have ended, when it is silent
 * for front_limits.idle_ns, or, after FRONT_ENDED, when the client does not end its way too within half a second.
 *
 * How a request waits for its answer ("parking") decides the cost of a proxied request: docs/ARCHITECTURE.md, "Parking".
 */
#ifndef WEIR_FRONT_H
#define WEIR_FRONT_H

#include "check.h"
#include "request.h"

struct uv_loop_s;
struct tls;
struct front;         /* one listener of one worker */
struct front_request; /* the front's half of one request */

enum front_end {
    FRONT_SENT,      /* the answer left to its last byte; a tunnel has ended, by whichever side */
    FRONT_CUT,       /* the owner's body source said it is broken: the client saw a truncated answer */
    FRONT_GONE,      /* the client left, or its connection failed */
    FRONT_TIMEOUT,   /* the client was too slow: body silence, or it read nothing */
    FRONT_TOO_LARGE, /* its body passed front_limits.request_body: it was told 413 */
    FRONT_MALFORMED  /* its body or its trailer is none: it was told 400 */
};

struct front_handler {
    void *(*on_request)(void *owner, struct front_request *front_request, const struct request *request);
    void (*on_body)(void *exchange, const char *data, size_t length);
    void (*on_body_end)(void *exchange);
    /* Streams: copies up to `size` bytes of the answer's body into `out`. Returns how many; FRONT_DRY: none now, front_feed() will be called;
     * FRONT_ENDED; FRONT_BROKEN: cut the answer. Never called after on_done. */
    long (*on_pull)(void *exchange, char *out, size_t size);
    void (*on_done)(void *exchange, enum front_end end, uint64_t body_bytes_sent);
    /* A request the front itself refused (bad head, too large, time-out): for log and metrics. */
    void (*on_refused)(void *owner, const struct rule_ip *peer, unsigned status);
    /* A connection came (+1: may be refused by returning false) or went (-1). */
    bool (*on_connection)(void *owner, const struct rule_ip *peer, int change);
};
#define FRONT_DRY    (0L)
#define FRONT_ENDED  (-1L)
#define FRONT_BROKEN (-2L)

struct front_limits {
    uint64_t request_head; /* bytes */
    uint64_t request_body; /* bytes; 0 none: more → 413 */
    uint64_t head_ns, body_ns, idle_ns;
    unsigned connections; /* of this front */
};

/* `listen_fd` is bound and listening; the front closes it. `tls`: held by the front; NULL: plain HTTP. NULL and a sentence in *why on failure. */
struct front *front_create(struct uv_loop_s *loop, int listen_fd, struct tls *tls, const struct front_limits *limits,
                           const struct front_handler *handler, void *owner, const char **why);
/* Connections that begin from now on get other certificates. Only of a front that was created with some. */
void front_renew_tls(struct front *front, struct tls *tls);
/* Lets the library run if anything happened since the last call. The owner of the loop calls it once per turn, after everything else of the turn and once
 * more before the loop sleeps (a uv_check and a uv_prepare). */
void front_turn(struct front *front);
/* No new connections; every answer from now on closes its connection. Idle connections are closed too if `close_idle`, else when they have sent one more request
 * or been idle for long enough: nobody's request crosses a close. Returns the listening socket, now the caller's: to close, or to give to another front. */
int front_drain(struct front *front, bool close_idle);
unsigned front_active(const struct front *front);      /* requests between on_request and on_done */
unsigned front_connections(const struct front *front); /* open ones */
/* Ends what is left (on_done comes for each), stops the daemon. The loop must run until its handles are closed. */
void front_destroy(struct front **front);

enum front_body { FRONT_WHOLE, FRONT_STREAM, FRONT_TUNNEL };
struct front_answer {
    unsigned status;
    const struct field
        *fields; /* copied; never Content-Length, Transfer-Encoding, Connection, Keep-Alive; Upgrade only in 101 */
    size_t field_count;
    bool close;
    enum front_body body;
    struct slice whole; /* FRONT_WHOLE: copied unless `owned`, then free()d when sent */
    bool owned;
    bool length_known; /* FRONT_STREAM: else chunked (HTTP/1.1) or until close (1.0) */
    uint64_t length;   /* of the stream; for HEAD what a GET would have had */
};
/* False: the fields are more than the connection's memory can hold (about front_limits.request_head in all): nothing was done, give a smaller answer. */
MUST_CHECK bool front_answer(struct front_request *front_request, const struct front_answer *answer);
void front_abort(struct front_request *front_request); /* ends the connection without an answer */
void front_feed(struct front_request *front_request);  /* the stream has more (or ended, or broke) */
void front_pause_body(struct front_request *front_request);
void front_resume_body(struct front_request *front_request);

const char *front_library(void); /* "libmicrohttpd 1.0.1, parking: hybrid" */

#endif
