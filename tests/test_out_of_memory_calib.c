/* SPDX-License-Identifier: MIT
 *
 * As test_out_of_memory.c: what trains, searches and rounds a block's linears.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/awq.h"
#include "calib/gptq.h"
#include "calib/optimise.h"
#include "calib/pairs.h"
#include "tests/failing_memory.h"
#include "tests/support.h"

static paro_model *demo; /* opened before anything fails */

enum { TRAIN_SAMPLES = 3, TRAIN_TOKENS = 2 };

static paro_calib_block training; /* of the demo model's first block */
static paro_activations train_x, train_target;

/* All linears are kept but v, which is rounded, and k, which is to be trained. */
static paro_status start_training(paro_error *err)
{
    size_t hidden = demo->config.hidden, n = (size_t)TRAIN_SAMPLES * TRAIN_TOKENS * hidden;
    train_x = (paro_activations){.n_samples = TRAIN_SAMPLES,
                                 .n_tokens = TRAIN_TOKENS,
                                 .hidden = hidden,
                                 .data = malloc(n * sizeof(float))};
    train_target = train_x;
    train_target.data = calloc(n, sizeof(float));
    for (size_t i = 0; i < n; i++)
        train_x.data[i] = (float)(i * 37 % 101) / 50 - 1;
    training = (paro_calib_block){.model = demo,
                                  .pool = demo->pool,
                                  .x = &train_x,
                                  .target = &train_target,
                                  .n_train = 2,
                                  .n_validation = 1};
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        bool is_kept = slot != PARO_SLOT_K && slot != PARO_SLOT_V;
        paro_linear *from = &demo->blocks[0].linears[slot];
        paro_train_linear *linear = &training.linears[slot];
        *linear = (paro_train_linear){.name = from->name,
                                      .n_out = from->n_out,
                                      .n_in = from->n_in,
                                      .bits = is_kept ? 0 : 4,
                                      .group_size = 128,
                                      .krot = is_kept ? 0 : 2};
        paro_status status = paro_train_linear_alloc(err, linear);
        if (status == PARO_STATUS_OK)
            status = paro_linear_weight(err, from, demo->pool, linear->w);
        if (status != PARO_STATUS_OK)
            return status;
    }
    return paro_train_linear_round(err, NULL, &training.linears[PARO_SLOT_V]);
}

static void end_training(void)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_train_linear_release(&training.linears[slot]);
    free(train_x.data);
    free(train_target.data);
}

/* A linear made, given pairs and a quantiser, and rounded. */
static paro_status make_linear(paro_error *err, const char *dir)
{
    (void)dir;
    paro_train_linear linear = {
        .name = "layer", .n_out = 4, .n_in = 64, .bits = 4, .group_size = 32, .krot = 2};
    float w[4 * 64];
    paro_status status = paro_train_linear_alloc(err, &linear);
    if (status == PARO_STATUS_OK)
        status = paro_train_linear_set_krot(err, &linear, 3);
    if (status == PARO_STATUS_OK)
        status = paro_pairs_make(err, NULL, &linear, PARO_PAIRS_KIND_MAGNITUDE, 1);
    if (status == PARO_STATUS_OK)
        status = paro_train_linear_start_quantiser(err, NULL, &linear);
    if (status == PARO_STATUS_OK)
        status = paro_train_linear_round(err, NULL, &linear);
    if (status == PARO_STATUS_OK)
        status = paro_train_linear_effective(err, &linear, NULL, w);
    paro_train_linear_release(&linear);
    return status;
}

/* Everything of a stage; on failure nothing is as much as touched. */
static paro_status train_block(paro_error *err, const char *dir)
{
    (void)dir;
    static const paro_optimise_options options = {
        .lr = {0.1, 0.1, 0.1, 0.1}, .epochs = 1, .batch = 2, .accumulate = 2};
    const paro_train_linear *k = &training.linears[PARO_SLOT_K];
    float w = k->w[0], theta = k->theta[0], scale = k->weight_channel_scales[0];
    paro_optimise_report report;
    paro_status status = paro_optimise(err, &training, &options, &report);
    if (status != PARO_STATUS_OK) {
        assert_true(k->w[0] == w && k->theta[0] == theta && k->weight_channel_scales[0] == scale);
        assert_true(k->step == NULL && k->zero == NULL);
    }
    return status;
}

/* AWQ, then GPTQ of the block's o; what fails leaves it as it was. */
static paro_status search_block(paro_error *err, const char *dir)
{
    (void)dir;
    paro_calib_block block = training;
    block.linears[PARO_SLOT_K].bits = 0;
    const float *w = training.linears[PARO_SLOT_O].w;
    paro_train_linear *o = &block.linears[PARO_SLOT_O];
    *o = (paro_train_linear){
        .name = o->name, .n_out = o->n_out, .n_in = o->n_in, .bits = 4, .group_size = 128};
    paro_status status = paro_train_linear_alloc(err, o);
    if (status != PARO_STATUS_OK)
        return status;
    memcpy(o->w, w, (size_t)o->n_out * o->n_in * sizeof *w);
    status = paro_awq(err, &block, NULL);
    if (status != PARO_STATUS_OK)
        assert_true(o->step == NULL && o->zero == NULL && o->weight_channel_scales[1] == 1);
    if (status == PARO_STATUS_OK) {
        status = paro_gptq(err, &block, NULL);
        assert_true(o->is_rounded == (status == PARO_STATUS_OK));
    }
    paro_train_linear_release(o);
    return status;
}

static void test_every_allocation(void **state)
{
    (void)state;
    paro_error err;
    assert_ok(paro_model_open(&err, "models/demo", NULL, &demo));
    assert_ok(start_training(&err));
    try_all("a linear in training", make_linear, false, NULL);
    try_all("training a block", train_block, false, NULL);
    try_all("AWQ and GPTQ of a block", search_block, false, NULL);
    end_training();
    paro_model_free(demo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
