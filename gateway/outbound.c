/* outbound: see outbound.h. */
#include "outbound.h"

#include <stdio.h>
#include <stdlib.h>

#define BODY_PARTS 3 /* a chunk's size line, bytes, CRLF */

void outbound_init(struct outbound *outbound, const struct upstream_request *request)
{
    *outbound = (struct outbound){ .request = *request,
                                   .left = request->content_length,
                                   .finished = request->body == REQUEST_NO_BODY };
}

static void free_kept(struct outbound *outbound)
{
    free(outbound->kept);
    outbound->kept = NULL;
    outbound->kept_length = outbound->kept_size = 0;
}

void outbound_fini(struct outbound *outbound)
{
    free_kept(outbound);
}

static bool keep(struct outbound *outbound, const struct slice *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t needed = outbound->kept_length + parts[i].length;
        if (needed > outbound->kept_size) {
            size_t size = needed > 2 * outbound->kept_size ? needed : 2 * outbound->kept_size;
            char *kept = realloc(outbound->kept, size);
            if (kept == NULL) {
                return false;
            }
            outbound->kept = kept;
            outbound->kept_size = size;
        }
        memcpy(outbound->kept + outbound->kept_length, parts[i].at, parts[i].length);
        outbound->kept_length = needed;
    }
    return true;
}

static enum outbound_result write_parts(struct outbound *outbound, struct uplink *uplink, const struct slice *body,
                                        size_t count)
{
    struct slice parts[2 + BODY_PARTS];
    size_t n = 0;
    if (!outbound->head_written) {
        parts[n++] = outbound->request.head;
        if (outbound->kept_length > 0) {
            parts[n++] = (struct slice){ outbound->kept, outbound->kept_length };
        }
        outbound->head_written = true;
        http_expect(uplink->parser, outbound->request.head_method, outbound->request.upgrade);
    }
    for (size_t i = 0; i < count; i++) {
        parts[n++] = body[i];
    }
    switch (uplink_write(uplink, parts, n)) {
    case UPLINK_WRITTEN:
        free_kept(outbound);
        return OUTBOUND_FINE;
    case UPLINK_BROKEN:
        return uplink->sent > 0 || keep(outbound, body, count) ? OUTBOUND_BROKEN : OUTBOUND_NO_MEMORY;
    case UPLINK_NO_MEMORY:
        break;
    }
    return OUTBOUND_NO_MEMORY;
}

static enum outbound_result give_parts(struct outbound *outbound, struct uplink *uplink, const struct slice *body,
                                       size_t count)
{
    if (uplink != NULL) {
        return write_parts(outbound, uplink, body, count);
    }
    return keep(outbound, body, count) ? OUTBOUND_FINE : OUTBOUND_NO_MEMORY;
}

static enum outbound_result give_chunk(struct outbound *outbound, struct uplink *uplink, const char *data,
                                       size_t length)
{
    char size[sizeof("ffffffffffffffff\r\n")];
    int digits = snprintf(size, sizeof size, "%zx\r\n", length);
    struct slice chunk[BODY_PARTS] = { { size, (size_t)digits }, { data, length }, SLICE("\r\n") };
    return give_parts(outbound, uplink, chunk, BODY_PARTS);
}

enum outbound_result outbound_give(struct outbound *outbound, struct uplink *uplink, const char *data, size_t length)
{
    if (length == 0) { /* as a chunk it would end the body */
        return OUTBOUND_FINE;
    }
    bool chunked = outbound->request.body == REQUEST_CHUNKED;
    if (COUNT_IF(outbound->finished || (!chunked && !outbound->raw && length > outbound->left))) {
        return OUTBOUND_WRONG_LENGTH;
    }
    outbound->given = true;
    if (chunked) {
        return give_chunk(outbound, uplink, data, length);
    }
    outbound->left -= outbound->raw ? 0 : length;
    struct slice part = { data, length };
    return give_parts(outbound, uplink, &part, 1);
}

enum outbound_result outbound_finish(struct outbound *outbound, struct uplink *uplink)
{
    const struct slice last_chunk = SLICE("0\r\n\r\n");
    outbound->finished = true;
    if (outbound->raw) {
        uplink_finish(uplink);
        return OUTBOUND_FINE;
    }
    if (outbound->request.body == REQUEST_CHUNKED) {
        return give_parts(outbound, uplink, &last_chunk, 1);
    }
    if (COUNT_IF(outbound->left > 0)) {
        return OUTBOUND_WRONG_LENGTH;
    }
    return uplink != NULL ? outbound_flush(outbound, uplink) : OUTBOUND_FINE; /* no body came to go with the head */
}

enum outbound_result outbound_flush(struct outbound *outbound, struct uplink *uplink)
{
    return outbound->head_written ? OUTBOUND_FINE : write_parts(outbound, uplink, NULL, 0);
}

void outbound_switch(struct outbound *outbound)
{
    CHECK(outbound->request.upgrade && outbound->request.body == REQUEST_NO_BODY);
    outbound->raw = true;
    outbound->finished = false;
}

void outbound_restart(struct outbound *outbound)
{
    outbound->head_written = false;
}

size_t outbound_queued(const struct outbound *outbound, struct uplink *uplink)
{
    return uplink != NULL ? uplink_queued(uplink) : outbound->kept_length;
}
