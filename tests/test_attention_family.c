/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reference.h"
#include "families/attention.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

enum { POSITION = PARO_ATTENTION_ARG_STATE, Y = PARO_ATTENTION_ARG_Y };

/* All heads at once in paro_ref_attention, whose keys lie the other way round. */
static void test_reference(void **state)
{
    (void)state;
    enum { HEADS = 4, KV_HEADS = 2, HEAD_DIM = 6, M = 3, CTX = 11, N = CTX * KV_HEADS * HEAD_DIM };
    paro_error err;
    const paro_problem problem =
        test_problem("attention:heads=4,kv_heads=2,head_dim=6,m=3,dtype=f32,ctx=11");
    const paro_kernel_config config = test_config(&problem, "");
    for (uint64_t seed = 0; seed < 6; seed++) {
        paro_case c;
        double y[M * HEADS * HEAD_DIM], right[M * HEADS * HEAD_DIM], q[M * HEADS * HEAD_DIM];
        double k[N], v[N];
        double *expected[PARO_MAX_ARGS] = {[Y] = y};
        assert_ok(paro_case_new(&err, &problem, &config, seed, NULL, &c));
        const uint32_t n_keys = *(const uint32_t *)c.data[POSITION] + M;
        assert_in_range(n_keys, M, CTX);
        if (seed % 2 == 0)
            assert_int_equal(n_keys, CTX);
        for (size_t i = 0; i < (size_t)M * HEADS * HEAD_DIM; i++)
            q[i] = (double)((const float *)c.data[PARO_ATTENTION_ARG_Q])[i];
        for (size_t i = 0; i < N; i++) {
            size_t head = i / (CTX * HEAD_DIM), key = i / HEAD_DIM % CTX, at = i % HEAD_DIM;
            float from = ((const float *)c.data[PARO_ATTENTION_ARG_KEYS])[i];
            assert_int_equal(isnan(from) != 0, key >= n_keys); /* poison behind the queries */
            k[(key * KV_HEADS + head) * HEAD_DIM + at] = (double)from;
            v[(key * KV_HEADS + head) * HEAD_DIM + at] =
                (double)((const float *)c.data[PARO_ATTENTION_ARG_VALUES])[i];
        }
        assert_ok(problem.family->reference(&err, &c, NULL, expected));
        paro_ref_attention_f64(q, k, v, M, n_keys, HEADS, KV_HEADS, HEAD_DIM, right);
        for (size_t i = 0; i < (size_t)M * HEADS * HEAD_DIM; i++)
            assert_true(fabs(y[i] - right[i]) < 1e-12);
        paro_case_release(&c);
    }
}

static void test_problems(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"attention:heads=3,kv_heads=2,head_dim=64,m=1,dtype=f16,ctx=9", "kv_heads to divide"},
        {"attention:heads=2,kv_heads=2,head_dim=63,m=1,dtype=f16,ctx=9", "even head_dim"},
        {"attention:heads=2,kv_heads=2,head_dim=64,m=10,dtype=f16,ctx=9", "ctx to be m or more"},
    };
    static const char *const right[] = {
        "attention:heads=32,kv_heads=8,head_dim=128,m=1,dtype=f16,ctx=2048",
        "attention:heads=32,kv_heads=8,head_dim=128,m=512,dtype=f16,ctx=2048",
        "attention:heads=71,kv_heads=1,head_dim=256,m=16,dtype=f32,ctx=16",
        "attention:heads=8,kv_heads=4,head_dim=254,m=512,dtype=f32,ctx=1000",
        "attention:heads=1,kv_heads=1,head_dim=2,m=1,dtype=bf16,ctx=1",
    };
    paro_error err;
    paro_problem problem;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_fails(paro_problem_parse(&err, wrong[i][0], &problem), PARO_STATUS_INVALID_ARGUMENT,
                     wrong[i][1]);
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
        test_default_everywhere(right[i]);
}

static void assert_constraint(const char *text, const char *arch, paro_kernel_config config,
                              const char *words)
{
    const paro_problem problem = test_problem(text);
    const char *found = problem.family->constraint(&problem, &config, paro_arch_find(arch));
    if (words == NULL)
        assert_null(found);
    else
        assert_string_equal(found, words);
}

