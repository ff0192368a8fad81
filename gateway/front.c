/* front: see front.h. How it thinks:
 *
 * libmicrohttpd runs without a thread of its own: its epoll descriptor is watched by the loop, and MHD_run() is called once per turn,
 * after everything else of the turn has been told (answers queued, streams fed). Three rules of the library shape this file:
 *
 * - An answer queued while the request body is outstanding closes the connection. So an answer waits in `response` until the last call of the
 *   access handler, unless closing is wanted.
 * - A request without an answer is *parked*. Returning from the handler without a response leaves the connection in the library's ready list: it
 *   costs no system call but a look at it in every MHD_run(). Suspending takes it out: two epoll_ctl, one vain recv. So a request first
 *   stays blocked, and is suspended when it has waited PARK_BLOCKED_MS or when PARK_BLOCKED_MAX others are blocked already.
 * - Connections are touched only from their own callbacks or between two MHD_run(): answers given elsewhere wait in the `ready` list.
 */
#include "front.h"

#include "check.h"
#include "deadline.h"
#include "leaver.h"
#include "reply.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define PARK_BLOCKED_MS 5   /* about when two epoll_ctl cost less than being looked at in every run of a busy loop */
#define PARK_BLOCKED_MAX 64 /* bounds that look: 64 × 60 ns a run */
#define WATCH_AFTER_MS 50   /* a wait this long is watched for a client that leaves */
#define TICK_MS 100         /* deadlines are kept to this */
#define RUNS_MAX 8          /* runs of the library in one turn, so that upstreams get theirs */
#define DRAIN_MAX (64 * 1024)      /* a refused request's body up to this is read, so that the connection can be kept */
#define DISCARD_MAX (1024 * 1024)  /* a body too large is read on this far, so that the 413 is not lost in a reset */
#define STREAM_BLOCK (64 * 1024)   /* bytes asked of a stream at once */
#define SCRATCH_INLINE 1024        /* holds target and normalised path of nearly all requests */
#define POOL_EXTRA (16 * 1024)     /* of a connection's memory, beyond the request head: records of the fields and the response head */

enum park { PARK_NOT, PARK_BLOCKED, PARK_SUSPENDED };

struct connection {
    struct front *front;
    int fd;
    bool refused;
    struct rule_ip peer;
    struct deadline deadline; /* in front.heads until a head is whole, in front.idles between requests */
};

struct front_request {
    struct front *front;
    struct MHD_Connection *mhd;
    struct connection *connection;
    void *exchange;               /* NULL until on_request */
    struct MHD_Response *response; /* an answer not yet queued */
    unsigned status;
    bool head_seen, body_ended, close_now, answered;
    bool gone, timed_out, too_large, cut; /* how it ends */
    bool body_paused, watched, in_ready, feed;
    enum park park;
    uint64_t parked_ms;
    uint64_t body_bytes, sent_bytes, discarded;
    struct deadline body_deadline; /* in front.bodies while a body is awaited */
    struct deadline watch_deadline;
    struct front_request *next_ready, *next_free;
    struct front_request *previous_live, *next_live;
    char *target; /* raw, NUL-terminated; in `scratch` or malloc'd */
    char scratch[SCRATCH_INLINE];
    char *scratch_more;
    struct request request;
};

struct front {
    uv_poll_t poll;
    uv_idle_t idle;   /* active while the library wants to run again at once */
    uv_timer_t tick;
    uv_timer_t unblock; /* once, PARK_BLOCKED_MS after something was blocked */
    unsigned open_handles;
    struct MHD_Daemon *daemon;
    struct leaver *leaver;
    struct front_limits limits;
    const struct front_handler *handler;
    void *owner;
    struct deadline_list heads, idles, bodies, waits; /* ms */
    struct front_request *ready, **ready_end;
    struct front_request *free, *live;
    unsigned active, blocked, progress;
    bool pending, in_run, draining, stopping;
};

static uint64_t now_ms(const struct front *front)
{
    return uv_now(front->poll.loop);
}

/* ---- parking ---- */

