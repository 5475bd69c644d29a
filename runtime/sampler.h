/* SPDX-License-Identifier: MIT
 *
 * From logits to a token.
 */
#ifndef PARO_RUNTIME_SAMPLER_H
#define PARO_RUNTIME_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/rng.h"

typedef struct paro_sampler_options {
    float temperature; /* 0: greedy */
    uint32_t top_k;    /* 0: all */
    float top_p;       /* 0 or 1: all */
    uint64_t seed;
} paro_sampler_options;

typedef struct paro_candidate {
    float logit;
    int32_t id;
} paro_candidate;

typedef struct paro_sampler {
    paro_sampler_options options;
    paro_rng rng;
    paro_candidate *candidates; /* [vocab] scratch; NULL for greedy */
    double *weights;            /* [vocab] scratch; NULL for greedy */
    uint32_t vocab;
} paro_sampler;

/* PARO_STATUS_INVALID_ARGUMENT for a temperature that is negative or not finite, or a top_p outside
 * [0, 1]. The caller releases *out. */
paro_status paro_sampler_init(paro_error *err, const paro_sampler_options *options, uint32_t vocab,
                              paro_sampler *out);
void paro_sampler_release(paro_sampler *sampler);

/* The highest logit; the lowest id on a tie. NaN is never highest. */
int32_t paro_argmax(const float *logits, uint32_t vocab);

/* Draws a token: softmax(logits / temperature) over the top_k likeliest, cut where their
 * probability reaches top_p (Holtzman et al. 2020), renormalised. Greedy draws nothing from the
 * seed. */
int32_t paro_sampler_draw(paro_sampler *sampler, const float *logits);

#endif
