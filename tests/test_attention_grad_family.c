/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "families/attention_grad.h"
#include "families/attention_train_case.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum { HEADS = 4, KV_HEADS = 2, HEAD_DIM = 6, SAMPLES = 2, TOKENS = 5 };
enum { N_Q = SAMPLES * TOKENS * HEADS * HEAD_DIM, N_KV = SAMPLES * TOKENS * KV_HEADS * HEAD_DIM };

static double loss_of(const paro_attention_train_case *c)
{
    static double y[N_Q], lse[SAMPLES * HEADS * TOKENS];
    double loss = 0;
    paro_attention_train_case_forward(c, NULL, y, lse);
    for (size_t i = 0; i < N_Q; i++)
        loss += y[i] * ((const double *)c->dy)[i];
    return loss;
}

/* Gradients of data [n] against differences. */
static void check_differences(const paro_attention_train_case *c, double *data, size_t n,
                              const double *gradient)
{
    for (size_t i = 0; i < n; i++) {
        const double before = data[i], step = 1e-5;
        data[i] = before + step;
        const double high = loss_of(c);
        data[i] = before - step;
        const double low = loss_of(c);
        data[i] = before;
        assert_true(fabs((high - low) / (2 * step) - gradient[i]) < 1e-7);
    }
}

/* The reference, all in fp64; with two threads the same. */
static void test_reference(void **state)
{
    (void)state;
    static double q[N_Q], keys[N_KV], values[N_KV], dy[N_Q];
    static double d_q[2][N_Q], d_keys[2][N_KV], d_values[2][N_KV];
    double *const inputs[] = {q, keys, values, dy};
    paro_error err;
    paro_pool *pool = NULL;
    paro_rng rng;
    paro_rng_seed(&rng, 5);
    for (size_t a = 0; a < 4; a++)
        for (size_t i = 0; i < (size_t)(inputs[a] == q || inputs[a] == dy ? N_Q : N_KV); i++)
            inputs[a][i] = 4 * paro_rng_f64(&rng) - 2;
    const paro_attention_train_case c = {.samples = SAMPLES,
                                         .tokens = TOKENS,
                                         .heads = HEADS,
                                         .kv_heads = KV_HEADS,
                                         .head_dim = HEAD_DIM,
                                         .dtype = PARO_DTYPE_F64,
                                         .q = q,
                                         .keys = keys,
                                         .values = values,
                                         .dy = dy};
    assert_ok(paro_pool_new(&err, 2, &pool));
    paro_attention_train_case_backward(&c, NULL, d_q[0], d_keys[0], d_values[0]);
    paro_attention_train_case_backward(&c, pool, d_q[1], d_keys[1], d_values[1]);
    assert_memory_equal(d_q[0], d_q[1], sizeof d_q[0]);
    assert_memory_equal(d_keys[0], d_keys[1], sizeof d_keys[0]);
    assert_memory_equal(d_values[0], d_values[1], sizeof d_values[0]);
    check_differences(&c, q, N_Q, d_q[0]);
    check_differences(&c, keys, N_KV, d_keys[0]);
    check_differences(&c, values, N_KV, d_values[0]);
    paro_pool_free(pool);
}

static void test_problems(void **state)
{
    (void)state;
    paro_error err;
    paro_problem problem;
    assert_fails(paro_problem_parse(&err,
                                    "attention_grad:heads=2,kv_heads=2,head_dim=40,samples=1,"
                                    "tokens=8,dtype=f16",
                                    &problem),
                 PARO_STATUS_INVALID_ARGUMENT, "found heads=2, kv_heads=2, head_dim=40");
    test_default_everywhere(
        "attention_grad:heads=32,kv_heads=8,head_dim=128,samples=16,tokens=2048,dtype=f16");
    test_default_everywhere(
        "attention_grad:heads=8,kv_heads=8,head_dim=256,samples=1,tokens=4096,dtype=f16");
    test_default_everywhere(
        "attention_grad:heads=1,kv_heads=1,head_dim=16,samples=1,tokens=2,dtype=f16");
    problem = test_problem(
        "attention_grad:heads=1,kv_heads=1,head_dim=256,samples=1,tokens=100,dtype=f16");
    const struct {
        paro_kernel_config config;
        const char *why;
    } rows[] = {{{{4, 16}}, "more shared memory than a block may have"},
                {{{8, 16}}, "more shared memory than a block may have"},
                {{{2, 16}}, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *why =
            problem.family->constraint(&problem, &rows[i].config, paro_arch_find("sm_75"));
        if (rows[i].why == NULL)
            assert_null(why);
        else
            assert_string_equal(why, rows[i].why);
    }
}

/* Blocks smaller and larger than a tile; rows that are not there on both sides; heads whose
 * channels are shared by two blocks, and by three. */
static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_attention_grad_family");
    test_emulated(gpu,
                  "attention_grad:heads=4,kv_heads=2,head_dim=32,samples=2,tokens=50,dtype=f16",
                  "warps=2,tile=16", 0, 2);
    test_emulated(gpu,
                  "attention_grad:heads=2,kv_heads=1,head_dim=48,samples=1,tokens=70,dtype=bf16",
                  "warps=1,tile=64", 0, 1);
    test_emulated(gpu,
                  "attention_grad:heads=1,kv_heads=1,head_dim=256,samples=1,tokens=33,dtype=f16",
                  "warps=2,tile=32", 0, 1);
    test_emulated(gpu,
                  "attention_grad:heads=1,kv_heads=1,head_dim=240,samples=1,tokens=20,dtype=f16",
                  "warps=1,tile=32", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_problems),
                                       cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
