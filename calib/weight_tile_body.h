/* SPDX-License-Identifier: MIT
 *
 * The work on tiles, in vectors of LANES rows that gcc and clang turn into what the file that
 * includes this is compiled for. ISA_NAME is the table's name.
 */
#include <string.h>

#include "calib/weight_tile.h"

typedef float four __attribute__((vector_size(16)));
typedef float vector __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));

static inline vector get(const float *p)
{
    vector v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void put(float *p, vector v)
{
    memcpy(p, &v, sizeof v);
}

static inline integers get_integers(const int32_t *p)
{
    integers v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void put_integers(int32_t *p, integers v)
{
    memcpy(p, &v, sizeof v);
}

static inline vector splat(float value)
{
    return (vector){0} + value;
}

/* `mask` is all ones or zeros, as comparisons give it. */
static inline integers choose_integers(integers mask, integers yes, integers no)
{
    return (mask & yes) | (~mask & no);
}

static inline vector choose(integers mask, vector yes, vector no)
{
    return (vector)choose_integers(mask, (integers)yes, (integers)no);
}

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

static inline void turn(float *a, float *b, float cosine, float sine)
{
    for (int l = 0; l < PARO_TILE_ROWS; l += LANES) {
        vector x = get(a + l), y = get(b + l);
        put(a + l, x * cosine + y * sine);
        put(b + l, y * cosine - x * sine);
    }
}

static void rotate(const paro_tile_turn *turns, size_t n_turns, float *tile)
{
    for (const paro_tile_turn *t = turns; t < turns + n_turns; t++)
        turn(tile + (size_t)t->i * PARO_TILE_ROWS, tile + (size_t)t->j * PARO_TILE_ROWS, t->cosine,
             t->sine);
}

static void unrotate(const paro_tile_turn *turns, size_t n_turns, float *tile)
{
    for (const paro_tile_turn *t = turns + n_turns; t-- > turns;)
        turn(tile + (size_t)t->i * PARO_TILE_ROWS, tile + (size_t)t->j * PARO_TILE_ROWS, t->cosine,
             -t->sine);
}

static void range(const float *u, size_t n_columns, paro_tile_range *out)
{
    for (int l = 0; l < PARO_TILE_ROWS; l += LANES) {
        vector low = splat(0), high = splat(0);
        integers low_at = (integers){0} - 1, high_at = low_at;
        for (size_t c = 0; c < n_columns; c++) {
            vector x = get(u + c * PARO_TILE_ROWS + l);
            integers column = (integers){0} + (int32_t)c;
            integers below = x<low, above = x> high;
            low_at = choose_integers(below, column, low_at);
            low = choose(below, x, low);
            high_at = choose_integers(above, column, high_at);
            high = choose(above, x, high);
        }
        put(out->low + l, low);
        put(out->high + l, high);
        put_integers(out->low_at + l, low_at);
        put_integers(out->high_at + l, high_at);
    }
}

/* To nearest, ties to even, for |x| < 2^22; what is larger stays so large that it is clamped. */
static inline vector nearest(vector x)
{
    const vector shift = splat(0x1.8p23F);
    return (x + shift) - shift;
}

static inline vector clamp(vector x, vector top)
{
    x = choose(x < splat(0), splat(0), x);
    return choose(x > top, top, x);
}

static void quantise(const paro_tile_quantiser *quantiser, const float *u, size_t n_columns,
                     float *q)
{
    const vector top = splat(quantiser->top);
    for (int l = 0; l < PARO_TILE_ROWS; l += LANES) {
        const vector step = get(quantiser->step + l), zero = get(quantiser->zero + l);
        for (size_t i = (size_t)l; i < n_columns * PARO_TILE_ROWS; i += PARO_TILE_ROWS)
            put(q + i, (clamp(nearest(get(u + i) / step) + zero, top) - zero) * step);
    }
}

static void quantise_back(const paro_tile_quantiser *quantiser, const float *u, const float *dq,
                          size_t n_columns, float *du, paro_tile_quantiser_gradient *out)
{
    const vector top = splat(quantiser->top);
    const vector outside = splat(quantiser->clamp_passes ? 1 : 0);
    for (int l = 0; l < PARO_TILE_ROWS; l += LANES) {
        const vector step = get(quantiser->step + l), zero = get(quantiser->zero + l);
        vector d_step = splat(0), d_zero = splat(0);
        for (size_t i = (size_t)l; i < n_columns * PARO_TILE_ROWS; i += PARO_TILE_ROWS) {
            vector ratio = get(u + i) / step, p = get(dq + i);
            vector code = nearest(ratio) + zero;
            vector bound = clamp(code, top);
            vector passes = choose(bound == code, splat(1), outside);
            vector g = p * passes;
            put(du + i, g);
            d_step += p * ((bound - zero) - ratio * passes);
            d_zero -= (p - g) * step;
        }
        put(out->step + l, d_step);
        put(out->zero + l, d_zero);
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
        float *sum = sums + n * PARO_TILE_ROWS;
        for (int l = 0; l < PARO_TILE_ROWS; l += LANES, i += LANES, j += LANES) {
            vector u_i = get(s.u + i), u_j = get(s.u + j);
            vector du_i = get(s.du + i), du_j = get(s.du + j);
            vector q_i = get(s.q + i), q_j = get(s.q + j);
            vector dq_i = get(s.dq + i), dq_j = get(s.dq + j);
            put(sum + l, get(sum + l) + ((du_i * u_j - du_j * u_i) - (dq_i * q_j - dq_j * q_i)));
            put(s.u + i, u_i * t.cosine - u_j * t.sine);
            put(s.u + j, u_j * t.cosine + u_i * t.sine);
            put(s.du + i, du_i * t.cosine - du_j * t.sine);
            put(s.du + j, du_j * t.cosine + du_i * t.sine);
            put(s.q + i, q_i * t.cosine - q_j * t.sine);
            put(s.q + j, q_j * t.cosine + q_i * t.sine);
            put(s.dq + i, dq_i * t.cosine - dq_j * t.sine);
            put(s.dq + j, dq_j * t.cosine + dq_i * t.sine);
        }
    }
}

static void add_products(const paro_tile_set *set, size_t n_columns, float *sums)
{
    const paro_tile_set s = *set;
    for (size_t i = 0; i < n_columns * PARO_TILE_ROWS; i += LANES)
        put(sums + i,
            get(sums + i) + (get(s.du + i) * get(s.u + i) - get(s.dq + i) * get(s.q + i)));
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
