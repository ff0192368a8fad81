/* outcome: see outcome.h. */
#include "outcome.h"

#include "worker.h"

#include <time.h>

#define KEY_TEXT 1025 /* as much of a key as the log writes, and NUL */

static const char *verdict_text(const struct outcome *o)
{
    if (o->route < 0) {
        return NULL;
    }
    switch (o->admission->verdict) {
    case ADMIT_PASS:
        return o->admission->exempt ? "exempt" : o->admission->count > 0 ? "allowed" : "unlimited";
    case ADMIT_LIMITED:
    case ADMIT_KEYLESS:
        return "denied";
    case ADMIT_KEY_TOO_LONG:
    case ADMIT_FULL:
        break;
    }
    return "error";
}

/* The limit that the log tells of: the first that refused, else the closest to exhaustion. */
static const struct reply_limit *told(const struct admission *a)
{
    if (a->denied_count > 0) {
        return &a->denied[0];
    }
    return a->verdict == ADMIT_PASS && a->count > 0 ? &a->closest : NULL;
}

/* Its key, for people. NULL unless the operator wants keys in the log, or when it was too long to be one. */
static const char *key_text(const struct config *config, const struct outcome *o, const struct reply_limit *limit,
                            char *text, size_t text_size)
{
    if (!config->log.keys || limit == NULL) {
        return NULL;
    }
    const struct config_limit *of = &config->limits[limit->limit];
    char key[IDENTITY_KEY_MAX];
    size_t length = 0;
    switch (identity_key(o->request, o->identity, &config->routes[o->route], of, key, sizeof key, &length)) {
    case IDENTITY_KEY:
        break;
    case IDENTITY_MISSING:
        length = 0;
        break;
    case IDENTITY_TOO_LONG:
        return NULL;
    }
    (void)identity_key_text(key, length, of, text, text_size);
    return text;
}

static void write_log(struct tenure *tenure, const struct outcome *o, uint64_t now_ns)
{
    const struct config *config = tenure->generation->config;
    const struct admission *a = o->admission;
    const struct reply_limit *limit = told(a);
    char key[KEY_TEXT];
    struct log_line line = {
        .realtime_ns = o->began_realtime_ns,
        .request_id = o->request_id,
        .method = o->request->method,
        .host = o->request->host,
        .path = o->request->path,
        .client = &o->identity->client,
        .route = o->route >= 0 ? config->routes[o->route].name : NULL,
        .status = o->status,
        .bytes_in = o->received_bytes,
        .bytes_out = o->sent_bytes,
        .duration_ns = o->duration_ns,
        .upstream_ns = o->upstream_ns,
        .upstream = o->server,
        .verdict = verdict_text(o),
        .limit = limit != NULL ? config->limits[limit->limit].name : NULL,
        .key_hash = a->key_hash,
        .key = key_text(config, o, limit, key, sizeof key),
        .retry_after_s = a->denied_count > 0 ? limit->retry_after_s : 0,
        .denied = a->verdict == ADMIT_LIMITED || a->verdict == ADMIT_KEYLESS,
    };
    log_access(tenure->log, &line, now_ns);
}

void outcome_record(struct tenure *tenure, const struct outcome *o, uint64_t now_ns)
{
    uint64_t waited_ns = o->duration_ns - o->tunnel_ns;
    metrics_request(tenure->metrics, o->route, o->status, waited_ns);
    if (o->forwarded) {
        metrics_upstream(tenure->metrics, (size_t)tenure->generation->config->routes[o->route].upstream,
                         o->upstream_ns);
        metrics_added_latency(tenure->metrics, waited_ns > o->upstream_ns ? waited_ns - o->upstream_ns : 0);
    }
    if (tenure->generation->config->log.access != CONFIG_LOG_OFF) {
        write_log(tenure, o, now_ns);
    }
}

void outcome_refused(struct tenure *tenure, const struct rule_ip *peer, unsigned status)
{
    struct timespec wall;
    metrics_request(tenure->metrics, -1, status, 0);
    if (tenure->generation->config->log.access == CONFIG_LOG_OFF) {
        return;
    }
    clock_gettime(CLOCK_REALTIME, &wall);
    struct log_line line = { .realtime_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec,
                             .client = peer,
                             .status = status,
                             .denied = true };
    log_access(tenure->log, &line, worker_now_ns());
}