static void suspend(struct front_request *r)
{
    MHD_suspend_connection(r->mhd);
    r->park = PARK_SUSPENDED;
}

/* Called from the library's callbacks only, whenever it asks for something that is not there yet. */
static void park(struct front_request *r)
{
    struct front *front = r->front;
    uint64_t now = now_ms(front);
    switch (r->park) {
    case PARK_NOT:
        r->parked_ms = now;
        deadline_set(&front->waits, &r->watch_deadline, now);
        if (front->blocked >= PARK_BLOCKED_MAX) {
            suspend(r);
        } else {
            r->park = PARK_BLOCKED;
            front->blocked++;
        }
        break;
    case PARK_BLOCKED:
        if (now - r->parked_ms >= PARK_BLOCKED_MS) {
            front->blocked--;
            suspend(r);
        }
        break;
    case PARK_SUSPENDED:
        CHECK(!"the library calls no one who is suspended");
    }
}

static void unpark(struct front_request *r)
{
    deadline_clear(&r->watch_deadline);
    if (r->park == PARK_BLOCKED) {
        r->front->blocked--;
    } else if (r->park == PARK_SUSPENDED) {
        MHD_resume_connection(r->mhd);
    }
    r->park = PARK_NOT;
    r->front->pending = true;
}

static void push_ready(struct front_request *r)
{
    struct front *front = r->front;
    front->pending = true;
    if (!r->in_ready) {
        r->in_ready = true;
        r->next_ready = NULL;
        *front->ready_end = r;
        front->ready_end = &r->next_ready;
    }
}

static void drop_ready(struct front_request *r)
{
    struct front *front = r->front;
    if (!r->in_ready) {
        return;
    }
    struct front_request **link = &front->ready;
    while (*link != r) {
        link = &(*link)->next_ready;
    }
    *link = r->next_ready;
    if (front->ready_end == &r->next_ready) {
        front->ready_end = link;
    }
    r->in_ready = false;
}

static void end_gone(struct front_request *r)
{
    r->gone = true;
    push_ready(r);
}

static void on_leave(void *user, void *cookie)
{
    (void)user;
    end_gone(cookie);
}

/* ---- answers ---- */

/* False: the library would not take it, and the connection is to be closed. */
static bool queue_response(struct front_request *r)
{
    struct MHD_Response *response = r->response;
    unsigned status = r->status;
    r->response = NULL;
    r->answered = true;
    enum MHD_Result queued = MHD_queue_response(r->mhd, status, response); /* r may be gone after this line */
    MHD_destroy_response(response);
    return queued == MHD_YES;
}

static void flush_ready(struct front *front)
{
    while (front->ready != NULL) {
        struct front_request *r = front->ready;
        drop_ready(r);
        if (r->gone) {
            if (r->park == PARK_NOT) {
                shutdown(r->connection->fd, SHUT_RDWR); /* it is reading or writing: the library sees the end itself */
            } else {
                unpark(r); /* and its callback says no */
            }
            continue;
        }
        bool may_answer = r->response != NULL && r->body_ended && !r->answered;
        bool suspended = r->park == PARK_SUSPENDED;
        if (suspended && may_answer) {
            struct MHD_Connection *mhd = r->mhd;
            deadline_clear(&r->watch_deadline);
            r->park = PARK_NOT;
            (void)COUNT_IF(!queue_response(r)); /* a suspended one only takes it down */
            MHD_resume_connection(mhd);
        } else if (r->park != PARK_NOT) {
            unpark(r);
            if (may_answer) {
                (void)COUNT_IF(!queue_response(r));
            }
        }
    }
}

