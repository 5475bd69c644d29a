/* SPDX-License-Identifier: MIT
 *
 * The checkpoint formats. The layouts are base/pack.h's; what each tensor means is in
 * docs/recipes.md ("Formats").
 */
#include "calib/format.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/pack.h"

enum {
    KROT = 8 /* the published checkpoints' number of rounds */
};

static bool has_transform(const paro_train_linear *linear)
{
    bool has = false;
    for (size_t i = 0; i < linear->n_in && !has; i++)
        has = linear->weight_channel_scales[i] != 1;
    for (size_t i = 0; i < (size_t)linear->krot * (linear->n_in / 2) && !has; i++)
        has = linear->theta[i] != 0;
    return has;
}

/* ---- packed: what paroquant and awq share ---- */

static void shape_qweight(const paro_plan_linear *linear, uint32_t krot, uint64_t shape[2])
{
    (void)krot;
    shape[0] = linear->n_in;
    shape[1] = linear->n_out / PARO_CODES_PER_WORD;
}

static void shape_qzeros(const paro_plan_linear *linear, uint32_t krot, uint64_t shape[2])
{
    (void)krot;
    shape[0] = linear->n_in / linear->group_size;
    shape[1] = linear->n_out / PARO_CODES_PER_WORD;
}

static void shape_scales(const paro_plan_linear *linear, uint32_t krot, uint64_t shape[2])
{
    (void)krot;
    shape[0] = linear->n_in / linear->group_size;
    shape[1] = linear->n_out;
}

/* What paro_pack_qweight does, on all threads and a tile at a time: codes are stored by output
 * channel and words by input channel. */
enum { TILE = 64 }; /* a multiple of PARO_CODES_PER_WORD */

typedef struct pack_task {
    const paro_quantised *q;
    unsigned char *words;
} pack_task;

static void pack_strip(void *context, size_t strip, int worker)
{
    (void)worker;
    const pack_task *task = context;
    const paro_quantised *q = task->q;
    size_t in = strip * TILE;
    size_t n_in = q->n_in - in < TILE ? q->n_in - in : TILE;
    uint8_t turned[TILE][TILE];
    for (size_t out = 0; out < q->n_out; out += TILE) {
        size_t n_out = q->n_out - out < TILE ? q->n_out - out : TILE;
        for (size_t k = 0; k < n_out; k++) {
            const uint8_t *codes = q->codes + (out + k) * q->n_in + in;
            for (size_t i = 0; i < n_in; i++)
                turned[i][k] = codes[i];
        }
        for (size_t i = 0; i < n_in; i++)
            paro_pack_row(task->words + ((in + i) * q->n_out + out) / 2, turned[i], n_out);
    }
}

static paro_status encode_qweight(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                  uint32_t krot, void *data)
{
    (void)err;
    (void)krot;
    const paro_quantised *q = &linear->codes;
    pack_task task = {q, data};
    paro_pool_run(pool, (q->n_in + TILE - 1) / TILE, pack_strip, &task);
    return PARO_STATUS_OK;
}

static paro_status encode_qzeros(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                 uint32_t krot, void *data)
{
    (void)err;
    (void)pool;
    (void)krot;
    const paro_quantised *q = &linear->codes;
    paro_pack_qzeros(data, q->zeros, q->n_out, q->n_in / q->group_size);
    return PARO_STATUS_OK;
}

static paro_status encode_scales(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                 uint32_t krot, void *data)
{
    (void)err;
    (void)pool;
    (void)krot;
    const paro_quantised *q = &linear->codes;
    paro_pack_scales(data, q->scales, q->n_out, q->n_in / q->group_size);
    return PARO_STATUS_OK;
}

/* ---- paroquant: rotations and channel scales; rounds that a linear does not have do nothing ----
 */

static void shape_theta(const paro_plan_linear *linear, uint32_t krot, uint64_t shape[2])
{
    shape[0] = krot;
    shape[1] = linear->n_in / 2;
}

static void shape_pairs(const paro_plan_linear *linear, uint32_t krot, uint64_t shape[2])
{
    shape[0] = krot;
    shape[1] = linear->n_in;
}

static void shape_channel_scales(const paro_plan_linear *linear, uint32_t krot, uint64_t shape[2])
{
    (void)krot;
    shape[0] = 1;
    shape[1] = linear->n_in;
}

static paro_status encode_theta(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                uint32_t krot, void *data)
{
    (void)err;
    (void)pool;
    const size_t n = linear->n_in / 2, n_rounds = linear->krot;
    memset(data, 0, krot * n * sizeof(uint16_t));
    if (n_rounds > 0)
        paro_array_from_f32(data, PARO_DTYPE_F16, linear->theta, n_rounds * n);
    return PARO_STATUS_OK;
}

