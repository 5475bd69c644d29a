/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reference.h"
#include "families/rope_grad.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum {
    HEADS = 2,
    HEAD_DIM = 6,
    SAMPLES = 2,
    TOKENS = 3,
    SLOTS = 4,
    N = SAMPLES * TOKENS * SLOTS * HEAD_DIM
};

/* Queries, keys and values of the forward, each as its gradient lies, times those gradients: the
 * loss whose gradient the family has to find. */
static double loss_of(const paro_case *c, const double *qkv)
{
    const paro_rope rope = {.theta = 10000};
    double frequencies[HEAD_DIM / 2], loss = 0;
    paro_ref_rope_frequencies(&rope, HEAD_DIM, frequencies);
    for (size_t at = 0; at < (size_t)SAMPLES * TOKENS * SLOTS; at++) {
        const size_t row = at / SLOTS, slot = at % SLOTS, position = row % TOKENS;
        double weight[HEAD_DIM], v[HEAD_DIM];
        const float *norm =
            c->data[slot < HEADS ? PARO_ROPE_GRAD_ARG_Q_NORM : PARO_ROPE_GRAD_ARG_K_NORM];
        const float *d = c->data[slot < HEADS    ? PARO_ROPE_GRAD_ARG_D_Q
                                 : slot == HEADS ? PARO_ROPE_GRAD_ARG_D_KEYS
                                                 : PARO_ROPE_GRAD_ARG_D_VALUES];
        d += (slot < HEADS ? row * HEADS + slot : row) * HEAD_DIM; /* one kv head */
        memcpy(v, qkv + at * HEAD_DIM, sizeof v);
        if (slot < SLOTS - 1) {
            for (size_t i = 0; i < HEAD_DIM; i++)
                weight[i] = (double)norm[i];
            paro_ref_norm_f64(qkv + at * HEAD_DIM, weight, 1, HEAD_DIM,
                              (double)c->scalars[PARO_ROPE_GRAD_ARG_EPSILON].f32, v);
            paro_ref_rope_f64(v, 1, HEAD_DIM, frequencies, position);
        }
        for (size_t i = 0; i < HEAD_DIM; i++)
            loss += v[i] * (double)d[i];
    }
    return loss;
}

/* Against differences of the forward that base/reference.h defines. */
static void test_reference(void **state)
{
    (void)state;
    paro_error err;
    paro_case c;
    double *expected[PARO_MAX_ARGS] = {NULL}, qkv[N];
    const paro_problem problem = test_problem(
        "rope_grad:heads=2,kv_heads=1,head_dim=6,samples=2,tokens=3,dtype=f32,qk_norm=1");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    assert_ok(paro_case_expect(&err, &c, NULL, expected));
    assert_int_equal(c.info[PARO_ROPE_GRAD_ARG_QKV].n, N);
    for (size_t i = 0; i < N; i++)
        qkv[i] = (double)((const float *)c.data[PARO_ROPE_GRAD_ARG_QKV])[i];
    for (size_t i = 0; i < N; i++) {
        const double before = qkv[i], step = 1e-5;
        qkv[i] = before + step;
        const double high = loss_of(&c, qkv);
        qkv[i] = before - step;
        const double low = loss_of(&c, qkv);
        qkv[i] = before;
        assert_true(fabs((high - low) / (2 * step) - expected[PARO_ROPE_GRAD_ARG_D_QKV][i]) < 1e-6);
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
                                    "rope_grad:heads=3,kv_heads=2,head_dim=64,samples=1,tokens=1,"
                                    "dtype=f16",
                                    &problem),
                 PARO_STATUS_INVALID_ARGUMENT, "kv_heads to divide heads");
    assert_fails(paro_problem_parse(&err,
                                    "rope_grad:heads=64,kv_heads=8,head_dim=64,samples=65535,"
                                    "tokens=65535,dtype=f16",
                                    &problem),
                 PARO_STATUS_INVALID_ARGUMENT, "found samples=65535, tokens=65535");
    test_default_everywhere(
        "rope_grad:heads=32,kv_heads=8,head_dim=128,samples=16,tokens=2048,dtype=f16");
    test_default_everywhere(
        "rope_grad:heads=1,kv_heads=1,head_dim=2,samples=1,tokens=1,dtype=f32,qk_norm=1");
    problem = test_problem("rope_grad:heads=1,kv_heads=1,head_dim=2,samples=1,tokens=1,dtype=f32");
    const paro_kernel_config config = {{8}};
    assert_string_equal(problem.family->constraint(&problem, &config, paro_arch_get(0)),
                        "half of the warps would have no heads");
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_rope_grad_family");
    test_emulated(
        gpu, "rope_grad:heads=4,kv_heads=2,head_dim=128,samples=2,tokens=3,dtype=f16,qk_norm=1",
        "warps=4", 0, 2);
    test_emulated(gpu, "rope_grad:heads=3,kv_heads=1,head_dim=80,samples=3,tokens=1,dtype=bf16",
                  "warps=8", 0, 1);
    test_emulated(gpu,
                  "rope_grad:heads=1,kv_heads=1,head_dim=256,samples=1,tokens=2,dtype=f32,"
                  "qk_norm=1",
                  "", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_problems),
                                       cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
