/* SPDX-License-Identifier: MIT
 *
 * The work on tiles in plain loops over a vector of rows, which the compiler turns into what the
 * file that includes this is compiled for. ISA_NAME is the table's name.
 */
#include <string.h>

#include "calib/weight_tile.h"

typedef float four __attribute__((vector_size(16)));

static inline four load_four(const float *p)
{
    four v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store_four(float *p, four v)
{
    memcpy(p, &v, sizeof v);
}

static inline void transpose_four(four v[4])
{
    four a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
    four b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    four c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
    four d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

/* Rows by fours: theirs are usually a power of two apart, and more would share lines of the cache.
 */
static void load(const float *rows, size_t stride, size_t n_rows, size_t n_columns,
                 const float *scales, float *tile)
{
    if (n_rows < PARO_TILE_ROWS)
        memset(tile, 0, n_columns * PARO_TILE_ROWS * sizeof *tile);
    size_t row = 0;
    size_t n_blocked = n_columns / 4 * 4;
    for (; row + 4 <= n_rows; row += 4) {
        const float *from = rows + row * stride;
        for (size_t c = 0; c < n_blocked; c += 4) {
            four v[4];
            for (size_t k = 0; k < 4; k++)
                v[k] = load_four(from + k * stride + c);
            transpose_four(v);
            for (size_t k = 0; k < 4; k++)
                store_four(tile + (c + k) * PARO_TILE_ROWS + row, v[k] * scales[c + k]);
        }
        for (size_t c = n_blocked; c < n_columns; c++)
            for (size_t k = 0; k < 4; k++)
                tile[c * PARO_TILE_ROWS + row + k] = from[k * stride + c] * scales[c];
    }
    for (; row < n_rows; row++)
        for (size_t c = 0; c < n_columns; c++)
            tile[c * PARO_TILE_ROWS + row] = rows[row * stride + c] * scales[c];
}

static void store(const float *tile, size_t n_columns, const float *scales, float *rows,
                  size_t stride, size_t n_rows)
{
    size_t row = 0;
    size_t n_blocked = n_columns / 4 * 4;
    for (; row + 4 <= n_rows; row += 4) {
        float *to = rows + row * stride;
        for (size_t c = 0; c < n_blocked; c += 4) {
            four v[4];
            for (size_t k = 0; k < 4; k++)
                v[k] = load_four(tile + (c + k) * PARO_TILE_ROWS + row) * scales[c + k];
            transpose_four(v);
            for (size_t k = 0; k < 4; k++)
                store_four(to + k * stride + c, v[k]);
        }
        for (size_t c = n_blocked; c < n_columns; c++)
            for (size_t k = 0; k < 4; k++)
                to[k * stride + c] = tile[c * PARO_TILE_ROWS + row + k] * scales[c];
    }
    for (; row < n_rows; row++)
        for (size_t c = 0; c < n_columns; c++)
            rows[row * stride + c] = tile[c * PARO_TILE_ROWS + row] * scales[c];
}

static inline void turn_channels(float *restrict a, float *restrict b, float cosine, float sine)
{
    for (int l = 0; l < PARO_TILE_ROWS; l++) {
        float x = a[l], y = b[l];
        a[l] = x * cosine + y * sine;
        b[l] = y * cosine - x * sine;
    }
}

static void rotate(const paro_tile_turn *turns, size_t n_turns, float *tile)
{
    for (const paro_tile_turn *t = turns; t < turns + n_turns; t++)
        turn_channels(tile + (size_t)t->i * PARO_TILE_ROWS, tile + (size_t)t->j * PARO_TILE_ROWS,
                      t->cosine, t->sine);
}

static void unrotate(const paro_tile_turn *turns, size_t n_turns, float *tile)
{
    for (const paro_tile_turn *t = turns + n_turns; t-- > turns;)
        turn_channels(tile + (size_t)t->i * PARO_TILE_ROWS, tile + (size_t)t->j * PARO_TILE_ROWS,
                      t->cosine, -t->sine);
}

static void range(const float *u, size_t n_columns, paro_tile_range *out)
{
    paro_tile_range r;
    for (int l = 0; l < PARO_TILE_ROWS; l++) {
        r.low[l] = r.high[l] = 0;
        r.low_at[l] = r.high_at[l] = -1;
    }
    for (size_t c = 0; c < n_columns; c++) {
        const float *x = u + c * PARO_TILE_ROWS;
        int32_t column = (int32_t)c;
        for (int l = 0; l < PARO_TILE_ROWS; l++) {
            r.low_at[l] = x[l] < r.low[l] ? column : r.low_at[l];
            r.low[l] = x[l] < r.low[l] ? x[l] : r.low[l];
            r.high_at[l] = x[l] > r.high[l] ? column : r.high_at[l];
            r.high[l] = x[l] > r.high[l] ? x[l] : r.high[l];
        }
    }
    *out = r;
}

/* To nearest, ties to even, for |x| < 2^22; what is larger stays so large that it is clamped. */
static inline float nearest(float x)
{
    const float shift = 0x1.8p23F;
    return (x + shift) - shift;
}

static inline float clamp(float x, float top)
{
    x = x < 0 ? 0 : x;
    return x > top ? top : x;
}

static void quantise(const paro_tile_quantiser *quantiser, const float *u, size_t n_columns,
                     float *q)
{
    const paro_tile_quantiser k = *quantiser;
    for (size_t c = 0; c < n_columns; c++) {
        const float *x = u + c * PARO_TILE_ROWS;
        float *y = q + c * PARO_TILE_ROWS;
        for (int l = 0; l < PARO_TILE_ROWS; l++)
            y[l] = (clamp(nearest(x[l] / k.step[l]) + k.zero[l], k.top) - k.zero[l]) * k.step[l];
    }
}

static void quantise_back(const paro_tile_quantiser *quantiser, const float *u, const float *dq,
                          size_t n_columns, float *du, paro_tile_quantiser_gradient *out)
{
    const paro_tile_quantiser k = *quantiser;
    const float pass = k.clamp_passes ? 1 : 0;
    paro_tile_quantiser_gradient sum = {{0}, {0}};
    for (size_t c = 0; c < n_columns; c++) {
        const float *x = u + c * PARO_TILE_ROWS;
        const float *p = dq + c * PARO_TILE_ROWS;
        float *restrict g = du + c * PARO_TILE_ROWS;
        for (int l = 0; l < PARO_TILE_ROWS; l++) {
            float ratio = x[l] / k.step[l];
            float code = nearest(ratio) + k.zero[l];
            float bound = clamp(code, k.top);
            float inside = bound == code ? 1 : pass;
            g[l] = p[l] * inside;
            sum.step[l] += p[l] * ((bound - k.zero[l]) - ratio * inside);
            sum.zero[l] -= (p[l] - g[l]) * k.step[l];
        }
    }
    *out = sum;
}

static inline void unwind_channels(float *restrict a, float *restrict b, float cosine, float sine,
                                   float *restrict x, float *restrict y)
{
    for (int l = 0; l < PARO_TILE_ROWS; l++) {
        x[l] = a[l];
        y[l] = b[l];
        a[l] = x[l] * cosine - y[l] * sine;
        b[l] = y[l] * cosine + x[l] * sine;
    }
}

/* In the frame after a turn the angle's gradient is (du_i u_j - du_j u_i) from where the turn is
 * done, and -(dq_i q_j - dq_j q_i) from where it is undone. */
static void unwind(const paro_tile_turn *turns, size_t n_turns, const paro_tile_set *set,
                   float *sums)
{
    const paro_tile_set s = *set;
    for (size_t n = n_turns; n-- > 0;) {
        const paro_tile_turn t = turns[n];
        size_t i = (size_t)t.i * PARO_TILE_ROWS, j = (size_t)t.j * PARO_TILE_ROWS;
        float u[2][PARO_TILE_ROWS], du[2][PARO_TILE_ROWS];
        float q[2][PARO_TILE_ROWS], dq[2][PARO_TILE_ROWS];
        unwind_channels(s.u + i, s.u + j, t.cosine, t.sine, u[0], u[1]);
        unwind_channels(s.du + i, s.du + j, t.cosine, t.sine, du[0], du[1]);
        unwind_channels(s.q + i, s.q + j, t.cosine, t.sine, q[0], q[1]);
        unwind_channels(s.dq + i, s.dq + j, t.cosine, t.sine, dq[0], dq[1]);
        float *sum = sums + n * PARO_TILE_ROWS;
        for (int l = 0; l < PARO_TILE_ROWS; l++)
            sum[l] += (du[0][l] * u[1][l] - du[1][l] * u[0][l]) -
                      (dq[0][l] * q[1][l] - dq[1][l] * q[0][l]);
    }
}

static void add_products(const paro_tile_set *set, size_t n_columns, float *sums)
{
    const paro_tile_set s = *set;
    for (size_t i = 0; i < n_columns * PARO_TILE_ROWS; i++)
        sums[i] += s.du[i] * s.u[i] - s.dq[i] * s.q[i];
}

static const paro_tile_kernels table = {
    .name = ISA_NAME,
    .load = load,
    .store = store,
    .rotate = rotate,
    .unrotate = unrotate,
    .range = range,
    .quantise = quantise,
    .quantise_back = quantise_back,
    .unwind = unwind,
    .add_products = add_products,
};