static ssize_t on_read(void *context, uint64_t position, char *out, size_t size)
{
    struct front_request *r = context;
    (void)position;
    if (r->gone) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    long got = r->front->handler->on_pull(r->exchange, out, size);
    if (got > 0) {
        r->sent_bytes += (uint64_t)got;
        r->front->progress++;
        return got;
    }
    if (got == FRONT_DRY) {
        park(r);
        return 0;
    }
    r->cut = got == FRONT_BROKEN;
    return got == FRONT_ENDED ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

/* The library wants NUL-terminated strings, and no empty values. */
static void add_field(struct MHD_Response *response, const struct field *field)
{
    char small[1024];
    size_t need = field->name.length + field->value.length + 2;
    char *text = need <= sizeof small ? small : malloc(need);
    if (text == NULL || field->value.length == 0) {
        return;
    }
    char *value = text + field->name.length + 1;
    memcpy(text, field->name.at, field->name.length);
    value[-1] = '\0';
    memcpy(value, field->value.at, field->value.length);
    value[field->value.length] = '\0';
    (void)COUNT_IF(MHD_add_response_header(response, text, value) != MHD_YES);
    if (text != small) {
        free(text);
    }
}

static struct MHD_Response *make_response(struct front_request *r, const struct front_answer *answer)
{
    struct MHD_Response *response;
    if (answer->body == FRONT_STREAM) {
        uint64_t size = answer->length_known ? answer->length : MHD_SIZE_UNKNOWN;
        size_t block = size < STREAM_BLOCK ? (size_t)size + (size == 0) : STREAM_BLOCK;
        response = MHD_create_response_from_callback(size, block, on_read, r, NULL);
    } else if (answer->owned) {
        response = MHD_create_response_from_buffer_with_free_callback(answer->whole.length, (void *)(uintptr_t)answer->whole.at, free);
    } else {
        response = MHD_create_response_from_buffer_copy(answer->whole.length, answer->whole.at);
    }
    if (response == NULL) {
        return NULL;
    }
    if (answer->close || r->front->draining) { /* first: a later Connection makes the library forget that a Date is there */
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    for (size_t i = 0; i < answer->field_count; i++) {
        add_field(response, &answer->fields[i]);
    }
    return response;
}

void front_answer(struct front_request *r, const struct front_answer *answer)
{
    CHECK(r->response == NULL && !r->answered);
    r->response = make_response(r, answer);
    r->status = answer->status;
    r->close_now = answer->close;
    if (answer->body == FRONT_WHOLE) {
        r->sent_bytes = answer->whole.length;
    }
    if (r->response == NULL) { /* no memory even for this: the connection ends */
        end_gone(r);
        return;
    }
    push_ready(r);
}

void front_feed(struct front_request *r)
{
    if (r->park != PARK_NOT && r->answered) {
        push_ready(r);
    }
}

void front_pause_body(struct front_request *r)
{
    r->body_paused = true;
}

void front_resume_body(struct front_request *r)
{
    if (r->body_paused) {
        r->body_paused = false;
        if (r->park == PARK_SUSPENDED) {
            push_ready(r);
        }
    }
}

/* An answer in the middle of a request body, which the library cannot send: written by hand, and the rest of the body is read for a while. */
static void answer_too_large(struct front_request *r)
{
    static const char text[] = "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/problem+json\r\nContent-Length: 62\r\n"
                               "Connection: close\r\n\r\n"
                               "{\"type\":\"about:blank\",\"title\":\"Content Too Large\",\"status\":413}";
    r->too_large = true;
    (void)COUNT_IF(send(r->connection->fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof text - 1);
    shutdown(r->connection->fd, SHUT_WR);
}

/* ---- the library's callbacks: one request ---- */

static enum MHD_Result on_field(void *context, enum MHD_ValueKind kind, const char *name, size_t name_length, const char *value,
                                size_t value_length)
{
    struct request *request = context;
    (void)kind;
    if (request->field_count == REQUEST_FIELDS_MAX) {
        request->field_count++; /* one too many: noted, not kept */
        return MHD_NO;
    }
    while (value_length > 0 && (value[value_length - 1] == ' ' || value[value_length - 1] == '\t')) {
        value_length--;
    }
    request->fields[request->field_count++] =
        (struct field){ { name, name_length }, { value_length > 0 ? value : "", value_length } };
    return MHD_YES;
}

static struct request_problem read_head(struct front_request *r, const char *method, const char *version)
{
    struct request *request = &r->request;
    const struct front_limits *limits = &r->front->limits;
    request->method = (struct slice){ method, strlen(method) };
    request->version = (struct slice){ version, strlen(version) };
    request->target = (struct slice){ r->target, strlen(r->target) };
    request->peer = r->connection->peer;
    request->tls = false;
    request->field_count = 0;
    MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, on_field, request);
    if (request->field_count > REQUEST_FIELDS_MAX) {
        return (struct request_problem){ 431, "the request has too many header fields" };
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info != NULL && info->header_size > limits->request_head) {
        return (struct request_problem){ 431, "the request head is larger than sizes.request_head" };
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
    struct request_problem problem = request_check(request, scratch, size);
    if (problem.status == 0 && limits->request_body > 0 && request->body == REQUEST_LENGTH &&
        request->content_length > limits->request_body) {
        return (struct request_problem){ 413, "the request body is larger than sizes.request_body" };
    }
    return problem;
}

static enum MHD_Result refuse(struct front_request *r, struct request_problem problem)
{
    struct reply reply;
    reply_problem(&reply, problem.status, problem.detail, (struct slice){ "", 0 }, 0);
    struct front_answer answer = { .status = reply.status, .fields = reply.fields, .field_count = reply.field_count, .close = true,
                                   .body = FRONT_WHOLE, .whole = reply.body };
    r->response = make_response(r, &answer);
    r->status = problem.status;
    r->front->handler->on_refused(r->front->owner, &r->connection->peer, problem.status);
    return r->response != NULL && queue_response(r) ? MHD_YES : MHD_NO;
}

/* The first call: the head is whole. */
static enum MHD_Result begin(struct front_request *r, const char *method, const char *version)
{
    struct front *front = r->front;
    r->head_seen = true;
    deadline_clear(&r->connection->deadline);
    struct request_problem problem = read_head(r, method, version);
    if (problem.status != 0) {
        return refuse(r, problem);
    }
    front->active++;
    r->exchange = front->handler->on_request(front->owner, r, &r->request);
    if (r->exchange == NULL) {
        front->active--;
        return refuse(r, (struct request_problem){ 503, "out of memory" });
    }
    if (r->response == NULL) {
        if (r->request.body != REQUEST_NO_BODY) {
            deadline_set(&front->bodies, &r->body_deadline, now_ms(front));
        }
        return MHD_YES;
    }
    bool drain = r->request.body == REQUEST_LENGTH && r->request.content_length <= DRAIN_MAX && !r->request.expect_continue;
    if (r->request.body != REQUEST_NO_BODY && (r->close_now || !drain)) {
        drop_ready(r);
        return queue_response(r) ? MHD_YES : MHD_NO; /* closes: the body is not read */
    }
    return MHD_YES;
}

static enum MHD_Result take_body(struct front_request *r, const char *data, size_t *size)
{
    struct front *front = r->front;
    size_t length = *size;
    *size = 0;
    front->progress++;
    r->body_bytes += length;
    deadline_set(&front->bodies, &r->body_deadline, now_ms(front));
    if (r->too_large) {
        r->discarded += length;
        return r->discarded <= DISCARD_MAX ? MHD_YES : MHD_NO;
    }
    if (front->limits.request_body > 0 && r->body_bytes > front->limits.request_body) {
        answer_too_large(r);
        return MHD_YES;
    }
    if (r->response != NULL) { /* answered already: what is left of the body is only drained */
        return MHD_YES;
    }
    front->handler->on_body(r->exchange, data, length);
    if (r->body_paused && r->response == NULL) {
        deadline_clear(&r->body_deadline); /* not the client's silence but ours */
        r->parked_ms = now_ms(front);
        deadline_set(&front->waits, &r->watch_deadline, r->parked_ms);
        suspend(r);
    }
    return MHD_YES;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
                                 const char *data, size_t *size, void **request)
{
    struct front_request *r = *request;
    (void)context;
    (void)mhd;
    (void)url;
    if (r == NULL || r->gone) {
        return MHD_NO;
    }
    if (!r->head_seen) {
        return begin(r, method, version);
    }
    if (*size > 0) {
        return take_body(r, data, size);
    }
    if (r->too_large) {
        return MHD_NO;
    }
    if (!r->body_ended) {
        r->body_ended = true;
        deadline_clear(&r->body_deadline);
        r->front->handler->on_body_end(r->exchange);
    }
    if (r->response != NULL) {
        drop_ready(r);
        if (r->park == PARK_BLOCKED) {
            unpark(r);
        }
        return queue_response(r) ? MHD_YES : MHD_NO;
    }
    park(r);
    return MHD_YES;
}

/* The request line is whole: a request begins. `uri` is the raw target in the library's own buffer. */
static void *on_target(void *context, const char *uri, struct MHD_Connection *mhd)
{
    struct front *front = context;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    CHECK(info != NULL && info->socket_context != NULL);
    struct connection *connection = info->socket_context;
    struct front_request *r = front->free;
    if (r != NULL) {
        front->free = r->next_free;
    } else if ((r = malloc(sizeof *r)) == NULL) {
        return NULL;
    }
    memset(r, 0, offsetof(struct front_request, scratch));
    r->scratch_more = NULL;
    r->front = front;
    r->mhd = mhd;
    r->connection = connection;
    size_t length = strlen(uri);
    r->target = length < sizeof r->scratch ? r->scratch : malloc(length + 1);
    if (r->target == NULL) {
        r->next_free = front->free;
        front->free = r;
        return NULL;
    }
    memcpy(r->target, uri, length + 1);
    /* The library would now split the query into records of its pool, 64 bytes each, and answer 431 when there are many. The
     * query is ours to read: what it sees of it is made empty. */
    char *query = strchr((char *)(uintptr_t)uri, '?');
    if (query != NULL) {
        query[1] = '\0';
    }
    front->progress++;
    r->next_live = front->live;
    if (front->live != NULL) {
        front->live->previous_live = r;
    }
    front->live = r;
    deadline_set(&front->heads, &connection->deadline, now_ms(front)); /* on the first request it was set at accept, but the head is
                                                                        * nearly always whole by now and clears it at once */
    return r;
}

static size_t no_unescape(void *context, struct MHD_Connection *mhd, char *text)
{
    (void)context;
    (void)mhd;
    return strlen(text);
}

static enum front_end end_of(const struct front_request *r, enum MHD_RequestTerminationCode code)
{
    if (r->too_large) {
        return FRONT_TOO_LARGE;
    }
    if (r->timed_out || code == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED) {
        return FRONT_TIMEOUT;
    }
    if (r->cut) {
        return FRONT_CUT;
    }
    return code == MHD_REQUEST_TERMINATED_COMPLETED_OK && !r->gone ? FRONT_SENT : FRONT_GONE;
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

static void on_completed(void *context, struct MHD_Connection *mhd, void **request, enum MHD_RequestTerminationCode code)
{
    struct front *front = context;
    struct front_request *r = *request;
    *request = NULL;
    if (r == NULL) {
        return;
    }
    front->progress++;
    if (r->park == PARK_BLOCKED) {
        front->blocked--;
    }
    deadline_clear(&r->body_deadline);
    deadline_clear(&r->watch_deadline);
    drop_ready(r);
    drop_live(r);
    if (r->watched) {
        leaver_unwatch(front->leaver, r->connection->fd);
    }
    deadline_set(&front->idles, &r->connection->deadline, now_ms(front));
    if (r->exchange != NULL) {
        front->active--;
        front->handler->on_done(r->exchange, end_of(r, code), r->sent_bytes);
    } else if (!r->head_seen) { /* the library refused the head itself, or the client left within it */
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_HTTP_STATUS);
        front->handler->on_refused(front->owner, &r->connection->peer, info != NULL ? info->http_status : 0);
    }
    if (r->response != NULL) {
        MHD_destroy_response(r->response);
    }
    if (r->target != r->scratch) {
        free(r->target);
    }
    free(r->scratch_more);
    r->next_free = front->free;
    front->free = r;
}

/* ---- connections ---- */

static struct rule_ip peer_of(struct MHD_Connection *mhd)
{
    struct rule_ip ip = { { 0 } };
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info == NULL || info->client_addr == NULL) {
        return ip;
    }
    if (info->client_addr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)info->client_addr;
        ip.bytes[10] = ip.bytes[11] = 0xff;
        memcpy(ip.bytes + 12, &v4->sin_addr, 4);
    } else if (info->client_addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)info->client_addr;
        memcpy(ip.bytes, &v6->sin6_addr, 16);
    }
    return ip;
}

