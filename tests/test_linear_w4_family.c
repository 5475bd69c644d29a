/* SPDX-License-Identifier: MIT
 *
 * families/linear_w4.c: problems, arguments, launches, limits, the reference against
 * base/reference; and its kernels in the corners that random problems (test_families) seldom meet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "base/reference.h"
#include "families/holes.h"
#include "families/linear_w4.h"
#include "families/w4_layout.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

static void problems_are_checked(void **state)
{
    paro_error err;
    paro_problem p;
    (void)state;
    assert_fails(paro_problem_parse(&err, "linear_w4:n=64,k=96,m=1,group=64,krot=0,dtype=f16", &p),
                 PARO_STATUS_INVALID_ARGUMENT, "k a multiple of it");
    assert_fails(paro_problem_parse(
                     &err, "linear_w4:n=64,k=128,m=1,group=64,krot=0,dtype=f16,parts=44+20", &p),
                 PARO_STATUS_INVALID_ARGUMENT, "expected multiples of 8");
    assert_fails(paro_problem_parse(
                     &err, "linear_w4:n=64,k=128,m=1,group=64,krot=0,dtype=f16,parts=32+24", &p),
                 PARO_STATUS_INVALID_ARGUMENT, "expected a sum of n=64, found 56");
    assert_fails(paro_problem_parse(&err, "linear_w4:n=64,k=128,m=1,group=64,krot=0,dtype=f32", &p),
                 PARO_STATUS_INVALID_ARGUMENT, "f32");
    p = test_problem("linear_w4:n=64,k=128,m=1,group=64,krot=0,dtype=f16");
    assert_int_equal(p.n_parts, 1);
    assert_int_equal(p.parts[0], 64);
}

static uint64_t arg_size(const paro_problem *problem, const paro_kernel_config *config, size_t arg)
{
    paro_arg_info info;
    paro_family_linear_w4.arg_info(problem, config, arg, &info);
    return info.n;
}

static void arguments_follow_problem_and_config(void **state)
{
    (void)state;
    const paro_problem plain = test_problem("linear_w4:n=40,k=96,m=3,group=32,krot=0,dtype=f16");
    paro_kernel_config config = test_config(&plain, "");
    assert_int_equal(arg_size(&plain, &config, PARO_LINEAR_W4_ARG_CODES), 3 * 2 * 128);
    assert_int_equal(arg_size(&plain, &config, PARO_LINEAR_W4_ARG_BIAS), 0);
    assert_int_equal(arg_size(&plain, &config, PARO_LINEAR_W4_ARG_PAIRS), 0);
    assert_int_equal(arg_size(&plain, &config, PARO_LINEAR_W4_ARG_CHANNEL_SCALES), 0);
    assert_int_equal(arg_size(&plain, &config, PARO_LINEAR_W4_ARG_ROTATED), 0);

    const paro_problem full =
        test_problem("linear_w4:n=512,k=1024,m=2,group=128,krot=8,dtype=bf16,parts=256+256,bias=1");
    config = test_config(&full, "rotation=separate,split_k=2,warps_n=2,warps_k=4,stages=1,rows=32");
    assert_int_equal(arg_size(&full, &config, PARO_LINEAR_W4_ARG_BIAS), 512);
    assert_int_equal(arg_size(&full, &config, PARO_LINEAR_W4_ARG_COSSIN), 2 * 8 * 1024);
    assert_int_equal(arg_size(&full, &config, PARO_LINEAR_W4_ARG_CHANNEL_SCALES), 2 * 1024);
    assert_int_equal(arg_size(&full, &config, PARO_LINEAR_W4_ARG_ROTATED), 2 * 2 * 1024);
    assert_int_equal(arg_size(&full, &config, PARO_LINEAR_W4_ARG_PARTIAL), 2 * 2 * 512);
    config = test_config(&full, "rotation=fused,split_k=2,warps_n=1,warps_k=4,stages=1,rows=32");
    assert_int_equal(arg_size(&full, &config, PARO_LINEAR_W4_ARG_ROTATED), 0);
}

static void a_plan_has_one_to_three_launches(void **state)
{
    (void)state;
    paro_launch_plan plan, fewer;
    const paro_problem p =
        test_problem("linear_w4:n=6144,k=4096,m=2,group=128,krot=8,dtype=f16,parts=4096+1024+1024");
    paro_kernel_config config =
        test_config(&p, "split_k=1,rows=32,warps_n=2,warps_k=4,stages=1,rotation=separate");
    paro_family_linear_w4.plan(&p, &config, &plan);
    assert_int_equal(plan.n_launches, 2);
    assert_string_equal(plan.launches[0].kernel, "rotate_input");
    assert_int_equal(plan.launches[0].grid[0], 3 * 32 / 2);
    assert_string_equal(plan.launches[1].kernel, "linear_w4");
    assert_int_equal(plan.launches[1].grid[0], 96);
    assert_int_equal(plan.launches[1].n_threads, 256);
    config = test_config(&p, "split_k=4,rows=32,warps_n=1,warps_k=8,stages=1,rotation=fused");
    paro_family_linear_w4.plan(&p, &config, &plan);
    assert_int_equal(plan.n_launches, 2);
    assert_string_equal(plan.launches[1].kernel, "reduce_slices");
    config = test_config(&p, "split_k=2,rows=32,warps_n=1,warps_k=4,stages=1,rotation=separate");
    paro_family_linear_w4.plan(&p, &config, &plan);
    assert_int_equal(plan.n_launches, 3);

    /* What is compiled for a bucket also runs fewer tokens. */
    const paro_problem one = paro_problem_with_m(&p, 1);
    paro_family_linear_w4.plan(&one, &config, &fewer);
    for (size_t i = 0; i < plan.n_launches; i++) {
        assert_int_equal(fewer.launches[i].n_threads, plan.launches[i].n_threads);
        assert_int_equal(fewer.launches[i].shared_bytes, plan.launches[i].shared_bytes);
    }
}

