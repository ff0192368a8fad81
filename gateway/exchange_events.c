/* exchange_events: what happens to an exchange, noted. The front's and the upstream's callbacks write facts and ask exchange.c to look at them; none of them
 * decides anything.
 */
#include "exchange_state.h"

#include <stdlib.h>
#include <time.h>

/* ---- events: the client's side ---- */

static void *on_request(void *owner, struct front_request *front, const struct request *request)
{
    struct worker *worker = owner;
    struct exchange *x = worker->spare;
    if (x != NULL) {
        worker->spare = x->next;
    } else if ((x = malloc(sizeof *x)) == NULL) {
        return NULL;
    }
    memset(x, 0, offsetof(struct exchange, admission));
    x->admission.verdict = ADMIT_PASS;
    x->admission.exempt = x->admission.charged = false;
    x->admission.count = x->admission.denied_count = 0;
    x->admission.key_hash = 0;
    memset((char *)x + offsetof(struct exchange, call), 0,
           offsetof(struct exchange, reply) - offsetof(struct exchange, call));
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    x->worker = worker;
    x->tenure = worker->tenure;
    x->tenure->live++;
    x->front = front;
    x->request = request;
    x->route = -1;
    x->began_ns = worker_now_ns();
    x->began_realtime_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
    exchange_begin(x);
    return x;
}

static void on_body(void *exchange, const char *data, size_t length)
{
    struct exchange *x = exchange;
    x->received_bytes += length;
    if (x->call != NULL && !upstream_send(x->call, data, length)) {
        front_pause_body(x->front);
    }
}

static void on_body_end(void *exchange)
{
    struct exchange *x = exchange;
    bool body = x->request->body != REQUEST_NO_BODY && !x->request->upgrade;
    bool tunnel = x->body_ended; /* the second end is that of a tunnel */
    x->body_ended = true;
    if (x->call != NULL && (body || tunnel)) {
        upstream_finish(x->call);
    }
    exchange_run(x);
}

static long on_pull(void *exchange, char *out, size_t size)
{
    struct exchange *x = exchange;
    size_t length = spool_take(&x->body, out, size);
    if (length == 0) {
        if (x->opened_ns != 0) { /* a tunnel may be silent for hours */
            spool_fini(&x->body);
        }
        return x->failed ? FRONT_BROKEN : x->response_end ? FRONT_ENDED : FRONT_DRY;
    }
    if (x->paused && x->body.length <= SPOOL_LOW && x->call != NULL) {
        x->paused = false;
        upstream_resume(x->call);
    }
    return (long)length;
}

static void on_done(void *exchange, enum front_end end, uint64_t sent_bytes)
{
    struct exchange *x = exchange;
    x->over = true;
    x->end = end;
    x->sent_bytes = sent_bytes;
    exchange_run(x);
}

const struct front_handler exchange_handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_body_end = on_body_end,
    .on_pull = on_pull,
    .on_done = on_done,
    .on_refused = worker_on_refused,
    .on_connection = worker_on_connection,
};

/* ---- events: the upstream's side ---- */

static void on_writable(void *user)
{
    struct exchange *x = user;
    front_resume_body(x->front);
}

static void on_response_head(void *user, const struct http_head *head)
{
    struct exchange *x = user;
    x->response = *head; /* its slices stay valid until the upstream connection's next response */
    x->response_head = true;
    exchange_run(x);
}

static void on_response_body(void *user, const char *data, size_t length)
{
    struct exchange *x = user;
    if (!spool_append(&x->body, data, length)) { /* the answer is cut, as if the upstream had ended early */
        exchange_note_server(x);
        upstream_cancel(&x->call);
        x->failed = true;
        x->failure_detail = "out of memory";
    } else if (!x->paused && x->body.length >= SPOOL_HIGH) {
        x->paused = true;
        upstream_pause(x->call);
    }
    exchange_run(x);
}

static void on_response_end(void *user)
{
    struct exchange *x = user;
    exchange_note_server(x);
    x->call = NULL;
    x->response_end = true;
    exchange_run(x);
}

static void on_failure(void *user, enum upstream_failure failure, const char *detail)
{
    struct exchange *x = user;
    exchange_note_server(x);
    x->call = NULL;
    x->failed = true;
    x->failure = failure;
    x->failure_detail = detail;
    exchange_run(x);
}

const struct upstream_events exchange_upstream_events = {
    .on_writable = on_writable,
    .on_head = on_response_head,
    .on_body = on_response_body,
    .on_end = on_response_end,
    .on_fail = on_failure,
};

void exchange_drop_spares(struct worker *worker)
{
    while (worker->spare != NULL) {
        struct exchange *x = worker->spare;
        worker->spare = x->next;
        free(x);
    }
}
