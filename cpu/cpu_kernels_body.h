/* SPDX-License-Identifier: MIT
 *
 * The source of every table of cpu_kernels.h, included by one file per instruction set, which first
 * defines:
 *
 *     LANES                       fp32 values of a vector
 *     vector, words               LANES floats; LANES 32-bit integers
 *     load, store, splat, zero, add, sub, mul, fused (a * b + c), total (sum of the lanes)
 *     load_f32, _f16, _bf16       LANES values of that type from unaligned bytes
 *     load_words                  LANES little-endian words, unaligned
 *     nibble_in_place(words, n)   as floats, the codes in bits 4n .. 4n + 3, times 16^n for n < 7
 *     load_scales(p, vector[8])   8 * LANES F16 scales of LANES words; [n] those of nibble n
 *     prefetch(p)
 *     PAIRED_BLOCKS               1 where sixteen accumulators fit the registers
 *     FEW_ROWS                    few_rows of the table, as measured
 *     ISA_NAME
 *
 * Nibbles are not shifted down: masking one where it stands and converting it to float gives its
 * code times 16^n exactly, and the power of two is divided out once per group.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/pack.h"
#include "cpu/cpu_kernels.h"
#include "cpu/exp.h"

enum {
    BLOCK_WORDS = LANES,
    BLOCK_BYTES = 4 * LANES,
    BLOCK_COLUMNS = 8 * LANES,
    STRIP_ROWS = 16,                    /* rows of a packed weight walked before the next columns */
    STRIP_AHEAD_BYTES = 8 * BLOCK_BYTES /* of each of these rows, what is prefetched */
};

/* 16^-n for nibble n as nibble_in_place leaves it. */
static const float nibble_scale[8] = {
    1.0f,           1.0f / 0x10,     1.0f / 0x100,     1.0f / 0x1000,
    1.0f / 0x10000, 1.0f / 0x100000, 1.0f / 0x1000000, 1.0f};

#define EACH_NIBBLE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

static void convert(float *dst, const void *src, paro_dtype dtype, size_t n)
{
    const unsigned char *bytes = src;
    size_t i = 0;
    if (dtype == PARO_DTYPE_F16)
        for (; i + LANES <= n; i += LANES)
            store(dst + i, load_f16(bytes + 2 * i));
    else if (dtype == PARO_DTYPE_BF16)
        for (; i + LANES <= n; i += LANES)
            store(dst + i, load_bf16(bytes + 2 * i));
    paro_f32_from_array(dst + i, bytes + paro_dtype_bytes(dtype) * i, dtype, n - i);
}

/* One function per dtype and number of rows: y [n_rows] = w [n_rows, n] x. Every row has two
 * accumulators; the rest that fills no vector is copied to zeroed ones. */
#define DEFINE_DOT(NAME, N_ROWS, VALUE_BYTES, LOAD)                                                \
    static inline __attribute__((always_inline)) void NAME(                                        \
        const unsigned char *w, size_t row_bytes, size_t n, const float *x, float *y)              \
    {                                                                                              \
        vector even[N_ROWS], odd[N_ROWS];                                                          \
        for (int r = 0; r < N_ROWS; r++)                                                           \
            even[r] = odd[r] = zero();                                                             \
        size_t i = 0;                                                                              \
        for (; i + 2 * LANES <= n; i += 2 * LANES) {                                               \
            vector x0 = load(x + i);                                                               \
            vector x1 = load(x + i + LANES);                                                       \
            for (int r = 0; r < N_ROWS; r++) {                                                     \
                const unsigned char *p = w + (size_t)r * row_bytes + i * VALUE_BYTES;              \
                prefetch(p + PREFETCH_BYTES);                                                      \
                even[r] = fused(LOAD(p), x0, even[r]);                                             \
                odd[r] = fused(LOAD(p + LANES * VALUE_BYTES), x1, odd[r]);                         \
            }                                                                                      \
        }                                                                                          \
        while (i < n) {                                                                            \
            size_t n_left = n - i < LANES ? n - i : LANES;                                         \
            float x_rest[LANES] = {0};                                                             \
            memcpy(x_rest, x + i, n_left * sizeof *x);                                             \
            for (int r = 0; r < N_ROWS; r++) {                                                     \
                unsigned char rest[LANES * VALUE_BYTES] = {0};                                     \
                memcpy(rest, w + (size_t)r * row_bytes + i * VALUE_BYTES, n_left * VALUE_BYTES);   \
                even[r] = fused(LOAD(rest), load(x_rest), even[r]);                                \
            }                                                                                      \
            i += n_left;                                                                           \
        }                                                                                          \
        for (int r = 0; r < N_ROWS; r++)                                                           \
            y[r] = total(add(even[r], odd[r]));                                                    \
    }

