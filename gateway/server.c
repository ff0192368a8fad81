/* server: see server.h. The main thread only starts, waits for signals, and stops; it serves nothing itself. */
#include "server.h"

#include "activation.h"
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
    char *path;                    /* of the config file */
    struct generation *generation; /* that requests begin under now */
    struct generation *past;       /* that requests in flight still hold */
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

static bool listens_already(const struct generation *running, const char *text)
{
    for (size_t i = 0; running != NULL && i < running->config->listen_count; i++) {
        if (strcmp(running->config->listens[i].text, text) == 0) {
            return true;
        }
    }
    return false;
}

/* The service manager's socket when it passed one for this address, else our own. False and errno. */
static bool open_address(struct rule_address *address, int *fds, unsigned count)
{
    int error = activation_use(address, fds, count);
    if (error == ENOENT) {
        return listener_open(address, fds, count);
    }
    errno = error;
    return error == 0;
}

static void close_sockets(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

/* fds[worker * listen_count + listener]; -1 where the `running` generation has the socket already. Malloc'd; NULL after saying why. */
static int *open_listeners(const struct server *server, struct config *config, const struct generation *running)
{
    size_t count = server->worker_count * config->listen_count;
    int *fds = malloc(count * sizeof *fds);
    int of_one[WORKERS_MAX];
    CHECK(fds != NULL);
    memset(fds, -1, count * sizeof *fds);
    for (size_t l = 0; l < config->listen_count; l++) {
        if (listens_already(running, config->listens[l].text)) {
            continue;
        }
        if (!open_address(&config->listens[l].address, of_one, server->worker_count)) {
            log_event("cannot listen on %s: %s", config->listens[l].text, strerror(errno));
            close_sockets(fds, count);
            free(fds);
            return NULL;
        }
        for (unsigned w = 0; w < server->worker_count; w++) {
            fds[w * config->listen_count + l] = of_one[w];
        }
    }
    return fds;
}

static bool start_admin(struct server *server)
{
    struct config_admin *admin = &server->generation->config->admin;
    if (!admin->enabled) {
        return true;
    }
    int fd;
    const char *why = "";
    if (!open_address(&admin->address, &fd, 1)) {
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
            size_t taken = (w + 1) * server->generation->config->listen_count;
            close_sockets(fds + taken, (server->worker_count - w - 1) * server->generation->config->listen_count);
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

/* ---- reload ---- */

static struct config *load_again(const struct server *server)
{
    struct config_errors errors;
    struct config *config = config_load(server->path, &errors);
    for (size_t i = 0; i < errors.count && config == NULL; i++) {
        const struct config_error *e = &errors.list[i];
        log_event("reload: %s:%zu:%zu: %s: %s", errors.file, e->line, e->column, e->path, e->sentence);
    }
    config_errors_free(&errors);
    return config;
}

/* All workers take requests under `next` when this returns true; none does when it returns false. */
static bool switch_workers(struct server *server, struct generation *next, const int *fds)
{
    bool good = true;
    for (unsigned w = 0; w < server->worker_count && good; w++) {
        struct worker_order order = { .generation = next, .listen_fds = fds + w * next->config->listen_count };
        sem_init(&order.taken, 0, 0);
        worker_switch(server->workers[w], &order);
        while (sem_wait(&order.taken) != 0) {
        }
        sem_destroy(&order.taken);
        good = !order.failed;
    }
    return good;
}

static bool reload(struct server *server)
{
    struct config *config = load_again(server);
    if (config == NULL) {
        return false;
    }
    if (config->workers != server->generation->config->workers) {
        log_event("reload: \"workers\" takes effect at the next start; %u go on", server->worker_count);
    }
    const struct config_admin *was = &server->generation->config->admin, *is = &config->admin;
    if (was->enabled != is->enabled || (is->enabled && strcmp(was->text, is->text) != 0)) {
        log_event("reload: \"admin.listen\" takes effect at the next start");
    }
    int *fds = open_listeners(server, config, server->generation);
    if (fds == NULL) {
        config_free(&config);
        return false;
    }
    const char *why = "";
    size_t sockets = server->worker_count * config->listen_count;
    struct generation *next =
        generation_create(config, server->worker_count, server->generation, worker_now_ns(), &why);
    if (next == NULL) {
        log_event("reload: %s", why);
        close_sockets(fds, sockets);
        free(fds);
        return false;
    }
    CHECK(switch_workers(server, next, fds)); /* half switched would be two configs at once */
    free(fds);
    if (server->admin != NULL) {
        admin_switch(server->admin, next);
    }
    server->generation->next = server->past;
    server->past = server->generation;
    server->generation = next;
    return true;
}

static void on_reload(struct server *server)
{
    bool good = reload(server);
    /* relaxed: counters that publish nothing else */
    atomic_fetch_add_explicit(good ? &server->generation->process->reloads
                                   : &server->generation->process->reloads_failed,
                              1, memory_order_relaxed);
    log_event(good ? "reloaded %s" : "reload refused: %s has errors; the config loaded before goes on", server->path);
}

/* Frees generations that no request holds any more. */
static void reap(struct server *server)
{
    for (struct generation **link = &server->past; *link != NULL;) {
        struct generation *generation = *link;
        /* acquire: pairs with the release of the last that left (generation.h) */
        if (atomic_load_explicit(&generation->users, memory_order_acquire) > 0) {
            link = &generation->next;
            continue;
        }
        *link = generation->next;
        generation_destroy(&generation, server->generation);
    }
}

static void wait_for_stop(struct server *server, const sigset_t *signals)
{
    const struct timespec second = { .tv_sec = 1 };
    for (;;) {
        int which = sigtimedwait(signals, NULL, server->past != NULL ? &second : NULL);
        if (which == SIGTERM || which == SIGINT) {
            return;
        }
        if (which == SIGUSR1) {
            log_reopen(server->generation->log);
        } else if (which == SIGHUP) {
            on_reload(server);
        }
        reap(server);
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
    reap(server);
    log_event("stopped");
}

int server_run(struct config *config)
{
    static struct server server;
    static struct generation_process process;
    sigset_t signals;
    const char *why;
    server.path = strdup(config->path);
    server.worker_count = config->workers > 0 ? config->workers : cpus();
    CHECK(server.path != NULL && server.worker_count <= WORKERS_MAX);
    block_signals(&signals);
    activation_take();
    raise_descriptor_limit(config);
    server.generation = generation_create(config, server.worker_count, NULL, worker_now_ns(), &why);
    if (server.generation == NULL) {
        log_event("cannot start: %s", why);
        return 1;
    }
    server.generation->process = &process;
    int *fds = open_listeners(&server, server.generation->config, NULL);
    bool good = fds != NULL;
    if (good) {
        good = start_workers(&server, fds) && start_admin(&server);
        activation_close_unused();
        if (good) {
            say_ready(&server);
            wait_for_stop(&server, &signals);
        }
        stop(&server, &signals);
    }
    free(fds);
    free(server.path);
    generation_destroy(&server.generation, NULL);
    return good ? 0 : 1;
}