/* Of a round that does nothing pair t of every group is (2t, 2t + 1). */
static paro_status encode_pairs(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                uint32_t krot, void *data)
{
    (void)err;
    (void)pool;
    unsigned char *bytes = data;
    const size_t n_own = (size_t)linear->krot * linear->n_in;
    for (size_t i = 0; i < (size_t)krot * linear->n_in; i++) {
        const uint32_t channel =
            i < n_own ? (uint32_t)linear->pairs[i] : (uint32_t)(i % linear->group_size);
        bytes[2 * i] = (unsigned char)(channel & 0xff);
        bytes[2 * i + 1] = (unsigned char)(channel >> 8);
    }
    return PARO_STATUS_OK;
}

static paro_status encode_channel_scales(paro_error *err, paro_pool *pool,
                                         const paro_train_linear *linear, uint32_t krot, void *data)
{
    (void)err;
    (void)pool;
    (void)krot;
    for (size_t i = 0; i < linear->n_in; i++) {
        const float scale = 1 / linear->weight_channel_scales[i];
        paro_array_from_f32((char *)data + 2 * i, PARO_DTYPE_F16, &scale, 1);
    }
    return PARO_STATUS_OK;
}

/* ---- pseudo: plain weights ---- */

static void shape_weight(const paro_plan_linear *linear, uint32_t krot, uint64_t shape[2])
{
    (void)krot;
    shape[0] = linear->n_out;
    shape[1] = linear->n_in;
}

static paro_status encode_weight(paro_error *err, paro_pool *pool, const paro_train_linear *linear,
                                 uint32_t krot, void *data)
{
    (void)krot;
    const size_t n_in = linear->n_in, n = linear->n_out * n_in;
    uint16_t *halves = data;
    float *w = malloc(n * sizeof *w);
    if (w == NULL)
        return paro_fail_memory(err, n * sizeof *w, "a dequantised weight");
    paro_status status = paro_train_linear_effective(err, linear, pool, w);
    if (status == PARO_STATUS_OK)
        paro_array_from_f32(halves, PARO_DTYPE_F16, w, n);
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++)
        if (!isfinite(paro_f32_from_f16(halves[i])))
            status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                               "[%zu, %zu]: the dequantised weight %g does not fit F16 (at most "
                               "65504)",
                               i / n_in, i % n_in, (double)w[i]);
    free(w);
    return status;
}

/* ---- the table ---- */

/* The first N_AWQ_TENSORS are all that plain AWQ has. */
enum { N_AWQ_TENSORS = 3 };
static const paro_format_tensor packed_tensors[] = {
    {"qweight", PARO_DTYPE_I32, shape_qweight, encode_qweight},
    {"qzeros", PARO_DTYPE_I32, shape_qzeros, encode_qzeros},
    {"scales", PARO_DTYPE_F16, shape_scales, encode_scales},
    {"theta", PARO_DTYPE_F16, shape_theta, encode_theta},
    {"pairs", PARO_DTYPE_I16, shape_pairs, encode_pairs},
    {"channel_scales", PARO_DTYPE_F16, shape_channel_scales, encode_channel_scales},
};
static const paro_format_tensor plain_tensors[] = {
    {"weight", PARO_DTYPE_F16, shape_weight, encode_weight},
};

static const paro_format_row formats[] = {
    [PARO_FORMAT_PAROQUANT] = {.name = "paroquant",
                               .quant_method = PARO_QUANT_METHOD_PAROQUANT,
                               .bits = 4,
                               .group_sizes = {64, 128},
                               .has_transform = true,
                               .tensors = packed_tensors,
                               .n_tensors = sizeof packed_tensors / sizeof packed_tensors[0]},
    [PARO_FORMAT_AWQ] = {.name = "awq",
                         .quant_method = PARO_QUANT_METHOD_AWQ,
                         .bits = 4,
                         .group_sizes = {32, 64, 128},
                         .tensors = packed_tensors,
                         .n_tensors = N_AWQ_TENSORS},
    [PARO_FORMAT_PSEUDO] = {.name = "pseudo",
                            .quant_method = PARO_QUANT_METHOD_NONE,
                            .tensors = plain_tensors,
                            .n_tensors = sizeof plain_tensors / sizeof plain_tensors[0]},
};
enum { N_FORMATS = sizeof formats / sizeof formats[0] };

const paro_format_row *paro_format_get(paro_format format)
{
    return (unsigned)format < N_FORMATS ? &formats[format] : NULL;
}

const char *paro_format_name(paro_format format)
{
    const paro_format_row *row = paro_format_get(format);
    return row != NULL ? row->name : "unknown";
}

paro_status paro_format_parse(paro_error *err, const char *name, paro_format *out)
{
    char names[128] = "";
    for (int i = 0; i < N_FORMATS; i++) {
        if (strcmp(formats[i].name, name) == 0) {
            *out = (paro_format)i;
            return PARO_STATUS_OK;
        }
        size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, "%s%s", i > 0 ? ", " : "", formats[i].name);
    }
    return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "format \"%s\": expected one of %s", name,
                     names);
}

uint32_t paro_format_krot(const paro_format_row *format, const paro_plan *plan)
{
    if (!format->has_transform)
        return 0;
    return plan->block.run != NULL && plan->krot > 0 ? plan->krot : KROT;
}

