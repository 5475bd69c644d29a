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

static float dot(const float *a, const float *b, size_t n)
{
    vector even = {0}, odd = {0};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        even += load(a + i) * load(b + i);
        odd += load(a + i + LANES) * load(b + i + LANES);
    }
    float sum = total(even + odd);
    for (; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static float highest(const float *x, size_t n)
{
    float max = x[0];
    size_t i = 0;
    if (n >= LANES) {
        float lanes[LANES];
        memcpy(lanes, x, sizeof lanes);
        for (i = LANES; i + LANES <= n; i += LANES)
            for (size_t lane = 0; lane < LANES; lane++)
                lanes[lane] = x[i + lane] > lanes[lane] ? x[i + lane] : lanes[lane];
        for (size_t lane = 0; lane < LANES; lane++)
            max = lanes[lane] > max ? lanes[lane] : max;
    }
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static void softmax(float *x, size_t n)
{
    float max = highest(x, n);
    for (size_t i = 0; i < n; i++)
        x[i] = paro_exp_f32(x[i] - max);
    vector lanes = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        lanes += load(x + i);
    float sum = total(lanes);
    for (; i < n; i++)
        sum += x[i];
    float factor = 1 / sum;
    for (i = 0; i < n; i++)
        x[i] *= factor;
}

static void softmax_backward(const float *p, size_t n, float scale, float *d)
{
    float mean = dot(p, d, n);
    for (size_t i = 0; i < n; i++)
        d[i] = scale * p[i] * (d[i] - mean);
}

static void swiglu(const float *gate, const float *up, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gate[i] / (1 + paro_exp_f32(-gate[i])) * up[i];
}

static void swiglu_backward(const float *d, size_t n, float *gate, float *up)
{
    for (size_t i = 0; i < n; i++) {
        float x = gate[i];
        float sigmoid = 1 / (1 + paro_exp_f32(-x));
        float silu = x * sigmoid;
        gate[i] = d[i] * up[i] * (sigmoid + silu * (1 - sigmoid));
        up[i] = d[i] * silu;
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
