/* SPDX-License-Identifier: MIT
 *
 * families/linear_16.c: problems, launches, limits, the reference against base/reference; and its
 * kernels in the corners that random problems (test_families) seldom meet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "base/reference.h"
#include "families/linear_16.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

static void problems_are_checked(void **state)
{
    paro_error err;
    paro_problem p;
    (void)state;
    assert_fails(paro_problem_parse(&err, "linear_16:n=8,k=8,m=1,dtype=f16,out=bf16", &p),
                 PARO_STATUS_INVALID_ARGUMENT, "expected f32 or the problem's dtype (f16)");
    p = test_problem("linear_16:n=8,k=8,m=1,dtype=bf16,out=bf16");
    assert_int_equal(paro_problem_get(&p, "bias"), 0);
}

static void arguments_follow_the_problem(void **state)
{
    (void)state;
    paro_arg_info info;
    const paro_problem p = test_problem("linear_16:n=100,k=1024,m=3,dtype=bf16,out=f32,bias=1");
    const paro_kernel_config config =
        test_config(&p, "split_k=2,rows=16,warps_n=1,warps_k=4,stages=2");
    p.family->arg_info(&p, &config, PARO_LINEAR_16_ARG_Y, &info);
    assert_int_equal(info.n, 300);
    assert_int_equal(info.dtype, PARO_DTYPE_F32);
    p.family->arg_info(&p, &config, PARO_LINEAR_16_ARG_BIAS, &info);
    assert_int_equal(info.n, 100);
    assert_int_equal(info.dtype, PARO_DTYPE_BF16);
    p.family->arg_info(&p, &config, PARO_LINEAR_16_ARG_PARTIAL, &info);
    assert_int_equal(info.n, 600);
    paro_launch_plan plan;
    p.family->plan(&p, &config, &plan);
    assert_int_equal(plan.n_launches, 2);
    assert_int_equal(plan.launches[0].grid[0], 7);
    assert_int_equal(plan.launches[0].grid[1], 2);
}

static void defaults_pass_everywhere(void **state)
{
    (void)state;
    static const char *const shapes[] = {"n=1,k=1",         "n=8,k=33",       "n=128256,k=4096",
                                         "n=1024,k=262144", "n=1048576,k=64", "n=4096,k=14336"};
    static const int ms[] = {1, 2, 3, 8, 16, 31, 64, 512};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                char text[160];
                snprintf(text, sizeof text, "linear_16:m=%d,dtype=%s,out=f32,%s", ms[i],
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
    test_default_everywhere("linear_16:n=128256,k=4096,m=1,dtype=f16,out=f32");
}

static void tensor_cores_need_whole_pieces(void **state)
{
    (void)state;
    const paro_problem odd = test_problem("linear_16:n=64,k=36,m=1,dtype=f16,out=f16");
    paro_kernel_config config;
    const paro_arch *arch = paro_arch_find("sm_90");
    odd.family->default_config(&odd, arch, &config);
    config.values[0] = 0; /* mma */
    assert_string_equal(
        odd.family->constraint(&odd, &config, arch),
        "no tensor cores for the dtype, or rows that are not multiples of 16 bytes");
}

static void reference_is_the_product(void **state)
{
    enum { N = 21, K = 19, M = 6 };
    paro_error err;
    (void)state;
    const paro_problem p = test_problem("linear_16:n=21,k=19,m=6,dtype=f16,out=f32,bias=1");
    const paro_kernel_config config = test_config(&p, "");
    paro_case c;
    assert_ok(paro_case_new(&err, &p, &config, 5, NULL, &c));
    double x[M * K], w[N * K], bias[N], y[M * N], expected[M * N];
    const uint16_t *from = c.data[PARO_LINEAR_16_ARG_X];
    for (size_t i = 0; i < M * K; i++)
        x[i] = (double)paro_f32_from_f16(from[i]);
    from = c.data[PARO_LINEAR_16_ARG_WEIGHT];
    double sum = 0;
    for (size_t i = 0; i < N * K; i++) {
        w[i] = (double)paro_f32_from_f16(from[i]);
        sum += w[i] * w[i];
    }
    assert_true(sum / N > 0.1 && sum / N < 4); /* outputs of the inputs' size */
    from = c.data[PARO_LINEAR_16_ARG_BIAS];
    for (size_t i = 0; i < N; i++)
        bias[i] = (double)paro_f32_from_f16(from[i]);
    paro_ref_linear_f64(x, w, bias, M, K, N, expected);
    double *results[PARO_MAX_ARGS] = {NULL};
    results[PARO_LINEAR_16_ARG_Y] = y;
    assert_ok(p.family->reference(&err, &c, NULL, results));
    for (size_t i = 0; i < M * N; i++)
        assert_true(fabs(y[i] - expected[i]) <= 1e-9 * (1 + fabs(expected[i])));
    paro_case_release(&c);
}

/* Rows beyond the last, columns that end inside a unit, slices, chunks in two buffers. */
static void kernels_in_the_corners(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_linear_16_family");
    test_emulated(gpu, "linear_16:n=35,k=2056,m=8,dtype=f16,out=f32,bias=1",
                  "split_k=1,rows=16,warps_n=1,warps_k=4,stages=2", 7, 2);
    test_emulated(gpu, "linear_16:n=50,k=1032,m=16,dtype=bf16,out=bf16",
                  "split_k=4,rows=32,warps_n=1,warps_k=4,stages=1", 11, 2);
    test_emulated(gpu, "linear_16:n=129,k=520,m=128,dtype=f16,out=f16,bias=1",
                  "tile_m=64,split_k=1,rows=32,warps_n=4,warps_k=1,stages=1", 67, 2);
    test_emulated(gpu, "linear_16:n=33,k=77,m=9,dtype=bf16,out=f32", "", 0, 2);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_are_checked),
        cmocka_unit_test(arguments_follow_the_problem),
        cmocka_unit_test(defaults_pass_everywhere),
        cmocka_unit_test(tensor_cores_need_whole_pieces),
        cmocka_unit_test(reference_is_the_product),
        cmocka_unit_test(kernels_in_the_corners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
