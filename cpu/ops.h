/* SPDX-License-Identifier: MIT
 *
 * The small operations of a forward pass, on rows of fp32. What base/reference.h defines.
 *
 * Arguments are trusted: shapes fit. Arrays overlap only where it says so. A row's result does not
 * depend on the other rows, so callers may split rows over threads as they like.
 */
#ifndef PARO_CPU_OPS_H
#define PARO_CPU_OPS_H

#include <stddef.h>

/* y [n_rows, n] = x / sqrt(mean(x^2) + epsilon) * weight [n], each row (RMSNorm); y may be x. */
void paro_ops_norm(const float *x, const float *weight, size_t n_rows, size_t n, double epsilon,
                   float *y);

/* x [n_rows, n_heads, head_dim] in place: pairs (i, i + head_dim / 2) of every head of row r turned
 * by the angle whose cosine and sine are cosines[r][i] and sines[r][i], both
 * [n_rows, head_dim / 2]. */
void paro_ops_rope(float *x, size_t n_rows, size_t n_heads, size_t head_dim, const float *cosines,
                   const float *sines);

/* gate_io [n] <- gate / (1 + exp(-gate)) * up (SwiGLU). */
void paro_ops_swiglu(float *gate_io, const float *up, size_t n);

/* x [n] <- x + y. */
void paro_ops_add(float *x, const float *y, size_t n);

#endif
