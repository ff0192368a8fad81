/* pause: one wait on a loop, started and cancelled without thinking about handles. For rare waits; deadlines of every request are deadline.h's. */
#ifndef WEIR_PAUSE_H
#define WEIR_PAUSE_H

#include <stdint.h>

struct uv_loop_s;
struct pause;

/* Calls on_over(user) once, after `ns` (to the millisecond), unless it is cancelled first. NULL when memory is short. */
struct pause *pause_start(struct uv_loop_s *loop, uint64_t ns, void (*on_over)(void *user), void *user);
/* Clears the pointer; does nothing with NULL. Also from within on_over, whose pause is over by itself. */
void pause_cancel(struct pause **pause);

#endif
