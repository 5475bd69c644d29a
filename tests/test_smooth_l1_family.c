/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/block_pass.h"
#include "families/smooth_l1.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum {
    Y = PARO_SMOOTH_L1_ARG_Y,
    TARGET = PARO_SMOOTH_L1_ARG_TARGET,
    DY = PARO_SMOOTH_L1_ARG_DY,
    LOSS = PARO_SMOOTH_L1_ARG_LOSS
};

/* The reference is what calibration on the CPU computes. */
static void test_reference(void **state)
{
    (void)state;
    enum { N = 1000 };
    paro_error err;
    paro_case c;
    double *expected[PARO_MAX_ARGS] = {NULL};
    float dy[N];
    const paro_problem problem = test_problem("smooth_l1:n=1000,dtype=f32,target=f32");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    c.scalars[PARO_SMOOTH_L1_ARG_SCALE].f32 = 3;
    assert_ok(paro_case_expect(&err, &c, NULL, expected));
    double loss = paro_smooth_l1(NULL, c.data[Y], c.data[TARGET], N, 3, dy);
    assert_true(fabs(loss - expected[LOSS][0]) < 1e-6 * loss);
    size_t n_outer = 0;
    for (size_t i = 0; i < N; i++) {
        assert_true(fabs((double)dy[i] - expected[DY][i]) < 1e-9);
        n_outer += fabs(expected[DY][i]) == 3.0 / N;
    }
    assert_in_range(n_outer, N / 10, N / 2);
    paro_case_expect_release(expected);
    paro_case_release(&c);
}

static void test_space(void **state)
{
    (void)state;
    test_default_everywhere("smooth_l1:n=1,dtype=f16,target=f32,gradient=0");
    test_default_everywhere("smooth_l1:n=134217728,dtype=f16,target=f16");
    test_default_everywhere("smooth_l1:n=2147483647,dtype=bf16,target=f32");
    const paro_problem problem = test_problem("smooth_l1:n=2048,dtype=f16,target=f16");
    const struct {
        paro_kernel_config config;
        const char *why;
    } rows[] = {{{{128, 4}}, "half of the accesses would have no numbers"},
                {{{512, 1}}, "half of the threads would have no numbers"},
                {{{128, 2}}, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *why = problem.family->constraint(&problem, &rows[i].config, paro_arch_get(0));
        if (rows[i].why == NULL)
            assert_null(why);
        else
            assert_string_equal(why, rows[i].why);
    }
}

/* The same sum every time, whatever the order in which threads ran. */
static void test_deterministic(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    float losses[2];
    paro_gpu *gpu = test_emulator("test_smooth_l1_family");
    const paro_problem problem = test_problem("smooth_l1:n=9000,dtype=f32,target=f32,gradient=0");
    const paro_kernel_config config = test_config(&problem, "threads=128,steps=2");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    for (size_t i = 0; i < 2; i++) {
        paro_emulator_set_seed(gpu, 7 + i);
        test_launch_case(gpu, &c);
        losses[i] = *(const float *)c.data[LOSS];
    }
    assert_true(losses[0] > 0 && losses[0] == losses[1]);
    paro_case_release(&c);
    paro_gpu_free(gpu);
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_smooth_l1_family");
    test_emulated(gpu, "smooth_l1:n=20000,dtype=f16,target=f16", "threads=256,steps=2", 0, 2);
    test_emulated(gpu, "smooth_l1:n=1001,dtype=f32,target=f32", "", 0, 1);
    test_emulated(gpu, "smooth_l1:n=4006,dtype=bf16,target=f32", "", 0, 1);
    test_emulated(gpu, "smooth_l1:n=2,dtype=f16,target=f32,gradient=0", "", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
