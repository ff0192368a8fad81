/* agenda: see agenda.h. */
#include "agenda.h"

#include <stdlib.h>
#include <uv.h>

#define NEVER UINT64_MAX

struct agenda {
    uv_idle_t turn;
    uv_timer_t timer;
    uint64_t rings_at; /* ms; NEVER when the timer is not running */
    unsigned open_handles;
    const struct agenda_events *events;
    void *user;
};

static void on_turn(uv_idle_t *turn)
{
    struct agenda *agenda = turn->data;
    uv_idle_stop(turn); /* before the event: it may ask for another turn */
    agenda->events->on_turn(agenda->user);
}

static void on_ring(uv_timer_t *timer)
{
    struct agenda *agenda = timer->data;
    agenda->rings_at = NEVER;
    agenda->events->on_due(agenda->user);
}

static void ring_by(struct agenda *agenda, uint64_t due)
{
    if (due < agenda->rings_at) {
        uint64_t now = agenda_now(agenda);
        agenda->rings_at = due;
        uv_timer_start(&agenda->timer, on_ring, due > now ? due - now : 0, 0);
    }
}

uint64_t agenda_now(const struct agenda *agenda)
{
    return uv_now(agenda->turn.loop);
}

void agenda_soon(struct agenda *agenda)
{
    uv_idle_start(&agenda->turn, on_turn);
}

void agenda_set(struct agenda *agenda, struct deadline_list *list, struct deadline *deadline)
{
    deadline_set(list, deadline, agenda_now(agenda));
    ring_by(agenda, deadline->due);
}

void agenda_plan(struct agenda *agenda, const struct deadline_list *list)
{
    if (list->head.next != &list->head) {
        ring_by(agenda, list->head.next->due);
    }
}

struct agenda *agenda_create(struct uv_loop_s *loop, const struct agenda_events *events, void *user)
{
    struct agenda *agenda = calloc(1, sizeof *agenda);
    if (agenda == NULL) {
        return NULL;
    }
    uv_idle_init(loop, &agenda->turn);
    uv_timer_init(loop, &agenda->timer);
    agenda->turn.data = agenda->timer.data = agenda;
    agenda->open_handles = 2;
    agenda->rings_at = NEVER;
    agenda->events = events;
    agenda->user = user;
    return agenda;
}

static void on_closed(uv_handle_t *handle)
{
    struct agenda *agenda = handle->data;
    if (--agenda->open_handles == 0) {
        free(agenda);
    }
}

void agenda_destroy(struct agenda **agenda)
{
    uv_close((uv_handle_t *)&(*agenda)->turn, on_closed);
    uv_close((uv_handle_t *)&(*agenda)->timer, on_closed);
    *agenda = NULL;
}