/* Ahead in the row, or where it ends in those after it; past a tensor's end it has no effect. */
enum { PREFETCH_BYTES = 1024 };

#define DEFINE_DOT_ROWS(NAME, VALUE_BYTES, LOAD)                                                   \
    DEFINE_DOT(NAME##_4, 4, VALUE_BYTES, LOAD)                                                     \
    DEFINE_DOT(NAME##_1, 1, VALUE_BYTES, LOAD)                                                     \
    static void NAME(const unsigned char *w, size_t n_rows, size_t n, const float *x, size_t m,    \
                     float *y, size_t y_stride)                                                    \
    {                                                                                              \
        size_t row_bytes = n * VALUE_BYTES;                                                        \
        size_t row = 0;                                                                            \
        for (; row + 4 <= n_rows; row += 4)                                                        \
            for (size_t i = 0; i < m; i++)                                                         \
                NAME##_4(w + row * row_bytes, row_bytes, n, x + i * n, y + i * y_stride + row);    \
        for (; row < n_rows; row++)                                                                \
            for (size_t i = 0; i < m; i++)                                                         \
                NAME##_1(w + row * row_bytes, row_bytes, n, x + i * n, y + i * y_stride + row);    \
    }

DEFINE_DOT_ROWS(dot_f32, 4, load_f32)
DEFINE_DOT_ROWS(dot_f16, 2, load_f16)
DEFINE_DOT_ROWS(dot_bf16, 2, load_bf16)

static void dot(const void *w, paro_dtype dtype, size_t n_rows, size_t n, const float *x, size_t m,
                float *y, size_t y_stride)
{
    if (dtype == PARO_DTYPE_F16)
        dot_f16(w, n_rows, n, x, m, y, y_stride);
    else if (dtype == PARO_DTYPE_BF16)
        dot_bf16(w, n_rows, n, x, m, y, y_stride);
    else
        dot_f32(w, n_rows, n, x, m, y, y_stride);
}

/* sums [8 * LANES] += x [n_rows] times one block of words; nibbles in place. `ahead` is what to
 * prefetch for row 0; rows are stride bytes apart there too. */
static inline __attribute__((always_inline)) void add_block(const unsigned char *p, size_t stride,
                                                            size_t n_rows, const float *x,
                                                            const unsigned char *ahead, float *sums)
{
#define SUM_LOAD(n)  vector sum##n = load(sums + n * LANES);
#define SUM_ADD(n)   sum##n = fused(factor, nibble_in_place(codes, n), sum##n);
#define SUM_STORE(n) store(sums + n * LANES, sum##n);
    EACH_NIBBLE(SUM_LOAD)
    for (size_t k = 0; k < n_rows; k++) {
        vector factor = splat(x[k]);
        words codes = load_words(p + k * stride);
        prefetch(ahead + k * stride);
        EACH_NIBBLE(SUM_ADD)
    }
    EACH_NIBBLE(SUM_STORE)
#undef SUM_LOAD
#undef SUM_ADD
#undef SUM_STORE
}

/* The same for two blocks side by side, where there are registers for both. */
static inline __attribute__((always_inline)) void add_blocks(const unsigned char *p, size_t stride,
                                                             size_t n_rows, const float *x,
                                                             const unsigned char *ahead,
                                                             float *sums)
{
#define SUM_LOAD(n)                                                                                \
    vector left##n = load(sums + n * LANES);                                                       \
    vector right##n = load(sums + BLOCK_COLUMNS + n * LANES);
#define SUM_LEFT(n)  left##n = fused(factor, nibble_in_place(codes, n), left##n);
#define SUM_RIGHT(n) right##n = fused(factor, nibble_in_place(next, n), right##n);
#define SUM_STORE(n)                                                                               \
    store(sums + n * LANES, left##n);                                                              \
    store(sums + BLOCK_COLUMNS + n * LANES, right##n);
    EACH_NIBBLE(SUM_LOAD)
    for (size_t k = 0; k < n_rows; k++) {
        vector factor = splat(x[k]);
        words codes = load_words(p + k * stride);
        words next = load_words(p + k * stride + BLOCK_BYTES);
        prefetch(ahead + k * stride);
        prefetch(ahead + k * stride + BLOCK_BYTES);
        EACH_NIBBLE(SUM_LEFT)
        EACH_NIBBLE(SUM_RIGHT)
    }
    EACH_NIBBLE(SUM_STORE)
#undef SUM_LOAD
#undef SUM_LEFT
#undef SUM_RIGHT
#undef SUM_STORE
}

/* One strip of rows times the words of a task. */
static void add_strip(const unsigned char *strip, size_t stride, size_t n_rows, size_t n_words,
                      const float *x, size_t x_stride, size_t m, float *sums, size_t sums_stride)
{
    size_t word = 0;
    while (word + BLOCK_WORDS <= n_words) {
        const unsigned char *p = strip + 4 * word;
        const unsigned char *ahead = p + STRIP_AHEAD_BYTES;
        if (4 * word + STRIP_AHEAD_BYTES >= 4 * n_words) /* at the start of the next strip */
            ahead += n_rows * stride - 4 * n_words;
        bool pair = PAIRED_BLOCKS && word + 2 * BLOCK_WORDS <= n_words;
        for (size_t i = 0; i < m; i++) {
            float *row_sums = sums + i * sums_stride + 8 * word;
            if (pair)
                add_blocks(p, stride, n_rows, x + i * x_stride, ahead, row_sums);
            else
                add_block(p, stride, n_rows, x + i * x_stride, ahead, row_sums);
        }
        word += pair ? 2 * BLOCK_WORDS : BLOCK_WORDS;
    }
    if (word == n_words)
        return;
    unsigned char rest[STRIP_ROWS * BLOCK_BYTES] = {0};
    for (size_t k = 0; k < n_rows; k++)
        memcpy(rest + k * BLOCK_BYTES, strip + k * stride + 4 * word, 4 * (n_words - word));
    for (size_t i = 0; i < m; i++)
        add_block(rest, BLOCK_BYTES, n_rows, x + i * x_stride, rest,
                  sums + i * sums_stride + 8 * word);
}

/* Scales and zeros of one block of columns in one group, in lane order; the zeros times 16^n and
 * the scales divided by it, as the nibbles stand. */
typedef struct block_scales {
    vector scale[8];
    vector zero[8];
} block_scales;

static inline __attribute__((always_inline)) void
load_block_scales(const paro_w4 *w, size_t group, size_t word, size_t n_words, block_scales *out)
{
    const unsigned char *zeros = w->qzeros + 4 * (group * (w->n_out / 8) + word);
    const unsigned char *scales = w->scales + 2 * (group * w->n_out + 8 * word);
    unsigned char zeros_rest[BLOCK_BYTES] = {0};
    unsigned char scales_rest[2 * BLOCK_COLUMNS] = {0};
    if (n_words < BLOCK_WORDS) {
        memcpy(zeros_rest, zeros, 4 * n_words);
        memcpy(scales_rest, scales, 16 * n_words);
        zeros = zeros_rest;
        scales = scales_rest;
    }
    load_scales(scales, out->scale);
    words codes = load_words(zeros);
#define SCALE_NIBBLE(n)                                                                            \
    out->scale[n] = mul(out->scale[n], splat(nibble_scale[n]));                                    \
    out->zero[n] = nibble_in_place(codes, n);
    EACH_NIBBLE(SCALE_NIBBLE)
#undef SCALE_NIBBLE
}

static void w4_columns(const float *lanes, size_t n_words, float *columns)
{
    for (size_t word = 0; word < n_words; word++) {
        const float *block = lanes + word / BLOCK_WORDS * BLOCK_COLUMNS + word % BLOCK_WORDS;
        for (size_t n = 0; n < 8; n++)
            columns[8 * word + paro_awq_order[n]] = block[n * LANES];
    }
}

static void w4_dot(const paro_w4 *w, size_t first_word, size_t n_words, const float *x, size_t m,
                   const float *group_sums, float *scratch, float *y)
{
    size_t n_groups = w->n_in / w->group_size;
    size_t stride = w->n_out / 8 * 4;
    size_t padded = (n_words + BLOCK_WORDS - 1) / BLOCK_WORDS * BLOCK_COLUMNS;
    float *sums = scratch; /* of this group, codes only */
    float *results = scratch + m * padded;
    memset(results, 0, m * padded * sizeof *results);
    for (size_t group = 0; group < n_groups; group++) {
        memset(sums, 0, m * padded * sizeof *sums);
        size_t end = (group + 1) * w->group_size;
        for (size_t k = group * w->group_size; k < end; k += STRIP_ROWS)
            add_strip(w->qweight + k * stride + 4 * first_word, stride,
                      end - k < STRIP_ROWS ? end - k : STRIP_ROWS, n_words, x + k, w->n_in, m, sums,
                      padded);
        for (size_t word = 0; word < n_words; word += BLOCK_WORDS) {
            block_scales scales;
            load_block_scales(w, group, first_word + word, n_words - word, &scales);
            for (size_t i = 0; i < m; i++) {
                vector minus_sum = splat(-group_sums[i * n_groups + group]);
                float *sum = sums + i * padded + 8 * word;
                float *result = results + i * padded + 8 * word;
                for (int n = 0; n < 8; n++, sum += LANES, result += LANES) {
                    vector centred = fused(minus_sum, scales.zero[n], load(sum));
                    store(result, fused(centred, scales.scale[n], load(result)));
                }
            }
        }
    }
    for (size_t i = 0; i < m; i++)
        w4_columns(results + i * padded, n_words, y + i * w->n_out + 8 * first_word);
}

static void w4_panel(const paro_w4 *w, size_t first_word, size_t n_words, size_t first_row,
                     size_t n_rows, float *panel)
{
    size_t stride = w->n_out / 8 * 4;
    size_t padded = (n_words + BLOCK_WORDS - 1) / BLOCK_WORDS * BLOCK_COLUMNS;
    for (size_t word = 0; word < n_words; word += BLOCK_WORDS) {
        size_t n_here = n_words - word < BLOCK_WORDS ? n_words - word : BLOCK_WORDS;
        size_t k = 0;
        while (k < n_rows) {
            size_t group = (first_row + k) / w->group_size;
            size_t end = (group + 1) * w->group_size - first_row;
            if (end > n_rows)
                end = n_rows;
            block_scales scales;
            load_block_scales(w, group, first_word + word, n_here, &scales);
            for (; k < end; k++) {
                const unsigned char *p =
                    w->qweight + (first_row + k) * stride + 4 * (first_word + word);
                unsigned char rest[BLOCK_BYTES] = {0};
                if (n_here < BLOCK_WORDS)
                    p = memcpy(rest, p, 4 * n_here);
                words codes = load_words(p);
                float *out = panel + k * padded + 8 * word;
#define PANEL_NIBBLE(n)                                                                            \
    store(out + n * LANES, mul(sub(nibble_in_place(codes, n), scales.zero[n]), scales.scale[n]));
                EACH_NIBBLE(PANEL_NIBBLE)
#undef PANEL_NIBBLE
            }
        }
    }
}

static void scores(const float *q, const float *keys, size_t n_keys, size_t head_dim, float scale,
                   float *out)
{
    dot_f32((const unsigned char *)keys, n_keys, head_dim, q, 1, out, 0);
    for (size_t i = 0; i < n_keys; i++)
        out[i] *= scale;
}

static float exponentials(float *values, size_t n, float max)
{
    for (size_t i = 0; i < n; i++)
        values[i] = paro_exp_f32(values[i] - max);
    vector lanes = zero();
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        lanes = add(lanes, load(values + i));
    float sum = total(lanes);
    for (; i < n; i++)
        sum += values[i];
    return sum;
}

static void weighted(const float *weights, const float *values, size_t n_keys, size_t head_dim,
                     float *out)
{
    size_t i = 0;
    for (; i + 4 * LANES <= head_dim; i += 4 * LANES) {
        vector s0 = zero(), s1 = zero(), s2 = zero(), s3 = zero();
        for (size_t key = 0; key < n_keys; key++) {
            vector weight = splat(weights[key]);
            const float *value = values + key * head_dim + i;
            s0 = fused(weight, load(value), s0);
            s1 = fused(weight, load(value + LANES), s1);
            s2 = fused(weight, load(value + 2 * LANES), s2);
            s3 = fused(weight, load(value + 3 * LANES), s3);
        }
        store(out + i, s0);
        store(out + i + LANES, s1);
        store(out + i + 2 * LANES, s2);
        store(out + i + 3 * LANES, s3);
    }
    for (; i < head_dim; i++) {
        float sum = 0;
        for (size_t key = 0; key < n_keys; key++)
            sum += weights[key] * values[key * head_dim + i];
        out[i] = sum;
    }
}

static const paro_cpu_kernels table = {
    .name = ISA_NAME,
    .words_per_block = BLOCK_WORDS,
    .few_rows = FEW_ROWS,
    .convert = convert,
    .dot = dot,
    .w4_dot = w4_dot,
    .w4_panel = w4_panel,
    .w4_columns = w4_columns,
    .scores = scores,
    .exponentials = exponentials,
    .weighted = weighted,
};
