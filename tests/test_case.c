/* SPDX-License-Identifier: MIT
 *
 * families/case.c and families/random.c: cases are filled and poisoned, and wrong results are seen,
 * however few of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "families/random.h"
#include "families/rotate.h"
#include "tests/support.h"

enum { H = 128, M = 3, N = H * M, X = PARO_ROTATE_ARG_X, Y = PARO_ROTATE_ARG_Y };

typedef struct fixture {
    paro_problem problem;
    paro_kernel_config config;
    paro_case c;
    void *results[PARO_MAX_ARGS];
} fixture;

static void fixture_new(fixture *f, const char *text)
{
    paro_error err;
    memset(f, 0, sizeof *f);
    assert_ok(paro_problem_parse(&err, text, &f->problem));
    f->problem.family->default_config(&f->problem, paro_arch_find("sm_90"), &f->config);
    assert_ok(paro_case_new(&err, &f->problem, &f->config, 7, NULL, &f->c));
    for (size_t arg = 0; arg < paro_family_n_args(f->problem.family); arg++) {
        if (f->c.data[arg] == NULL)
            continue;
        size_t n_bytes = (size_t)f->c.info[arg].n * paro_dtype_bytes(f->c.info[arg].dtype) +
                         PARO_CASE_GUARD_BYTES;
        f->results[arg] = malloc(n_bytes);
        assert_non_null(f->results[arg]);
        memcpy(f->results[arg], f->c.data[arg], n_bytes);
    }
}

static void fixture_free(fixture *f)
{
    for (size_t arg = 0; arg < PARO_MAX_ARGS; arg++)
        free(f->results[arg]);
    paro_case_release(&f->c);
}

/* What a right kernel gives. */
static void put_expected(fixture *f)
{
    paro_error err;
    double *expected[PARO_MAX_ARGS] = {NULL};
    double values[N];
    float narrow[N];
    expected[Y] = values;
    assert_ok(f->problem.family->reference(&err, &f->c, NULL, expected));
    for (size_t i = 0; i < N; i++)
        narrow[i] = (float)values[i];
    paro_array_from_f32(f->results[Y], f->c.info[Y].dtype, narrow, N);
}

static const char f16_problem[] = "rotate:h=128,m=3,group=64,krot=2,dtype=f16";
static const char f32_problem[] = "rotate:h=128,m=3,group=64,krot=2,dtype=f32";

static void test_new(void **state)
{
    fixture f;
    (void)state;
    fixture_new(&f, f16_problem);
    assert_int_equal(f.c.info[X].n, N);
    assert_int_equal(f.c.scalars[PARO_ROTATE_ARG_M].u32, M);
    assert_null(f.c.data[PARO_ROTATE_ARG_M]);
    for (size_t i = 0; i < N; i++) /* outputs are poison, which is no number */
        assert_true(isnan(paro_element_get(f.c.data[Y], PARO_DTYPE_F16, i)));
    for (size_t i = 0; i < N; i++)
        assert_true(isfinite(paro_element_get(f.c.data[X], PARO_DTYPE_F16, i)));
    unsigned char guards[PARO_MAX_ARGS][PARO_CASE_GUARD_BYTES];
    for (size_t arg = 0; arg < PARO_MAX_ARGS; arg++) {
        float values[PARO_CASE_GUARD_BYTES / 4];
        paro_case_guard(arg, guards[arg]);
        memcpy(values, guards[arg], sizeof values);
        for (size_t i = 0; i < PARO_CASE_GUARD_BYTES / 4; i++)
            assert_true(isnan(values[i]));
        for (size_t i = 0; i < PARO_CASE_GUARD_BYTES / 2; i++) {
            assert_true(isnan(paro_element_get(guards[arg], PARO_DTYPE_F16, i)));
            assert_true(isnan(paro_element_get(guards[arg], PARO_DTYPE_BF16, i)));
        }
        for (size_t i = 0; i < arg * PARO_CASE_GUARD_BYTES; i += 2) /* others' differ everywhere */
            assert_int_not_equal(guards[i / PARO_CASE_GUARD_BYTES][i % PARO_CASE_GUARD_BYTES],
                                 guards[arg][i % PARO_CASE_GUARD_BYTES]);
    }
    assert_memory_equal((const unsigned char *)f.c.data[X] + N * 2, guards[X],
                        PARO_CASE_GUARD_BYTES);
    fixture_free(&f);
    paro_case_release(&f.c); /* again is fine */
    paro_case_release(NULL);
}

static void test_seed(void **state)
{
    paro_error err;
    paro_pool *pool;
    paro_problem problem;
    paro_kernel_config config;
    paro_case a, b, c;
    (void)state;
    assert_ok(paro_pool_new(&err, 3, &pool));
    assert_ok(paro_problem_parse(&err, "rotate:h=4096,m=5,group=128,krot=8,dtype=f32", &problem));
    problem.family->default_config(&problem, paro_arch_find("sm_75"), &config);
    assert_ok(paro_case_new(&err, &problem, &config, 1, NULL, &a));
    assert_ok(paro_case_new(&err, &problem, &config, 1, pool, &b));
    assert_ok(paro_case_new(&err, &problem, &config, 2, pool, &c));
    for (size_t arg = 0; arg < Y; arg++) {
        size_t n_bytes = (size_t)a.info[arg].n * paro_dtype_bytes(a.info[arg].dtype);
        assert_memory_equal(a.data[arg], b.data[arg], n_bytes);
        assert_memory_not_equal(a.data[arg], c.data[arg], n_bytes);
    }
    paro_case_release(&a);
    paro_case_release(&b);
    paro_case_release(&c);
    paro_pool_free(pool);
}

