/* scenarios: which requests meet where, and what is promised of them. Played by interleave.c, which says how. */
#ifndef WEIR_SCENARIOS_H
#define WEIR_SCENARIOS_H

#include "limiter.h"

enum {
    WAYS = 3, /* cells of a set */
    THREADS_MAX = 4,
    LIMITS_MAX = 2,
    ASKS_MAX = 2,
    PROMISES_MAX = 2,
};

/* Far from 0: a cell never used is older than any clock here. */
#define NOW 1000

/* Keys. Their home is the remainder by 3, and every scenario is run with all of them moved by 0, 1 and 2. The high
 * word, which chooses the set, is 0. */
enum { X = 300, Y = 601, Z = 902, P = 1202, Q = 1501 };

enum deed { REQUEST, REQUEST_AND_RELEASE, RELEASE, REFUND, FORGET };

struct actor {
    enum deed deed;
    struct limiter_ask asks[ASKS_MAX];
    size_t ask_count;
    uint64_t now; /* 0: NOW */
};

/* clang-format off */
#define ASK(limit_, key)       { .limit = limit_, .digest = key, .cost = 1 }
#define ONE(deed_, key)        { .deed = deed_, .asks = { ASK(0, key) }, .ask_count = 1 }
#define BOTH(deed_, key, key_) { .deed = deed_, .asks = { ASK(0, key), ASK(1, key_) }, .ask_count = 2 }
#define AT(deed_, key, now_)   { .deed = deed_, .asks = { ASK(0, key) }, .ask_count = 1, .now = now_ }
#define BUCKET(burst_) { .name = "b", .tokens = 1, .period_ns = 1, .burst = burst_, .keys = WAYS }
#define SLOTS(slots)   { .name = "s", .kind = LIMITER_CONCURRENCY, .in_flight = slots }
/* clang-format on */

/* A cell as it is at the start: a debt in tokens at NOW (or, below 0, when it fell due), or slots held. */
struct fill {
    uint64_t limit, cell, key;
    int64_t state;
};

/* How many of the requests for a key are admitted: the fewest and the most over all schedules. Both must be met: a
 * scenario in which nothing can go wrong proves nothing. */
struct promise {
    uint64_t key;
    unsigned least, most;
};

struct scenario {
    const char *name;
    struct limiter_rule rules[LIMITS_MAX];
    struct fill fills[WAYS];
    struct actor actors[THREADS_MAX];
    struct promise promises[PROMISES_MAX];
    /* cell_load_settled() counts as one access, which is what it amounts to: its key stood there at the moment of its
     * last load. The scenarios without this mark show it, access by access; with three loads each, these would take
     * hours. */
    bool coarse;
    bool crowded; /* no cell is free throughout: a debt may be forgotten, and a key may own two cells */
    bool skewed;  /* clocks differ, or a refund meets a bucket that owes less: the last debts are not predicted */
};

