/* spool: see spool.h. A plain buffer, moved to its start before it grows: it is emptied nearly always at once. */
#include "spool.h"

#include <stdlib.h>
#include <string.h>

bool spool_append(struct spool *spool, const char *data, size_t length)
{
    if (spool->start + spool->length + length > spool->size) {
        if (spool->start > 0) {
            memmove(spool->bytes, spool->bytes + spool->start, spool->length);
            spool->start = 0;
        }
        size_t need = spool->length + length;
        if (need > spool->size) {
            char *grown = realloc(spool->bytes, need);
            if (grown == NULL) {
                return false;
            }
            spool->bytes = grown;
            spool->size = need;
        }
    }
    memcpy(spool->bytes + spool->start + spool->length, data, length);
    spool->length += length;
    return true;
}

size_t spool_take(struct spool *spool, char *out, size_t size)
{
    size_t length = spool->length < size ? spool->length : size;
    if (length == 0) {
        return 0;
    }
    memcpy(out, spool->bytes + spool->start, length);
    spool->start += length;
    spool->length -= length;
    if (spool->length == 0) {
        spool->start = 0;
    }
    return length;
}

char *spool_release(struct spool *spool)
{
    CHECK(spool->start == 0);
    char *bytes = spool->bytes;
    *spool = (struct spool){ 0 };
    return bytes;
}

void spool_fini(struct spool *spool)
{
    free(spool->bytes);
    *spool = (struct spool){ 0 };
}
