/* SPDX-License-Identifier: MIT
 *
 * GPTQ of a block: what it gains, in which basis, what it leaves alone, and what cannot be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "calib/gptq.h"
#include "calib/gptq_round.h"
#include "tests/block_fixture.h"
#include "tests/train_fixture.h"

enum { N_SAMPLES = 16, N_TOKENS = 64 };

static double nearest_loss(uint32_t bits, uint32_t group_size)
{
    block_fixture f = block_fixture_new(N_SAMPLES, N_TOKENS, bits, group_size, 2);
    double loss = block_rounded_loss(&f);
    block_fixture_free(&f);
    return loss;
}

static void assert_rounded(const paro_calib_block *block)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        assert_true(block->linears[slot].is_rounded);
}

/* Measured at 3 bits: 0.47 of round to nearest's loss; act_order 0.38; true_sequential 0.45. */
static void test_better_than_nearest(void **state)
{
    (void)state;
    paro_error err;
    static const paro_gptq_options options[] = {
        {0}, {.act_order = true}, {.true_sequential = true}};
    double nearest = nearest_loss(3, 64);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        block_fixture f = block_fixture_new(N_SAMPLES, N_TOKENS, 3, 64, 2);
        assert_ok(paro_gptq(&err, block_of(&f), &options[i]));
        assert_rounded(&f.block);
        double loss = block_rounded_loss(&f);
        print_message("options %zu: %.3f of the loss of round to nearest\n", i, loss / nearest);
        assert_true(loss < 0.65 * nearest);
        block_fixture_free(&f);
    }
}

/* Rotated and scaled, each linear in its own way: the codes stand for the rotated weight, and the
 * error in the block's output is small where it would be large in a wrong basis. Measured: 0.45 of
 * round to nearest's loss. */
static void test_rotated(void **state)
{
    (void)state;
    paro_error err;
    double losses[2];
    for (int gptq = 0; gptq < 2; gptq++) {
        block_fixture f = block_fixture_new(N_SAMPLES, N_TOKENS, 3, 64, 2);
        paro_calib_block *block = block_of(&f);
        paro_rng rng;
        paro_rng_seed(&rng, 8);
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
            paro_train_linear *linear = &block->linears[slot];
            assert_ok(paro_train_linear_set_krot(&err, linear, 3));
            random_turns(linear, &rng);
            for (size_t i = 0; i < linear->n_in; i++)
                linear->weight_channel_scales[i] = expf(0.2F * paro_rng_normal(&rng));
        }
        if (gptq)
            assert_ok(paro_gptq(&err, block, NULL));
        losses[gptq] = block_rounded_loss(&f);
        block_fixture_free(&f);
    }
    print_message("rotated: %.3f of the loss of round to nearest\n", losses[1] / losses[0]);
    assert_true(losses[1] < 0.65 * losses[0]);
}

/* Steps and zeros that were learned are kept, rounded as paro_train_linear_round does. */
static void test_learned_ranges(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = block_fixture_new(N_SAMPLES, N_TOKENS, 4, 64, 2);
    block_fixture nearest = block_fixture_new(N_SAMPLES, N_TOKENS, 4, 64, 2);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        random_quantiser(&f.block.linears[slot], 3);
        random_quantiser(&nearest.block.linears[slot], 3);
    }
    assert_ok(paro_gptq(&err, block_of(&f), NULL));
    double expected = block_rounded_loss(&nearest);
    assert_true(block_rounded_loss(&f) < expected);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_quantised *a = &f.block.linears[slot].codes;
        const paro_quantised *b = &nearest.block.linears[slot].codes;
        size_t n = (size_t)a->n_out * a->n_in / a->group_size;
        assert_memory_equal(a->scales, b->scales, n * sizeof *a->scales);
        assert_memory_equal(a->zeros, b->zeros, n);
        assert_memory_not_equal(a->codes, b->codes, n * a->group_size);
    }
    block_fixture_free(&f);
    block_fixture_free(&nearest);
}

static void test_threads(void **state)
{
    (void)state;
    paro_error err;
    block_fixture one = block_fixture_new(4, 32, 4, 128, 1);
    block_fixture two = block_fixture_new(4, 32, 4, 128, 2);
    assert_ok(paro_gptq(&err, block_of(&one), NULL));
    assert_ok(paro_gptq(&err, block_of(&two), NULL));
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_quantised *a = &one.block.linears[slot].codes;
        const paro_quantised *b = &two.block.linears[slot].codes;
        assert_memory_equal(a->codes, b->codes, (size_t)a->n_out * a->n_in);
    }
    block_fixture_free(&one);
    block_fixture_free(&two);
}

