/* SPDX-License-Identifier: MIT
 *
 * How long a step of training a block takes: both of the reference's stages on the first block.
 *
 *     bench_optimise MODEL [--threads N] [--steps N] [--samples N] [--tokens N] [--bits N]
 *
 * A step trains on `samples` samples of `tokens` tokens (random ones, embedded), at 4 bits in
 * groups of 128 with 8 rounds where nothing else is said.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "calib/block_pass.h"
#include "calib/optimise.h"
#include "calib/pairs.h"

typedef struct options {
    const char *model;
    size_t n_threads, n_steps, n_samples, n_tokens, bits;
} options;

static void need(paro_status status, const paro_error *err)
{
    if (status == PARO_STATUS_OK)
        return;
    fprintf(stderr, "bench_optimise: %s\n", err->message);
    exit(1);
}

static options read_options(int argc, char **argv)
{
    options o = {.n_steps = 3, .n_samples = 16, .n_tokens = 512, .bits = 4};
    const struct {
        const char *name;
        size_t *value;
    } numbers[] = {{"--threads", &o.n_threads},
                   {"--steps", &o.n_steps},
                   {"--samples", &o.n_samples},
                   {"--tokens", &o.n_tokens},
                   {"--bits", &o.bits}};
    for (int i = 1; i < argc; i++) {
        size_t k = 0, n = sizeof numbers / sizeof *numbers;
        while (k < n && strcmp(argv[i], numbers[k].name) != 0)
            k++;
        if (k < n && i + 1 < argc)
            *numbers[k].value = strtoul(argv[++i], NULL, 10);
        else
            o.model = argv[i];
    }
    if (o.model == NULL || o.n_steps == 0) {
        fprintf(stderr, "usage: bench_optimise MODEL [--threads N] [--steps N] [--samples N] "
                        "[--tokens N] [--bits N]\n");
        exit(2);
    }
    return o;
}

/* Room for all samples. */
static paro_activations activations_new(const paro_model *model, const options *o)
{
    paro_activations a = {.n_samples = o->n_steps * o->n_samples,
                          .n_tokens = o->n_tokens,
                          .hidden = model->config.hidden};
    a.data = malloc(a.n_samples * a.n_tokens * a.hidden * sizeof(float));
    if (a.data == NULL) {
        fprintf(stderr, "bench_optimise: out of memory\n");
        exit(1);
    }
    return a;
}

static void embed(const paro_model *model, paro_activations *x)
{
    const paro_tensor *table = model->embedding;
    const unsigned char *rows = table->data;
    paro_rng rng;
    paro_rng_seed(&rng, 1);
    for (size_t i = 0; i < x->n_samples * x->n_tokens; i++)
        paro_f32_from_array(x->data + i * x->hidden,
                            rows + paro_rng_below(&rng, model->config.vocab) * x->hidden *
                                       paro_dtype_bytes(table->dtype),
                            table->dtype, x->hidden);
}

/* The linears as they are, and what they compute of x. */
static void prepare(paro_calib_block *block, const options *o, paro_activations *target)
{
    paro_error err;
    paro_block_pass *pass = NULL;
    const paro_block_pass_options pass_options = {.max_samples = o->n_samples,
                                                  .n_tokens = o->n_tokens};
    need(paro_block_pass_new(&err, block->model, 0, &pass_options, &pass), &err);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_linear *from = &block->model->blocks[0].linears[slot];
        paro_train_linear *to = &block->linears[slot];
        *to = (paro_train_linear){.name = from->name,
                                  .n_out = from->n_out,
                                  .n_in = from->n_in,
                                  .bits = (uint32_t)o->bits,
                                  .group_size = 128,
                                  .krot = 8};
        need(paro_train_linear_alloc(&err, to), &err);
        need(paro_linear_weight(&err, from, block->pool, to->w), &err);
        need(paro_pairs_make(&err, block->pool, to, PARO_PAIRS_KIND_RANDOM, (uint64_t)slot), &err);
        paro_block_pass_set_weight(pass, (paro_slot)slot, to->w);
    }
    size_t sample_count = o->n_tokens * target->hidden;
    for (size_t i = 0; i < target->n_samples; i += o->n_samples)
        need(paro_block_pass_forward(&err, pass, block->x->data + i * sample_count, o->n_samples,
                                     target->data + i * sample_count),
             &err);
    paro_block_pass_free(pass);
}

int main(int argc, char **argv)
{
    const options o = read_options(argc, argv);
    paro_error err;
    paro_model *model = NULL;
    need(paro_model_open(&err, o.model, &(paro_model_options){.n_threads = (int)o.n_threads},
                         &model),
         &err);
    paro_activations x = activations_new(model, &o), target = activations_new(model, &o);
    paro_calib_block block = {.model = model,
                              .pool = model->pool,
                              .x = &x,
                              .target = &target,
                              .n_train = x.n_samples,
                              .batch = o.n_samples};
    embed(model, &x);
    prepare(&block, &o, &target);
    static const struct {
        const char *name;
        double lr[PARO_TRAINABLE_COUNT];
    } stages[] = {{"angles and scales", {0.05, 0.05, 0, 0}},
                  {"weights and quantisers", {0, 0, 1e-5, 1e-6}}};
    printf("%s: steps of %zu samples of %zu tokens, %d threads\n", o.model, o.n_samples, o.n_tokens,
           paro_pool_n_threads(model->pool));
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        paro_optimise_options optimise = {.epochs = 1, .batch = (uint32_t)o.n_samples};
        paro_optimise_report report;
        memcpy(optimise.lr, stages[i].lr, sizeof optimise.lr);
        clock_t start = clock();
        need(paro_optimise(&err, &block, &optimise, &report), &err);
        double busy = (double)(clock() - start) / CLOCKS_PER_SEC;
        printf("%-24s %8.1f ms a step, %8.1f ms of processors, loss %.3g\n", stages[i].name,
               1e3 * report.seconds / (double)o.n_steps, 1e3 * busy / (double)o.n_steps,
               report.last_loss);
    }
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_train_linear_release(&block.linears[slot]);
    free(x.data);
    free(target.data);
    paro_model_free(model);
    return 0;
}
