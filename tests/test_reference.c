/* SPDX-License-Identifier: MIT
 *
 * base/reference.c: every operation against numbers worked out by hand, against what it must be by
 * nature (rotations keep lengths, products are linear), and fp32 against fp64.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/dtype.h"
#include "base/reference.h"
#include "base/rng.h"
#include "tests/support.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static const double pi = 3.14159265358979323846;

static void assert_near_f64(const double *found, const double *expected, size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(found[i] - expected[i]) <= tolerance))
            fail_msg("[%zu]: expected %.17g, found %.17g", i, expected[i], found[i]);
}

/* Relative L2 distance of fp32 values to fp64 ones. */
static double distance(const float *a, const double *b, size_t n)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return sqrt(difference / norm);
}

/* n normal numbers that fp32 holds exactly. */
static void fill(paro_rng *rng, double *x, float *x_f32, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float value = paro_rng_normal(rng);
        x[i] = (double)value;
        if (x_f32 != NULL)
            x_f32[i] = value;
    }
}

enum { ROTATION_N = 24, ROTATION_GROUP = 8, ROTATION_K = 5 };

typedef struct rotation_fixture {
    int16_t pairs[ROTATION_K * ROTATION_N];
    double theta[ROTATION_K * ROTATION_N / 2];
    paro_rotation rotation;
} rotation_fixture;

/* Random disjoint pairs in every group; one empty slot (a channel with itself, angle 0). */
static void make_rotation(rotation_fixture *f, uint64_t seed)
{
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    for (size_t start = 0; start < N_OF(f->pairs); start += ROTATION_GROUP) {
        int16_t *group = f->pairs + start;
        for (int i = 0; i < ROTATION_GROUP; i++)
            group[i] = (int16_t)i;
        for (int i = ROTATION_GROUP - 1; i > 0; i--) {
            int k = (int)paro_rng_below(&rng, (uint64_t)i + 1);
            int16_t swapped = group[i];
            group[i] = group[k];
            group[k] = swapped;
        }
    }
    for (size_t i = 0; i < N_OF(f->theta); i++)
        f->theta[i] = (paro_rng_f64(&rng) - 0.5) * 2 * pi;
    f->pairs[1] = f->pairs[0];
    f->theta[0] = 0;
    f->rotation = (paro_rotation){ROTATION_N, ROTATION_GROUP, ROTATION_K, f->pairs, f->theta};
}

static void test_rotation_by_hand(void **state)
{
    (void)state;
    /* Two groups of four, one round: (0, 2) by 90 degrees, (3, 1) by 30; then (1, 0) by 180, and an
     * empty slot. (v_i, v_j) <- (v_i cos + v_j sin, -v_i sin + v_j cos). */
    const int16_t pairs[8] = {0, 2, 3, 1, 1, 0, 2, 2};
    const double theta[4] = {pi / 2, pi / 6, pi, 0};
    const paro_rotation rotation = {8, 4, 1, pairs, theta};
    double x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const double c = sqrt(3) / 2, s = 0.5;
    const double expected[8] = {3, -4 * s + 2 * c, -1, 4 * c + 2 * s, -5, -6, 7, 8};
    paro_ref_rotate_f64(&rotation, x, 1);
    assert_near_f64(x, expected, 8, 1e-15 * 8);
}

static void test_rounds_are_in_order(void **state)
{
    (void)state;
    /* Round 0 turns (0, 1) by 90 degrees, round 1 (1, 2): e_1 -> e_0, e_2 -> e_1, e_0 -> -e_1 ->
     * e_2. */
    const int16_t pairs[8] = {0, 1, 2, 2, 1, 2, 0, 0};
    const double theta[4] = {pi / 2, 0, pi / 2, 0};
    const paro_rotation rotation = {4, 4, 2, pairs, theta};
    double x[12] = {1, 0, 0, 0, /**/ 0, 1, 0, 0, /**/ 0, 0, 1, 0};
    const double expected[12] = {0, 0, 1, 0, /**/ 1, 0, 0, 0, /**/ 0, 1, 0, 0};
    paro_ref_rotate_f64(&rotation, x, 3);
    assert_near_f64(x, expected, 12, 1e-15);
}

