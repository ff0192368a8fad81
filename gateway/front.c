/* front: see front.h. How it thinks:
 *
 * libmicrohttpd runs without a thread of its own: its epoll descriptor is watched by the loop, and MHD_run() is called once per turn,
 * after everything else of the turn has been told (answers queued, streams fed). Three rules of the library shape this file:
 *
 * - An answer queued while the request body is outstanding closes the connection. So an answer waits in `response` until the last call of the
 *   access handler, unless closing is wanted.
 * - A request without an answer is parked: front_loop.c.
 * - Connections are touched only from their own callbacks or between two MHD_run(): answers given elsewhere wait in the `ready` list.
 */
#include "front_state.h"

#include "check.h"
#include "reply.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <sys/socket.h>

#define STREAM_BLOCK (64 * 1024) /* bytes asked of a stream at once */
/* Of a connection's memory beyond the largest request head: the library's records of the fields, and the answer's head, which also has what
 * the request's left free. It clears all of it for every request (a tenth of a refusal's cost), so it is not larger than that. */
#define POOL_EXTRA  (4 * 1024)
#define POOL_RECORD 64  /* the library's record of one request field */
#define POOL_SLACK  512 /* status line, Date, Content-Length, Connection, rounding */

/* ---- answers ---- */

bool front_library_answer(struct front_request *r)
{
    struct MHD_Response *response = r->response;
    unsigned status = r->status;
    r->response = NULL;
    r->answered = true;
    enum MHD_Result queued = MHD_queue_response(r->mhd, status, response); /* r may be gone after this line */
    MHD_destroy_response(response);
    return queued == MHD_YES;
}

/* Ends an answer in its middle. Of a connection whose reader reports an error the library takes no further notice: it is not
 * closed before all older ones are. A socket that fails it does notice: so it is ended, and what was "read" cannot be sent. */
static ssize_t cut(struct front_request *r, char *out)
{
    int fd = r->connection->fd;
    if (r->request.http_1_0) { /* to whom an orderly end of the connection may be that of the body */
        struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
        (void)connect(fd, &nowhere, sizeof nowhere); /* sends a reset */
    }
    shutdown(fd, SHUT_RDWR);
    *out = '\n';
    return 1;
}

static ssize_t on_read(void *context, uint64_t position, char *out, size_t size)
{
    struct front_request *r = context;
    (void)position;
    if (r->gone) {
        return cut(r, out);
    }
    long got = r->front->handler->on_pull(r->exchange, out, size);
    if (got > 0) {
        r->sent_bytes += (uint64_t)got;
        r->front->progress++;
        return got;
    }
    if (got == FRONT_DRY) {
        front_park(r);
        return 0;
    }
    if (got == FRONT_BROKEN) {
        r->cut = true;
        return cut(r, out);
    }
    return MHD_CONTENT_READER_END_OF_STREAM;
}

/* The library wants NUL-terminated strings, and no empty values: a space around nothing means the same (RFC 9110 §5.5). */
static void add_field(struct MHD_Response *response, const struct field *field)
{
    char small[1024];
    struct slice from = field->value.length > 0 ? field->value : SLICE(" ");
    size_t need = field->name.length + from.length + 2;
    char *text = need <= sizeof small ? small : malloc(need);
    if (text == NULL) {
        return;
    }
    char *value = text + field->name.length + 1;
    memcpy(text, field->name.at, field->name.length);
    value[-1] = '\0';
    memcpy(value, from.at, from.length);
    value[from.length] = '\0';
    (void)COUNT_IF(MHD_add_response_header(response, text, value) != MHD_YES);
    if (text != small) {
        free(text);
    }
}

static void on_upgrade(void *context, struct MHD_Connection *mhd, void *request, const char *extra, size_t extra_length,
                       MHD_socket fd, struct MHD_UpgradeResponseHandle *upgraded)
{
    struct front_request *r = context;
    (void)mhd;
    (void)request;
    r->tunnelled = true;
    r->upgraded = upgraded;
    wires_remove(&r->front->wires, r->connection->fd); /* what follows is no HTTP */
    front_begin_tunnel(r, fd, extra, extra_length);
}

void front_library_end_tunnel(struct front_request *r)
{
    (void)COUNT_IF(MHD_upgrade_action(r->upgraded, MHD_UPGRADE_ACTION_CLOSE) != MHD_YES);
    r->upgraded = NULL;
    r->front->progress++;
}

