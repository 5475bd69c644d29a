/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "families/embed.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

static void test_reference(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    double residual[4];
    double *expected[PARO_MAX_ARGS] = {[PARO_EMBED_ARG_RESIDUAL] = residual};
    const paro_problem problem = test_problem("embed:vocab=3,h=2,m=2,dtype=f32");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    memcpy(c.data[PARO_EMBED_ARG_IDS], (int32_t[]){2, 0}, 8);
    memcpy(c.data[PARO_EMBED_ARG_TABLE], (float[]){1, 2, 3, 4, 5, 6}, 24);
    assert_ok(problem.family->reference(&err, &c, NULL, expected));
    assert_true(residual[0] == 5 && residual[1] == 6 && residual[2] == 1 && residual[3] == 2);
    paro_case_release(&c);
}

static void test_space(void **state)
{
    (void)state;
    test_default_everywhere("embed:vocab=128256,h=4096,m=1,dtype=f16");
    test_default_everywhere("embed:vocab=1,h=1,m=65535,dtype=bf16");
    test_default_everywhere("embed:vocab=262144,h=1048575,m=512,dtype=f32");
    const paro_problem problem = test_problem("embed:vocab=9,h=512,m=8,dtype=f16");
    const paro_kernel_config config = {{128}};
    assert_string_equal(problem.family->constraint(&problem, &config, paro_arch_get(0)),
                        "half of the threads would have no channels");
}

/* Ids outside the table: NaN, and no read (the emulator, or a sanitizer, would see it). */
static void test_outside(void **state)
{
    (void)state;
    enum { H = 10, M = 4 };
    paro_error err;
    paro_case c;
    paro_gpu *gpu = test_emulator("test_embed_family");
    const paro_problem problem = test_problem("embed:vocab=7,h=10,m=4,dtype=f16");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    memcpy(c.data[PARO_EMBED_ARG_IDS], (int32_t[]){6, 7, -1, INT32_MIN}, 16);
    test_launch_case(gpu, &c);
    const float *residual = c.data[PARO_EMBED_ARG_RESIDUAL];
    for (int i = 0; i < H * M; i++)
        assert_int_equal(isnan(residual[i]) != 0, i >= H);
    paro_case_release(&c);
    paro_gpu_free(gpu);
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_embed_family");
    test_emulated(gpu, "embed:vocab=100,h=1048,m=4,dtype=f16", "", 3, 2);
    test_emulated(gpu, "embed:vocab=5,h=33,m=3,dtype=bf16", "", 0, 1);
    test_emulated(gpu, "embed:vocab=5,h=260,m=3,dtype=f32", "", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_space), cmocka_unit_test(test_outside),
                                       cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
