/* relay: the floor. Copies bytes between a client and an origin, one connection each, and looks at nothing.
 *
 *     relay LISTEN_PORT ORIGIN_PORT
 *
 * What a proxy costs beyond this is what it does for its users. Single-threaded, edge-less epoll, one read and one write a
 * message: as cheap as two system calls each way can be. A tool of `make bench`; no part of weir.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct half {
    int fd;
    struct half *other;
};

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static void watch(int set, struct half *half)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = half };
    must(epoll_ctl(set, EPOLL_CTL_ADD, half->fd, &event), "epoll_ctl");
}

static void pair_up(int set, int client, int origin_port)
{
    int one = 1;
    struct sockaddr_in where = loopback(origin_port);
    int origin = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    must(connect(origin, (struct sockaddr *)&where, sizeof where), "connect");
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(origin, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct half *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
    if (a == NULL || b == NULL) {
        exit(1);
    }
    *a = (struct half){ client, b };
    *b = (struct half){ origin, a };
    watch(set, a);
    watch(set, b);
}

static void copy(struct half *half)
{
    static char bytes[64 * 1024];
    ssize_t got = read(half->fd, bytes, sizeof bytes);
    for (ssize_t sent = 0; sent < got;) { /* blocking: the messages of a benchmark fit the socket's buffer */
        ssize_t more = write(half->other->fd, bytes + sent, (size_t)(got - sent));
        if (more < 0) {
            got = -1;
            break;
        }
        sent += more;
    }
    if (got <= 0 && half->fd >= 0) {
        shutdown(half->other->fd, SHUT_RDWR); /* its own end of file closes the other half */
        close(half->fd);
        half->fd = -1;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: relay LISTEN_PORT ORIGIN_PORT\n");
        return 2;
    }
    int one = 1;
    struct sockaddr_in where = loopback(atoi(argv[1]));
    int listener = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    must(bind(listener, (struct sockaddr *)&where, sizeof where), "bind");
    must(listen(listener, 1024), "listen");
    int set = must(epoll_create1(0), "epoll_create1");
    struct half accepts = { .fd = listener };
    watch(set, &accepts);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(set, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct half *half = events[i].data.ptr;
            if (half == &accepts) {
                pair_up(set, must(accept(listener, NULL, NULL), "accept"), atoi(argv[2]));
            } else if (half->fd >= 0) {
                copy(half);
            }
        }
    }
}
