/* id: see id.h. The generator is xoroshiro128+ (Blackman and Vigna, 2018). */
#include "id.h"

#include "check.h"

#include <sys/random.h>

void id_source_init(struct id_source *source)
{
    ssize_t got = getrandom(source->state, sizeof source->state, 0);
    CHECK(got == (ssize_t)sizeof source->state);
    source->state[0] |= 1; /* all zero would stay zero */
}

static uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static uint64_t next(struct id_source *source)
{
    uint64_t a = source->state[0];
    uint64_t b = source->state[1];
    uint64_t result = a + b;
    b ^= a;
    source->state[0] = rotate(a, 24) ^ b ^ b << 16;
    source->state[1] = rotate(b, 37);
    return result;
}

void id_make(struct id_source *source, uint64_t realtime_ms, char out[static ID_LENGTH])
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    for (unsigned i = 0; i < 10; i++) { /* 50 bits, the first two are zero */
        out[i] = digits[realtime_ms >> (45 - 5 * i) & 31];
    }
    uint64_t high = next(source), low = next(source);
    for (unsigned i = 0; i < 8;
         i++) { /* 8 digits of 5 bits from each word: the upper bits, which are the better ones */
        out[10 + i] = digits[high >> (59 - 5 * i) & 31];
        out[18 + i] = digits[low >> (59 - 5 * i) & 31];
    }
}
