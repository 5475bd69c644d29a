/* SPDX-License-Identifier: MIT
 *
 * The shape of a model: from its linears, or from config.json where there are no weights.
 */
#include "runtime/shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* Whether any of n values, stored as F32 or BF16, becomes infinite as f16: magnitudes of 65520 and
 * more round to 65536. NaN and infinity are left to those who check weights. */
static bool beyond_f16(const unsigned char *data, paro_dtype dtype, size_t n)
{
    enum { BATCH = 1024 };
    const size_t bytes = paro_dtype_bytes(dtype);
    uint32_t found = 0;
    for (size_t at = 0; at < n && !found; at += BATCH) {
        const size_t n_batch = n - at < BATCH ? n - at : BATCH;
        float values[BATCH];
        paro_f32_from_array(values, data + at * bytes, dtype, n_batch);
        for (size_t i = 0; i < n_batch; i++) {
            float size = values[i] < 0 ? -values[i] : values[i];
            found |= (uint32_t)(size >= 65520.0f) & (uint32_t)(size <= 3.4e38f);
        }
    }
    return found != 0;
}

enum { PIECE_VALUES = 1 << 20 };

typedef struct scan {
    const paro_tensor *tensor;
    unsigned char *found; /* [pieces] */
} scan;

static void scan_piece(void *context, size_t i, int worker)
{
    (void)worker;
    const scan *s = context;
    const size_t first = i * PIECE_VALUES, left = (size_t)s->tensor->n_values - first;
    const unsigned char *data = s->tensor->data;
    s->found[i] = beyond_f16(data + first * paro_dtype_bytes(s->tensor->dtype), s->tensor->dtype,
                             left < PIECE_VALUES ? left : PIECE_VALUES);
}

static bool tensor_is_beyond(const paro_model *model, const paro_tensor *tensor)
{
    if (tensor == NULL || tensor->dtype == PARO_DTYPE_F16)
        return false;
    const size_t n_pieces = (size_t)(tensor->n_values + PIECE_VALUES - 1) / PIECE_VALUES;
    scan s = {tensor, calloc(n_pieces + 1, 1)};
    if (s.found == NULL) /* one thread needs no memory */
        return beyond_f16(tensor->data, tensor->dtype, (size_t)tensor->n_values);
    paro_pool_run(model->pool, n_pieces, scan_piece, &s);
    bool found = memchr(s.found, 1, n_pieces + 1) != NULL;
    free(s.found);
    return found;
}

paro_kernel_dtype paro_model_kernel_dtype(const paro_model *model, const paro_tensor **which)
{
    const paro_tensor *found = NULL;
    if (tensor_is_beyond(model, model->embedding))
        found = model->embedding;
    for (size_t i = 0; i <= paro_model_n_linears(model) && found == NULL; i++) {
        const paro_linear *linear =
            i < paro_model_n_linears(model) ? paro_model_linear(model, i) : model->head;
        if (linear->weight != model->embedding && tensor_is_beyond(model, linear->weight))
            found = linear->weight;
        if (found == NULL && tensor_is_beyond(model, linear->bias))
            found = linear->bias;
    }
    if (which != NULL)
        *which = found;
    return found == NULL ? PARO_KERNEL_DTYPE_F16 : PARO_KERNEL_DTYPE_BF16;
}

/* All but the linears. */
static paro_status begin(paro_error *err, const paro_config *config, paro_kernel_dtype dtype,
                         paro_arena *arena, paro_layer_shape **layers, paro_model_shape *out)
{
    *layers = paro_arena_array(arena, config->n_layers, sizeof **layers);
    if (*layers == NULL)
        return paro_fail_memory(err, config->n_layers * sizeof **layers, "a model's shape");
    *out = (paro_model_shape){
        .hidden = config->hidden,
        .intermediate = config->intermediate,
        .n_heads = config->n_heads,
        .n_kv_heads = config->n_kv_heads,
        .head_dim = config->head_dim,
        .vocab = config->vocab,
        .qk_norm = config->architecture->qk_norm,
        .dtype = dtype,
        .layers = *layers,
        .n_layers = config->n_layers,
        .head = {.n = config->vocab, .k = config->hidden},
    };
    return PARO_STATUS_OK;
}

