/* tunnel: see tunnel.h. */
#include "tunnel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

struct tunnel {
    uv_poll_t poll;
    int fd;
    int awaited; /* what the loop watches the socket for */
    const struct tunnel_events *events;
    void *user;
    bool paused;
    bool hung_up; /* the client, while nobody read: once seen, not to be told again and again */
    bool in_ended, out_ended, over;
    char *waiting; /* [start, start + length): pulled, and the socket took no more */
    size_t start, length;
};

static void end(struct tunnel *tunnel)
{
    if (!tunnel->over) {
        tunnel->over = true;
        uv_poll_stop(&tunnel->poll);
        tunnel->events->on_over(tunnel->user);
    }
}

static void on_ready(uv_poll_t *poll, int status, int events);

/* Watches for what can be made use of, or finds that it is over. */
static void await(struct tunnel *tunnel)
{
    if (tunnel->in_ended && tunnel->out_ended) {
        end(tunnel);
    }
    if (tunnel->over) {
        return;
    }
    int awaited = tunnel->length > 0 ? UV_WRITABLE : 0;
    if (!tunnel->in_ended) {
        awaited |= !tunnel->paused ? UV_READABLE : tunnel->hung_up ? 0 : UV_DISCONNECT;
    }
    if (awaited != tunnel->awaited) {
        tunnel->awaited = awaited;
        (void)COUNT_IF(uv_poll_start(&tunnel->poll, awaited, on_ready) != 0); /* 0 events: stops it */
    }
}

static void receive(struct tunnel *tunnel)
{
    char bytes[TUNNEL_BLOCK];
    ssize_t got = read(tunnel->fd, bytes, sizeof bytes);
    if (got > 0) {
        tunnel->events->on_bytes(tunnel->user, bytes, (size_t)got);
    } else if (got == 0) {
        tunnel->in_ended = true;
        tunnel->events->on_bytes_end(tunnel->user);
    } else if (errno != EAGAIN && errno != EINTR) {
        end(tunnel);
    }
}

/* Returns how many of the bytes are gone; fewer than `length` when the socket takes no more, or the tunnel is over. */
static size_t deliver(struct tunnel *tunnel, const char *bytes, size_t length)
{
    ssize_t sent = send(tunnel->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
        tunnel->events->on_sent(tunnel->user, (size_t)sent);
        return (size_t)sent;
    }
    if (errno != EAGAIN && errno != EINTR) {
        end(tunnel);
    }
    return 0;
}

/* True when nothing waits any more. */
static bool deliver_waiting(struct tunnel *tunnel)
{
    if (tunnel->length > 0) {
        size_t sent = deliver(tunnel, tunnel->waiting + tunnel->start, tunnel->length);
        tunnel->start += sent;
        tunnel->length -= sent;
    }
    if (tunnel->length == 0 && tunnel->waiting != NULL) { /* most tunnels are silent most of the time */
        free(tunnel->waiting);
        tunnel->waiting = NULL;
    }
    return tunnel->length == 0;
}

static void keep(struct tunnel *tunnel, const char *bytes, size_t length)
{
    tunnel->waiting = malloc(length);
    if (tunnel->waiting == NULL) {
        end(tunnel); /* bytes are missing from here on */
        return;
    }
    memcpy(tunnel->waiting, bytes, length);
    tunnel->start = 0;
    tunnel->length = length;
}

/* Moves bytes until there are none, or the socket takes no more. */
static void pump(struct tunnel *tunnel)
{
    char bytes[TUNNEL_BLOCK];
    while (!tunnel->over && !tunnel->out_ended && deliver_waiting(tunnel)) {
        long got = tunnel->events->on_pull(tunnel->user, bytes, sizeof bytes);
        if (got == TUNNEL_DRY) {
            break;
        }
        if (got == TUNNEL_BROKEN) {
            end(tunnel);
        } else if (got == TUNNEL_ENDED) {
            tunnel->out_ended = true;
            shutdown(tunnel->fd, SHUT_WR);
        } else {
            size_t sent = deliver(tunnel, bytes, (size_t)got);
            if (!tunnel->over && sent < (size_t)got) {
                keep(tunnel, bytes + sent, (size_t)got - sent);
            }
        }
    }
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct tunnel *tunnel = poll->data;
    if (status < 0) { /* a reset that neither reading nor writing would have found */
        end(tunnel);
        return;
    }
    tunnel->hung_up = tunnel->hung_up || (events & UV_DISCONNECT) != 0;
    if ((events & UV_WRITABLE) != 0) {
        pump(tunnel);
    }
    if ((events & UV_READABLE) != 0 && !tunnel->over && !tunnel->paused) {
        receive(tunnel);
    }
    await(tunnel);
}

void tunnel_feed(struct tunnel *tunnel)
{
    if (tunnel->length == 0) { /* else the socket tells when it takes more */
        pump(tunnel);
        await(tunnel);
    }
}

void tunnel_pause(struct tunnel *tunnel)
{
    tunnel->paused = true;
    await(tunnel);
}

void tunnel_resume(struct tunnel *tunnel)
{
    tunnel->paused = false;
    await(tunnel);
}

struct tunnel *tunnel_open(struct uv_loop_s *loop, int fd, const struct tunnel_events *events, void *user)
{
    struct tunnel *tunnel = calloc(1, sizeof *tunnel);
    if (tunnel == NULL || uv_poll_init(loop, &tunnel->poll, fd) != 0) {
        free(tunnel);
        return NULL;
    }
    tunnel->poll.data = tunnel;
    tunnel->fd = fd;
    tunnel->events = events;
    tunnel->user = user;
    await(tunnel);
    return tunnel;
}

static void on_closed(uv_handle_t *handle)
{
    struct tunnel *tunnel = handle->data;
    free(tunnel->waiting);
    free(tunnel);
}

void tunnel_close(struct tunnel **tunnel)
{
    (*tunnel)->over = true;
    uv_close((uv_handle_t *)&(*tunnel)->poll, on_closed);
    *tunnel = NULL;
}
