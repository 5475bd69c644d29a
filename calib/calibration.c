/* SPDX-License-Identifier: MIT
 *
 * All blocks of a model in order. What flows where:
 *
 *     embedding ──► x ──► quantised block 0 ──► x ──► quantised block 1 ──► …
 *              └──► original block 0 ──► target ──► original block 1 ──► target ──► …
 *
 * Both are written over in place, block by block. After an interruption they are computed anew
 * through the finished blocks: as the first time, to the bit.
 */
#include "calib/calibration.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <paro/version.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "calib/block_pass.h"
#include "runtime/model.h"

enum {
    MAX_BATCH = 16,     /* samples of a pass, as the reference's batch */
    BATCH_TOKENS = 8192 /* at most so many tokens, where that is less */
};

typedef struct run {
    const paro_model *model;
    const paro_plan *plan;
    const paro_dataset *dataset;
    const paro_observer *observer;
    struct paro_calib_estimate *estimate;
    paro_block_store *store;
    paro_activations x, target;
    size_t batch;
    float *y;                         /* [batch, n_tokens, hidden] */
    float *original[PARO_SLOT_COUNT]; /* weights of the block at hand, [n_out, n_in] */
} run;

/* ---- the job's identity ---- */

/* Files are told apart by name, size and time: reading them all would take longer than the work of
 * a block. */
static bool add_files(paro_buffer *text, const paro_model *model)
{
    bool ok = true;
    const char *last = "";
    for (size_t i = 0; i < paro_tensor_set_count(model->tensors) && ok; i++) {
        const paro_tensor *tensor = paro_tensor_set_get(model->tensors, i);
        struct stat info;
        if (strcmp(tensor->file, last) == 0 || stat(tensor->file, &info) != 0)
            continue;
        last = tensor->file;
        ok = paro_buffer_printf(text, "file %s %lld %lld.%09ld\n", last, (long long)info.st_size,
                                (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
    }
    return ok;
}

static paro_status hash_job(paro_error *err, const run *r, char job[PARO_SHA256_HEX_BYTES])
{
    paro_buffer text = {0};
    const paro_plan *plan = r->plan;
    bool ok = paro_buffer_printf(
        &text, "paro %s\nrecipe %s\noptions %s\ndata %s\nkrot %" PRIu32 "\n", paro_version(),
        plan->recipe_sha256, plan->recipe_options, r->dataset->sha256, plan->krot);
    for (size_t i = 0; i < plan->n_linears && ok; i++) {
        const paro_plan_linear *l = &plan->linears[i].linear;
        ok = paro_buffer_printf(&text, "%s %s %" PRIu32 " %" PRIu32 "\n", l->name, l->method,
                                l->bits, l->group_size);
    }
    ok = ok && add_files(&text, r->model);
    if (ok)
        paro_sha256_hex(text.data, text.n_bytes, job);
    paro_buffer_free(&text);
    return ok ? PARO_STATUS_OK : paro_fail_memory(err, 4096, "the job's identity");
}

static paro_status open_store(paro_error *err, run *r, const char *work_dir)
{
    char job[PARO_SHA256_HEX_BYTES];
    paro_arena scratch = {0};
    paro_status status = hash_job(err, r, job);
    const char *about = paro_arena_printf(&scratch, "%s, recipe %.16s, options %s", r->model->dir,
                                          r->plan->recipe_sha256, r->plan->recipe_options);
    if (status == PARO_STATUS_OK && about == NULL)
        status = paro_fail_memory(err, 256, "the job's name");
    if (status == PARO_STATUS_OK)
        status =
            paro_block_store_open(err, work_dir, r->model->config.n_layers, job, about, &r->store);
    paro_arena_release(&scratch);
    if (status == PARO_STATUS_OK && paro_block_store_count(r->store) > 0)
        paro_log(r->observer, PARO_LOG_LEVEL_INFO,
                 "%s: %" PRIu32 " of %" PRIu32 " blocks are finished already; going on after them",
                 work_dir, paro_block_store_count(r->store), r->model->config.n_layers);
    return status;
}

/* ---- activations ---- */

static size_t n_samples(const run *r)
{
    return r->dataset->n_train + r->dataset->n_validation;
}

static paro_status allocate(paro_error *err, run *r, const paro_calibration_options *options)
{
    const paro_config *config = &r->model->config;
    const uint64_t memory_bytes =
        options->memory_bytes > 0 ? options->memory_bytes : PARO_CALIBRATION_MEMORY_BYTES;
    r->batch = BATCH_TOKENS / r->dataset->n_tokens;
    r->batch = r->batch < 1 ? 1 : r->batch > MAX_BATCH ? MAX_BATCH : r->batch;
    r->x = (paro_activations){
        .n_samples = n_samples(r), .n_tokens = r->dataset->n_tokens, .hidden = config->hidden};
    r->target = r->x;
    paro_status status = paro_activations_alloc(err, options->work_dir, memory_bytes, &r->x);
    if (status == PARO_STATUS_OK)
        status = paro_activations_alloc(err, options->work_dir, memory_bytes, &r->target);
    if (status != PARO_STATUS_OK)
        return status;
    r->y = malloc(r->batch * r->dataset->n_tokens * config->hidden * sizeof *r->y);
    if (r->y == NULL)
        return paro_fail_memory(err, r->batch * r->dataset->n_tokens * config->hidden * 4,
                                "activations");
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_linear *l = &r->model->blocks[0].linears[slot];
        r->original[slot] = malloc((size_t)l->n_out * l->n_in * sizeof(float));
        if (r->original[slot] == NULL)
            return paro_fail_memory(err, (size_t)l->n_out * l->n_in * 4, "a block's weights");
    }
    return PARO_STATUS_OK;
}

static void release(run *r)
{
    paro_activations_release(&r->x);
    paro_activations_release(&r->target);
    free(r->y);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        free(r->original[slot]);
}

static void embed_sample(void *context, size_t sample, int worker)
{
    (void)worker;
    const run *r = context;
    const paro_tensor *table = r->model->embedding;
    const size_t hidden = r->x.hidden, row_bytes = hidden * paro_dtype_bytes(table->dtype);
    float *x = paro_activations_sample(&r->x, sample);
    for (size_t i = 0; i < r->x.n_tokens; i++) {
        const int32_t id = r->dataset->ids[sample * r->x.n_tokens + i];
        paro_f32_from_array(x + i * hidden, (const char *)table->data + (size_t)id * row_bytes,
                            table->dtype, hidden);
    }
    memcpy(paro_activations_sample(&r->target, sample), x, r->x.n_tokens * hidden * sizeof *x);
}

static paro_status embed(paro_error *err, run *r)
{
    for (size_t i = 0; i < n_samples(r) * r->dataset->n_tokens; i++)
        if (r->dataset->ids[i] < 0 || (uint32_t)r->dataset->ids[i] >= r->model->config.vocab)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "calibration data: token %" PRId32
                             ": expected less than the model's vocabulary, %" PRIu32,
                             r->dataset->ids[i], r->model->config.vocab);
    paro_pool_run(r->model->pool, n_samples(r), embed_sample, r);
    return PARO_STATUS_OK;
}

