/* SPDX-License-Identifier: MIT
 *
 * The list of trained parameters, and their copies.
 */
#include "calib/trained.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCALE_MIN 1e-4F
#define SCALE_MAX 1e4F

bool paro_trained_can(const paro_train_linear *linear)
{
    return linear->bits != 0 && !linear->is_rounded;
}

static paro_status add(paro_error *err, paro_trained_set *set, int slot, paro_trainable kind,
                       bool is_step, float *value, size_t n)
{
    paro_trained *t = &set->all[set->n];
    *t = (paro_trained){
        .slot = (paro_slot)slot, .kind = kind, .is_step = is_step, .n = n, .value = value};
    size_t n_bytes = n * sizeof *value;
    t->gradient = malloc(n_bytes);
    t->start = malloc(n_bytes);
    t->best = malloc(n_bytes);
    paro_status status = PARO_STATUS_OK;
    if (t->gradient == NULL || t->start == NULL || t->best == NULL)
        status = paro_fail_memory(err, 3 * n_bytes, "copies of trained parameters");
    else
        status = paro_adamw_new(err, n, &t->adamw);
    if (status != PARO_STATUS_OK) {
        free(t->gradient);
        free(t->start);
        free(t->best);
        return status;
    }
    memcpy(t->start, value, n_bytes);
    memcpy(t->best, value, n_bytes);
    t->n_low = paro_trained_bound(t);
    set->n++;
    return PARO_STATUS_OK;
}

static paro_status add_linear(paro_error *err, paro_trained_set *set, int slot,
                              const double lr[PARO_TRAINABLE_COUNT])
{
    paro_train_linear *linear = &set->block->linears[slot];
    size_t n_values = (size_t)linear->n_out * linear->n_in;
    size_t n_cells = n_values / linear->group_size;
    size_t n_theta = (size_t)linear->krot * (linear->n_in / 2);
    paro_status status = PARO_STATUS_OK;
    if (lr[PARO_TRAINABLE_ANGLES] != 0 && n_theta > 0)
        status = add(err, set, slot, PARO_TRAINABLE_ANGLES, false, linear->theta, n_theta);
    if (status == PARO_STATUS_OK && lr[PARO_TRAINABLE_CHANNEL_SCALES] != 0)
        status = add(err, set, slot, PARO_TRAINABLE_CHANNEL_SCALES, false,
                     linear->weight_channel_scales, linear->n_in);
    if (status == PARO_STATUS_OK && lr[PARO_TRAINABLE_WEIGHT] != 0)
        status = add(err, set, slot, PARO_TRAINABLE_WEIGHT, false, linear->w, n_values);
    if (status != PARO_STATUS_OK || lr[PARO_TRAINABLE_QUANTIZER] == 0)
        return status;
    set->is_new_quantiser[slot] = linear->step == NULL;
    status = paro_train_linear_start_quantiser(err, set->block->pool, linear);
    if (status == PARO_STATUS_OK)
        status = add(err, set, slot, PARO_TRAINABLE_QUANTIZER, true, linear->step, n_cells);
    if (status == PARO_STATUS_OK)
        status = add(err, set, slot, PARO_TRAINABLE_QUANTIZER, false, linear->zero, n_cells);
    return status;
}

paro_status paro_trained_set_new(paro_error *err, paro_calib_block *block,
                                 const double lr[PARO_TRAINABLE_COUNT], paro_trained_set *out)
{
    paro_trained_set set = {.block = block};
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        if (!paro_trained_can(&block->linears[slot]))
            continue;
        paro_status status = add_linear(err, &set, slot, lr);
        if (status != PARO_STATUS_OK) {
            paro_trained_restore_start(&set);
            paro_trained_set_release(&set);
            return status;
        }
    }
    *out = set;
    return PARO_STATUS_OK;
}

void paro_trained_set_release(paro_trained_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        free(set->all[i].gradient);
        free(set->all[i].start);
        free(set->all[i].best);
        paro_adamw_release(&set->all[i].adamw);
    }
    set->n = 0;
}

void paro_trained_keep_best(paro_trained_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        memcpy(set->all[i].best, set->all[i].value, set->all[i].n * sizeof(float));
}

void paro_trained_restore_best(paro_trained_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        memcpy(set->all[i].value, set->all[i].best, set->all[i].n * sizeof(float));
}

void paro_trained_restore_start(paro_trained_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        memcpy(set->all[i].value, set->all[i].start, set->all[i].n * sizeof(float));
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_train_linear *linear = &set->block->linears[slot];
        if (!set->is_new_quantiser[slot])
            continue;
        free(linear->step);
        free(linear->zero);
        linear->step = NULL;
        linear->zero = NULL;
    }
}

paro_trained *paro_trained_find(paro_trained_set *set, paro_slot slot, paro_trainable kind,
                                bool is_step)
{
    for (size_t i = 0; i < set->n; i++) {
        paro_trained *t = &set->all[i];
        if (t->slot == slot && t->kind == kind && t->is_step == is_step)
            return t;
    }
    return NULL;
}

size_t paro_trained_bound(paro_trained *trained)
{
    bool is_scale = trained->kind == PARO_TRAINABLE_CHANNEL_SCALES;
    if (!is_scale && !trained->is_step)
        return 0;
    float low = is_scale ? SCALE_MIN : PARO_STEP_MIN, high = is_scale ? SCALE_MAX : INFINITY;
    size_t n_low = 0;
    for (size_t i = 0; i < trained->n; i++) {
        trained->value[i] = fminf(fmaxf(trained->value[i], low), high);
        n_low += trained->value[i] == low;
    }
    return n_low > trained->n_low ? n_low - trained->n_low : 0;
}
