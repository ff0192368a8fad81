/* config_file: open, make sure it is a file, read. */
#include "config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_FILE 4096 /* files that the kernel makes up (/proc) say they are empty */

/* What kind of thing may not be read, or NULL. */
static const char *unfit(const struct stat *status)
{
    if (S_ISDIR(status->st_mode)) {
        return "this is a directory, not a file";
    }
    return S_ISREG(status->st_mode) ? NULL : "this is not a regular file but a device, a socket or a pipe";
}

/* Up to `size` bytes, fewer at the end of the file; SIZE_MAX and errno on an error. */
static size_t read_fully(int fd, char *bytes, size_t size)
{
    size_t used = 0;
    while (used < size) {
        ssize_t got = read(fd, bytes + used, size - used);
        if (got < 0 && errno != EINTR) {
            return SIZE_MAX;
        }
        if (got == 0) {
            break;
        }
        used += got > 0 ? (size_t)got : 0;
    }
    return used;
}

/* How many bytes to make room for. Only a hint: the file may be another one by the time it is opened. */
static size_t expected_size(const char *path, size_t most)
{
    struct stat status;
    size_t size = stat(path, &status) == 0 && status.st_size > 0 ? (size_t)status.st_size : 0;
    size = size < SMALL_FILE ? SMALL_FILE : size;
    return size < most ? size : most;
}

char *config_file_read(struct arena *arena, const char *path, size_t most, size_t *length, const char **problem)
{
    /* Taken before anything is open, since the arena may jump. One byte more than expected, to notice a larger file. */
    size_t room = expected_size(path, most);
    char *bytes = arena_take(arena, room + 2, 1);
    /* O_NONBLOCK: opening a FIFO would wait for a writer. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        *problem = arena_print(arena, "cannot open it: %s", strerror(errno));
        return NULL;
    }
    struct stat status;
    size_t got = 0;
    int error = fstat(fd, &status) == 0 ? 0 : errno;
    const char *kind = error == 0 ? unfit(&status) : NULL;
    if (error == 0 && kind == NULL) {
        got = read_fully(fd, bytes, room + 1);
        error = got == SIZE_MAX ? errno : 0;
    }
    close(fd);
    if (kind != NULL) {
        *problem = kind;
    } else if (error != 0) {
        *problem = arena_print(arena, "cannot read it: %s", strerror(error));
    } else if (got > room) {
        *problem = room == most ? arena_print(arena, "it is larger than %zu bytes", most)
                                : "it grew while it was read; try again";
    } else {
        bytes[got] = '\0';
        *length = got;
        return bytes;
    }
    return NULL;
}

const char *config_file_check(struct arena *arena, const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat status;
    int error = fd >= 0 && fstat(fd, &status) == 0 ? 0 : errno;
    if (fd >= 0) {
        close(fd); /* before the arena may jump */
    }
    return error != 0 ? arena_print(arena, "cannot open it: %s", strerror(error)) : unfit(&status);
}

char *config_file_beside(struct arena *arena, const char *beside, const char *name)
{
    const char *slash = strrchr(beside, '/');
    if (name[0] == '/' || slash == NULL) {
        return arena_copy(arena, name, strlen(name));
    }
    return arena_print(arena, "%.*s%s", (int)(slash - beside) + 1, beside, name);
}