/* Where a slot's shape is. */
static paro_linear_shape *slot_shape(paro_layer_shape *layer, paro_slot slot)
{
    switch (slot) {
    case PARO_SLOT_Q:
        return &layer->q;
    case PARO_SLOT_K:
        return &layer->k;
    case PARO_SLOT_V:
        return &layer->v;
    case PARO_SLOT_O:
        return &layer->o;
    case PARO_SLOT_GATE:
        return &layer->gate;
    case PARO_SLOT_UP:
        return &layer->up;
    case PARO_SLOT_DOWN:
    case PARO_SLOT_COUNT:
        break;
    }
    return &layer->down;
}

/* Channel scales without rounds are, for the kernels, a round in which no channel has a partner. */
static uint32_t kernel_rounds(uint32_t krot, bool has_channel_scales)
{
    return krot == 0 && has_channel_scales ? 1 : krot;
}

static paro_linear_shape linear_shape(const paro_linear *linear)
{
    const bool quantised = linear->kind == PARO_LINEAR_KIND_W4;
    return (paro_linear_shape){
        .n = linear->n_out,
        .k = linear->n_in,
        .quantised = quantised,
        .group_size = quantised ? linear->group_size : 0,
        .krot = quantised ? kernel_rounds(linear->krot, linear->channel_scales != NULL) : 0,
        .bias = linear->bias != NULL,
    };
}

paro_status paro_shape_of_model(paro_error *err, const paro_model *model, paro_kernel_dtype dtype,
                                paro_arena *arena, paro_model_shape *out)
{
    paro_layer_shape *layers;
    paro_model_shape shape;
    paro_status status = begin(err, &model->config, dtype, arena, &layers, &shape);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < shape.n_layers; i++)
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
            *slot_shape(&layers[i], (paro_slot)slot) =
                linear_shape(&model->blocks[i].linears[slot]);
    shape.head.bias = model->head->bias != NULL;
    *out = shape;
    return PARO_STATUS_OK;
}

paro_status paro_shape_of_config(paro_error *err, const paro_config *config,
                                 paro_kernel_dtype dtype, paro_arena *arena, paro_model_shape *out)
{
    paro_layer_shape *layers;
    paro_model_shape shape;
    paro_status status = begin(err, config, dtype, arena, &layers, &shape);
    if (status != PARO_STATUS_OK)
        return status;
    const bool quantised = config->quant_method != PARO_QUANT_METHOD_NONE;
    for (size_t i = 0; i < shape.n_layers; i++)
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
            paro_linear_shape *linear = slot_shape(&layers[i], (paro_slot)slot);
            paro_slot_sizes(config, (paro_slot)slot, &linear->k, &linear->n, &linear->bias);
            linear->quantised = quantised;
            linear->group_size = quantised ? config->group_size : 0;
            if (config->quant_method == PARO_QUANT_METHOD_PAROQUANT)
                linear->krot = kernel_rounds(config->krot, true);
        }
    *out = shape;
    return PARO_STATUS_OK;
}

/* Whether the folder has weights, whole or in shards. */
static bool has_weights(const char *dir)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !found; i++) {
        paro_arena scratch = {0};
        const char *path = paro_arena_printf(&scratch, "%s/%s", dir, names[i]);
        found = path != NULL && paro_path_exists(path);
        paro_arena_release(&scratch);
    }
    return found;
}

paro_status paro_shape_load(paro_error *err, const char *dir, paro_arena *arena,
                            paro_model_shape *out)
{
    paro_model *model = NULL;
    paro_config config;
    if (!has_weights(dir)) {
        paro_status status = paro_config_load(err, dir, &config);
        if (status == PARO_STATUS_OK)
            status = paro_shape_of_config(err, &config, PARO_KERNEL_DTYPE_F16, arena, out);
        return status;
    }
    paro_status status = paro_model_open(err, dir, NULL, &model);
    if (status == PARO_STATUS_OK)
        status = paro_shape_of_model(err, model, paro_model_kernel_dtype(model, NULL), arena, out);
    paro_model_free(model);
    return status;
}
