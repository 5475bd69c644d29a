/* SPDX-License-Identifier: MIT
 *
 * A model: names of tensors to places in the architecture. Shapes of everything that is not a
 * linear are checked here; linears check themselves when first used (linear.h).
 */
#include "runtime/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "runtime/device.h"

/* Where a block's linears are, and their shapes; the order of paro_slot. */
typedef enum size_name { SIZE_HIDDEN, SIZE_INTERMEDIATE, SIZE_Q, SIZE_KV } size_name;

static const struct slot_row {
    const char *name;
    size_name n_in, n_out;
    bool is_attention; /* which of config.json's two biases it follows */
} slots[PARO_SLOT_COUNT] = {
    [PARO_SLOT_Q] = {"self_attn.q_proj", SIZE_HIDDEN, SIZE_Q, true},
    [PARO_SLOT_K] = {"self_attn.k_proj", SIZE_HIDDEN, SIZE_KV, true},
    [PARO_SLOT_V] = {"self_attn.v_proj", SIZE_HIDDEN, SIZE_KV, true},
    [PARO_SLOT_O] = {"self_attn.o_proj", SIZE_Q, SIZE_HIDDEN, true},
    [PARO_SLOT_GATE] = {"mlp.gate_proj", SIZE_HIDDEN, SIZE_INTERMEDIATE, false},
    [PARO_SLOT_UP] = {"mlp.up_proj", SIZE_HIDDEN, SIZE_INTERMEDIATE, false},
    [PARO_SLOT_DOWN] = {"mlp.down_proj", SIZE_INTERMEDIATE, SIZE_HIDDEN, false},
};

static uint32_t size_of(const paro_config *config, size_name name)
{
    switch (name) {
    case SIZE_HIDDEN:
        return config->hidden;
    case SIZE_INTERMEDIATE:
        return config->intermediate;
    case SIZE_Q:
        return config->n_heads * config->head_dim;
    case SIZE_KV:
        return config->n_kv_heads * config->head_dim;
    }
    return 0;
}

void paro_slot_sizes(const paro_config *config, paro_slot slot, uint32_t *n_in, uint32_t *n_out,
                     bool *has_bias)
{
    *n_in = size_of(config, slots[slot].n_in);
    *n_out = size_of(config, slots[slot].n_out);
    *has_bias = slots[slot].is_attention ? config->attention_bias : config->mlp_bias;
}

/* "PREFIX.SUFFIX" if it is there, else NULL; *oom is set when memory ran out. */
static const paro_tensor *find(const paro_model *model, const char *prefix, const char *suffix,
                               bool *oom)
{
    paro_arena scratch = {0};
    const char *name = paro_arena_printf(&scratch, "%s.%s", prefix, suffix);
    if (name == NULL)
        *oom = true;
    const paro_tensor *tensor = name == NULL ? NULL : paro_tensor_set_find(model->tensors, name);
    paro_arena_release(&scratch);
    return tensor;
}

/* A tensor that must be there, be a weight, and have this shape (rank 1 where n_columns is 0). */
static paro_status need(paro_error *err, const paro_model *model, const char *name, uint32_t n_rows,
                        uint32_t n_columns, const paro_tensor **out)
{
    const paro_tensor *tensor = paro_tensor_set_find(model->tensors, name);
    const uint64_t shape[2] = {n_rows, n_columns};
    if (tensor == NULL)
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: tensor %s is missing", model->dir, name);
    if (!paro_dtype_is_weight(tensor->dtype))
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: expected F32, F16 or BF16, found %s",
                         tensor->file, name, paro_dtype_name(tensor->dtype));
    paro_status status =
        paro_tensor_expect(err, tensor, tensor->dtype, n_columns > 0 ? 2 : 1, shape);
    if (status == PARO_STATUS_OK)
        *out = tensor;
    return status;
}

