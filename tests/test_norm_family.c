/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "families/norm.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum {
    RESIDUAL = PARO_NORM_ARG_RESIDUAL,
    DELTA = PARO_NORM_ARG_DELTA,
    WEIGHT = PARO_NORM_ARG_WEIGHT,
    Y = PARO_NORM_ARG_Y
};

/* By hand; what agrees is accepted, and a residual that was not added to is not. */
static void test_reference(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    double residual[3], y[3], error = 0;
    double *expected[PARO_MAX_ARGS] = {[RESIDUAL] = residual, [Y] = y};
    const paro_problem problem = test_problem("norm:h=3,m=1,dtype=f32,add=1");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    memcpy(c.data[RESIDUAL], (float[]){1, 2, 3}, 12);
    memcpy(c.data[DELTA], (float[]){1, 0, -1}, 12);
    memcpy(c.data[WEIGHT], (float[]){1, 2, 0.5F}, 12);
    c.scalars[PARO_NORM_ARG_EPSILON].f32 = 0;
    assert_ok(problem.family->reference(&err, &c, NULL, expected));
    for (int i = 0; i < 3; i++) {
        assert_true(residual[i] == 2);
        assert_true(fabs(y[i] - (i == 0 ? 1 : i == 1 ? 2 : 0.5)) < 1e-12);
    }
    float sums[3 + PARO_CASE_GUARD_BYTES / 4], norms[3 + PARO_CASE_GUARD_BYTES / 4];
    paro_case_guard(RESIDUAL, (unsigned char *)(sums + 3));
    paro_case_guard(Y, (unsigned char *)(norms + 3));
    memcpy(sums, (float[]){2, 2, 2}, 12);
    memcpy(norms, (float[]){1, 2, 0.5F}, 12);
    void *results[PARO_MAX_ARGS] = {[RESIDUAL] = sums, [Y] = norms};
    assert_ok(paro_case_check(&err, &c, results, NULL, &error));
    results[RESIDUAL] = c.data[RESIDUAL];
    assert_fails(paro_case_check(&err, &c, results, NULL, &error), PARO_STATUS_FORMAT, "residual");
    paro_case_release(&c);
}

static void test_space(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "norm:h=1,m=1,dtype=f16,add=0",        "norm:h=4096,m=1,dtype=f16,add=1",
        "norm:h=4099,m=512,dtype=bf16,add=1",  "norm:h=1048576,m=3,dtype=f32,add=0",
        "norm:h=1024,m=65535,dtype=f16,add=1",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        test_default_everywhere(texts[i]);
    const paro_problem problem = test_problem(texts[0]);
    paro_kernel_config config = test_config(&problem, "");
    assert_int_equal(config.values[0], 32);
    config.values[0] = 64;
    assert_string_equal(problem.family->constraint(&problem, &config, paro_arch_get(0)),
                        "half of the threads would have no channels");
}

/* Vectors of four, two and one; rows kept in registers and read again; one warp and many. */
static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_norm_family");
    test_emulated(gpu, "norm:h=576,m=4,dtype=f16,add=1", "threads=128", 3, 2);
    test_emulated(gpu, "norm:h=1030,m=2,dtype=bf16,add=1", "threads=32", 0, 1);
    test_emulated(gpu, "norm:h=7,m=2,dtype=f32,add=0", "", 0, 2);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_space),
                                       cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
