/* upstream: the life of a call, and the set of pools of one worker. How a connection is got is in dial.c, how it is
 * kept in pool.c, how it is used in uplink.c, what goes out on it in outbound.c.
 *
 * What goes wrong within one of the caller's own calls is not told there: the call joins those with news, which is
 * gone through before the loop sleeps. A response is told as it is read.
 *
 * The time for the response runs while it is the upstream that keeps us waiting: to take bytes that are queued for
 * it, or to say something once it has the whole request. It does not run while the client is slow to send or to
 * receive.
 */
#include "upstream.h"

#include "checker.h"
#include "dial.h"
#include "outbound.h"
#include "upstream_shared.h"

#include <stdlib.h>

struct upstream_call {
    struct upstreams *upstreams;
    const struct upstream_events *events;
    void *user;
    struct outbound outbound;
    struct dial dial;
    struct uplink *uplink;    /* NULL: not connected, or over */
    struct list link;         /* in upstreams->calls */
    struct list news;         /* in upstreams->news */
    struct deadline response; /* in pool->responses */
    bool full;                /* upstream_send() said so, on_writable has not followed yet */
    bool paused;
    bool received; /* anything, from this uplink */
    bool again;    /* this is the second time it goes out */
    bool reusable; /* the response head says so */
    bool ended;    /* the response is complete */
    bool failed;   /* not told yet */
    bool over;     /* being told so: only the owner's last event still sees it */
    enum upstream_failure failure;
    const char *detail;
};

struct upstreams {
    struct upstream_shared *shared;
    struct uplink_home home;
    struct agenda *agenda;
    struct list calls;
    struct list news; /* calls with something to tell, or a head to write */
    size_t count;
    struct pool pools[];
};

/* Failing. */

static struct pool *pool_of(const struct upstream_call *call)
{
    return &call->upstreams->pools[call->outbound.request.upstream];
}

static void has_news(struct upstream_call *call)
{
    if (!list_is_member(&call->news)) {
        list_append(&call->upstreams->news, &call->news);
        agenda_soon(call->upstreams->agenda);
    }
}

/* Gives up the connection, in whatever state; the uplink is kept for another call only if `reusable`. */
static void detach(struct upstream_call *call, bool reusable)
{
    struct uplink *uplink = call->uplink;
    deadline_clear(&call->response);
    if (uplink != NULL) {
        call->uplink = NULL;
        uplink->call = NULL;
        (reusable ? pool_keep : pool_drop)(&uplink);
    }
}

static void fail(struct upstream_call *call, enum upstream_failure failure, const char *detail)
{
    if (call->failed) {
        return;
    }
    pool_of(call)->failures++;
    detach(call, false);
    dial_stop(&call->dial);
    call->failed = true;
    call->failure = failure;
    call->detail = detail;
    has_news(call);
}

/* Sets the response's deadline, or clears it when it is not the upstream that we wait for. Progress moves it. */
static void watch(struct upstream_call *call, bool progress)
{
    struct uplink *uplink = call->uplink;
    bool awaited = uplink != NULL && call->outbound.head_written && !call->outbound.raw &&
                   (uplink_queued(uplink) > 0 || ((call->outbound.finished || uplink->broken) && !call->paused));
    if (!awaited) {
        deadline_clear(&call->response);
    } else if (progress || call->response.next == NULL) {
        agenda_set(call->upstreams->agenda, &pool_of(call)->responses, &call->response);
    }
}

/* The connection was kept from earlier and is dead: was it before this request? RFC 9110 §9.2.2, RFC 9112 §9.3.1 */
static bool may_go_again(const struct upstream_call *call)
{
    const struct uplink *uplink = call->uplink;
    const struct outbound *outbound = &call->outbound;
    bool harmless = uplink->sent == 0 || (outbound->request.idempotent && !outbound->given && !call->received);
    return harmless && uplink->requests > 1 && !call->again;
}

/* The connection is no good any more, the response not complete. */
static void lose(struct upstream_call *call, enum upstream_failure failure, const char *detail)
{
    if (!may_go_again(call)) {
        fail(call, failure, detail);
        return;
    }
    call->again = true;
    outbound_restart(&call->outbound);
    detach(call, false);
    dial_again(&call->dial);
}

