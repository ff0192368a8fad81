/* listener: see listener.h. */
#include "listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096 /* connections waiting to be accepted; the kernel caps it at net.core.somaxconn */

static socklen_t to_sockaddr(const struct rule_address *address, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (address->v6) {
        struct sockaddr_in6 *v6 = (void *)out;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(address->port);
        memcpy(&v6->sin6_addr, address->ip.bytes, 16);
        return sizeof *v6;
    }
    struct sockaddr_in *v4 = (void *)out;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address->port);
    memcpy(&v4->sin_addr, address->ip.bytes + 12, 4);
    return sizeof *v4;
}

static int open_one(const struct rule_address *address, bool shared)
{
    struct sockaddr_storage where;
    socklen_t length = to_sockaddr(address, &where);
    int one = 1;
    int fd = socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    bool good = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
                (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0) &&
                (!address->v6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0) &&
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0 &&
                bind(fd, (struct sockaddr *)&where, length) == 0 && listen(fd, BACKLOG) == 0;
    if (!good) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

bool listener_address(const struct sockaddr_storage *where, struct rule_address *out)
{
    memset(out, 0, sizeof *out);
    if (where->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)where;
        out->v6 = true;
        out->port = ntohs(v6->sin6_port);
        memcpy(out->ip.bytes, &v6->sin6_addr, 16);
    } else if (where->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)where;
        out->port = ntohs(v4->sin_port);
        out->ip.bytes[10] = out->ip.bytes[11] = 0xff;
        memcpy(out->ip.bytes + 12, &v4->sin_addr, 4);
    }
    return where->ss_family == AF_INET6 || where->ss_family == AF_INET;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage where;
    struct rule_address address;
    socklen_t length = sizeof where;
    return getsockname(fd, (struct sockaddr *)&where, &length) == 0 && listener_address(&where, &address) ? address.port
                                                                                                          : 0;
}

bool listener_open(struct rule_address *address, int *fds, unsigned count)
{
    int probe = open_one(address, false); /* alone: tells when somebody else is there, and picks a free port */
    if (probe < 0) {
        return false;
    }
    address->port = port_of(probe);
    close(probe);
    for (unsigned i = 0; i < count; i++) {
        fds[i] = open_one(address, true);
        if (fds[i] < 0) {
            int error = errno;
            while (i-- > 0) {
                close(fds[i]);
            }
            errno = error;
            return false;
        }
    }
    return true;
}

void listener_text(const struct rule_address *address, char out[static LISTENER_TEXT])
{
    char ip[RULE_IP_TEXT];
    (void)rule_ip_text(&address->ip, ip);
    snprintf(out, LISTENER_TEXT, address->v6 ? "[%s]:%u" : "%s:%u", ip, (unsigned)address->port);
}
