/* SPDX-License-Identifier: MIT
 *
 * Every operation, plainly: what kernels are judged by. Written for reading, not for speed.
 *
 * Each comes for fp32 (_f32) and fp64 (_f64): all arithmetic is in that type. Matrices are
 * row-major, shapes in brackets. Arguments are trusted: shapes fit, groups divide. Output may not
 * overlap input unless it says so.
 *
 * The transform (arXiv 2511.10645, section 3; the reference implementation v0.1.16), for a linear
 * layer y = x W^T, W [n_out, n_in]:
 *
 *     R(v): for r = 0 .. K - 1, for every pair t = (i, j) of round r in every group:
 *         (v_i, v_j) <- (v_i cos a + v_j sin a, -v_i sin a + v_j cos a),  a = theta[r][t]
 *     W' = R(W * s), quantised;  y = R(x / s) W'^T
 */
#ifndef PARO_BASE_REFERENCE_H
#define PARO_BASE_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

/* A rotation of n channels in groups of group_size. Pair t of group b in round r:
 *     channels b * group_size + pairs[r][b * group_size + 2t] and … + 2t + 1],
 *     angle theta[r][b * group_size / 2 + t], radians.
 * A slot whose two channels are the same (and whose angle is 0) is empty: that channel is unpaired.
 */
typedef struct paro_rotation {
    size_t n;             /* channels */
    size_t group_size;    /* divides n; even */
    size_t krot;          /* rounds; 0 is the identity */
    const int16_t *pairs; /* [krot, n] */
    const double *theta;  /* [krot, n / 2] */
} paro_rotation;

/* How rope's frequencies are scaled for long contexts; see paro_ref_rope_frequencies. */
typedef enum paro_rope_type {
    PARO_ROPE_TYPE_DEFAULT,
    PARO_ROPE_TYPE_LINEAR,
    PARO_ROPE_TYPE_LLAMA3
} paro_rope_type;

typedef struct paro_rope {
    paro_rope_type type;
    double theta;            /* base of the frequencies */
    double factor;           /* linear, llama3 */
    double low_freq_factor;  /* llama3 */
    double high_freq_factor; /* llama3 */
    double original_context; /* llama3: original_max_position_embeddings */
} paro_rope;

/* frequencies [head_dim / 2]: theta^(-2i / head_dim); "linear" divides all by factor; "llama3"
 * leaves short wavelengths (2 pi / f < original / high) alone, divides long ones (> original / low)
 * by factor, and blends between: Llama 3.1's rule as in transformers' modeling_rope_utils. */
void paro_ref_rope_frequencies(const paro_rope *rope, size_t head_dim, double *frequencies);

#define PARO_REFERENCE_DECLARE(real, suffix)                                                       \
    /* x [n_rows, n] in place: x <- R(x) */                                                        \
    void paro_ref_rotate_##suffix(const paro_rotation *rotation, real *x, size_t n_rows);          \
    /* x <- R^-1(x): rounds backwards, angles negated */                                           \
    void paro_ref_unrotate_##suffix(const paro_rotation *rotation, real *x, size_t n_rows);        \
    /* INT asymmetric, per row and group of group_size columns of w [n_rows, n], with min and max  \
     * over the group's values and 0 (else a group of one sign would be cut off):                  \
     *     scale = max((max - min) / (2^bits - 1), 1e-5), zero = clamp(-round(min / scale))        \
     *     code = clamp(round(w / scale) + zero), all clamped to 0 .. 2^bits - 1                   \
     * round: nearest, ties to even. codes [n_rows, n]; scales, zeros [n_rows, n / group_size].    \
     * scales_round (may be NULL) rounds a scale to what will be stored, before it is used. */     \
    void paro_ref_quantise_##suffix(const real *w, size_t n_rows, size_t n, size_t group_size,     \
                                    unsigned bits, real (*scale_round)(real), uint8_t *codes,      \
                                    real *scales, uint8_t *zeros);                                 \
    /* w = (code - zero) * scale */                                                                \
    void paro_ref_dequantise_##suffix(const uint8_t *codes, const real *scales,                    \
                                      const uint8_t *zeros, size_t n_rows, size_t n,               \
                                      size_t group_size, real *w);                                 \
    /* y [n_rows, n] = x / sqrt(mean(x^2) + epsilon) * weight [n], each row (RMSNorm) */           \
    void paro_ref_norm_##suffix(const real *x, const real *weight, size_t n_rows, size_t n,        \
                                double epsilon, real *y);                                          \
    /* x [n_heads, head_dim] at one position, in place: pairs (i, i + head_dim / 2) turned by      \
     * position * frequencies[i] */                                                                \
    void paro_ref_rope_##suffix(real *x, size_t n_heads, size_t head_dim,                          \
                                const double *frequencies, size_t position);                       \
    /* y [n_rows, n_out] = x [n_rows, n_in] w^T + bias; w [n_out, n_in]; bias [n_out] or NULL */   \
    void paro_ref_linear_##suffix(const real *x, const real *w, const real *bias, size_t n_rows,   \
                                  size_t n_in, size_t n_out, real *y);                             \
    /* Causal attention with grouped heads. q, out [n_queries, n_heads, head_dim]; k, v            \
     * [n_keys, n_kv_heads, head_dim]; query i stands at position n_keys - n_queries + i and sees  \
     * keys up to its own; head h reads kv head h / (n_heads / n_kv_heads); scores are scaled by   \
     * 1 / sqrt(head_dim) */                                                                       \
    void paro_ref_attention_##suffix(const real *q, const real *k, const real *v,                  \
                                     size_t n_queries, size_t n_keys, size_t n_heads,              \
                                     size_t n_kv_heads, size_t head_dim, real *out);               \
    /* y = gate / (1 + exp(-gate)) * up, element by element (SwiGLU); y may be gate or up */       \
    void paro_ref_swiglu_##suffix(const real *gate, const real *up, size_t n, real *y);

PARO_REFERENCE_DECLARE(float, f32)
PARO_REFERENCE_DECLARE(double, f64)
#undef PARO_REFERENCE_DECLARE

#endif
