/* origin: a scripted server on the test's own loop: what each of its connections reads and says, act by act. For
 * tests of upstreams. */
#ifndef TEST_ORIGIN_H
#define TEST_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum act_kind {
    ACT_END,   /* nothing more, but the connection stays open and read */
    ACT_HEAD,  /* reads up to and including an empty line */
    ACT_READ,  /* reads `bytes` more */
    ACT_SAY,   /* writes `text` */
    ACT_FLOOD, /* writes `bytes` bytes of the pattern */
    ACT_CLOSE, /* ends the connection in order */
    ACT_RESET, /* and by a reset */
    ACT_DEAF,  /* reads nothing more, until origin_listen() */
    ACT_AGAIN, /* from the first act */
};

struct act {
    enum act_kind kind;
    const char *text;
    size_t bytes;
};
#define HEAD                                                                                                           \
    {                                                                                                                  \
        .kind = ACT_HEAD                                                                                               \
    }
#define READ(n)                                                                                                        \
    {                                                                                                                  \
        .kind = ACT_READ, .bytes = (n)                                                                                 \
    }
#define SAY(t)                                                                                                         \
    {                                                                                                                  \
        .kind = ACT_SAY, .text = (t)                                                                                   \
    }
#define FLOOD(n)                                                                                                       \
    {                                                                                                                  \
        .kind = ACT_FLOOD, .bytes = (n)                                                                                \
    }
#define CLOSE                                                                                                          \
    {                                                                                                                  \
        .kind = ACT_CLOSE                                                                                              \
    }
#define RESET                                                                                                          \
    {                                                                                                                  \
        .kind = ACT_RESET                                                                                              \
    }
#define DEAF                                                                                                           \
    {                                                                                                                  \
        .kind = ACT_DEAF                                                                                               \
    }
#define AGAIN                                                                                                          \
    {                                                                                                                  \
        .kind = ACT_AGAIN                                                                                              \
    }
#define SCRIPT(...) ((const struct act[]){ __VA_ARGS__, { .kind = ACT_END } })

#define ORIGIN_CONNECTIONS 16

struct origin_text {
    char *bytes; /* and a NUL */
    size_t length, size;
};

struct origin;

struct origin_connection {
    struct origin *origin;
    uv_tcp_t tcp;
    const struct act *script, *act;
    struct origin_text inbox; /* read, not yet consumed by an act */
    bool open, deaf;
};

struct origin {
    uv_tcp_t listener;
    uint16_t port;
    const struct act
        *scripts[ORIGIN_CONNECTIONS]; /* of the first, second … connection; the last given is also that of later ones */
    size_t script_count;
    struct origin_connection connections[ORIGIN_CONNECTIONS];
    size_t accepted, heads;
    struct origin_text seen; /* all bytes read, of all connections */
    bool open;
};

#define ORIGIN_PERIOD 23 /* no power of two: a block lost or doubled shows */
static inline char origin_pattern(size_t at)
{
    return (char)('a' + at % ORIGIN_PERIOD);
}

static inline void origin_step(struct origin_connection *c);

static inline void origin_on_closed(uv_handle_t *handle)
{
    struct origin_connection *c = handle->data;
    free(c->inbox.bytes);
    c->inbox = (struct origin_text){ 0 };
}

static inline void origin_hang_up(struct origin_connection *c, bool reset)
{
    if (c->open) {
        c->open = false;
        if (reset) {
            uv_tcp_close_reset(&c->tcp, origin_on_closed);
        } else {
            uv_close((uv_handle_t *)&c->tcp, origin_on_closed);
        }
    }
}

static inline void origin_on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    static char bytes[64 * 1024];
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(bytes, sizeof bytes);
}

