/* exchange_state: what the two halves of an exchange share: exchange.c, the steps, and exchange_events.c, which notes what happens. Nobody else includes it. */
#ifndef WEIR_EXCHANGE_STATE_H
#define WEIR_EXCHANGE_STATE_H

#include "exchange.h"
#include "spool.h"
#include "worker.h"

#define EXCHANGE_HEAD_MAX (16 * 1024) /* bytes of head for an upstream that need no malloc; longer ones get one */

struct exchange {
    struct worker *worker;
    struct tenure *tenure; /* the generation it began under */
    struct front_request *front;
    const struct request *request;
    unsigned step; /* exchange.c's alone */
    /* Facts. */
    bool running, again;
    bool body_ended; /* the client's */
    bool over;       /* the front's last word: how is in `end` */
    bool response_head, response_end, failed, streaming, undecided, settled, delayed, finished;
    enum front_end end;
    enum upstream_failure failure;
    const char *failure_detail;
    uint64_t sent_bytes, received_bytes;
    /* Who, where, may it. */
    int route;
    struct identity identity;
    struct admission admission;
    char request_id_made[ID_LENGTH];
    struct slice request_id;
    /* The upstream's side. */
    struct upstream_call *call;
    char *head; /* NULL when head_inline holds it */
    struct http_head response;
    struct spool body; /* of the answer, waiting for the client */
    bool paused;       /* the upstream is not read: the client is slower */
    char server[128];  /* URL, for the log */
    /* Times. */
    uint64_t began_ns, began_realtime_ns, forwarded_ns, upstream_ns, opened_ns /* as a tunnel */;
    unsigned status;     /* answered with; 0 none */
    struct pause *pause; /* before a `respond` with a delay */
    struct reply reply;
    struct exchange *next; /* in worker.undecided or worker.spare */
    char head_inline[EXCHANGE_HEAD_MAX];
};

/* Something was noted: the steps look at it. The exchange may be gone afterwards. */
void exchange_run(struct exchange *x);
void exchange_begin(struct exchange *x); /* sets the first step and runs */

/* What the call knows of its server and its time, before it goes. */
void exchange_note_server(struct exchange *x);

extern const struct upstream_events exchange_upstream_events;

#endif
