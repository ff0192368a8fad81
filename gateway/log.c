/* log: lines from the workers, through their rings, to the sink. See log.h.
 *
 *     worker 0  log_access() ─► ring 0 ─┐
 *     worker 1  log_access() ─► ring 1 ─┼─► writer thread ─► sink
 *     …                                 ┘
 *
 * The writer looks at the rings every NAP; nobody wakes it for a line. That costs twenty wake-ups a second when idle,
 * and saves a system call per line in the workers, whose time is dearer. When the sink takes nothing the lines wait
 * in the rings; when a ring is full, new lines of its worker are dropped and counted, so that what led to the trouble
 * is what remains.
 */
#include "log.h"

#include "ring.h"
#include "sink.h"
#include "text.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NAP_MS 50
/* What a worker writes during a nap at its very fastest: 50,000 proxied requests a second (20 µs of CPU each) times
 * 350 bytes a line times 50 ms are 875 kB. */
#define RING_SIZE ((size_t)1 << 20)
/* A ring that is this full after a nap might overflow in the next: nap less. */
#define RING_BUSY    (RING_SIZE / 4)
#define SHORT_NAP_MS 5
/* How long the end of the process may wait for a slow reader to take the last lines. */
#define FLUSH_NS UINT64_C(1000000000)
/* An episode of trouble is over when there was none for this long: a reader slow now and then is one episode. */
#define CALM_NS UINT64_C(5000000000)

struct log_worker {
    struct ring ring;
    bool off;
    /* Sampling of refusals: a token bucket as one theoretical arrival time (GCRA), this worker's share of the rate. */
    uint64_t sample_interval_ns;  /* from one line to the next */
    uint64_t sample_tolerance_ns; /* how far ahead of that a burst may run */
    uint64_t sample_next_ns;
    _Atomic uint64_t dropped; /* written by the worker, read by all */
};

struct log {
    unsigned workers;
    struct log_worker *of;
    bool running; /* the writer thread, its descriptor and the sink exist */
    pthread_t thread;
    int wake;              /* eventfd: somebody wants something of the writer */
    _Atomic bool stopping; /* set by log_destroy() */
    _Atomic bool rotated;  /* set by log_reopen() */
    /* The writer's own. */
    struct sink sink;
    unsigned turn; /* the ring that is next, or whose line was begun */
    _Atomic uint64_t cut;
    bool trouble;
    uint64_t trouble_ns, dropped_before, dropped_seen;
};

/* ---- events ----------------------------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* One write of less than PIPE_BUF, which does not mix with others', and only if standard error takes it at once: an
 * event is worth less than a worker that waits for a terminal. */
void log_event(const char *format, ...)
{
    char line[1024];
    struct text text = text_over(line, sizeof line - 1);
    text_literal(&text, "weir: ");
    text_time(&text, clock_ns(CLOCK_REALTIME));
    text_literal(&text, " ");
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(text.at, text_room(&text), format, arguments);
    va_end(arguments);
    size_t length = wanted < 0 ? 0 : (size_t)wanted;
    length = length < text_room(&text) ? length : text_room(&text) - 1;
    for (size_t i = 0; i < length; i++) { /* names and other texts from outside may be among the arguments */
        unsigned char byte = (unsigned char)text.at[i];
        if (byte < 0x20 || byte == 0x7f) {
            text.at[i] = '?';
        }
    }
    text.at += length;
    *text.at++ = '\n';
    struct pollfd ready = { .fd = STDERR_FILENO, .events = POLLOUT };
    if (poll(&ready, 1, 0) == 1) {
        ssize_t ignored = write(STDERR_FILENO, line, text_length(&text));
        (void)ignored; /* there is nobody left to tell */
    }
}

/* ---- lines: on the request path --------------------------------------------------------------------------------- */

