/* front_tunnel: a connection that was answered with 101: its bytes between the client's socket (tunnel.h) and the owner. See front.h, FRONT_TUNNEL.
 *
 * To the library the connection is suspended, and its request is in hand until front_library_end_tunnel().
 *
 * Of a TLS connection the library keeps the socket and carries the bytes between it and another one, which the tunnel gets. It does not tell of ends there:
 * that of the client is looked for on its own socket (leaver.h), and the client hears of ours when the whole connection is ended.
 */
#include "front_state.h"

#include "check.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static_assert(TUNNEL_DRY == FRONT_DRY && TUNNEL_ENDED == FRONT_ENDED && TUNNEL_BROKEN == FRONT_BROKEN,
              "what an owner answers is passed on");

void front_linger(struct front_request *r)
{
    r->lingering = true;
    deadline_set(&r->front->lingers, &r->body_deadline, front_now_ms(r->front));
}

static bool is_carried(const struct front_request *r)
{
    return r->connection->tls != NULL;
}

static void moved(struct front_request *r)
{
    if (!r->lingering) {
        deadline_set(&r->front->tunnels, &r->body_deadline, front_now_ms(r->front));
    }
}

static void on_bytes(void *user, const char *data, size_t length)
{
    struct front_request *r = user;
    moved(r);
    r->front->handler->on_body(r->exchange, data, length);
}

static void on_bytes_end(void *user)
{
    struct front_request *r = user;
    r->front->handler->on_body_end(r->exchange);
}

static long on_pull(void *user, char *out, size_t size)
{
    struct front_request *r = user;
    long got = r->front->handler->on_pull(r->exchange, out, size);
    r->cut = r->cut || got == FRONT_BROKEN;
    if (got == FRONT_ENDED) {
        front_linger(r);
    }
    return got == FRONT_ENDED && is_carried(r) ? TUNNEL_BROKEN : got;
}

static void on_sent(void *user, size_t length)
{
    struct front_request *r = user;
    r->sent_bytes += length;
    moved(r);
}

static void on_over(void *user)
{
    struct front_request *r = user;
    r->tunnel_over = true;
    front_push_ready(r);
}

static const struct tunnel_events events = {
    .on_bytes = on_bytes, .on_bytes_end = on_bytes_end, .on_pull = on_pull, .on_sent = on_sent, .on_over = on_over
};

void front_begin_tunnel(struct front_request *r, int fd, const char *extra, size_t extra_length)
{
    int yes = 1;
    (void)setsockopt(r->connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes); /* the library has taken it away */
    if (r->watched != is_carried(r)) {
        r->watched = !r->watched;
        if (r->watched) {
            leaver_watch(r->front->leaver, r->connection->fd, r);
        } else {
            leaver_unwatch(r->front->leaver, r->connection->fd);
        }
    }
    r->tunnel = r->gone ? NULL : tunnel_open(front_loop(r->front), fd, &events, r);
    if (r->tunnel == NULL) {
        front_end_gone(r);
        return;
    }
    moved(r);
    if (extra_length > 0) {
        on_bytes(r, extra, extra_length);
    }
    tunnel_feed(r->tunnel);
}

void front_end_tunnel(struct front_request *r)
{
    if (r->tunnel != NULL) {
        tunnel_close(&r->tunnel);
    }
    front_library_end_tunnel(r);
    if (r->gone || r->cut) {
        shutdown(r->connection->fd, SHUT_RDWR);
    } else {
        front_linger(r); /* what the library still carries */
    }
}
