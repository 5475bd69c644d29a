/* SPDX-License-Identifier: MIT
 *
 * Training a block: the loss comes down, the best state is the one that is left, the same on any
 * number of threads; what goes wrong is said, and stopping leaves no trace.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/block_pass.h"
#include "calib/optimise.h"
#include "calib/pairs.h"
#include "tests/small_model.h"
#include "tests/train_fixture.h"

typedef struct fixture {
    char *dir; /* NULL: models/demo */
    paro_model *model;
    paro_activations x, target;
    paro_calib_block block;
    char warning[512]; /* of the log */
    uint64_t stop_at;  /* progress at which the observer stops; 0: never */
    uint64_t done, total;
} fixture;

static void take_log(void *context, paro_log_level level, const char *message)
{
    fixture *f = context;
    if (level == PARO_LOG_LEVEL_WARNING)
        snprintf(f->warning, sizeof f->warning, "%s", message);
}

static bool take_progress(void *context, const char *stage, uint64_t done, uint64_t total)
{
    fixture *f = context;
    assert_string_equal(stage, "block 0: optimise");
    assert_true(done >= f->done && done <= total);
    f->done = done;
    f->total = total;
    return f->stop_at == 0 || done < f->stop_at;
}

static float *weight_of(const paro_model *model, int slot)
{
    paro_error err;
    paro_linear *linear = &model->blocks[0].linears[slot];
    float *w = malloc((size_t)linear->n_in * linear->n_out * sizeof *w);
    assert_non_null(w);
    assert_ok(paro_linear_weight(&err, linear, model->pool, w));
    return w;
}

/* What the block makes of x with the model's weights. */
static void make_target(fixture *f)
{
    paro_error err;
    paro_block_pass *pass = NULL;
    float *weights[PARO_SLOT_COUNT];
    const paro_block_pass_options options = {.max_samples = f->x.n_samples,
                                             .n_tokens = f->x.n_tokens};
    assert_ok(paro_block_pass_new(&err, f->model, 0, &options, &pass));
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        weights[slot] = weight_of(f->model, slot);
        paro_block_pass_set_weight(pass, (paro_slot)slot, weights[slot]);
    }
    f->target = f->x;
    f->target.data = malloc(f->x.n_samples * f->x.n_tokens * f->x.hidden * sizeof(float));
    assert_non_null(f->target.data);
    assert_ok(paro_block_pass_forward(&err, pass, f->x.data, f->x.n_samples, f->target.data));
    paro_block_pass_free(pass);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        free(weights[slot]);
}

static void make_block(fixture *f, const paro_observer *observer, size_t n_train, uint32_t bits,
                       uint32_t group_size, uint32_t krot)
{
    paro_error err;
    f->block = (paro_calib_block){.model = f->model,
                                  .pool = f->model->pool,
                                  .observer = observer,
                                  .x = &f->x,
                                  .target = &f->target,
                                  .n_train = n_train,
                                  .n_validation = f->x.n_samples - n_train,
                                  .batch = 4};
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_linear *from = &f->model->blocks[0].linears[slot];
        paro_train_linear *linear = &f->block.linears[slot];
        *linear = (paro_train_linear){.name = from->name,
                                      .n_out = from->n_out,
                                      .n_in = from->n_in,
                                      .bits = bits,
                                      .group_size = group_size,
                                      .krot = krot};
        assert_ok(paro_train_linear_alloc(&err, linear));
        free(linear->w);
        linear->w = weight_of(f->model, slot);
        assert_ok(paro_pairs_make(
            &err, f->model->pool, linear,
            slot == PARO_SLOT_UP ? PARO_PAIRS_KIND_MAGNITUDE : PARO_PAIRS_KIND_RANDOM, 1));
    }
}

/* A random block of two heads, sixteen samples of eight tokens of which twelve train. */
static fixture *small_fixture(const paro_observer *observer, int n_threads)
{
    static const small_shape shape = {32, 64, 2, 1, 16, false, false};
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    paro_rng rng;
    paro_rng_seed(&rng, 3);
    f->dir = small_model_write(&shape, 5);
    f->model = small_model_open(f->dir, n_threads);
    f->x = (paro_activations){16, 8, 32, small_normals(&rng, (size_t)16 * 8 * 32, 1), 0};
    make_target(f);
    make_block(f, observer, 12, 3, 32, 4);
    return f;
}

