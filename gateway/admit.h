/* admit: identity and rules → verdict.
 *
 * Gathers the limits that a request meets (its route's, minus those its identity is exempt from or has no key for), asks the limiter for all of them at once,
 * and turns the answers into what the exchange needs: pass, or a reply. What was charged is held in a `struct admission` until it is released (slots) or
 * refunded (tokens of a request that never reached its upstream).
 * Threads: admit_create/destroy on one; everything else on any worker.
 */
#ifndef WEIR_ADMIT_H
#define WEIR_ADMIT_H

#include "check.h"
#include "identity.h"
#include "limiter.h"
#include "metrics.h"
#include "reply.h"

#define ADMIT_LIMITS_MAX 16 /* of one route: config.c refuses more */

struct admit; /* what all requests share: the limiter and how long slots are held */

/* Takes memory for all state of all limits. `previous`: of the config served until now, whose limits' state lives on by name; NULL at start. NULL when
 * memory is short. Borrows the config. */
struct admit *admit_create(const struct config *config, const struct admit *previous, uint64_t now_ns);
void admit_destroy(struct admit **admit);
struct limiter *admit_limiter(struct admit *admit);

enum admit_verdict {
    ADMIT_PASS,
    ADMIT_LIMITED,      /* 429: `denied` says which and for how long */
    ADMIT_KEYLESS,      /* 429: `denied[0].limit` demands a key the request has not ("missing": "deny") */
    ADMIT_KEY_TOO_LONG, /* 431 */
    ADMIT_FULL,         /* 503: no room to count one more in flight */
};

struct admission {
    enum admit_verdict verdict;
    bool exempt;
    bool charged; /* slots and tokens are held */
    size_t count;
    struct limiter_ask asks[ADMIT_LIMITS_MAX];
    struct limiter_answer answers[ADMIT_LIMITS_MAX];
    struct reply_limit closest; /* ADMIT_PASS with count > 0: the limit closest to exhaustion */
    size_t denied_count;
    struct reply_limit denied[ADMIT_LIMITS_MAX]; /* longest wait first */
    uint64_t key_hash;                           /* of the denied, closest or first limit; 0: none */
};

/* Decides and, when it passes, charges. Counts the decisions in `metrics`. */
void admit_request(struct admit *admit, const struct request *request, const struct identity *identity, size_t route,
                   uint64_t now_ns, struct metrics_worker *metrics, struct admission *admission);

/* Gives the slots back; `held_ns` teaches how long a slot is held (Retry-After of full limits). Exactly once per charged admission. */
void admit_release(struct admit *admit, struct admission *admission, uint64_t held_ns);
/* Gives tokens back too: the request never reached its upstream. Before admit_release(). */
void admit_refund(struct admit *admit, const struct admission *admission, uint64_t now_ns);

#endif
