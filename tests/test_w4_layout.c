/* SPDX-License-Identifier: MIT
 *
 * families/w4_layout: rows come back from every layout; awq is the checkpoint's layout; mma16 is
 * what the fragments of m16n8k16 want; padding is zero.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/pack.h"
#include "base/rng.h"
#include "families/w4_layout.h"
#include "tests/support.h"

static const paro_w4_shape shapes[] = {
    {.n = 8, .k = 32, .group = 32, .parts = {8}, .n_parts = 1},
    {.n = 16, .k = 64, .group = 64, .parts = {16}, .n_parts = 1},
    {.n = 24, .k = 96, .group = 32, .parts = {24}, .n_parts = 1},
    {.n = 72, .k = 160, .group = 32, .parts = {8, 40, 24}, .n_parts = 3},
    {.n = 48, .k = 192, .group = 64, .parts = {24, 24}, .n_parts = 2},
    {.n = 56, .k = 384, .group = 128, .parts = {40, 16}, .n_parts = 2},
    {.n = 40, .k = 512, .group = 256, .parts = {16, 16, 8}, .n_parts = 3},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

typedef struct weight {
    uint8_t *codes, *zeros;
    uint16_t *scales;
    uint32_t *packed_codes;
    void *packed_zeros;
    uint16_t *packed_scales;
    paro_w4_sizes sizes;
    size_t n_groups; /* of a row */
} weight;

static weight weight_new(const paro_w4_shape *shape, paro_w4_layout layout, uint64_t seed)
{
    weight w = {.n_groups = shape->k / shape->group};
    size_t n_codes = (size_t)shape->n * shape->k, n_groups = shape->n * w.n_groups;
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    w.codes = malloc(n_codes);
    w.zeros = malloc(n_groups);
    w.scales = malloc(n_groups * sizeof *w.scales);
    for (size_t i = 0; i < n_codes; i++)
        w.codes[i] = (uint8_t)paro_rng_below(&rng, 16);
    for (size_t i = 0; i < n_groups; i++) {
        w.zeros[i] = (uint8_t)paro_rng_below(&rng, 16);
        w.scales[i] = (uint16_t)(1 + paro_rng_below(&rng, 0x7bff));
    }
    paro_w4_sizes_of(shape, layout, &w.sizes);
    w.packed_codes = malloc(w.sizes.n_codes * sizeof *w.packed_codes);
    w.packed_zeros = malloc(w.sizes.n_zeros * paro_dtype_bytes(w.sizes.zeros_dtype));
    w.packed_scales = malloc(w.sizes.n_scales * sizeof *w.packed_scales);
    paro_w4_pack(shape, layout, w.codes, w.zeros, w.scales, w.packed_codes, w.packed_zeros,
                 w.packed_scales);
    return w;
}

static void weight_release(weight *w)
{
    free(w->codes);
    free(w->zeros);
    free(w->scales);
    free(w->packed_codes);
    free(w->packed_zeros);
    free(w->packed_scales);
}

static void rows_come_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        for (int layout = 0; paro_w4_layout_names[layout] != NULL; layout++) {
            const paro_w4_shape *shape = &shapes[i];
            weight w = weight_new(shape, (paro_w4_layout)layout, i);
            uint8_t *codes = malloc(shape->k), *zeros = malloc(w.n_groups);
            uint16_t *scales = malloc(w.n_groups * sizeof *scales);
            for (uint32_t row = 0; row < shape->n; row++) {
                paro_w4_unpack_row(shape, (paro_w4_layout)layout, w.packed_codes, w.packed_zeros,
                                   w.packed_scales, row, codes, zeros, scales);
                assert_memory_equal(codes, w.codes + (size_t)row * shape->k, shape->k);
                assert_memory_equal(zeros, w.zeros + row * w.n_groups, w.n_groups);
                assert_memory_equal(scales, w.scales + row * w.n_groups, 2 * w.n_groups);
            }
            free(codes);
            free(zeros);
            free(scales);
            weight_release(&w);
        }
    }
}