static void on_connection(void *context, struct MHD_Connection *mhd, void **socket_context, enum MHD_ConnectionNotificationCode code)
{
    struct front *front = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct connection *connection = calloc(1, sizeof *connection);
        CHECK(connection != NULL); /* 100 bytes: a process this short of memory must not guess who its clients are */
        *socket_context = connection;
        connection->front = front;
        connection->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        connection->peer = peer_of(mhd);
        deadline_set(&front->heads, &connection->deadline, now_ms(front));
        connection->refused = front->draining || !front->handler->on_connection(front->owner, &connection->peer, 1);
        if (connection->refused) {
            shutdown(connection->fd, SHUT_RDWR);
        }
        return;
    }
    struct connection *connection = *socket_context;
    if (!connection->refused) {
        (void)front->handler->on_connection(front->owner, &connection->peer, -1);
    }
    deadline_clear(&connection->deadline);
    *socket_context = NULL;
    free(connection);
}

/* ---- the loop ---- */

static bool wants_run(struct front *front)
{
    uint64_t timeout;
    if (MHD_get_timeout64(front->daemon, &timeout) != MHD_YES || timeout > 0) {
        return false;
    }
    return front->blocked == 0 || front->progress > 0; /* a blocked connection always says "at once" */
}

static void run(struct front *front)
{
    CHECK(!front->in_run);
    front->pending = false;
    flush_ready(front);
    bool again = true;
    for (unsigned i = 0; i < RUNS_MAX && again; i++) {
        front->progress = 0;
        front->in_run = true;
        (void)MHD_run(front->daemon);
        front->in_run = false;
        flush_ready(front);
        again = wants_run(front);
    }
    front->pending = front->ready != NULL;
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active keeps the loop from sleeping; prepare and check do the work */
}

