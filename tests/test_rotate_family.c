/* SPDX-License-Identifier: MIT
 *
 * families/rotate.c: its arguments, reference, launches and limits. Its kernels run in
 * test_families and test_properties.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "families/holes.h"
#include "families/rotate.h"
#include "families/rotation_tables.h"
#include "tests/support.h"

static paro_problem problem_of(const char *text)
{
    paro_error err;
    paro_problem problem;
    assert_ok(paro_problem_parse(&err, text, &problem));
    return problem;
}

static void test_plan(void **state)
{
    const paro_problem problem =
        problem_of("rotate:h=4160,m=512,group=32,krot=8,dtype=bf16,outputs=3");
    const paro_kernel_config config = {{4, 8}};
    paro_launch_plan plan;
    paro_arg_info info;
    paro_error err;
    paro_holes holes;
    (void)state;
    paro_family_rotate.plan(&problem, &config, &plan);
    assert_int_equal(plan.n_launches, 1);
    assert_string_equal(plan.launches[0].kernel, "rotate");
    assert_int_equal(plan.launches[0].grid[0], 9); /* 4160 / (8 warps of 64), upwards */
    assert_int_equal(plan.launches[0].grid[1], 128);
    assert_int_equal(plan.launches[0].grid[2], 3);
    assert_int_equal(plan.launches[0].n_threads, 256);
    assert_int_equal(plan.launches[0].shared_bytes, 8 * 64 * 4 * 4);
    paro_family_rotate.arg_info(&problem, &config, PARO_ROTATE_ARG_Y, &info);
    assert_int_equal(info.n, (uint64_t)3 * 512 * 4160);
    assert_int_equal(info.dtype, PARO_DTYPE_BF16);
    paro_family_rotate.arg_info(&problem, &config, PARO_ROTATE_ARG_PAIRS, &info);
    assert_int_equal(info.n, 3 * 8 * 4160);
    assert_int_equal(info.dtype, PARO_DTYPE_U8);
    assert_ok(paro_holes_make(&err, &problem, &config, paro_arch_get(0), &holes));
    assert_string_equal(paro_holes_find(&holes, "dtype")->value, "bf16");
    assert_string_equal(paro_holes_find(&holes, "inverse")->value, "false");
    paro_holes_release(&holes);
}

/* No rounds: there are no tables of them. */
static void test_absent(void **state)
{
    const paro_problem problem = problem_of("rotate:h=64,m=1,group=32,krot=0,dtype=f32");
    const paro_kernel_config config = {{1, 1}};
    paro_error err;
    paro_case c;
    (void)state;
    assert_ok(paro_case_new(&err, &problem, &config, 1, NULL, &c));
    assert_null(c.data[PARO_ROTATE_ARG_PAIRS]);
    assert_null(c.data[PARO_ROTATE_ARG_COSSIN]);
    assert_non_null(c.data[PARO_ROTATE_ARG_CHANNEL_SCALES]);
    paro_case_release(&c);
}

static void test_constraint(void **state)
{
    const paro_problem one = problem_of("rotate:h=128,m=1,group=128,krot=8,dtype=f16");
    const paro_problem large = problem_of("rotate:h=4096,m=8,group=256,krot=8,dtype=f16");
    const paro_arch *arch = paro_arch_find("sm_75");
    const paro_kernel_config wide = {{1, 2}}, many = {{2, 1}}, most = {{8, 8}};
    (void)state;
    assert_string_equal(paro_family_rotate.constraint(&one, &wide, arch),
                        "half of the warps would have no channels");
    assert_string_equal(paro_family_rotate.constraint(&one, &many, arch),
                        "half of the tokens would be none");
    assert_null(paro_family_rotate.constraint(&large, &most, arch));
    paro_arch small = *arch;
    small.max_shared_bytes = 65535;
    assert_string_equal(paro_family_rotate.constraint(&large, &most, &small),
                        "more shared memory than a block may have");
}

/* Rotated and turned back, by the references of the two directions. */
static void test_reference(void **state)
{
    enum { H = 192, M = 2, OUTPUTS = 3 };
    const paro_problem problem = problem_of("rotate:h=192,m=2,group=64,krot=5,dtype=f32,outputs=3");
    const paro_problem back =
        problem_of("rotate:h=192,m=2,group=64,krot=5,dtype=f32,outputs=3,inverse=1");
    const paro_kernel_config config = {{1, 1}};
    double y[OUTPUTS * M * H], x[OUTPUTS * M * H];
    double *expected[PARO_MAX_ARGS] = {NULL};
    paro_error err;
    paro_case c;
    (void)state;
    assert_ok(paro_case_new(&err, &problem, &config, 5, NULL, &c));
    const float *input = c.data[PARO_ROTATE_ARG_X];
    expected[PARO_ROTATE_ARG_Y] = y;
    assert_ok(paro_family_rotate.reference(&err, &c, NULL, expected));
    for (size_t row = 0; row < (size_t)OUTPUTS * M; row++) {
        /* Row r of an output back: put it in as x, take the same output. */
        float kept[M * H];
        memcpy(kept, input, sizeof kept);
        for (size_t i = 0; i < H; i++)
            ((float *)c.data[PARO_ROTATE_ARG_X])[i] = (float)y[row * H + i];
        c.problem = &back;
        expected[PARO_ROTATE_ARG_Y] = x;
        assert_ok(paro_family_rotate.reference(&err, &c, NULL, expected));
        for (size_t i = 0; i < H; i++)
            assert_true(fabs(x[row / M * M * H + i] - (double)kept[row % M * H + i]) < 1e-5);
        memcpy(c.data[PARO_ROTATE_ARG_X], kept, sizeof kept);
    }
    paro_case_release(&c);
}

static void test_cost(void **state)
{
    const paro_problem problem =
        problem_of("rotate:h=4096,m=16,group=128,krot=8,dtype=f16,outputs=2");
    paro_cost cost;
    (void)state;
    paro_family_rotate.cost(&problem, &cost);
    assert_true(cost.bytes == 3 * 16 * 4096 * 2 + 2 * 4096 * (4 + 8 * 5));
    assert_true(cost.operations == 2 * 16 * 4096 * (1 + 3 * 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),       cmocka_unit_test(test_absent),
        cmocka_unit_test(test_constraint), cmocka_unit_test(test_reference),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