static void defaults_pass_everywhere(void **state)
{
    (void)state;
    static const char *const shapes[] = {
        "n=8,k=32,group=32,krot=1",        "n=24,k=96,group=32,krot=0,parts=16+8",
        "n=1024,k=4096,group=128,krot=8",  "n=28672,k=4096,group=128,krot=8,parts=14336+14336",
        "n=4096,k=14336,group=128,krot=8", "n=768,k=768,group=256,krot=16",
        "n=1048576,k=64,group=64,krot=2",  "n=64,k=262144,group=256,krot=8"};
    static const int ms[] = {1, 2, 3, 8, 16, 31, 64, 512, 65535};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                char text[256];
                snprintf(text, sizeof text, "linear_w4:m=%d,dtype=%s,%s", ms[i],
                         bf16 ? "bf16" : "f16", shapes[s]);
                const paro_problem p = test_problem(text);
                for (size_t a = 0; paro_arch_get(a) != NULL; a++) {
                    paro_kernel_config config;
                    p.family->default_config(&p, paro_arch_get(a), &config);
                    const char *why = p.family->constraint(&p, &config, paro_arch_get(a));
                    if (why != NULL)
                        fail_msg("%s on %s: %s", text, paro_arch_get(a)->name, why);
                }
            }
    test_default_everywhere("linear_w4:n=6144,k=4096,m=16,group=128,krot=8,dtype=bf16");
}

static bool count_config(void *context, const paro_kernel_config *config)
{
    (void)config;
    (*(size_t *)context)++;
    return true;
}

/* Some, and no more than can be tried. */
static void spaces_are_small(void **state)
{
    (void)state;
    for (int m = 1; m <= 512; m *= 2) {
        char text[160];
        snprintf(text, sizeof text, "linear_w4:n=4096,k=4096,m=%d,group=128,krot=8,dtype=f16", m);
        const paro_problem p = test_problem(text);
        for (size_t a = 0; paro_arch_get(a) != NULL; a++) {
            size_t n = 0;
            paro_space_enumerate(&p, paro_arch_get(a), count_config, &n);
            assert_in_range(n, 4, 110);
        }
    }
}

static void layouts_follow_the_algorithm(void **state)
{
    (void)state;
    const paro_problem p = test_problem("linear_w4:n=64,k=64,m=1,group=64,krot=0,dtype=bf16");
    paro_kernel_config config;
    p.family->default_config(&p, paro_arch_find("sm_75"), &config); /* no tensor cores for bf16 */
    assert_string_equal(p.family->layout(&p, &config), "awq");
    p.family->default_config(&p, paro_arch_find("sm_80"), &config);
    assert_string_equal(p.family->layout(&p, &config), "mma16");
}

