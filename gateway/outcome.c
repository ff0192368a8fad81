/* outcome: see outcome.h. */
#include "outcome.h"

#include "worker.h"

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

static void write_log(struct tenure *tenure, const struct outcome *o, uint64_t now_ns)
{
    const struct config *config = tenure->generation->config;
    const struct admission *a = o->admission;
    const struct reply_limit *limit = a->denied_count > 0 ? &a->denied[0] : a->count > 0 ? &a->closest : NULL;
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
        .retry_after_s = a->denied_count > 0 ? limit->retry_after_s : 0,
        .denied = a->verdict == ADMIT_LIMITED || a->verdict == ADMIT_KEYLESS,
    };
    log_access(tenure->log, &line, now_ns);
}

void outcome_record(struct tenure *tenure, const struct outcome *o, uint64_t now_ns)
{
    metrics_request(tenure->metrics, o->route, o->status, o->duration_ns);
    if (o->forwarded) {
        metrics_upstream(tenure->metrics, (size_t)tenure->generation->config->routes[o->route].upstream,
                         o->upstream_ns);
        metrics_added_latency(tenure->metrics, o->duration_ns > o->upstream_ns ? o->duration_ns - o->upstream_ns : 0);
    }
    if (tenure->generation->config->log.access != CONFIG_LOG_OFF) {
        write_log(tenure, o, now_ns);
    }
}
