/* spool: the part of an answer's body that has come from the upstream and not yet left to the client. One thread. */
#ifndef WEIR_SPOOL_H
#define WEIR_SPOOL_H

#include "check.h"

#include <stddef.h>

#define SPOOL_HIGH (256 * 1024)     /* more than this waiting: the upstream is not read */
#define SPOOL_LOW  (SPOOL_HIGH / 2) /* less than this: it is read again */

struct spool {
    char *bytes; /* [start, start + length) waits */
    size_t start, length, size;
};

MUST_CHECK bool spool_append(struct spool *spool, const char *data, size_t length); /* false: no memory */
size_t spool_take(struct spool *spool, char *out, size_t size);                     /* 0: empty */
/* The bytes, malloc'd, for the caller to free; the spool is empty then. Only before anything was taken. NULL when it is empty. */
char *spool_release(struct spool *spool);
void spool_fini(struct spool *spool);

#endif
