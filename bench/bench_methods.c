/* SPDX-License-Identifier: MIT
 *
 * What methods make of a model's blocks: the loss of each block's output, one block at a time on
 * the original model's activations, and the seconds it took.
 *
 *     bench_methods MODEL TEXT [--blocks N] [--train N] [--validation N] [--tokens N] [--bits N]
 *                   [--group-size N] [--threads N]
 *
 * A row a block, a column a method, losses (smooth L1 on the validation samples) as shares of round
 * to nearest's; the last two rows are their means and seconds a block.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "calib/awq.h"
#include "calib/block_pass.h"
#include "calib/dataset.h"
#include "calib/gptq.h"

typedef struct options {
    const char *model, *text;
    size_t n_blocks, n_train, n_validation, n_tokens, bits, group_size, n_threads;
} options;

typedef struct method {
    const char *name;
    const paro_awq_options *awq;
    const paro_gptq_options *gptq;
} method;

static const paro_awq_options both = {0}, scales = {.no_clip = true}, clip = {.no_scales = true};
static const paro_gptq_options plain = {0}, act_order = {.act_order = true},
                               sequential = {.true_sequential = true};

static const method methods[] = {
    {"rtn", NULL, NULL},        {"awq", &both, NULL},        {"scales", &scales, NULL},
    {"clip", &clip, NULL},      {"gptq", NULL, &plain},      {"act_order", NULL, &act_order},
    {"seq", NULL, &sequential}, {"awq+gptq", &both, &plain}, {"scales+gptq", &scales, &plain},
};

enum { N_METHODS = sizeof methods / sizeof *methods };

static void need(paro_status status, const paro_error *err)
{
    if (status == PARO_STATUS_OK)
        return;
    fprintf(stderr, "bench_methods: %s\n", err->message);
    exit(1);
}

static void *memory(size_t n_bytes)
{
    void *p = malloc(n_bytes + 1);
    if (p == NULL) {
        fprintf(stderr, "bench_methods: out of memory\n");
        exit(1);
    }
    return p;
}

static options read_options(int argc, char **argv)
{
    options o = {.n_blocks = 2,
                 .n_train = 64,
                 .n_validation = 16,
                 .n_tokens = 512,
                 .bits = 4,
                 .group_size = 128};
    const struct {
        const char *name;
        size_t *value;
    } numbers[] = {
        {"--blocks", &o.n_blocks},  {"--train", &o.n_train}, {"--validation", &o.n_validation},
        {"--tokens", &o.n_tokens},  {"--bits", &o.bits},     {"--group-size", &o.group_size},
        {"--threads", &o.n_threads}};
    for (int i = 1; i < argc; i++) {
        size_t k = 0, n = sizeof numbers / sizeof *numbers;
        while (k < n && strcmp(argv[i], numbers[k].name) != 0)
            k++;
        if (k < n && i + 1 < argc)
            *numbers[k].value = strtoul(argv[++i], NULL, 10);
        else
            *(o.model == NULL ? &o.model : &o.text) = argv[i];
    }
    if (o.text == NULL) {
        fprintf(stderr, "usage: bench_methods MODEL TEXT [--blocks N] [--train N] "
                        "[--validation N] [--tokens N] [--bits N] [--group-size N] "
                        "[--threads N]\n");
        exit(2);
    }
    return o;
}

/* The embeddings of the dataset's tokens. */
static void embed(const paro_model *model, const paro_dataset *data, paro_activations *out)
{
    const paro_tensor *table = model->embedding;
    size_t n_rows = out->n_samples * out->n_tokens, item = paro_dtype_bytes(table->dtype);
    for (size_t row = 0; row < n_rows; row++)
        paro_f32_from_array(out->data + row * out->hidden,
                            (const unsigned char *)table->data +
                                (size_t)data->ids[row] * out->hidden * item,
                            table->dtype, out->hidden);
}

/* The block's linears as the model has them. */
static void load_linears(const paro_model *model, paro_pool *pool, const options *o,
                         paro_calib_block *block)
{
    paro_error err;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_linear *from = &model->blocks[block->layer].linears[slot];
        paro_train_linear linear = {.name = from->name,
                                    .n_out = from->n_out,
                                    .n_in = from->n_in,
                                    .bits = (uint32_t)o->bits,
                                    .group_size = (uint32_t)o->group_size};
        need(paro_train_linear_alloc(&err, &linear), &err);
        need(paro_linear_weight(&err, from, pool, linear.w), &err);
        block->linears[slot] = linear;
    }
}

static void release_linears(paro_calib_block *block)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_train_linear_release(&block->linears[slot]);
}

