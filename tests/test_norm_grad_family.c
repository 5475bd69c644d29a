/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/train_ops.h"
#include "families/norm_grad.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum {
    X = PARO_NORM_GRAD_ARG_X,
    WEIGHT = PARO_NORM_GRAD_ARG_WEIGHT,
    DY = PARO_NORM_GRAD_ARG_DY,
    D_RESIDUAL = PARO_NORM_GRAD_ARG_D_RESIDUAL,
    D_X = PARO_NORM_GRAD_ARG_D_X
};

/* The reference is what calibration on the CPU computes. */
static void test_reference(void **state)
{
    (void)state;
    enum { H = 96, M = 5 };
    for (int add = 0; add < 2; add++) {
        paro_error err;
        paro_case c;
        double *expected[PARO_MAX_ARGS] = {NULL};
        float dx[M * H];
        const paro_problem problem =
            test_problem(add != 0 ? "norm_grad:h=96,m=5,dtype=f32,add=1,copy=1"
                                  : "norm_grad:h=96,m=5,dtype=f32,add=0");
        const paro_kernel_config config = test_config(&problem, "");
        assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
        c.scalars[PARO_NORM_GRAD_ARG_EPSILON].f32 = 1e-5F;
        assert_ok(paro_case_expect(&err, &c, NULL, expected));
        paro_train_ops_best()->norm_backward(c.data[X], c.data[WEIGHT], c.data[DY], M, H,
                                             (double)1e-5F, add != 0 ? c.data[D_RESIDUAL] : NULL,
                                             dx);
        assert_int_equal(expected[D_X] != NULL, add);
        for (size_t i = 0; i < (size_t)M * H; i++) {
            assert_true(fabs(expected[D_RESIDUAL][i] - (double)dx[i]) < 1e-5);
            assert_true(add == 0 || expected[D_X][i] == expected[D_RESIDUAL][i]);
        }
        paro_case_expect_release(expected);
        paro_case_release(&c);
    }
}

static void test_space(void **state)
{
    (void)state;
    test_default_everywhere("norm_grad:h=1,m=1,dtype=f16,add=0");
    test_default_everywhere("norm_grad:h=4096,m=32768,dtype=f16,add=1,copy=1");
    test_default_everywhere("norm_grad:h=1048576,m=3,dtype=f32,add=1");
    const paro_problem problem = test_problem("norm_grad:h=128,m=1,dtype=f16,add=0");
    const paro_kernel_config config = {{64}};
    assert_string_equal(problem.family->constraint(&problem, &config, paro_arch_get(0)),
                        "half of the threads would have no channels");
}

/* Rows kept in registers and read again; vectors of four, two and one. */
static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_norm_grad_family");
    test_emulated(gpu, "norm_grad:h=576,m=4,dtype=f16,add=1,copy=1", "threads=128", 3, 2);
    test_emulated(gpu, "norm_grad:h=1030,m=2,dtype=bf16,add=0,copy=1", "threads=32", 0, 1);
    test_emulated(gpu, "norm_grad:h=7,m=2,dtype=f32,add=1", "", 0, 2);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_space),
                                       cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
