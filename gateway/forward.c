/* forward: the head an upstream receives, and the fields of its answer that stop here. See forward.h.
 *
 * This runs for every proxied request, so it looks at each field twice and copies it once: a survey gives every field
 * a kind (and finds the Connection fields, so that asking what they name does not search the whole head again), then
 * the head is written. What weir writes itself goes last: fields of one name keep the order they came in.
 */
#include "forward.h"
#include "text.h"

enum kind {
    PLAIN,      /* passes, unless it is hop-by-hop */
    OURS,       /* weir writes it anew, or it is never passed on */
    CONNECTION, /* names fields that are hop-by-hop */
    UPGRADE,
    VIA,
    FORWARDED,
    FORWARDED_FOR,
    FORWARDED_PROTO,
    FORWARDED_HOST,
};

static const struct {
    struct slice name;
    enum kind kind;
} special[] = {
    { { "host", 4 }, OURS },
    { { "content-length", 14 }, OURS },
    { { "transfer-encoding", 17 }, OURS },
    { { "expect", 6 }, OURS }, /* weir has answered it itself */
    { { "x-request-id", 12 }, OURS },
    { { "x-weir-over-limit", 17 }, OURS }, /* the upstream must be able to believe it */
    { { "connection", 10 }, CONNECTION },
    { { "upgrade", 7 }, UPGRADE },
    { { "via", 3 }, VIA },
    { { "forwarded", 9 }, FORWARDED },
    { { "x-forwarded-for", 15 }, FORWARDED_FOR },
    { { "x-forwarded-proto", 17 }, FORWARDED_PROTO },
    { { "x-forwarded-host", 16 }, FORWARDED_HOST },
};

/* Equal without case, and with "_" read as "-": many an origin (CGI, WSGI, Rack, PHP) turns both into the same
 * variable, so X_Forwarded_For would be a way to forge X-Forwarded-For behind our back. */
static bool reads_as(struct slice name, struct slice lower)
{
    if (name.length != lower.length) {
        return false;
    }
    for (size_t i = 0; i < name.length; i++) {
        char byte = name.at[i];
        if (byte >= 'A' && byte <= 'Z') {
            byte = (char)(byte + ('a' - 'A'));
        } else if (byte == '_') {
            byte = '-';
        }
        if (byte != lower.at[i]) {
            return false;
        }
    }
    return true;
}

static enum kind kind_of(struct slice name)
{
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        if (reads_as(name, special[i].name)) {
            bool alias = memchr(name.at, '_', name.length) != NULL;
            return alias ? OURS : special[i].kind;
        }
    }
    return PLAIN;
}

/* What one look at every field found. */
struct survey {
    const struct forward *forward;
    unsigned seen;                   /* 1 << kind of everything that came */
    const struct field *connections; /* the stretch of fields from the first Connection field to the last */
    size_t connection_count;
    uint8_t kinds[REQUEST_FIELDS_MAX];
};

static void survey_fields(struct survey *survey, const struct forward *forward)
{
    const struct request *request = forward->request;
    survey->forward = forward;
    survey->seen = 0;
    survey->connections = NULL;
    survey->connection_count = 0;
    for (size_t i = 0; i < request->field_count; i++) {
        enum kind kind = kind_of(request->fields[i].name);
        survey->kinds[i] = (uint8_t)kind;
        survey->seen |= 1u << kind;
        if (kind == CONNECTION) {
            if (survey->connections == NULL) {
                survey->connections = &request->fields[i];
            }
            survey->connection_count = (size_t)(&request->fields[i] - survey->connections) + 1;
        }
    }
}

static bool passes(const struct survey *survey, size_t index)
{
    switch ((enum kind)survey->kinds[index]) {
    case PLAIN:
        return !request_hop_by_hop(survey->connections, survey->connection_count,
                                   survey->forward->request->fields[index].name);
    case UPGRADE:
        return survey->forward->upgrade;
    case FORWARDED:
    case FORWARDED_PROTO:
    case FORWARDED_HOST:
        return survey->forward->peer_trusted;
    case OURS:
    case CONNECTION:
    case VIA:
    case FORWARDED_FOR:
        break;
    }
    return false;
}