static void test_rotation_properties(void **state)
{
    (void)state;
    enum { ROWS = 3, N = ROWS * ROTATION_N };
    paro_rng rng;
    paro_rng_seed(&rng, 11);
    for (uint64_t seed = 0; seed < 20; seed++) {
        rotation_fixture f;
        make_rotation(&f, seed);
        double x[N], y[N], back[N], sum[N];
        float x_f32[N];
        fill(&rng, x, x_f32, N);
        memcpy(y, x, sizeof x);
        paro_ref_rotate_f64(&f.rotation, y, ROWS);

        /* Lengths and scalar products of rows stay, in every group. */
        for (int a = 0; a < ROWS; a++) {
            for (int b = 0; b < ROWS; b++) {
                for (int group = 0; group < ROTATION_N; group += ROTATION_GROUP) {
                    double before = 0, after = 0;
                    for (int i = group; i < group + ROTATION_GROUP; i++) {
                        before += x[a * ROTATION_N + i] * x[b * ROTATION_N + i];
                        after += y[a * ROTATION_N + i] * y[b * ROTATION_N + i];
                    }
                    assert_near_f64(&after, &before, 1, 1e-13);
                }
            }
        }
        /* The inverse restores, from either side. */
        memcpy(back, y, sizeof y);
        paro_ref_unrotate_f64(&f.rotation, back, ROWS);
        assert_near_f64(back, x, N, 1e-14);
        memcpy(back, x, sizeof x);
        paro_ref_unrotate_f64(&f.rotation, back, ROWS);
        paro_ref_rotate_f64(&f.rotation, back, ROWS);
        assert_near_f64(back, x, N, 1e-14);
        /* Linear: R(2 x_0 + x_1) = 2 R(x_0) + R(x_1). */
        for (int i = 0; i < ROTATION_N; i++)
            sum[i] = 2 * x[i] + x[ROTATION_N + i];
        paro_ref_rotate_f64(&f.rotation, sum, 1);
        for (int i = 0; i < ROTATION_N; i++)
            back[i] = 2 * y[i] + y[ROTATION_N + i];
        assert_near_f64(sum, back, ROTATION_N, 1e-13);
        /* fp32 is the same computation. */
        paro_ref_rotate_f32(&f.rotation, x_f32, ROWS);
        assert_true(distance(x_f32, y, N) < 5e-7);
        paro_ref_unrotate_f32(&f.rotation, x_f32, ROWS);
        assert_true(distance(x_f32, x, N) < 1e-6);
    }
    /* No rounds, no change. */
    double x[ROTATION_N];
    fill(&rng, x, NULL, ROTATION_N);
    const double first = x[0];
    const paro_rotation identity = {ROTATION_N, ROTATION_GROUP, 0, NULL, NULL};
    paro_ref_rotate_f64(&identity, x, 1);
    assert_true(x[0] == first);
}

/* Whatever R is, y = R(x / s) R(W s)^T is x W^T: what makes the transform free of loss. */
static void test_transform_cancels_in_the_product(void **state)
{
    (void)state;
    enum { OUT = 5 };
    rotation_fixture f;
    make_rotation(&f, 3);
    paro_rng rng;
    paro_rng_seed(&rng, 4);
    double x[ROTATION_N], w[OUT * ROTATION_N], plain[OUT], turned[OUT];
    fill(&rng, x, NULL, N_OF(x));
    fill(&rng, w, NULL, N_OF(w));
    paro_ref_linear_f64(x, w, NULL, 1, ROTATION_N, OUT, plain);
    for (int i = 0; i < ROTATION_N; i++) {
        double s = exp(paro_rng_f64(&rng) - 0.5);
        x[i] /= s;
        for (int out = 0; out < OUT; out++)
            w[out * ROTATION_N + i] *= s;
    }
    paro_ref_rotate_f64(&f.rotation, x, 1);
    paro_ref_rotate_f64(&f.rotation, w, OUT);
    paro_ref_linear_f64(x, w, NULL, 1, ROTATION_N, OUT, turned);
    assert_near_f64(turned, plain, OUT, 1e-13);
}