static void on_unblock(uv_timer_t *timer)
{
    struct front *front = timer->data;
    front->pending = true;
}

void front_turn(struct front *front)
{
    if (!front->pending || front->stopping) {
        return;
    }
    run(front);
    if (wants_run(front)) {
        front->pending = true;
        uv_idle_start(&front->idle, on_idle);
    } else {
        uv_idle_stop(&front->idle);
    }
    if (front->blocked > 0 && !uv_is_active((uv_handle_t *)&front->unblock)) {
        uv_timer_start(&front->unblock, on_unblock, PARK_BLOCKED_MS, 0);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct front *front = poll->data;
    (void)status;
    (void)events;
    front->pending = true;
}

static void on_tick(uv_timer_t *timer)
{
    struct front *front = timer->data;
    uint64_t now = now_ms(front);
    struct deadline *due;
    while ((due = deadline_take(&front->heads, now)) != NULL || (due = deadline_take(&front->idles, now)) != NULL) {
        shutdown(DEADLINE_OWNER(due, struct connection, deadline)->fd, SHUT_RDWR);
    }
    while ((due = deadline_take(&front->bodies, now)) != NULL) {
        struct front_request *r = DEADLINE_OWNER(due, struct front_request, body_deadline);
        r->timed_out = true;
        end_gone(r);
    }
    while ((due = deadline_take(&front->waits, now)) != NULL) {
        struct front_request *r = DEADLINE_OWNER(due, struct front_request, watch_deadline);
        if (!r->watched) {
            r->watched = true;
            leaver_watch(front->leaver, r->connection->fd, r);
        }
    }
    front->pending = true; /* the library's own time-outs, and accepting again after a shortage of descriptors */
}

/* ---- life ---- */

static void on_library_log(void *context, const char *format, va_list arguments)
{
    (void)context; /* the library's sentences about clients' mistakes; what matters to an operator is counted and logged by us */
    (void)format;
    (void)arguments;
}

static struct MHD_Daemon *start_daemon(struct front *front, int listen_fd)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | MHD_USE_TURBO, 0, NULL, NULL, on_access, front,
        MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_URI_LOG_CALLBACK, on_target,
        front, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, front,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, front, MHD_OPTION_CONNECTION_LIMIT, front->limits.connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(front->limits.idle_ns / 1000000000u + 1), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)front->limits.request_head + POOL_EXTRA, MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
}

