/* sink: writing lines where writing may fail. See sink.h. */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* O_NONBLOCK: a pipe without a reader is an error and not a wait; regular files take no notice. */
static int open_path(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

/* A write of PIPE_BUF bytes to a pipe, socket or terminal that poll() calls writable does not wait (pipe(7)), and its
 * lines are not mixed with those of other writers. A standard stream may not be made non-blocking instead: that would
 * hold for every process that shares it, the shell included. Files do not wait, and take whatever there is. */
static bool use(struct sink *sink, int fd)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        return false;
    }
    sink->fd = fd;
    sink->most = S_ISREG(status.st_mode) ? SSIZE_MAX : PIPE_BUF;
    return true;
}

bool sink_init(struct sink *sink, const char *path, int fd)
{
    *sink = (struct sink){ .fd = -1 };
    if (path == NULL) {
        return use(sink, fd);
    }
    sink->path = strdup(path);
    return sink->path != NULL && use(sink, open_path(path));
}

void sink_fini(struct sink *sink)
{
    if (sink->path != NULL && sink->fd >= 0) {
        close(sink->fd);
    }
    free(sink->path);
    *sink = (struct sink){ .fd = -1 };
}

bool sink_reopen(struct sink *sink)
{
    if (sink->path == NULL) {
        return true;
    }
    int old = sink->fd;
    if (!use(sink, open_path(sink->path))) {
        return false;
    }
    close(old);
    sink->skips_line = sink->inside_line;
    sink->inside_line = false;
    return true;
}

static char byte_at(const struct slice pieces[static 2], size_t index)
{
    if (index < pieces[0].length) {
        return pieces[0].at[index];
    }
    return pieces[1].at[index - pieces[0].length];
}

/* How much to write: all, or as many whole lines as one write may have, or a part of a line longer than that. */
static size_t portion(const struct sink *sink, const struct slice pieces[static 2])
{
    size_t length = pieces[0].length + pieces[1].length;
    if (length <= sink->most) {
        return length;
    }
    for (size_t end = sink->most; end > 0; end--) {
        if (byte_at(pieces, end - 1) == '\n') {
            return end;
        }
    }
    return sink->most;
}

static size_t skip_line(struct sink *sink, const struct slice pieces[static 2])
{
    size_t length = 0;
    while (byte_at(pieces, length) != '\n') { /* what the caller has are whole lines */
        length++;
    }
    sink->skips_line = false;
    sink->cut++;
    return length + 1;
}

/* struct iovec has no const, for it serves readv() too. */
static struct iovec part_of(struct slice piece, size_t length)
{
    union {
        const char *given;
        void *taken;
    } base = { .given = piece.at };
    return (struct iovec){ base.taken, length };
}

size_t sink_write(struct sink *sink, const struct slice pieces[static 2])
{
    if (sink->skips_line) {
        return skip_line(sink, pieces);
    }
    struct pollfd ready = { .fd = sink->fd, .events = POLLOUT };
    if (sink->most != SSIZE_MAX && poll(&ready, 1, 0) != 1) {
        sink->error = 0;
        return 0;
    }
    size_t length = portion(sink, pieces);
    size_t first = length < pieces[0].length ? length : pieces[0].length;
    struct iovec parts[2] = { part_of(pieces[0], first), part_of(pieces[1], length - first) };
    ssize_t written = writev(sink->fd, parts, length > first ? 2 : 1);
    if (written <= 0) {
        bool later = written == 0 || errno == EAGAIN || errno == EINTR;
        sink->error = later ? 0 : errno;
        return 0;
    }
    sink->error = 0;
    sink->inside_line = byte_at(pieces, (size_t)written - 1) != '\n';
    return (size_t)written;
}
