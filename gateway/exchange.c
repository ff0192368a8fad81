/* exchange: the life of one request as one table of steps.
 *
 * Events (from the front, an upstream, a timer) only note facts in `struct exchange` and call run(); a step looks at the facts and names its successor, or
 * itself to wait for more. Nothing else changes the step.
 *
 *                                   ┌─► TUNNEL ────────────┐      TUNNEL: the connection is another protocol's
 *     HEAD ─► ADMIT ─► FORWARD ─► AWAIT ─► RELAY ─► SENT ─► DONE
 *       │       │         │         │             ▲
 *       └───────┴──► OWN ◄┴─────────┘             │            OWN: an answer of the gateway's own
 *                     └───────────────────────────┘            any step ─► DONE when the front says it is over
 *
 * Invariant: what admission charged is given back exactly once, in step_done(), whatever way led there.
 */
#include "exchange_state.h"

#include "balance.h"
#include "forward.h"
#include "outcome.h"
#include "pause.h"

#include <stdlib.h>

#define STEPS(X)                                                                                                       \
    X(HEAD, step_head)       /* the head is whole: which route, who asks */                                            \
    X(ADMIT, step_admit)     /* may it pass? */                                                                        \
    X(FORWARD, step_forward) /* the head goes to the upstream; its body follows as it comes */                         \
    X(AWAIT, step_await)     /* waits for the upstream's head, or its failure */                                       \
    X(RELAY, step_relay)     /* the answer goes to the client: whole, or piece by piece */                             \
    X(TUNNEL, step_tunnel)   /* 101 goes to the client, then another protocol's bytes both ways */                     \
    X(OWN, step_own)         /* an answer of the gateway's own */                                                      \
    X(SENT, step_sent)       /* waits until the front has sent it */                                                   \
    X(DONE, step_done)       /* gives back, counts, logs; the exchange is over */

enum step {
#define STEP_NAME(name, function) STEP_##name,
    STEPS(STEP_NAME)
#undef STEP_NAME
};

#define FIELDS_MAX 264 /* an upstream's (256 at most: http.c) and ours */

static const struct config *config_of(const struct exchange *x)
{
    return x->tenure->generation->config;
}

/* ---- steps ---- */

/* It goes into fields and into JSON: visible ASCII, and not too much of it. */
static bool fit_for_id(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] <= ' ' || text.at[i] >= 0x7f) {
            return false;
        }
    }
    return text.length > 0 && text.length <= REPLY_ID_MAX;
}

static struct slice request_id(struct exchange *x)
{
    const struct field *given = x->identity.peer_trusted ? request_field(x->request, SLICE("x-request-id")) : NULL;
    if (given != NULL && fit_for_id(given->value)) {
        return given->value;
    }
    id_make(&x->worker->ids, x->began_realtime_ns / 1000000, x->request_id_made);
    return (struct slice){ x->request_id_made, ID_LENGTH };
}

static enum step own_problem(struct exchange *x, unsigned status, const char *detail)
{
    reply_problem(&x->reply, status, detail, x->request_id, 0);
    return STEP_OWN;
}

static enum step step_head(struct exchange *x)
{
    const struct config *config = config_of(x);
    x->identity = identity_of(x->request, config);
    x->request_id = request_id(x);
    x->route = routes_find(x->tenure->generation->routes, x->request->host, x->request->method, x->request->path);
    if (x->route < 0) {
        return own_problem(x, 404, "no route of this gateway matches the request");
    }
    return STEP_ADMIT;
}

static enum step step_admit(struct exchange *x)
{
    const struct config *config = config_of(x);
    const struct config_route *route = &config->routes[x->route];
    struct admission *a = &x->admission;
    admit_request(x->tenure->generation->admit, x->request, &x->identity, (size_t)x->route, x->began_ns,
                  x->tenure->metrics, a);
    switch (a->verdict) {
    case ADMIT_PASS:
        break;
    case ADMIT_LIMITED:
        reply_refused(&x->reply, config, (size_t)x->route, 429, a->denied, a->denied_count, x->request_id);
        return STEP_OWN;
    case ADMIT_KEYLESS:
        reply_keyless(&x->reply, config, (size_t)x->route, a->denied[0].limit, x->request_id);
        return STEP_OWN;
    case ADMIT_KEY_TOO_LONG:
        return own_problem(x, 431, "the key of a limit is longer than this gateway keeps");
    case ADMIT_FULL:
        reply_problem(&x->reply, 503, "no room to count one more request in flight", x->request_id, 1);
        return STEP_OWN;
    }
    if (route->respond == NULL) {
        return STEP_FORWARD;
    }
    reply_respond(&x->reply, route->respond);
    CHECK(x->reply.field_count < REPLY_FIELDS_MAX);
    x->reply.fields[x->reply.field_count++] = (struct field){ SLICE("X-Request-Id"), x->request_id };
    return STEP_OWN;
}