/* In the order of params: splits, keys, stages, rows, row_warps, key_warps. */
static void test_constraints(void **state)
{
    (void)state;
    static const char decode[] = "attention:heads=4,kv_heads=1,head_dim=64,m=1,dtype=f16,ctx=256";
    static const char prefill[] =
        "attention:heads=32,kv_heads=8,head_dim=128,m=8,dtype=f16,ctx=2048";
    static const char wide[] = "attention:heads=8,kv_heads=1,head_dim=256,m=8,dtype=f32,ctx=256";
#define CONFIG(...) ((paro_kernel_config){{__VA_ARGS__}})
    assert_constraint(decode, "sm_75", CONFIG(2, 64, 1, 4, 1, 2), NULL);
    assert_constraint(decode, "sm_75", CONFIG(2, 128, 1, 1, 4, 4),
                      "warps that share keys where more rows would do");
    assert_constraint(decode, "sm_75", CONFIG(2, 32, 1, 4, 1, 2),
                      "a tile without keys for some warps");
    assert_constraint(decode, "sm_75", CONFIG(2, 128, 1, 4, 1, 1),
                      "a tile of more runs than warps have in flight");
    assert_constraint(decode, "sm_75", CONFIG(2, 128, 1, 4, 1, 2),
                      "a tile of more runs than warps have in flight");
    assert_constraint(decode, "sm_75", CONFIG(2, 64, 1, 2, 1, 2),
                      "keys read for fewer rows than there are");
    assert_constraint(decode, "sm_75", CONFIG(2, 64, 1, 8, 1, 2), "half of the rows would be none");
    assert_constraint(decode, "sm_75", CONFIG(16, 32, 1, 4, 1, 1),
                      "half of the splits would have no keys");
    assert_constraint(prefill, "sm_80", CONFIG(8, 64, 2, 4, 1, 2), "rows enough for more warps");
    assert_constraint(prefill, "sm_80", CONFIG(32, 64, 2, 8, 1, 1),
                      "blocks enough with fewer splits");
    assert_constraint(prefill, "sm_80", CONFIG(2, 64, 2, 4, 8, 1),
                      "too few blocks with many tiles each");
    assert_constraint(prefill, "sm_80", CONFIG(16, 64, 2, 4, 4, 1), NULL);
    assert_constraint(decode, "sm_75", CONFIG(2, 64, 2, 4, 1, 2),
                      "no asynchronous copies of 16 bytes");
    assert_constraint(decode, "sm_80", CONFIG(2, 64, 2, 4, 1, 2), NULL);
    assert_constraint(decode, "sm_80", CONFIG(2, 64, 1, 4, 1, 2), "one stage where two fit");
    assert_constraint(decode, "sm_75", CONFIG(2, 16, 1, 4, 1, 1),
                      "idle lanes where a tile of 32 keys fits");
    assert_constraint(wide, "sm_75", CONFIG(2, 32, 1, 8, 1, 1),
                      "more shared memory than a block may have");
    assert_constraint(wide, "sm_75", CONFIG(4, 16, 1, 8, 1, 1), NULL);
    assert_constraint(wide, "sm_90", CONFIG(2, 32, 2, 8, 1, 1), NULL);
#undef CONFIG
}

static bool count_config(void *context, const paro_kernel_config *config)
{
    (void)config;
    ++*(size_t *)context;
    return true;
}

