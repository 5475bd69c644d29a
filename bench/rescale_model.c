/* SPDX-License-Identifier: MIT
 *
 * A copy of a model that computes the same with outlying channels, which small models have few of:
 *
 *     rescale_model MODEL OUT [SHARE [SEED]]
 *
 * In every block a SHARE (0.02) of the channels between two layers is multiplied by a factor where
 * it is written and divided by it where it is read; factors are drawn log-uniform from 4 to 32.
 * The places are the two norms and the linears behind them, up_proj and down_proj, v_proj and
 * o_proj (of whose columns each group of heads reads the same rows of v_proj).
 *
 * Tensors that change are F16 where they were and where all values stay in its range, else F32.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paro/paro.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/safetensors_write.h"
#include "calib/carry.h"
#include "runtime/model.h"

#define MAX_F16 65504.0F

/* One block's factors; 1 for a channel that stays. */
typedef struct factors {
    float *input;     /* [hidden] behind input_norm */
    float *attention; /* [hidden] behind post_attention_norm */
    float *value;     /* [n_kv_heads * head_dim] rows of v_proj */
    float *attended;  /* [n_heads * head_dim] columns of o_proj: `value` for every head */
    float *up;        /* [intermediate] */
} factors;

/* What happens to a tensor [n_rows, n_columns]: rows are multiplied, columns divided. */
typedef struct change {
    const float *rows;    /* NULL: by 1 */
    const float *columns; /* NULL: by 1 */
} change;

typedef struct rescaler {
    const paro_model *model;
    factors *blocks; /* [n_layers] */
    size_t n_changed, n_channels, n_f32;
} rescaler;

static void fail(const char *message)
{
    fprintf(stderr, "rescale_model: %s\n", message);
    exit(1);
}

static void *must(void *pointer)
{
    if (pointer == NULL)
        fail("out of memory");
    return pointer;
}

/* Factors of n channels, a share of them other than 1. */
static float *draw(rescaler *r, paro_rng *rng, size_t n, double share)
{
    float *out = must(malloc(n * sizeof *out));
    size_t *order = must(malloc(n * sizeof *order));
    const size_t n_drawn = (size_t)ceil(share * (double)n);
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
        out[i] = 1;
    }
    for (size_t i = 0; i < n_drawn; i++) {
        const size_t k = i + (size_t)paro_rng_below(rng, n - i), channel = order[k];
        order[k] = order[i];
        out[channel] = (float)(4 * pow(8, paro_rng_f64(rng)));
    }
    r->n_channels += n_drawn;
    free(order);
    return out;
}

static void draw_all(rescaler *r, double share, uint64_t seed)
{
    const paro_config *config = &r->model->config;
    const size_t head_dim = config->head_dim, n_queries = config->n_heads / config->n_kv_heads;
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    r->blocks = must(calloc(config->n_layers, sizeof *r->blocks));
    for (uint32_t layer = 0; layer < config->n_layers; layer++) {
        factors *f = &r->blocks[layer];
        f->input = draw(r, &rng, config->hidden, share);
        f->attention = draw(r, &rng, config->hidden, share);
        f->value = draw(r, &rng, config->n_kv_heads * head_dim, share);
        f->up = draw(r, &rng, config->intermediate, share);
        f->attended = must(malloc(config->n_heads * head_dim * sizeof *f->attended));
        for (size_t head = 0; head < config->n_heads; head++)
            memcpy(f->attended + head * head_dim, f->value + head / n_queries * head_dim,
                   head_dim * sizeof *f->attended);
    }
}

static bool find_change_in(const paro_block *block, const factors *f, const paro_tensor *tensor,
                           change *out)
{
    const paro_linear *linears = block->linears;
    const struct {
        const paro_tensor *tensor;
        change change;
    } rows[] = {
        {block->input_norm, {f->input, NULL}},
        {block->post_attention_norm, {f->attention, NULL}},
        {linears[PARO_SLOT_Q].weight, {NULL, f->input}},
        {linears[PARO_SLOT_K].weight, {NULL, f->input}},
        {linears[PARO_SLOT_V].weight, {f->value, f->input}},
        {linears[PARO_SLOT_V].bias, {f->value, NULL}},
        {linears[PARO_SLOT_O].weight, {NULL, f->attended}},
        {linears[PARO_SLOT_GATE].weight, {NULL, f->attention}},
        {linears[PARO_SLOT_UP].weight, {f->up, f->attention}},
        {linears[PARO_SLOT_UP].bias, {f->up, NULL}},
        {linears[PARO_SLOT_DOWN].weight, {NULL, f->up}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].tensor == tensor) {
            *out = rows[i].change;
            return true;
        }
    }
    return false;
}

static bool find_change(const rescaler *r, const paro_tensor *tensor, change *out)
{
    for (uint32_t layer = 0; layer < r->model->config.n_layers; layer++)
        if (find_change_in(&r->model->blocks[layer], &r->blocks[layer], tensor, out))
            return true;
    return false;
}

