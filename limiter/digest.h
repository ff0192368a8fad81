/* digest: who a key is, in 64 bits.
 *
 * SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) under a secret that the gateway draws:
 * a stranger can neither aim many keys at one set of a table nor make two keys collide. 64 bits keep 10^7 live keys
 * apart (the chance that any two of them share a digest is 3 in 10^6), so tables store digests and no keys.
 *
 * What is hashed: the length of the limit's name as 8 bytes, the name, zeros up to a multiple of 8, the key. The first
 * three are absorbed once per limit; a key costs only its own bytes.
 */
#ifndef WEIR_DIGEST_H
#define WEIR_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_SECRET_SIZE 16

/* SipHash's state after a whole number of 8-byte words. */
struct digest {
    uint64_t v[4];
    uint64_t absorbed; /* bytes so far */
};

/* Nothing absorbed yet: digest_of() this is plain SipHash-2-4. */
struct digest digest_start(const uint8_t secret[DIGEST_SECRET_SIZE]);
/* The start for all keys of the limit `name`. */
struct digest digest_of_limit(const uint8_t secret[DIGEST_SECRET_SIZE], const char *name);

/* Never 0: 0 is nobody's key in a cell. */
uint64_t digest_of(const struct digest *start, const void *key, size_t length);

#endif