/* Parts side by side are one checkpoint tensor of all rows. */
static void awq_is_the_checkpoints_layout(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        const paro_w4_shape *shape = &shapes[i];
        weight w = weight_new(shape, PARO_W4_LAYOUT_AWQ, 100 + i);
        uint8_t *codes = malloc((size_t)shape->n * shape->k);
        uint8_t *zeros = malloc(shape->n * w.n_groups);
        paro_unpack_qweight(codes, w.packed_codes, shape->n, shape->k);
        paro_unpack_qzeros(zeros, w.packed_zeros, shape->n, w.n_groups);
        assert_memory_equal(codes, w.codes, (size_t)shape->n * shape->k);
        assert_memory_equal(zeros, w.zeros, shape->n * w.n_groups);
        for (uint32_t row = 0; row < shape->n; row++)
            for (size_t group = 0; group < w.n_groups; group++)
                assert_int_equal(w.packed_scales[group * shape->n + row],
                                 w.scales[row * w.n_groups + group]);
        free(codes);
        free(zeros);
        weight_release(&w);
    }
}

/* One tile: what a lane takes out of its words as fragments of A, put where mma.m16n8k16 has it, is
 * the matrix with its columns permuted by one rule, the same for all rows. */
static void mma16_is_fragments(void **state)
{
    (void)state;
    const paro_w4_shape shape = {.n = 16, .k = 64, .group = 64, .parts = {16}, .n_parts = 1};
    weight w = weight_new(&shape, PARO_W4_LAYOUT_MMA16, 7);
    for (uint32_t lane = 0; lane < 32; lane++) {
        uint32_t g = lane / 4, t = lane % 4;
        for (uint32_t j = 0; j < 4; j++) {
            uint32_t word = w.packed_codes[lane * 4 + j];
            for (uint32_t reg = 0; reg < 4; reg++) {
                uint32_t pair = word >> (4 * reg) & 0x000f000f;
                uint32_t row = g + (reg % 2 == 1 ? 8 : 0);
                /* columns of the fragment: 2t, 2t + 1 in registers 0 and 1, 8 more in 2 and 3 */
                for (uint32_t e = 0; e < 2; e++) {
                    uint32_t code = pair >> (16 * e) & 15;
                    uint32_t column = 32 * (j / 2) + 8 * t + 4 * (j % 2) + 2 * (reg / 2) + e;
                    assert_int_equal(code, w.codes[row * 64 + column]);
                }
            }
        }
        assert_int_equal(((uint8_t *)w.packed_zeros)[g] & 15, w.zeros[g]);
        assert_int_equal(((uint8_t *)w.packed_zeros)[g] >> 4, w.zeros[g + 8]);
        assert_int_equal(w.packed_scales[2 * g], w.scales[g]);
        assert_int_equal(w.packed_scales[2 * g + 1], w.scales[g + 8]);
    }
    weight_release(&w);
}

static uint64_t nibbles_set(const uint32_t *words, uint64_t n)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < n; i++)
        for (unsigned bit = 0; bit < 32; bit += 4)
            count += (words[i] >> bit & 15) != 0;
    return count;
}

static void padding_is_zero(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        weight w = weight_new(&shapes[i], PARO_W4_LAYOUT_MMA16, 200 + i);
        uint64_t n_set = 0, n_scales = 0;
        for (size_t at = 0; at < (size_t)shapes[i].n * shapes[i].k; at++)
            n_set += w.codes[at] != 0;
        for (uint64_t at = 0; at < w.sizes.n_scales; at++)
            n_scales += w.packed_scales[at] != 0;
        assert_int_equal(nibbles_set(w.packed_codes, w.sizes.n_codes), n_set);
        assert_int_equal(n_scales, shapes[i].n * w.n_groups);
        weight_release(&w);
    }
}

static void sizes_are_padded(void **state)
{
    (void)state;
    paro_w4_sizes sizes;
    paro_w4_sizes_of(&shapes[3], PARO_W4_LAYOUT_MMA16, &sizes); /* 1 + 3 + 2 tiles, 3 blocks */
    assert_int_equal(sizes.n_codes, 6 * 3 * 128);
    assert_int_equal(sizes.n_zeros, 6 * 6 * 8);
    assert_int_equal(sizes.n_scales, 6 * 6 * 16);
    assert_int_equal(sizes.zeros_dtype, PARO_DTYPE_U8);
    assert_int_equal(paro_w4_tiles_before(&shapes[3], 2), 4);
    paro_w4_sizes_of(&shapes[3], PARO_W4_LAYOUT_AWQ, &sizes);
    assert_int_equal(sizes.n_codes, 160 * 9);
    assert_int_equal(sizes.n_zeros, 5 * 9);
    assert_int_equal(sizes.zeros_dtype, PARO_DTYPE_U32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back),     cmocka_unit_test(awq_is_the_checkpoints_layout),
        cmocka_unit_test(mma16_is_fragments), cmocka_unit_test(padding_is_zero),
        cmocka_unit_test(sizes_are_padded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
