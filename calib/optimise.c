/* SPDX-License-Identifier: MIT
 *
 * A stage of training: epochs of steps, and what is kept of them.
 *
 * A step: W^ of every trained linear, the block's pass over a batch in parts, its loss and
 * gradients, the gradients of parameters through fake quantisation, AdamW.
 */
#include "calib/optimise.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "calib/block_pass.h"
#include "calib/estimate.h"
#include "calib/trained.h"

enum { COLLAPSE_SHARE = 20 }; /* one in so many */

static const char *const names[PARO_TRAINABLE_COUNT] = {
    [PARO_TRAINABLE_ANGLES] = "angles",
    [PARO_TRAINABLE_CHANNEL_SCALES] = "channel_scales",
    [PARO_TRAINABLE_WEIGHT] = "weight",
    [PARO_TRAINABLE_QUANTIZER] = "quantizer",
};

const char *paro_trainable_name(paro_trainable trainable)
{
    return (unsigned)trainable < PARO_TRAINABLE_COUNT ? names[trainable] : "unknown";
}

typedef struct stage {
    paro_calib_block *block;
    paro_optimise_options options; /* with defaults filled in */
    paro_trained_set set;
    paro_block_pass *pass;
    size_t part, sample_count;           /* samples of a part; floats of a sample */
    float *w_hat[PARO_SLOT_COUNT];       /* NULL for kept linears */
    float *d_w_hat[PARO_SLOT_COUNT];     /* NULL where nothing of it is trained */
    float *own_d_w_hat[PARO_SLOT_COUNT]; /* those that are not a trained weight's gradient */
    float *x, *target, *y, *dy;          /* [part, sample_count] */
    size_t *order;                       /* [n_train] */
    uint64_t n_steps, step;              /* done of all */
    paro_optimise_report report;
} stage;

/* ---- options ---- */

static paro_status invalid(paro_error *err, const stage *s, const char *what, const char *expected,
                           double found)
{
    return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                     "block %" PRIu32 ": optimise: %s: expected %s, found %g", s->block->layer,
                     what, expected, found);
}

static paro_status check_adamw(paro_error *err, const stage *s)
{
    const paro_adamw_options *a = &s->options.adamw;
    if (!(a->beta1 >= 0 && a->beta1 < 1))
        return invalid(err, s, "beta1", "0 or more and below 1", a->beta1);
    if (!(a->beta2 >= 0 && a->beta2 < 1))
        return invalid(err, s, "beta2", "0 or more and below 1", a->beta2);
    if (!(a->epsilon > 0) || !isfinite(a->epsilon))
        return invalid(err, s, "epsilon", "a number above 0", a->epsilon);
    if (!(a->weight_decay >= 0) || !isfinite(a->weight_decay))
        return invalid(err, s, "weight_decay", "a number of 0 or more", a->weight_decay);
    return PARO_STATUS_OK;
}

static paro_status check_samples(paro_error *err, const stage *s)
{
    const paro_calib_block *block = s->block;
    const paro_activations *x = block->x, *target = block->target;
    if (block->n_train == 0 || block->n_train > x->n_samples ||
        block->n_validation > x->n_samples - block->n_train)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "block %" PRIu32
                         ": optimise: expected at least one training sample and all of them among "
                         "the %zu there are, found %zu and %zu for validation",
                         block->layer, x->n_samples, block->n_train, block->n_validation);
    if (x->n_samples != target->n_samples || x->n_tokens != target->n_tokens ||
        x->hidden != target->hidden || x->hidden != block->model->config.hidden)
        return paro_fail(
            err, PARO_STATUS_INVALID_ARGUMENT,
            "block %" PRIu32 ": optimise: expected inputs and targets of one shape and hidden size "
            "%" PRIu32 ", found %zu samples of %zu tokens of %zu and %zu of %zu of %zu",
            block->layer, block->model->config.hidden, x->n_samples, x->n_tokens, x->hidden,
            target->n_samples, target->n_tokens, target->hidden);
    return PARO_STATUS_OK;
}

