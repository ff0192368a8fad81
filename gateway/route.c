/* route: the compiled routes and the walk through them. See route.h for which route wins.
 *
 * A trie of path segments, one root per host pattern and one for routes of any host. A node stands behind a slash;
 * what may follow is an edge:
 *
 *     root ─ v1/ ─► node ─┬─ users/ ─► node ── {}/ ─► node ── export    a leaf: the path ends with it
 *      │                  ├─ search                                     a leaf
 *      │                  └─ x*                                         a tail: the segment begins with it
 *      └─ (prefix)                                                      "/": anything below this slash
 *
 * The edges with a text, of all nodes, and the hosts too, lie in one hash table under (node, kind, text); what needs
 * no text ({name}, prefix) is in the node. A leaf, tail or prefix leads to a chain of routes that differ in their
 * methods.
 *
 * routes_find() walks down from each host's root that fits, twice: for a path that ends at a leaf, then for the
 * deepest prefix. A step costs one hash of the segment and one probe. At every node the literal edge is tried before
 * {name}, and what fails below is left again, so that the first route found is the most specific. Only a config that
 * has both a literal and {name} at many levels can make this more than one way down; no node is ever visited twice.
 * Texts longer than any in the config are not hashed, so that long hosts and paths cost nothing but their first
 * bytes.
 *
 * The hash needs no secret: its buckets hold what the operator wrote, and a request cannot add to them.
 */
#include "route.h"

#include "target.h"

#include <stdlib.h>

#define NONE UINT32_MAX

enum edge_kind {
    EDGE_FREE,     /* of the table: no edge here */
    EDGE_HOST,     /* "api.example.com" */
    EDGE_WILDCARD, /* "example.com" of "*.example.com" */
    EDGE_SEGMENT,  /* "v1" of "/v1/…" */
    EDGE_LEAF,     /* "x" of "/v1/x" */
    EDGE_TAIL,     /* "x" of "/v1/x*" */
};

struct edge {
    uint64_t hash;
    struct slice text;
    uint32_t node;   /* where it begins */
    uint32_t target; /* a node; of a leaf or tail: a chain */
    enum edge_kind kind;
};

/* Chains are indexes of routes, continued in routes.next; nodes are indexes into routes.nodes. NONE: there is none. */
struct node {
    uint32_t parameter;      /* the node behind "{name}/" */
    uint32_t parameter_leaf; /* chain: "{name}" and the end */
    uint32_t prefix;         /* chain */
    uint32_t longest_tail;   /* bytes of the longest of its tails; 0: it has none */
};

#define NODE_HOSTS 0 /* no place in a path: where the edges of hosts begin */
#define NODE_ANY   1 /* the root of routes without a host */

struct routes {
    const struct config *config;
    struct node *nodes;
    size_t node_count;
    struct edge *edges; /* open addressing, at most half full */
    size_t edge_mask;
    size_t longest_text; /* of all edges */
    uint32_t *next;      /* per route: the next of its chain, which was written before it; NONE: the last */
    char *texts;         /* hosts and paths in the spelling of target.h: what edges point at */
};

static struct slice after(struct slice text, size_t skipped)
{
    return (struct slice){ text.at + skipped, text.length - skipped };
}

static struct slice first_segment(struct slice rest)
{
    const char *slash = rest.length > 0 ? memchr(rest.at, '/', rest.length) : NULL;
    return (struct slice){ rest.at, slash != NULL ? (size_t)(slash - rest.at) : rest.length };
}

/* ---- edges ----------------------------------------------------------------------------------------------------- */

/* FNV-1a, byte by byte, so that the hashes of all beginnings of a text cost one pass over it. */
#define HASH_START 0xcbf29ce484222325u
static uint64_t hash_byte(uint64_t hash, char byte)
{
    return (hash ^ (unsigned char)byte) * 0x100000001b3u;
}

static uint64_t hash_of(struct slice text)
{
    uint64_t hash = HASH_START;
    for (size_t i = 0; i < text.length; i++) {
        hash = hash_byte(hash, text.at[i]);
    }
    return hash;
}

