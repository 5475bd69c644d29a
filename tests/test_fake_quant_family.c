/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/fake_quant.h"
#include "families/fake_quant.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

#include "tests/fake_quant_fixture.h"

enum { W_HAT = PARO_FAKE_QUANT_ARG_W_HAT };

/* The reference is what calibration on the CPU computes. */
static void check_reference(const char *text)
{
    paro_error err;
    paro_case c;
    paro_train_linear linear;
    const paro_problem problem = test_problem(text);
    const paro_kernel_config config = test_config(&problem, "");
    double *expected[PARO_MAX_ARGS] = {NULL};
    assert_ok(paro_case_new(&err, &problem, &config, 5, NULL, &c));
    assert_ok(paro_case_expect(&err, &c, NULL, expected));
    test_train_linear(&problem, c.data, &linear);
    float *w_hat = malloc((size_t)c.info[W_HAT].n * sizeof *w_hat);
    assert_non_null(w_hat);
    assert_ok(paro_fake_quant_forward(&err, &linear, NULL, w_hat));
    assert_true(test_relative_error(w_hat, expected[W_HAT], (size_t)c.info[W_HAT].n) < 2e-6);
    free(w_hat);
    paro_train_linear_release(&linear);
    paro_case_expect_release(expected);
    paro_case_release(&c);
}

static void test_reference(void **state)
{
    (void)state;
    check_reference("fake_quant:n=70,k=256,group=128,krot=8,learned=0,dtype=f32");
    check_reference("fake_quant:n=70,k=256,group=64,krot=3,bits=3,learned=1,dtype=f32");
    check_reference("fake_quant:n=70,k=256,group=256,krot=16,bits=8,learned=0,dtype=f32");
    check_reference("fake_quant:n=9,k=96,group=32,krot=0,bits=2,learned=1,dtype=f32");
}

/* The data of a case do not depend on the number of threads, and some groups are
 * zeros only. */
static void test_fill(void **state)
{
    (void)state;
    paro_error err;
    paro_case c, other;
    paro_pool *pool = NULL;
    const paro_problem problem =
        test_problem("fake_quant:n=300,k=256,group=64,krot=2,learned=0,dtype=f32");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_pool_new(&err, 2, &pool));
    assert_ok(paro_case_new(&err, &problem, &config, 5, NULL, &c));
    assert_ok(paro_case_new(&err, &problem, &config, 5, pool, &other));
    for (size_t arg = 0; arg < W_HAT; arg++)
        if (c.data[arg] != NULL)
            assert_memory_equal(c.data[arg], other.data[arg],
                                (size_t)c.info[arg].n * paro_dtype_bytes(c.info[arg].dtype));
    size_t n_zeros = 0;
    for (size_t i = 0; i < c.info[PARO_FAKE_QUANT_ARG_W].n; i++)
        n_zeros += ((const float *)c.data[PARO_FAKE_QUANT_ARG_W])[i] == 0;
    assert_in_range(n_zeros, 64, c.info[PARO_FAKE_QUANT_ARG_W].n / 8);
    paro_case_release(&other);
    paro_case_release(&c);
    paro_pool_free(pool);
}

static void test_space(void **state)
{
    (void)state;
    paro_error err;
    paro_problem problem;
    assert_fails(paro_problem_parse(
                     &err, "fake_quant:n=8,k=100,group=64,krot=1,learned=0,dtype=f16", &problem),
                 PARO_STATUS_INVALID_ARGUMENT, "k a multiple of it, found group=64, k=100");
    test_default_everywhere("fake_quant:n=4096,k=14336,group=128,krot=8,learned=0,dtype=f16");
    test_default_everywhere("fake_quant:n=1048576,k=32,group=32,krot=0,learned=1,dtype=f32");
    test_default_everywhere("fake_quant:n=1,k=256,group=256,krot=16,learned=1,dtype=bf16");
    problem = test_problem("fake_quant:n=40,k=256,group=256,krot=16,learned=0,dtype=f16");
    const struct {
        paro_kernel_config config;
        const char *why;
    } rows[] = {{{{8, 8, 32}}, "warps without rows"},
                {{{4, 4, 128}}, "half of the strip would have no rows"},
                {{{8, 8, 64}}, "more shared memory than a block may have"},
                {{{4, 4, 64}}, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *why =
            problem.family->constraint(&problem, &rows[i].config, paro_arch_find("sm_75"));
        if (rows[i].why == NULL)
            assert_null(why);
        else
            assert_string_equal(why, rows[i].why);
    }
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_fake_quant_family");
    test_emulated(gpu, "fake_quant:n=70,k=256,group=128,krot=8,learned=0,dtype=f16",
                  "rows=4,warps=2,strip=32", 0, 2);
    test_emulated(gpu, "fake_quant:n=33,k=256,group=256,krot=16,bits=8,learned=0,dtype=f32",
                  "rows=8,warps=1,strip=32", 0, 2);
    test_emulated(gpu, "fake_quant:n=37,k=96,group=32,krot=3,bits=3,learned=1,dtype=f32",
                  "rows=1,warps=8,strip=32", 0, 2);
    test_emulated(gpu, "fake_quant:n=5,k=128,group=64,krot=0,bits=2,learned=1,dtype=bf16",
                  "rows=2,warps=4,strip=32", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
