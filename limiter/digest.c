/* digest: SipHash-2-4, the 64-bit flavour. The unit test runs all 64 vectors of the reference implementation. */
#include "digest.h"

#include <string.h>

static inline uint64_t rotate_left(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

/* Byte by byte, so that any alignment and either byte order will do; compilers make one load of it. */
static inline uint64_t little_endian(const uint8_t *bytes)
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) {
        word |= (uint64_t)bytes[i] << (8 * i);
    }
    return word;
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate_left(v[1], 13) ^ v[0];
    v[0] = rotate_left(v[0], 32);
    v[2] += v[3];
    v[3] = rotate_left(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate_left(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate_left(v[1], 17) ^ v[2];
    v[2] = rotate_left(v[2], 32);
}

static inline void absorb(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

struct digest digest_start(const uint8_t secret[DIGEST_SECRET_SIZE])
{
    const uint64_t k0 = little_endian(secret), k1 = little_endian(secret + 8);
    /* "somepseudorandomlygeneratedbytes", as the paper has it */
    return (struct digest){
        .v = { k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573 },
    };
}

struct digest digest_of_limit(const uint8_t secret[DIGEST_SECRET_SIZE], const char *name)
{
    struct digest digest = digest_start(secret);
    const size_t length = strlen(name);
    absorb(digest.v, length);
    digest.absorbed = 8;
    for (size_t done = 0; done < length; done += 8) {
        uint8_t padded[8] = { 0 };
        memcpy(padded, name + done, length - done < 8 ? length - done : 8);
        absorb(digest.v, little_endian(padded));
        digest.absorbed += 8;
    }
    return digest;
}

uint64_t digest_of(const struct digest *start, const void *key, size_t length)
{
    uint64_t v[4] = { start->v[0], start->v[1], start->v[2], start->v[3] };
    const uint8_t *bytes = key;
    size_t left = length;
    for (; left >= 8; left -= 8, bytes += 8) {
        absorb(v, little_endian(bytes));
    }
    uint64_t last = (start->absorbed + length) << 56; /* SipHash ends with the length of all input, modulo 256 */
    for (size_t i = 0; i < left; i++) {
        last |= (uint64_t)bytes[i] << (8 * i);
    }
    absorb(v, last);
    v[2] ^= 0xff;
    for (int round = 0; round < 4; round++) {
        sip_round(v);
    }
    const uint64_t digest = v[0] ^ v[1] ^ v[2] ^ v[3];
    return digest != 0 ? digest : 1;
}
