/* outcome: what is counted and logged of a request when it is over. */
#ifndef WEIR_OUTCOME_H
#define WEIR_OUTCOME_H

#include "admit.h"

struct tenure;

#define OUTCOME_CLIENT_LEFT 499 /* nginx's number for a client that left before its answer; never sent */

struct outcome {
    const struct request *request;
    const struct identity *identity;
    const struct admission *admission;
    struct slice request_id;
    int route;                           /* -1: none matched */
    unsigned status;                     /* sent, or OUTCOME_CLIENT_LEFT */
    uint64_t sent_bytes, received_bytes; /* of bodies */
    uint64_t began_realtime_ns, duration_ns;
    uint64_t tunnel_ns;   /* of that as a tunnel: nobody waited for it */
    bool forwarded;       /* an upstream was asked */
    uint64_t upstream_ns; /* how long it took */
    const char *server;   /* its URL, or NULL */
};

void outcome_record(struct tenure *tenure, const struct outcome *outcome, uint64_t now_ns);

/* Of a request whose head the front refused: nothing is known but who sent it. Its log line is sampled like those of
 * refusals by limits. */
void outcome_refused(struct tenure *tenure, const struct rule_ip *peer, unsigned status);

#endif
