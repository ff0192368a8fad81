/* request: the judgement whether a request head may be forwarded.
 *
 * A gateway and its upstream must read the same request, or a client can hide one request inside another (request
 * smuggling), or have one path counted and another one served. So every head passes the steps of judge_steps[], in
 * order; each looks at one thing, keeps what it learned, and refuses what servers are known to read differently:
 *
 *   - two Content-Length (even when equal), Transfer-Encoding or Host fields; both lengths at once; a transfer coding
 *     other than chunked, or any in HTTP/1.0; lengths that are not plain digits;
 *   - control bytes anywhere (RFC 9112 §2.2, RFC 9110 §5.5); field names and methods that are no tokens;
 *   - targets in any form but origin-form, absolute-form (http, https, no userinfo) and OPTIONS *; fragments; a %
 *     without two hex digits; %00, a backslash (some take it for a slash) or "..;" (servlet containers take it for
 *     "..") in the path;
 *   - hosts with bytes that no name on the network has: percent-encoding, commas, userinfo.
 *
 * The HTTP library refuses some of these by itself; this judge relies on none of that. What it cannot see (line ends,
 * folded lines, white space before a colon, chunks) is the library's: see front.c. Other bytes that RFC 3986 wants
 * encoded, like | { } " < > in a query, pass: real clients send them, and nobody reads them as anything else.
 */
#include "request.h"

#include "target.h"

/* Bounds the work of request_hop_by_hop(), which walks Connection once per field. Real ones name three at most. */
#define CONNECTION_OPTIONS_MAX 16

struct judge {
    struct request *request;
    char *scratch; /* what of it is left */
    size_t scratch_size;
    struct target target;
    const struct field *host, *length, *coding; /* the only one of its name, or NULL */
    size_t options;                             /* of all Connection fields, empty ones too */
    bool close, keep_alive, upgrade;            /* named by Connection */
    bool protocol;                              /* Upgrade names one that we can tunnel */
    bool hides_requests;                        /* Upgrade names one in which further requests would travel uncounted */
    bool expectation, other_expectation;
};

/* ---- slices, fields and lists ---------------------------------------------------------------------------------- */

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

bool slice_equals(struct slice a, struct slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

bool slice_equals_nocase(struct slice a, struct slice b)
{
    if (a.length != b.length) {
        return false;
    }
    for (size_t i = 0; i < a.length; i++) {
        if (lower(a.at[i]) != lower(b.at[i])) {
            return false;
        }
    }
    return true;
}

struct slice slice_trim(struct slice text)
{
    while (text.length > 0 && (text.at[0] == ' ' || text.at[0] == '\t')) {
        text.at++;
        text.length--;
    }
    while (text.length > 0 && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t')) {
        text.length--;
    }
    return text;
}

bool slice_take(struct slice *list, char separator, struct slice *element)
{
    if (list->at == NULL) {
        return false;
    }
    const char *end = list->length > 0 ? memchr(list->at, separator, list->length) : NULL;
    size_t length = end != NULL ? (size_t)(end - list->at) : list->length;
    *element = slice_trim((struct slice){ list->at, length });
    *list = end != NULL ? (struct slice){ end + 1, list->length - length - 1 } : (struct slice){ NULL, 0 };
    return true;
}

const struct field *request_field(const struct request *request, struct slice name)
{
    for (size_t i = 0; i < request->field_count; i++) {
        if (slice_equals_nocase(request->fields[i].name, name)) {
            return &request->fields[i];
        }
    }
    return NULL;
}

/* ---- hop-by-hop ------------------------------------------------------------------------------------------------ */

#define NAME(literal)                                                                                                  \
    {                                                                                                                  \
        (literal), sizeof(literal) - 1                                                                                 \
    }

/* RFC 9110 §7.6.1, and what is spent at this hop: Trailer, because trailers are not forwarded; Proxy-Authorization
 * (§11.7.2) was meant for us; HTTP2-Settings (RFC 7540 §3.2.1) belongs to an upgrade that we do not take part in. */
static const struct slice hop_by_hop[] = {
    NAME("connection"),     NAME("keep-alive"), NAME("transfer-encoding"),   NAME("te"),
    NAME("trailer"),        NAME("upgrade"),    NAME("proxy-authorization"), NAME("proxy-connection"),
    NAME("http2-settings"),
};

/* What Connection may not take away (RFC 9110 §7.6.1 forbids to name what is meant for all recipients; senders do it
 * to be mistaken for somebody else): framing and target, credentials, who the client is, and how an answer may be
 * stored or read. */
static const struct slice end_to_end[] = {
    NAME("host"),
    NAME("content-length"),
    NAME("content-type"),
    NAME("content-encoding"),
    NAME("content-range"),
    NAME("authorization"),
    NAME("cookie"),
    NAME("set-cookie"),
    NAME("www-authenticate"),
    NAME("origin"),
    NAME("forwarded"),
    NAME("x-real-ip"),
    NAME("x-request-id"),
    NAME("via"),
    NAME("traceparent"),
    NAME("tracestate"),
    NAME("x-weir-over-limit"),
    NAME("date"),
    NAME("age"),
    NAME("cache-control"),
    NAME("expires"),
    NAME("vary"),
    NAME("etag"),
    NAME("last-modified"),
    NAME("location"),
    NAME("range"),
    NAME("expect"),
    NAME("ratelimit"),
    NAME("ratelimit-policy"),
    NAME("retry-after"),
};

static bool is_one_of(struct slice name, const struct slice *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equals_nocase(name, names[i])) {
            return true;
        }
    }
    return false;
}