/* Finds a linear's tensors by its name; which of them are there decides its kind. */
static paro_status bind_linear(paro_error *err, const paro_model *model, const char *name,
                               uint32_t n_in, uint32_t n_out, bool has_bias, paro_linear *out)
{
    const paro_config *config = &model->config;
    bool oom = false;
    paro_linear linear = {.name = name, .n_in = n_in, .n_out = n_out};
    linear.qweight = find(model, name, "qweight", &oom);
    linear.bias = find(model, name, "bias", &oom);
    linear.weight = find(model, name, "weight", &oom);
    if (linear.qweight != NULL) {
        linear.kind = PARO_LINEAR_KIND_W4;
        linear.group_size = config->group_size;
        linear.qzeros = find(model, name, "qzeros", &oom);
        linear.scales = find(model, name, "scales", &oom);
        linear.theta = find(model, name, "theta", &oom);
        linear.pairs = find(model, name, "pairs", &oom);
        linear.channel_scales = find(model, name, "channel_scales", &oom);
        if (config->quant_method == PARO_QUANT_METHOD_PAROQUANT)
            linear.krot = config->krot;
    }
    if (oom)
        return paro_fail_memory(err, strlen(name) + 16, "a tensor name");
    if (linear.qweight != NULL && config->quant_method == PARO_QUANT_METHOD_NONE)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s.qweight: is quantised, but config.json has no quantization_config",
                         linear.qweight->file, name);
    if (linear.qweight != NULL && linear.weight != NULL)
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: has both .weight and .qweight",
                         linear.qweight->file, name);
    if (config->quant_method == PARO_QUANT_METHOD_AWQ &&
        (linear.theta != NULL || linear.pairs != NULL || linear.channel_scales != NULL))
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s: has rotation tensors, but config.json says quant_method awq",
                         linear.qweight->file, name);
    if (linear.qweight == NULL && linear.weight == NULL)
        return paro_fail(
            err, PARO_STATUS_FORMAT, "%s: tensor %s.weight is missing%s", model->dir, name,
            config->quant_method == PARO_QUANT_METHOD_NONE ? "" : " (and .qweight too)");
    if (has_bias && linear.bias == NULL)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: tensor %s.bias is missing (config.json says there is a bias)",
                         model->dir, name);
    *out = linear;
    return PARO_STATUS_OK;
}

static paro_status bind_block(paro_error *err, paro_model *model, uint32_t layer, paro_block *block)
{
    const paro_config *config = &model->config;
    const char *prefix = paro_arena_printf(&model->arena, "model.layers.%u", layer);
    if (prefix == NULL)
        return paro_fail_memory(err, 32, "a tensor name");
    const struct {
        const char *name;
        uint32_t n;
        const paro_tensor **out;
        bool wanted;
    } norms[] = {
        {"input_layernorm", config->hidden, &block->input_norm, true},
        {"post_attention_layernorm", config->hidden, &block->post_attention_norm, true},
        {"self_attn.q_norm", config->head_dim, &block->q_norm, config->architecture->qk_norm},
        {"self_attn.k_norm", config->head_dim, &block->k_norm, config->architecture->qk_norm},
    };
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < sizeof norms / sizeof norms[0] && status == PARO_STATUS_OK; i++) {
        if (!norms[i].wanted)
            continue;
        const char *name = paro_arena_printf(&model->arena, "%s.%s.weight", prefix, norms[i].name);
        status = name == NULL ? paro_fail_memory(err, 64, "a tensor name")
                              : need(err, model, name, norms[i].n, 0, norms[i].out);
    }
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++) {
        const char *name = paro_arena_printf(&model->arena, "%s.%s", prefix, slots[slot].name);
        uint32_t n_in, n_out;
        bool has_bias;
        paro_slot_sizes(config, (paro_slot)slot, &n_in, &n_out, &has_bias);
        status = name == NULL
                     ? paro_fail_memory(err, 64, "a tensor name")
                     : bind_linear(err, model, name, n_in, n_out, has_bias, &block->linears[slot]);
    }
    return status;
}

static paro_status bind(paro_error *err, paro_model *model)
{
    const paro_config *config = &model->config;
    paro_status status = need(err, model, "model.embed_tokens.weight", config->vocab,
                              config->hidden, &model->embedding);
    if (status == PARO_STATUS_OK)
        status = need(err, model, "model.norm.weight", config->hidden, 0, &model->norm);
    if (status == PARO_STATUS_OK && config->tied_embeddings)
        *model->head = (paro_linear){.name = "model.embed_tokens",
                                     .n_in = config->hidden,
                                     .n_out = config->vocab,
                                     .weight = model->embedding};
    else if (status == PARO_STATUS_OK)
        status =
            bind_linear(err, model, "lm_head", config->hidden, config->vocab, false, model->head);
    for (uint32_t layer = 0; layer < config->n_layers && status == PARO_STATUS_OK; layer++)
        status = bind_block(err, model, layer, &model->blocks[layer]);
    return status;
}

paro_status paro_model_new(paro_error *err, const char *dir, const paro_config *config,
                           paro_tensor_set *tensors, const paro_model_options *options,
                           paro_model **out)
{
    paro_status status = PARO_STATUS_OK;
    paro_model *model = calloc(1, sizeof *model);
    if (model == NULL) {
        paro_tensor_set_free(tensors);
        return paro_fail_memory(err, sizeof *model, "a model");
    }
    model->tensors = tensors;
    model->config = *config;
    model->dir = strdup(dir);
    model->blocks = paro_arena_array(&model->arena, config->n_layers, sizeof *model->blocks);
    model->head = paro_arena_alloc(&model->arena, sizeof *model->head);
    model->rope_frequencies =
        paro_arena_array(&model->arena, config->head_dim / 2, sizeof *model->rope_frequencies);
    if (model->dir == NULL || model->blocks == NULL || model->head == NULL ||
        model->rope_frequencies == NULL) {
        status = paro_fail_memory(err, config->n_layers * sizeof *model->blocks, "a model");
        goto done;
    }
    paro_ref_rope_frequencies(&config->rope, config->head_dim, model->rope_frequencies);
    status = bind(err, model);
    if (status == PARO_STATUS_OK)
        status = paro_pool_new(err, options == NULL ? 0 : options->n_threads, &model->pool);
    if (status == PARO_STATUS_OK)
        status = paro_device_open(err, model, options, &model->device);
done:
    if (status != PARO_STATUS_OK) {
        paro_model_free(model);
        return status;
    }
    *out = model;
    return status;
}