/* The most bytes of a value, as JSON. A request can be as long as its head may be; a line should not. */
enum {
    ID_MAX = 256,
    METHOD_MAX = 64,
    HOST_MAX = 512,
    PATH_MAX_BYTES = 2048,
    ROUTE_MAX = 1024,
    UPSTREAM_MAX = 512,
    VERDICT_MAX = 32,
    LIMIT_MAX = 64,
    KEY_MAX = 1024,
    /* Names and punctuation of the 18 members (below 20 bytes each), time, client, six numbers and the hash. */
    REST_MAX = 18 * 20 + TEXT_TIME_LENGTH + RULE_IP_TEXT + 6 * 24 + 16,
    LINE_MAX_BYTES = 8192
};
static_assert(ID_MAX + METHOD_MAX + HOST_MAX + PATH_MAX_BYTES + ROUTE_MAX + UPSTREAM_MAX + VERDICT_MAX + LIMIT_MAX +
                      KEY_MAX + REST_MAX <=
                  LINE_MAX_BYTES,
              "the longest line fits");

static void put_member(struct text *text, const char *name, struct slice value, size_t max)
{
    if (value.length > 0) {
        text_literal(text, ",\"");
        text_string(text, name);
        text_literal(text, "\":\"");
        text_json(text, value, max);
        text_literal(text, "\"");
    }
}

static void put_string(struct text *text, const char *name, const char *value, size_t max)
{
    if (value != NULL) {
        put_member(text, name, (struct slice){ value, strlen(value) }, max);
    }
}

static void put_number(struct text *text, const char *name, uint64_t value)
{
    text_literal(text, ",\"");
    text_string(text, name);
    text_literal(text, "\":");
    text_number(text, value);
}

static void put_milliseconds(struct text *text, const char *name, uint64_t nanoseconds)
{
    put_number(text, name, nanoseconds / 1000000);
    text_literal(text, ".");
    text_padded(text, nanoseconds / 1000 % 1000, 3);
}

static void put_line(struct text *text, const struct log_line *line)
{
    text_literal(text, "{\"time\":\"");
    text_time(text, line->realtime_ns);
    text_literal(text, "\"");
    put_member(text, "request_id", line->request_id, ID_MAX);
    if (line->client != NULL) {
        char client[RULE_IP_TEXT];
        put_member(text, "client", (struct slice){ client, rule_ip_text(line->client, client) }, RULE_IP_TEXT);
    }
    put_member(text, "method", line->method, METHOD_MAX);
    put_member(text, "host", line->host, HOST_MAX);
    put_member(text, "path", line->path, PATH_MAX_BYTES);
    put_string(text, "route", line->route, ROUTE_MAX);
    put_number(text, "status", line->status != 0 ? line->status : 499);
    put_number(text, "bytes_in", line->bytes_in);
    put_number(text, "bytes_out", line->bytes_out);
    put_milliseconds(text, "duration_ms", line->duration_ns);
    if (line->upstream != NULL) {
        put_string(text, "upstream", line->upstream, UPSTREAM_MAX);
        put_milliseconds(text, "upstream_ms", line->upstream_ns);
    }
    put_string(text, "verdict", line->verdict, VERDICT_MAX);
    put_string(text, "limit", line->limit, LIMIT_MAX);
    if (line->key_hash != 0) { /* text: a JSON number holds 53 bits */
        text_literal(text, ",\"key_hash\":\"");
        text_hex(text, line->key_hash);
        text_literal(text, "\"");
    }
    put_string(text, "key", line->key, KEY_MAX);
    if (line->retry_after_s != 0) {
        put_number(text, "retry_after", line->retry_after_s);
    }
    text_literal(text, "}\n");
    CHECK(!text->cut);
}

static bool sampled(struct log_worker *worker, uint64_t now_ns)
{
    uint64_t next_ns = worker->sample_next_ns > now_ns ? worker->sample_next_ns : now_ns;
    if (next_ns - now_ns > worker->sample_tolerance_ns) {
        return false;
    }
    worker->sample_next_ns = next_ns + worker->sample_interval_ns;
    return true;
}

static uint64_t value_of(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed); /* relaxed: a count that publishes nothing else */
}

void log_access(struct log_worker *worker, const struct log_line *line, uint64_t now_ns)
{
    if (worker->off || (line->denied && !sampled(worker, now_ns))) {
        return;
    }
    char bytes[LINE_MAX_BYTES];
    struct text text = text_over(bytes, sizeof bytes);
    put_line(&text, line);
    if (!ring_put(&worker->ring, bytes, text_length(&text))) {
        /* relaxed: see value_of(); load and store suffice, for only this thread writes it */
        atomic_store_explicit(&worker->dropped, value_of(&worker->dropped) + 1, memory_order_relaxed);
    }
}