static paro_status check_options(paro_error *err, stage *s)
{
    paro_optimise_options *o = &s->options;
    double highest = 0;
    for (int t = 0; t < PARO_TRAINABLE_COUNT; t++) {
        if (!(o->lr[t] >= 0) || !isfinite(o->lr[t]))
            return invalid(err, s, names[t], "a learning rate of 0 (frozen) or more", o->lr[t]);
        highest = fmax(highest, o->lr[t]);
    }
    if (highest == 0)
        return invalid(err, s, "learning rates", "one above 0, so that something is trained", 0);
    if (o->epochs == 0 || o->epochs > PARO_OPTIMISE_MAX_EPOCHS)
        return invalid(err, s, "epochs", "1 to 1000", o->epochs);
    o->batch = o->batch == 0 ? 16 : o->batch;
    o->accumulate = o->accumulate == 0 ? 1 : o->accumulate;
    if (o->accumulate > o->batch)
        return invalid(err, s, "accumulate", "at most the batch (a part has a sample)",
                       o->accumulate);
    o->last_lr = o->last_lr == 0 ? 0.05 : o->last_lr;
    if (!(o->last_lr > 0 && o->last_lr <= 1))
        return invalid(err, s, "last_lr", "a share of the rate, above 0 and up to 1", o->last_lr);
    paro_adamw_options *a = &o->adamw;
    if (a->beta1 == 0 && a->beta2 == 0 && a->epsilon == 0 && a->weight_decay == 0)
        *a = (paro_adamw_options){
            .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-10, .weight_decay = 0.01};
    paro_status status = check_adamw(err, s);
    return status == PARO_STATUS_OK ? check_samples(err, s) : status;
}

/* ---- memory ---- */

/* The weight of a slot: constants are computed here, once. */
static paro_status prepare_slot(paro_error *err, stage *s, int slot)
{
    paro_train_linear *linear = &s->block->linears[slot];
    if (linear->bits == 0) {
        paro_block_pass_set_weight(s->pass, (paro_slot)slot, linear->w);
        return PARO_STATUS_OK;
    }
    size_t n_bytes = (size_t)linear->n_out * linear->n_in * sizeof(float);
    bool is_trained = false;
    for (size_t i = 0; i < s->set.n; i++)
        is_trained = is_trained || s->set.all[i].slot == (paro_slot)slot;
    paro_trained *weight =
        paro_trained_find(&s->set, (paro_slot)slot, PARO_TRAINABLE_WEIGHT, false);
    s->w_hat[slot] = malloc(n_bytes);
    if (weight != NULL)
        s->d_w_hat[slot] = weight->gradient;
    else if (is_trained)
        s->d_w_hat[slot] = s->own_d_w_hat[slot] = malloc(n_bytes);
    if (s->w_hat[slot] == NULL || (is_trained && s->d_w_hat[slot] == NULL))
        return paro_fail_memory(err, n_bytes, "a linear's quantised weight");
    paro_block_pass_set_weight(s->pass, (paro_slot)slot, s->w_hat[slot]);
    if (linear->is_rounded)
        return paro_train_linear_effective(err, linear, s->block->pool, s->w_hat[slot]);
    return paro_fake_quant_forward(err, linear, s->block->pool, s->w_hat[slot]);
}

static paro_status prepare(paro_error *err, stage *s)
{
    paro_calib_block *block = s->block;
    size_t n_batch = s->options.batch < block->n_train ? s->options.batch : block->n_train;
    s->part = (n_batch + s->options.accumulate - 1) / s->options.accumulate;
    s->sample_count = block->x->n_tokens * block->x->hidden;
    s->n_steps =
        (uint64_t)s->options.epochs * ((block->n_train + s->options.batch - 1) / s->options.batch);
    paro_status status = paro_trained_set_new(err, block, s->options.lr, &s->set);
    if (status != PARO_STATUS_OK)
        return status;
    const paro_block_pass_options options = {
        .max_samples = s->part, .n_tokens = block->x->n_tokens, .backward = true};
    status = paro_block_pass_new(err, block->model, block->layer, &options, &s->pass);
    if (status != PARO_STATUS_OK)
        return status;
    size_t n_bytes = s->part * s->sample_count * sizeof(float);
    s->x = malloc(n_bytes);
    s->target = malloc(n_bytes);
    s->y = malloc(n_bytes);
    s->dy = malloc(n_bytes);
    s->order = malloc(block->n_train * sizeof *s->order);
    if (s->x == NULL || s->target == NULL || s->y == NULL || s->dy == NULL || s->order == NULL)
        return paro_fail_memory(err, 4 * n_bytes, "a batch of activations");
    for (size_t i = 0; i < block->n_train; i++)
        s->order[i] = i;
    for (int slot = 0; slot < PARO_SLOT_COUNT && status == PARO_STATUS_OK; slot++)
        status = prepare_slot(err, s, slot);
    return status;
}