/* The demo model's first block on embeddings of tokens. */
static fixture *demo_fixture(const paro_observer *observer)
{
    enum { N_SAMPLES = 24, N_TOKENS = 32 };
    paro_error err;
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_ok(paro_model_open(&err, "models/demo", NULL, &f->model));
    size_t hidden = f->model->config.hidden, n = (size_t)N_SAMPLES * N_TOKENS;
    const paro_tensor *table = f->model->embedding;
    f->x = (paro_activations){N_SAMPLES, N_TOKENS, hidden, malloc(n * hidden * sizeof(float)), 0};
    paro_rng rng;
    paro_rng_seed(&rng, 11);
    for (size_t i = 0; i < n; i++) {
        size_t id = paro_rng_below(&rng, table->shape[0]);
        paro_f32_from_array(f->x.data + i * hidden,
                            (const char *)table->data +
                                id * hidden * paro_dtype_bytes(table->dtype),
                            table->dtype, hidden);
    }
    make_target(f);
    make_block(f, observer, 16, 4, 128, 8);
    return f;
}

static void free_fixture(fixture *f)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_train_linear_release(&f->block.linears[slot]);
    free(f->x.data);
    free(f->target.data);
    paro_model_free(f->model);
    if (f->dir != NULL)
        test_dir_remove(f->dir);
    free(f);
}

/* All values of two blocks' linears are the same. */
static void expect_same(const paro_calib_block *a, const paro_calib_block *b)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *x = &a->linears[slot], *y = &b->linears[slot];
        size_t n = (size_t)x->n_out * x->n_in, n_cells = n / x->group_size;
        assert_memory_equal(x->w, y->w, n * sizeof(float));
        assert_memory_equal(x->theta, y->theta, (size_t)x->krot * x->n_in / 2 * sizeof(float));
        assert_memory_equal(x->weight_channel_scales, y->weight_channel_scales,
                            x->n_in * sizeof(float));
        assert_true((x->step == NULL) == (y->step == NULL));
        if (x->step != NULL) {
            assert_memory_equal(x->step, y->step, n_cells * sizeof(float));
            assert_memory_equal(x->zero, y->zero, n_cells * sizeof(float));
        }
    }
}

static double validation_loss(const fixture *f)
{
    paro_error err;
    double loss = -1;
    assert_ok(paro_calib_block_loss(&err, &f->block, f->block.n_train, f->block.n_validation, true,
                                    &loss));
    return loss;
}

static const double stage1[PARO_TRAINABLE_COUNT] = {
    [PARO_TRAINABLE_ANGLES] = 0.02, [PARO_TRAINABLE_CHANNEL_SCALES] = 0.02};
static const double stage2[PARO_TRAINABLE_COUNT] = {
    [PARO_TRAINABLE_WEIGHT] = 2e-4, [PARO_TRAINABLE_QUANTIZER] = 1e-5};

static paro_optimise_options options_of(const double lr[PARO_TRAINABLE_COUNT], uint32_t epochs)
{
    paro_optimise_options options = {.epochs = epochs, .batch = 4, .seed = 9};
    memcpy(options.lr, lr, sizeof options.lr);
    return options;
}

