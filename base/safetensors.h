/* SPDX-License-Identifier: MIT
 *
 * safetensors, read.
 *
 * Format: 8 bytes little-endian N, at most 100,000,000; N bytes of JSON, an object from tensor
 * names to {"dtype", "shape", "data_offsets": [begin, end)}, and optionally "__metadata__" (an
 * object of strings); then the data, which the offsets count from. Tensors cover the data without
 * overlaps and without gaps, and end - begin is the product of the shape times the dtype's size.
 * (huggingface/safetensors, README "Format".)
 */
#ifndef PARO_BASE_SAFETENSORS_H
#define PARO_BASE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

enum { PARO_MAX_RANK = 8 };

/* One tensor; everything it points to lives as long as its paro_tensor_set. */
typedef struct paro_tensor {
    const char *name;
    const char *file; /* path of the file it is in; "(memory)" for one that was put */
    const void *data; /* little-endian, maybe unaligned */
    uint64_t n_bytes;
    uint64_t n_values;
    uint64_t shape[PARO_MAX_RANK];
    uint32_t rank;
    paro_dtype dtype;
} paro_tensor;

/* The tensors of one file, or of a folder's model.safetensors or shards: mapped, not read. */
typedef struct paro_tensor_set paro_tensor_set;

/* `path`: a file, or a folder: its model.safetensors; where there is none,
 * model.safetensors.index.json (its weight_map) decides which files are opened and which tensor
 * comes from which. */
paro_status paro_tensor_set_open(paro_error *err, const char *path, paro_tensor_set **out);

/* An empty set whose lookups fall through to `under` (may be NULL; must outlive it). */
paro_status paro_tensor_set_new(paro_error *err, const paro_tensor_set *under,
                                paro_tensor_set **out);

/* Adds a tensor that hides one of the same name below; its data (`n_bytes` from malloc) becomes the
 * set's, also on failure. tensor->name is copied; file, n_values and n_bytes are computed. */
paro_status paro_tensor_set_put(paro_error *err, paro_tensor_set *set, const paro_tensor *tensor,
                                void *data);

/* Hides a tensor of the set below. */
paro_status paro_tensor_set_hide(paro_error *err, paro_tensor_set *set, const char *name);

void paro_tensor_set_free(paro_tensor_set *set);

/* NULL where there is none. */
const paro_tensor *paro_tensor_set_find(const paro_tensor_set *set, const char *name);

/* In order of name; counts and lists this set's own tensors only, not those below. */
size_t paro_tensor_set_count(const paro_tensor_set *set);
const paro_tensor *paro_tensor_set_get(const paro_tensor_set *set, size_t n);

/* n-th metadata key in order of key, NULL past the last. */
const char *paro_tensor_set_metadata(const paro_tensor_set *set, size_t n, const char **value);

/* "[8192, 512]" into out; for messages. */
enum { PARO_SHAPE_TEXT_BYTES = 192 };
const char *paro_shape_text(char out[PARO_SHAPE_TEXT_BYTES], const uint64_t *shape, uint32_t rank);

/* PARO_STATUS_FORMAT unless the tensor has this dtype and shape; the message names both. */
paro_status paro_tensor_expect(paro_error *err, const paro_tensor *tensor, paro_dtype dtype,
                               uint32_t rank, const uint64_t *shape);

#endif