paro_status paro_model_open(paro_error *err, const char *dir, const paro_model_options *options,
                            paro_model **out)
{
    paro_config config;
    paro_tensor_set *tensors = NULL;
    if (!paro_path_is_dir(dir))
        return paro_fail(
            err, paro_path_exists(dir) ? PARO_STATUS_INVALID_ARGUMENT : PARO_STATUS_NOT_FOUND,
            "%s: expected a model folder (config.json, model.safetensors), found %s", dir,
            paro_path_exists(dir) ? "a file" : "nothing");
    paro_status status = paro_config_load(err, dir, &config);
    if (status == PARO_STATUS_OK)
        status = paro_tensor_set_open(err, dir, &tensors);
    if (status == PARO_STATUS_OK)
        status = paro_model_new(err, dir, &config, tensors, options, out);
    return status;
}

void paro_model_free(paro_model *model)
{
    if (model == NULL)
        return;
    paro_gpu_model_free(model->device);
    if (model->blocks != NULL)
        for (size_t i = 0; i < paro_model_n_linears(model); i++)
            paro_linear_release(paro_model_linear(model, i));
    if (model->head != NULL)
        paro_linear_release(model->head);
    paro_pool_free(model->pool);
    paro_tensor_set_free(model->tensors);
    paro_arena_release(&model->arena);
    free(model->dir);
    free(model);
}

size_t paro_model_n_linears(const paro_model *model)
{
    return (size_t)model->config.n_layers * PARO_SLOT_COUNT;
}

paro_linear *paro_model_linear(const paro_model *model, size_t n)
{
    return &model->blocks[n / PARO_SLOT_COUNT].linears[n % PARO_SLOT_COUNT];
}

paro_status paro_model_check(paro_error *err, const paro_model *model)
{
    for (size_t i = 0; i < paro_model_n_linears(model); i++) {
        paro_status status = paro_linear_prepare(err, paro_model_linear(model, i));
        if (status != PARO_STATUS_OK)
            return status;
    }
    return paro_linear_prepare(err, model->head);
}

/* Weights as the architecture counts them, and their bytes as they are stored. */
typedef struct tally {
    uint64_t n_parameters;
    uint64_t n_bytes;
} tally;

static void count_tensor(tally *sum, const paro_tensor *tensor)
{
    if (tensor != NULL) {
        sum->n_parameters += tensor->n_values;
        sum->n_bytes += tensor->n_bytes;
    }
}

static void count_linear(tally *sum, const paro_linear *linear)
{
    count_tensor(sum, linear->bias);
    sum->n_parameters += (uint64_t)linear->n_in * linear->n_out;
    sum->n_bytes += paro_linear_bytes(linear);
}

static tally count(const paro_model *model)
{
    tally sum = {0, 0};
    count_tensor(&sum, model->embedding);
    count_tensor(&sum, model->norm);
    if (!model->config.tied_embeddings)
        count_linear(&sum, model->head);
    for (uint32_t layer = 0; layer < model->config.n_layers; layer++) {
        const paro_block *block = &model->blocks[layer];
        count_tensor(&sum, block->input_norm);
        count_tensor(&sum, block->post_attention_norm);
        count_tensor(&sum, block->q_norm);
        count_tensor(&sum, block->k_norm);
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
            count_linear(&sum, &block->linears[slot]);
    }
    return sum;
}

void paro_model_get_info(const paro_model *model, paro_model_info *out)
{
    const paro_config *config = &model->config;
    const tally sum = count(model);
    *out = (paro_model_info){
        .architecture = config->architecture->name,
        .dir = model->dir,
        .quant_method = paro_quant_method_name(config->quant_method),
        .n_layers = config->n_layers,
        .hidden = config->hidden,
        .intermediate = config->intermediate,
        .n_heads = config->n_heads,
        .n_kv_heads = config->n_kv_heads,
        .head_dim = config->head_dim,
        .vocab = config->vocab,
        .max_context = config->max_context,
        .bits = config->bits,
        .group_size = config->group_size,
        .krot = config->krot,
        .device = model->device == NULL ? "CPU" : model->device->name,
        .n_parameters = sum.n_parameters,
        .n_weight_bytes = sum.n_bytes,
    };
}

const int32_t *paro_model_eos_ids(const paro_model *model, size_t *n_out)
{
    *n_out = model->config.n_eos_ids;
    return model->config.eos_ids;
}