/* Both stages on the demo model bring the validation loss down, and rounding keeps it. */
static void test_two_stages(void **state)
{
    (void)state;
    paro_error err;
    paro_observer observer = {.log = take_log, .progress = take_progress};
    fixture *f = demo_fixture(&observer), *untouched = demo_fixture(NULL);
    observer.context = f;
    paro_optimise_report report;
    double start = validation_loss(f);
    paro_optimise_options options = options_of(stage1, 6);
    assert_ok(paro_optimise(&err, &f->block, &options, &report));
    printf("angles and scales: %.4g to %.4g in %.2f s\n", start, report.best_loss, report.seconds);
    assert_int_equal(report.end, PARO_OPTIMISE_END_DONE);
    assert_true(f->warning[0] == 0 && report.diagnosis[0] == 0);
    assert_int_equal(f->done, 24);
    assert_int_equal(f->total, 24);
    assert_true(report.first_loss == start && report.n_epochs == 6 && report.best_epoch > 0);
    assert_true(report.best_loss < 0.9 * start && report.best_loss <= report.last_loss);
    assert_true(validation_loss(f) == report.best_loss);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *linear = &f->block.linears[slot];
        size_t n_turned = 0;
        for (size_t i = 0; i < (size_t)linear->krot * linear->n_in / 2; i++) {
            if (linear->pairs[2 * i] == linear->pairs[2 * i + 1])
                assert_true(linear->theta[i] == 0);
            n_turned += linear->theta[i] != 0;
        }
        assert_true(n_turned > 0 && linear->step == NULL);
        assert_memory_equal(linear->w, untouched->block.linears[slot].w,
                            (size_t)linear->n_out * linear->n_in * sizeof(float));
    }

    double between = report.best_loss;
    options = options_of(stage2, 3);
    f->done = 0;
    assert_ok(paro_optimise(&err, &f->block, &options, &report));
    printf("weights and quantisers: %.4g to %.4g in %.2f s\n", between, report.best_loss,
           report.seconds);
    assert_true(report.first_loss == between && report.best_loss < 0.95 * between);
    assert_true(validation_loss(f) == report.best_loss);
    assert_non_null(f->block.linears[PARO_SLOT_Q].step);
    assert_ok(paro_calib_block_round(&err, &f->block));
    assert_true(fabs(validation_loss(f) - report.best_loss) < 0.05 * report.best_loss);
    free_fixture(f);
    free_fixture(untouched);
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    paro_error err;
    fixture *f[3];
    paro_optimise_report reports[3];
    for (int i = 0; i < 3; i++) {
        f[i] = small_fixture(NULL, 1 + i % 2);
        paro_optimise_options options = options_of(stage1, 3);
        options.lr[PARO_TRAINABLE_WEIGHT] = 1e-3;
        options.lr[PARO_TRAINABLE_QUANTIZER] = 1e-3;
        options.accumulate = i == 2 ? 3 : 1;
        assert_ok(paro_optimise(&err, &f[i]->block, &options, &reports[i]));
        assert_true(reports[i].best_epoch > 0);
    }
    expect_same(&f[0]->block, &f[1]->block);
    assert_true(reports[0].best_loss == reports[1].best_loss);
    assert_true(fabs(reports[0].best_loss - reports[2].best_loss) < 0.02 * reports[0].best_loss);
    for (int i = 0; i < 3; i++)
        free_fixture(f[i]);
}

/* Steps so large that the loss goes up and down: the state of the best epoch is left, which is what
 * a stage of so many epochs ends with, as the rate does not come down. */
static void test_best_state(void **state)
{
    (void)state;
    paro_error err;
    paro_optimise_options options = options_of(stage1, 8);
    options.lr[PARO_TRAINABLE_ANGLES] = 0.5;
    options.lr[PARO_TRAINABLE_CHANNEL_SCALES] = 0;
    options.last_lr = 1;
    paro_optimise_report report, again;
    bool found = false;
    for (options.seed = 0; options.seed < 20 && !found; options.seed++) {
        fixture *f = small_fixture(NULL, 2), *shorter = small_fixture(NULL, 2);
        options.epochs = 8;
        assert_ok(paro_optimise(&err, &f->block, &options, &report));
        assert_true(validation_loss(f) == report.best_loss);
        found = report.best_epoch > 1 && report.best_epoch < 8;
        if (found) {
            assert_true(report.best_loss < report.last_loss);
            options.epochs = report.best_epoch;
            assert_ok(paro_optimise(&err, &shorter->block, &options, &again));
            assert_int_equal(again.best_epoch, report.best_epoch);
            assert_true(again.last_loss == report.best_loss);
            expect_same(&f->block, &shorter->block);
        }
        free_fixture(f);
        free_fixture(shorter);
    }
    assert_true(found);
}

/* Ends that are no failure: what is said, and that the block is left in its best state, the start.
 */
static void check_end(const double lr[PARO_TRAINABLE_COUNT], paro_optimise_end expected,
                      const char *words, bool with_validation)
{
    paro_error err;
    paro_observer observer = {.log = take_log};
    fixture *f = small_fixture(&observer, 2), *untouched = small_fixture(NULL, 2);
    observer.context = f;
    for (int i = 0; i < 2; i++) {
        fixture *each = i == 0 ? f : untouched;
        if (!with_validation)
            each->block.n_validation = 0;
        for (int slot = 0; slot < PARO_SLOT_COUNT && lr[PARO_TRAINABLE_QUANTIZER] > 0; slot++)
            assert_ok(paro_train_linear_start_quantiser(&err, NULL, &each->block.linears[slot]));
    }
    paro_optimise_options options = options_of(lr, 3);
    paro_optimise_report report;
    assert_ok(paro_optimise(&err, &f->block, &options, &report));
    if (report.end != expected || strstr(report.diagnosis, words) == NULL)
        fail_msg("expected end %d with \"%s\", found %d with \"%s\"", (int)expected, words,
                 (int)report.end, report.diagnosis);
    assert_non_null(strstr(f->warning, report.diagnosis));
    assert_int_equal(report.best_epoch, 0);
    expect_same(&f->block, &untouched->block);
    free_fixture(f);
    free_fixture(untouched);
}