/* Sending. */

static void after_writing(struct upstream_call *call, enum outbound_result result)
{
    switch (result) {
    case OUTBOUND_FINE:
        watch(call, false);
        break;
    case OUTBOUND_BROKEN:
        if (may_go_again(call)) {
            lose(call, UPSTREAM_CLOSED, "the upstream closed the connection");
        } else { /* there may be a response to read that says why; and when not, we hear of that */
            watch(call, false);
        }
        break;
    case OUTBOUND_NO_MEMORY:
        fail(call, UPSTREAM_CLOSED, "memory is short");
        break;
    case OUTBOUND_WRONG_LENGTH:
        fail(call, UPSTREAM_CLOSED, "the request body is not as long as announced");
        break;
    }
}

bool upstream_send(struct upstream_call *call, const char *data, size_t length)
{
    if (call->failed) {
        return true;
    }
    after_writing(call, outbound_give(&call->outbound, call->uplink, data, length));
    call->full = !call->failed && outbound_queued(&call->outbound, call->uplink) > UPSTREAM_QUEUE_MAX;
    return !call->full;
}

void upstream_finish(struct upstream_call *call)
{
    if (!call->failed && !call->outbound.finished) {
        after_writing(call, outbound_finish(&call->outbound, call->uplink));
    }
}

/* News: what is told before the loop sleeps. */

static void forget(struct upstream_call *call)
{
    deadline_clear(&call->response);
    list_leave(&call->link);
    list_leave(&call->news);
    outbound_fini(&call->outbound);
    free(call);
}

static void tell_failure(struct upstream_call *call)
{
    call->over = true;
    list_leave(&call->news); /* the owner may destroy all of them from within */
    call->events->on_fail(call->user, call->failure, call->detail);
    forget(call);
}

static void tell_writable(struct upstream_call *call)
{
    if (call->full && outbound_queued(&call->outbound, call->uplink) < UPSTREAM_QUEUE_MAX / 2) {
        call->full = false;
        call->events->on_writable(call->user);
    }
}

static void tell_news(struct upstream_call *call)
{
    if (call->uplink != NULL) { /* nothing more has come that could go with the head */
        after_writing(call, outbound_flush(&call->outbound, call->uplink));
    }
    if (call->failed) {
        tell_failure(call);
    } else {
        tell_writable(call);
    }
}

/* From the dial. */

static void on_dialed(struct dial *dial, struct uplink *uplink)
{
    struct upstream_call *call = LIST_OWNER(dial, struct upstream_call, dial);
    call->uplink = uplink;
    uplink->call = call;
    uplink->sent = 0;
    if (call->paused) {
        uplink_pause(uplink);
    }
    if (call->outbound.finished || call->outbound.given) {
        after_writing(call, outbound_flush(&call->outbound, uplink));
    }
    if (!call->outbound.finished) {
        has_news(call); /* a head to write, if no body comes first; perhaps room for more */
    }
}

static void on_undialed(struct dial *dial, enum upstream_failure failure, const char *detail)
{
    fail(LIST_OWNER(dial, struct upstream_call, dial), failure, detail);
}

static const struct dial_events dial_events = { .on_dialed = on_dialed, .on_undialed = on_undialed };

/* From the parser, while bytes are fed to it. The owner may cancel the call in any event: then the uplink has none
 * any more. */

static void on_head(void *user, const struct http_head *head)
{
    struct upstream_call *call = ((struct uplink *)user)->call;
    if (call != NULL) {
        call->reusable = head->reusable;
        if (head->status == 101) {
            outbound_switch(&call->outbound);
            watch(call, true);
        }
        call->events->on_head(call->user, head);
    }
}

static void on_body(void *user, const char *data, size_t length)
{
    struct upstream_call *call = ((struct uplink *)user)->call;
    if (call != NULL) {
        call->events->on_body(call->user, data, length);
    }
}

static void on_end(void *user)
{
    struct upstream_call *call = ((struct uplink *)user)->call;
    if (call != NULL) {
        call->ended = true; /* told when the parser is done: the connection may then carry another request */
    }
}