/* Takes all samples through block `layer` with these weights, in place. */
static paro_status push(paro_error *err, run *r, uint32_t layer, float *const weights[],
                        paro_activations *x)
{
    const paro_block_pass_options options = {.max_samples = r->batch, .n_tokens = x->n_tokens};
    const size_t sample_values = x->n_tokens * x->hidden;
    paro_block_pass *pass = NULL;
    paro_status status = paro_block_pass_new(err, r->model, layer, &options, &pass);
    if (status != PARO_STATUS_OK)
        return status;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_block_pass_set_weight(pass, (paro_slot)slot, weights[slot]);
    for (size_t first = 0; first < x->n_samples && status == PARO_STATUS_OK; first += r->batch) {
        const size_t n = x->n_samples - first < r->batch ? x->n_samples - first : r->batch;
        float *at = paro_activations_sample(x, first);
        status = paro_block_pass_forward(err, pass, at, n, r->y);
        if (status == PARO_STATUS_OK)
            memcpy(at, r->y, n * sample_values * sizeof *at);
        if (status == PARO_STATUS_OK) /* to be asked whether to stop */
            status = paro_report(err, r->observer, "calibrate", layer, r->model->config.n_layers);
    }
    paro_block_pass_free(pass);
    return status;
}

/* ---- a block ---- */