static bool is_end_to_end(struct slice name)
{
    static const struct slice forwarded = NAME("x-forwarded-");
    if (name.length > forwarded.length && slice_equals_nocase((struct slice){ name.at, forwarded.length }, forwarded)) {
        return true;
    }
    return is_one_of(name, end_to_end, sizeof end_to_end / sizeof *end_to_end);
}

bool request_hop_by_hop(const struct field *fields, size_t field_count, struct slice name)
{
    if (is_one_of(name, hop_by_hop, sizeof hop_by_hop / sizeof *hop_by_hop)) {
        return true;
    }
    for (size_t i = 0; i < field_count; i++) {
        if (!slice_equals_nocase(fields[i].name, SLICE("connection"))) {
            continue;
        }
        struct slice list = fields[i].value;
        struct slice option;
        while (slice_take(&list, ',', &option)) {
            if (slice_equals_nocase(option, name)) {
                return !is_end_to_end(name);
            }
        }
    }
    return false;
}

/* ---- the steps ------------------------------------------------------------------------------------------------- */

static const struct request_problem fine = { 0, NULL };

static struct request_problem bad(const char *detail)
{
    return (struct request_problem){ 400, detail };
}

static struct request_problem judge_method(struct judge *judge)
{
    struct slice method = judge->request->method;
    if (!rule_is_token(method.at, method.length)) {
        return bad("the method is not a token");
    }
    if (slice_equals(method, SLICE("CONNECT")) || slice_equals(method, SLICE("TRACE"))) {
        return (struct request_problem){ 405, "CONNECT and TRACE are not served here" };
    }
    return fine;
}

static struct request_problem judge_version(struct judge *judge)
{
    struct request *request = judge->request;
    request->http_1_0 = slice_equals(request->version, SLICE("HTTP/1.0"));
    if (!request->http_1_0 && !slice_equals(request->version, SLICE("HTTP/1.1"))) {
        return (struct request_problem){ 505, "only HTTP/1.1 and HTTP/1.0 are served here" };
    }
    return fine;
}