static void test_quantise_by_hand(void **state)
{
    (void)state;
    /* bits 2: codes 0..3. Group -1 .. 2: scale 1, zero 1. Group 0 .. 3: scale 1, zero 0. All
     * positive counts from 0. A tie goes to the even: 0.5 -> 0, 1.5 -> 2. */
    const double w[12] = {-1, 2, 0.5, 1.5, /**/ 0, 3, 0.5, 2.5, /**/ 6, 6, 6, 3};
    uint8_t codes[12], zeros[3];
    double scales[3], back[12];
    paro_ref_quantise_f64(w, 1, 12, 4, 2, NULL, codes, scales, zeros);
    assert_memory_equal(codes, ((const uint8_t[12]){0, 3, 1, 3, 0, 3, 0, 2, 3, 3, 3, 2}), 12);
    assert_memory_equal(zeros, ((const uint8_t[3]){1, 0, 0}), 3);
    assert_near_f64(scales, (const double[3]){1, 1, 2}, 3, 0);
    paro_ref_dequantise_f64(codes, scales, zeros, 1, 12, 4, back);
    assert_near_f64(back, (const double[12]){-1, 2, 0, 2, 0, 3, 0, 2, 6, 6, 6, 4}, 12, 0);
}

static void test_quantise_flat_groups(void **state)
{
    (void)state;
    const double w[8] = {0, 0, 0, 0, /**/ -1e-9, 1e-9, 0, 0};
    uint8_t codes[8], zeros[2];
    double scales[2], back[8];
    paro_ref_quantise_f64(w, 2, 4, 4, 4, NULL, codes, scales, zeros);
    assert_near_f64(scales, (const double[2]){1e-5, 1e-5}, 2, 0);
    paro_ref_dequantise_f64(codes, scales, zeros, 2, 4, 4, back);
    for (int i = 0; i < 8; i++)
        assert_true(back[i] == 0);
}

static double to_half(double x)
{
    return (double)paro_f32_from_f16(paro_f16_from_f32((float)x));
}

static void test_quantise_properties(void **state)
{
    (void)state;
    enum { ROWS = 6, N = 64, GROUP = 16, ALL = ROWS * N };
    paro_rng rng;
    paro_rng_seed(&rng, 21);
    double w[ALL], scales[ALL / GROUP], back[ALL], scales2[ALL / GROUP];
    float w_f32[ALL], scales_f32[ALL / GROUP];
    uint8_t codes[ALL], zeros[ALL / GROUP], codes2[ALL], zeros2[ALL / GROUP];
    for (unsigned bits = 2; bits <= 8; bits++) {
        fill(&rng, w, w_f32, ALL);
        paro_ref_quantise_f64(w, ROWS, N, GROUP, bits, NULL, codes, scales, zeros);
        paro_ref_dequantise_f64(codes, scales, zeros, ROWS, N, GROUP, back);
        for (int i = 0; i < ALL; i++) {
            assert_true(codes[i] < 1U << bits);
            /* Half a step, and the zero point's own rounding at the ends. */
            assert_true(fabs(back[i] - w[i]) <= scales[i / GROUP] * (1 + 1e-12));
        }
        /* What was dequantised is a fixed point with the same scales. */
        for (int i = 0; i < ALL; i++)
            assert_int_equal(codes[i], (int)(rint(back[i] / scales[i / GROUP]) + zeros[i / GROUP]));

        paro_ref_quantise_f32(w_f32, ROWS, N, GROUP, bits, NULL, codes2, scales_f32, zeros2);
        int n_different = 0;
        for (int i = 0; i < ALL; i++)
            n_different += codes[i] != codes2[i];
        assert_true(n_different <= 2); /* values within 1e-7 of a tie */

        /* The scale is rounded before it is used. */
        paro_ref_quantise_f64(w, ROWS, N, GROUP, bits, to_half, codes2, scales2, zeros2);
        for (int g = 0; g < ALL / GROUP; g++)
            assert_true(scales2[g] == to_half(scales[g]));
        for (int i = 0; i < ALL; i++) {
            double code = rint(w[i] / scales2[i / GROUP]) + zeros2[i / GROUP];
            double top = (1U << bits) - 1;
            assert_int_equal(codes2[i], (int)(code < 0 ? 0 : code > top ? top : code));
        }
    }
}