/* target = the original block's output of x. */
static void run_original(const paro_calib_block *block, paro_activations *target)
{
    paro_error err;
    paro_block_pass *pass = NULL;
    const paro_block_pass_options pass_options = {.max_samples = block->batch,
                                                  .n_tokens = block->x->n_tokens};
    need(paro_block_pass_new(&err, block->model, block->layer, &pass_options, &pass), &err);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_block_pass_set_weight(pass, (paro_slot)slot, block->linears[slot].w);
    for (size_t first = 0; first < target->n_samples; first += block->batch) {
        size_t n = target->n_samples - first, at = first * target->n_tokens * target->hidden;
        need(paro_block_pass_forward(&err, pass, block->x->data + at,
                                     n < block->batch ? n : block->batch, target->data + at),
             &err);
    }
    paro_block_pass_free(pass);
}

/* One method on one block: its loss, and the seconds. */
static double measure(const method *m, paro_calib_block *block, double *seconds)
{
    paro_error err;
    double loss = 0;
    double start = paro_clock_seconds();
    if (m->awq != NULL)
        need(paro_awq(&err, block, m->awq), &err);
    if (m->gptq != NULL)
        need(paro_gptq(&err, block, m->gptq), &err);
    need(paro_calib_block_round(&err, block), &err);
    *seconds += paro_clock_seconds() - start;
    need(paro_calib_block_loss(&err, block, block->n_train, block->n_validation, true, &loss),
         &err);
    return loss;
}

int main(int argc, char **argv)
{
    const options o = read_options(argc, argv);
    paro_error err;
    paro_model *model = NULL;
    paro_tokenizer *tokenizer = NULL;
    paro_pool *pool = NULL;
    paro_dataset data;
    const paro_model_options model_options = {.n_threads = (int)o.n_threads};
    need(paro_model_open(&err, o.model, &model_options, &model), &err);
    need(paro_tokenizer_open(&err, o.model, &tokenizer), &err);
    need(paro_pool_new(&err, (int)o.n_threads, &pool), &err);
    const paro_text_source source = {.path = o.text};
    const paro_dataset_options data_options = {.sources = &source,
                                               .n_sources = 1,
                                               .n_train = o.n_train,
                                               .n_validation = o.n_validation,
                                               .n_tokens = o.n_tokens};
    need(paro_dataset_from_texts(&err, model, tokenizer, &data_options, &data), &err);

    size_t hidden = model->config.hidden;
    size_t n_bytes = (o.n_train + o.n_validation) * o.n_tokens * hidden * sizeof(float);
    paro_activations x = {.n_samples = o.n_train + o.n_validation,
                          .n_tokens = o.n_tokens,
                          .hidden = hidden,
                          .data = memory(n_bytes)};
    paro_activations target = x;
    target.data = memory(n_bytes);
    embed(model, &data, &x);
    paro_calib_block block = {.model = model,
                              .pool = pool,
                              .x = &x,
                              .target = &target,
                              .n_train = o.n_train,
                              .n_validation = o.n_validation,
                              .batch = 16};
    double shares[N_METHODS] = {0}, seconds[N_METHODS] = {0};
    size_t n_blocks = o.n_blocks < model->config.n_layers ? o.n_blocks : model->config.n_layers;
    printf("block  rtn's loss");
    for (size_t k = 0; k < N_METHODS; k++)
        printf(" %11s", methods[k].name);
    for (block.layer = 0; block.layer < n_blocks; block.layer++) {
        double nearest = 0;
        load_linears(model, pool, &o, &block);
        run_original(&block, &target);
        release_linears(&block);
        for (size_t k = 0; k < N_METHODS; k++) {
            load_linears(model, pool, &o, &block);
            double loss = measure(&methods[k], &block, &seconds[k]);
            release_linears(&block);
            nearest = k == 0 ? loss : nearest;
            if (k == 0)
                printf("\n%5u  %10.4e", block.layer, nearest);
            printf(" %11.4f", loss / nearest);
            fflush(stdout);
            shares[k] += loss / nearest / (double)n_blocks;
        }
        float *next = target.data;
        target.data = x.data;
        x.data = next;
    }
    printf("\nmean             ");
    for (size_t k = 0; k < N_METHODS; k++)
        printf(" %11.4f", shares[k]);
    printf("\nseconds a block  ");
    for (size_t k = 0; k < N_METHODS; k++)
        printf(" %11.2f", seconds[k] / (double)n_blocks);
    printf("\n");
    free(x.data);
    free(target.data);
    paro_dataset_release(&data);
    paro_pool_free(pool);
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    return 0;
}