/* The changed tensor in fp32, malloc'd, and the dtype it can be stored in. */
static float *rescale(const paro_tensor *tensor, const change *how, paro_dtype *dtype)
{
    const size_t n = (size_t)tensor->n_values;
    const size_t n_columns = tensor->rank < 2 ? 1 : (size_t)tensor->shape[1];
    float *values = must(malloc(n * sizeof *values));
    float most = 0;
    paro_f32_from_array(values, tensor->data, tensor->dtype, n);
    for (size_t i = 0; i < n; i++) {
        if (how->rows != NULL)
            values[i] *= how->rows[i / n_columns];
        if (how->columns != NULL)
            values[i] /= how->columns[i % n_columns];
        most = fmaxf(most, fabsf(values[i]));
    }
    *dtype = tensor->dtype == PARO_DTYPE_F16 && most <= MAX_F16 ? PARO_DTYPE_F16 : PARO_DTYPE_F32;
    return values;
}

static paro_status declare_all(paro_error *err, const rescaler *r, paro_shard_writer *writer)
{
    const paro_tensor_set *set = r->model->tensors;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < paro_tensor_set_count(set) && status == PARO_STATUS_OK; i++) {
        const paro_tensor *tensor = paro_tensor_set_get(set, i);
        paro_dtype dtype = tensor->dtype;
        change how;
        if (find_change(r, tensor, &how))
            free(rescale(tensor, &how, &dtype));
        status = paro_shard_writer_declare(err, writer, tensor->name, dtype, tensor->rank,
                                           tensor->shape);
    }
    return status;
}

static paro_status write_all(paro_error *err, rescaler *r, paro_shard_writer *writer)
{
    const paro_tensor_set *set = r->model->tensors;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < paro_tensor_set_count(set) && status == PARO_STATUS_OK; i++) {
        const paro_tensor *tensor = paro_tensor_set_get(set, i);
        const size_t n = (size_t)tensor->n_values;
        paro_dtype dtype;
        change how;
        if (!find_change(r, tensor, &how)) {
            status = paro_shard_writer_write(err, writer, tensor->name, tensor->data,
                                             (size_t)tensor->n_bytes);
            continue;
        }
        float *values = rescale(tensor, &how, &dtype);
        void *stored = must(malloc(n * paro_dtype_bytes(dtype)));
        paro_array_from_f32(stored, dtype, values, n);
        status =
            paro_shard_writer_write(err, writer, tensor->name, stored, n * paro_dtype_bytes(dtype));
        r->n_changed++;
        r->n_f32 += dtype == PARO_DTYPE_F32;
        free(values);
        free(stored);
    }
    return status;
}

static paro_status copy_config(paro_error *err, const char *from_dir, const char *to_dir)
{
    paro_arena scratch = {0};
    char *text = NULL;
    size_t n_bytes;
    const char *from = must(paro_path_join(&scratch, from_dir, "config.json"));
    const char *to = must(paro_path_join(&scratch, to_dir, "config.json"));
    paro_status status = paro_file_read(err, from, PARO_CONFIG_MAX_BYTES, &text, &n_bytes);
    if (status == PARO_STATUS_OK)
        status = paro_file_write(err, to, text, n_bytes);
    free(text);
    paro_arena_release(&scratch);
    return status;
}

static paro_status write_folder(paro_error *err, rescaler *r, const char *out)
{
    paro_staging staging = {.lock_fd = -1};
    paro_shard_writer *writer = NULL;
    paro_status status = paro_staging_begin(err, out, false, &staging);
    if (status != PARO_STATUS_OK)
        return status;
    status = copy_config(err, r->model->dir, staging.temporary);
    if (status == PARO_STATUS_OK)
        status = paro_carry_files(err, r->model->dir, staging.temporary);
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_new(err, staging.temporary, 0, &writer);
    if (status == PARO_STATUS_OK)
        status = declare_all(err, r, writer);
    if (status == PARO_STATUS_OK)
        status = write_all(err, r, writer);
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_finish(err, writer, NULL, NULL);
    paro_shard_writer_free(writer);
    if (status == PARO_STATUS_OK)
        status = paro_staging_commit(err, &staging);
    paro_staging_abort(&staging);
    return status;
}

int main(int argc, char **argv)
{
    paro_error err;
    paro_model *model = NULL;
    if (argc < 3 || argc > 5)
        fail("usage: rescale_model MODEL OUT [SHARE [SEED]]");
    const double share = argc > 3 ? strtod(argv[3], NULL) : 0.02;
    const uint64_t seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
    if (!(share > 0 && share <= 1))
        fail("SHARE: expected a number above 0, at most 1");
    if (paro_model_open(&err, argv[1], NULL, &model) != PARO_STATUS_OK)
        fail(err.message);
    if (model->config.quant_method != PARO_QUANT_METHOD_NONE)
        fail("MODEL: expected one that is not quantised");
    rescaler r = {.model = model};
    draw_all(&r, share, seed);
    if (write_folder(&err, &r, argv[2]) != PARO_STATUS_OK)
        fail(err.message);
    printf("%s: %zu channels in %zu tensors rescaled, %zu of them now F32\n", argv[2], r.n_channels,
           r.n_changed, r.n_f32);
    for (uint32_t layer = 0; layer < model->config.n_layers; layer++) {
        factors *f = &r.blocks[layer];
        float *all[] = {f->input, f->attention, f->value, f->attended, f->up};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            free(all[i]);
    }
    free(r.blocks);
    paro_model_free(model);
    return 0;
}
