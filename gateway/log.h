/* log: the access log (JSON, one line per request) and events (one sentence per fact, on stderr).
 *
 * No worker ever waits for a disk or a pipe: each formats its lines into a ring of its own (one producer, one
 * consumer), a writer thread empties the rings. A full ring drops lines and counts them. Lines for refused requests
 * are sampled (log.sample_denied). Every value that came from outside is escaped as JSON; no header values are
 * logged, keys only with log.keys.
 */
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

#include "check.h"
#include "config.h"
#include "request.h"

struct log;        /* the process's: file, writer thread */
struct log_worker; /* one thread's ring */

/* NULL and one sentence in *why (static: one thread creates logs) when that fails. Keeps nothing of config. */
MUST_CHECK struct log *log_create(const struct config *config, unsigned workers, const char **why);
/* Writes out what the rings hold (waiting at most a second for a slow reader), stops the thread, closes the file. The
 * workers have ended. */
void log_destroy(struct log **log);
struct log_worker *log_of(struct log *log, unsigned worker);
void log_reopen(struct log *log);            /* after rotation; any thread */
uint64_t log_dropped(const struct log *log); /* lines; any thread. Those left out by sampling are not counted */

struct log_line {
    uint64_t realtime_ns; /* when the request came; written as RFC 3339 with ms, UTC */
    struct slice request_id, method, host, path;
    const struct rule_ip *client;
    const char *route;            /* or NULL */
    unsigned status;              /* 0: the client left before an answer (written as 499) */
    uint64_t bytes_in, bytes_out; /* bodies */
    uint64_t duration_ns, upstream_ns;
    const char *upstream; /* server URL, or NULL */
    const char *verdict;  /* "allowed" "denied" "skipped" "error" … or NULL */
    const char *limit;    /* name, or NULL */
    uint64_t key_hash;    /* 0: none */
    const char *key;      /* only with log.keys; or NULL */
    uint64_t retry_after_s;
    bool denied; /* subject to sampling */
};
void log_access(struct log_worker *worker, const struct log_line *line, uint64_t now_ns);

/* "weir: 2026-01-02T03:04:05.678Z sentence" on stderr; any thread; for rare facts (start, drain, reload, upstream
 * down), never per request. Lost when standard error does not take it at once. SIGPIPE must be ignored. */
__attribute__((format(printf, 1, 2))) void log_event(const char *format, ...);

#endif