static bool idempotent(struct slice method)
{
    static const char *const methods[] = { "GET", "HEAD", "PUT", "DELETE", "OPTIONS" };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (slice_equals(method, (struct slice){ methods[i], strlen(methods[i]) })) {
            return true;
        }
    }
    return false;
}

/* The head for the upstream, in the exchange or, when it is long, malloc'd: forwarding adds less than 1 KiB and the request id. */
static struct slice write_head(struct exchange *x)
{
    char peer[RULE_IP_TEXT];
    size_t peer_length = rule_ip_text(&x->request->peer, peer);
    struct forward forward = { .request = x->request,
                               .client = { peer, peer_length },
                               .peer_trusted = x->identity.peer_trusted,
                               .upgrade = x->request->upgrade,
                               .request_id = x->request_id };
    size_t length = forward_head(&forward, x->head_inline, sizeof x->head_inline);
    if (length > 0) {
        return (struct slice){ x->head_inline, length };
    }
    size_t size = 4096;
    for (size_t i = 0; i < x->request->field_count; i++) {
        size += x->request->fields[i].name.length + x->request->fields[i].value.length + 4;
    }
    size += x->request->origin_form.length + x->request->authority.length * 2;
    x->head = malloc(size);
    length = x->head != NULL ? forward_head(&forward, x->head, size) : 0;
    return (struct slice){ x->head, length };
}

/* Who counts as one client here is one for upstreams too that keep clients on their server. */
static uint64_t client_hash(const struct exchange *x)
{
    const struct config_client_ip *prefixes = &config_of(x)->client_ip;
    struct rule_ip client = x->identity.client;
    rule_ip_mask(&client, prefixes->ipv4_prefix, prefixes->ipv6_prefix);
    return balance_hash(client.bytes, sizeof client.bytes);
}

static enum step step_forward(struct exchange *x)
{
    struct slice head = write_head(x);
    if (head.length == 0) {
        return own_problem(x, 503, "out of memory");
    }
    struct upstream_request request = {
        .upstream = (size_t)config_of(x)->routes[x->route].upstream,
        .head = head,
        .head_method = slice_equals(x->request->method, SLICE("HEAD")),
        .idempotent = idempotent(x->request->method),
        .upgrade = x->request->upgrade,
        .body = x->request->upgrade ? REQUEST_NO_BODY : x->request->body, /* it may have one of no bytes */
        .content_length = x->request->content_length,
        .client = client_hash(x),
    };
    x->forwarded_ns = worker_now_ns();
    x->call = upstream_start(x->tenure->upstreams, &request, &exchange_upstream_events, x);
    if (x->call == NULL) {
        return own_problem(x, 503, "out of memory");
    }
    return STEP_AWAIT;
}

static enum step step_await(struct exchange *x)
{
    if (x->response_head) {
        return x->response.status == 101 ? STEP_TUNNEL : STEP_RELAY;
    }
    if (!x->failed) {
        return STEP_AWAIT;
    }
    switch (x->failure) {
    case UPSTREAM_CONNECT:
        admit_refund(x->tenure->generation->admit, &x->admission, worker_now_ns());
        return own_problem(x, 502, x->failure_detail);
    case UPSTREAM_CONNECT_TIMEOUT:
        admit_refund(x->tenure->generation->admit, &x->admission, worker_now_ns());
        return own_problem(x, 504, x->failure_detail);
    case UPSTREAM_BUSY:
        admit_refund(x->tenure->generation->admit, &x->admission, worker_now_ns());
        reply_problem(&x->reply, 503, x->failure_detail, x->request_id, 1);
        return STEP_OWN;
    case UPSTREAM_RESPONSE_TIMEOUT:
        return own_problem(x, 504, x->failure_detail);
    case UPSTREAM_CLOSED:
    case UPSTREAM_PROTOCOL:
        break;
    }
    return own_problem(x, 502, x->failure_detail);
}