static void stage_release(stage *s)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        free(s->w_hat[slot]);
        free(s->own_d_w_hat[slot]);
    }
    free(s->x);
    free(s->target);
    free(s->y);
    free(s->dy);
    free(s->order);
    paro_block_pass_free(s->pass);
    paro_trained_set_release(&s->set);
}

/* ---- a step ---- */

static void end(stage *s, paro_optimise_end how, const char *format, ...) PARO_PRINTF(3, 4);

static void end(stage *s, paro_optimise_end how, const char *format, ...)
{
    s->report.end = how;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->report.diagnosis, sizeof s->report.diagnosis, format, arguments);
    va_end(arguments);
}

/* Adds a part's gradients of W^; its share of the batch's loss. */
static paro_status run_part(paro_error *err, stage *s, const size_t *samples, size_t n,
                            size_t n_batch, double *loss)
{
    size_t n_bytes = s->sample_count * sizeof(float);
    for (size_t i = 0; i < n; i++) {
        memcpy(s->x + i * s->sample_count, s->block->x->data + samples[i] * s->sample_count,
               n_bytes);
        memcpy(s->target + i * s->sample_count,
               s->block->target->data + samples[i] * s->sample_count, n_bytes);
    }
    double share = (double)n / (double)n_batch;
    paro_status status = paro_block_pass_forward(err, s->pass, s->x, n, s->y);
    if (status != PARO_STATUS_OK)
        return status;
    *loss += share * paro_smooth_l1(s->block->pool, s->y, s->target, n * s->sample_count,
                                    (float)share, s->dy);
    return paro_block_pass_backward(err, s->pass, s->x, s->dy, s->d_w_hat, NULL);
}

static bool all_finite(const float *values, size_t n)
{
    float sum = 0; /* of zeros, or NaN */
    for (size_t i = 0; i < n; i++)
        sum += values[i] * 0;
    return sum == 0;
}

static float *gradient_of(stage *s, int slot, paro_trainable kind, bool is_step)
{
    paro_trained *t = paro_trained_find(&s->set, (paro_slot)slot, kind, is_step);
    return t != NULL ? t->gradient : NULL;
}

/* From the gradients of W^ to those of what is trained. */
static paro_status pull_back(paro_error *err, stage *s)
{
    const paro_fake_quant_options options = {.reference_zero = s->options.reference_zero};
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        if (s->d_w_hat[slot] == NULL)
            continue;
        const paro_fake_quant_gradients out = {
            .w = gradient_of(s, slot, PARO_TRAINABLE_WEIGHT, false),
            .theta = gradient_of(s, slot, PARO_TRAINABLE_ANGLES, false),
            .weight_channel_scales = gradient_of(s, slot, PARO_TRAINABLE_CHANNEL_SCALES, false),
            .step = gradient_of(s, slot, PARO_TRAINABLE_QUANTIZER, true),
            .zero = gradient_of(s, slot, PARO_TRAINABLE_QUANTIZER, false)};
        paro_status status = paro_fake_quant_backward(err, &s->block->linears[slot], s->block->pool,
                                                      s->d_w_hat[slot], &options, &out);
        if (status != PARO_STATUS_OK)
            return status;
    }
    for (size_t i = 0; i < s->set.n; i++) {
        const paro_trained *t = &s->set.all[i];
        if (!all_finite(t->gradient, t->n)) {
            end(s, PARO_OPTIMISE_END_NOT_FINITE,
                "step %" PRIu64 " of %" PRIu64 ": the gradient of the %s of %s is not finite; try "
                "lower learning rates",
                s->step + 1, s->n_steps, names[t->kind], s->block->linears[t->slot].name);
            break;
        }
    }
    return PARO_STATUS_OK;
}

