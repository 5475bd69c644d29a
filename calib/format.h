/* SPDX-License-Identifier: MIT
 *
 * How quantised linears are stored: a table of checkpoint formats.
 */
#ifndef PARO_CALIB_FORMAT_H
#define PARO_CALIB_FORMAT_H

#include "base/dtype.h"
#include "base/json.h"
#include "calib/plan.h"
#include "calib/train_linear.h"
#include "runtime/config.h"

/* One tensor of a quantised linear "P": "P.suffix". */
typedef struct paro_format_tensor {
    const char *suffix;
    paro_dtype dtype;
    void (*shape)(const paro_plan_linear *linear, uint32_t krot, uint64_t shape[2]); /* rank 2 */
    /* Of a rounded linear that paro_format_check_linear passes. */
    paro_status (*encode)(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                          uint32_t krot, void *data);
} paro_format_tensor;

enum { PARO_FORMAT_MAX_GROUP_SIZES = 4 };

typedef struct paro_format_row {
    const char *name;
    paro_quant_method quant_method; /* NONE: the weights are plain, config.json says nothing */
    uint32_t bits;                  /* the only number of bits, and one group size in all; 0: any */
    uint32_t group_sizes[PARO_FORMAT_MAX_GROUP_SIZES]; /* what is allowed, where bits is not 0 */
    bool has_transform;                                /* rotations and channel scales are stored */
    const paro_format_tensor *tensors;
    size_t n_tensors;
} paro_format_row;

/* NULL for a number that is no format. */
const paro_format_row *paro_format_get(paro_format format);

/* The rounds of rotations that every quantised linear of the plan has in the format: the plan's, 8
 * (the published checkpoints' number) where it has none; 0 where the format has none. */
uint32_t paro_format_krot(const paro_format_row *format, const paro_plan *plan);

/* Whether the format can store a linear: UNSUPPORTED for a transform where it has none, or for more
 * rounds than krot. */
paro_status paro_format_check_linear(paro_error *err, const paro_format_row *format, uint32_t krot,
                                     const paro_train_linear *linear);

/* The group size of the plan's quantised linears, 0 where there are none. */
uint32_t paro_format_group_size(const paro_plan *plan);

/* config.json's quantization_config: a new object in *out, or NULL where the format has none. */
paro_status paro_format_config(paro_error *err, const paro_format_row *format,
                               const paro_plan *plan, json_t **out);

#endif
