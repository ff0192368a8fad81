/* activation: see activation.h. */
#include "activation.h"

#include "listener.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST       3  /* SD_LISTEN_FDS_START: they follow stdin, stdout, stderr */
#define SOCKETS_MAX 64 /* as many as a config may listen on */

struct passed {
    int fd;
    bool used;
    struct rule_address address;
};

static struct passed passed[SOCKETS_MAX];
static size_t passed_count;

/* A number above 0 and nothing else; 0 when it is none. */
static long number(const char *text)
{
    char *end;
    if (text == NULL || *text < '0' || *text > '9') {
        return 0;
    }
    errno = 0;
    long value = strtol(text, &end, 10);
    return *end == '\0' && errno == 0 ? value : 0;
}

static bool listens(int fd, struct rule_address *address)
{
    struct sockaddr_storage where = { 0 };
    socklen_t length = sizeof where;
    int accepts = 0;
    socklen_t size = sizeof accepts;
    int type = 0;
    socklen_t type_size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) != 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) != 0 || !accepts ||
        getsockname(fd, (struct sockaddr *)&where, &length) != 0) {
        return false;
    }
    return listener_address(&where, address);
}

/* What listener.c does to its own: the manager's defaults differ, and the flags are the socket's, not the descriptor's. */
static bool prepare(int fd)
{
    int one = 1;
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
           setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0;
}

/* False: there is no such descriptor. */
static bool take(int fd)
{
    struct rule_address address;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        log_event("LISTEN_FDS promises a descriptor %d, but there is none", fd);
        return false;
    }
    if (passed_count == SOCKETS_MAX) {
        log_event("the service manager passed more than %d sockets: descriptor %d is closed", SOCKETS_MAX, fd);
        close(fd);
    } else if (!listens(fd, &address) || !prepare(fd)) {
        log_event("descriptor %d, passed by the service manager, is no listening TCP socket: closed", fd);
        close(fd);
    } else {
        passed[passed_count++] = (struct passed){ .fd = fd, .address = address };
    }
    return true;
}

void activation_take(void)
{
    long count = number(getenv("LISTEN_FDS"));
    bool ours = number(getenv("LISTEN_PID")) == (long)getpid(); /* else they were a parent's */
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    for (int fd = FIRST; ours && fd - FIRST < count && take(fd); fd++) {
    }
}

static bool same(const struct rule_address *a, const struct rule_address *b)
{
    return a->v6 == b->v6 && a->port == b->port && memcmp(&a->ip, &b->ip, sizeof a->ip) == 0;
}

static struct passed *find(const struct rule_address *address)
{
    for (size_t i = 0; i < passed_count; i++) {
        if (same(&passed[i].address, address)) {
            return &passed[i];
        }
    }
    return NULL;
}

int activation_use(const struct rule_address *address, int *fds, unsigned count)
{
    struct passed *socket = find(address);
    if (socket == NULL) {
        return ENOENT;
    }
    for (unsigned i = 0; i < count; i++) {
        fds[i] = fcntl(socket->fd, F_DUPFD_CLOEXEC, FIRST);
        if (fds[i] < 0) {
            int error = errno;
            while (i-- > 0) {
                close(fds[i]);
            }
            return error;
        }
    }
    socket->used = true;
    return 0;
}

void activation_close_unused(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < passed_count; i++) {
        char text[LISTENER_TEXT];
        listener_text(&passed[i].address, text);
        if (passed[i].used) {
            log_event("the socket of %s is the service manager's", text);
            passed[kept++] = passed[i];
            continue;
        }
        log_event("the service manager passed a socket on %s, where this config does not listen: closed", text);
        close(passed[i].fd);
    }
    passed_count = kept;
}
