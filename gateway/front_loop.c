/* front_loop: when a front does what. Parking, the turn, deadlines, birth and end of a front; libmicrohttpd itself is front.c's.
 *
 * A request without an answer is *parked*. Returning from the library's handler without a response leaves the connection in its ready list: it costs no
 * system call but a look at it in every run. Suspending takes it out: two epoll_ctl, one vain recv. So a request first stays blocked, and is
 * suspended when it has waited PARK_BLOCKED_MS or when PARK_BLOCKED_MAX others are blocked already.
 */
#include "front_state.h"

#include "check.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define PARK_BLOCKED_MS  5   /* about when two epoll_ctl cost less than being looked at in every run of a busy loop */
#define PARK_BLOCKED_MAX 64  /* bounds that look: 64 × 60 ns a run */
#define WATCH_AFTER_MS   50  /* a wait this long is watched for a client that leaves */
#define LINGER_MS        500 /* a tunnel of which one side has ended has so long for the other's last words */
#define TICK_MS          100 /* deadlines are kept to this */
#define RUNS_MAX         8   /* runs of the library in one turn, so that upstreams get theirs */

struct front_handles {
    uv_poll_t poll;
    uv_idle_t idle; /* active while the library wants to run again at once */
    uv_timer_t tick;
    uv_timer_t unblock; /* once, PARK_BLOCKED_MS after something was blocked */
    unsigned open;
};

uint64_t front_now_ms(const struct front *front)
{
    return uv_now(front->handles->poll.loop);
}

struct uv_loop_s *front_loop(const struct front *front)
{
    return front->handles->poll.loop;
}

/* ---- parking ---- */

void front_park(struct front_request *r)
{
    struct front *front = r->front;
    uint64_t now = front_now_ms(front);
    switch (r->park) {
    case PARK_NOT:
        r->parked_ms = now;
        deadline_set(&front->waits, &r->watch_deadline, now);
        if (front->blocked >= PARK_BLOCKED_MAX) {
            front_library_suspend(r);
        } else {
            r->park = PARK_BLOCKED;
            front->blocked++;
        }
        break;
    case PARK_BLOCKED:
        if (now - r->parked_ms >= PARK_BLOCKED_MS) {
            front->blocked--;
            front_library_suspend(r);
        }
        break;
    case PARK_SUSPENDED:
        CHECK(!"the library calls no one who is suspended");
    }
}

void front_unpark(struct front_request *r)
{
    deadline_clear(&r->watch_deadline);
    if (r->park == PARK_BLOCKED) {
        r->front->blocked--;
    } else if (r->park == PARK_SUSPENDED) {
        front_library_resume(r);
    }
    r->park = PARK_NOT;
    r->front->pending = true;
}

void front_push_ready(struct front_request *r)
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

void front_drop_ready(struct front_request *r)
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

void front_end_gone(struct front_request *r)
{
    r->gone = true;
    front_push_ready(r);
}

static void on_leave(void *user, void *cookie)
{
    struct front_request *r = cookie;
    (void)user;
    if (r->tunnel != NULL) {
        front_linger(r);
    } else {
        front_end_gone(r);
    }
}

/* ---- the turn ---- */

static void flush_ready(struct front *front)
{
    while (front->ready != NULL) {
        struct front_request *r = front->ready;
        front_drop_ready(r);
        if (r->upgraded != NULL) {
            if (r->gone || r->tunnel_over) {
                front_end_tunnel(r);
            }
            continue;
        }
        if (r->gone) {
            if (r->park == PARK_NOT) {
                shutdown(r->connection->fd, SHUT_RDWR); /* it is reading or writing: the library sees the end itself */
            } else {
                front_unpark(r); /* and its callback says no */
            }
            continue;
        }
        bool may_answer = r->response != NULL && r->body_ended && !r->answered;
        bool suspended = r->park == PARK_SUSPENDED;
        if (suspended && may_answer) {
            (void)COUNT_IF(!front_library_answer(r)); /* a suspended one only takes it down */
            front_unpark(r);
        } else if (r->park != PARK_NOT) {
            front_unpark(r);
            if (may_answer) {
                (void)COUNT_IF(!front_library_answer(r));
            }
        }
    }
}