static void test_what_goes_wrong(void **state)
{
    (void)state;
    const double huge[PARO_TRAINABLE_COUNT] = {[PARO_TRAINABLE_WEIGHT] = 1e30};
    const double scales[PARO_TRAINABLE_COUNT] = {[PARO_TRAINABLE_CHANNEL_SCALES] = 50};
    const double steps[PARO_TRAINABLE_COUNT] = {[PARO_TRAINABLE_QUANTIZER] = 5};
    check_end(huge, PARO_OPTIMISE_END_NOT_FINITE, "step 2 of 9: the", true);
    check_end(huge, PARO_OPTIMISE_END_NOT_FINITE, "try lower learning rates", false);
    check_end(scales, PARO_OPTIMISE_END_COLLAPSED, "channel scales of model.layers.0", true);
    check_end(scales, PARO_OPTIMISE_END_COLLAPSED, "came down to nothing", false);
    check_end(steps, PARO_OPTIMISE_END_COLLAPSED, "try a lower learning rate of quantizer", true);
    const double large[PARO_TRAINABLE_COUNT] = {[PARO_TRAINABLE_WEIGHT] = 0.5};
    check_end(large, PARO_OPTIMISE_END_ONLY_ROSE, "the validation loss only rose:", true);
}

static void test_data_that_is_not_finite(void **state)
{
    (void)state;
    paro_error err;
    fixture *f = small_fixture(NULL, 1);
    f->target.data[(size_t)15 * 8 * 32] = NAN; /* of the last validation sample */
    paro_optimise_options options = options_of(stage1, 3);
    paro_optimise_report report;
    assert_ok(paro_optimise(&err, &f->block, &options, &report));
    assert_int_equal(report.end, PARO_OPTIMISE_END_NOT_FINITE);
    assert_non_null(strstr(report.diagnosis, "after epoch 0: the validation loss is"));
    assert_int_equal(report.n_epochs, 0);
    free_fixture(f);
}

/* Stopped at any moment, the block is as it was: learned quantisers that were not there are gone.
 */
static void test_stopping(void **state)
{
    (void)state;
    paro_error err;
    paro_observer observer = {.log = take_log, .progress = take_progress};
    fixture *f = small_fixture(&observer, 2), *untouched = small_fixture(NULL, 2);
    observer.context = f;
    paro_optimise_options options = options_of(stage1, 3);
    memcpy(options.lr + PARO_TRAINABLE_WEIGHT, stage2 + PARO_TRAINABLE_WEIGHT, 2 * sizeof(double));
    paro_optimise_report report;
    memset(&report, 7, sizeof report);
    const paro_optimise_report before = report;
    const uint64_t moments[] = {1, 4, 9};
    for (size_t i = 0; i < 3; i++) {
        f->stop_at = moments[i];
        f->done = 0;
        assert_fails(paro_optimise(&err, &f->block, &options, &report), PARO_STATUS_CANCELLED,
                     "block 0: optimise: stopped on request");
        assert_int_equal(f->done, moments[i]);
        assert_memory_equal(&report, &before, sizeof report);
        expect_same(&f->block, &untouched->block);
    }
    free_fixture(f);
    free_fixture(untouched);
}