static void write_field(struct text *head, struct slice name, struct slice value)
{
    text_slice(head, name);
    text_literal(head, ": ");
    text_slice(head, value);
    text_literal(head, "\r\n");
}

/* One line: the values of all fields of a kind (when `keep`), then `last`. */
static void write_list(struct text *head, const struct survey *survey, enum kind kind, bool keep, struct slice name,
                       struct slice last)
{
    const struct request *request = survey->forward->request;
    text_slice(head, name);
    text_literal(head, ": ");
    for (size_t i = 0; keep && (survey->seen & 1u << kind) != 0 && i < request->field_count; i++) {
        if (survey->kinds[i] == kind && request->fields[i].value.length > 0) {
            text_slice(head, request->fields[i].value);
            text_literal(head, ", ");
        }
    }
    text_slice(head, last);
    text_literal(head, "\r\n");
}

/* Who the client was, and who passed its request on. */
static void write_provenance(struct text *head, const struct survey *survey)
{
    const struct forward *forward = survey->forward;
    const struct request *request = forward->request;
    unsigned kept = forward->peer_trusted ? survey->seen : 0;

    write_list(head, survey, FORWARDED_FOR, forward->peer_trusted, SLICE("X-Forwarded-For"), forward->client);
    if ((kept & 1u << FORWARDED_PROTO) == 0) {
        write_field(head, SLICE("X-Forwarded-Proto"), request->tls ? SLICE("https") : SLICE("http"));
    }
    if ((kept & 1u << FORWARDED_HOST) == 0 && request->authority.length > 0) {
        write_field(head, SLICE("X-Forwarded-Host"), request->authority);
    }
    write_field(head, SLICE("X-Request-Id"), forward->request_id);
    if (forward->over_limit.length > 0) {
        write_field(head, SLICE("x-weir-over-limit"), forward->over_limit);
    }
    /* Via says which version the message was received in, RFC 9110 §7.6.3. */
    write_list(head, survey, VIA, true, SLICE("Via"), request->http_1_0 ? SLICE("1.0 weir") : SLICE("1.1 weir"));
}

static void write_framing(struct text *head, const struct request *request)
{
    switch (request->body) {
    case REQUEST_NO_BODY:
        break;
    case REQUEST_LENGTH:
        text_literal(head, "Content-Length: ");
        text_number(head, request->content_length);
        text_literal(head, "\r\n");
        break;
    case REQUEST_CHUNKED:
        text_literal(head, "Transfer-Encoding: chunked\r\n");
        break;
    }
}

size_t forward_head(const struct forward *forward, char *out, size_t size)
{
    const struct request *request = forward->request;
    CHECK(request->field_count <= REQUEST_FIELDS_MAX);
    struct survey survey;
    survey_fields(&survey, forward);

    struct text head = text_over(out, size);
    text_slice(&head, request->method);
    text_literal(&head, " ");
    text_slice(&head, request->origin_form);
    text_literal(&head, " HTTP/1.1\r\n");
    write_field(&head, SLICE("Host"), request->authority.length > 0 ? request->authority : SLICE("localhost"));
    for (size_t i = 0; i < request->field_count; i++) {
        if (passes(&survey, i)) {
            write_field(&head, request->fields[i].name, request->fields[i].value);
        }
    }
    write_provenance(&head, &survey);
    if (forward->upgrade) { /* otherwise no Connection at all: staying open is what HTTP/1.1 does */
        write_field(&head, SLICE("Connection"), SLICE("upgrade"));
    }
    write_framing(&head, request);
    text_literal(&head, "\r\n");
    return head.cut ? 0 : text_length(&head);
}

bool forward_drops(const struct field *fields, size_t field_count, const struct field *field)
{
    static const struct slice framing[] = {
        { "content-length", 14 }, { "transfer-encoding", 17 }, { "connection", 10 }, { "keep-alive", 10 },
        { "trailer", 7 },         { "proxy-connection", 16 },  { "upgrade", 7 },
    };
    for (size_t i = 0; i < sizeof framing / sizeof *framing; i++) {
        if (slice_equals_nocase(field->name, framing[i])) {
            return true;
        }
    }
    return request_hop_by_hop(fields, field_count, field->name);
}
