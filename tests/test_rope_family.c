/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reference.h"
#include "families/rope.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

/* Against the runtime's formula: the reference's queries are those of paro_ref_rope. */
static void test_reference(void **state)
{
    (void)state;
    enum { HEADS = 2, HEAD_DIM = 6, M = 3, SLOTS = 4, CAPACITY = 64 };
    paro_error err;
    paro_case c;
    double q[M * HEADS * HEAD_DIM], keys[CAPACITY * HEAD_DIM], values[CAPACITY * HEAD_DIM];
    double *expected[PARO_MAX_ARGS] = {
        [PARO_ROPE_ARG_Q] = q, [PARO_ROPE_ARG_KEYS] = keys, [PARO_ROPE_ARG_VALUES] = values};
    double frequencies[HEAD_DIM / 2];
    const paro_rope rope = {.theta = 10000};
    const paro_problem problem =
        test_problem("rope:heads=2,kv_heads=1,head_dim=6,m=3,dtype=f32,qk_norm=1");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    assert_int_equal(c.scalars[PARO_ROPE_ARG_CAPACITY].u32, CAPACITY);
    assert_ok(problem.family->reference(&err, &c, NULL, expected));
    paro_ref_rope_frequencies(&rope, HEAD_DIM, frequencies);
    const uint32_t position = *(const uint32_t *)c.data[PARO_ROPE_ARG_STATE];
    const float *qkv = c.data[PARO_ROPE_ARG_QKV];
    for (size_t at = 0; at < (size_t)M * SLOTS; at++) {
        const size_t token = at / SLOTS, slot = at % SLOTS;
        double raw[HEAD_DIM], weight[HEAD_DIM], v[HEAD_DIM];
        const float *norm = c.data[slot < HEADS ? PARO_ROPE_ARG_Q_NORM : PARO_ROPE_ARG_K_NORM];
        for (size_t i = 0; i < HEAD_DIM; i++) {
            v[i] = raw[i] = (double)qkv[at * HEAD_DIM + i];
            weight[i] = (double)norm[i];
        }
        if (slot < SLOTS - 1) {
            paro_ref_norm_f64(raw, weight, 1, HEAD_DIM,
                              (double)c.scalars[PARO_ROPE_ARG_EPSILON].f32, v);
            paro_ref_rope_f64(v, 1, HEAD_DIM, frequencies, position + token);
        }
        const double *found = slot < HEADS    ? q + (token * HEADS + slot) * HEAD_DIM
                              : slot == HEADS ? keys + (position + token) * HEAD_DIM
                                              : values + (position + token) * HEAD_DIM;
        for (size_t i = 0; i < HEAD_DIM; i++)
            assert_true(fabs(found[i] - v[i]) < 1e-6);
    }
    /* A row before (or behind) is as it was. */
    const size_t other = position > 0 ? 0 : CAPACITY - 1;
    for (size_t i = 0; i < HEAD_DIM; i++)
        assert_true(keys[other * HEAD_DIM + i] ==
                    (double)((const float *)c.data[PARO_ROPE_ARG_KEYS])[other * HEAD_DIM + i]);
    paro_case_release(&c);
}

static void test_problems(void **state)
{
    (void)state;
    paro_error err;
    paro_problem problem;
    assert_fails(
        paro_problem_parse(&err, "rope:heads=3,kv_heads=2,head_dim=64,m=1,dtype=f16", &problem),
        PARO_STATUS_INVALID_ARGUMENT, "kv_heads to divide heads");
    assert_fails(
        paro_problem_parse(&err, "rope:heads=2,kv_heads=2,head_dim=63,m=1,dtype=f16", &problem),
        PARO_STATUS_INVALID_ARGUMENT, "even head_dim");
    test_default_everywhere("rope:heads=32,kv_heads=8,head_dim=128,m=1,dtype=f16,qk_norm=0");
    test_default_everywhere("rope:heads=1,kv_heads=1,head_dim=2,m=1,dtype=f32,qk_norm=1");
    test_default_everywhere("rope:heads=1024,kv_heads=1024,head_dim=256,m=512,dtype=bf16");
    problem = test_problem("rope:heads=1,kv_heads=1,head_dim=2,m=1,dtype=f32");
    const paro_kernel_config config = {{8}};
    assert_string_equal(problem.family->constraint(&problem, &config, paro_arch_get(0)),
                        "half of the warps would have no heads");
}

/* Tokens for which the cache has no room are left out: nothing is written behind it. */
static void test_full(void **state)
{
    (void)state;
    enum { CAPACITY = 64, HEAD_DIM = 8 };
    paro_error err;
    paro_case c;
    paro_gpu *gpu = test_emulator("test_rope_family");
    const paro_problem problem = test_problem("rope:heads=2,kv_heads=2,head_dim=8,m=3,dtype=f32");
    const paro_kernel_config config = test_config(&problem, "");
    assert_ok(paro_case_new(&err, &problem, &config, 3, NULL, &c));
    *(uint32_t *)c.data[PARO_ROPE_ARG_STATE] = CAPACITY - 1;
    float before[2 * CAPACITY * HEAD_DIM];
    memcpy(before, c.data[PARO_ROPE_ARG_KEYS], sizeof before);
    test_launch_case(gpu, &c);
    const float *keys = c.data[PARO_ROPE_ARG_KEYS];
    for (size_t i = 0; i < 2 * CAPACITY * HEAD_DIM; i++)
        assert_int_equal(keys[i] != before[i], i / HEAD_DIM % CAPACITY == CAPACITY - 1);
    paro_case_release(&c);
    paro_gpu_free(gpu);
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_rope_family");
    test_emulated(gpu, "rope:heads=4,kv_heads=2,head_dim=128,m=4,dtype=f16,qk_norm=1", "warps=4", 3,
                  2);
    test_emulated(gpu, "rope:heads=3,kv_heads=1,head_dim=80,m=3,dtype=bf16,qk_norm=0", "warps=4", 0,
                  2);
    test_emulated(gpu, "rope:heads=1,kv_heads=1,head_dim=256,m=2,dtype=f32,qk_norm=1", "", 0, 1);
    test_emulated(gpu, "rope:heads=1,kv_heads=1,head_dim=2,m=1,dtype=f16,qk_norm=1", "", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_problems), cmocka_unit_test(test_full),
                                       cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