static paro_status load_original(paro_error *err, run *r, uint32_t layer)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_linear *linear = &r->model->blocks[layer].linears[slot];
        const size_t n = (size_t)linear->n_out * linear->n_in;
        paro_status status = paro_linear_weight(err, linear, r->model->pool, r->original[slot]);
        if (status != PARO_STATUS_OK)
            return status;
        for (size_t i = 0; i < n; i++)
            if (!isfinite(r->original[slot][i]))
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "%s: the weight at [%zu, %zu] is %g: expected finite numbers",
                                 linear->name, i / linear->n_in, i % linear->n_in,
                                 (double)r->original[slot][i]);
    }
    return PARO_STATUS_OK;
}

/* The linear as planned, without memory; bits is 0 where it is kept. */
static paro_train_linear planned_linear(const run *r, uint32_t layer, int slot)
{
    const paro_planned *planned = &r->plan->linears[(size_t)layer * PARO_SLOT_COUNT + (size_t)slot];
    const bool is_kept = planned->method->quantise == NULL;
    return (paro_train_linear){.name = planned->linear.name,
                               .n_out = planned->linear.n_out,
                               .n_in = planned->linear.n_in,
                               .bits = is_kept ? 0 : planned->linear.bits,
                               .group_size = is_kept ? 0 : planned->linear.group_size,
                               .krot = is_kept ? 0 : r->plan->krot};
}

static void release_linears(paro_train_linear *linears)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_train_linear_release(&linears[slot]);
}

static paro_status new_linears(paro_error *err, const run *r, uint32_t layer,
                               paro_train_linear *linears)
{
    paro_status status = PARO_STATUS_OK;
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++) {
        linears[slot] = planned_linear(r, layer, slot);
        status = paro_train_linear_alloc(err, &linears[slot]);
        if (status == PARO_STATUS_OK)
            memcpy(linears[slot].w, r->original[slot],
                   (size_t)linears[slot].n_out * linears[slot].n_in * sizeof(float));
    }
    return status;
}

/* The block's loss on the samples held out, on all where there are none. */
static paro_status held_out_loss(paro_error *err, const paro_calib_block *block, double *loss)
{
    const bool has_some = block->n_validation > 0;
    return paro_calib_block_loss(err, block, has_some ? block->n_train : 0,
                                 has_some ? block->n_validation : block->n_train, true, loss);
}

/* Quantises the block by the recipe and stores it, with a line about it. */
static paro_status quantise_block(paro_error *err, run *r, paro_calib_block *block)
{
    const double start = paro_clock_seconds();
    paro_buffer summary = {0};
    double before = 0, after = 0;
    paro_status status = held_out_loss(err, block, &before);
    if (status == PARO_STATUS_OK)
        status = r->plan->block.run(err, r->plan->block.context, block);
    if (status == PARO_STATUS_OK)
        status = paro_calib_block_round(err, block);
    if (status == PARO_STATUS_OK)
        status = held_out_loss(err, block, &after);
    if (status == PARO_STATUS_OK &&
        !paro_buffer_printf(&summary,
                            "block %" PRIu32 ": loss %.4g on %s, %.4g by round to nearest; %.1f s",
                            block->layer, after,
                            block->n_validation > 0 ? "validation samples" : "training samples",
                            before, paro_clock_seconds() - start))
        status = paro_fail_memory(err, 128, "a summary");
    if (status == PARO_STATUS_OK)
        status = paro_block_store_put(err, r->store, block->linears, PARO_SLOT_COUNT, summary.data);
    if (status == PARO_STATUS_OK)
        paro_log(r->observer, PARO_LOG_LEVEL_INFO, "%s", summary.data);
    paro_buffer_free(&summary);
    return status;
}

/* The block's inputs through what it has become. */
static paro_status push_quantised(paro_error *err, run *r, uint32_t layer)
{
    float *weights[PARO_SLOT_COUNT];
    paro_status status = PARO_STATUS_OK;
    memcpy(weights, r->original, sizeof weights);
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++) {
        paro_train_linear linear = planned_linear(r, layer, slot);
        if (linear.bits == 0)
            continue;
        status = paro_block_store_get(err, r->store, layer, &linear);
        if (status == PARO_STATUS_OK) /* the original is not needed any more */
            status = paro_train_linear_effective(err, &linear, r->model->pool, r->original[slot]);
        paro_train_linear_release(&linear);
    }
    return status == PARO_STATUS_OK ? push(err, r, layer, weights, &r->x) : status;
}