/* Spreads node and kind over the low bits, which choose the bucket (Fibonacci hashing: 2^64 / golden ratio). */
static uint64_t hash_edge(uint64_t text_hash, size_t node, enum edge_kind kind)
{
    uint64_t hash = (text_hash ^ ((uint64_t)node << 3 | (uint64_t)kind)) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

/* The edge, or the free place where it would be. */
static struct edge *edge_place(const struct routes *routes, uint64_t hash, size_t node, enum edge_kind kind,
                               struct slice text)
{
    for (size_t i = hash & routes->edge_mask;; i = (i + 1) & routes->edge_mask) {
        struct edge *edge = &routes->edges[i];
        bool same = edge->hash == hash && edge->node == node && edge->kind == kind && slice_equals(edge->text, text);
        if (edge->kind == EDGE_FREE || same) {
            return edge;
        }
    }
}

/* Where the edge leads, or NONE. */
static uint32_t follow(const struct routes *routes, size_t node, enum edge_kind kind, struct slice text)
{
    if (text.length > routes->longest_text) {
        return NONE;
    }
    const struct edge *edge = edge_place(routes, hash_edge(hash_of(text), node, kind), node, kind, text);
    return edge->kind == EDGE_FREE ? NONE : edge->target;
}

/* ---- compile --------------------------------------------------------------------------------------------------- */

static uint32_t add_node(struct routes *routes)
{
    routes->nodes[routes->node_count] = (struct node){ .parameter = NONE, .parameter_leaf = NONE, .prefix = NONE };
    return (uint32_t)routes->node_count++;
}

/* The target of an edge, which is made when it is not there: NONE, for the caller to fill in. */
static uint32_t *add_edge(struct routes *routes, uint32_t node, enum edge_kind kind, struct slice text)
{
    uint64_t hash = hash_edge(hash_of(text), node, kind);
    struct edge *edge = edge_place(routes, hash, node, kind, text);
    if (edge->kind == EDGE_FREE) {
        *edge = (struct edge){ .hash = hash, .text = text, .node = node, .target = NONE, .kind = kind };
        if (text.length > routes->longest_text) {
            routes->longest_text = text.length;
        }
    }
    return &edge->target;
}

static uint32_t node_behind(struct routes *routes, uint32_t *target)
{
    if (*target == NONE) {
        *target = add_node(routes);
    }
    return *target;
}

/* `out` is moved behind the text that was written there. */
static uint32_t host_root(struct routes *routes, const char *host, char **out)
{
    if (host == NULL) {
        return NODE_ANY;
    }
    bool wildcard = host[0] == '*';
    const char *name = wildcard ? host + 2 : host; /* "*." */
    struct slice text = { *out, 0 };
    CHECK(target_host((struct slice){ name, strlen(name) }, *out, &text.length)); /* config_load() takes no other */
    *out += text.length;
    return node_behind(routes, add_edge(routes, NODE_HOSTS, wildcard ? EDGE_WILDCARD : EDGE_HOST, text));
}

static bool is_parameter(struct slice segment)
{
    return segment.length > 2 && segment.at[0] == '{' && segment.at[segment.length - 1] == '}';
}

/* The chain for what stands behind the last slash of a pattern; `open`: a star followed it. */
static uint32_t *last_chain(struct routes *routes, uint32_t at, struct slice segment, bool open)
{
    struct node *node = &routes->nodes[at];
    if (segment.length == 0) { /* "/v1/" and "/v1/x*" with nothing for x: the same */
        return &node->prefix;
    }
    if (is_parameter(segment) && !open) {
        return &node->parameter_leaf;
    }
    if (open && segment.length > node->longest_tail) {
        node->longest_tail = (uint32_t)segment.length;
    }
    return add_edge(routes, at, open ? EDGE_TAIL : EDGE_LEAF, segment);
}

/* The chain that a path belongs to. It is normalised and stays where it is. */
static uint32_t *chain_of(struct routes *routes, uint32_t node, struct slice path)
{
    bool open = path.at[path.length - 1] == '*';
    struct slice rest = { path.at + 1, path.length - (open ? 2 : 1) };
    struct slice segment = first_segment(rest);
    while (segment.length < rest.length) {
        uint32_t *target =
            is_parameter(segment) ? &routes->nodes[node].parameter : add_edge(routes, node, EDGE_SEGMENT, segment);
        node = node_behind(routes, target);
        rest = after(rest, segment.length + 1);
        segment = first_segment(rest);
    }
    return last_chain(routes, node, segment, open);
}

static void compile(struct routes *routes)
{
    add_node(routes); /* NODE_HOSTS */
    add_node(routes); /* NODE_ANY */
    char *out = routes->texts;
    for (size_t i = 0; i < routes->config->route_count; i++) {
        const struct config_route *route = &routes->config->routes[i];
        uint32_t root = host_root(routes, route->host, &out);
        struct slice path = { out, target_normalise((struct slice){ route->path, strlen(route->path) }, out) };
        out += path.length;
        uint32_t *chain = chain_of(routes, root, path);
        routes->next[i] = *chain;
        *chain = (uint32_t)i;
    }
}

struct routes *routes_create(const struct config *config)
{
    size_t edges = 0; /* at most: one for the host and one per segment; as many nodes, and two */
    size_t bytes = 0;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        edges += 2;
        for (const char *at = route->path; *at != '\0'; at++) {
            edges += *at == '/';
        }
        bytes += strlen(route->path) + 1 + (route->host == NULL ? 0 : strlen(route->host) + 2); /* see target.h */
    }
    CHECK(edges < NONE - 2);
    size_t places = 2;
    while (places < 2 * edges) {
        places *= 2;
    }
    struct routes *routes = calloc(1, sizeof *routes);
    if (routes == NULL) {
        return NULL;
    }
    routes->config = config;
    routes->edge_mask = places - 1;
    routes->edges = calloc(places, sizeof *routes->edges);
    routes->nodes = calloc(edges + 2, sizeof *routes->nodes);
    routes->next = calloc(config->route_count + 1, sizeof *routes->next);
    routes->texts = malloc(bytes + 1);
    if (routes->edges == NULL || routes->nodes == NULL || routes->next == NULL || routes->texts == NULL) {
        routes_destroy(&routes);
        return NULL;
    }
    compile(routes);
    return routes;
}

