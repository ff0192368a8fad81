/* uplink: see uplink.h. */
#include "uplink.h"

#include <stdlib.h>
#include <sys/un.h>
#include <uv.h>

#define PIECE_SIZE                                                                                                     \
    (64 * 1024) /* each tells when it is written: a longer one would hide that an upstream still takes bytes */

struct uplink_socket {
    struct uplink uplink;
    union {
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe; /* to a socket in the file system */
    };
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    const struct uplink_home *home;
};

/* Bytes that wait to be written. */
struct piece {
    uv_write_t write;
    char bytes[];
};

static struct uplink_socket *socket_of(struct uplink *uplink)
{
    return LIST_OWNER(uplink, struct uplink_socket, uplink);
}

static uv_stream_t *stream_of(struct uplink_socket *socket)
{
    return &socket->stream;
}

static bool is_closing(const struct uplink_socket *socket)
{
    return uv_is_closing((const uv_handle_t *)&socket->stream);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct uplink_socket *socket = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(socket->home->buffer, UPLINK_READ_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct uplink_socket *socket = stream->data;
    const struct uplink_events *events = socket->home->events;
    if (length > 0) {
        events->on_bytes(&socket->uplink, buffer->base, (size_t)length);
    } else if (length < 0) {
        events->on_lost(&socket->uplink, length == UV_EOF);
    }
}

static const char *sentence(int error)
{
    switch (error) {
    case UV_ENOENT:
        return "the upstream's socket does not exist";
    case UV_EACCES:
        return "weir may not use the upstream's socket";
    case UV_EAGAIN:
        return "the upstream's socket has no room for another connection";
    case UV_ECONNREFUSED:
        return "the upstream refused the connection";
    case UV_EHOSTUNREACH:
    case UV_ENETUNREACH:
        return "the upstream's network cannot be reached";
    case UV_ETIMEDOUT:
        return "the upstream's host does not answer";
    case UV_ECONNRESET:
        return "the upstream reset the connection";
    case UV_EMFILE:
    case UV_ENFILE:
        return "no file descriptor is left for a connection to the upstream";
    case UV_EADDRNOTAVAIL:
        return "no local port is left for a connection to the upstream";
    default:
        return "no connection to the upstream could be made";
    }
}

static void on_connect(uv_connect_t *connect, int status)
{
    struct uplink_socket *socket = connect->data;
    if (is_closing(socket)) {
        return;
    }
    if (status == 0) {
        status = uv_read_start(stream_of(socket), on_room, on_read);
    }
    socket->home->events->on_connected(&socket->uplink, status == 0 ? NULL : sentence(status));
}

static int begin_to_connect(struct uplink_socket *socket, const struct sockaddr *address)
{
    int error = 0;
    if (address->sa_family == AF_UNIX) {
        uv_pipe_init(socket->home->loop, &socket->pipe, 0);
        uv_pipe_connect(&socket->connect, &socket->pipe, ((const struct sockaddr_un *)(const void *)address)->sun_path,
                        on_connect);
    } else {
        uv_tcp_init(socket->home->loop, &socket->tcp);
        uv_tcp_nodelay(&socket->tcp, 1); /* what is written is a whole message, or all there is of it */
        error = uv_tcp_connect(&socket->connect, &socket->tcp, address, on_connect);
    }
    socket->stream.data = socket->connect.data = socket;
    return error;
}

struct uplink *uplink_open(const struct uplink_home *home, const struct sockaddr *address, const char **problem)
{
    struct uplink_socket *socket = calloc(1, sizeof *socket);
    struct http_parser *parser = socket != NULL ? http_create(home->http_events, &socket->uplink) : NULL;
    if (parser == NULL) {
        free(socket);
        *problem = "memory is short";
        return NULL;
    }
    socket->home = home;
    socket->uplink.parser = parser;
    int error = begin_to_connect(socket, address);
    struct uplink *uplink = &socket->uplink;
    if (error != 0) {
        *problem = sentence(error);
        uplink_close(&uplink);
    }
    return uplink;
}

static void on_closed(uv_handle_t *handle)
{
    struct uplink_socket *socket = handle->data;
    http_destroy(&socket->uplink.parser); /* not before: it may be the one that found the reason to close */
    free(socket);
}

void uplink_close(struct uplink **uplink)
{
    CHECK(!list_is_member(&(*uplink)->link) && (*uplink)->idle.next == NULL);
    (*uplink)->dial = NULL;
    (*uplink)->call = NULL;
    uv_close((uv_handle_t *)&socket_of(*uplink)->stream, on_closed);
    *uplink = NULL;
}

static void on_written(uv_write_t *write, int status)
{
    struct uplink_socket *socket = write->data;
    free(LIST_OWNER(write, struct piece, write));
    if (is_closing(socket)) {
        return;
    }
    socket->uplink.broken = socket->uplink.broken || status != 0;
    socket->home->events->on_written(&socket->uplink);
}

static bool queue_piece(struct uplink_socket *socket, const char *at, size_t length)
{
    struct piece *piece = malloc(sizeof *piece + length);
    if (piece == NULL) {
        return false;
    }
    memcpy(piece->bytes, at, length);
    piece->write.data = socket;
    uv_buf_t buffer = uv_buf_init(piece->bytes, (unsigned)length);
    if (uv_write(&piece->write, stream_of(socket), &buffer, 1, on_written) != 0) {
        free(piece);
        return false;
    }
    socket->uplink.sent += length;
    return true;
}

/* Copies what is left after the first `written` bytes of all parts. */
static bool queue_rest(struct uplink_socket *socket, const struct slice *parts, size_t count, size_t written)
{
    for (size_t i = 0; i < count; i++) {
        size_t skip = written < parts[i].length ? written : parts[i].length;
        written -= skip;
        for (size_t at = skip; at < parts[i].length; at += PIECE_SIZE) {
            size_t left = parts[i].length - at;
            if (!queue_piece(socket, parts[i].at + at, left < PIECE_SIZE ? left : PIECE_SIZE)) {
                return false;
            }
        }
    }
    return true;
}

enum uplink_result uplink_write(struct uplink *uplink, const struct slice *parts, size_t count)
{
    struct uplink_socket *socket = socket_of(uplink);
    CHECK(count <= UPLINK_PARTS);
    if (uplink->broken) {
        return UPLINK_BROKEN;
    }
    uv_buf_t buffers[UPLINK_PARTS];
    size_t total = 0, written = 0;
    for (size_t i = 0; i < count; i++) {
        buffers[i] =
            (uv_buf_t){ .base = (char *)(uintptr_t)parts[i].at, .len = parts[i].length }; /* libuv only reads them */
        total += parts[i].length;
    }
    if (uplink_queued(uplink) == 0) {
        int result = uv_try_write(stream_of(socket), buffers, (unsigned)count);
        if (result < 0 && result != UV_EAGAIN) {
            uplink->broken = true;
            return UPLINK_BROKEN;
        }
        written = result < 0 ? 0 : (size_t)result;
        uplink->sent += written;
    }
    return written == total || queue_rest(socket, parts, count, written) ? UPLINK_WRITTEN : UPLINK_NO_MEMORY;
}

size_t uplink_queued(struct uplink *uplink)
{
    return uv_stream_get_write_queue_size(stream_of(socket_of(uplink)));
}

static void on_finished(uv_shutdown_t *shutdown, int status)
{
    (void)shutdown;
    (void)status; /* if it failed, reading tells */
}

void uplink_finish(struct uplink *uplink)
{
    struct uplink_socket *socket = socket_of(uplink);
    if (!uplink->broken) {
        (void)COUNT_IF(uv_shutdown(&socket->shutdown, stream_of(socket), on_finished) != 0);
    }
}

void uplink_pause(struct uplink *uplink)
{
    uv_read_stop(stream_of(socket_of(uplink)));
}

void uplink_resume(struct uplink *uplink)
{
    uv_read_start(stream_of(socket_of(uplink)), on_room, on_read);
}
