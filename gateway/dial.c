/* dial: see dial.h. */
#include "dial.h"

static void attempt(struct dial *dial);

static void stop_waiting(struct dial *dial)
{
    list_leave(&dial->link);
    dial->wait = DIAL_NOTHING;
}

static void wait_for(struct dial *dial, enum dial_wait what)
{
    struct pool *pool = dial->pool;
    dial->wait = what;
    if (dial->deadline.next == NULL) {
        agenda_set(pool->agenda, &pool->connects, &dial->deadline);
    }
}

static void wait_for_slot(struct dial *dial)
{
    struct pool *pool = dial->pool;
    list_append(&pool->waiting, &dial->link);
    wait_for(dial, DIAL_SLOT);
    if (pool->look.next == NULL) {
        agenda_set(pool->agenda, &pool->looks, &pool->look);
    }
}

static void choose(struct dial *dial)
{
    struct pool *pool = dial->pool;
    struct balance_ask ask = { .tried = &dial->tried, .now_ms = agenda_now(pool->agenda), .client = dial->client };
    if (dial->server != NULL) {
        balance_end(dial->server->balance);
    }
    dial->server = &pool->servers[balance_choose(&pool->shared->balance, &pool->balance, &ask)];
    dial->attempts = 0;
    balance_begin(dial->server->balance);
}

static void succeed(struct dial *dial, struct uplink *uplink)
{
    if (uplink->server != dial->server) { /* another server's kept connection, when no new one may be opened */
        balance_end(dial->server->balance);
        dial->server = uplink->server;
        balance_begin(dial->server->balance);
    }
    stop_waiting(dial);
    deadline_clear(&dial->deadline);
    dial->uplink = NULL;
    uplink->dial = NULL;
    uplink->requests++;
    dial->events->on_dialed(dial, uplink);
}

static void give_up(struct dial *dial, enum upstream_failure failure, const char *detail)
{
    stop_waiting(dial);
    deadline_clear(&dial->deadline);
    dial->events->on_undialed(dial, failure, detail);
}

/* This server is of no use to this call: another one, or none. */
static void next_server(struct dial *dial, enum upstream_failure failure, const char *detail)
{
    const struct config_upstream *config = dial->pool->config;
    balance_set_add(&dial->tried, (size_t)(dial->server - dial->pool->servers));
    if (dial->tried.count > config->retries || dial->tried.count == config->server_count) {
        give_up(dial, failure, detail);
        return;
    }
    choose(dial);
    attempt(dial);
}

static void next_address(struct dial *dial, const char *detail)
{
    struct pool_server *server = dial->server;
    if (++dial->attempts < server->resolve.count) {
        attempt(dial);
        return;
    }
    balance_failed(server->balance, agenda_now(dial->pool->agenda));
    resolve_again(&server->resolve);
    next_server(dial, UPSTREAM_CONNECT, detail);
}

/* All slots are taken: whatever is idle makes room, in this worker; else wait. */
static void find_room(struct dial *dial)
{
    struct uplink *uplink = dial->fresh ? NULL : pool_take(dial->pool, NULL);
    if (uplink != NULL) {
        succeed(dial, uplink);
    } else if (dial->fresh && pool_drop_oldest(dial->pool)) {
        attempt(dial);
    } else {
        wait_for_slot(dial);
    }
}

static void attempt(struct dial *dial)
{
    struct pool_server *server = dial->server;
    struct uplink *kept = dial->fresh ? NULL : pool_take(dial->pool, server);
    if (kept != NULL) {
        succeed(dial, kept);
        return;
    }
    enum pool_refusal why;
    const char *problem = NULL;
    dial->uplink = pool_open(server, &why, &problem);
    if (dial->uplink != NULL) {
        dial->uplink->dial = dial;
        wait_for(dial, DIAL_CONNECT);
        return;
    }
    switch (why) {
    case POOL_FULL:
        find_room(dial);
        break;
    case POOL_NAMELESS:
        if (resolve_again(&server->resolve)) {
            list_append(&server->nameless, &dial->link);
            wait_for(dial, DIAL_NAME);
        } else {
            next_address(dial, "the upstream's name is unknown");
        }
        break;
    case POOL_PROBLEM:
        next_address(dial, problem);
        break;
    }
}

void dial_start(struct dial *dial, struct pool *pool, uint64_t client, const struct dial_events *events)
{
    *dial = (struct dial){ .events = events, .pool = pool, .client = client };
    choose(dial);
    if (list_is_empty(&pool->waiting)) {
        attempt(dial);
    } else { /* nobody overtakes those who wait */
        wait_for_slot(dial);
    }
}

void dial_again(struct dial *dial)
{
    CHECK(dial->wait == DIAL_NOTHING && !dial->fresh);
    dial->fresh = true;
    dial->tried = (struct balance_set){ .count = 0 };
    choose(dial);
    attempt(dial);
}

void dial_stop(struct dial *dial)
{
    if (dial->pool == NULL) {
        return;
    }
    stop_waiting(dial);
    deadline_clear(&dial->deadline);
    if (dial->uplink != NULL) {
        dial->uplink->dial = NULL;
        pool_drop(&dial->uplink);
    }
    balance_end(dial->server->balance);
    dial->pool = NULL;
}

void dial_on_connected(struct uplink *uplink, const char *problem)
{
    struct dial *dial = uplink->dial;
    struct pool *pool = dial->pool;
    if (problem == NULL) {
        balance_succeeded(dial->server->balance);
        pool->connects_made++;
        succeed(dial, uplink);
        return;
    }
    stop_waiting(dial);
    pool_drop(&dial->uplink);
    next_address(dial, problem);
}

void dial_on_name(struct resolve *resolve)
{
    struct pool_server *server = DEADLINE_OWNER(resolve, struct pool_server, resolve);
    struct list waited;
    struct list *link;
    list_move(&waited, &server->nameless);
    while ((link = list_take(&waited)) != NULL) {
        attempt(LIST_OWNER(link, struct dial, link));
    }
}

void dial_serve(struct pool *pool)
{
    while (!list_is_empty(&pool->waiting) && pool_has_room(pool)) {
        attempt(LIST_OWNER(list_take(&pool->waiting), struct dial, link));
    }
}

/* The time is up: what was it spent on? */
static void expire(struct dial *dial)
{
    switch (dial->wait) {
    case DIAL_SLOT:
        give_up(dial, UPSTREAM_BUSY, "no connection to the upstream became free in time");
        break;
    case DIAL_NAME:
        stop_waiting(dial);
        next_server(dial, UPSTREAM_CONNECT, "the upstream's name was not resolved in time");
        break;
    case DIAL_CONNECT:
        stop_waiting(dial);
        dial->uplink->dial = NULL;
        pool_drop(&dial->uplink);
        balance_failed(dial->server->balance, agenda_now(dial->pool->agenda));
        resolve_again(&dial->server->resolve);
        next_server(dial, UPSTREAM_CONNECT_TIMEOUT, "the upstream did not accept the connection in time");
        break;
    case DIAL_NOTHING:
        break;
    }
}

void dial_on_due(struct pool *pool)
{
    uint64_t now = agenda_now(pool->agenda);
    struct deadline *due;
    while ((due = deadline_take(&pool->connects, now)) != NULL) {
        expire(DEADLINE_OWNER(due, struct dial, deadline));
    }
    if (deadline_take(&pool->looks, now) != NULL) {
        dial_serve(pool);
        if (!list_is_empty(&pool->waiting)) {
            agenda_set(pool->agenda, &pool->looks, &pool->look);
        }
    }
}