static void test_norm(void **state)
{
    (void)state;
    const double x[4] = {3, 4, 0, 0}, weight[2] = {2, 10};
    double y[4];
    /* mean of squares 12.5 */
    paro_ref_norm_f64(x, weight, 2, 2, 0, y);
    assert_near_f64(y, (const double[2]){6 / sqrt(12.5), 40 / sqrt(12.5)}, 2, 1e-15 * 8);
    paro_ref_norm_f64(x, weight, 2, 2, 3.5, y);
    assert_near_f64(y, (const double[4]){1.5, 10, 0, 0}, 4, 1e-14);

    /* Scaling the input changes nothing where epsilon is 0. */
    enum { N = 33 };
    double a[N], b[N], ones[N], y_a[N], y_b[N];
    float a_f32[N], ones_f32[N], y_f32[N];
    paro_rng rng;
    paro_rng_seed(&rng, 8);
    fill(&rng, a, a_f32, N);
    for (int i = 0; i < N; i++) {
        b[i] = 1000 * a[i];
        ones[i] = 1, ones_f32[i] = 1;
    }
    paro_ref_norm_f64(a, ones, 1, N, 0, y_a);
    paro_ref_norm_f64(b, ones, 1, N, 0, y_b);
    assert_near_f64(y_a, y_b, N, 1e-14);
    paro_ref_norm_f32(a_f32, ones_f32, 1, N, 0, y_f32);
    assert_true(distance(y_f32, y_a, N) < 1e-6);
}

static void test_rope(void **state)
{
    (void)state;
    /* head_dim 4: pairs (0, 2) and (1, 3); 90 degrees and 180 degrees at position 2. */
    const double frequencies[2] = {pi / 4, pi / 2};
    double x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    paro_ref_rope_f64(x, 2, 4, frequencies, 2);
    assert_near_f64(x, (const double[8]){-3, -2, 1, -4, -7, -6, 5, -8}, 8, 1e-14);

    /* Scalar products depend on the distance of the positions only. */
    enum { DIM = 16 };
    double q[DIM], k[DIM], turned_q[DIM], turned_k[DIM], f[DIM / 2], products[3];
    paro_rng rng;
    paro_rng_seed(&rng, 9);
    fill(&rng, q, NULL, DIM);
    fill(&rng, k, NULL, DIM);
    paro_ref_rope_frequencies(&(paro_rope){.theta = 10000}, DIM, f);
    for (size_t shift = 0; shift < 3; shift++) {
        memcpy(turned_q, q, sizeof q);
        memcpy(turned_k, k, sizeof k);
        paro_ref_rope_f64(turned_q, 1, DIM, f, 7 + 100 * shift);
        paro_ref_rope_f64(turned_k, 1, DIM, f, 3 + 100 * shift);
        products[shift] = 0;
        for (int i = 0; i < DIM; i++)
            products[shift] += turned_q[i] * turned_k[i];
    }
    assert_near_f64(products + 1, (const double[2]){products[0], products[0]}, 2, 1e-12);

    double at_0[DIM];
    memcpy(at_0, q, sizeof q);
    paro_ref_rope_f64(at_0, 1, DIM, f, 0);
    assert_near_f64(at_0, q, DIM, 0);
}

static void test_rope_frequencies(void **state)
{
    (void)state;
    double f[64];
    paro_ref_rope_frequencies(&(paro_rope){.theta = 16}, 4, f);
    assert_near_f64(f, (const double[2]){1, 0.25}, 2, 1e-16);
    paro_rope linear = {.type = PARO_ROPE_TYPE_LINEAR, .theta = 16, .factor = 8};
    paro_ref_rope_frequencies(&linear, 4, f);
    assert_near_f64(f, (const double[2]){0.125, 0.03125}, 2, 1e-17);

    /* Llama 3.1 (factor 8, 1, 4, 8192 tokens, theta 500000, head_dim 128). A wavelength below
     * 8192 / 4 stays, one above 8192 is eight times as long, between them it is blended:
     *     smooth = (8192 / wavelength - 1) / (4 - 1), f' = (1 - smooth) f / 8 + smooth f. */
    double plain[64];
    paro_rope llama3 = {.type = PARO_ROPE_TYPE_LLAMA3,
                        .theta = 500000,
                        .factor = 8,
                        .low_freq_factor = 1,
                        .high_freq_factor = 4,
                        .original_context = 8192};
    paro_ref_rope_frequencies(&(paro_rope){.theta = 500000}, 128, plain);
    paro_ref_rope_frequencies(&llama3, 128, f);
    int n_kept = 0, n_blended = 0, n_divided = 0;
    for (int i = 0; i < 64; i++) {
        double wavelength = 2 * pi / plain[i], expected;
        if (wavelength < 8192.0 / 4) {
            expected = plain[i];
            n_kept++;
        } else if (wavelength > 8192.0) {
            expected = plain[i] / 8;
            n_divided++;
        } else {
            double smooth = (8192 / wavelength - 1) / 3;
            expected = (1 - smooth) * plain[i] / 8 + smooth * plain[i];
            n_blended++;
        }
        assert_near_f64(f + i, &expected, 1, 1e-15 * expected + 1e-18);
        assert_true(i == 0 || f[i] < f[i - 1]);
    }
    assert_int_equal(n_kept, 29); /* the counts for these published settings */
    assert_int_equal(n_blended, 6);
    assert_int_equal(n_divided, 29);
}