static bool wants_run(struct front *front)
{
    /* A blocked connection always says "at once": while there is one, only progress tells. */
    return (front->blocked == 0 || front->progress > 0) && front_library_wants_run(front);
}

static void run(struct front *front)
{
    CHECK(!front->in_run);
    front->pending = false;
    flush_ready(front);
    bool again = true;
    for (unsigned i = 0; i < RUNS_MAX && again; i++) {
        front->progress = 0;
        front->runs++;
        front->in_run = true;
        front_library_run(front);
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

/* Without a descriptor for a first connection, the library asks for it again at once, and again: it is not heard until the next
 * tick. `knocked`: the loop was woken though no connection was open, which only one to accept can do. */
static void rest_if_starved(struct front *front, bool knocked, unsigned accepts)
{
    if (knocked && front->accepts == accepts) {
        front->starved = true;
        uv_poll_stop(&front->handles->poll);
    }
}

void front_turn(struct front *front)
{
    if (!front->pending || front->stopping) {
        return;
    }
    bool knocked = front->polled && front->connections == 0;
    unsigned accepts = front->accepts;
    front->polled = false;
    run(front);
    rest_if_starved(front, knocked, accepts);
    if (wants_run(front)) {
        front->pending = true;
        uv_idle_start(&front->handles->idle, on_idle);
    } else {
        uv_idle_stop(&front->handles->idle);
    }
    if (front->blocked > 0 && !uv_is_active((uv_handle_t *)&front->handles->unblock)) {
        uv_timer_start(&front->handles->unblock, on_unblock, PARK_BLOCKED_MS, 0);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct front *front = poll->data;
    (void)status;
    (void)events;
    front->pending = front->polled = true;
}

/* A client that ends its side together with a request is not seen to do so: the library's last read was short, so it waits for an
 * event that has been. Who has become idle since the last tick is asked. */
static void look_for_ends(struct front *front, uint64_t now)
{
    uint64_t since = front->ticked_ms + front->idles.duration;
    for (struct deadline *d = front->idles.head.previous; d != &front->idles.head && d->due >= since; d = d->previous) {
        struct connection *connection = DEADLINE_OWNER(d, struct connection, deadline);
        char byte;
        if (recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
            connection_shut(connection);
        }
    }
    front->ticked_ms = now;
}

static void on_tick(uv_timer_t *timer)
{
    struct front *front = timer->data;
    uint64_t now = front_now_ms(front);
    struct deadline *due;
    look_for_ends(front, now);
    while ((due = deadline_take(&front->heads, now)) != NULL || (due = deadline_take(&front->idles, now)) != NULL) {
        connection_shut(DEADLINE_OWNER(due, struct connection, deadline));
    }
    while ((due = deadline_take(&front->bodies, now)) != NULL) {
        struct front_request *r = DEADLINE_OWNER(due, struct front_request, body_deadline);
        r->timed_out = true;
        front_end_gone(r);
    }
    while ((due = deadline_take(&front->tunnels, now)) != NULL) {
        struct front_request *r = DEADLINE_OWNER(due, struct front_request, body_deadline);
        r->timed_out = true;
        front_end_gone(r);
    }
    while ((due = deadline_take(&front->lingers, now)) != NULL) {
        front_end_gone(DEADLINE_OWNER(due, struct front_request, body_deadline));
    }
    while ((due = deadline_take(&front->waits, now)) != NULL) {
        struct front_request *r = DEADLINE_OWNER(due, struct front_request, watch_deadline);
        if (!r->watched) {
            r->watched = true;
            leaver_watch(front->leaver, r->connection->fd, r);
        }
    }
    if (front->starved) {
        front->starved = false;
        uv_poll_start(&front->handles->poll, UV_READABLE, on_poll);
    }
    front->pending = true; /* the library's own time-outs, and accepting again after a shortage of descriptors */
}

/* ---- life ---- */

static void start_handles(struct front *front, struct uv_loop_s *loop, int epoll_fd)
{
    uv_poll_init(loop, &front->handles->poll, epoll_fd);
    uv_idle_init(loop, &front->handles->idle);
    uv_timer_init(loop, &front->handles->tick);
    uv_timer_init(loop, &front->handles->unblock);
    front->handles->poll.data = front->handles->idle.data = front->handles->tick.data = front->handles->unblock.data =
        front;
    front->handles->open = 4;
    uv_poll_start(&front->handles->poll, UV_READABLE, on_poll);
    uv_timer_start(&front->handles->tick, on_tick, TICK_MS, TICK_MS);
}

struct front *front_create(struct uv_loop_s *loop, int listen_fd, struct tls *tls, const struct front_limits *limits,
                           const struct front_handler *handler, void *owner, const char **why)
{
    struct with_handles {
        struct front front; /* first: freed by its own address */
        struct front_handles handles;
    } *whole = calloc(1, sizeof *whole);
    *why = "out of memory or file descriptors";
    if (whole == NULL) {
        close(listen_fd);
        return NULL;
    }
    struct front *front = &whole->front;
    front->handles = &whole->handles;
    front->tls = tls_hold(tls);
    front->limits = *limits;
    front->handler = handler;
    front->owner = owner;
    front->ready_end = &front->ready;
    deadline_list_init(&front->heads, limits->head_ns / 1000000);
    deadline_list_init(&front->idles, limits->idle_ns / 1000000);
    deadline_list_init(&front->bodies, limits->body_ns / 1000000);
    deadline_list_init(&front->waits, WATCH_AFTER_MS);
    deadline_list_init(&front->tunnels, limits->idle_ns / 1000000);
    deadline_list_init(&front->lingers, LINGER_MS);
    front->leaver = leaver_create(loop, on_leave, front);
    int epoll_fd;
    if (front->leaver == NULL || !front_library_start(front, listen_fd, &epoll_fd)) {
        leaver_destroy(&front->leaver);
        tls_drop(&front->tls);
        close(listen_fd);
        free(front);
        return NULL;
    }
    start_handles(front, loop, epoll_fd);
    return front;
}

void front_renew_tls(struct front *front, struct tls *tls)
{
    CHECK(front->tls != NULL && tls != NULL);
    tls_drop(&front->tls);
    front->tls = tls_hold(tls);
}

int front_drain(struct front *front, bool close_idle)
{
    front->draining = true;
    for (struct deadline *d = front->idles.head.next; close_idle && d != &front->idles.head; d = d->next) {
        connection_shut(DEADLINE_OWNER(d, struct connection, deadline));
    }
    front->pending = true;
    return front_library_quiesce(front);
}

unsigned front_connections(const struct front *front)
{
    return front->connections;
}

unsigned front_active(const struct front *front)
{
    return front->active;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct front *front = handle->data;
    if (--front->handles->open > 0) {
        return;
    }
    while (front->free != NULL) {
        struct front_request *r = front->free;
        front->free = r->next_free;
        free(r);
    }
    wires_fini(&front->wires);
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
        close(front_drain(front, true));
    }
    for (struct front_request *r = front->live; r != NULL; r = r->next_live) {
        front_end_gone(r);
    }
    run(front); /* wakes the suspended: the library cannot stop with one of them */
    front->stopping = true;
    front_library_stop(front); /* on_completed for each that is left */
    CHECK(front->active == 0);
    leaver_destroy(&front->leaver);
    tls_drop(&front->tls);
    uv_handle_t *handles[] = { (uv_handle_t *)&front->handles->poll, (uv_handle_t *)&front->handles->idle,
                               (uv_handle_t *)&front->handles->tick, (uv_handle_t *)&front->handles->unblock };
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++) {
        uv_close(handles[i], on_handle_closed);
    }
}
