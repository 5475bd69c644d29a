/* SPDX-License-Identifier: MIT
 *
 * families/pack_w4.c: a checkpoint's tensors, part after part, to every layout: the reference, and
 * the kernels, byte for byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/pack.h"
#include "families/pack_w4.h"
#include "families/w4_layout.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

static void problems_are_checked(void **state)
{
    paro_error err;
    paro_problem p;
    (void)state;
    assert_fails(paro_problem_parse(&err, "pack_w4:n=20,k=64,group=64,layout=mma16", &p),
                 PARO_STATUS_INVALID_ARGUMENT, "expected multiples of 8");
    assert_fails(paro_problem_parse(&err, "pack_w4:n=24,k=48,group=32,layout=mma16", &p),
                 PARO_STATUS_INVALID_ARGUMENT, "found group=32, k=48");
    assert_fails(paro_problem_parse(&err, "pack_w4:n=24,k=64,group=32,layout=other", &p),
                 PARO_STATUS_INVALID_ARGUMENT, "layout");
}

/* The choices of the key are the layouts. */
static void layouts_are_those_of_the_weights(void **state)
{
    (void)state;
    const paro_problem_key *key = paro_family_pack_w4.keys;
    while (strcmp(key->name, "layout") != 0)
        key++;
    for (size_t i = 0; key->choices[i] != NULL || paro_w4_layout_names[i] != NULL; i++)
        assert_string_equal(key->choices[i], paro_w4_layout_names[i]);
}

/* Row by row: what the checkpoint's part has is what the packed weight has. */
static void reference_keeps_every_row(void **state)
{
    enum { N = 64, K = 96, GROUP = 32, GROUPS = K / GROUP, N_PARTS = 3 };
    static const uint32_t parts[N_PARTS] = {24, 8, 32};
    static const char *const texts[] = {"pack_w4:n=64,k=96,group=32,parts=24+8+32,layout=mma16",
                                        "pack_w4:n=64,k=96,group=32,parts=24+8+32,layout=awq"};
    (void)state;
    for (int layout = 0; layout < 2; layout++) {
        paro_error err;
        paro_case c;
        const paro_problem p = test_problem(texts[layout]);
        const paro_kernel_config config = test_config(&p, "");
        assert_ok(paro_case_new(&err, &p, &config, 9, NULL, &c));
        double *results[PARO_MAX_ARGS] = {NULL};
        for (size_t arg = PARO_PACK_W4_ARG_CODES; arg <= PARO_PACK_W4_ARG_PACKED_SCALES; arg++) {
            results[arg] = malloc(c.info[arg].n * sizeof(double));
            assert_non_null(results[arg]);
        }
        assert_ok(p.family->reference(&err, &c, NULL, results));
        uint32_t *codes = malloc(c.info[PARO_PACK_W4_ARG_CODES].n * sizeof *codes);
        uint32_t zero_words[N * GROUPS];
        uint8_t zero_bytes[2 * N * GROUPS];
        uint16_t scales[4 * N * GROUPS];
        for (uint64_t i = 0; i < c.info[PARO_PACK_W4_ARG_CODES].n; i++)
            codes[i] = (uint32_t)results[PARO_PACK_W4_ARG_CODES][i];
        for (uint64_t i = 0; i < c.info[PARO_PACK_W4_ARG_ZEROS].n; i++)
            if (layout == PARO_W4_LAYOUT_AWQ)
                zero_words[i] = (uint32_t)results[PARO_PACK_W4_ARG_ZEROS][i];
            else
                zero_bytes[i] = (uint8_t)results[PARO_PACK_W4_ARG_ZEROS][i];
        for (uint64_t i = 0; i < c.info[PARO_PACK_W4_ARG_PACKED_SCALES].n; i++)
            scales[i] = paro_f16_from_f32((float)results[PARO_PACK_W4_ARG_PACKED_SCALES][i]);
        const void *zeros =
            layout == PARO_W4_LAYOUT_AWQ ? (const void *)zero_words : (const void *)zero_bytes;

        paro_w4_shape shape;
        paro_w4_shape_of(&p, &shape);
        const uint32_t *qweight = c.data[PARO_PACK_W4_ARG_QWEIGHT];
        const uint32_t *qzeros = c.data[PARO_PACK_W4_ARG_QZEROS];
        const uint16_t *from = c.data[PARO_PACK_W4_ARG_SCALES];
        for (uint32_t part = 0, first = 0; part < N_PARTS; first += parts[part++]) {
            uint8_t part_codes[N * K], part_zeros[N * GROUPS];
            paro_unpack_qweight(part_codes, qweight + first / 8 * K, parts[part], K);
            paro_unpack_qzeros(part_zeros, qzeros + first / 8 * GROUPS, parts[part], GROUPS);
            for (uint32_t row = 0; row < parts[part]; row++) {
                uint8_t row_codes[K], row_zeros[GROUPS];
                uint16_t row_scales[GROUPS];
                paro_w4_unpack_row(&shape, (paro_w4_layout)layout, codes, zeros, scales,
                                   first + row, row_codes, row_zeros, row_scales);
                assert_memory_equal(row_codes, part_codes + row * K, K);
                assert_memory_equal(row_zeros, part_zeros + row * GROUPS, GROUPS);
                for (size_t group = 0; group < GROUPS; group++)
                    assert_int_equal(row_scales[group],
                                     from[first * GROUPS + group * parts[part] + row]);
            }
        }
        for (size_t arg = 0; arg < PARO_MAX_ARGS; arg++)
            free(results[arg]);
        free(codes);
        paro_case_release(&c);
    }
}

static void defaults_pass_everywhere(void **state)
{
    (void)state;
    test_default_everywhere("pack_w4:n=28672,k=4096,group=128,parts=14336+14336,layout=mma16");
    test_default_everywhere("pack_w4:n=1048576,k=64,group=64,layout=awq");
    test_default_everywhere("pack_w4:n=8,k=262144,group=32,layout=mma16");
}

static void kernels_in_the_corners(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_pack_w4_family");
    test_emulated(gpu, "pack_w4:n=312,k=160,group=32,parts=136+8+168,layout=mma16", "threads=128",
                  0, 1);
    test_emulated(gpu, "pack_w4:n=40,k=768,group=256,layout=mma16", "threads=512", 0, 1);
    test_emulated(gpu, "pack_w4:n=312,k=160,group=32,parts=136+8+168,layout=awq", "", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_are_checked),
        cmocka_unit_test(layouts_are_those_of_the_weights),
        cmocka_unit_test(reference_keeps_every_row),
        cmocka_unit_test(defaults_pass_everywhere),
        cmocka_unit_test(kernels_in_the_corners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