static const struct http_events http_events = { .on_head = on_head, .on_body = on_body, .on_end = on_end };

/* From the uplink. */

static void end(struct upstream_call *call, bool clean)
{
    struct uplink *uplink = call->uplink;
    bool whole = call->outbound.finished && !uplink->broken && uplink_queued(uplink) == 0;
    if (call->paused) {
        uplink_resume(uplink);
    }
    detach(call, clean && whole && call->reusable);
    dial_stop(&call->dial);
    call->over = true;
    call->events->on_end(call->user);
    forget(call);
}

/* Told at once: a broken answer that came in one read is known to be broken before anything of it is passed on. */
static void lose_now(struct upstream_call *call, enum upstream_failure failure, const char *detail)
{
    lose(call, failure, detail);
    if (call->failed) {
        tell_failure(call);
    }
}

static void on_bytes(struct uplink *uplink, const char *data, size_t length)
{
    struct upstream_call *call = uplink->call;
    if (call == NULL) { /* nobody asked: whatever it is, the connection is out of step */
        pool_drop(&uplink);
        return;
    }
    size_t used = 0;
    call->received = call->outbound.head_written;
    const char *problem = call->outbound.raw ? NULL : http_feed(uplink->parser, data, length, &used);
    if (uplink->call == NULL) {
        return;
    }
    if (call->outbound.raw && used < length) {
        call->events->on_body(call->user, data + used, length - used);
    } else if (call->ended) {
        end(call, problem == NULL);
    } else if (problem != NULL) {
        lose_now(call, UPSTREAM_PROTOCOL, problem);
    } else {
        watch(call, true);
    }
}

static void on_lost(struct uplink *uplink, bool orderly)
{
    struct upstream_call *call = uplink->call;
    if (call == NULL) {
        pool_drop(&uplink);
        return;
    }
    const char *problem = orderly ? http_eof(uplink->parser) : "the upstream reset the connection";
    if (call->ended || (call->outbound.raw && orderly)) {
        end(call, false);
    } else {
        lose_now(call, UPSTREAM_CLOSED, problem != NULL ? problem : "the upstream closed the connection");
    }
}

static void on_written(struct uplink *uplink)
{
    struct upstream_call *call = uplink->call;
    if (call != NULL) {
        watch(call, true);
        tell_writable(call);
    }
}

static const struct uplink_events uplink_events = {
    .on_connected = dial_on_connected, .on_bytes = on_bytes, .on_lost = on_lost, .on_written = on_written
};

/* From the agenda. */

static void on_turn(void *user)
{
    struct upstreams *upstreams = user;
    struct list news;
    struct list *link;
    for (size_t i = 0; i < upstreams->count; i++) {
        dial_serve(&upstreams->pools[i]);
    }
    list_move(&news, &upstreams->news); /* what comes up meanwhile has its turn next time */
    while ((link = list_take(&news)) != NULL) {
        tell_news(LIST_OWNER(link, struct upstream_call, news));
    }
}

static void on_due(void *user)
{
    struct upstreams *upstreams = user;
    uint64_t now = agenda_now(upstreams->agenda);
    for (size_t i = 0; i < upstreams->count; i++) {
        struct pool *pool = &upstreams->pools[i];
        struct deadline *due;
        while ((due = deadline_take(&pool->responses, now)) != NULL) {
            fail(DEADLINE_OWNER(due, struct upstream_call, response), UPSTREAM_RESPONSE_TIMEOUT,
                 "the upstream did not answer in time");
        }
        pool_drop_expired(pool);
        dial_on_due(pool);
        agenda_plan(upstreams->agenda, &pool->responses);
        agenda_plan(upstreams->agenda, &pool->idles);
        agenda_plan(upstreams->agenda, &pool->connects);
        agenda_plan(upstreams->agenda, &pool->looks);
    }
}

static const struct agenda_events agenda_events = { .on_turn = on_turn, .on_due = on_due };

/* Calls. */

