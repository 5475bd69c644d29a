/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "families/swiglu.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

static void test_reference(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    double y[4];
    double *expected[PARO_MAX_ARGS] = {[PARO_SWIGLU_ARG_Y] = y};
    const paro_problem problem = test_problem("swiglu:n=2,m=2,dtype=f32");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    memcpy(c.data[PARO_SWIGLU_ARG_GATE_UP], (float[]){0, 1, 5, 3, -2, 100, 1, 2}, 32);
    assert_ok(problem.family->reference(&err, &c, NULL, expected));
    const double right[] = {0, 3 / (1 + exp(-1)), -2 / (1 + exp(2)), 200};
    for (int i = 0; i < 4; i++)
        assert_true(fabs(y[i] - right[i]) < 1e-12);
    paro_case_release(&c);
}

static void test_space(void **state)
{
    (void)state;
    test_default_everywhere("swiglu:n=14336,m=1,dtype=f16");
    test_default_everywhere("swiglu:n=14336,m=512,dtype=f16");
    test_default_everywhere("swiglu:n=16777215,m=1,dtype=f32");
    test_default_everywhere("swiglu:n=1,m=65535,dtype=bf16");
    const paro_problem problem = test_problem("swiglu:n=512,m=8,dtype=f16");
    const paro_kernel_config config = {{128}};
    assert_string_equal(problem.family->constraint(&problem, &config, paro_arch_get(0)),
                        "half of the threads would have no channels");
}

/* Gates so large that their exponential overflows, both ways: 0 and up. */
static void test_extremes(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    paro_gpu *gpu = test_emulator("test_swiglu_family");
    const paro_problem problem = test_problem("swiglu:n=2,m=1,dtype=f32");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    memcpy(c.data[PARO_SWIGLU_ARG_GATE_UP], (float[]){-200, 200, 3, 0.5F}, 16);
    test_launch_case(gpu, &c);
    const float *y = c.data[PARO_SWIGLU_ARG_Y];
    assert_true(y[0] == 0 && y[1] == 100);
    paro_case_release(&c);
    paro_gpu_free(gpu);
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_swiglu_family");
    test_emulated(gpu, "swiglu:n=1536,m=4,dtype=f16", "threads=64", 3, 2);
    test_emulated(gpu, "swiglu:n=1001,m=2,dtype=bf16", "", 0, 1);
    test_emulated(gpu, "swiglu:n=70,m=2,dtype=f32", "", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_space),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
