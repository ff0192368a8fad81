/* Who a key is: SipHash-2-4 as published, and what of a limit and a key goes into it. */
#include "digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* The reference implementation's vectors: secret 00 01 … 0f; input 00 01 … of length 0, 1, … 63. */
static const uint64_t vectors[64] = {
    0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d, 0xcf2794e0277187b7,
    0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137, 0x93f5f5799a932462, 0x9e0082df0ba9e4b0,
    0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7, 0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee,
    0xa129ca6149be45e5, 0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
    0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8, 0xb8ad50c6f649af94,
    0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad, 0xde4daaaca71dc9a5, 0xa6a2506687956571,
    0xad87a3535c49ef28, 0x32d892fad841c342, 0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238,
    0x15e034d40fa197ae, 0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
    0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95, 0xf935451de4f21df2,
    0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb, 0xe612a3cb9ecba951, 0xc766e62cfcadaf96,
    0xee64435a9752fe72, 0xa192d576b245165a, 0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea,
    0x245731c13ca42499, 0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
    0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
};
static const uint8_t secret[DIGEST_SECRET_SIZE] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

static void test_all_64_vectors_of_the_reference_implementation(void **state)
{
    (void)state;
    const struct digest start = digest_start(secret);
    uint8_t input[64 + 7];
    for (size_t shift = 0; shift < 8; shift++) { /* at every alignment */
        for (size_t i = 0; i < 64; i++) {
            input[shift + i] = (uint8_t)i;
        }
        for (size_t length = 0; length < 64; length++) {
            assert_true(digest_of(&start, input + shift, length) == vectors[length]);
        }
    }
}

static void test_a_limits_name_is_hashed_as_length_name_and_zeros(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *input;
        size_t length;
    } cases[] = {
        { "",
          "\0\0\0\0\0\0\0\0"
          "key",
          11 },
        { "abc",
          "\3\0\0\0\0\0\0\0"
          "abc\0\0\0\0\0"
          "key",
          19 },
        { "abcdefgh",
          "\10\0\0\0\0\0\0\0"
          "abcdefgh"
          "key",
          19 },
        { "abcdefghi",
          "\11\0\0\0\0\0\0\0"
          "abcdefghi\0\0\0\0\0\0\0"
          "key",
          27 },
    };
    const struct digest plain = digest_start(secret);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct digest limit = digest_of_limit(secret, cases[i].name);
        assert_true(digest_of(&limit, "key", 3) == digest_of(&plain, cases[i].input, cases[i].length));
    }
}

static void test_what_looks_alike_is_not_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *name, *key;
        size_t length;
    } cases[] = {
        { "limit", "key", 3 },
        { "limi", "tkey", 4 },
        { "limit", "key\0", 4 },
        { "limit", "", 0 },
        { "limit", "\0", 1 },
        { "", "limitkey", 8 },
        { "limits", "key", 3 },
        { "limit", "KEY", 3 },
        { "limit", "key\0\0\0\0\0", 8 },
        { "limit", "\0\0\0\0\0\0\0\0", 8 },
    };
    enum { CASES = sizeof cases / sizeof cases[0] };
    uint64_t digests[CASES];
    for (size_t i = 0; i < CASES; i++) {
        const struct digest limit = digest_of_limit(secret, cases[i].name);
        digests[i] = digest_of(&limit, cases[i].key, cases[i].length);
        for (size_t k = 0; k < i; k++) {
            assert_true(digests[i] != digests[k]);
        }
    }
}

static void test_another_secret_is_another_digest(void **state)
{
    (void)state;
    const struct digest one = digest_of_limit(secret, "limit");
    const uint64_t digest = digest_of(&one, "key", 3);
    for (size_t byte = 0; byte < DIGEST_SECRET_SIZE; byte++) {
        uint8_t other[DIGEST_SECRET_SIZE];
        memcpy(other, secret, sizeof other);
        other[byte] ^= 1;
        const struct digest two = digest_of_limit(other, "limit");
        assert_true(digest_of(&two, "key", 3) != digest);
    }
}

/* SipHash backwards, to make an input whose hash is 0: no honest input is known. */
static uint64_t rotate_right(uint64_t x, int bits)
{
    return x >> bits | x << (64 - bits);
}

static void unround(uint64_t v[4])
{
    v[2] = rotate_right(v[2], 32);
    v[1] = rotate_right(v[1] ^ v[2], 17);
    v[2] -= v[1];
    v[3] = rotate_right(v[3] ^ v[0], 21);
    v[0] -= v[3];
    v[0] = rotate_right(v[0], 32);
    v[3] = rotate_right(v[3] ^ v[2], 16);
    v[2] -= v[3];
    v[1] = rotate_right(v[1] ^ v[0], 13);
    v[0] -= v[1];
}

static void test_a_digest_is_never_0(void **state)
{
    (void)state;
    /* given a start from which the empty key hashes to 0: an end state that sums to 0, wound back */
    struct digest start = { .v = { 1, 2, 4, 7 } };
    for (int i = 0; i < 4; i++) {
        unround(start.v);
    }
    start.v[2] ^= 0xff;
    const uint64_t last = 0; /* no bytes, and a length of 0 modulo 256 */
    start.v[0] ^= last;
    unround(start.v);
    unround(start.v);
    start.v[3] ^= last;
    /* then it is 1 instead */
    assert_int_equal(digest_of(&start, "", 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_64_vectors_of_the_reference_implementation),
        cmocka_unit_test(test_a_limits_name_is_hashed_as_length_name_and_zeros),
        cmocka_unit_test(test_what_looks_alike_is_not_the_same),
        cmocka_unit_test(test_another_secret_is_another_digest),
        cmocka_unit_test(test_a_digest_is_never_0),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
