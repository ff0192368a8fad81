/* wire: however the bytes of a client are cut into reads, the same bytes pass; never more than came, but for the two of a
 * refusal, after which nothing of the client's does; and what has passed once passes again as it is.
 *
 * Input: what a client sends.
 */
#include "wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REFUSAL 2

/* Reads `size` bytes in pieces of `piece`; what passes is appended to `out`. Each read is a block of exactly its own size. */
static size_t pass(const uint8_t *data, size_t size, size_t piece, char *out)
{
    struct wire wire = { 0 };
    size_t length = 0;
    for (size_t at = 0; at < size; at += piece) {
        size_t count = size - at < piece ? size - at : piece;
        char *read = malloc(count + REFUSAL);
        memcpy(read, data + at, count);
        size_t left = wire_pass(&wire, read, count, count + REFUSAL);
        CHECK(left <= count + REFUSAL);
        memcpy(out + length, read, left);
        length += left;
        free(read);
        if (left > count || (left >= REFUSAL && memcmp(out + length - REFUSAL, "\r!", REFUSAL) == 0)) {
            break; /* refused, or (the client's own "\r!") as good as */
        }
    }
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t room = size + REFUSAL + 1;
    char *whole = malloc(room), *other = malloc(room);
    size_t length = pass(data, size, size + 1, whole);
    CHECK(length <= size + REFUSAL);
    bool refused = length >= REFUSAL && memcmp(whole + length - REFUSAL, "\r!", REFUSAL) == 0;
    for (size_t piece = 1; piece < 12; piece += 2) {
        size_t cut = pass(data, size, piece, other);
        if (!refused && memmem(data, size, "\r!", REFUSAL) == NULL) {
            CHECK(cut == length && memcmp(whole, other, length) == 0);
        }
    }
    if (!refused) { /* there is nothing left to take out */
        size_t again = pass((const uint8_t *)whole, length, length + 1, other);
        CHECK(again == length && memcmp(whole, other, length) == 0);
    }
    free(whole);
    free(other);
    return 0;
}