void routes_destroy(struct routes **routes)
{
    if (*routes != NULL) {
        free((*routes)->edges);
        free((*routes)->nodes);
        free((*routes)->next);
        free((*routes)->texts);
        free(*routes);
        *routes = NULL;
    }
}

/* ---- find ------------------------------------------------------------------------------------------------------ */

struct search {
    const struct routes *routes;
    struct slice method;
    bool prefixes; /* look for a prefix, not for the whole path */
};

/* How well a route fits a method: 0 not at all; 1 it takes any; 2 HEAD, and it takes GET; 3 it names it. */
static unsigned fit(const struct config_route *route, struct slice method)
{
    unsigned best = route->method_count == 0 ? 1 : 0;
    for (size_t i = 0; i < route->method_count; i++) {
        struct slice named = { route->methods[i], strlen(route->methods[i]) };
        if (slice_equals(named, method)) {
            return 3;
        }
        if (slice_equals(named, SLICE("GET")) && slice_equals(method, SLICE("HEAD"))) {
            best = 2;
        }
    }
    return best;
}

/* The route of a chain that fits the method best, or NONE. */
static uint32_t choose(const struct search *search, uint32_t chain)
{
    uint32_t best = NONE;
    unsigned best_fit = 1;
    for (uint32_t i = chain; i != NONE; i = search->routes->next[i]) {
        unsigned route_fit = fit(&search->routes->config->routes[i], search->method);
        if (route_fit >= best_fit) { /* equal: the chain goes from the last written to the first */
            best = i;
            best_fit = route_fit;
        }
    }
    return best;
}

static uint32_t find_leaf(const struct search *search, uint32_t node, struct slice segment)
{
    if (segment.length == 0) { /* the path ends in a slash: only a prefix takes it */
        return NONE;
    }
    uint32_t found = choose(search, follow(search->routes, node, EDGE_LEAF, segment));
    return found != NONE ? found : choose(search, search->routes->nodes[node].parameter_leaf);
}

/* The longest tail that the segment begins with. */
static uint32_t find_tail(const struct search *search, uint32_t node, struct slice segment)
{
    uint32_t found = NONE;
    size_t longest = search->routes->nodes[node].longest_tail;
    uint64_t hash = HASH_START;
    for (size_t length = 1; length <= longest && length <= segment.length; length++) {
        hash = hash_byte(hash, segment.at[length - 1]);
        const struct edge *edge = edge_place(search->routes, hash_edge(hash, node, EDGE_TAIL), node, EDGE_TAIL,
                                             (struct slice){ segment.at, length });
        uint32_t longer = edge->kind == EDGE_FREE ? NONE : choose(search, edge->target);
        found = longer != NONE ? longer : found;
    }
    return found;
}

static uint32_t find_beginning(const struct search *search, uint32_t node, struct slice segment)
{
    uint32_t found = find_tail(search, node, segment);
    return found != NONE ? found : choose(search, search->routes->nodes[node].prefix);
}

/* The most specific route at or below a node; `rest` is what follows its slash. As deep as the config's longest path.
 */
static uint32_t descend(const struct search *search, uint32_t node, struct slice rest)
{
    const struct routes *routes = search->routes;
    struct slice segment = first_segment(rest);
    bool last = segment.length == rest.length;
    if (!last) {
        const uint32_t ways[] = { follow(routes, node, EDGE_SEGMENT, segment), routes->nodes[node].parameter };
        for (size_t i = 0; i < 2; i++) {
            uint32_t found = ways[i] == NONE ? NONE : descend(search, ways[i], after(rest, segment.length + 1));
            if (found != NONE) {
                return found;
            }
        }
    }
    if (search->prefixes) {
        return find_beginning(search, node, segment);
    }
    return last ? find_leaf(search, node, segment) : NONE;
}

static uint32_t find_below(const struct routes *routes, uint32_t root, struct slice method, struct slice path)
{
    struct search search = { .routes = routes, .method = method };
    if (root == NONE) {
        return NONE;
    }
    if (path.length == 0 || path.at[0] != '/') { /* "*" */
        return choose(&search, routes->nodes[root].prefix);
    }
    uint32_t found = descend(&search, root, after(path, 1));
    if (found == NONE) {
        search.prefixes = true;
        found = descend(&search, root, after(path, 1));
    }
    return found;
}

int routes_find(const struct routes *routes, struct slice host, struct slice method, struct slice path)
{
    uint32_t found = find_below(routes, follow(routes, NODE_HOSTS, EDGE_HOST, host), method, path);
    for (size_t i = 1; i < host.length && found == NONE; i++) {
        if (host.at[i - 1] == '.') {
            found = find_below(routes, follow(routes, NODE_HOSTS, EDGE_WILDCARD, after(host, i)), method, path);
        }
    }
    if (found == NONE) {
        found = find_below(routes, NODE_ANY, method, path);
    }
    return found == NONE ? -1 : (int)found;
}
