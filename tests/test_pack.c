/* SPDX-License-Identifier: MIT
 *
 * base/pack.c: goldens written out by hand from the format's definition, and round trips.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/dtype.h"
#include "base/pack.h"
#include "base/rng.h"
#include "tests/support.h"

static void test_row_golden(void **state)
{
    (void)state;
    /* Nibbles from the lowest hold columns 0 2 4 6 1 3 5 7. Columns 0..7 hold their own number in
     * the first word: nibbles 0 2 4 6 1 3 5 7, the word 0x75316420. */
    static const uint8_t codes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 15, 14, 13, 12, 11, 10, 9, 8};
    static const unsigned char words[8] = {0x20, 0x64, 0x31, 0x75, 0xDF, 0x9B, 0xCE, 0x8A};
    unsigned char packed[8];
    uint8_t back[16];
    paro_pack_row(packed, codes, 16);
    assert_memory_equal(packed, words, sizeof words);
    paro_unpack_row(back, words, 16);
    assert_memory_equal(back, codes, sizeof codes);
}

static void test_one_column_at_a_time(void **state)
{
    (void)state;
    static const int nibble_of_column[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    for (int column = 0; column < 8; column++) {
        uint8_t codes[8] = {0};
        codes[column] = 0xF;
        uint32_t word;
        paro_pack_row(&word, codes, 8);
        assert_int_equal(word, UINT32_C(0xF) << 4 * nibble_of_column[column]);
    }
}

static void test_qweight_golden(void **state)
{
    (void)state;
    /* codes [n_out = 8, n_in = 2]: input 0 sees 1..8 down the rows, input 1 sees 15..8. */
    static const uint8_t codes[16] = {1, 15, 2, 14, 3, 13, 4, 12, 5, 11, 6, 10, 7, 9, 8, 8};
    /* qweight [2, 1]: nibbles 1 3 5 7 2 4 6 8 and 15 13 11 9 14 12 10 8. */
    static const unsigned char golden[8] = {0x31, 0x75, 0x42, 0x86, 0xDF, 0x9B, 0xCE, 0x8A};
    unsigned char packed[8];
    uint8_t back[16];
    paro_pack_qweight(packed, codes, 8, 2);
    assert_memory_equal(packed, golden, sizeof golden);
    paro_unpack_qweight(back, golden, 8, 2);
    assert_memory_equal(back, codes, sizeof codes);

    paro_pack_qzeros(packed, codes, 8, 2);
    assert_memory_equal(packed, golden, sizeof golden);
    paro_unpack_qzeros(back, golden, 8, 2);
    assert_memory_equal(back, codes, sizeof codes);
}

static void test_scales_golden(void **state)
{
    (void)state;
    /* scales [n_out = 3, n_groups = 2] become F16 [2, 3]. */
    static const float scales[6] = {1, 2, 0.5F, -2, 0.25F, 65504};
    static const uint16_t golden[6] = {0x3C00, 0x3800, 0x3400, 0x4000, 0xC000, 0x7BFF};
    uint16_t packed[6];
    float back[6];
    paro_pack_scales(packed, scales, 3, 2);
    assert_memory_equal(packed, golden, sizeof golden);
    paro_unpack_scales(back, golden, 3, 2);
    assert_memory_equal(back, scales, sizeof scales);
}

static void test_round_trips_unaligned(void **state)
{
    (void)state;
    paro_rng rng;
    paro_rng_seed(&rng, 9);
    static const size_t shapes[][2] = {{8, 1}, {16, 3}, {64, 128}, {24, 7}, {128, 32}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        size_t n_out = shapes[s][0], n_in = shapes[s][1], n = n_out * n_in;
        uint8_t *codes = malloc(n), *back = malloc(n);
        unsigned char *packed = malloc(n / 2 + 3);
        float *scales = malloc(n * sizeof *scales), *scales_back = malloc(n * sizeof *scales);
        unsigned char *halves = malloc(2 * n + 1);
        assert_true(codes && back && packed && scales && scales_back && halves);
        for (size_t i = 0; i < n; i++) {
            codes[i] = (uint8_t)paro_rng_below(&rng, 16);
            scales[i] = paro_f32_from_f16((uint16_t)paro_rng_below(&rng, 0x7C00));
        }
        packed[n / 2 + 1] = 0x5A;
        paro_pack_qweight(packed + 1, codes, n_out, n_in);
        assert_int_equal(packed[n / 2 + 1], 0x5A);
        paro_unpack_qweight(back, packed + 1, n_out, n_in);
        assert_memory_equal(back, codes, n);

        /* Word [i, c] holds rows 8c .. 8c + 7 of column i: row by row it is what pack_row gives. */
        for (size_t i = 0; i < n_in; i++) {
            uint8_t column[128], row_back[128];
            for (size_t o = 0; o < n_out; o++)
                column[o] = codes[o * n_in + i];
            paro_unpack_row(row_back, packed + 1 + i * n_out / 2, n_out);
            assert_memory_equal(row_back, column, n_out);
        }

        paro_pack_scales(halves + 1, scales, n_out, n_in);
        paro_unpack_scales(scales_back, halves + 1, n_out, n_in);
        assert_memory_equal(scales_back, scales, n * sizeof *scales);
        free(codes), free(back), free(packed), free(scales), free(scales_back), free(halves);
    }
}

static void test_only_four_bits_are_packed(void **state)
{
    (void)state;
    /* A code that is too large may not spill into its neighbours. */
    uint8_t codes[8] = {0xF5, 0, 0, 0, 0, 0, 0, 0};
    uint32_t word;
    paro_pack_row(&word, codes, 8);
    assert_int_equal(word, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row_golden),
        cmocka_unit_test(test_one_column_at_a_time),
        cmocka_unit_test(test_qweight_golden),
        cmocka_unit_test(test_scales_golden),
        cmocka_unit_test(test_round_trips_unaligned),
        cmocka_unit_test(test_only_four_bits_are_packed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
