/* SPDX-License-Identifier: MIT
 *
 * include/paro/inspect.h: a public face of a tensor set, and statistics of a tensor.
 */
#include <math.h>
#include <paro/inspect.h>
#include <string.h>

#include "base/safetensors.h"

_Static_assert((int)PARO_TENSOR_MAX_RANK == (int)PARO_MAX_RANK, "one limit under two names");

/* A paro_tensors is a paro_tensor_set under its public name. */
static const paro_tensor_set *set_of(const paro_tensors *tensors)
{
    return (const paro_tensor_set *)tensors;
}

paro_status paro_tensors_open(paro_error *err, const char *path, paro_tensors **out)
{
    paro_tensor_set *set = NULL;
    paro_status status = paro_tensor_set_open(err, path, &set);
    if (status == PARO_STATUS_OK)
        *out = (paro_tensors *)set;
    return status;
}

void paro_tensors_free(paro_tensors *tensors)
{
    paro_tensor_set_free((paro_tensor_set *)tensors);
}

size_t paro_tensors_count(const paro_tensors *tensors)
{
    return paro_tensor_set_count(set_of(tensors));
}

void paro_tensors_get(const paro_tensors *tensors, size_t n, paro_tensor_info *out)
{
    const paro_tensor *tensor = paro_tensor_set_get(set_of(tensors), n);
    *out = (paro_tensor_info){
        .name = tensor->name,
        .dtype = paro_dtype_name(tensor->dtype),
        .file = tensor->file,
        .rank = tensor->rank,
        .n_bytes = tensor->n_bytes,
    };
    memcpy(out->shape, tensor->shape, sizeof out->shape);
}

const char *paro_tensors_metadata(const paro_tensors *tensors, size_t n, const char **value)
{
    return paro_tensor_set_metadata(set_of(tensors), n, value);
}

/* Little-endian integer of `n` bytes at `bytes`. */
static uint64_t load(const unsigned char *bytes, size_t n)
{
    uint64_t value = 0;
    for (size_t i = n; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

static double value_at(const paro_tensor *tensor, uint64_t i)
{
    const size_t n = paro_dtype_bytes(tensor->dtype);
    const uint64_t bits = load((const unsigned char *)tensor->data + i * n, n);
    switch (tensor->dtype) {
    case PARO_DTYPE_F64: {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    case PARO_DTYPE_F32: {
        uint32_t low = (uint32_t)bits;
        float value;
        memcpy(&value, &low, sizeof value);
        return (double)value;
    }
    case PARO_DTYPE_F16:
        return (double)paro_f32_from_f16((uint16_t)bits);
    case PARO_DTYPE_BF16:
        return (double)paro_f32_from_bf16((uint16_t)bits);
    case PARO_DTYPE_I64:
        return (double)(int64_t)bits;
    case PARO_DTYPE_I32:
        return (double)(int32_t)(uint32_t)bits;
    case PARO_DTYPE_I16:
        return (double)(int16_t)(uint16_t)bits;
    case PARO_DTYPE_I8:
        return (double)(int8_t)(uint8_t)bits;
    default: /* unsigned, BOOL, and the 8-bit floats as their bits */
        return (double)bits;
    }
}

paro_status paro_tensors_stats(paro_error *err, const paro_tensors *tensors, size_t n,
                               paro_tensor_stats *out)
{
    if (n >= paro_tensors_count(tensors))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "tensor %zu: there are %zu", n,
                         paro_tensors_count(tensors));
    const paro_tensor *tensor = paro_tensor_set_get(set_of(tensors), n);
    paro_tensor_stats stats = {.n_values = tensor->n_values};
    uint64_t n_finite = 0;
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < tensor->n_values; i++) {
        const double x = value_at(tensor, i);
        if (isnan(x) || isinf(x)) {
            stats.n_nan += isnan(x) != 0;
            stats.n_inf += isinf(x) != 0;
            continue;
        }
        stats.n_zero += x == 0;
        stats.min = n_finite == 0 || x < stats.min ? x : stats.min;
        stats.max = n_finite == 0 || x > stats.max ? x : stats.max;
        sum += x;
        squares += x * x;
        n_finite++;
    }
    if (n_finite > 0) {
        stats.mean = sum / (double)n_finite;
        stats.rms = sqrt(squares / (double)n_finite);
    }
    *out = stats;
    return PARO_STATUS_OK;
}