static void update(stage *s)
{
    for (size_t i = 0; i < s->set.n; i++) {
        paro_trained *t = &s->set.all[i];
        double lr = paro_cosine_lr(s->options.lr[t->kind], s->options.last_lr, s->step, s->n_steps);
        paro_adamw_step(&t->adamw, s->block->pool, &s->options.adamw, lr, s->step + 1, t->gradient,
                        t->value);
        size_t n_low = paro_trained_bound(t);
        if (n_low > t->n / COLLAPSE_SHARE && s->report.end == PARO_OPTIMISE_END_DONE)
            end(s, PARO_OPTIMISE_END_COLLAPSED,
                "step %" PRIu64 " of %" PRIu64 ": %zu of %zu %s of %s came down to nothing; try a "
                "lower learning rate of %s",
                s->step + 1, s->n_steps, n_low, t->n, t->is_step ? "steps" : "channel scales",
                s->block->linears[t->slot].name, names[t->kind]);
    }
}

/* One step on these samples; its loss. */
static paro_status run_step(paro_error *err, stage *s, const size_t *samples, size_t n_batch,
                            double *loss)
{
    paro_status status = PARO_STATUS_OK;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *linear = &s->block->linears[slot];
        if (s->d_w_hat[slot] == NULL)
            continue;
        memset(s->d_w_hat[slot], 0, (size_t)linear->n_out * linear->n_in * sizeof(float));
        status = paro_fake_quant_forward(err, linear, s->block->pool, s->w_hat[slot]);
        if (status != PARO_STATUS_OK)
            return status;
    }
    *loss = 0;
    for (size_t done = 0; done < n_batch; done += s->part) {
        size_t n = n_batch - done < s->part ? n_batch - done : s->part;
        status = run_part(err, s, samples + done, n, n_batch, loss);
        if (status != PARO_STATUS_OK)
            return status;
    }
    if (!isfinite(*loss)) {
        end(s, PARO_OPTIMISE_END_NOT_FINITE,
            "step %" PRIu64 " of %" PRIu64 ": the loss is %g; try lower learning rates",
            s->step + 1, s->n_steps, *loss);
        return PARO_STATUS_OK;
    }
    status = pull_back(err, s);
    if (status == PARO_STATUS_OK && s->report.end == PARO_OPTIMISE_END_DONE)
        update(s);
    s->step++;
    return status;
}

/* ---- epochs ---- */

static paro_status report_progress(paro_error *err, const stage *s)
{
    char name[64];
    snprintf(name, sizeof name, "block %" PRIu32 ": optimise", s->block->layer);
    return paro_report(err, s->block->observer, name, s->step, s->n_steps);
}

static paro_status run_epoch(paro_error *err, stage *s, paro_rng *rng, double *loss)
{
    size_t n_train = s->block->n_train;
    double sum = 0;
    for (size_t i = n_train - 1; i > 0; i--) {
        size_t other = (size_t)paro_rng_below(rng, i + 1), was = s->order[i];
        s->order[i] = s->order[other];
        s->order[other] = was;
    }
    for (size_t first = 0; first < n_train && s->report.end == PARO_OPTIMISE_END_DONE;
         first += s->options.batch) {
        size_t n = n_train - first < s->options.batch ? n_train - first : s->options.batch;
        double step_loss;
        paro_status status = report_progress(err, s);
        if (status == PARO_STATUS_OK)
            status = run_step(err, s, s->order + first, n, &step_loss);
        if (status != PARO_STATUS_OK)
            return status;
        sum += step_loss * (double)n;
    }
    *loss = sum / (double)n_train;
    return PARO_STATUS_OK;
}

/* The validation loss; ends the stage where it is not finite. */
static paro_status validate(paro_error *err, stage *s, double *loss)
{
    const paro_calib_block *block = s->block;
    paro_status status =
        paro_calib_block_loss(err, block, block->n_train, block->n_validation, true, loss);
    if (status == PARO_STATUS_OK && !isfinite(*loss))
        end(s, PARO_OPTIMISE_END_NOT_FINITE,
            "after epoch %" PRIu32 ": the validation loss is %g; try lower learning rates",
            s->report.n_epochs, *loss);
    return status;
}

/* After an epoch with validation samples: keeps the state where it is the best. */
static void judge(stage *s, double loss, bool *only_rose)
{
    paro_optimise_report *report = &s->report;
    *only_rose = *only_rose && loss > report->first_loss;
    report->last_loss = loss;
    if (loss < report->best_loss) {
        report->best_loss = loss;
        report->best_epoch = report->n_epochs;
        paro_trained_keep_best(&s->set);
    }
}

