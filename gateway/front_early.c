/* front_early: an answer to a request whose body is still coming, and is long. See front.h, front_answer().
 *
 * libmicrohttpd sends no answer before it has had the body to its end, which may be hours; or it closes at once, and the reset that
 * the rest of the body then meets may overtake the answer. So this one is written by hand and tells that it is the last; what of the body is
 * under way is read and dropped for a while (RFC 9112 §9.6), until the client has done, or fallen silent, or sent enough.
 */
#include "front_state.h"

#include "reply.h"
#include "text.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define DRAIN_MAX                                                                                                      \
    (64 * 1024) /* a body of which no more than this is left is read, so that the connection can be kept */
#define DISCARD_MAX (1024 * 1024) /* more than what is under way when a client learns that it need not send more */

bool front_is_early(const struct front_request *r, const struct front_answer *answer)
{
    const struct request *request = &r->request;
    if (r->body_ended || request->body == REQUEST_NO_BODY || answer->body != FRONT_WHOLE) {
        return false;
    }
    /* A client that waits for 100 sends nothing. As long as it may, the library is right: it closes at once. */
    bool waits = r->exchange == NULL && request->expect_continue;
    bool bodiless = answer->status == 204 || answer->status == 304 || slice_equals(request->method, SLICE("HEAD"));
    bool is_long = request->body == REQUEST_CHUNKED || request->content_length - r->body_bytes > DRAIN_MAX;
    return is_long && !waits && !bodiless;
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

void front_answer_early(struct front_request *r, const struct front_answer *answer)
{
    struct slice head = spell_head(answer);
    struct iovec parts[] = { { (void *)(uintptr_t)head.at, head.length },
                             { (void *)(uintptr_t)answer->whole.at, answer->whole.length } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    int fd = r->connection->fd;
    /* The socket has room: what was said before on this connection has been read, or this request would not be here. What does
     * not fit all the same is missing visibly. */
    ssize_t sent = head.at == NULL              ? -1
                   : r->connection->tls != NULL ? tls_send_last(r->connection->tls_session, parts, 2)
                                                : sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    r->early = true;
    r->sent_bytes = sent > (ssize_t)head.length ? (size_t)sent - head.length : 0;
    if (sent < 0) {
        front_end_gone(r);
    } else {
        shutdown(fd, SHUT_WR);
        deadline_set(&r->front->bodies, &r->body_deadline, front_now_ms(r->front));
        front_push_ready(r); /* the body is wanted again */
    }
    free((void *)(uintptr_t)head.at);
    if (answer->owned) {
        free((void *)(uintptr_t)answer->whole.at);
    }
}

void front_too_large(struct front_request *r)
{
    struct reply reply;
    reply_problem(&reply, 413, "the request body is larger than sizes.request_body", (struct slice){ "", 0 }, 0);
    struct front_answer answer = { .status = reply.status,
                                   .fields = reply.fields,
                                   .field_count = reply.field_count,
                                   .body = FRONT_WHOLE,
                                   .whole = reply.body };
    r->too_large = true;
    front_answer_early(r, &answer);
}

bool front_discard(struct front_request *r, size_t length)
{
    r->discarded += length;
    return r->discarded <= DISCARD_MAX;
}
