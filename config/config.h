/* config: what the operator said, as immutable structs.
 *
 * config_load() reads one JSON file (RFC 8259, strict: unknown members, duplicate members and wrong types are errors)
 * and returns either a whole, checked configuration or every error in it. Nothing outside this room knows JSON. The
 * structs are written once, here, and only read afterwards: any thread may read them while it holds the config alive.
 *
 * Units are in the names. Strings are owned by the config. Arrays are never NULL where their count is above 0.
 */
#ifndef WEIR_CONFIG_H
#define WEIR_CONFIG_H

#include "rule.h"

#include <stdio.h>

struct config_certificate { /* files, PEM, seen from the directory of the config */
    char *certificate;      /* and what leads from it to its root */
    char *key;
};

struct config_listen {
    char *text; /* as written, for messages */
    struct rule_address address;
    struct config_certificate *certificates; /* the first is for clients that name no other host */
    size_t certificate_count;                /* 0: no TLS */
};

struct config_client_ip {
    unsigned ipv4_prefix; /* 0 … 32, default 32 */
    unsigned ipv6_prefix; /* 0 … 128, default 64 */
    char *header;         /* lower case; default x-forwarded-for; also forwarded (RFC 7239) or a single-value header */
};

struct config_timeouts {
    uint64_t
        request_head_ns; /* from accept (or the first byte of a later request) to the end of the head; default 10s */
    uint64_t request_body_ns; /* longest silence inside a request body; default 30s */
    uint64_t idle_ns;     /* keep-alive connection without a request; also a client that reads nothing; default 65s */
    uint64_t shutdown_ns; /* how long a drain waits for requests in flight; default 30s */
};

struct config_sizes {
    uint64_t request_head;       /* bytes of request line and fields; default 16KiB, 4KiB … 1MiB */
    uint64_t request_body;       /* bytes; 0 = no bound (default) */
    uint64_t connections;        /* client connections of the process; default 20000 */
    uint64_t connections_per_ip; /* of one client address (peer); 0 = no bound (default) */
};

#define CONFIG_SERVERS_MAX 256 /* of one upstream */

#define CONFIG_SOCKET_MAX 107 /* bytes of a socket's path: sockaddr_un has 108, one is the NUL */

struct config_server {
    char *text;   /* the URL as written */
    char *socket; /* "unix:/run/api.sock": the path; then url is empty. Else NULL */
    struct rule_url url;
    unsigned weight; /* 1 … 1000: its part of the requests, against the other servers'; default 1 */
};

enum config_balance {
    CONFIG_BALANCE_LEAST_REQUESTS,
    CONFIG_BALANCE_ROUND_ROBIN,
    CONFIG_BALANCE_HASH, /* by the client's address, masked as client_ip says */
};

#define CONFIG_HEALTH_PATH_MAX 1024

struct config_health {
    char *path;           /* asked for by GET; NULL: servers are not asked (the default). Default with health: "/" */
    uint64_t interval_ns; /* default 5s */
    unsigned fall;        /* bad answers in a row until a server is unhealthy; default 3 */
    unsigned rise;        /* good ones until it is healthy again; default 2 */
};

struct config_upstream {
    char *name;
    struct config_server *servers;
    size_t server_count;
    enum config_balance balance; /* default least_requests */
    struct config_health health;
    unsigned retries;     /* other servers tried when one cannot be connected to; default 1 */
    uint64_t connections; /* open connections to all its servers, over all workers; default 256 */
    uint64_t connect_ns;  /* default 2s */
    uint64_t
        response_ns;  /* from the last byte of the request to the response head, and between its reads; default 30s */
    uint64_t idle_ns; /* an unused connection is kept this long; default 60s */
};

enum config_source_kind {
    CONFIG_SOURCE_CLIENT_IP, /* prefixes below */
    CONFIG_SOURCE_HEADER,    /* name, lower case */
    CONFIG_SOURCE_COOKIE,    /* name, as written: cookie names are case-sensitive */
    CONFIG_SOURCE_QUERY,     /* name */
    CONFIG_SOURCE_PATH,      /* the normalised path */
    CONFIG_SOURCE_HOST,
    CONFIG_SOURCE_METHOD,
    CONFIG_SOURCE_ROUTE,
    CONFIG_SOURCE_GLOBAL,
};

struct config_source {
    enum config_source_kind kind;
    char *name;                        /* header, cookie, query; else NULL */
    unsigned ipv4_prefix, ipv6_prefix; /* client_ip: "client_ip/24" sets the IPv4 one, the IPv6 one stays client_ip's */
};

enum config_missing { CONFIG_MISSING_SHARED, CONFIG_MISSING_SKIP, CONFIG_MISSING_DENY };