static const struct scenario scenarios[] = {
    {
        .name = "bucket: three requests of a known key, two tokens",
        .rules = { BUCKET(2) },
        .fills = { { 0, 1, X, 0 }, { 0, 2, Y, 9 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REQUEST, X) },
        .promises = { { X, 2, 2 } },
    },
    {
        .name = "bucket: three requests of a new key, one expired cell, one token",
        .rules = { BUCKET(1) },
        .fills = { { 0, 0, P, -3 }, { 0, 1, Y, 9 }, { 0, 2, Q, 9 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REQUEST, X) },
        .promises = { { X, 1, 1 } },
    },
    {
        .name = "bucket: X X Z meet at two empty cells, one token each",
        .rules = { BUCKET(1) },
        .fills = { { 0, 1, Y, 9 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REQUEST, Z) },
        .promises = { { X, 1, 1 }, { Z, 1, 1 } },
    },
    {
        .name = "bucket: X X Z Z meet at two cells, one expired, one empty",
        .rules = { BUCKET(1) },
        .fills = { { 0, 1, Y, 9 }, { 0, 2, P, -1 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REQUEST, Z), ONE(REQUEST, Z) },
        .promises = { { X, 1, 1 }, { Z, 1, 1 } },
    },
    {
        .name = "bucket: X finds its own expired cell while Z takes it over",
        .rules = { BUCKET(1) },
        .fills = { { 0, 0, X, -5 }, { 0, 1, Y, 9 }, { 0, 2, P, -1 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, Z), ONE(REQUEST, Z), ONE(REQUEST, X) },
        .promises = { { X, 1, 1 }, { Z, 1, 1 } },
    },
    {
        .name = "bucket: X X Z meet at one cell: a debt is forgotten, nobody innocent is refused",
        .rules = { BUCKET(1) },
        .fills = { { 0, 0, Y, 9 }, { 0, 1, Q, 9 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REQUEST, Z) },
        .promises = { { X, 1, 2 }, { Z, 1, 1 } },
        .crowded = true,
    },
    {
        .name = "bucket: a refund among charges",
        .rules = { BUCKET(2) },
        .fills = { { 0, 0, X, 2 } },
        .actors = { ONE(REFUND, X), ONE(REQUEST, X), ONE(REQUEST, X) },
        .promises = { { X, 0, 1 } },
    },
    {
        .name = "bucket: two refunds and a charge",
        .rules = { BUCKET(2) },
        .fills = { { 0, 0, X, 2 }, { 0, 1, Y, 9 }, { 0, 2, Z, 9 } },
        .actors = { ONE(REFUND, X), ONE(REFUND, X), ONE(REQUEST, X), ONE(REQUEST, X) },
        .promises = { { X, 0, 2 } },
    },
    {
        .name = "bucket: a refund of a key that is being forgotten by its set",
        .rules = { BUCKET(1) },
        .fills = { { 0, 0, X, 1 }, { 0, 1, Y, 9 }, { 0, 2, Q, 9 } },
        .actors = { ONE(REFUND, X), ONE(REQUEST, Z), ONE(REQUEST, Z) },
        .promises = { { Z, 1, 1 } },
        .crowded = true,
    },
    {
        .name = "bucket: refunds empty two cells while a new key arrives twice; a third has room",
        .rules = { BUCKET(1) },
        .fills = { { 0, 0, P, 1 }, { 0, 1, Q, 1 }, { 0, 2, Y, -1 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REFUND, P), ONE(REFUND, Q) },
        .promises = { { X, 1, 1 } },
    },
    {
        .name = "bucket: the same without the third: two debts end in that instant, one charge may be forgotten",
        .rules = { BUCKET(1) },
        .fills = { { 0, 0, P, 1 }, { 0, 1, Q, 1 }, { 0, 2, Y, 9 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REFUND, P), ONE(REFUND, Q) },
        .promises = { { X, 1, 2 } },
        .crowded = true,
    },
    {
        .name = "bucket: clocks differ, and one cell is older than the slowest",
        .rules = { BUCKET(1) },
        .fills = { { 0, 0, P, 5 }, { 0, 1, Q, 3 }, { 0, 2, Y, -1 } },
        .actors = { AT(REQUEST, X, NOW + 6), AT(REQUEST, X, NOW + 4), AT(REFUND, P, NOW), AT(REFUND, Q, NOW) },
        .promises = { { X, 1, 2 } }, /* two when the one that is two tokens later comes later */
        .skewed = true,
    },
    {
        .name = "bucket: clocks differ by less than a token, and one cell is older than the slowest",
        .rules = { BUCKET(1) },
        .fills = { { 0, 0, P, 5 }, { 0, 2, Y, -1 } },
        .actors = { AT(REQUEST, X, NOW + 6), AT(REQUEST, X, NOW + 6), AT(REQUEST, Z, NOW + 4), AT(REFUND, P, NOW) },
        .promises = { { X, 1, 1 }, { Z, 1, 1 } },
        .skewed = true,
    },
    {
        .name = "bucket: a key is forgotten by the operator amid its requests",
        .rules = { BUCKET(1) },
        .fills = { { 0, 0, X, 1 } },
        .actors = { ONE(FORGET, X), ONE(REQUEST, X), ONE(REQUEST, X), ONE(REQUEST, Z) },
        .promises = { { X, 0, 1 }, { Z, 1, 1 } },
        .skewed = true,
    },
    {
        .name = "slots: two acquires and a release, one slot",
        .rules = { SLOTS(1) },
        .fills = { { 0, 1, X, 1 } },
        .actors = { ONE(RELEASE, X), ONE(REQUEST, X), ONE(REQUEST, X) },
        .promises = { { X, 0, 1 } },
    },
    {
        .name = "slots: two acquires of a new key while a release empties another cell, one slot",
        .rules = { SLOTS(1) },
        .fills = { { 0, 0, Y, 1 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(RELEASE, Y) },
        .promises = { { X, 1, 1 } },
    },
    {
        .name = "slots: Z takes the free cell that was X's, while X comes back and another cell is free",
        .rules = { SLOTS(1) },
        .fills = { { 0, 0, X, 0 }, { 0, 1, Y, 1 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, Z) },
        .promises = { { X, 1, 1 }, { Z, 1, 1 } },
    },
    {
        .name = "slots: X X Z meet at two free cells, one slot each",
        .coarse = true,
        .rules = { SLOTS(1) },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REQUEST, Z) },
        .promises = { { X, 1, 1 }, { Z, 1, 1 } },
    },
    {
        .name = "slots: three acquires of a new key, two slots",
        .coarse = true,
        .rules = { SLOTS(2) },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REQUEST, X) },
        .promises = { { X, 2, 2 } },
    },
    {
        .name = "slots: a key comes, goes and comes while another's cell becomes free",
        .coarse = true,
        .rules = { SLOTS(1) },
        .fills = { { 0, 0, Y, 1 } },
        .actors = { ONE(REQUEST_AND_RELEASE, X), ONE(REQUEST, X), ONE(RELEASE, Y) },
        .promises = { { X, 1, 2 } },
    },
    {
        .name = "slots: no cell is free: nobody is counted in another's",
        .rules = { SLOTS(2) },
        .fills = { { 0, 0, Y, 1 }, { 0, 1, P, 1 }, { 0, 2, Q, 1 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, Z), ONE(RELEASE, Y) },
        .promises = { { X, 0, 1 }, { Z, 0, 1 } },
    },
    {
        .name = "slots: Z wants the free cell that X X come back to, while a release empties another",
        .coarse = true,
        .rules = { SLOTS(1) },
        .fills = { { 0, 0, X, 0 }, { 0, 1, Y, 1 }, { 0, 2, P, 1 } },
        .actors = { ONE(REQUEST, X), ONE(REQUEST, X), ONE(REQUEST, Z), ONE(RELEASE, Y) },
        .promises = { { X, 0, 1 }, { Z, 0, 1 } },
    },
    {
        .name = "two limits: the second is lost, the first is given back",
        .rules = { BUCKET(3), BUCKET(1) },
        .actors = { BOTH(REQUEST, X, Y), BOTH(REQUEST, X, Y), ONE(REQUEST, X) },
        .promises = { { X, 2, 2 }, { Y, 1, 1 } },
    },
    {
        .name = "two limits: slots lost behind a bucket",
        .rules = { BUCKET(2), SLOTS(1) },
        .actors = { BOTH(REQUEST, X, Y), BOTH(REQUEST, X, Y) },
        .promises = { { X, 1, 1 }, { Y, 1, 1 } },
    },
    {
        .name = "two limits: a bucket lost behind slots",
        .rules = { SLOTS(2), BUCKET(1) },
        .actors = { BOTH(REQUEST, X, Y), BOTH(REQUEST, X, Y) },
        .promises = { { X, 1, 1 }, { Y, 1, 1 } },
    },
};

#endif
