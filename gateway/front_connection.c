/* front_connection: a client's connection, from accepting to closing, and what is written to it past the library.
 *
 * The library ends some connections without a word (a request line with a method it does not know and an error behind it), and in the middle of a
 * request body it can send no answer but its own. There the answer is written to the socket by hand; nothing else is
 * written at that time, because one request is answered after the other.
 */
#include "front_state.h"

#include "check.h"
#include "reply.h"
#include "text.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define UNREAD_MAX                                                                                                     \
    (256 * 1024) /* read away before closing, if it is there already: a close over unread bytes is a reset, which can
                                   overtake the answer */

static struct rule_ip ip_of(const struct sockaddr *address)
{
    struct rule_ip ip = { { 0 } };
    if (address == NULL) {
        return ip;
    }
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        ip.bytes[10] = ip.bytes[11] = 0xff;
        memcpy(ip.bytes + 12, &v4->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        memcpy(ip.bytes, &v6->sin6_addr, 16);
    }
    return ip;
}

struct connection *connection_open(struct front *front, int fd, const struct sockaddr *address, void *tls_session)
{
    struct connection *connection = calloc(1, sizeof *connection);
    CHECK(connection != NULL); /* 200 bytes: a process this short of memory must not guess who its clients are */
    front->connections++;
    front->accepts++;
    connection->front = front;
    connection->fd = fd;
    connection->peer = ip_of(address);
    deadline_set(&front->heads, &connection->deadline, front_now_ms(front));
    connection->refused = front->draining || !wires_add(&front->wires, fd, &connection->wire) ||
                          !front->handler->on_connection(front->owner, &connection->peer, 1);
    if (connection->refused) {
        connection_shut(connection);
    } else if (front->tls != NULL) {
        connection->tls = tls_hold(front->tls);
        connection->tls_session = tls_session;
        connection->wire.encrypted = true;
        tls_begin(connection->tls, tls_session);
    }
    return connection;
}

/* What the client has sent already can still be read: it is not served. */
void connection_shut(struct connection *connection)
{
    connection->shut = true;
    shutdown(connection->fd, SHUT_RDWR);
}

/* malloc'd; at NULL when memory is short. */
static struct slice spell_head(const struct front_answer *answer)
{
    size_t size = 256; /* the first line and the last ones */
    for (size_t i = 0; i < answer->field_count; i++) {
        size += answer->fields[i].name.length + answer->fields[i].value.length + 4;
    }
    char *at = malloc(size);
    struct text text = text_over(at, at != NULL ? size : 0);
    text_literal(&text, "HTTP/1.1 ");
    text_number(&text, answer->status);
    text_literal(&text, " ");
    text_string(&text, reply_reason(answer->status));
    text_literal(&text, "\r\n");
    for (size_t i = 0; i < answer->field_count; i++) {
        text_slice(&text, answer->fields[i].name);
        text_literal(&text, ": ");
        text_slice(&text, answer->fields[i].value);
        text_literal(&text, "\r\n");
    }
    text_literal(&text, "Content-Length: ");
    text_number(&text, answer->whole.length);
    text_literal(&text, "\r\nConnection: close\r\n\r\n");
    return (struct slice){ text.cut ? NULL : at, text_length(&text) };
}

ssize_t connection_answer(struct connection *connection, const struct front_answer *answer)
{
    struct slice head = spell_head(answer);
    struct iovec parts[] = { { (void *)(uintptr_t)head.at, head.length },
                             { (void *)(uintptr_t)answer->whole.at, answer->whole.length } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    /* The socket has room: what was said before on this connection has been read, or this request would not be here. What does
     * not fit all the same is missing visibly. */
    ssize_t sent = head.at == NULL           ? -1
                   : connection->tls != NULL ? tls_send_last(connection->tls_session, parts, 2)
                                             : sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    free((void *)(uintptr_t)head.at);
    if (sent < 0) {
        return -1;
    }
    connection->unread = true;
    shutdown(connection->fd, SHUT_WR);
    return sent > (ssize_t)head.length ? sent - (ssize_t)head.length : 0;
}

ssize_t connection_refuse(struct connection *connection, unsigned status, const char *detail)
{
    struct reply reply;
    reply_problem(&reply, status, detail, (struct slice){ "", 0 }, 0);
    struct front_answer answer = { .status = reply.status,
                                   .fields = reply.fields,
                                   .field_count = reply.field_count,
                                   .body = FRONT_WHOLE,
                                   .whole = reply.body };
    return connection_answer(connection, &answer);
}

/* Did a client send something for a first request that the library has closed over without a word? (Once it has spoken on a
 * connection, nobody knows what it has said.) */
static bool is_unanswered(const struct connection *connection)
{
    if (connection->kept || connection->shut || connection->front->stopping || !connection->wire.any ||
        connection->tls != NULL) { /* whose session is no more */
        return false;
    }
    struct tcp_info info = { .tcpi_bytes_sent = 1 };
    socklen_t length = sizeof info;
    return getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_bytes_sent == 0;
}

static void discard_unread(const struct connection *connection)
{
    shutdown(connection->fd, SHUT_WR);
    ssize_t got = 1;
    for (size_t unread = 0; unread < UNREAD_MAX && got > 0; unread += (size_t)got) {
        got = recv(connection->fd, NULL, UNREAD_MAX, MSG_TRUNC | MSG_DONTWAIT); /* copies nothing */
    }
}

void connection_close(struct connection **closed)
{
    struct connection *connection = *closed;
    struct front *front = connection->front;
    *closed = NULL;
    if (is_unanswered(connection) && connection_refuse(connection, 400, "this is no HTTP request") >= 0) {
        front->handler->on_refused(front->owner, &connection->peer, 400);
    }
    if (connection->unread) {
        discard_unread(connection);
    }
    tls_drop(&connection->tls);
    front->connections--;
    if (!connection->refused) {
        (void)front->handler->on_connection(front->owner, &connection->peer, -1);
    }
    deadline_clear(&connection->deadline);
    wires_remove(&front->wires, connection->fd);
    free(connection);
}
