/* SPDX-License-Identifier: MIT
 *
 * The small operations of a forward pass: loops the compiler vectorises.
 */
#include "cpu/ops.h"

#include <math.h>

#include "cpu/exp.h"

enum { N_LANES = 8, PIECE = 256 }; /* of a sum; of a swiglu */

/* In double: the sum of squares of a long row must not lose what the norm's epsilon adds. */
static double squares(const float *x, size_t n)
{
    double lanes[N_LANES] = {0};
    size_t i = 0;
    for (; i + N_LANES <= n; i += N_LANES)
        for (size_t lane = 0; lane < N_LANES; lane++)
            lanes[lane] += (double)x[i + lane] * x[i + lane];
    double sum = 0;
    for (; i < n; i++)
        sum += (double)x[i] * x[i];
    for (size_t lane = 0; lane < N_LANES; lane++)
        sum += lanes[lane];
    return sum;
}

void paro_ops_norm(const float *x, const float *weight, size_t n_rows, size_t n, double epsilon,
                   float *y)
{
    for (size_t row = 0; row < n_rows; row++, x += n, y += n) {
        float factor = (float)(1 / sqrt(squares(x, n) / (double)n + epsilon));
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] * factor * weight[i];
    }
}

void paro_ops_rope(float *x, size_t n_rows, size_t n_heads, size_t head_dim, const float *cosines,
                   const float *sines)
{
    size_t half = head_dim / 2;
    for (size_t row = 0; row < n_rows; row++, cosines += half, sines += half)
        for (size_t head = 0; head < n_heads; head++, x += head_dim)
            for (size_t i = 0; i < half; i++) {
                float a = x[i];
                float b = x[i + half];
                x[i] = a * cosines[i] - b * sines[i];
                x[i + half] = b * cosines[i] + a * sines[i];
            }
}

void paro_ops_swiglu(float *gate_io, const float *up, size_t n)
{
    for (size_t first = 0; first < n; first += PIECE) {
        size_t end = n - first < PIECE ? n : first + PIECE;
        float sigmoids[PIECE];
        paro_sigmoids_f32(gate_io + first, end - first, sigmoids);
        for (size_t i = first; i < end; i++)
            gate_io[i] *= sigmoids[i - first] * up[i];
    }
}

void paro_ops_add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}