enum config_limit_kind { CONFIG_LIMIT_RATE, CONFIG_LIMIT_CONCURRENCY };

struct config_limit {
    char *name; /* 1 … 64 of A-Z a-z 0-9 . _ - : safe in header fields, metrics and Redis keys */
    enum config_limit_kind kind;
    struct config_source *sources;
    size_t source_count; /* ≥ 1; default client_ip */
    enum config_missing missing;
    struct rule_rate rate; /* rate */
    uint64_t burst;        /* rate; default one second of rate, at least 1 */
    uint64_t concurrency;  /* concurrency, ≥ 1 */
    size_t keys; /* rate: this limit's share of state.keys: what is left after limits whose keys are few (global,
                            * route, method: 8 to 1024 cells) is divided evenly among the others */
};

struct config_respond {
    unsigned status; /* 200 … 599 */
    char *body;      /* may be "" */
    size_t body_length;
    char *content_type; /* default text/plain; charset=utf-8 */
    uint64_t delay_ns;  /* waits before it answers: a demo's slow origin; default 0 */
};

struct config_cost {
    uint64_t constant; /* when header is NULL; default 1 */
    char *header;      /* lower case */
};

struct config_route {
    /* "GET,POST api.example.com/v1/search": methods, host and path as written; unique; metrics label, key source */
    char *name;
    char *host; /* lower case, NULL = any; "*.example.com" = one or more labels in front */
    char *path; /* as written: "/v1/users/{id}/export", "/v1/" (prefix), "/v1/x*", "/v1/x" (exact) */
    char **methods;
    size_t method_count;            /* 0 = any */
    int upstream;                   /* index, or -1 when the route responds itself */
    struct config_respond *respond; /* NULL when it has an upstream */
    size_t *limits;                 /* indexes into config.limits, in the order written, each at most once */
    size_t limit_count;             /* ≤ 16 */
    struct config_cost cost;
    struct rule_network *exempt;
    size_t exempt_count;
};

struct config_admin {
    bool enabled;
    char *text;
    struct rule_address address;
    char *token; /* read from token_file, trailing newline cut; NULL = no token (then the address is loopback) */
};

enum config_headers { CONFIG_HEADERS_DRAFT_11, CONFIG_HEADERS_X_RATELIMIT, CONFIG_HEADERS_BOTH, CONFIG_HEADERS_NONE };

struct config_log {
    enum { CONFIG_LOG_OFF, CONFIG_LOG_STDOUT, CONFIG_LOG_STDERR, CONFIG_LOG_FILE } access;
    char *file;                     /* CONFIG_LOG_FILE: seen from the directory of the config */
    struct rule_rate sample_denied; /* at most this many lines for refused requests; default 100/second */
    bool keys;                      /* log the key itself, not only its hash */
};

struct config {
    char *path;      /* of the file */
    char digest[17]; /* hex; changes when the file's bytes change */
    struct config_listen *listens;
    size_t listen_count; /* ≥ 1; default 127.0.0.1:8080 */
    unsigned workers;    /* 0 = one per CPU this process may use */
    struct rule_network *trusted_proxies;
    size_t trusted_proxy_count;
    struct config_client_ip client_ip;
    struct config_timeouts timeouts;
    struct config_sizes sizes;
    struct config_upstream *upstreams;
    size_t upstream_count;
    struct config_limit *limits;
    size_t limit_count;
    struct config_route *routes;
    size_t route_count;
    struct config_admin admin;   /* default: enabled on 127.0.0.1:9901 */
    enum config_headers headers; /* default draft-11 */
    struct config_log log;
    uint64_t state_keys; /* cells for all bucket limits together; default 1,000,000 */
};

/* Every problem found, in the order of the file. `line` and `column` count from 1 (column in bytes); 0 when the file
 * as a whole is meant. `path` is the JSON path: "limits.per-client.rate", "routes[3].upstream"; "" at the top. */
struct config_error {
    size_t line, column;
    char *path;
    char *sentence;
};
struct config_errors {
    char *file;
    struct config_error *list;
    size_t count;
};

/* The config, or NULL and at least one error. `errors` is filled in either case (warnings do not exist: what is
 * doubtful is an error) and freed by config_errors_free(). Reads the file and the secret files it names; binds and
 * resolves nothing. */
__attribute__((warn_unused_result)) struct config *config_load(const char *path, struct config_errors *errors);
void config_free(struct config **config);

/* One line each: "file:line:column: json.path: sentence". */
void config_errors_print(const struct config_errors *errors, FILE *out);
void config_errors_free(struct config_errors *errors);

#endif
