/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/train_ops.h"
#include "families/swiglu_grad.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum {
    GATE_UP = PARO_SWIGLU_GRAD_ARG_GATE_UP,
    DY = PARO_SWIGLU_GRAD_ARG_DY,
    D_GATE_UP = PARO_SWIGLU_GRAD_ARG_D_GATE_UP,
    Y = PARO_SWIGLU_GRAD_ARG_Y
};

/* The reference is what calibration on the CPU computes. */
static void test_reference(void **state)
{
    (void)state;
    enum { N = 100 };
    paro_error err;
    paro_case c;
    double *expected[PARO_MAX_ARGS] = {NULL};
    float y[N];
    const paro_problem problem = test_problem("swiglu_grad:n=100,m=1,dtype=f32,forward=1");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    assert_ok(paro_case_expect(&err, &c, NULL, expected));
    float *gate = c.data[GATE_UP], *up = gate + N;
    const paro_train_ops *ops = paro_train_ops_best();
    ops->swiglu(gate, up, N, y);
    ops->swiglu_backward(c.data[DY], N, gate, up);
    for (size_t i = 0; i < N; i++) {
        assert_true(fabs(expected[Y][i] - (double)y[i]) < 1e-5);
        assert_true(fabs(expected[D_GATE_UP][i] - (double)gate[i]) < 1e-5);
        assert_true(fabs(expected[D_GATE_UP][N + i] - (double)up[i]) < 1e-5);
    }
    paro_case_expect_release(expected);
    paro_case_release(&c);
}

static void test_space(void **state)
{
    (void)state;
    test_default_everywhere("swiglu_grad:n=14336,m=32768,dtype=f16,forward=1");
    test_default_everywhere("swiglu_grad:n=16777215,m=1,dtype=f32");
    test_default_everywhere("swiglu_grad:n=1,m=65535,dtype=bf16");
    const paro_problem problem = test_problem("swiglu_grad:n=512,m=8,dtype=f16");
    const paro_kernel_config config = {{128}};
    assert_string_equal(problem.family->constraint(&problem, &config, paro_arch_get(0)),
                        "half of the threads would have no channels");
}

/* Gates so large that their exponential overflows, both ways. */
static void test_extremes(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    paro_gpu *gpu = test_emulator("test_swiglu_grad_family");
    const paro_problem problem = test_problem("swiglu_grad:n=2,m=1,dtype=f32");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    memcpy(c.data[GATE_UP], (float[]){-200, 200, 3, 0.5F}, 16);
    memcpy(c.data[DY], (float[]){1, 2}, 8);
    test_launch_case(gpu, &c);
    const float *d = c.data[D_GATE_UP];
    assert_true(d[0] == 0 && d[1] == 1 && d[2] == 0 && d[3] == 400);
    paro_case_release(&c);
    paro_gpu_free(gpu);
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_swiglu_grad_family");
    test_emulated(gpu, "swiglu_grad:n=1536,m=4,dtype=f16,forward=1", "threads=64", 3, 2);
    test_emulated(gpu, "swiglu_grad:n=1001,m=2,dtype=bf16,forward=0", "", 0, 1);
    test_emulated(gpu, "swiglu_grad:n=70,m=2,dtype=f32,forward=1", "", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_space),
        cmocka_unit_test(test_extremes), cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
