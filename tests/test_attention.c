/* SPDX-License-Identifier: MIT
 *
 * Tests of cpu/attention.c against fp64.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/reference.h"
#include "base/rng.h"
#include "cpu/attention.h"

static void *alloc(size_t n_bytes)
{
    void *data = calloc(1, n_bytes + 1);
    assert_non_null(data);
    return data;
}

typedef struct shape {
    size_t n_queries, n_keys;
    uint32_t n_heads, n_kv_heads, head_dim;
    float sharpness; /* of q: large values make one key win */
} shape;

typedef struct problem {
    shape s;
    paro_kv_view kv;
    float *q, *keys, *values, *out;
    size_t n_out;
    double *expected;
} problem;

static void make(problem *p, shape s, uint64_t seed)
{
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    p->s = s;
    size_t capacity = s.n_keys + 3; /* what stands behind n_keys must not matter */
    size_t n_cache = s.n_kv_heads * capacity * s.head_dim;
    size_t n_kv = s.n_keys * s.n_kv_heads * s.head_dim;
    p->n_out = s.n_queries * s.n_heads * s.head_dim;
    p->q = alloc(p->n_out * sizeof(float));
    p->out = alloc(p->n_out * sizeof(float));
    p->keys = alloc(n_cache * sizeof(float));
    p->values = alloc(n_cache * sizeof(float));
    p->expected = alloc(p->n_out * sizeof(double));
    double *q = alloc(p->n_out * sizeof(double));
    double *k = alloc(n_kv * sizeof(double)), *v = alloc(n_kv * sizeof(double));
    for (size_t i = 0; i < n_cache; i++)
        p->keys[i] = p->values[i] = NAN;
    for (size_t i = 0; i < p->n_out; i++) {
        p->q[i] = s.sharpness * paro_rng_normal(&rng);
        q[i] = p->q[i];
        p->out[i] = NAN;
    }
    for (size_t key = 0; key < s.n_keys; key++)
        for (size_t head = 0; head < s.n_kv_heads; head++)
            for (size_t c = 0; c < s.head_dim; c++) {
                size_t cache = (head * capacity + key) * s.head_dim + c;
                size_t at = (key * s.n_kv_heads + head) * s.head_dim + c;
                k[at] = p->keys[cache] = paro_rng_normal(&rng);
                v[at] = p->values[cache] = paro_rng_normal(&rng);
            }
    p->kv = (paro_kv_view){.keys = p->keys,
                           .values = p->values,
                           .capacity = capacity,
                           .n_keys = s.n_keys,
                           .n_kv_heads = s.n_kv_heads,
                           .head_dim = s.head_dim};
    paro_ref_attention_f64(q, k, v, s.n_queries, s.n_keys, s.n_heads, s.n_kv_heads, s.head_dim,
                           p->expected);
    free(q);
    free(k);
    free(v);
}

static void release(problem *p)
{
    free(p->q);
    free(p->keys);
    free(p->values);
    free(p->out);
    free(p->expected);
}

/* Both sides of where the ways part and of every block's edge. */
static const shape shapes[] = {
    {1, 1, 1, 1, 2, 1},      {1, 7, 4, 2, 64, 1},     {1, 256, 4, 4, 32, 1},
    {1, 257, 6, 2, 24, 1},   {3, 700, 4, 1, 64, 1},   {8, 8, 2, 1, 16, 1},
    {8, 260, 2, 2, 128, 1},  {9, 9, 2, 1, 64, 1},     {64, 64, 4, 2, 64, 1},
    {65, 65, 3, 3, 20, 1},   {130, 700, 4, 2, 64, 1}, {70, 1100, 2, 1, 128, 1},
    {512, 513, 2, 1, 64, 1}, {1, 600, 2, 2, 64, 30},  {100, 1100, 2, 2, 64, 30},
    {600, 600, 1, 1, 7, 1},  {2, 2000, 8, 2, 80, 5},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        problem p;
        make(&p, shapes[i], 40 + i);
        paro_error err;
        assert_int_equal(
            paro_attention_forward(&err, NULL, &p.kv, p.q, p.s.n_queries, p.s.n_heads, p.out),
            PARO_STATUS_OK);
        double difference = 0, size = 0;
        for (size_t j = 0; j < p.n_out; j++) {
            difference += (p.out[j] - p.expected[j]) * (p.out[j] - p.expected[j]);
            size += p.expected[j] * p.expected[j];
        }
        /* A score of size s is wrong by about s * 1e-7, and so is its weight. */
        double tolerance = 1e-6 * p.s.sharpness;
        if (!(sqrt(difference / size) < tolerance))
            fail_msg("shape %zu: error %g", i, sqrt(difference / size));
        release(&p);
    }
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        problem p;
        make(&p, shapes[i], 70 + i);
        float *first = alloc(p.n_out * sizeof *first);
        for (int n_threads = 1; n_threads <= 3; n_threads++) {
            paro_pool *pool = NULL;
            assert_int_equal(paro_pool_new(NULL, n_threads, &pool), PARO_STATUS_OK);
            float *out = n_threads == 1 ? first : p.out;
            assert_int_equal(
                paro_attention_forward(NULL, pool, &p.kv, p.q, p.s.n_queries, p.s.n_heads, out),
                PARO_STATUS_OK);
            if (n_threads > 1)
                assert_memory_equal(first, out, p.n_out * sizeof *out);
            paro_pool_free(pool);
        }
        free(first);
        release(&p);
    }
}

static void refuses_what_cannot_be(void **state)
{
    (void)state;
    float q[64] = {0}, cache[64] = {0}, out[64] = {5};
    paro_kv_view kv = {
        .keys = cache, .values = cache, .capacity = 2, .n_keys = 2, .n_kv_heads = 2, .head_dim = 4};
    paro_error err;
    assert_int_equal(paro_attention_forward(&err, NULL, &kv, q, 1, 3, out),
                     PARO_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "found 3 heads, 2 kv heads"));
    assert_int_equal(paro_attention_forward(&err, NULL, &kv, q, 3, 2, out),
                     PARO_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "found 3, 2, 2"));
    kv.n_keys = 3;
    assert_int_equal(paro_attention_forward(&err, NULL, &kv, q, 1, 2, out),
                     PARO_STATUS_INVALID_ARGUMENT);
    kv.n_keys = 2;
    assert_int_equal(paro_attention_forward(&err, NULL, &kv, q, 0, 2, out), PARO_STATUS_OK);
    assert_true(out[0] == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_right),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
