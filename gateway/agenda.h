/* agenda: what the upstreams of one worker still have to do: before the loop sleeps again, and when a deadline is
 * due.
 *
 * One idle handle and one timer for everything: the idle handle is active only while something is left to do, so that
 * the loop does not sleep; the timer is set for the earliest deadline known and not moved when that deadline is
 * cleared (most are, long before they are due): it then rings once for nothing. Setting a deadline is a few pointer
 * writes, no timer is started per request.
 */
#ifndef WEIR_AGENDA_H
#define WEIR_AGENDA_H

#include "deadline.h"

struct uv_loop_s;
struct agenda;

struct agenda_events {
    void (*on_turn)(void *user); /* agenda_soon() was called since */
    void (*on_due)(void *user);  /* take what is due now from every list, and agenda_plan() each list again */
};

/* NULL when memory is short. */
struct agenda *agenda_create(struct uv_loop_s *loop, const struct agenda_events *events, void *user);
void agenda_destroy(struct agenda **agenda); /* frees itself when the loop has closed its handles */

/* ms, of the loop's turn */
uint64_t agenda_now(const struct agenda *agenda);

void agenda_soon(struct agenda *agenda);
void agenda_set(struct agenda *agenda, struct deadline_list *list, struct deadline *deadline);
void agenda_plan(struct agenda *agenda, const struct deadline_list *list);

#endif
