/* head: a request head written as text, as the front would hand it over: "GET /x HTTP/1.1\nHost: gw.test\nA: b".
 *
 * For tests and fuzz targets of what reads requests. It judges nothing: the first line is cut at its first and its
 * last blank, every other one at its first colon, values lose the blanks around them. Every slice, and the scratch,
 * is a block of exactly its own size, so that AddressSanitizer sees the first byte that is read or written beside it.
 */
#ifndef WEIR_TESTS_HEAD_H
#define WEIR_TESTS_HEAD_H

#include "request.h"

#include <stdlib.h>

struct head {
    struct request request;
    char *scratch;
    size_t scratch_size;
    void *blocks[2 * REQUEST_FIELDS_MAX + 4];
    size_t block_count;
};

static inline struct slice head_copy(struct head *head, struct slice text)
{
    char *block = malloc(text.length);
    if (text.length > 0) {
        memcpy(block, text.at, text.length);
    }
    head->blocks[head->block_count++] = block;
    return (struct slice){ block, text.length };
}

static inline void head_line(struct head *head, struct slice line)
{
    const char *end = line.at + line.length;
    const char *colon = line.length > 0 ? memchr(line.at, ':', line.length) : NULL;
    struct slice name = { line.at, colon != NULL ? (size_t)(colon - line.at) : line.length };
    struct slice value = { end, 0 };
    if (colon != NULL) {
        value = slice_trim((struct slice){ colon + 1, (size_t)(end - colon) - 1 });
    }
    head->request.fields[head->request.field_count++] = (struct field){ head_copy(head, name), head_copy(head, value) };
}

static inline void head_first_line(struct head *head, struct slice line)
{
    const char *first = line.length > 0 ? memchr(line.at, ' ', line.length) : NULL;
    const char *last = line.length > 0 ? memrchr(line.at, ' ', line.length) : NULL;
    size_t method = first != NULL ? (size_t)(first - line.at) : line.length;
    size_t version = last != NULL ? (size_t)(last - line.at) + 1 : line.length;
    size_t target = method + 1 < version ? method + 1 : version;
    size_t target_length = version > target ? version - target - 1 : 0;
    head->request.method = head_copy(head, (struct slice){ line.at, method });
    head->request.target = head_copy(head, (struct slice){ line.at + target, target_length });
    head->request.version = head_copy(head, (struct slice){ line.at + version, line.length - version });
}

/* The scratch is as large as request.h says is always enough. The peer is 203.0.113.7. */
static inline struct head *head_of_bytes(const char *bytes, size_t length)
{
    static const uint8_t peer[16] = { [10] = 0xff, 0xff, 203, 0, 113, 7 };
    struct head *head = calloc(1, sizeof *head);
    memcpy(head->request.peer.bytes, peer, sizeof peer);
    bool first = true;
    while (length > 0 && head->request.field_count < REQUEST_FIELDS_MAX) {
        const char *end = memchr(bytes, '\n', length);
        struct slice line = { bytes, end != NULL ? (size_t)(end - bytes) : length };
        if (first) {
            head_first_line(head, line);
        } else {
            head_line(head, line);
        }
        first = false;
        length -= line.length + (end != NULL);
        bytes += line.length + (end != NULL);
    }
    const struct field *host = request_field(&head->request, SLICE("host"));
    head->scratch_size = head->request.target.length + (host != NULL ? host->value.length : 0) + 2;
    head->scratch = malloc(head->scratch_size);
    head->blocks[head->block_count++] = head->scratch;
    return head;
}

static inline struct head *head_of(const char *text)
{
    return head_of_bytes(text, strlen(text));
}

static inline struct request_problem head_check(struct head *head)
{
    return request_check(&head->request, head->scratch, head->scratch_size);
}

static inline void head_free(struct head **head)
{
    for (size_t i = 0; i < (*head)->block_count; i++) {
        free((*head)->blocks[i]);
    }
    free(*head);
    *head = NULL;
}

#endif
