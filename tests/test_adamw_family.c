/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "families/adamw.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum {
    GRADIENT = PARO_ADAMW_ARG_GRADIENT,
    STEP = PARO_ADAMW_ARG_STEP,
    SCHEDULE = PARO_ADAMW_ARG_SCHEDULE,
    PARAMETER = PARO_ADAMW_ARG_PARAMETER,
    FIRST = PARO_ADAMW_ARG_FIRST,
    SECOND = PARO_ADAMW_ARG_SECOND
};

/* The first step of all, by hand: moments are corrected to gradient and its square, so that every
 * parameter moves by lr. */
static void test_reference(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    double *expected[PARO_MAX_ARGS] = {NULL};
    const paro_problem problem = test_problem("adamw:n=3,advance=1");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    memcpy(c.data[GRADIENT], (float[]){4, -0.5F, 0}, 12);
    memcpy(c.data[PARAMETER], (float[]){1, 2, 3}, 12);
    memset(c.data[FIRST], 0, 12);
    memset(c.data[SECOND], 0, 12);
    paro_adamw_schedule_row(0.5, 0.9, 0.95, 1, c.data[SCHEDULE]);
    c.scalars[PARO_ADAMW_ARG_GRADIENT_SCALE].f32 = 0.5F;
    c.scalars[PARO_ADAMW_ARG_DECAY].f32 = 0.25F;
    assert_ok(paro_case_expect(&err, &c, NULL, expected));
    const double parameters[] = {0.875 - 0.5, 1.75 + 0.5, 2.625}, firsts[] = {0.2, -0.025, 0};
    for (size_t i = 0; i < 3; i++) {
        assert_true(fabs(expected[PARAMETER][i] - parameters[i]) < 1e-6);
        assert_true(fabs(expected[FIRST][i] - firsts[i]) < 1e-6);
        assert_true(fabs(expected[SECOND][i] - 5 * firsts[i] * firsts[i]) < 1e-6);
    }
    assert_true(expected[STEP][0] == 1);
    paro_case_expect_release(expected);
    paro_case_release(&c);
}

static void test_schedule(void **state)
{
    (void)state;
    float row[PARO_ADAMW_SCHEDULE_ROW];
    paro_adamw_schedule_row(0.25, 0.9, 0.999, 1, row);
    assert_true(row[0] == 0.25F && fabs((double)row[1] - 10) < 1e-5);
    assert_true(fabs((double)row[2] - 1000) < 1e-3);
    paro_adamw_schedule_row(0.25, 0.9, 0.999, 100000, row);
    assert_true(row[1] == 1 && row[2] == 1);
}

static void test_space(void **state)
{
    (void)state;
    test_default_everywhere("adamw:n=1");
    test_default_everywhere("adamw:n=2147483648,dtype=f16,steps=1280,advance=1");
    test_default_everywhere("adamw:n=58720255,dtype=bf16");
    const paro_problem problem = test_problem("adamw:n=256");
    const paro_kernel_config config = {{128}};
    assert_string_equal(problem.family->constraint(&problem, &config, paro_arch_get(0)),
                        "half of the threads would have no numbers");
}

/* Two steps with nothing of the host's between them: the second has the second row's rate. */
static void test_steps(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    paro_gpu *gpu = test_emulator("test_adamw_family");
    const paro_problem problem = test_problem("adamw:n=2,steps=2,advance=1");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    memcpy(c.data[GRADIENT], (float[]){1, -1}, 8);
    memcpy(c.data[PARAMETER], (float[]){0, 0}, 8);
    memset(c.data[FIRST], 0, 8);
    memset(c.data[SECOND], 0, 8);
    memset(c.data[STEP], 0, 4);
    paro_adamw_schedule_row(0.5, 0.9, 0.95, 1, c.data[SCHEDULE]);
    paro_adamw_schedule_row(0.125, 0.9, 0.95, 2,
                            (float *)c.data[SCHEDULE] + PARO_ADAMW_SCHEDULE_ROW);
    c.scalars[PARO_ADAMW_ARG_DECAY].f32 = 0;
    test_launch_case(gpu, &c);
    test_launch_case(gpu, &c);
    const float *p = c.data[PARAMETER];
    assert_int_equal(*(const uint32_t *)c.data[STEP], 2);
    assert_true(fabsf(p[0] + 0.625F) < 1e-5F && fabsf(p[1] - 0.625F) < 1e-5F);
    paro_case_release(&c);
    paro_gpu_free(gpu);
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_adamw_family");
    test_emulated(gpu, "adamw:n=5000,steps=5", "threads=128", 0, 2);
    test_emulated(gpu, "adamw:n=1001,dtype=f16,advance=1", "", 0, 1);
    test_emulated(gpu, "adamw:n=70,dtype=bf16,steps=3,advance=1", "", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference), cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_space),     cmocka_unit_test(test_steps),
        cmocka_unit_test(test_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