static void test_random(void **state)
{
    enum { COUNT = 100000 };
    float *values = malloc(COUNT * sizeof *values);
    double sum = 0, squares = 0, most = 0;
    unsigned char bytes[13];
    (void)state;
    assert_non_null(values);
    paro_random_normal(values, PARO_DTYPE_F32, COUNT, 3, 2, 9, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        double away = (double)values[i] - 3;
        sum += away;
        squares += away * away;
        most = fmax(most, fabs(away));
    }
    assert_true(fabs(sum / COUNT) < 0.05);
    assert_true(fabs(sqrt(squares / COUNT) - 2) < 0.05);
    assert_true(most < 2 * 3.5 && most > 2 * 2.5);
    free(values);
    memset(bytes, 0, sizeof bytes);
    paro_random_bytes(bytes, 11, 1, NULL);
    assert_int_equal(bytes[11] | bytes[12], 0);
    assert_int_not_equal(paro_random_seed(1, 0), paro_random_seed(1, 1));
    assert_int_not_equal(paro_random_seed(1, 0), paro_random_seed(0, 1));
}

static void test_right(void **state)
{
    paro_error err;
    double error = -1;
    fixture f;
    (void)state;
    fixture_new(&f, f16_problem);
    put_expected(&f);
    assert_ok(paro_case_check(&err, &f.c, f.results, NULL, &error));
    assert_true(error > 1e-5 && error < 4e-4); /* half an ulp of fp16, about */
    for (size_t arg = 0; arg < Y; arg++) {     /* what was read need not be shown */
        free(f.results[arg]);
        f.results[arg] = NULL;
    }
    assert_ok(paro_case_check(&err, &f.c, f.results, NULL, &error));
    fixture_free(&f);

    fixture_new(&f, f32_problem);
    put_expected(&f);
    assert_ok(paro_case_check(&err, &f.c, f.results, NULL, &error));
    assert_true(error > 1e-9 && error < 1e-7);
    fixture_free(&f);
}

static void test_wrong(void **state)
{
    paro_error err;
    double error = -1;
    fixture f;
    (void)state;
    fixture_new(&f, f32_problem);
    /* Nothing written at all. */
    assert_fails(paro_case_check(&err, &f.c, f.results, NULL, &error), PARO_STATUS_FORMAT,
                 "rotate: y[0]: expected");
    put_expected(&f);
    float *y = f.results[Y], right = y[200];
    y[200] = INFINITY;
    assert_fails(paro_case_check(&err, &f.c, f.results, NULL, &error), PARO_STATUS_FORMAT,
                 "rotate: y[200]: expected");
    y[200] = right + 0.01f;
    assert_fails(paro_case_check(&err, &f.c, f.results, NULL, &error), PARO_STATUS_FORMAT,
                 "worst at [200]");
    y[200] = right;
    for (size_t i = 0; i < N; i++) /* a little everywhere */
        y[i] *= 1 + 2e-5f;
    assert_fails(paro_case_check(&err, &f.c, f.results, NULL, &error), PARO_STATUS_FORMAT,
                 "at most 1e-05, found 2");
    assert_true(error == -1); /* untouched */
    fixture_free(&f);
}

/* One element of many: the norm would not tell. */
static void test_one_of_many(void **state)
{
    paro_error err;
    paro_problem problem;
    paro_kernel_config config;
    paro_case c;
    double error = -1;
    (void)state;
    assert_ok(paro_problem_parse(&err, "rotate:h=32768,m=16,group=128,krot=0,dtype=f16", &problem));
    problem.family->default_config(&problem, paro_arch_find("sm_75"), &config);
    assert_ok(paro_case_new(&err, &problem, &config, 1, NULL, &c));
    /* krot is 0: y is x times the scales. */
    const float *scales = c.data[PARO_ROTATE_ARG_CHANNEL_SCALES];
    uint16_t *y = c.data[Y];
    for (size_t i = 0; i < (size_t)c.info[Y].n; i++)
        y[i] = paro_f16_from_f32((float)paro_element_get(c.data[X], PARO_DTYPE_F16, i) *
                                 scales[i % 32768]);
    assert_ok(paro_case_check(&err, &c, c.data, NULL, &error));
    y[300000] = paro_f16_from_f32(paro_f32_from_f16(y[300000]) + 0.7f);
    assert_fails(paro_case_check(&err, &c, c.data, NULL, &error), PARO_STATUS_FORMAT,
                 "worst at [300000]");
    paro_case_release(&c);
}

static void test_strayed(void **state)
{
    paro_error err;
    double error;
    fixture f;
    (void)state;
    fixture_new(&f, f16_problem);
    put_expected(&f);
    ((unsigned char *)f.results[Y])[N * 2 + PARO_CASE_GUARD_BYTES - 1] = 0;
    assert_fails(paro_case_check(&err, &f.c, f.results, NULL, &error), PARO_STATUS_FORMAT,
                 "rotate: y: expected 768 bytes, found byte 255 behind its end written");
    ((unsigned char *)f.results[Y])[N * 2 + PARO_CASE_GUARD_BYTES - 1] = 0xFF;
    ((unsigned char *)f.results[X])[5] ^= 1;
    assert_fails(paro_case_check(&err, &f.c, f.results, NULL, &error), PARO_STATUS_FORMAT,
                 "rotate: x: expected an input as it was");
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),     cmocka_unit_test(test_seed),
        cmocka_unit_test(test_random),  cmocka_unit_test(test_right),
        cmocka_unit_test(test_wrong),   cmocka_unit_test(test_one_of_many),
        cmocka_unit_test(test_strayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
