/* front_request: the front's half of one request, as far as the HTTP library has no part in it: its memory, its judgement, its places in the front's
 * lists, and what its owner asks of it.
 */
#include "front_state.h"

#include "check.h"
#include "tunnel.h"

#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

struct front_request *front_request_create(struct front *front, struct connection *connection, const char *target)
{
    struct front_request *r = front->free;
    if (r != NULL) {
        front->free = r->next_free;
    } else if ((r = malloc(sizeof *r)) == NULL) {
        return NULL;
    }
    memset(r, 0, offsetof(struct front_request, scratch));
    r->scratch_more = NULL;
    r->front = front;
    r->connection = connection;
    size_t length = strlen(target);
    r->target = length < sizeof r->scratch ? r->scratch : malloc(length + 1);
    if (r->target == NULL) {
        r->next_free = front->free;
        front->free = r;
        return NULL;
    }
    memcpy(r->target, target, length + 1);
    r->next_live = front->live;
    if (front->live != NULL) {
        front->live->previous_live = r;
    }
    front->live = r;
    connection->request = r;
    if (connection->kept) { /* the first head has its deadline since the connection was accepted */
        deadline_set(&front->heads, &connection->deadline, front_now_ms(front));
    }
    return r;
}

static void drop_live(struct front_request *r)
{
    if (r->previous_live != NULL) {
        r->previous_live->next_live = r->next_live;
    } else {
        r->front->live = r->next_live;
    }
    if (r->next_live != NULL) {
        r->next_live->previous_live = r->previous_live;
    }
}

void front_request_detach(struct front_request *r)
{
    struct front *front = r->front;
    CHECK(r->tunnel == NULL);
    front->progress++;
    if (r->park == PARK_BLOCKED) {
        front->blocked--;
    }
    deadline_clear(&r->body_deadline);
    deadline_clear(&r->watch_deadline);
    front_drop_ready(r);
    drop_live(r);
    if (r->watched) {
        leaver_unwatch(front->leaver, r->connection->fd);
    }
    r->connection->request = NULL;
    r->connection->kept = true;
    deadline_set(&front->idles, &r->connection->deadline, front_now_ms(front));
}

enum front_end front_request_end(const struct front_request *r, enum front_end seen)
{
    if (r->malformed || r->too_large) {
        return r->malformed ? FRONT_MALFORMED : FRONT_TOO_LARGE;
    }
    if (r->early) {
        return r->gone && !r->timed_out ? FRONT_GONE : FRONT_SENT;
    }
    if (r->timed_out || seen == FRONT_TIMEOUT) {
        return FRONT_TIMEOUT;
    }
    if (r->cut) {
        return FRONT_CUT;
    }
    return r->gone && !r->tunnelled ? FRONT_GONE : seen;
}

void front_request_destroy(struct front_request *r)
{
    struct front *front = r->front;
    if (r->target != r->scratch) {
        free(r->target);
    }
    free(r->scratch_more);
    r->next_free = front->free;
    front->free = r;
}

/* ---- its head ---- */

static struct request_problem judge_size(const struct front_request *r, size_t head_size)
{
    const struct request *request = &r->request;
    uint64_t largest = r->front->limits.request_head;
    if (request->method.length + request->target.length + request->version.length + 4 > largest) { /* 2 blanks, CRLF */
        return (struct request_problem){ 414, "the request line is longer than sizes.request_head" };
    }
    if (head_size > largest) {
        return (struct request_problem){ 431, "the request head is larger than sizes.request_head" };
    }
    if (request->field_count > REQUEST_FIELDS_MAX) {
        return (struct request_problem){ 431, "the request has too many header fields" };
    }
    return (struct request_problem){ 0, NULL };
}

struct request_problem front_request_judge(struct front_request *r, size_t head_size)
{
    struct request *request = &r->request;
    const struct front_limits *limits = &r->front->limits;
    struct request_problem problem = judge_size(r, head_size);
    if (problem.status != 0) {
        return problem;
    }
    const struct field *host = request_field(request, SLICE("host"));
    size_t need = 2 * request->target.length + (host != NULL ? host->value.length : 0) + 8;
    size_t used = r->target == r->scratch ? request->target.length + 1 : 0;
    char *scratch = r->scratch + used;
    size_t size = sizeof r->scratch - used;
    if (need > size) {
        scratch = r->scratch_more = malloc(need);
        size = need;
        if (scratch == NULL) {
            return (struct request_problem){ 503, "out of memory" };
        }
    }
    problem = request_check(request, scratch, size);
    if (problem.status == 0 && limits->request_body > 0 && request->body == REQUEST_LENGTH &&
        request->content_length > limits->request_body) {
        return (struct request_problem){ 413, "the request body is larger than sizes.request_body" };
    }
    return problem;
}

/* ---- what its owner asks ---- */

void front_abort(struct front_request *r)
{
    front_end_gone(r);
}

void front_feed(struct front_request *r)
{
    if (r->tunnel != NULL) {
        tunnel_feed(r->tunnel);
    } else if (r->park != PARK_NOT && r->answered) {
        front_push_ready(r);
    }
}

void front_pause_body(struct front_request *r)
{
    r->body_paused = true;
    if (r->tunnel != NULL) {
        tunnel_pause(r->tunnel);
    }
}

void front_resume_body(struct front_request *r)
{
    if (r->body_paused) {
        r->body_paused = false;
        if (r->tunnel != NULL) {
            tunnel_resume(r->tunnel);
        } else if (r->park == PARK_SUSPENDED) {
            front_push_ready(r);
        }
    }
}