static struct MHD_Response *make_response(struct front_request *r, const struct front_answer *answer)
{
    struct MHD_Response *response;
    bool tunnel = answer->body == FRONT_TUNNEL;
    bool bodiless = answer->status == MHD_HTTP_NOT_MODIFIED || slice_equals(r->request.method, SLICE("HEAD"));
    if (tunnel) {
        response = MHD_create_response_for_upgrade(on_upgrade, r);
    } else if (answer->body == FRONT_STREAM && !answer->length_known && bodiless) {
        /* nothing is said about the length */
        response = MHD_create_response_empty(MHD_RF_HEAD_ONLY_RESPONSE);
    } else if (answer->body == FRONT_STREAM) {
        uint64_t size = answer->length_known ? answer->length : MHD_SIZE_UNKNOWN;
        size_t block = size < STREAM_BLOCK ? (size_t)size + (size == 0) : STREAM_BLOCK;
        response = MHD_create_response_from_callback(size, block, on_read, r, NULL);
    } else if (answer->owned) {
        response = MHD_create_response_from_buffer_with_free_callback(answer->whole.length,
                                                                      (void *)(uintptr_t)answer->whole.at, free);
    } else {
        response = MHD_create_response_from_buffer_copy(answer->whole.length, answer->whole.at);
    }
    if (response == NULL) {
        return NULL;
    }
    if (!tunnel && (answer->close || r->front->draining)) {
        /* first: a later Connection makes the library forget that a Date is there */
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    for (size_t i = 0; i < answer->field_count; i++) {
        add_field(response, &answer->fields[i]);
    }
    return response;
}

/* An answer whose head does not fit the connection's memory would end the connection without a word. */
static bool head_fits(const struct front_request *r, const struct front_answer *answer)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    size_t used = POOL_SLACK + r->request.field_count * POOL_RECORD + (info != NULL ? info->header_size : 0);
    for (size_t i = 0; i < answer->field_count; i++) {
        used += answer->fields[i].name.length + answer->fields[i].value.length + 4; /* ": " and CRLF */
    }
    return used <= r->front->limits.request_head + POOL_EXTRA;
}

bool front_answer(struct front_request *r, const struct front_answer *answer)
{
    CHECK(r->response == NULL && !r->answered);
    if (!head_fits(r, answer)) {
        return false;
    }
    if (front_is_early(r, answer)) {
        front_answer_early(r, answer);
        return true;
    }
    r->response = make_response(r, answer);
    r->status = answer->status;
    r->close_now = answer->close;
    if (answer->body == FRONT_WHOLE) {
        r->sent_bytes = answer->whole.length;
    }
    if (r->response == NULL) { /* no memory even for this: the connection ends */
        front_end_gone(r);
    } else {
        front_push_ready(r);
    }
    return true;
}

/* ---- the library's callbacks: one request ---- */

static const char hidden_cookie[] = MHD_HTTP_HEADER_COOKIE; /* ours: see hide_from_library() */

static enum MHD_Result on_field(void *context, enum MHD_ValueKind kind, const char *name, size_t name_length,
                                const char *value, size_t value_length)
{
    struct request *request = context;
    (void)kind;
    if (name == hidden_cookie) {
        return MHD_YES;
    }
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
    request->method = (struct slice){ method, strlen(method) };
    request->version = (struct slice){ version, strlen(version) };
    request->target = (struct slice){ r->target, strlen(r->target) };
    request->peer = r->connection->peer;
    request->tls = r->connection->tls != NULL;
    request->field_count = 0;
    MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, on_field, request);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return front_request_judge(r, info != NULL ? info->header_size : 0);
}

static enum MHD_Result refuse(struct front_request *r, struct request_problem problem)
{
    struct reply reply;
    reply_problem(&reply, problem.status, problem.detail, (struct slice){ "", 0 }, 0);
    struct front_answer answer = { .status = reply.status,
                                   .fields = reply.fields,
                                   .field_count = reply.field_count,
                                   .close = true,
                                   .body = FRONT_WHOLE,
                                   .whole = reply.body };
    r->response = make_response(r, &answer);
    r->status = problem.status;
    r->connection->unread = true;
    r->front->handler->on_refused(r->front->owner, &r->connection->peer, problem.status);
    return r->response != NULL && front_library_answer(r) ? MHD_YES : MHD_NO;
}

/* The first call: the head is whole. */
static enum MHD_Result begin(struct front_request *r, const char *method, const char *version)
{
    struct front *front = r->front;
    r->head_seen = true;
    front->progress -= r->run == front->runs; /* counted by on_target() a moment ago: nothing is awaited */
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
    if (r->request.body != REQUEST_NO_BODY) {
        deadline_set(&front->bodies, &r->body_deadline, front_now_ms(front));
    }
    if (r->response == NULL) {
        return MHD_YES;
    }
    if (r->request.body != REQUEST_NO_BODY && (r->close_now || r->request.expect_continue)) {
        front_drop_ready(r);
        r->connection->unread = true;
        return front_library_answer(r) ? MHD_YES : MHD_NO; /* closes: the body is not read */
    }
    return MHD_YES;
}

