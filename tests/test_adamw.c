/* SPDX-License-Identifier: MIT
 *
 * AdamW against its definition in fp64, and the schedule of its rate.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/adamw.h"
#include "tests/train_fixture.h"

static const paro_adamw_options options = {
    .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-10, .weight_decay = 0.01};

/* Gradients of all sizes, some zero. */
static float gradient_of(size_t i, uint64_t step)
{
    paro_rng rng;
    paro_rng_seed(&rng, i * 1000 + step);
    float size = i % 5 == 0 ? 1e-8F : i % 5 == 1 ? 1e3F : i % 5 == 2 ? 0 : 1;
    return size * (paro_rng_normal(&rng) + 0.5F);
}

static void test_definition(void **state)
{
    (void)state;
    enum { N = 500, N_STEPS = 40 };
    paro_error err;
    paro_adamw adamw;
    assert_ok(paro_adamw_new(&err, N, &adamw));
    float parameter[N], gradient[N];
    double expected[N], first[N] = {0}, second[N] = {0};
    for (size_t i = 0; i < N; i++)
        expected[i] = parameter[i] = (float)i / 100 - 2;
    for (uint64_t step = 1; step <= N_STEPS; step++) {
        double lr = 0.05 / (double)step;
        for (size_t i = 0; i < N; i++) {
            double g = gradient[i] = gradient_of(i, step);
            first[i] = 0.9 * first[i] + 0.1 * g;
            second[i] = 0.95 * second[i] + 0.05 * g * g;
            double m = first[i] / (1 - pow(0.9, (double)step));
            double v = second[i] / (1 - pow(0.95, (double)step));
            expected[i] -= lr * 0.01 * expected[i] + lr * m / (sqrt(v) + 1e-10);
        }
        paro_adamw_step(&adamw, NULL, &options, lr, step, gradient, parameter);
        for (size_t i = 0; i < N; i++)
            assert_true(fabs((double)parameter[i] - expected[i]) < 1e-5);
    }
    paro_adamw_release(&adamw);
    paro_adamw_release(&adamw);
    paro_adamw_release(NULL);
}

/* A parameter that is 0 and has no gradient stays 0. */
static void test_zero_stays(void **state)
{
    (void)state;
    paro_error err;
    paro_adamw adamw;
    assert_ok(paro_adamw_new(&err, 2, &adamw));
    float parameter[2] = {0, 0};
    const float gradient[2] = {0, 1e-3F};
    for (uint64_t step = 1; step <= 10; step++)
        paro_adamw_step(&adamw, NULL, &options, 0.05, step, gradient, parameter);
    assert_true(parameter[0] == 0 && parameter[1] < -0.1F);
    paro_adamw_release(&adamw);
    assert_ok(paro_adamw_new(&err, 0, &adamw));
    paro_adamw_step(&adamw, NULL, &options, 0.05, 1, NULL, NULL);
    paro_adamw_release(&adamw);
}

/* The sum of squares of a parameter against a target comes down. */
static void test_descends(void **state)
{
    (void)state;
    paro_error err;
    paro_adamw adamw;
    assert_ok(paro_adamw_new(&err, 1, &adamw));
    const paro_adamw_options plain = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-10};
    float x = 5;
    for (uint64_t step = 0; step < 300; step++) {
        const float gradient = 2 * (x - 1);
        paro_adamw_step(&adamw, NULL, &plain, paro_cosine_lr(0.1, 0.01, step, 300), step + 1,
                        &gradient, &x);
    }
    assert_true(fabsf(x - 1) < 0.01F);
    paro_adamw_release(&adamw);
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    enum { N = 50001 };
    paro_error err;
    float *parameters[2], *gradient = malloc(N * sizeof *gradient);
    for (int k = 0; k < 2; k++) {
        paro_pool *pool = new_pool(1 + 2 * k);
        paro_adamw adamw;
        assert_ok(paro_adamw_new(&err, N, &adamw));
        parameters[k] = calloc(N, sizeof *parameters[k]);
        for (uint64_t step = 1; step <= 3; step++) {
            for (size_t i = 0; i < N; i++)
                gradient[i] = gradient_of(i, step);
            paro_adamw_step(&adamw, pool, &options, 0.05, step, gradient, parameters[k]);
        }
        paro_adamw_release(&adamw);
        paro_pool_free(pool);
    }
    assert_memory_equal(parameters[0], parameters[1], N * sizeof(float));
    assert_true(parameters[0][N - 1] != 0);
    free(parameters[0]);
    free(parameters[1]);
    free(gradient);
}

static void test_cosine(void **state)
{
    (void)state;
    assert_true(paro_cosine_lr(2, 0.05, 0, 101) == 2);
    assert_true(fabs(paro_cosine_lr(2, 0.05, 50, 101) - 1.05) < 1e-12);
    assert_true(fabs(paro_cosine_lr(2, 0.05, 100, 101) - 0.1) < 1e-12);
    assert_true(fabs(paro_cosine_lr(2, 0.05, 1000, 101) - 0.1) < 1e-12);
    assert_true(paro_cosine_lr(2, 0.05, 0, 1) == 2 && paro_cosine_lr(2, 0.05, 0, 0) == 2);
    for (uint64_t step = 1; step < 101; step++)
        assert_true(paro_cosine_lr(2, 0.05, step, 101) < paro_cosine_lr(2, 0.05, step - 1, 101));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition), cmocka_unit_test(test_zero_stays),
        cmocka_unit_test(test_descends),   cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_cosine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
