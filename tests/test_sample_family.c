/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "families/sample.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum { LOGITS = PARO_SAMPLE_ARG_LOGITS, IDS = PARO_SAMPLE_ARG_IDS };

/* Rows of ten logits and what is sampled from each. */
static const struct {
    float logits[10];
    int32_t id;
} rows[] = {
    {{0, 1, 2, 3, 4, 5, 4, 3, 2, 1}, 5},
    {{7, 1, 7, 3, 7, 7, 4, 3, 2, 7}, 0},
    {{-9, -8, -7, -8, -9, -9, -9, -7, -8, -9}, 2},
    {{3, 3, 3, 3, 3, 3, 3, 3, 3, 3}, 0},
    {{0, 1, 2, 3, 4, 5, 4, 3, 2, NAN}, -1},
    {{INFINITY, 1, 2, 3, 4, 5, 4, 3, 2, 1}, -1},
    {{0, 1, 2, 3, 4, 5, 4, 3, -INFINITY, 1}, -1},
    {{-3e38F, -3e38F, -3e38F, -3e38F, -3e38F, -3e38F, -3e38F, -3e38F, -3e38F, -2e38F}, 9},
    {{-0.0F, 0, 0, -0.0F, 0, -1, -1, -1, -1, -1}, 0},
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static void fill_rows(paro_case *c)
{
    for (size_t i = 0; i < N_ROWS; i++)
        memcpy((float *)c->data[LOGITS] + 10 * i, rows[i].logits, sizeof rows[i].logits);
}

static void test_reference(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    double ids[N_ROWS];
    double *expected[PARO_MAX_ARGS] = {[IDS] = ids};
    const paro_problem problem = test_problem("sample:vocab=10,m=9");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    fill_rows(&c);
    assert_ok(problem.family->reference(&err, &c, NULL, expected));
    for (size_t i = 0; i < N_ROWS; i++)
        assert_true(ids[i] == rows[i].id);
    paro_case_release(&c);
}

static void test_space(void **state)
{
    (void)state;
    test_default_everywhere("sample:vocab=128256,m=1");
    test_default_everywhere("sample:vocab=151936,m=512");
    test_default_everywhere("sample:vocab=4194301,m=1");
    test_default_everywhere("sample:vocab=1,m=65535");
    const paro_problem problem = test_problem("sample:vocab=512,m=8");
    paro_kernel_config config = {{4, 64}};
    paro_launch_plan plan;
    assert_string_equal(problem.family->constraint(&problem, &config, paro_arch_get(0)),
                        "half of the threads would have no logits");
    problem.family->plan(&problem, &config, &plan);
    assert_int_equal(plan.n_launches, 2);
    config.values[0] = 1;
    problem.family->plan(&problem, &config, &plan);
    assert_int_equal(plan.n_launches, 1);
}

static void test_rows(void **state)
{
    (void)state;
    paro_error err;
    paro_gpu *gpu = test_emulator("test_sample_family");
    const paro_problem problem = test_problem("sample:vocab=10,m=9");
    for (int32_t splits = 1; splits <= 4; splits += 3) {
        const paro_kernel_config config = {{splits, 64}};
        paro_case c;
        assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
        fill_rows(&c);
        test_launch_case(gpu, &c);
        for (size_t i = 0; i < N_ROWS; i++)
            assert_int_equal(((const int32_t *)c.data[IDS])[i], rows[i].id);
        paro_case_release(&c);
    }
    paro_gpu_free(gpu);
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_sample_family");
    test_emulated(gpu, "sample:vocab=30004,m=8", "splits=64,threads=64", 7, 2);
    test_emulated(gpu, "sample:vocab=5001,m=16", "splits=1,threads=128", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_space), cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