/* Rounded and kept linears do not change; without any other there is nothing to do. */
static void test_constants(void **state)
{
    (void)state;
    paro_error err;
    fixture *f = small_fixture(NULL, 2), *untouched = small_fixture(NULL, 2);
    f->block.linears[PARO_SLOT_O].bits = 0;
    assert_ok(paro_train_linear_round(&err, NULL, &f->block.linears[PARO_SLOT_V]));
    assert_ok(paro_train_linear_round(&err, NULL, &untouched->block.linears[PARO_SLOT_V]));
    const paro_train_linear *v[] = {&f->block.linears[PARO_SLOT_V],
                                    &untouched->block.linears[PARO_SLOT_V]};
    paro_optimise_options options = options_of(stage1, 3);
    options.lr[PARO_TRAINABLE_WEIGHT] = 1e-3;
    paro_optimise_report report;
    assert_ok(paro_optimise(&err, &f->block, &options, &report));
    assert_true(report.best_loss < report.first_loss);
    assert_memory_equal(v[0]->w, v[1]->w, (size_t)v[0]->n_out * v[0]->n_in * sizeof(float));
    assert_memory_equal(v[0]->theta, v[1]->theta, (size_t)v[0]->krot * v[0]->n_in / 2 * 4);
    assert_memory_equal(v[0]->codes.codes, v[1]->codes.codes, (size_t)v[0]->n_out * v[0]->n_in);
    size_t n_o = (size_t)f->block.linears[PARO_SLOT_O].n_out * f->block.linears[PARO_SLOT_O].n_in;
    assert_memory_equal(f->block.linears[PARO_SLOT_O].w, untouched->block.linears[PARO_SLOT_O].w,
                        n_o * sizeof(float));
    assert_true(memcmp(f->block.linears[PARO_SLOT_Q].w, untouched->block.linears[PARO_SLOT_Q].w,
                       (size_t)32 * 32 * sizeof(float)) != 0);

    assert_ok(paro_calib_block_round(&err, &f->block));
    assert_ok(paro_optimise(&err, &f->block, &options, &report));
    assert_int_equal(report.end, PARO_OPTIMISE_END_DONE);
    assert_int_equal(report.n_epochs, 0);
    assert_true(report.first_loss == report.best_loss && report.best_loss > 0);
    free_fixture(f);
    free_fixture(untouched);
}

static void test_without_validation(void **state)
{
    (void)state;
    paro_error err;
    fixture *f = small_fixture(NULL, 2);
    f->block.n_validation = 0;
    paro_optimise_options options = options_of(stage1, 4);
    paro_optimise_report report;
    assert_ok(paro_optimise(&err, &f->block, &options, &report));
    assert_int_equal(report.end, PARO_OPTIMISE_END_DONE);
    assert_int_equal(report.best_epoch, 4);
    assert_true(report.last_loss > 0 && report.last_loss < report.first_loss);
    free_fixture(f);
}

static void test_options(void **state)
{
    (void)state;
    paro_error err;
    fixture *f = small_fixture(NULL, 1);
    paro_optimise_report report;
    const paro_optimise_options good = options_of(stage1, 1);
    paro_optimise_options o;
#define EXPECT_INVALID(change, words)                                                              \
    o = good;                                                                                      \
    change;                                                                                        \
    assert_fails(paro_optimise(&err, &f->block, &o, &report), PARO_STATUS_INVALID_ARGUMENT, words)
    EXPECT_INVALID(o.lr[PARO_TRAINABLE_ANGLES] = -1,
                   "block 0: optimise: angles: expected a learning rate of 0");
    EXPECT_INVALID(o.lr[PARO_TRAINABLE_WEIGHT] = NAN, "weight: expected a learning rate of 0");
    EXPECT_INVALID(memset(o.lr, 0, sizeof o.lr), "learning rates: expected one above 0");
    EXPECT_INVALID(o.epochs = 0, "epochs: expected 1 to 1000, found 0");
    EXPECT_INVALID(o.epochs = 1001, "epochs: expected 1 to 1000, found 1001");
    EXPECT_INVALID(o.accumulate = 5, "accumulate: expected at most the batch");
    EXPECT_INVALID(o.last_lr = 2, "last_lr: expected a share of the rate, above 0 and up to 1");
    EXPECT_INVALID(o.adamw.beta1 = 1, "beta1: expected 0 or more and below 1, found 1");
    EXPECT_INVALID(o.adamw.beta2 = 0.9, "epsilon: expected a number above 0, found 0");
    EXPECT_INVALID(f->block.n_train = 0, "expected at least one training sample");
    EXPECT_INVALID(f->block.n_train = 14, "found 14 and 4 for validation");
    f->block.n_train = 12;
    EXPECT_INVALID(f->target.n_tokens = 7, "expected inputs and targets of one shape");
#undef EXPECT_INVALID
    assert_string_equal(paro_trainable_name(PARO_TRAINABLE_QUANTIZER), "quantizer");
    assert_string_equal(paro_trainable_name(PARO_TRAINABLE_ANGLES), "angles");
    free_fixture(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_stages),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_best_state),
        cmocka_unit_test(test_what_goes_wrong),
        cmocka_unit_test(test_data_that_is_not_finite),
        cmocka_unit_test(test_stopping),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_without_validation),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