struct upstream_call *upstream_start(struct upstreams *upstreams, const struct upstream_request *request,
                                     const struct upstream_events *events, void *user)
{
    CHECK(request->upstream < upstreams->count);
    struct upstream_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        return NULL;
    }
    call->upstreams = upstreams;
    call->events = events;
    call->user = user;
    outbound_init(&call->outbound, request);
    list_append(&upstreams->calls, &call->link);
    dial_start(&call->dial, pool_of(call), request->client, &dial_events);
    return call;
}

void upstream_pause(struct upstream_call *call)
{
    if (!call->paused) {
        call->paused = true;
        if (call->uplink != NULL) {
            uplink_pause(call->uplink);
        }
        watch(call, true);
    }
}

void upstream_resume(struct upstream_call *call)
{
    if (call->paused) {
        call->paused = false;
        if (call->uplink != NULL) {
            uplink_resume(call->uplink);
        }
        watch(call, true);
    }
}

void upstream_cancel(struct upstream_call **call)
{
    struct upstream_call *cancelled = *call;
    *call = NULL;
    if (!cancelled->over) {
        detach(cancelled, false);
        dial_stop(&cancelled->dial);
        forget(cancelled);
    }
}

const char *upstream_server(const struct upstream_call *call)
{
    return call->dial.server != NULL ? call->dial.server->config->text : "";
}

struct upstream_usage upstream_usage(const struct upstreams *upstreams, size_t upstream)
{
    CHECK(upstream < upstreams->count);
    const struct pool *pool = &upstreams->pools[upstream];
    return (struct upstream_usage){ .idle = pool->idle,
                                    .active = pool->open - pool->idle,
                                    .connects = pool->connects_made,
                                    .reused = pool->reused,
                                    .failures = pool->failures };
}

/* The worker's set. */

static bool start_checker(struct upstreams *upstreams, size_t upstream)
{
    struct pool *pool = &upstreams->pools[upstream];
    pool->checker = checker_create(pool, upstreams->home.buffer);
    return pool->checker != NULL;
}

struct upstreams *upstreams_create(struct uv_loop_s *loop, const struct config *config, struct upstream_shared *shared)
{
    struct upstreams *upstreams = calloc(1, sizeof *upstreams + config->upstream_count * sizeof upstreams->pools[0]);
    if (upstreams == NULL) {
        return NULL;
    }
    list_init(&upstreams->calls);
    list_init(&upstreams->news);
    upstreams->shared = shared;
    /* relaxed: a count; a worker that is late to be seen makes another keep a little too much for a moment */
    atomic_fetch_add_explicit(&shared->workers, 1, memory_order_relaxed);
    upstreams->home = (struct uplink_home){
        .loop = loop, .events = &uplink_events, .http_events = &http_events, .buffer = malloc(UPLINK_READ_SIZE)
    };
    upstreams->agenda = agenda_create(loop, &agenda_events, upstreams);
    bool good = upstreams->home.buffer != NULL && upstreams->agenda != NULL;
    while (good && upstreams->count < config->upstream_count) {
        size_t i = upstreams->count++;
        good = pool_init(&upstreams->pools[i], &config->upstreams[i], &shared->pools[i], &shared->workers,
                         &upstreams->home, upstreams->agenda, dial_on_name) &&
               (config->upstreams[i].health.path == NULL || start_checker(upstreams, i));
    }
    if (!good) {
        upstreams_destroy(&upstreams);
    }
    return upstreams;
}

void upstreams_destroy(struct upstreams **upstreams)
{
    struct upstreams *closed = *upstreams;
    *upstreams = NULL;
    struct list *link;
    while ((link = list_take(&closed->calls)) != NULL) {
        struct upstream_call *call = LIST_OWNER(link, struct upstream_call, link);
        upstream_cancel(&call);
    }
    for (size_t i = 0; i < closed->count; i++) {
        if (closed->pools[i].checker != NULL) {
            checker_destroy(&closed->pools[i].checker);
        }
        pool_fini(&closed->pools[i]);
    }
    if (closed->agenda != NULL) {
        agenda_destroy(&closed->agenda);
    }
    atomic_fetch_sub_explicit(&closed->shared->workers, 1, memory_order_relaxed); /* a count */
    free(closed->home.buffer);
    free(closed);
}