static void test_linear(void **state)
{
    (void)state;
    const double x[4] = {1, 2, 3, 4}, w[6] = {1, 0, 0, 1, 1, -1}, bias[3] = {10, 20, 30};
    double y[6];
    paro_ref_linear_f64(x, w, bias, 2, 2, 3, y);
    assert_near_f64(y, (const double[6]){11, 22, 29, 13, 24, 29}, 6, 0);
    paro_ref_linear_f64(x, w, NULL, 2, 2, 3, y);
    assert_near_f64(y, (const double[6]){1, 2, -1, 3, 4, -1}, 6, 0);

    enum { ROWS = 3, IN = 40, OUT = 7 };
    double a[ROWS * IN], b[ROWS * IN], sum[ROWS * IN], v[OUT * IN];
    double y_a[ROWS * OUT], y_b[ROWS * OUT], y_sum[ROWS * OUT];
    float a_f32[ROWS * IN], v_f32[OUT * IN], y_f32[ROWS * OUT];
    paro_rng rng;
    paro_rng_seed(&rng, 10);
    fill(&rng, a, a_f32, N_OF(a));
    fill(&rng, b, NULL, N_OF(b));
    fill(&rng, v, v_f32, N_OF(v));
    for (size_t i = 0; i < N_OF(a); i++)
        sum[i] = 3 * a[i] - b[i];
    paro_ref_linear_f64(a, v, NULL, ROWS, IN, OUT, y_a);
    paro_ref_linear_f64(b, v, NULL, ROWS, IN, OUT, y_b);
    paro_ref_linear_f64(sum, v, NULL, ROWS, IN, OUT, y_sum);
    for (size_t i = 0; i < N_OF(y_a); i++)
        y_b[i] = 3 * y_a[i] - y_b[i];
    assert_near_f64(y_sum, y_b, N_OF(y_a), 1e-12);
    paro_ref_linear_f32(a_f32, v_f32, NULL, ROWS, IN, OUT, y_f32);
    assert_true(distance(y_f32, y_a, N_OF(y_a)) < 1e-6);
}

static void test_attention_by_hand(void **state)
{
    (void)state;
    /* head_dim 1, scale 1. Query 0 sees key 0 only, query 1 both: scores ln 3 and 0 weigh 3 : 1. */
    const double k[2] = {log(3), 0}, v[2] = {8, 4}, q[2] = {5, 1};
    double out[2];
    paro_ref_attention_f64(q, k, v, 2, 2, 1, 1, 1, out);
    assert_near_f64(out, (const double[2]){8, 7}, 2, 1e-14);
    /* The last query alone gives the same. */
    paro_ref_attention_f64(q + 1, k, v, 1, 2, 1, 1, 1, out);
    assert_near_f64(out, (const double[1]){7}, 1, 1e-14);

    /* head_dim 4: scores are halved. Equal scores: the mean. */
    const double q4[4] = {2 * log(3), 0, 0, 0}, k4[8] = {1, 0, 0, 0, 0, 1, 0, 0};
    const double v4[8] = {4, 8, 0, 1, 0, 0, 4, 1};
    double out4[4];
    paro_ref_attention_f64(q4, k4, v4, 1, 2, 1, 1, 4, out4);
    assert_near_f64(out4, (const double[4]){3, 6, 1, 1}, 4, 1e-14);

    /* Scores of 10000 do not overflow. */
    const double huge_q[1] = {100}, huge_k[2] = {100, -100};
    paro_ref_attention_f64(huge_q, huge_k, v, 1, 2, 1, 1, 1, out);
    assert_near_f64(out, (const double[1]){8}, 1, 0);
}