static enum MHD_Result take_body(struct front_request *r, const char *data, size_t *size)
{
    struct front *front = r->front;
    size_t length = *size;
    if (r->park == PARK_SUSPENDED) {
        return MHD_YES; /* just now, and the library offers the next chunk all the same: not taken, it comes again */
    }
    *size = 0;
    front->progress++;
    r->body_bytes += length;
    deadline_set(&front->bodies, &r->body_deadline, front_now_ms(front));
    if (r->early) {
        return front_discard(r, length) ? MHD_YES : MHD_NO;
    }
    if (front->limits.request_body > 0 && r->body_bytes > front->limits.request_body) {
        front_too_large(r);
        return MHD_YES;
    }
    if (r->response != NULL) { /* answered already: what is left of the body is only drained */
        return MHD_YES;
    }
    front->handler->on_body(r->exchange, data, length);
    if (r->body_paused && r->response == NULL) {
        deadline_clear(&r->body_deadline); /* not the client's silence but ours */
        r->parked_ms = front_now_ms(front);
        deadline_set(&front->waits, &r->watch_deadline, r->parked_ms);
        front_library_suspend(r);
    }
    return MHD_YES;
}

static enum MHD_Result on_trailer(void *context, enum MHD_ValueKind kind, const char *name, size_t name_length,
                                  const char *value, size_t value_length)
{
    const char **problem = context;
    struct field field = { { name, name_length }, { value_length > 0 ? value : "", value_length } };
    (void)kind;
    *problem = request_check_trailer(&field);
    return *problem == NULL ? MHD_YES : MHD_NO;
}

/* The last call: the body has come to its end. False: what came behind its last chunk makes it none. */
static bool end_body(struct front_request *r)
{
    const char *problem = NULL;
    if (r->request.body == REQUEST_CHUNKED) {
        MHD_get_connection_values_n(r->mhd, MHD_FOOTER_KIND, on_trailer, &problem);
    }
    if (problem != NULL) {
        r->malformed = true;
        (void)connection_refuse(r->connection, 400, problem);
        return false;
    }
    r->body_ended = true;
    deadline_clear(&r->body_deadline);
    r->front->handler->on_body_end(r->exchange);
    return true;
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *mhd, const char *url, const char *method,
                                 const char *version, const char *data, size_t *size, void **request)
{
    struct front_request *r = *request;
    (void)context;
    (void)mhd;
    (void)url;
    if (r == NULL || r->gone || r->connection->shut) {
        return MHD_NO;
    }
    if (!r->head_seen) {
        return begin(r, method, version);
    }
    if (*size > 0) {
        return take_body(r, data, size);
    }
    if (r->early) {
        return MHD_NO;
    }
    if (!r->body_ended && !end_body(r)) {
        return MHD_NO;
    }
    if (r->response != NULL) {
        front_drop_ready(r);
        if (r->park == PARK_BLOCKED) {
            front_unpark(r);
        }
        return front_library_answer(r) ? MHD_YES : MHD_NO;
    }
    front_park(r);
    return MHD_YES;
}

/* The library would split the query, and the first Cookie of a head, into records of its pool, 64 bytes each, and answer 431 when
 * there are many. Both are ours to read: what it sees of the query is made empty, and the first Cookie it finds is this one. (The call is
 * documented for on_access() only, because of other threads, of which there are none.) */
static void hide_from_library(struct MHD_Connection *mhd, char *uri)
{
    char *query = strchr(uri, '?');
    if (query != NULL) {
        query[1] = '\0';
    }
    (void)MHD_set_connection_value_n(mhd, MHD_HEADER_KIND, hidden_cookie, sizeof hidden_cookie - 1, "", 0);
}

/* The request line is whole: a request begins. `uri` is the raw target in the library's own buffer. */
static void *on_target(void *context, const char *uri, struct MHD_Connection *mhd)
{
    struct front *front = context;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    CHECK(info != NULL && info->socket_context != NULL);
    struct front_request *r = front_request_create(front, info->socket_context, uri);
    if (r == NULL) {
        return NULL;
    }
    r->mhd = mhd;
    (void)COUNT_IF(
        !r->connection->wire.any); /* the library has read this past wire.c: was it linked in some other way? */
    hide_from_library(mhd, (char *)(uintptr_t)uri);
    front->progress++; /* until the head is whole, which may want another run */
    r->run = front->runs;
    return r;
}

static size_t no_unescape(void *context, struct MHD_Connection *mhd, char *text)
{
    (void)context;
    (void)mhd;
    return strlen(text);
}