static bool is_field_value(struct slice value)
{
    for (size_t i = 0; i < value.length; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

static void read_connection(struct judge *judge, struct slice list)
{
    struct slice option;
    while (judge->options <= CONNECTION_OPTIONS_MAX && slice_take(&list, ',', &option)) {
        judge->options++;
        judge->close |= slice_equals_nocase(option, SLICE("close"));
        judge->keep_alive |= slice_equals_nocase(option, SLICE("keep-alive"));
        judge->upgrade |= slice_equals_nocase(option, SLICE("upgrade"));
    }
}

/* "websocket", "h2c", "HTTP/2.0", "TLS/1.2": inside the last three, requests would pass that no limit sees. */
static void read_upgrade(struct judge *judge, struct slice list)
{
    static const struct slice hiding[] = { NAME("http"), NAME("h2c"), NAME("h2"), NAME("tls") };
    struct slice protocol;
    while (slice_take(&list, ',', &protocol)) {
        struct slice name;
        slice_take(&protocol, '/', &name);
        judge->protocol |= name.length > 0;
        judge->hides_requests |= is_one_of(name, hiding, sizeof hiding / sizeof *hiding);
    }
}

static void read_expect(struct judge *judge, struct slice value)
{
    if (slice_equals_nocase(value, SLICE("100-continue"))) {
        judge->expectation = true;
    } else {
        judge->other_expectation = true;
    }
}

/* Keeps the first of a name; false when it is not the first. */
static bool first_of_name(const struct field **seen, const struct field *field)
{
    bool first = *seen == NULL;
    *seen = field;
    return first;
}

static struct request_problem read_field(struct judge *judge, const struct field *field)
{
    struct slice name = field->name;
    if (!rule_is_token(name.at, name.length)) {
        return bad("a field name is not a token");
    }
    if (!is_field_value(field->value)) {
        return bad("a field value has a control byte");
    }
    if (slice_equals_nocase(name, SLICE("host"))) {
        return first_of_name(&judge->host, field) ? fine : bad("more than one Host field");
    }
    if (slice_equals_nocase(name, SLICE("content-length"))) {
        return first_of_name(&judge->length, field) ? fine : bad("more than one Content-Length field");
    }
    if (slice_equals_nocase(name, SLICE("transfer-encoding"))) {
        return first_of_name(&judge->coding, field) ? fine : bad("more than one Transfer-Encoding field");
    }
    if (slice_equals_nocase(name, SLICE("connection"))) {
        read_connection(judge, field->value);
    } else if (slice_equals_nocase(name, SLICE("upgrade"))) {
        read_upgrade(judge, field->value);
    } else if (slice_equals_nocase(name, SLICE("expect"))) {
        read_expect(judge, field->value);
    }
    return fine;
}

static struct request_problem judge_fields(struct judge *judge)
{
    const struct request *request = judge->request;
    struct request_problem problem = fine;
    for (size_t i = 0; i < request->field_count && problem.status == 0; i++) {
        problem = read_field(judge, &request->fields[i]);
    }
    if (problem.status == 0 && judge->options > CONNECTION_OPTIONS_MAX) {
        problem = (struct request_problem){ 431, "Connection names more than 16 options" };
    }
    return problem;
}

/* 1*DIGIT up to 2^63 - 1, so that sums with it cannot wrap. */
static struct request_problem read_length(struct slice digits, uint64_t *length)
{
    uint64_t value = 0;
    bool too_large =
        digits.length > 19; /* INT64_MAX has 19; more than them may wrap below, and is refused whatever it is */
    for (size_t i = 0; i < digits.length; i++) {
        if (digits.at[i] < '0' || digits.at[i] > '9') {
            return bad("the Content-Length is not a plain number");
        }
        value = value * 10 + (uint64_t)(digits.at[i] - '0');
    }
    if (digits.length == 0) {
        return bad("the Content-Length is empty");
    }
    if (too_large || value > INT64_MAX) {
        return (struct request_problem){ 413, "the Content-Length is beyond any body" };
    }
    *length = value;
    return fine;
}

/* RFC 9112 §6.1 – §6.3 */
static struct request_problem judge_framing(struct judge *judge)
{
    struct request *request = judge->request;
    request->body = REQUEST_NO_BODY;
    request->content_length = 0;
    if (judge->coding == NULL && judge->length == NULL) {
        return fine;
    }
    if (judge->coding == NULL) {
        request->body = REQUEST_LENGTH;
        return read_length(judge->length->value, &request->content_length);
    }
    if (judge->length != NULL) {
        return bad("both Content-Length and Transfer-Encoding");
    }
    if (request->http_1_0) {
        return bad("Transfer-Encoding in HTTP/1.0");
    }
    if (!slice_equals_nocase(judge->coding->value, SLICE("chunked"))) {
        return (struct request_problem){ 501, "the only transfer coding served here is chunked" };
    }
    request->body = REQUEST_CHUNKED;
    return fine;
}

/* Connection, Upgrade and Expect, which mean what they say only beside the version and the body. */
static struct request_problem judge_wishes(struct judge *judge)
{
    struct request *request = judge->request;
    bool has_body = request->body == REQUEST_CHUNKED || request->content_length > 0;
    request->wants_close = judge->close || (request->http_1_0 && !judge->keep_alive);
    /* To pass an upgrade over is always allowed (RFC 9110 §7.8), and demanded in HTTP/1.0. */
    request->upgrade = judge->upgrade && judge->protocol && !judge->hides_requests && !request->http_1_0 && !has_body;
    request->expect_continue = judge->expectation && !request->http_1_0 && has_body;
    if (judge->other_expectation && !request->http_1_0) { /* HTTP/1.0 knows no Expect: RFC 9110 §10.1.1 */
        return (struct request_problem){ 417, "the only expectation met here is 100-continue" };
    }
    return fine;
}

/* NULL when scratch is spent. */
static char *take_scratch(struct judge *judge, size_t size)
{
    if (size > judge->scratch_size) {
        return NULL;
    }
    char *taken = judge->scratch;
    judge->scratch += size;
    judge->scratch_size -= size;
    return taken;
}

static const struct request_problem no_scratch = { 431, "the request head is too large" };

/* An absolute-form target without a path: asks for "/", or, with OPTIONS and no query, for "*" (RFC 9112 §3.2.1,
 * §3.2.4). */
static struct request_problem complete_target(struct judge *judge)
{
    struct request *request = judge->request;
    struct slice query = judge->target.rest; /* with its '?' */
    if (query.length == 0) {
        request->origin_form = slice_equals(request->method, SLICE("OPTIONS")) ? SLICE("*") : SLICE("/");
        request->path = request->origin_form;
        return fine;
    }
    char *whole = take_scratch(judge, query.length + 1);
    if (whole == NULL) {
        return no_scratch;
    }
    whole[0] = '/';
    memcpy(whole + 1, query.at, query.length);
    request->origin_form = (struct slice){ whole, query.length + 1 };
    request->path = SLICE("/");
    return fine;
}

static struct request_problem judge_target(struct judge *judge)
{
    struct request *request = judge->request;
    struct target *target = &judge->target;
    const char *wrong = target_split(request->method, request->target, target);
    if (wrong != NULL) {
        return bad(wrong);
    }
    request->query = target->query;
    if (target->path.length == 0) {
        return complete_target(judge);
    }
    request->origin_form = target->rest;
    request->path = target->path;
    if (target->path.at[0] == '*') {
        return fine;
    }
    char *path = take_scratch(judge, target->path.length);
    if (path == NULL) {
        return no_scratch;
    }
    size_t length = target_normalise(target->path, path);
    request->path = (struct slice){ path, length };
    if (memmem(path, length, "/.;", 3) != NULL || memmem(path, length, "/..;", 4) != NULL) {
        return bad("the path has a dot segment with a parameter");
    }
    return fine;
}

/* RFC 9112 §3.2: one valid Host, even where an absolute-form target overrules it. HTTP/1.0 may go without. */
static struct request_problem judge_host(struct judge *judge)
{
    struct request *request = judge->request;
    struct slice named = judge->host != NULL ? judge->host->value : (struct slice){ NULL, 0 };
    if (judge->host == NULL && !request->http_1_0) {
        return bad("no Host field");
    }
    struct slice authority = judge->target.absolute ? judge->target.authority : named;
    size_t larger = named.length > authority.length ? named.length : authority.length;
    char *host = take_scratch(judge, larger + 2);
    if (host == NULL) {
        return no_scratch;
    }
    size_t length = 0;
    if (judge->host != NULL && !target_host(named, host, &length)) {
        return bad("the Host field is not a host");
    }
    if (judge->target.absolute && !target_host(authority, host, &length)) {
        return bad("the host of the request target is not a host");
    }
    request->authority = authority;
    request->host = (struct slice){ host, length };
    return fine;
}

static struct request_problem (*const judge_steps[])(struct judge *judge) = {
    judge_method, judge_version, judge_fields, judge_framing, judge_wishes, judge_target, judge_host,
};

struct request_problem request_check(struct request *request, char *scratch, size_t scratch_size)
{
    struct judge judge = { .request = request, .scratch = scratch, .scratch_size = scratch_size };
    struct request_problem problem = fine;
    for (size_t i = 0; i < sizeof judge_steps / sizeof *judge_steps && problem.status == 0; i++) {
        problem = judge_steps[i](&judge);
    }
    return problem;
}

/* Whatever they are called: nobody reads them and none is forwarded. But what is no field line is no trailer, and the body no body. */
const char *request_check_trailer(const struct field *field)
{
    if (!rule_is_token(field->name.at, field->name.length)) {
        return "a trailer field name is not a token";
    }
    return is_field_value(field->value) ? NULL : "a trailer field value has a control byte";
}
