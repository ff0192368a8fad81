/* leaver: notices clients that leave while their request waits.
 *
 * A connection that is parked in the front is read by nobody, so a client that gives up would be found only when its answer is
 * written. Those that wait longer than a moment are watched for the peer's end of stream (EPOLLRDHUP) in one epoll set of our own:
 * two system calls per watched wait, none for the requests that are answered at once.
 * One thread: the loop's.
 */
#ifndef WEIR_LEAVER_H
#define WEIR_LEAVER_H

struct uv_loop_s;
struct leaver;

/* on_leave is told the cookie given to leaver_watch(), once; the watch is over then. NULL when the system has no descriptor or memory left. */
struct leaver *leaver_create(struct uv_loop_s *loop, void (*on_leave)(void *user, void *cookie), void *user);
void leaver_destroy(struct leaver **leaver); /* frees itself when the loop has closed its handle */

void leaver_watch(struct leaver *leaver, int fd, void *cookie);
void leaver_unwatch(struct leaver *leaver, int fd); /* before the descriptor is closed */

#endif
