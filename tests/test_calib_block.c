/* SPDX-License-Identifier: MIT
 *
 * Tests of calib/calib_block.c: the loss against the fp64 reference with the weights that linears
 * stand for, and what rounding touches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/calib_block.h"
#include "calib/fake_quant.h"
#include "tests/small_model.h"
#include "tests/train_fixture.h"

enum { N_SAMPLES = 5, N_TOKENS = 6, HIDDEN = 16, N_VALUES = N_SAMPLES * N_TOKENS * HIDDEN };

static const small_shape shape = {HIDDEN, 32, 4, 2, 8, true, true};

typedef struct fixture {
    char *dir;
    paro_model *model;
    paro_activations x, target;
    paro_calib_block block;
} fixture;

/* k is kept, v is quantised without rotation, the others with. */
static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    paro_rng rng;
    paro_rng_seed(&rng, 4);
    f->dir = small_model_write(&shape, 7);
    f->model = small_model_open(f->dir, 2);
    f->x = (paro_activations){.n_samples = N_SAMPLES, .n_tokens = N_TOKENS, .hidden = HIDDEN};
    f->x.data = small_normals(&rng, N_VALUES, 1);
    f->target = f->x;
    f->target.data = small_normals(&rng, N_VALUES, 1.5);
    f->block = (paro_calib_block){.model = f->model,
                                  .pool = f->model->pool,
                                  .x = &f->x,
                                  .target = &f->target,
                                  .n_train = 3,
                                  .n_validation = 2,
                                  .batch = 2};
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_linear *linear = &f->model->blocks[0].linears[slot];
        f->block.linears[slot] = random_linear(
            linear->n_out, linear->n_in, slot == PARO_SLOT_K ? 0 : 3, slot == PARO_SLOT_K ? 0 : 8,
            slot <= PARO_SLOT_V && slot > 0 ? 0 : 2, (uint64_t)slot);
        for (size_t i = 0; i < (size_t)linear->n_out * linear->n_in; i++)
            f->block.linears[slot].w[i] *= 6; /* so that it matters */
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_train_linear_release(&f->block.linears[slot]);
    free(f->x.data);
    free(f->target.data);
    paro_model_free(f->model);
    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static double loss(const fixture *f, size_t first, size_t n_samples, bool quantised)
{
    paro_error err;
    double value = -1;
    assert_ok(paro_calib_block_loss(&err, &f->block, first, n_samples, quantised, &value));
    return value;
}

/* In fp64, with the weights that fake_quant.h and train_linear.h give. */
static double expected_loss(const fixture *f, size_t first, size_t n_samples, bool quantised)
{
    paro_error err;
    const size_t count = (size_t)N_TOKENS * HIDDEN;
    small_reference reference = small_reference_new(f->model, 0, N_TOKENS);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *linear = &f->block.linears[slot];
        size_t n = (size_t)linear->n_out * linear->n_in;
        float *w = malloc(n * sizeof *w);
        assert_non_null(w);
        memcpy(w, linear->w, n * sizeof *w);
        if (linear->is_rounded)
            assert_ok(paro_train_linear_effective(&err, linear, NULL, w));
        else if (linear->bits != 0 && quantised)
            assert_ok(paro_fake_quant_forward(&err, linear, NULL, w));
        for (size_t i = 0; i < n; i++)
            reference.weights[slot][i] = (double)w[i];
        free(w);
    }
    double sum = 0, x[N_TOKENS * HIDDEN], y[N_TOKENS * HIDDEN];
    for (size_t sample = first; sample < first + n_samples; sample++) {
        for (size_t i = 0; i < count; i++)
            x[i] = (double)f->x.data[sample * count + i];
        small_reference_forward(&reference, x, y);
        for (size_t i = 0; i < count; i++) {
            double d = fabs(y[i] - (double)f->target.data[sample * count + i]);
            sum += d < 1 ? 0.5 * d * d : d - 0.5;
        }
    }
    small_reference_end(&reference);
    return sum / (double)(n_samples * count);
}

static void expect_losses(const fixture *f)
{
    static const size_t ranges[][2] = {{0, 5}, {0, 1}, {1, 3}, {3, 2}, {4, 1}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (int quantised = 0; quantised < 2; quantised++) {
            double expected = expected_loss(f, ranges[i][0], ranges[i][1], quantised);
            double found = loss(f, ranges[i][0], ranges[i][1], quantised);
            assert_true(fabs(found - expected) < 1e-5 * expected);
        }
}

static void losses(void **state)
{
    fixture *f = *state;
    expect_losses(f);
    double whole = loss(f, 0, N_SAMPLES, true);
    assert_true(fabs(whole - loss(f, 0, N_SAMPLES, false)) > 1e-3 * whole);
    static const size_t batches[] = {0, 1, 3, 5, 100};
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        f->block.batch = batches[i];
        assert_true(fabs(loss(f, 0, N_SAMPLES, true) - whole) < 1e-6 * whole);
    }
}

static void rounding(void **state)
{
    fixture *f = *state;
    paro_error err;
    paro_train_linear *linears = f->block.linears;
    assert_ok(paro_train_linear_round(&err, NULL, &linears[PARO_SLOT_DOWN]));
    const uint8_t *codes = linears[PARO_SLOT_DOWN].codes.codes;
    expect_losses(f); /* one is rounded, the others not yet */
    double before = loss(f, 0, N_SAMPLES, true);
    assert_ok(paro_calib_block_round(&err, &f->block));
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        assert_int_equal(linears[slot].is_rounded, slot != PARO_SLOT_K);
    assert_ptr_equal(linears[PARO_SLOT_DOWN].codes.codes, codes);
    expect_losses(f);
    double after = loss(f, 0, N_SAMPLES, true);
    assert_true(after == loss(f, 0, N_SAMPLES, false));
    assert_true(fabs(after - before) < 0.1 * before); /* min and max: nearly the same grid */
    assert_ok(paro_calib_block_round(&err, &f->block));
    assert_true(after == loss(f, 0, N_SAMPLES, true));
}

static void refusals(void **state)
{
    fixture *f = *state;
    paro_error err;
    double value = 7;
    const paro_status bad = PARO_STATUS_INVALID_ARGUMENT;
    assert_fails(paro_calib_block_loss(&err, &f->block, 0, 6, true, &value), bad,
                 "among the 5 there are, found 6 from 0 on");
    assert_fails(paro_calib_block_loss(&err, &f->block, 5, 1, true, &value), bad, "1 from 5 on");
    assert_fails(paro_calib_block_loss(&err, &f->block, SIZE_MAX, 2, true, &value), bad, "2 from");
    assert_fails(paro_calib_block_loss(&err, &f->block, 1, 0, true, &value), bad, "0 from 1 on");
    f->target.n_tokens--;
    assert_fails(paro_calib_block_loss(&err, &f->block, 0, 1, true, &value), bad,
                 "found 5 samples of 6 tokens of 16 and 5 of 5 of 16");
    f->target.n_tokens++;
    f->block.layer = 1;
    assert_fails(paro_calib_block_loss(&err, &f->block, 0, 1, true, &value), bad, "found 1");
    assert_true(value == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(losses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rounding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refusals, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