/* Over shapes of heads: every default is in its space, which tuning has time for. */
static void test_spaces(void **state)
{
    (void)state;
    enum { MOST_CONFIGS = 60 };
    static const int heads[][2] = {{1, 1}, {3, 1}, {32, 8}, {71, 1}, {40, 40}};
    static const int head_dims[] = {2, 64, 96, 100, 128, 250, 256};
    static const int tokens[] = {1, 2, 3, 5, 8, 16, 32, 64, 512};
    static const char *const dtypes[] = {"f16", "f32"};
    for (size_t i = 0; i < 5 * 7 * 9 * 2 * 2; i++) {
        char text[PARO_PROBLEM_TEXT_BYTES];
        const int *h = heads[i % 5];
        snprintf(text, sizeof text,
                 "attention:heads=%d,kv_heads=%d,head_dim=%d,m=%d,dtype=%s,ctx=%d", h[0], h[1],
                 head_dims[i / 5 % 7], tokens[i / 35 % 9], dtypes[i / 315 % 2],
                 i / 630 == 0 ? 600 : 32768);
        test_default_everywhere(text);
        const paro_problem problem = test_problem(text);
        const paro_arch *arch = paro_arch_get(i % 12);
        size_t n = 0;
        paro_space_enumerate(&problem, arch, count_config, &n);
        if (n < 1 || n > MOST_CONFIGS)
            fail_msg("%s on %s: %zu configs", text, arch->name, n);
    }
}

static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_attention_family");
    /* one row a warp, rows of four, splits without keys where the position is low */
    test_emulated(gpu, "attention:heads=4,kv_heads=2,head_dim=64,m=1,dtype=f16,ctx=300",
                  "splits=8,keys=64,stages=2,rows=2,row_warps=1,key_warps=2", 0, 6);
    test_emulated(gpu, "attention:heads=3,kv_heads=3,head_dim=80,m=5,dtype=bf16,ctx=70",
                  "splits=2,keys=32,stages=2,rows=4,row_warps=2,key_warps=1", 3, 4);
    test_emulated(gpu, "attention:heads=6,kv_heads=2,head_dim=6,m=8,dtype=f32,ctx=140",
                  "splits=1,keys=128,stages=1,rows=8,row_warps=1,key_warps=4", 0, 4);
    test_emulated(gpu, "attention:heads=2,kv_heads=1,head_dim=250,m=2,dtype=f16,ctx=33",
                  "splits=1,keys=64,stages=1,rows=4,row_warps=1,key_warps=1", 0, 2);
    /* one row of channels that are no multiple of 16 bytes in shared memory */
    test_emulated(gpu, "attention:heads=1,kv_heads=1,head_dim=6,m=1,dtype=f16,ctx=40",
                  "splits=1,keys=64,stages=1,rows=1,row_warps=1,key_warps=2", 0, 2);
    paro_gpu_free(gpu);
}

/* The same grid for every position, the first token's too: most splits have no keys. */
static void test_positions(void **state)
{
    (void)state;
    enum { HEADS = 2, HEAD_DIM = 8, CTX = 257 };
    static const uint32_t positions[] = {0, 1, 31, 32, 64, 255, 256};
    paro_error err;
    paro_gpu *gpu = test_emulator("test_attention_family");
    const paro_problem problem =
        test_problem("attention:heads=2,kv_heads=1,head_dim=8,m=1,dtype=f32,ctx=257");
    const paro_kernel_config config =
        test_config(&problem, "splits=8,keys=32,stages=2,rows=2,key_warps=1");
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        paro_case c;
        double y[HEADS * HEAD_DIM];
        double *expected[PARO_MAX_ARGS] = {[Y] = y};
        assert_ok(paro_case_new(&err, &problem, &config, 2, NULL, &c));
        *(uint32_t *)c.data[POSITION] = positions[i];
        memset((float *)c.data[PARO_ATTENTION_ARG_KEYS] + (positions[i] + 1) * HEAD_DIM, 0xFF,
               (CTX - 1 - positions[i]) * HEAD_DIM * sizeof(float));
        memset((float *)c.data[PARO_ATTENTION_ARG_VALUES] + (positions[i] + 1) * HEAD_DIM, 0xFF,
               (CTX - 1 - positions[i]) * HEAD_DIM * sizeof(float));
        assert_ok(problem.family->reference(&err, &c, NULL, expected));
        test_launch_case(gpu, &c);
        for (size_t at = 0; at < (size_t)HEADS * HEAD_DIM; at++)
            assert_true(fabs((double)((const float *)c.data[Y])[at] - y[at]) < 1e-5);
        paro_case_release(&c);
    }
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),   cmocka_unit_test(test_problems),
        cmocka_unit_test(test_constraints), cmocka_unit_test(test_spaces),
        cmocka_unit_test(test_kernels),     cmocka_unit_test(test_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