static void start_handles(struct front *front, struct uv_loop_s *loop, int epoll_fd)
{
    uv_poll_init(loop, &front->poll, epoll_fd);
    uv_idle_init(loop, &front->idle);
    uv_timer_init(loop, &front->tick);
    uv_timer_init(loop, &front->unblock);
    front->poll.data = front->idle.data = front->tick.data = front->unblock.data = front;
    front->open_handles = 4;
    uv_poll_start(&front->poll, UV_READABLE, on_poll);
    uv_timer_start(&front->tick, on_tick, TICK_MS, TICK_MS);
}

struct front *front_create(struct uv_loop_s *loop, int listen_fd, const struct front_limits *limits, const struct front_handler *handler,
                           void *owner, const char **why)
{
    struct front *front = calloc(1, sizeof *front);
    *why = "out of memory or file descriptors";
    if (front == NULL) {
        close(listen_fd);
        return NULL;
    }
    front->limits = *limits;
    front->handler = handler;
    front->owner = owner;
    front->ready_end = &front->ready;
    deadline_list_init(&front->heads, limits->head_ns / 1000000);
    deadline_list_init(&front->idles, limits->idle_ns / 1000000);
    deadline_list_init(&front->bodies, limits->body_ns / 1000000);
    deadline_list_init(&front->waits, WATCH_AFTER_MS);
    front->leaver = leaver_create(loop, on_leave, front);
    front->daemon = front->leaver != NULL ? start_daemon(front, listen_fd) : NULL;
    if (front->daemon == NULL) {
        leaver_destroy(&front->leaver);
        close(listen_fd);
        free(front);
        return NULL;
    }
    start_handles(front, loop, MHD_get_daemon_info(front->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd);
    return front;
}

void front_drain(struct front *front)
{
    front->draining = true;
    int listen_fd = MHD_quiesce_daemon(front->daemon);
    if (listen_fd >= 0) {
        close(listen_fd);
    }
    for (struct deadline *d = front->idles.head.next; d != &front->idles.head; d = d->next) {
        shutdown(DEADLINE_OWNER(d, struct connection, deadline)->fd, SHUT_RDWR);
    }
    front->pending = true;
}

unsigned front_active(const struct front *front)
{
    return front->active;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct front *front = handle->data;
    if (--front->open_handles > 0) {
        return;
    }
    while (front->free != NULL) {
        struct front_request *r = front->free;
        front->free = r->next_free;
        free(r);
    }
    free(front);
}

void front_destroy(struct front **destroyed)
{
    struct front *front = *destroyed;
    *destroyed = NULL;
    if (front == NULL) {
        return;
    }
    if (!front->draining) {
        front_drain(front);
    }
    for (struct front_request *r = front->live; r != NULL; r = r->next_live) {
        end_gone(r);
    }
    run(front); /* wakes the suspended: the library cannot stop with one of them */
    front->stopping = true;
    MHD_stop_daemon(front->daemon); /* on_completed for each that is left */
    CHECK(front->active == 0);
    leaver_destroy(&front->leaver);
    uv_handle_t *handles[] = { (uv_handle_t *)&front->poll, (uv_handle_t *)&front->idle, (uv_handle_t *)&front->tick,
                               (uv_handle_t *)&front->unblock };
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++) {
        uv_close(handles[i], on_handle_closed);
    }
}

const char *front_library(void)
{
    static char text[64];
    snprintf(text, sizeof text, "libmicrohttpd %s (parking: hybrid)", MHD_get_version());
    return text;
}