static paro_status run_block(paro_error *err, run *r, uint32_t layer)
{
    const bool is_finished = layer < paro_block_store_count(r->store);
    const bool is_last = layer + 1 == r->model->config.n_layers;
    paro_calib_block block = {.model = r->model,
                              .layer = layer,
                              .pool = r->model->pool,
                              .observer = r->observer,
                              .x = &r->x,
                              .target = &r->target,
                              .n_train = r->dataset->n_train,
                              .n_validation = r->dataset->n_validation,
                              .batch = r->batch,
                              .estimate = r->estimate};
    paro_status status = load_original(err, r, layer);
    if (status == PARO_STATUS_OK)
        status = push(err, r, layer, r->original, &r->target);
    if (status == PARO_STATUS_OK && !is_finished) {
        status = new_linears(err, r, layer, block.linears);
        if (status == PARO_STATUS_OK)
            status = r->estimate != NULL ? r->plan->block.run(err, r->plan->block.context, &block)
                                         : quantise_block(err, r, &block);
        release_linears(block.linears);
    }
    if (status == PARO_STATUS_OK && !is_last && r->estimate == NULL)
        status = push_quantised(err, r, layer);
    if (status == PARO_STATUS_OK)
        status = paro_report(err, r->observer, "calibrate", layer + 1, r->model->config.n_layers);
    return status;
}

paro_status paro_calibrate(paro_error *err, const paro_model *model, const paro_plan *plan,
                           const paro_dataset *dataset, const paro_calibration_options *options,
                           paro_block_store **out)
{
    static const paro_calibration_options defaults = {0};
    options = options == NULL ? &defaults : options;
    run r = {.model = model,
             .plan = plan,
             .dataset = dataset,
             .observer = options->observer,
             .estimate = options->estimate};
    const uint32_t n_blocks = options->estimate != NULL ? 1 : model->config.n_layers;
    if (plan->model != model || plan->block.run == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected a plan for this model, of a recipe with a block function",
                         model->dir);
    paro_status status = open_store(err, &r, options->work_dir);
    if (status == PARO_STATUS_OK && paro_block_store_count(r.store) < model->config.n_layers) {
        status = allocate(err, &r, options);
        if (status == PARO_STATUS_OK)
            status = embed(err, &r);
        for (uint32_t layer = 0; layer < n_blocks && status == PARO_STATUS_OK; layer++)
            status = run_block(err, &r, layer);
        release(&r);
    }
    if (status != PARO_STATUS_OK) {
        paro_block_store_free(r.store);
        return status;
    }
    *out = r.store;
    return PARO_STATUS_OK;
}

paro_status paro_calibrate_plan(paro_error *err, const paro_model *model, const paro_plan *plan,
                                const paro_quantize_options *options, const char *work_dir,
                                paro_block_store **out)
{
    const paro_dataset_options data = {.sources = options->texts,
                                       .n_sources = options->n_texts,
                                       .n_train = plan->data.n_train,
                                       .n_validation = plan->data.n_validation,
                                       .n_tokens = plan->data.n_tokens,
                                       .seed = plan->data.seed,
                                       .observer = options->observer};
    const paro_calibration_options calibration = {.work_dir = work_dir,
                                                  .memory_bytes = options->memory_bytes / 2,
                                                  .observer = options->observer};
    paro_dataset dataset = {0};
    if (plan->block.run == NULL) {
        *out = NULL;
        return PARO_STATUS_OK;
    }
    if (options->tokenizer == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "calibration: expected the model's tokenizer, found none");
    if (options->n_texts == 0)
        paro_log(options->observer, PARO_LOG_LEVEL_INFO,
                 "no calibration text is given: the model writes its own samples");
    paro_status status =
        options->n_texts > 0
            ? paro_dataset_from_texts(err, model, options->tokenizer, &data, &dataset)
            : paro_dataset_generate(err, model, options->tokenizer, &data, &dataset);
    if (status == PARO_STATUS_OK)
        status = paro_calibrate(err, model, plan, &dataset, &calibration, out);
    paro_dataset_release(&dataset);
    return status;
}

paro_status paro_calibrated_get(paro_error *err, const paro_block_store *store,
                                const paro_plan *plan, size_t n, paro_train_linear *out)
{
    const paro_plan_linear *planned = &plan->linears[n].linear;
    paro_train_linear linear = {.name = planned->name,
                                .n_out = planned->n_out,
                                .n_in = planned->n_in,
                                .bits = planned->bits,
                                .group_size = planned->group_size};
    paro_status status = paro_block_store_get(err, store, (uint32_t)(n / PARO_SLOT_COUNT), &linear);
    if (status == PARO_STATUS_OK)
        *out = linear;
    return status;
}