void exchange_note_server(struct exchange *x)
{
    const char *server = upstream_server(x->call);
    size_t length = strnlen(server, sizeof x->server - 1);
    memcpy(x->server, server, length);
    x->server[length] = '\0';
    x->upstream_ns = (x->opened_ns != 0 ? x->opened_ns : worker_now_ns()) - x->forwarded_ns;
}

/* The upstream's fields without those that are for one hop, then ours. */
static size_t answer_fields(struct exchange *x, struct field *fields, char text[static REPLY_LIMIT_TEXT])
{
    size_t count = 0;
    const struct http_head *head = &x->response;
    for (size_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        bool named = head->status == 101 && slice_equals_nocase(field->name, SLICE("upgrade")); /* the new protocol */
        if (named || (!forward_drops(head->fields, head->field_count, field) &&
                      !slice_equals_nocase(
                          field->name, SLICE("x-request-id")))) { /* the one it was given, or one nobody here knows */
            fields[count++] = *field;
        }
    }
    if (x->admission.count > 0) {
        count += reply_limit_fields(x->tenure->generation->policies, config_of(x), (size_t)x->route,
                                    &x->admission.closest, fields + count, text);
    }
    fields[count++] = (struct field){ SLICE("X-Request-Id"), x->request_id };
    return count;
}

/* Hands the answer to the front: whole when its end has come, as a stream otherwise; or as the head of a tunnel. */
static enum step answer(struct exchange *x)
{
    struct field fields[FIELDS_MAX];
    char text[REPLY_LIMIT_TEXT];
    const struct http_head *head = &x->response;
    struct front_answer answer = { .status = head->status,
                                   .fields = fields,
                                   .field_count = answer_fields(x, fields, text) };
    bool bodiless = head->body == HTTP_NO_BODY && head->status != 204; /* HEAD, 304: a length or none, but no body */
    x->status = head->status;
    if (head->status == 101) {
        answer.body = FRONT_TUNNEL;
        x->streaming = true;
    } else if (x->response_end && !bodiless) {
        answer.body = FRONT_WHOLE;
        answer.whole.length = x->body.length;
        answer.whole.at = spool_release(&x->body);
        answer.owned = answer.whole.at != NULL;
    } else {
        answer.body = FRONT_STREAM;
        answer.length_known = head->has_length;
        answer.length = head->content_length;
        x->streaming = true;
    }
    if (front_answer(x->front, &answer)) {
        return head->status == 101 ? STEP_TUNNEL : STEP_SENT;
    }
    if (answer.owned) {
        free((void *)(uintptr_t)answer.whole.at);
    }
    x->streaming = false;
    if (x->call != NULL) {
        exchange_note_server(x);
        upstream_cancel(&x->call);
    }
    return own_problem(x, 502, "the upstream's response head is larger than this gateway passes on");
}

static enum step step_relay(struct exchange *x)
{
    if (!x->response_end && !x->failed && !x->settled) {
        /* An upstream that answers while it reads gets the rest first: the front drops what comes behind an answer, which it
         * could not send before anyway. */
        if (!x->body_ended) {
            return STEP_RELAY;
        }
        if (!x->undecided) { /* its body may still come whole in this turn: one write instead of several */
            x->undecided = true;
            x->next = x->worker->undecided;
            x->worker->undecided = x;
        }
        return STEP_RELAY;
    }
    if (x->failed) { /* with the head already here, in one turn: nothing has been sent, so the client gets a plain 502 */
        return own_problem(x, 502, x->failure_detail);
    }
    return answer(x);
}

static enum step step_tunnel(struct exchange *x)
{
    if (!x->streaming) {
        x->opened_ns = worker_now_ns();
        return answer(x);
    }
    front_feed(x->front);
    return STEP_TUNNEL;
}

static void on_pause_over(void *user)
{
    struct exchange *x = user;
    x->delayed = true;
    pause_cancel(&x->pause);
    exchange_run(x);
}

/* True: the route's own answer is to wait, and does. */
static bool waits(struct exchange *x)
{
    const struct config_respond *respond = x->route >= 0 ? config_of(x)->routes[x->route].respond : NULL;
    if (respond == NULL || respond->delay_ns == 0 || x->admission.verdict != ADMIT_PASS || x->delayed) {
        return false;
    }
    if (x->pause == NULL) {
        x->pause = pause_start(x->worker->loop, respond->delay_ns, on_pause_over, x);
    }
    return x->pause != NULL;
}

