/* id: request ids. ULIDs (48 bits of milliseconds, 80 random bits, Crockford base 32): they sort by time and collide never.
 * One generator per thread; the random part is not a secret. */
#ifndef WEIR_ID_H
#define WEIR_ID_H

#include <stdint.h>

#define ID_LENGTH 26

struct id_source {
    uint64_t state[2];
};

void id_source_init(struct id_source *source);                                            /* seeds from the kernel */
void id_make(struct id_source *source, uint64_t realtime_ms, char out[static ID_LENGTH]); /* no NUL */

#endif
