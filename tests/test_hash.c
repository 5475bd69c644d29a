/* SPDX-License-Identifier: MIT
 *
 * base/hash.c: SHA-256 against FIPS 180-4's examples, the table against a linear list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/rng.h"
#include "tests/support.h"

static void test_sha256_examples(void **state)
{
    (void)state;
    char hex[PARO_SHA256_HEX_BYTES];
    paro_sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    paro_sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    paro_sha256_hex(two_blocks, strlen(two_blocks), hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void test_mix_is_splitmix64s_finaliser(void **state)
{
    (void)state;
    /* The first outputs of splitmix64 from seed 0 (Vigna's splitmix64.c). */
    assert_true(paro_hash_mix(UINT64_C(0x9e3779b97f4a7c15)) == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(paro_hash_mix(UINT64_C(0x9e3779b97f4a7c15) * 2) == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(paro_hash_mix(0) == 0);
}

static void test_hash_tells_near_strings_apart(void **state)
{
    (void)state;
    /* Every string of up to 40 zero bytes, and every one-bit change of a 40-byte one. */
    uint64_t seen[1000];
    size_t n = 0;
    unsigned char bytes[40] = {0};
    for (size_t length = 0; length <= sizeof bytes; length++)
        seen[n++] = paro_hash_bytes(bytes, length);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1U << bit % 8);
        seen[n++] = paro_hash_bytes(bytes, sizeof bytes);
        bytes[bit / 8] ^= (unsigned char)(1U << bit % 8);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(seen[i] != seen[k]);
}

static void test_map_holds_many_keys(void **state)
{
    (void)state;
    enum { N = 20000 };
    static char keys[N][12];
    paro_map map = {0};
    uint32_t value = 77;
    assert_false(paro_map_get(&map, "x", 1, &value));
    for (uint32_t i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "key%u", i);
        bool was_there = true;
        assert_true(paro_map_put(&map, keys[i], strlen(keys[i]), i, &was_there));
        assert_false(was_there);
    }
    assert_int_equal(map.n_used, N);
    for (uint32_t i = 0; i < N; i++) {
        assert_true(paro_map_get(&map, keys[i], strlen(keys[i]), &value));
        assert_int_equal(value, i);
    }
    assert_false(paro_map_get(&map, "key", 3, &value));
    assert_false(paro_map_get(&map, "key20000", 8, &value));
    assert_int_equal(value, N - 1); /* untouched where there is none */
    assert_true(paro_map_get(&map, "key1", 4, NULL));

    bool was_there = false;
    assert_true(paro_map_put(&map, "key5", 4, 999, &was_there));
    assert_true(was_there);
    assert_int_equal(map.n_used, N);
    assert_true(paro_map_get(&map, "key5", 4, &value));
    assert_int_equal(value, 999);
    paro_map_free(&map);
    assert_null(map.slots);
    paro_map_free(&map);
    paro_map_free(NULL);
}

static void test_map_keys_are_bytes(void **state)
{
    (void)state;
    paro_map map = {0};
    uint32_t value;
    assert_true(paro_map_put(&map, "", 0, 1, NULL));
    assert_true(paro_map_put(&map, "a\0b", 3, 2, NULL));
    assert_true(paro_map_put(&map, "a\0c", 3, 3, NULL));
    assert_true(paro_map_put(&map, "a", 1, 4, NULL));
    assert_true(paro_map_get(&map, "", 0, &value));
    assert_int_equal(value, 1);
    assert_true(paro_map_get(&map, "a\0b", 3, &value));
    assert_int_equal(value, 2);
    assert_true(paro_map_get(&map, "a", 1, &value));
    assert_int_equal(value, 4);
    assert_false(paro_map_get(&map, "a\0", 2, &value));
    paro_map_free(&map);
}

static void test_map_reserve(void **state)
{
    (void)state;
    paro_map map = {0};
    assert_false(paro_map_reserve(&map, SIZE_MAX));
    assert_false(paro_map_reserve(&map, SIZE_MAX / 8));
    assert_null(map.slots);
    assert_true(paro_map_reserve(&map, 1000));
    const paro_map_slot *slots = map.slots;
    char keys[1000][8];
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(keys[i], sizeof keys[i], "%u", i);
        assert_true(paro_map_put(&map, keys[i], strlen(keys[i]), i, NULL));
    }
    assert_ptr_equal(map.slots, slots); /* no growing after all */
    paro_map_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_examples),
        cmocka_unit_test(test_mix_is_splitmix64s_finaliser),
        cmocka_unit_test(test_hash_tells_near_strings_apart),
        cmocka_unit_test(test_map_holds_many_keys),
        cmocka_unit_test(test_map_keys_are_bytes),
        cmocka_unit_test(test_map_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