/* ---- the writer thread ------------------------------------------------------------------------------------------ */

uint64_t log_dropped(const struct log *log)
{
    uint64_t sum = value_of(&log->cut);
    for (unsigned i = 0; i < log->workers; i++) {
        sum += value_of(&log->of[i].dropped);
    }
    return sum;
}

static bool asked(const _Atomic bool *what)
{
    return atomic_load_explicit(what, memory_order_acquire); /* acquire: pairs with ask() */
}

static void ask(struct log *log, _Atomic bool *what)
{
    /* release: what the caller did before (renaming the file, its last lines) is seen by the writer */
    atomic_store_explicit(what, true, memory_order_release);
    uint64_t one = 1;
    ssize_t ignored = write(log->wake, &one, sizeof one);
    (void)ignored; /* fails only when 2^64 - 1 wake-ups are pending; and then it wakes up anyhow */
}

/* Writes what the rings hold, ring by ring in turn, until they are empty, the sink takes no more, or somebody wants
 * something else. True when they are empty. */
static bool drain(struct log *log, bool *busy)
{
    unsigned empty = 0;
    bool taken = true;
    while (empty < log->workers && taken && !asked(&log->rotated)) {
        struct ring *ring = &log->of[log->turn].ring;
        struct slice pieces[2];
        size_t waiting = ring_peek(ring, pieces);
        size_t written = waiting > 0 ? sink_write(&log->sink, pieces) : 0;
        ring_take(ring, written);
        *busy |= waiting > RING_BUSY;
        taken = waiting == 0 || written > 0;
        empty = waiting == 0 ? empty + 1 : 0;
        if (!log->sink.inside_line) { /* a line that was begun is finished before another ring has its turn */
            log->turn = (log->turn + 1) % log->workers;
        }
    }
    atomic_store_explicit(&log->cut, log->sink.cut, memory_order_relaxed); /* relaxed: see value_of() */
    return empty == log->workers;
}

/* One sentence when trouble begins and one when it has been over for a while, however many lines are lost between. */
static void tell(struct log *log, uint64_t now_ns)
{
    uint64_t dropped = log_dropped(log);
    bool loses = dropped != log->dropped_seen;
    if (loses || log->sink.error != 0) {
        if (!log->trouble) {
            log->trouble = true;
            log->dropped_before = log->dropped_seen;
            log_event("access log: %s; lines wait, and are dropped and counted when there is no room",
                      log->sink.error != 0 ? strerror(log->sink.error) : "it is read too slowly");
        }
        log->trouble_ns = now_ns;
    } else if (log->trouble && now_ns - log->trouble_ns > CALM_NS) {
        log->trouble = false;
        log_event("access log: written again; %llu lines were dropped",
                  (unsigned long long)(dropped - log->dropped_before));
    }
    log->dropped_seen = dropped;
}

static void reopen(struct log *log)
{
    /* acquire: pairs with ask(). Taken back before the file is opened, so that a rotation meanwhile is not missed. */
    if (atomic_exchange_explicit(&log->rotated, false, memory_order_acquire) && !sink_reopen(&log->sink)) {
        log_event("access log: cannot open %s: %s; the old file stays in use", log->sink.path, strerror(errno));
    }
}

static void nap(struct log *log, int milliseconds)
{
    struct pollfd wake = { .fd = log->wake, .events = POLLIN };
    uint64_t count;
    if (poll(&wake, 1, milliseconds) == 1) {
        ssize_t ignored = read(log->wake, &count, sizeof count);
        (void)ignored; /* only resets it */
    }
}