static enum step step_own(struct exchange *x)
{
    if (waits(x)) {
        return STEP_OWN;
    }
    struct field fields[REPLY_FIELDS_MAX + 6];
    char text[REPLY_LIMIT_TEXT];
    size_t count = x->reply.field_count;
    memcpy(fields, x->reply.fields, count * sizeof fields[0]);
    if (x->admission.verdict == ADMIT_PASS && x->admission.count > 0) {
        count += reply_limit_fields(x->tenure->generation->policies, config_of(x), (size_t)x->route,
                                    &x->admission.closest, fields + count, text);
    }
    x->status = x->reply.status;
    struct front_answer answer = { .status = x->reply.status,
                                   .fields = fields,
                                   .field_count = count,
                                   .close = x->reply.close,
                                   .body = FRONT_WHOLE,
                                   .whole = x->reply.body };
    if (!front_answer(x->front, &answer)) { /* a request head that fills the memory leaves no room for many fields */
        answer.field_count = 0;
        answer.close = true;
        if (!front_answer(x->front, &answer)) {
            front_abort(x->front);
        }
    }
    return STEP_SENT;
}

static enum step step_sent(struct exchange *x)
{
    if (x->streaming) {
        front_feed(x->front);
    }
    return STEP_SENT;
}

static enum step step_done(struct exchange *x)
{
    uint64_t now_ns = worker_now_ns();
    if (x->call != NULL) {
        exchange_note_server(x);
        upstream_cancel(&x->call);
    }
    pause_cancel(&x->pause);
    admit_release(x->tenure->generation->admit, &x->admission, now_ns - x->began_ns);
    bool unanswered = x->status == 0 || (x->end == FRONT_GONE && x->sent_bytes == 0);
    struct outcome outcome = {
        .request = x->request,
        .identity = &x->identity,
        .admission = &x->admission,
        .request_id = x->request_id,
        .route = x->route,
        .status = x->end == FRONT_TOO_LARGE   ? 413
                  : x->end == FRONT_MALFORMED ? 400
                  : unanswered                ? OUTCOME_CLIENT_LEFT
                                              : x->status,
        .sent_bytes = x->sent_bytes,
        .received_bytes = x->received_bytes,
        .began_realtime_ns = x->began_realtime_ns,
        .duration_ns = now_ns - x->began_ns,
        .tunnel_ns = x->opened_ns != 0 ? now_ns - x->opened_ns : 0,
        .forwarded = x->forwarded_ns != 0,
        .upstream_ns = x->upstream_ns,
        .server = x->server[0] != '\0' ? x->server : NULL,
    };
    outcome_record(x->tenure, &outcome, now_ns);
    x->finished = true;
    return STEP_DONE;
}

/* ---- the table at work ---- */

static enum step (*const step_function[])(struct exchange *) = {
#define STEP_FUNCTION(name, function) [STEP_##name] = function,
    STEPS(STEP_FUNCTION)
#undef STEP_FUNCTION
};

static void destroy(struct exchange *x)
{
    CHECK(!x->admission.charged && x->call == NULL && x->pause == NULL);
    if (x->undecided) {
        struct exchange **link = &x->worker->undecided;
        while (*link != x) {
            link = &(*link)->next;
        }
        *link = x->next;
    }
    free(x->head);
    spool_fini(&x->body);
    x->tenure->live--;
    x->next = x->worker->spare;
    x->worker->spare = x;
}

/* Steps may cause events (an answer refused at once), which must not run a step within a step: they ask for one more round. */
void exchange_run(struct exchange *x)
{
    if (x->running) {
        x->again = true;
        return;
    }
    x->running = true;
    do {
        x->again = false;
        enum step before;
        do {
            before = x->step;
            x->step = x->over && before != STEP_DONE ? STEP_DONE : before;
            x->step = step_function[x->step](x);
        } while (x->step != before && !x->finished);
    } while (x->again && !x->finished);
    x->running = false;
    if (x->finished) {
        destroy(x);
    }
}

void exchange_begin(struct exchange *x)
{
    x->step = STEP_HEAD;
    exchange_run(x);
}

void exchange_settle(struct worker *worker)
{
    while (worker->undecided != NULL) {
        struct exchange *x = worker->undecided;
        worker->undecided = x->next;
        x->undecided = false;
        x->settled = true;
        exchange_run(x);
    }
}
