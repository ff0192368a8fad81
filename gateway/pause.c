/* pause: see pause.h. It lives on until the loop has closed its handle. */
#include "pause.h"

#include <stdlib.h>
#include <uv.h>

struct pause {
    uv_timer_t timer;
    void (*on_over)(void *user);
    void *user;
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_timer(uv_timer_t *timer)
{
    struct pause *pause = timer->data;
    pause->on_over(pause->user);
}

struct pause *pause_start(struct uv_loop_s *loop, uint64_t ns, void (*on_over)(void *user), void *user)
{
    struct pause *pause = malloc(sizeof *pause);
    if (pause != NULL) {
        pause->on_over = on_over;
        pause->user = user;
        uv_timer_init(loop, &pause->timer);
        pause->timer.data = pause;
        uv_timer_start(&pause->timer, on_timer, (ns + 999999) / 1000000, 0);
    }
    return pause;
}

void pause_cancel(struct pause **pause)
{
    if (*pause != NULL) {
        uv_close((uv_handle_t *)&(*pause)->timer, on_closed);
        *pause = NULL;
    }
}