static inline void origin_append(struct origin_text *text, const char *bytes, size_t length)
{
    if (text->length + length >= text->size) {
        text->size = 2 * (text->length + length + 1);
        text->bytes = realloc(text->bytes, text->size);
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

static inline void origin_on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct origin_connection *c = stream->data;
    if (length < 0) {
        origin_hang_up(c, false);
    } else if (length > 0) {
        origin_append(&c->origin->seen, buffer->base, (size_t)length);
        origin_append(&c->inbox, buffer->base, (size_t)length);
        origin_step(c);
    }
}

struct origin_write {
    uv_write_t write;
    char bytes[];
};

static inline void origin_on_written(uv_write_t *write, int status)
{
    (void)status;
    free(write->data);
}

/* `text` NULL: the pattern. */
static inline void origin_say(struct origin_connection *c, const char *text, size_t length)
{
    struct origin_write *w = malloc(sizeof *w + length);
    for (size_t i = 0; i < length; i++) {
        w->bytes[i] = text != NULL ? text[i] : i < ORIGIN_PERIOD ? (char)('a' + i) : w->bytes[i - ORIGIN_PERIOD];
    }
    w->write.data = w;
    uv_buf_t buffer = uv_buf_init(w->bytes, (unsigned)length);
    uv_write(&w->write, (uv_stream_t *)&c->tcp, &buffer, 1, origin_on_written);
}

static inline void origin_consume(struct origin_connection *c, size_t count)
{
    c->inbox.length -= count;
    memmove(c->inbox.bytes, c->inbox.bytes + count, c->inbox.length + 1);
}

/* True when the act is over and the next one may begin. */
static inline bool origin_play(struct origin_connection *c)
{
    const char *end;
    switch (c->act->kind) {
    case ACT_HEAD:
        end = c->inbox.bytes != NULL ? strstr(c->inbox.bytes, "\r\n\r\n") : NULL;
        if (!end) {
            return false;
        }
        c->origin->heads++;
        origin_consume(c, (size_t)(end - c->inbox.bytes) + 4);
        return true;
    case ACT_READ:
        if (c->inbox.length < c->act->bytes) {
            return false;
        }
        origin_consume(c, c->act->bytes);
        return true;
    case ACT_SAY:
        origin_say(c, c->act->text, strlen(c->act->text));
        return true;
    case ACT_FLOOD:
        origin_say(c, NULL, c->act->bytes);
        return true;
    case ACT_CLOSE:
    case ACT_RESET:
        origin_hang_up(c, c->act->kind == ACT_RESET);
        return false;
    case ACT_DEAF:
        c->deaf = true;
        uv_read_stop((uv_stream_t *)&c->tcp);
        return true;
    case ACT_AGAIN:
    case ACT_END:
        break;
    }
    return false;
}

static inline void origin_step(struct origin_connection *c)
{
    while (c->open && origin_play(c)) {
        c->act++;
        if (c->act->kind == ACT_AGAIN) {
            c->act = c->script;
        }
    }
}

static inline void origin_listen(struct origin_connection *c)
{
    c->deaf = false;
    uv_read_start((uv_stream_t *)&c->tcp, origin_on_room, origin_on_read);
}

static inline void origin_on_connection(uv_stream_t *listener, int status)
{
    struct origin *o = listener->data;
    if (status != 0 || o->accepted == ORIGIN_CONNECTIONS) {
        abort();
    }
    struct origin_connection *c = &o->connections[o->accepted];
    size_t script = o->accepted < o->script_count ? o->accepted : o->script_count - 1;
    *c = (struct origin_connection){
        .origin = o, .script = o->scripts[script], .act = o->scripts[script], .open = true
    };
    o->accepted++;
    uv_tcp_init(listener->loop, &c->tcp);
    c->tcp.data = c;
    uv_accept(listener, (uv_stream_t *)&c->tcp);
    origin_listen(c);
    origin_step(c);
}

static inline void origin_start(struct origin *o, uv_loop_t *loop, const struct act *script)
{
    memset(o, 0, sizeof *o);
    o->scripts[o->script_count++] = script;
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(loop, &o->listener);
    o->listener.data = o;
    int length = sizeof address;
    if (uv_tcp_bind(&o->listener, (struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&o->listener, 128, origin_on_connection) != 0 ||
        uv_tcp_getsockname(&o->listener, (struct sockaddr *)&address, &length) != 0) {
        abort();
    }
    o->port = ntohs(address.sin_port);
    o->open = true;
}

static inline void origin_then(struct origin *o, const struct act *script)
{
    o->scripts[o->script_count++] = script;
}

/* Refuses connections from now on; those there are stay. */
static inline void origin_refuse(struct origin *o)
{
    if (o->open) {
        o->open = false;
        uv_close((uv_handle_t *)&o->listener, NULL);
    }
}

static inline size_t origin_connected(const struct origin *o)
{
    size_t count = 0;
    for (size_t i = 0; i < o->accepted; i++) {
        count += o->connections[i].open;
    }
    return count;
}

static inline void origin_stop(struct origin *o)
{
    origin_refuse(o);
    for (size_t i = 0; i < o->accepted; i++) {
        origin_hang_up(&o->connections[i], false);
    }
}

/* After the loop has closed its handles. */
static inline void origin_free(struct origin *o)
{
    free(o->seen.bytes);
    o->seen = (struct origin_text){ 0 };
}

#endif
