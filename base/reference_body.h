/* SPDX-License-Identifier: MIT
 *
 * The reference operations in one arithmetic. reference.c includes this once for each, with
 *     real        the type (float, double)
 *     REF(name)   paro_ref_<name>_<suffix>
 *     MATH(name)  the <math.h> function for real
 */

/* One round's turn of one pair, by `angle`. */
static void REF(turn)(real *a, real *b, double angle)
{
    real cosine = (real)cos(angle), sine = (real)sin(angle);
    real x = *a, y = *b;
    *a = x * cosine + y * sine;
    *b = -x * sine + y * cosine;
}

/* All pairs of one round on one row; `sign` -1 undoes it. Pairs are disjoint: order is free. */
static void REF(round)(const paro_rotation *rotation, size_t round, double sign, real *x)
{
    const int16_t *pairs = rotation->pairs + round * rotation->n;
    const double *theta = rotation->theta + round * (rotation->n / 2);
    for (size_t slot = 0; slot < rotation->n / 2; slot++) {
        size_t first = 2 * slot / rotation->group_size * rotation->group_size;
        size_t i = first + (size_t)pairs[2 * slot], j = first + (size_t)pairs[2 * slot + 1];
        if (i != j)
            REF(turn)(&x[i], &x[j], sign * theta[slot]);
    }
}

void REF(rotate)(const paro_rotation *rotation, real *x, size_t n_rows)
{
    for (size_t row = 0; row < n_rows; row++)
        for (size_t round = 0; round < rotation->krot; round++)
            REF(round)(rotation, round, 1, x + row * rotation->n);
}

void REF(unrotate)(const paro_rotation *rotation, real *x, size_t n_rows)
{
    for (size_t row = 0; row < n_rows; row++)
        for (size_t round = rotation->krot; round-- > 0;)
            REF(round)(rotation, round, -1, x + row * rotation->n);
}

static real REF(clamp)(real x, real top)
{
    return x < 0 ? 0 : x > top ? top : x;
}

void REF(quantise)(const real *w, size_t n_rows, size_t n, size_t group_size, unsigned bits,
                   real (*scale_round)(real), uint8_t *codes, real *scales, uint8_t *zeros)
{
    const real top = (real)((1U << bits) - 1);
    for (size_t group = 0; group < n_rows * (n / group_size); group++) {
        const real *values = w + group * group_size;
        real low = 0, high = 0;
        for (size_t i = 0; i < group_size; i++) {
            low = values[i] < low ? values[i] : low;
            high = values[i] > high ? values[i] : high;
        }
        real scale = (high - low) / top;
        if (!(scale >= (real)1e-5))
            scale = (real)1e-5;
        if (scale_round != NULL)
            scale = scale_round(scale);
        real zero = REF(clamp)(-MATH(rint)(low / scale), top);
        for (size_t i = 0; i < group_size; i++)
            codes[group * group_size + i] =
                (uint8_t)REF(clamp)(MATH(rint)(values[i] / scale) + zero, top);
        scales[group] = scale;
        zeros[group] = (uint8_t)zero;
    }
}

void REF(dequantise)(const uint8_t *codes, const real *scales, const uint8_t *zeros, size_t n_rows,
                     size_t n, size_t group_size, real *w)
{
    for (size_t i = 0; i < n_rows * n; i++) {
        size_t group = i / group_size;
        w[i] = ((real)codes[i] - (real)zeros[group]) * scales[group];
    }
}

void REF(norm)(const real *x, const real *weight, size_t n_rows, size_t n, double epsilon, real *y)
{
    for (size_t row = 0; row < n_rows; row++) {
        const real *from = x + row * n;
        real sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += from[i] * from[i];
        real scale = 1 / MATH(sqrt)(sum / (real)n + (real)epsilon);
        for (size_t i = 0; i < n; i++)
            y[row * n + i] = from[i] * scale * weight[i];
    }
}

void REF(rope)(real *x, size_t n_heads, size_t head_dim, const double *frequencies, size_t position)
{
    size_t half = head_dim / 2;
    for (size_t head = 0; head < n_heads; head++) {
        real *v = x + head * head_dim;
        for (size_t i = 0; i < half; i++) {
            double angle = (double)position * frequencies[i];
            real cosine = (real)cos(angle), sine = (real)sin(angle);
            real a = v[i], b = v[i + half];
            v[i] = a * cosine - b * sine;
            v[i + half] = b * cosine + a * sine;
        }
    }
}

void REF(linear)(const real *x, const real *w, const real *bias, size_t n_rows, size_t n_in,
                 size_t n_out, real *y)
{
    for (size_t row = 0; row < n_rows; row++) {
        for (size_t out = 0; out < n_out; out++) {
            real sum = 0;
            for (size_t in = 0; in < n_in; in++)
                sum += x[row * n_in + in] * w[out * n_in + in];
            y[row * n_out + out] = sum + (bias == NULL ? 0 : bias[out]);
        }
    }
}

static real REF(dot)(const real *a, const real *b, size_t n)
{
    real sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* One query head over keys 0 .. n_seen - 1 of its kv head; keys and values `stride` apart. The
 * softmax's maximum is found first, so that no exponential overflows. */
static void REF(attend)(const real *q, const real *k, const real *v, size_t n_seen, size_t stride,
                        size_t head_dim, real *out)
{
    const real scale = 1 / MATH(sqrt)((real)head_dim);
    real highest = REF(dot)(q, k, head_dim) * scale;
    for (size_t key = 1; key < n_seen; key++) {
        real score = REF(dot)(q, k + key * stride, head_dim) * scale;
        highest = score > highest ? score : highest;
    }
    real sum = 0;
    for (size_t i = 0; i < head_dim; i++)
        out[i] = 0;
    for (size_t key = 0; key < n_seen; key++) {
        real weight = MATH(exp)(REF(dot)(q, k + key * stride, head_dim) * scale - highest);
        sum += weight;
        for (size_t i = 0; i < head_dim; i++)
            out[i] += weight * v[key * stride + i];
    }
    for (size_t i = 0; i < head_dim; i++)
        out[i] /= sum;
}

void REF(attention)(const real *q, const real *k, const real *v, size_t n_queries, size_t n_keys,
                    size_t n_heads, size_t n_kv_heads, size_t head_dim, real *out)
{
    for (size_t query = 0; query < n_queries; query++) {
        for (size_t head = 0; head < n_heads; head++) {
            size_t kv_head = head / (n_heads / n_kv_heads);
            size_t at = (query * n_heads + head) * head_dim;
            REF(attend)
            (q + at, k + kv_head * head_dim, v + kv_head * head_dim, n_keys - n_queries + query + 1,
             n_kv_heads * head_dim, head_dim, out + at);
        }
    }
}

void REF(swiglu)(const real *gate, const real *up, size_t n, real *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gate[i] / (1 + MATH(exp)(-gate[i])) * up[i];
}
