/* SPDX-License-Identifier: MIT
 *
 * The source of every table of train_ops.h, included by one file per instruction set, which first
 * defines
 *
 *     LANES       fp32 values of a vector: 4 or 8
 *     ISA_NAME
 *
 * Loops over elements are left to the compiler; sums and maxima are written in vectors, since their
 * order is part of the result.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cpu/exp.h"
#include "cpu/train_ops.h"

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));

static inline vector load(const float *p)
{
    vector v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float total(vector v)
{
    float sum = 0;
    for (size_t lane = 0; lane < LANES / 2; lane++)
        sum += v[lane] + v[lane + LANES / 2];
    return sum;
}

/* Of PARTS vectors: an addition takes as long as some to begin. */
enum { PARTS = 4, STEP = PARTS * LANES };

static float dot(const float *a, const float *b, size_t n)
{
    vector parts[PARTS] = {0};
    size_t i = 0;
    for (; i + STEP <= n; i += STEP)
        for (size_t part = 0; part < PARTS; part++)
            parts[part] += load(a + i + part * LANES) * load(b + i + part * LANES);
    for (; i + LANES <= n; i += LANES)
        parts[0] += load(a + i) * load(b + i);
    float sum = total((parts[0] + parts[1]) + (parts[2] + parts[3]));
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static float sum_of(const float *x, size_t n)
{
    vector parts[PARTS] = {0};
    size_t i = 0;
    for (; i + STEP <= n; i += STEP)
        for (size_t part = 0; part < PARTS; part++)
            parts[part] += load(x + i + part * LANES);
    for (; i + LANES <= n; i += LANES)
        parts[0] += load(x + i);
    float sum = total((parts[0] + parts[1]) + (parts[2] + parts[3]));
    for (; i < n; i++)
        sum += x[i];
    return sum;
}

static inline vector larger(vector a, vector b)
{
    integers is_larger = a > b;
    return (vector)((is_larger & (integers)a) | (~is_larger & (integers)b));
}

static float highest(const float *x, size_t n)
{
    float max = x[0];
    vector parts[PARTS];
    for (size_t part = 0; part < PARTS; part++)
        parts[part] = (vector){0} + max;
    size_t i = 0;
    for (; i + STEP <= n; i += STEP)
        for (size_t part = 0; part < PARTS; part++)
            parts[part] = larger(load(x + i + part * LANES), parts[part]);
    for (; i + LANES <= n; i += LANES)
        parts[0] = larger(load(x + i), parts[0]);
    vector lanes = larger(larger(parts[0], parts[1]), larger(parts[2], parts[3]));
    for (size_t lane = 0; lane < LANES; lane++)
        max = lanes[lane] > max ? lanes[lane] : max;
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static void softmax(float *x, size_t n)
{
    float max = highest(x, n);
    for (size_t i = 0; i < n; i++)
        x[i] = paro_exp_f32(x[i] - max);
    float factor = 1 / sum_of(x, n);
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

static void softmax_backward(const float *p, size_t n, float scale, float *d)
{
    float mean = dot(p, d, n);
    for (size_t i = 0; i < n; i++)
        d[i] = scale * p[i] * (d[i] - mean);
}

enum { PIECE = 256 }; /* of a swiglu */

static void swiglu(const float *gate, const float *up, size_t n, float *y)
{
    for (size_t first = 0; first < n; first += PIECE) {
        size_t end = n - first < PIECE ? n : first + PIECE;
        float sigmoids[PIECE];
        paro_sigmoids_f32(gate + first, end - first, sigmoids);
        for (size_t i = first; i < end; i++)
            y[i] = gate[i] * sigmoids[i - first] * up[i];
    }
}

static void swiglu_backward(const float *d, size_t n, float *gate, float *up)
{
    for (size_t first = 0; first < n; first += PIECE) {
        size_t end = n - first < PIECE ? n : first + PIECE;
        float sigmoids[PIECE];
        paro_sigmoids_f32(gate + first, end - first, sigmoids);
        for (size_t i = first; i < end; i++) {
            float sigmoid = sigmoids[i - first], silu = gate[i] * sigmoid;
            gate[i] = d[i] * up[i] * (sigmoid + silu * (1 - sigmoid));
            up[i] = d[i] * silu;
        }
    }
}

/* With r = 1 / sqrt(mean(x^2) + epsilon): dx = r (w d - x r^2 mean(w d x)). */
static void norm_backward(const float *x, const float *weight, const float *d, size_t n_rows,
                          size_t n, double epsilon, const float *add, float *dx)
{
    for (size_t row = 0; row < n_rows; row++, x += n, d += n, dx += n) {
        vector lanes = {0};
        size_t i = 0;
        for (; i + LANES <= n; i += LANES)
            lanes += load(x + i) * load(d + i) * load(weight + i);
        float sum = total(lanes);
        for (; i < n; i++)
            sum += x[i] * d[i] * weight[i];
        float mean = dot(x, x, n) / (float)n;
        float r = (float)(1 / sqrt((double)mean + epsilon));
        float of_x = r * r * r * sum / (float)n;
        if (add != NULL) {
            for (i = 0; i < n; i++)
                dx[i] = add[i] + (r * weight[i] * d[i] - of_x * x[i]);
            add += n;
        } else {
            for (i = 0; i < n; i++)
                dx[i] = r * weight[i] * d[i] - of_x * x[i];
        }
    }
}

static inline float loss_of(float d, float clamped)
{
    return clamped * (d - 0.5f * clamped); /* d^2 / 2, or |d| - 1/2 */
}

static inline float clamp(float d)
{
    d = d < -1 ? -1 : d;
    return d > 1 ? 1 : d;
}

static double smooth_l1(const float *y, const float *target, size_t n, float scale, float *dy)
{
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t lane = 0; lane < LANES; lane++) {
            float d = y[i + lane] - target[i + lane];
            lanes[lane] += (double)loss_of(d, clamp(d));
        }
    double sum = 0;
    for (; i < n; i++)
        sum += (double)loss_of(y[i] - target[i], clamp(y[i] - target[i]));
    for (size_t lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    if (dy != NULL)
        for (i = 0; i < n; i++)
            dy[i] = scale * clamp(y[i] - target[i]);
    return sum;
}

static const paro_train_ops table = {
    .name = ISA_NAME,
    .softmax = softmax,
    .softmax_backward = softmax_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .norm_backward = norm_backward,
    .smooth_l1 = smooth_l1,
};