/* Linears that are kept, or rounded already, stay as they are. */
static void test_left_alone(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = block_fixture_new(4, 32, 4, 64, 2);
    paro_calib_block *block = block_of(&f);
    paro_train_linear *kept = &block->linears[PARO_SLOT_K];
    kept->bits = 0;
    size_t n = (size_t)kept->n_out * kept->n_in;
    float *w = malloc(n * sizeof *w);
    assert_non_null(w);
    memcpy(w, kept->w, n * sizeof *w);
    paro_train_linear *rounded = &block->linears[PARO_SLOT_DOWN];
    assert_ok(paro_train_linear_round(&err, f.pool, rounded));
    const uint8_t *codes = rounded->codes.codes;
    assert_ok(paro_gptq(&err, block, NULL));
    assert_false(kept->is_rounded);
    assert_memory_equal(kept->w, w, n * sizeof *w);
    assert_ptr_equal(rounded->codes.codes, codes);
    assert_true(block->linears[PARO_SLOT_Q].is_rounded && block->linears[PARO_SLOT_V].is_rounded);
    assert_ok(paro_gptq(&err, block, NULL)); /* nothing to do */
    free(w);
    block_fixture_free(&f);
}

static void keep_warning(void *context, paro_log_level level, const char *message)
{
    char *to = context;
    if (level == PARO_LOG_LEVEL_WARNING)
        snprintf(to, 256, "%s", message);
}

/* Fewer tokens than inputs are enough to go on, and worth a warning; max_tokens may end within a
 * sample. */
static void test_few_tokens(void **state)
{
    (void)state;
    paro_error err;
    char warning[256] = "";
    const paro_observer observer = {.context = warning, .log = keep_warning};
    block_fixture f = block_fixture_new(4, 32, 4, 64, 2);
    paro_calib_block *block = block_of(&f);
    block->observer = &observer;
    const paro_gptq_options options = {.max_tokens = 100};
    assert_ok(paro_gptq(&err, block, &options));
    assert_rounded(block);
    assert_non_null(strstr(warning, "down_proj: GPTQ sees 100 tokens for 768 inputs"));
    block_fixture_free(&f);
}

static bool count_progress(void *context, const char *stage, uint64_t done, uint64_t total)
{
    uint64_t *last = context;
    if (strcmp(stage, "block 0: gptq") != 0)
        return true;
    assert_int_equal(done, *last + 1);
    assert_int_equal(total, 6);
    *last = done;
    return done < 4;
}

/* Stopped in between, what is rounded by then stays so, and the rest can follow. */
static void test_cancelled(void **state)
{
    (void)state;
    paro_error err;
    uint64_t last = 0;
    const paro_observer observer = {.context = &last, .progress = count_progress};
    block_fixture f = block_fixture_new(4, 32, 4, 64, 2);
    paro_calib_block *block = block_of(&f);
    block->observer = &observer;
    block->linears[PARO_SLOT_Q].bits = 0;
    assert_fails(paro_gptq(&err, block, NULL), PARO_STATUS_CANCELLED, "block 0: gptq");
    assert_int_equal(last, 4);
    assert_true(block->linears[PARO_SLOT_GATE].is_rounded);
    assert_false(block->linears[PARO_SLOT_DOWN].is_rounded);
    block->observer = NULL;
    assert_ok(paro_gptq(&err, block, NULL));
    assert_true(block->linears[PARO_SLOT_DOWN].is_rounded);
    block_fixture_free(&f);
}

static void test_errors(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = block_fixture_new(4, 32, 4, 64, 2);
    paro_calib_block *block = block_of(&f);
    paro_gptq_options options = {.damping = -1};
    assert_fails(paro_gptq(&err, block, &options), PARO_STATUS_INVALID_ARGUMENT,
                 "gptq: damping: expected 0 (the default, 0.01) to 1, found -1");
    block->n_train = 0;
    assert_fails(paro_gptq(&err, block, NULL), PARO_STATUS_INVALID_ARGUMENT,
                 "gptq: expected training samples");
    block->n_train = 4;

    /* Nothing is half rounded. */
    f.x.data[5] = NAN;
    assert_fails(paro_gptq(&err, block, NULL), PARO_STATUS_UNSUPPORTED,
                 "q_proj: expected finite inputs, found a Hessian");
    assert_false(block->linears[PARO_SLOT_Q].is_rounded);
    assert_null(block->linears[PARO_SLOT_Q].codes.codes);
    block_fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_better_than_nearest), cmocka_unit_test(test_rotated),
        cmocka_unit_test(test_learned_ranges),      cmocka_unit_test(test_threads),
        cmocka_unit_test(test_left_alone),          cmocka_unit_test(test_few_tokens),
        cmocka_unit_test(test_cancelled),           cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
