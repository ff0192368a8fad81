/* health: see health.h. Blocking and plain: it runs once and ends. */
#include "health.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct target {
    char host[256], port[6];
    const char *path;
};

static bool parse(const char *url, struct target *target)
{
    static const char scheme[] = "http://";
    if (strncmp(url, scheme, sizeof scheme - 1) != 0) {
        return false;
    }
    const char *host = url + sizeof scheme - 1;
    const char *path = strchr(host, '/');
    size_t length = path != NULL ? (size_t)(path - host) : strlen(host);
    target->path = path != NULL ? path : "/";
    bool bracket = host[0] == '[';
    const char *end = bracket ? memchr(host, ']', length) : memchr(host, ':', length);
    const char *colon = bracket ? (end != NULL ? end + 1 : NULL) : end;
    size_t host_length =
        bracket ? (end != NULL ? (size_t)(end - host) - 1 : 0) : (end != NULL ? (size_t)(end - host) : length);
    size_t port_length = colon != NULL && *colon == ':' ? length - (size_t)(colon + 1 - host) : 0;
    if (host_length == 0 || host_length >= sizeof target->host || port_length >= sizeof target->port) {
        return false;
    }
    snprintf(target->host, sizeof target->host, "%.*s", (int)host_length, host + bracket);
    snprintf(target->port, sizeof target->port, "%.*s", port_length > 0 ? (int)port_length : 2,
             port_length > 0 ? colon + 1 : "80");
    return true;
}

static int dial(const struct target *target)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    if (getaddrinfo(target->host, target->port, &hints, &list) != 0) {
        return -1;
    }
    struct timeval patience = { .tv_sec = 2 };
    int fd = -1;
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) {
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* bounds connect() too */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

int health_ask(const char *url)
{
    struct target target;
    if (!parse(url, &target)) {
        fprintf(stderr, "weir: \"%s\" is not an http URL like http://127.0.0.1:9901/healthz\n", url);
        return 1;
    }
    int fd = dial(&target);
    if (fd < 0) {
        fprintf(stderr, "weir: nothing answers at %s\n", url);
        return 1;
    }
    char text[1024];
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target.path,
                          target.host);
    bool sent = length < (int)sizeof text && write(fd, text, (size_t)length) == length;
    ssize_t got = sent ? read(fd, text, sizeof text - 1) : -1;
    close(fd);
    static const char good[] = "HTTP/1.1 200 ";
    if (got >= (ssize_t)sizeof good && memcmp(text, good, sizeof good - 1) == 0) {
        return 0;
    }
    fprintf(stderr, "weir: %s answers %.*s\n", url, got > 12 ? 12 : got > 0 ? (int)got : 7, got > 0 ? text : "nothing");
    return 1;
}