static void finish(struct front_request *r, enum MHD_RequestTerminationCode code)
{
    struct front *front = r->front;
    struct connection *connection = r->connection;
    /* What the library has answered itself: a head or a body that it did not take. */
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_HTTP_STATUS);
    unsigned refused = !r->answered && info != NULL ? info->http_status : 0;
    connection->unread |= refused != 0;
    r->malformed |= refused != 0 && !r->early;
    front_request_detach(r);
    if (r->exchange != NULL) {
        front->active--;
        enum front_end end = code == MHD_REQUEST_TERMINATED_COMPLETED_OK      ? FRONT_SENT
                             : code == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED ? FRONT_TIMEOUT
                                                                              : FRONT_GONE;
        front->handler->on_done(r->exchange, front_request_end(r, end), r->sent_bytes);
    } else if (!r->head_seen) { /* else it was we who refused it; 0: the client left within it */
        front->handler->on_refused(front->owner, &connection->peer, refused);
    }
    if (r->response != NULL) {
        MHD_destroy_response(r->response);
    }
    front_request_destroy(r);
}

static void on_completed(void *context, struct MHD_Connection *mhd, void **request,
                         enum MHD_RequestTerminationCode code)
{
    struct front_request *r = *request;
    (void)context;
    (void)mhd;
    *request = NULL;
    if (r != NULL) {
        finish(r, code);
    }
}

/* ---- connections ---- */

static void on_connection(void *context, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        const struct sockaddr *address = info != NULL ? info->client_addr : NULL;
        int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        *socket_context = connection_open(context, fd, address, info != NULL ? info->tls_session : NULL);
        return;
    }
    struct connection *connection = *socket_context;
    *socket_context = NULL;
    if (connection->request != NULL) { /* of an error in a size line too long for its memory the library says nothing */
        finish(connection->request, MHD_REQUEST_TERMINATED_WITH_ERROR);
    }
    connection_close(&connection);
}

/* ---- what the loop asks of the library ---- */

static void on_library_log(void *context, const char *format, va_list arguments)
{
    (void)
        context; /* the library's sentences about clients' mistakes; what matters to an operator is counted and logged by us */
    (void)format;
    (void)arguments;
}

/* The library closes clients that are silent, whatever it waits for. It is left to those who do not read their answer: all
 * other silences have deadlines of ours, of which it must not cut the longest short. */
static uint64_t longest_silence_ns(const struct front_limits *limits)
{
    uint64_t longest = limits->idle_ns;
    longest = limits->head_ns > longest ? limits->head_ns : longest;
    return limits->body_ns > longest ? limits->body_ns : longest;
}

bool front_library_start(struct front *front, int listen_fd, int *epoll_fd)
{
    const struct MHD_OptionItem tls[] = { { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES },
                                          { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, tls_no_certificate() },
                                          { MHD_OPTION_TLS_NO_ALPN, 1, NULL },
                                          { MHD_OPTION_END, 0, NULL } };
    const struct MHD_OptionItem *none = &tls[sizeof tls / sizeof tls[0] - 1];
    /* "Turbo" closes without a word: in TLS nobody could tell that from a connection that a third party has cut. */
    unsigned how = front->tls != NULL ? MHD_USE_TLS : MHD_USE_TURBO;
    front->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | how, 0, NULL, NULL, on_access, front,
        MHD_OPTION_ARRAY, front->tls != NULL ? tls : none, MHD_OPTION_EXTERNAL_LOGGER, on_library_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_URI_LOG_CALLBACK, on_target, front,
        MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, front,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, front, MHD_OPTION_CONNECTION_LIMIT, front->limits.connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(longest_silence_ns(&front->limits) / 1000000000u + 1),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)front->limits.request_head + POOL_EXTRA,
        MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (front->daemon == NULL) {
        return false;
    }
    *epoll_fd = MHD_get_daemon_info(front->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    return true;
}

int front_library_quiesce(struct front *front)
{
    return MHD_quiesce_daemon(front->daemon);
}

void front_library_stop(struct front *front)
{
    MHD_stop_daemon(front->daemon);
}

void front_library_run(struct front *front)
{
    wires_reading(&front->wires);
    (void)MHD_run(front->daemon);
    wires_reading(NULL);
}

bool front_library_wants_run(const struct front *front)
{
    uint64_t timeout;
    return MHD_get_timeout64(front->daemon, &timeout) == MHD_YES && timeout == 0;
}

void front_library_suspend(struct front_request *r)
{
    MHD_suspend_connection(r->mhd);
    r->park = PARK_SUSPENDED;
}

void front_library_resume(struct front_request *r)
{
    MHD_resume_connection(r->mhd);
}

const char *front_library(void)
{
    static char text[64];
    snprintf(text, sizeof text, "libmicrohttpd %s (parking: hybrid)", MHD_get_version());
    return text;
}
