/* leaver: see leaver.h. The epoll set is itself a descriptor that the loop polls. */
#include "leaver.h"

#include "check.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

#define LEAVER_EVENTS 64 /* per turn; what is left is reported on the next */

struct leaver {
    uv_poll_t poll;
    int set;
    void (*on_leave)(void *user, void *cookie);
    void *user;
};

static void on_set_ready(uv_poll_t *poll, int status, int events)
{
    struct leaver *leaver = poll->data;
    struct epoll_event ready[LEAVER_EVENTS];
    (void)status;
    (void)events;
    int count = epoll_wait(leaver->set, ready, LEAVER_EVENTS, 0);
    for (int i = 0; i < count; i++) {
        leaver->on_leave(leaver->user, ready[i].data.ptr);
    }
}

struct leaver *leaver_create(struct uv_loop_s *loop, void (*on_leave)(void *user, void *cookie), void *user)
{
    struct leaver *leaver = calloc(1, sizeof *leaver);
    if (leaver == NULL) {
        return NULL;
    }
    leaver->set = epoll_create1(EPOLL_CLOEXEC);
    leaver->on_leave = on_leave;
    leaver->user = user;
    if (leaver->set < 0 || uv_poll_init(loop, &leaver->poll, leaver->set) != 0) {
        if (leaver->set >= 0) {
            close(leaver->set);
        }
        free(leaver);
        return NULL;
    }
    leaver->poll.data = leaver;
    uv_poll_start(&leaver->poll, UV_READABLE, on_set_ready);
    return leaver;
}

static void on_closed(uv_handle_t *handle)
{
    struct leaver *leaver = handle->data;
    close(leaver->set);
    free(leaver);
}

void leaver_destroy(struct leaver **leaver)
{
    if (*leaver != NULL) {
        uv_close((uv_handle_t *)&(*leaver)->poll, on_closed);
        *leaver = NULL;
    }
}

void leaver_watch(struct leaver *leaver, int fd, void *cookie)
{
    /* One shot: an event is told once, and a watch that fired costs nothing until it is taken out. */
    struct epoll_event event = { .events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = cookie };
    /* Failing (no memory in the kernel) only means that this client's leaving is found later. */
    (void)COUNT_IF(epoll_ctl(leaver->set, EPOLL_CTL_ADD, fd, &event) != 0);
}

void leaver_unwatch(struct leaver *leaver, int fd)
{
    (void)COUNT_IF(epoll_ctl(leaver->set, EPOLL_CTL_DEL, fd, NULL) != 0);
}
