/* server: see server.h. The main thread only starts, waits for signals, and stops; it serves nothing itself. */
#include "server.h"

#include "admin.h"
#include "listener.h"
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WORKERS_MAX 1024

struct server {
    struct generation *generation;
    unsigned worker_count;
    struct worker *workers[WORKERS_MAX];
    struct admin *admin;
};

static unsigned cpus(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : (unsigned)count;
}

/* Every client connection may have one to an upstream: as many descriptors as the system grants. */
static void raise_descriptor_limit(const struct config *config)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    rlim_t wanted = 2 * config->sizes.connections + 128;
    if (limit.rlim_cur < wanted) {
        log_event("the system grants %llu file descriptors; sizes.connections %llu may need %llu (raise it: ulimit -n)",
                  (unsigned long long)limit.rlim_cur, (unsigned long long)config->sizes.connections,
                  (unsigned long long)wanted);
    }
}

/* ---- start ---- */

/* fds[worker * listen_count + listener]. */
static bool open_listeners(struct server *server, int *fds)
{
    struct config *config = server->generation->config;
    int of_one[WORKERS_MAX];
    for (size_t l = 0; l < config->listen_count; l++) {
        if (!listener_open(&config->listens[l].address, of_one, server->worker_count)) {
            log_event("cannot listen on %s: %s", config->listens[l].text, strerror(errno));
            for (size_t i = 0; i < l; i++) {
                for (unsigned w = 0; w < server->worker_count; w++) {
                    close(fds[w * config->listen_count + i]);
                }
            }
            return false;
        }
        for (unsigned w = 0; w < server->worker_count; w++) {
            fds[w * config->listen_count + l] = of_one[w];
        }
    }
    return true;
}

static bool start_admin(struct server *server)
{
    struct config_admin *admin = &server->generation->config->admin;
    if (!admin->enabled) {
        return true;
    }
    int fd;
    const char *why = "";
    if (!listener_open(&admin->address, &fd, 1)) {
        log_event("cannot listen on %s for admin: %s", admin->text, strerror(errno));
        return false;
    }
    server->admin = admin_start(server->generation, fd, &why);
    if (server->admin == NULL) {
        log_event("cannot start the admin pages: %s", why);
    }
    return server->admin != NULL;
}

static bool start_workers(struct server *server, const int *fds)
{
    const char *why = "";
    for (unsigned w = 0; w < server->worker_count; w++) {
        server->workers[w] =
            worker_start(server->generation, w, fds + w * server->generation->config->listen_count, &why);
        if (server->workers[w] == NULL) {
            log_event("cannot start worker %u: %s", w, why);
            for (unsigned later = w + 1; later < server->worker_count; later++) {
                for (size_t l = 0; l < server->generation->config->listen_count; l++) {
                    close(fds[later * server->generation->config->listen_count + l]);
                }
            }
            server->worker_count = w; /* those that run are to be stopped */
            return false;
        }
    }
    return true;
}

static void say_ready(const struct server *server)
{
    char text[LISTENER_TEXT];
    for (size_t l = 0; l < server->generation->config->listen_count; l++) {
        listener_text(&server->generation->config->listens[l].address, text);
        log_event("listening on %s with %u worker%s", text, server->worker_count, server->worker_count == 1 ? "" : "s");
    }
    if (server->admin != NULL) {
        listener_text(&server->generation->config->admin.address, text);
        log_event("admin pages on http://%s/ (healthz, readyz, metrics)", text);
    }
}

/* ---- signals and stop ---- */

static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, signals, NULL); /* inherited by every thread: only sigwait() sees them */
    signal(SIGPIPE, SIG_IGN);
}

static void wait_for_stop(struct server *server, const sigset_t *signals)
{
    for (;;) {
        int which = 0;
        (void)sigwait(signals, &which);
        if (which == SIGTERM || which == SIGINT) {
            return;
        }
        if (which == SIGUSR1) {
            log_reopen(server->generation->log);
        } else {
            log_event("SIGHUP: reloading is not supported by this version of weir; restart it to take a new config");
        }
    }
}

static void *watch_for_impatience(void *argument)
{
    int which = 0;
    do {
        (void)sigwait(argument, &which);
    } while (which != SIGTERM && which != SIGINT);
    log_event("second signal: stopping without waiting");
    _exit(1);
}

static void stop(struct server *server, sigset_t *signals)
{
    static sigset_t watched; /* outlives this call: the watcher may still be in sigwait() when the process ends */
    pthread_t watcher;
    watched = *signals;
    log_event("draining: %llu connections are open",
              (unsigned long long)metrics_open_connections(server->generation->metrics));
    if (pthread_create(&watcher, NULL, watch_for_impatience, &watched) == 0) {
        pthread_detach(watcher);
    }
    if (server->admin != NULL) {
        admin_set_draining(server->admin);
    }
    for (unsigned w = 0; w < server->worker_count; w++) {
        worker_drain(server->workers[w]);
    }
    for (unsigned w = 0; w < server->worker_count; w++) {
        worker_join(&server->workers[w]);
    }
    if (server->admin != NULL) {
        admin_stop(&server->admin);
    }
    log_event("stopped");
}

int server_run(struct config *config)
{
    static struct server server;
    sigset_t signals;
    const char *why;
    server.worker_count = config->workers > 0 ? config->workers : cpus();
    CHECK(server.worker_count <= WORKERS_MAX);
    block_signals(&signals);
    raise_descriptor_limit(config);
    server.generation = generation_create(config, server.worker_count, &why);
    if (server.generation == NULL) {
        log_event("cannot start: %s", why);
        return 1;
    }
    int *fds = calloc(server.worker_count * config->listen_count, sizeof *fds);
    bool good = fds != NULL && open_listeners(&server, fds);
    if (good) {
        good = start_workers(&server, fds) && start_admin(&server);
        if (good) {
            say_ready(&server);
            wait_for_stop(&server, &signals);
        }
        stop(&server, &signals);
    }
    free(fds);
    generation_destroy(&server.generation);
    return good ? 0 : 1;
}
