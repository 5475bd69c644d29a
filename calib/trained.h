/* SPDX-License-Identifier: MIT
 *
 * The parameters of a block that a stage trains: where they are, their gradients and moments, and
 * the states of them that are kept.
 */
#ifndef PARO_CALIB_TRAINED_H
#define PARO_CALIB_TRAINED_H

#include "calib/optimise.h"

/* One array of one linear. */
typedef struct paro_trained {
    paro_slot slot;
    paro_trainable kind;
    bool is_step; /* of QUANTIZER: the steps; else the zeros */
    size_t n;
    float *value;    /* [n] the linear's own */
    float *gradient; /* [n]; for WEIGHT the gradient of W^ stands there first */
    float *start, *best;
    size_t n_low; /* at its lower bound at the start: of no meaning */
    paro_adamw adamw;
} paro_trained;

enum { PARO_TRAINED_MAX = PARO_SLOT_COUNT * (PARO_TRAINABLE_COUNT + 1) };

/* Invariants: 1. start has the values that the set was made with; 2. best those of the last
 * paro_trained_keep_best, or start's. */
typedef struct paro_trained_set {
    paro_calib_block *block;
    bool is_new_quantiser[PARO_SLOT_COUNT]; /* step and zero were NULL before */
    size_t n;
    paro_trained all[PARO_TRAINED_MAX];
} paro_trained_set;

/* Whether the linear can be trained at all: neither kept nor rounded. */
bool paro_trained_can(const paro_train_linear *linear);

/* What is trained where lr is not 0; starts quantisers that are to be learned. On failure the block
 * is as it was. */
paro_status paro_trained_set_new(paro_error *err, paro_calib_block *block,
                                 const double lr[PARO_TRAINABLE_COUNT], paro_trained_set *out);

/* The block keeps the values that it has. */
void paro_trained_set_release(paro_trained_set *set);

void paro_trained_keep_best(paro_trained_set *set);
void paro_trained_restore_best(paro_trained_set *set);

/* The block is as it was before paro_trained_set_new; the set is of no use but for release. */
void paro_trained_restore_start(paro_trained_set *set);

/* The one of a linear; NULL where it is not trained. is_step as in paro_trained. */
paro_trained *paro_trained_find(paro_trained_set *set, paro_slot slot, paro_trainable kind,
                                bool is_step);

/* Keeps scales and steps within their bounds; how many are at the lower one that were not at the
 * start. */
size_t paro_trained_bound(paro_trained *trained);

#endif
