/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reference.h"
#include "families/attention_train.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum {
    Q = PARO_ATTENTION_TRAIN_ARG_Q,
    KEYS = PARO_ATTENTION_TRAIN_ARG_KEYS,
    VALUES = PARO_ATTENTION_TRAIN_ARG_VALUES,
    Y = PARO_ATTENTION_TRAIN_ARG_Y,
    LSE = PARO_ATTENTION_TRAIN_ARG_LSE
};

enum { HEADS = 4, KV_HEADS = 2, HEAD_DIM = 16, SAMPLES = 2, TOKENS = 9 };

/* Each sample's y is base/reference.h's attention, and lse the logarithm of the sum it has. */
static void test_reference(void **state)
{
    (void)state;
    enum { N_Q = TOKENS * HEADS * HEAD_DIM, N_KV = TOKENS * KV_HEADS * HEAD_DIM };
    paro_error err;
    paro_case c;
    double *expected[PARO_MAX_ARGS] = {NULL};
    static double q[N_Q], k[N_KV], v[N_KV], y[N_Q];
    const paro_problem problem =
        test_problem("attention_train:heads=4,kv_heads=2,head_dim=16,samples=2,tokens=9,dtype=f16");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    assert_ok(paro_case_expect(&err, &c, NULL, expected));
    for (size_t sample = 0; sample < SAMPLES; sample++) {
        for (size_t i = 0; i < N_Q; i++)
            q[i] = paro_element_get(c.data[Q], PARO_DTYPE_F16, sample * N_Q + i);
        for (size_t i = 0; i < N_KV; i++) { /* [kv_heads, tokens] to [tokens, kv_heads] */
            const size_t token = i / HEAD_DIM % TOKENS, head = i / HEAD_DIM / TOKENS;
            const size_t to = (token * KV_HEADS + head) * HEAD_DIM + i % HEAD_DIM;
            k[to] = paro_element_get(c.data[KEYS], PARO_DTYPE_F16, sample * N_KV + i);
            v[to] = paro_element_get(c.data[VALUES], PARO_DTYPE_F16, sample * N_KV + i);
        }
        paro_ref_attention_f64(q, k, v, TOKENS, TOKENS, HEADS, KV_HEADS, HEAD_DIM, y);
        for (size_t i = 0; i < N_Q; i++)
            assert_true(fabs(expected[Y][sample * N_Q + i] - y[i]) < 1e-12);
        for (size_t row = 0; row < TOKENS * HEADS; row++) {
            const size_t head = row / TOKENS, token = row % TOKENS;
            double sum = 0;
            for (size_t j = 0; j <= token; j++) {
                double score = 0;
                for (size_t i = 0; i < HEAD_DIM; i++)
                    score += q[(token * HEADS + head) * HEAD_DIM + i] *
                             k[(j * KV_HEADS + head / 2) * HEAD_DIM + i];
                sum += exp(score / sqrt(HEAD_DIM));
            }
            assert_true(fabs(expected[LSE][sample * TOKENS * HEADS + row] - log(sum)) < 1e-12);
        }
    }
    paro_case_expect_release(expected);
    paro_case_release(&c);
}

static void test_problems(void **state)
{
    (void)state;
    paro_error err;
    paro_problem problem;
    assert_fails(paro_problem_parse(&err,
                                    "attention_train:heads=3,kv_heads=2,head_dim=64,samples=1,"
                                    "tokens=8,dtype=f16",
                                    &problem),
                 PARO_STATUS_INVALID_ARGUMENT, "kv_heads to divide heads");
    assert_fails(paro_problem_parse(&err,
                                    "attention_train:heads=2,kv_heads=2,head_dim=40,samples=1,"
                                    "tokens=8,dtype=f16",
                                    &problem),
                 PARO_STATUS_INVALID_ARGUMENT, "found heads=2, kv_heads=2, head_dim=40");
    test_default_everywhere(
        "attention_train:heads=32,kv_heads=8,head_dim=128,samples=16,tokens=2048,dtype=f16");
    test_default_everywhere(
        "attention_train:heads=8,kv_heads=8,head_dim=256,samples=1,tokens=4096,dtype=f16");
    test_default_everywhere(
        "attention_train:heads=1,kv_heads=1,head_dim=16,samples=1,tokens=1,dtype=f16");
    problem = test_problem(
        "attention_train:heads=1,kv_heads=1,head_dim=256,samples=1,tokens=40,dtype=bf16");
    const struct {
        const char *arch;
        paro_kernel_config config;
        const char *why;
    } rows[] = {
        {"sm_75", {{1, 16}}, "no tensor core for the dtype"},
        {"sm_80", {{8, 16}}, "half of the warps would have no rows"},
        {"sm_80", {{1, 64}}, "more scores than registers have room for beside a row's channels"},
        {"sm_80", {{4, 32}}, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *why =
            problem.family->constraint(&problem, &rows[i].config, paro_arch_find(rows[i].arch));
        if (rows[i].why == NULL)
            assert_null(why);
        else
            assert_string_equal(why, rows[i].why);
    }
}

/* Several tiles of queries and of keys, both with rows that are not there; blocks smaller and
 * larger than a tile. */
static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_attention_train_family");
    test_emulated(gpu,
                  "attention_train:heads=4,kv_heads=2,head_dim=64,samples=2,tokens=75,dtype=f16",
                  "warps=2,tile=16", 0, 2);
    test_emulated(gpu,
                  "attention_train:heads=2,kv_heads=1,head_dim=80,samples=1,tokens=70,dtype=bf16",
                  "warps=1,tile=64", 0, 1);
    test_emulated(gpu,
                  "attention_train:heads=1,kv_heads=1,head_dim=256,samples=1,tokens=33,dtype=f16",
                  "warps=4,tile=32", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_problems),
                                       cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