/* Without rounds: codes of every layout are what paro_ref_linear says. */
static void reference_is_the_product(void **state)
{
    enum { N = 40, K = 96, GROUP = 32, M = 3 };
    static const char *const archs[] = {"sm_90", "sm_75"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        paro_error err;
        const paro_problem p =
            test_problem("linear_w4:n=40,k=96,m=3,group=32,krot=0,dtype=bf16,parts=16+24,bias=1");
        paro_kernel_config config;
        paro_case c;
        p.family->default_config(&p, paro_arch_find(archs[i]), &config);
        assert_ok(paro_case_new(&err, &p, &config, 3, NULL, &c));
        uint8_t codes[N * K], zeros[N * K / GROUP];
        uint16_t bits[N * K / GROUP];
        double scales[N * K / GROUP], w[N * K], x[M * K], bias[N], y[M * N], expected[M * N];
        paro_rng rng;
        paro_rng_seed(&rng, i);
        for (size_t at = 0; at < N * K; at++)
            codes[at] = (uint8_t)paro_rng_below(&rng, 16);
        for (size_t at = 0; at < N * K / GROUP; at++) {
            zeros[at] = (uint8_t)paro_rng_below(&rng, 16);
            bits[at] = paro_f16_from_f32((float)(0.01 + paro_rng_f64(&rng)));
            scales[at] = (double)paro_f32_from_f16(bits[at]);
        }
        paro_w4_shape shape;
        paro_w4_shape_of(&p, &shape);
        paro_w4_pack(&shape, i == 0 ? PARO_W4_LAYOUT_MMA16 : PARO_W4_LAYOUT_AWQ, codes, zeros, bits,
                     c.data[PARO_LINEAR_W4_ARG_CODES], c.data[PARO_LINEAR_W4_ARG_ZEROS],
                     c.data[PARO_LINEAR_W4_ARG_SCALES]);
        for (size_t at = 0; at < M * K; at++)
            x[at] = (double)paro_f32_from_bf16(((uint16_t *)c.data[PARO_LINEAR_W4_ARG_X])[at]);
        for (size_t at = 0; at < N; at++)
            bias[at] =
                (double)paro_f32_from_bf16(((uint16_t *)c.data[PARO_LINEAR_W4_ARG_BIAS])[at]);
        paro_ref_dequantise_f64(codes, scales, zeros, N, K, GROUP, w);
        paro_ref_linear_f64(x, w, bias, M, K, N, expected);
        double *results[PARO_MAX_ARGS] = {NULL};
        results[PARO_LINEAR_W4_ARG_Y] = y;
        assert_ok(p.family->reference(&err, &c, NULL, results));
        for (size_t at = 0; at < M * N; at++)
            assert_true(fabs(y[at] - expected[at]) <= 1e-9 * (1 + fabs(expected[at])));
        paro_case_release(&c);
    }
}

/* Slices of k, chunks that take turns in two buffers, groups larger than a unit, parts that end
 * inside a tile, tokens that do not fill theirs. */
static void kernels_in_the_corners(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_linear_w4_family");
    test_emulated(gpu, "linear_w4:n=72,k=4096,m=2,group=128,krot=8,dtype=f16,parts=40+32,bias=1",
                  "rotation=fused,split_k=8,rows=32,warps_n=1,warps_k=4,stages=1", 0, 2);
    test_emulated(gpu, "linear_w4:n=24,k=6144,m=8,group=256,krot=2,dtype=bf16,parts=16+8",
                  "split_k=1,rows=16,warps_n=1,warps_k=4,stages=2", 5, 2);
    test_emulated(gpu, "linear_w4:n=56,k=1056,m=32,group=32,krot=3,dtype=f16,parts=8+48",
                  "split_k=4,rows=32,warps_n=2,warps_k=2,stages=2", 29, 2);
    test_emulated(gpu, "linear_w4:n=136,k=1024,m=128,group=64,krot=1,dtype=f16",
                  "tile_m=64,split_k=1,rows=32,warps_n=4,warps_k=1,stages=1", 70, 2);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_are_checked),
        cmocka_unit_test(arguments_follow_problem_and_config),
        cmocka_unit_test(a_plan_has_one_to_three_launches),
        cmocka_unit_test(defaults_pass_everywhere),
        cmocka_unit_test(spaces_are_small),
        cmocka_unit_test(layouts_follow_the_algorithm),
        cmocka_unit_test(reference_is_the_product),
        cmocka_unit_test(kernels_in_the_corners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
