/* front_early: an answer to a request whose body is still coming, and is long. See front.h, front_answer().
 *
 * libmicrohttpd sends no answer before it has had the body to its end, which may be hours; or it closes at once, and the reset that
 * the rest of the body then meets may overtake the answer. So this one is written by hand and tells that it is the last; what of the body is
 * under way is read and dropped for a while (RFC 9112 §9.6), until the client has done, or fallen silent, or sent enough.
 */
#include "front_state.h"

#include <stdlib.h>

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

static void begin_discarding(struct front_request *r, ssize_t sent)
{
    r->early = true;
    r->sent_bytes = sent > 0 ? (size_t)sent : 0;
    if (sent < 0) {
        front_end_gone(r);
    } else {
        deadline_set(&r->front->bodies, &r->body_deadline, front_now_ms(r->front));
        front_push_ready(r); /* the body is wanted again */
    }
}

void front_answer_early(struct front_request *r, const struct front_answer *answer)
{
    begin_discarding(r, connection_answer(r->connection, answer));
    if (answer->owned) {
        free((void *)(uintptr_t)answer->whole.at);
    }
}

void front_too_large(struct front_request *r)
{
    r->too_large = true;
    begin_discarding(r, connection_refuse(r->connection, 413, "the request body is larger than sizes.request_body"));
}

bool front_discard(struct front_request *r, size_t length)
{
    r->discarded += length;
    return r->discarded <= DISCARD_MAX;
}