paro_status paro_format_check_linear(paro_error *err, const paro_format_row *format, uint32_t krot,
                                     const paro_train_linear *linear)
{
    if (format->quant_method == PARO_QUANT_METHOD_NONE) /* plain weights hold everything */
        return PARO_STATUS_OK;
    if (!format->has_transform && has_transform(linear))
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "format %s: %s: expected no rotation and no channel scales, which it has "
                         "no room for, and the recipe made some; use format paroquant or pseudo",
                         format->name, linear->name);
    if (format->has_transform && linear->krot > krot)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "format %s: %s: expected at most the recipe's krot of %" PRIu32
                         " rounds of rotations, found %" PRIu32,
                         format->name, linear->name, krot, linear->krot);
    return PARO_STATUS_OK;
}

uint32_t paro_format_group_size(const paro_plan *plan)
{
    for (size_t i = 0; i < plan->n_linears; i++) {
        if (plan->linears[i].method->quantise != NULL)
            return plan->linears[i].linear.group_size;
    }
    return 0;
}

static bool allows_group_size(const paro_format_row *format, uint32_t group_size)
{
    for (int i = 0; i < PARO_FORMAT_MAX_GROUP_SIZES && format->group_sizes[i] != 0; i++) {
        if (format->group_sizes[i] == group_size)
            return true;
    }
    return false;
}

static paro_status check_plan(paro_error *err, const paro_format_row *format, const paro_plan *plan)
{
    if (format->bits == 0)
        return PARO_STATUS_OK;
    if (plan->n_quantised == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "format %s: the plan quantises no linear (format pseudo can write that)",
                         format->name);
    uint32_t common = paro_format_group_size(plan);
    for (size_t i = 0; i < plan->n_linears; i++) {
        const paro_plan_linear *linear = &plan->linears[i].linear;
        if (plan->linears[i].method->quantise == NULL)
            continue;
        if (linear->bits != format->bits)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "format %s: %s: expected %" PRIu32 " bits, the plan has %" PRIu32
                             " (format pseudo stores any)",
                             format->name, linear->name, format->bits, linear->bits);
        if (!allows_group_size(format, linear->group_size)) {
            char sizes[64] = "";
            size_t n = 0;
            for (int k = 0; k < PARO_FORMAT_MAX_GROUP_SIZES && format->group_sizes[k] != 0; k++)
                n += (size_t)snprintf(sizes + n, sizeof sizes - n, "%s%" PRIu32, k > 0 ? ", " : "",
                                      format->group_sizes[k]);
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "format %s: %s: expected a group_size of %s, the plan has %" PRIu32
                             " (format pseudo stores any)",
                             format->name, linear->name, sizes, linear->group_size);
        }
        if (linear->group_size != common)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "format %s: %s: group_size %" PRIu32 ", but %" PRIu32
                             " elsewhere: its config.json has room for one (format pseudo stores "
                             "any)",
                             format->name, linear->name, linear->group_size, common);
        if (linear->n_out % PARO_CODES_PER_WORD != 0)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "format %s: %s: expected a multiple of %d output channels, found "
                             "%" PRIu32 "; keep this linear",
                             format->name, linear->name, PARO_CODES_PER_WORD, linear->n_out);
    }
    return PARO_STATUS_OK;
}

paro_status paro_format_check_plan(paro_error *err, const paro_plan *plan, paro_format format)
{
    const paro_format_row *row = paro_format_get(format);
    if (row == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "format %d: there is no such format",
                         (int)format);
    return check_plan(err, row, plan);
}

/* The names of the kept linears, or null where there are none. */
static json_t *kept_linears(const paro_plan *plan)
{
    if (plan->n_quantised == plan->n_linears)
        return json_null();
    json_t *names = json_array();
    for (size_t i = 0; i < plan->n_linears; i++) {
        if (plan->linears[i].method->quantise == NULL &&
            json_array_append_new(names, json_string(plan->linears[i].linear.name)) != 0) {
            json_decref(names);
            return NULL;
        }
    }
    return names;
}

paro_status paro_format_config(paro_error *err, const paro_format_row *format,
                               const paro_plan *plan, json_t **out)
{
    json_t *config = NULL;
    json_int_t bits = format->bits;
    json_int_t group_size = paro_format_group_size(plan);
    switch (format->quant_method) {
    case PARO_QUANT_METHOD_NONE:
        *out = NULL;
        return PARO_STATUS_OK;
    case PARO_QUANT_METHOD_PAROQUANT:
        config =
            json_pack("{s:s, s:I, s:I, s:I}", "quant_method", "paroquant", "bits", bits,
                      "group_size", group_size, "krot", (json_int_t)paro_format_krot(format, plan));
        break;
    case PARO_QUANT_METHOD_AWQ:
        config = json_pack("{s:s, s:I, s:I, s:b, s:s, s:o}", "quant_method", "awq", "bits", bits,
                           "group_size", group_size, "zero_point", 1, "version", "gemm",
                           "modules_to_not_convert", kept_linears(plan));
        break;
    }
    if (config == NULL)
        return paro_fail_memory(err, 256, "quantization_config");
    *out = config;
    return PARO_STATUS_OK;
}