static void *write_lines(void *argument)
{
    struct log *log = argument;
    pthread_setname_np(pthread_self(), "weir-log");
    while (!asked(&log->stopping)) {
        bool busy = false;
        reopen(log);
        bool all = drain(log, &busy);
        tell(log, clock_ns(CLOCK_MONOTONIC));
        bool slow = !all && log->sink.error == 0; /* it may go on any moment: a pipe's buffer is soon empty */
        nap(log, busy || slow ? SHORT_NAP_MS : NAP_MS);
    }
    uint64_t deadline_ns = clock_ns(CLOCK_MONOTONIC) + FLUSH_NS;
    bool busy = false;
    reopen(log);
    while (!drain(log, &busy)) {
        if (log->sink.error != 0 || clock_ns(CLOCK_MONOTONIC) > deadline_ns) {
            log_event("access log: its last lines could not be written");
            break;
        }
        reopen(log);
        nap(log, SHORT_NAP_MS);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void set_sampling(struct log_worker *worker, const struct rule_rate *rate, unsigned workers)
{
    const uint64_t second_ns = UINT64_C(1000000000);
    uint64_t interval_ns = rate->period_ns / rate->tokens; /* of all workers together */
    interval_ns = interval_ns > 0 ? interval_ns : 1;
    if (__builtin_mul_overflow(interval_ns, (uint64_t)workers, &interval_ns) || interval_ns > UINT64_MAX / 4) {
        interval_ns = UINT64_MAX / 4; /* once in a century: as good as never, and additions stay in range */
    }
    worker->sample_interval_ns = interval_ns;
    worker->sample_tolerance_ns = interval_ns < second_ns ? second_ns - interval_ns : 0; /* a burst of one second */
}

static bool make_rings(struct log *log, const struct config_log *config)
{
    log->of = aligned_alloc(_Alignof(struct log_worker), log->workers * sizeof *log->of);
    if (log->of == NULL) {
        log->workers = 0;
        return false;
    }
    memset(log->of, 0, log->workers * sizeof *log->of);
    bool whole = true;
    for (unsigned i = 0; i < log->workers; i++) {
        struct log_worker *worker = &log->of[i];
        worker->off = config->access == CONFIG_LOG_OFF;
        set_sampling(worker, &config->sample_denied, log->workers);
        whole = worker->off || (ring_init(&worker->ring, RING_SIZE) && whole);
    }
    return whole;
}

/* The thread takes no signals: they are the loops' affair, and a pipe without a reader or a file at its size limit is
 * to be an error of the write. */
static int start_writer(struct log *log)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&log->thread, NULL, write_lines, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* For people, and which file: one thread makes logs, at start and at a reload. */
static const char *sentence(const char *path, int error)
{
    static char text[512];
    snprintf(text, sizeof text, "access log %s: %s", path != NULL ? path : "to a standard stream", strerror(error));
    return text;
}

struct log *log_create(const struct config *config, unsigned workers, const char **why)
{
    CHECK(workers > 0);
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL) {
        *why = "out of memory";
        return NULL;
    }
    log->workers = workers;
    log->wake = -1;
    log->sink.fd = -1;
    const struct config_log *chosen = &config->log;
    if (!make_rings(log, chosen)) {
        *why = "out of memory";
        log_destroy(&log);
        return NULL;
    }
    if (chosen->access == CONFIG_LOG_OFF) {
        return log;
    }
    const char *path = chosen->access == CONFIG_LOG_FILE ? chosen->file : NULL;
    int stream = chosen->access == CONFIG_LOG_STDERR ? STDERR_FILENO : STDOUT_FILENO;
    errno = 0;
    int failed =
        !sink_init(&log->sink, path, stream) || (log->wake = eventfd(0, EFD_CLOEXEC)) < 0 ? errno : start_writer(log);
    if (failed != 0) {
        *why = sentence(path, failed);
        log_destroy(&log);
        return NULL;
    }
    log->running = true;
    return log;
}

void log_destroy(struct log **log)
{
    struct log *old = *log;
    *log = NULL;
    if (old == NULL) {
        return;
    }
    if (old->running) {
        ask(old, &old->stopping);
        pthread_join(old->thread, NULL);
    }
    sink_fini(&old->sink);
    if (old->wake >= 0) {
        close(old->wake);
    }
    for (unsigned i = 0; i < old->workers; i++) {
        ring_fini(&old->of[i].ring);
    }
    free(old->of);
    free(old);
}

struct log_worker *log_of(struct log *log, unsigned worker)
{
    CHECK(worker < log->workers);
    return &log->of[worker];
}

void log_reopen(struct log *log)
{
    if (log->running) {
        ask(log, &log->rotated);
    }
}