static paro_status run_epochs(paro_error *err, stage *s)
{
    paro_optimise_report *report = &s->report;
    bool has_validation = s->block->n_validation > 0, only_rose = has_validation;
    double loss = 0;
    paro_status status = has_validation ? validate(err, s, &loss) : PARO_STATUS_OK;
    report->first_loss = report->best_loss = report->last_loss = loss;
    paro_rng rng;
    paro_rng_seed(&rng, s->options.seed);
    while (status == PARO_STATUS_OK && report->end == PARO_OPTIMISE_END_DONE && s->set.n > 0 &&
           report->n_epochs < s->options.epochs) {
        status = run_epoch(err, s, &rng, &loss);
        if (status != PARO_STATUS_OK || report->end != PARO_OPTIMISE_END_DONE)
            break;
        report->n_epochs++;
        if (!has_validation) {
            report->first_loss = report->n_epochs == 1 ? loss : report->first_loss;
            report->best_loss = report->last_loss = loss;
            report->best_epoch = report->n_epochs;
            continue;
        }
        status = validate(err, s, &loss);
        if (status == PARO_STATUS_OK && report->end == PARO_OPTIMISE_END_DONE)
            judge(s, loss, &only_rose);
    }
    if (status == PARO_STATUS_OK && report->end == PARO_OPTIMISE_END_DONE && s->set.n > 0)
        status = report_progress(err, s);
    if (status != PARO_STATUS_OK)
        return status;
    if (report->end == PARO_OPTIMISE_END_DONE && only_rose && report->n_epochs > 0)
        end(s, PARO_OPTIMISE_END_ONLY_ROSE,
            "the validation loss only rose: %g at the start, above it after each of %" PRIu32
            " epochs, %g after the last; try lower learning rates or more samples",
            report->first_loss, report->n_epochs, report->last_loss);
    if (has_validation || report->end != PARO_OPTIMISE_END_DONE)
        paro_trained_restore_best(&s->set);
    if (!has_validation && report->end != PARO_OPTIMISE_END_DONE)
        report->best_epoch = 0;
    return PARO_STATUS_OK;
}

/* Of a rehearsal: what the stage would do. */
static paro_status rehearse(paro_error *err, const stage *s)
{
    const paro_calib_estimate *e = s->block->estimate;
    const paro_optimise_options *o = &s->options;
    const double epochs = o->epochs;
    const double steps = epochs * (double)((e->n_train + o->batch - 1) / o->batch);
    const size_t part = (o->batch + o->accumulate - 1) / o->accumulate;
    const double weights = paro_estimate_weights(s->block);
    char trained[128] = "";
    size_t n = 0;
    for (int t = 0; t < PARO_TRAINABLE_COUNT; t++)
        if (o->lr[t] > 0)
            n += (size_t)snprintf(trained + n, sizeof trained - n, "%s%s", n > 0 ? ", " : "",
                                  names[t]);
    /* A rotation round of a weight and its gradient is some 16 operations, there and back. */
    const double fake_quant = weights * 16 * (2 + 2 * s->block->linears[0].krot);
    return paro_estimate_add(
        err, s->block,
        epochs * (3 * paro_estimate_pass(s->block, e->n_train) +
                  paro_estimate_pass(s->block, e->n_validation)) +
            steps * fake_quant,
        paro_estimate_pass_bytes(s->block, part, true) + (uint64_t)(weights * 6 * sizeof(float)),
        "optimise %s: %" PRIu32 " epochs of %zu samples", trained, o->epochs, e->n_train);
}

paro_status paro_optimise(paro_error *err, paro_calib_block *block,
                          const paro_optimise_options *options, paro_optimise_report *report)
{
    stage s = {.block = block, .options = *options, .set = {.block = block}};
    double start = paro_clock_seconds();
    paro_status status = check_options(err, &s);
    if (status == PARO_STATUS_OK && block->estimate != NULL)
        return rehearse(err, &s);
    if (status == PARO_STATUS_OK)
        status = prepare(err, &s);
    if (status == PARO_STATUS_OK)
        status = run_epochs(err, &s);
    if (status != PARO_STATUS_OK) {
        paro_trained_restore_start(&s.set);
        goto done;
    }
    s.report.seconds = paro_clock_seconds() - start;
    if (s.report.end != PARO_OPTIMISE_END_DONE)
        paro_log(block->observer, PARO_LOG_LEVEL_WARNING, "block %" PRIu32 ": optimise: %s",
                 block->layer, s.report.diagnosis);
    *report = s.report;
done:
    stage_release(&s);
    return status;
}
