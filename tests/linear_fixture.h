/* SPDX-License-Identifier: MIT
 *
 * Random linears in memory, and what they must give in fp64.
 */
#ifndef PARO_TESTS_LINEAR_FIXTURE_H
#define PARO_TESTS_LINEAR_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/pack.h"
#include "base/reference.h"
#include "base/rng.h"
#include "cpu/linear_tables.h"

typedef struct fixture {
    paro_linear linear;
    paro_tensor weight, bias, qweight, qzeros, scales, theta, pairs, channel_scales;
    double *w;           /* [n_out, n_in] as stored: dense, or dequantised and still rotated */
    double *bias_values; /* NULL where there is none */
    paro_rotation rotation;
    double *theta_values;
    paro_rng rng;
} fixture;

static inline void *fixture_alloc(size_t n_bytes)
{
    void *data = calloc(1, n_bytes + 1);
    assert_non_null(data);
    return data;
}

/* Data at an odd address, as in a mapped file. */
static inline void fixture_tensor(paro_tensor *tensor, const char *name, paro_dtype dtype,
                                  uint64_t n_rows, uint64_t n_columns)
{
    memset(tensor, 0, sizeof *tensor);
    tensor->name = name;
    tensor->file = "shard.safetensors";
    tensor->dtype = dtype;
    tensor->rank = n_rows ? 2 : 1;
    tensor->shape[0] = n_rows ? n_rows : n_columns;
    tensor->shape[1] = n_rows ? n_columns : 0;
    tensor->n_values = (n_rows ? n_rows : 1) * n_columns;
    tensor->n_bytes = tensor->n_values * paro_dtype_bytes(dtype);
    tensor->data = (unsigned char *)fixture_alloc(tensor->n_bytes + 1) + 1;
}

static inline unsigned char *fixture_bytes(const paro_tensor *tensor)
{
    union {
        const void *from;
        unsigned char *to;
    } cast = {.from = tensor->data};
    return cast.to;
}

static inline void fixture_set(const paro_tensor *tensor, size_t n, float value)
{
    paro_array_from_f32(fixture_bytes(tensor) + n * paro_dtype_bytes(tensor->dtype), tensor->dtype,
                        &value, 1);
}

static inline double fixture_get(const paro_tensor *tensor, size_t n)
{
    float value;
    paro_f32_from_array(&value, fixture_bytes(tensor) + n * paro_dtype_bytes(tensor->dtype),
                        tensor->dtype, 1);
    return value;
}

static inline void fixture_set_i16(const paro_tensor *tensor, size_t n, int16_t value)
{
    memcpy(fixture_bytes(tensor) + 2 * n, &value, sizeof value);
}

static inline void fixture_bias(fixture *f, paro_dtype dtype)
{
    uint32_t n_out = f->linear.n_out;
    fixture_tensor(&f->bias, "layer.bias", dtype, 0, n_out);
    f->bias_values = fixture_alloc(n_out * sizeof(double));
    for (size_t i = 0; i < n_out; i++) {
        fixture_set(&f->bias, i, paro_rng_normal(&f->rng));
        f->bias_values[i] = fixture_get(&f->bias, i);
    }
    f->linear.bias = &f->bias;
}

static inline void fixture_dense(fixture *f, paro_dtype dtype, uint32_t n_in, uint32_t n_out,
                                 uint64_t seed)
{
    memset(f, 0, sizeof *f);
    paro_rng_seed(&f->rng, seed);
    f->linear.name = "layer";
    f->linear.kind = PARO_LINEAR_KIND_DENSE;
    f->linear.n_in = n_in;
    f->linear.n_out = n_out;
    fixture_tensor(&f->weight, "layer.weight", dtype, n_out, n_in);
    f->linear.weight = &f->weight;
    f->w = fixture_alloc((size_t)n_in * n_out * sizeof(double));
    for (size_t i = 0; i < (size_t)n_in * n_out; i++) {
        fixture_set(&f->weight, i, paro_rng_normal(&f->rng));
        f->w[i] = fixture_get(&f->weight, i);
    }
}

/* Disjoint pairs over all channels of each group but, where it has eight or more, two: their slot
 * is empty. */
static inline void fixture_turns(fixture *f, uint32_t krot)
{
    uint32_t n_in = f->linear.n_in, group_size = f->linear.group_size;
    f->linear.krot = krot;
    fixture_tensor(&f->theta, "layer.theta", PARO_DTYPE_F16, krot, n_in / 2);
    fixture_tensor(&f->pairs, "layer.pairs", PARO_DTYPE_I16, krot, n_in);
    fixture_tensor(&f->channel_scales, "layer.channel_scales", PARO_DTYPE_F16, 1, n_in);
    f->linear.theta = &f->theta;
    f->linear.pairs = &f->pairs;
    f->linear.channel_scales = &f->channel_scales;
    for (size_t c = 0; c < n_in; c++)
        fixture_set(&f->channel_scales, c, 0.5f + (float)paro_rng_f64(&f->rng));
    f->theta_values = fixture_alloc((size_t)krot * n_in / 2 * sizeof(double));
    int16_t *order = fixture_alloc(group_size * sizeof *order);
    for (size_t first = 0; first < (size_t)krot * n_in; first += group_size) {
        for (uint32_t c = 0; c < group_size; c++)
            order[c] = (int16_t)c;
        for (uint32_t c = group_size - 1; c > 0; c--) {
            size_t other = paro_rng_below(&f->rng, c + 1);
            int16_t swapped = order[c];
            order[c] = order[other];
            order[other] = swapped;
        }
        if (group_size >= 8)
            order[1] = order[0];
        for (uint32_t c = 0; c < group_size; c++)
            fixture_set_i16(&f->pairs, first + c, order[c]);
        for (uint32_t t = 0; t < group_size / 2; t++) {
            bool empty = order[2 * t] == order[2 * t + 1];
            fixture_set(&f->theta, first / 2 + t, empty ? 0 : paro_rng_normal(&f->rng));
            f->theta_values[first / 2 + t] = fixture_get(&f->theta, first / 2 + t);
        }
    }
    free(order);
    int16_t *pairs = fixture_alloc(f->pairs.n_bytes);
    memcpy(pairs, f->pairs.data, f->pairs.n_bytes);
    f->rotation = (paro_rotation){.n = n_in,
                                  .group_size = group_size,
                                  .krot = krot,
                                  .pairs = pairs,
                                  .theta = f->theta_values};
}