static void test_attention_properties(void **state)
{
    (void)state;
    enum { KEYS = 9, HEADS = 6, KV = 2, DIM = 8 };
    double q[KEYS * HEADS * DIM], k[KEYS * KV * DIM], v[KEYS * KV * DIM], out[KEYS * HEADS * DIM];
    float q_f32[N_OF(q)], k_f32[N_OF(k)], v_f32[N_OF(v)], out_f32[N_OF(out)];
    paro_rng rng;
    paro_rng_seed(&rng, 12);
    fill(&rng, q, q_f32, N_OF(q));
    fill(&rng, k, k_f32, N_OF(k));
    fill(&rng, v, v_f32, N_OF(v));
    paro_ref_attention_f64(q, k, v, KEYS, KEYS, HEADS, KV, DIM, out);
    paro_ref_attention_f32(q_f32, k_f32, v_f32, KEYS, KEYS, HEADS, KV, DIM, out_f32);
    assert_true(distance(out_f32, out, N_OF(out)) < 1e-6);

    /* The first query sees one key: its value, of kv head h / 3. */
    for (int h = 0; h < HEADS; h++)
        assert_near_f64(out + h * DIM, v + h / 3 * DIM, DIM, 1e-15);

    /* Causal: what comes later changes nothing before. */
    double later[N_OF(out)];
    for (int i = 0; i < KV * DIM; i++)
        k[(KEYS - 1) * KV * DIM + i] += 5, v[(KEYS - 1) * KV * DIM + i] -= 7;
    paro_ref_attention_f64(q, k, v, KEYS, KEYS, HEADS, KV, DIM, later);
    assert_near_f64(later, out, (KEYS - 1) * HEADS * DIM, 0);
    assert_true(fabs(later[(KEYS - 1) * HEADS * DIM] - out[(KEYS - 1) * HEADS * DIM]) > 1e-3);

    /* Linear in the values. */
    for (size_t i = 0; i < N_OF(v); i++)
        v[i] *= -2;
    double doubled[N_OF(out)];
    paro_ref_attention_f64(q, k, v, KEYS, KEYS, HEADS, KV, DIM, doubled);
    for (size_t i = 0; i < N_OF(out); i++)
        later[i] *= -2;
    assert_near_f64(doubled, later, N_OF(out), 1e-12);
}

static void test_swiglu(void **state)
{
    (void)state;
    const double gate[4] = {0, log(3), -log(3), 800}, up[4] = {5, 4, 4, -2};
    double y[4];
    /* x sigmoid(x): sigmoid(ln 3) = 3/4 */
    paro_ref_swiglu_f64(gate, up, 4, y);
    assert_near_f64(y, (const double[4]){0, 3 * log(3), -log(3), -1600}, 4, 1e-14);
    double in_place[4];
    memcpy(in_place, gate, sizeof gate);
    paro_ref_swiglu_f64(in_place, up, 4, in_place);
    assert_near_f64(in_place, y, 4, 0);
    /* Far below zero it is 0, not NaN. */
    const float low[1] = {-200}, one[1] = {1};
    float y_f32[1];
    paro_ref_swiglu_f32(low, one, 1, y_f32);
    assert_true(fabsf(y_f32[0]) < 1e-30F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotation_by_hand),
        cmocka_unit_test(test_rounds_are_in_order),
        cmocka_unit_test(test_rotation_properties),
        cmocka_unit_test(test_transform_cancels_in_the_product),
        cmocka_unit_test(test_quantise_by_hand),
        cmocka_unit_test(test_quantise_flat_groups),
        cmocka_unit_test(test_quantise_properties),
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_rope_frequencies),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_attention_by_hand),
        cmocka_unit_test(test_attention_properties),
        cmocka_unit_test(test_swiglu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
