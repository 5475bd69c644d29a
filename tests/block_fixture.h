/* SPDX-License-Identifier: MIT
 *
 * The demo model's first block with inputs, for tests of what is done to a block. Include after
 * <cmocka.h>.
 */
#ifndef PARO_TESTS_BLOCK_FIXTURE_H
#define PARO_TESTS_BLOCK_FIXTURE_H

#include "base/rng.h"
#include "calib/block_pass.h"
#include "calib/calib_block.h"
#include "tests/support.h"

typedef struct block_fixture {
    paro_model *model;
    paro_pool *pool;
    paro_activations x, target;
    paro_calib_block block;
} block_fixture;

/* y = the block's output of x, with these weights. */
static inline void block_forward(const block_fixture *f, float *const weights[PARO_SLOT_COUNT],
                                 float *y)
{
    paro_error err;
    paro_block_pass *pass = NULL;
    const paro_block_pass_options options = {.max_samples = f->x.n_samples,
                                             .n_tokens = f->x.n_tokens};
    assert_ok(paro_block_pass_new(&err, f->model, f->block.layer, &options, &pass));
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_block_pass_set_weight(pass, (paro_slot)slot, weights[slot]);
    assert_ok(paro_block_pass_forward(&err, pass, f->x.data, f->x.n_samples, y));
    paro_block_pass_free(pass);
}

/* Samples of n_tokens of the embedding's rows in turn: of tokens drawn at random, where half of all
 * come from a few, as in texts. No rotation. */
static inline block_fixture block_fixture_new(size_t n_samples, size_t n_tokens, uint32_t bits,
                                              uint32_t group_size, int n_threads)
{
    paro_error err;
    block_fixture f = {0};
    assert_ok(paro_model_open(&err, "models/demo", NULL, &f.model));
    assert_ok(paro_pool_new(&err, n_threads, &f.pool));
    size_t hidden = f.model->config.hidden, n = n_samples * n_tokens * hidden;
    f.x = (paro_activations){n_samples, n_tokens, hidden, malloc(n * sizeof(float)), 0};
    f.target = (paro_activations){n_samples, n_tokens, hidden, malloc(n * sizeof(float)), 0};
    assert_true(f.x.data != NULL && f.target.data != NULL);
    const paro_tensor *embedding = f.model->embedding;
    paro_rng rng;
    paro_rng_seed(&rng, 5);
    for (size_t row = 0; row < n_samples * n_tokens; row++) {
        uint64_t token = paro_rng_below(&rng, row % 2 == 0 ? 40 : f.model->config.vocab);
        paro_f32_from_array(f.x.data + row * hidden,
                            (const unsigned char *)embedding->data +
                                token * hidden * paro_dtype_bytes(embedding->dtype),
                            embedding->dtype, hidden);
    }
    f.block = (paro_calib_block){
        .model = f.model, .layer = 0, .pool = f.pool, .n_train = n_samples, .batch = 3};
    float *weights[PARO_SLOT_COUNT];
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_linear *from = &f.model->blocks[0].linears[slot];
        paro_train_linear *to = &f.block.linears[slot];
        *to = (paro_train_linear){.name = from->name,
                                  .n_out = from->n_out,
                                  .n_in = from->n_in,
                                  .bits = bits,
                                  .group_size = group_size};
        assert_ok(paro_train_linear_alloc(&err, to));
        assert_ok(paro_linear_weight(&err, from, f.pool, to->w));
        weights[slot] = to->w;
    }
    block_forward(&f, weights, f.target.data);
    return f;
}

/* The block's pointers into the fixture: to be called where it lies. */
static inline paro_calib_block *block_of(block_fixture *f)
{
    f->block.x = &f->x;
    f->block.target = &f->target;
    return &f->block;
}

static inline void block_fixture_free(block_fixture *f)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_train_linear_release(&f->block.linears[slot]);
    free(f->x.data);
    free(f->target.data);
    paro_pool_free(f->pool);
    paro_model_free(f->model);
}

/* Rounds what is not yet, to nearest, and gives the loss of the block's output. */
static inline double block_rounded_loss(block_fixture *f)
{
    paro_error err;
    double loss = 0;
    paro_calib_block *block = block_of(f);
    assert_ok(paro_calib_block_round(&err, block));
    assert_ok(paro_calib_block_loss(&err, block, 0, f->x.n_samples, true, &loss));
    return loss;
}

#endif