static inline void fixture_w4(fixture *f, uint32_t n_in, uint32_t n_out, uint32_t group_size,
                              uint32_t krot, uint64_t seed)
{
    memset(f, 0, sizeof *f);
    paro_rng_seed(&f->rng, seed);
    f->linear.name = "layer";
    f->linear.kind = PARO_LINEAR_KIND_W4;
    f->linear.n_in = n_in;
    f->linear.n_out = n_out;
    f->linear.group_size = group_size;
    size_t n_groups = n_in / group_size;
    fixture_tensor(&f->qweight, "layer.qweight", PARO_DTYPE_I32, n_in, n_out / 8);
    fixture_tensor(&f->qzeros, "layer.qzeros", PARO_DTYPE_I32, n_groups, n_out / 8);
    fixture_tensor(&f->scales, "layer.scales", PARO_DTYPE_F16, n_groups, n_out);
    f->linear.qweight = &f->qweight;
    f->linear.qzeros = &f->qzeros;
    f->linear.scales = &f->scales;
    for (size_t i = 0; i < f->qweight.n_bytes; i++)
        fixture_bytes(&f->qweight)[i] = (unsigned char)paro_rng_u64(&f->rng);
    for (size_t i = 0; i < f->qzeros.n_bytes; i++)
        fixture_bytes(&f->qzeros)[i] = (unsigned char)paro_rng_u64(&f->rng);
    for (size_t i = 0; i < f->scales.n_values; i++)
        fixture_set(&f->scales, i, 0.01f + 0.02f * (float)paro_rng_f64(&f->rng));

    uint8_t *codes = fixture_alloc((size_t)n_in * n_out);
    uint8_t *zeros = fixture_alloc(n_groups * n_out);
    float *scales = fixture_alloc(n_groups * n_out * sizeof(float));
    paro_unpack_qweight(codes, f->qweight.data, n_out, n_in);
    paro_unpack_qzeros(zeros, f->qzeros.data, n_out, n_groups);
    paro_unpack_scales(scales, f->scales.data, n_out, n_groups);
    f->w = fixture_alloc((size_t)n_in * n_out * sizeof(double));
    for (size_t row = 0; row < n_out; row++)
        for (size_t k = 0; k < n_in; k++) {
            size_t group = row * n_groups + k / group_size;
            f->w[row * n_in + k] = (codes[row * n_in + k] - zeros[group]) * (double)scales[group];
        }
    free(codes);
    free(zeros);
    free(scales);
    if (krot > 0)
        fixture_turns(f, krot);
}

static inline void fixture_free(fixture *f)
{
    paro_tensor *tensors[] = {&f->weight, &f->bias,  &f->qweight, &f->qzeros,
                              &f->scales, &f->theta, &f->pairs,   &f->channel_scales};
    paro_linear_release(&f->linear);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        if (tensors[i]->data)
            free(fixture_bytes(tensors[i]) - 1);
    union {
        const int16_t *from;
        int16_t *to;
    } pairs = {.from = f->rotation.pairs};
    free(pairs.to);
    free(f->theta_values);
    free(f->w);
    free(f->bias_values);
    memset(f, 0, sizeof *f);
}

static inline float *fixture_normals(paro_rng *rng, size_t n)
{
    float *x = fixture_alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = paro_rng_normal(rng);
    return x;
}

/* y [m, n_out] in fp64, by the rules of the format. */
static inline double *fixture_expected(const fixture *f, const float *x, size_t m)
{
    size_t n_in = f->linear.n_in, n_out = f->linear.n_out;
    double *rotated = fixture_alloc(m * n_in * sizeof(double));
    double *y = fixture_alloc(m * n_out * sizeof(double));
    for (size_t i = 0; i < m * n_in; i++)
        rotated[i] = f->linear.channel_scales
                         ? (double)x[i] * fixture_get(&f->channel_scales, i % n_in)
                         : (double)x[i];
    if (f->linear.krot > 0)
        paro_ref_rotate_f64(&f->rotation, rotated, m);
    paro_ref_linear_f64(rotated, f->w, f->bias_values, m, n_in, n_out, y);
    free(rotated);
    return y;
}

/* |found - expected| / |expected| in the 2-norm. */
static inline double fixture_error(const float *found, const double *expected, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += (found[i] - expected[i]) * (found[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    return sqrt(difference / size);
}

#endif
