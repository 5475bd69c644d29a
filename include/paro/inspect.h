/* SPDX-License-Identifier: MIT
 *
 * Looking into a model folder or a safetensors file.
 */
#ifndef PARO_INSPECT_H
#define PARO_INSPECT_H

#include <stddef.h>
#include <stdint.h>

#include <paro/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The tensors of one safetensors file, or of all of a model folder's. */
typedef struct paro_tensors paro_tensors;

enum { PARO_TENSOR_MAX_RANK = 8 };

/* Strings live as long as the paro_tensors. */
typedef struct paro_tensor_info {
    const char *name;
    const char *dtype; /* "F16", "BF16", "I32", … */
    const char *file;  /* path */
    uint32_t rank;
    uint64_t shape[PARO_TENSOR_MAX_RANK];
    uint64_t n_bytes;
} paro_tensor_info;

typedef struct paro_tensor_stats {
    uint64_t n_values;
    uint64_t n_nan;
    uint64_t n_inf;
    uint64_t n_zero;
    double min; /* over finite values; 0 where there are none */
    double max;
    double mean;
    double rms;
} paro_tensor_stats;

/* `path`: a folder with model.safetensors or an index, or a single .safetensors file. */
paro_status paro_tensors_open(paro_error *err, const char *path, paro_tensors **out);
void paro_tensors_free(paro_tensors *tensors);
size_t paro_tensors_count(const paro_tensors *tensors);

/* The n-th tensor, in order of name; n < paro_tensors_count. */
void paro_tensors_get(const paro_tensors *tensors, size_t n, paro_tensor_info *out);

/* Reads the whole tensor. */
paro_status paro_tensors_stats(paro_error *err, const paro_tensors *tensors, size_t n,
                               paro_tensor_stats *out);

/* The n-th key of the files' __metadata__ and its value, in order of key; NULL past the last. */
const char *paro_tensors_metadata(const paro_tensors *tensors, size_t n, const char **value);

#ifdef __cplusplus
}
#endif
#endif
