/* SPDX-License-Identifier: MIT
 *
 * From logits to a token. Probabilities are summed in double and in order of rank, so that a seed
 * gives the same text on every machine that computes the same logits.
 */
#include "runtime/sampler.h"

#include <math.h>
#include <stdlib.h>

paro_status paro_sampler_init(paro_error *err, const paro_sampler_options *options, uint32_t vocab,
                              paro_sampler *out)
{
    paro_sampler sampler = {.options = *options, .vocab = vocab};
    if (!(options->temperature >= 0 && options->temperature <= 1e6F))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "temperature: expected 0 to 1e6, found %g", (double)options->temperature);
    if (!(options->top_p >= 0 && options->top_p <= 1))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "top_p: expected 0 to 1, found %g",
                         (double)options->top_p);
    paro_rng_seed(&sampler.rng, options->seed);
    if (options->temperature > 0) {
        sampler.candidates = malloc(vocab * sizeof *sampler.candidates);
        sampler.weights = malloc(vocab * sizeof *sampler.weights);
        if (sampler.candidates == NULL || sampler.weights == NULL) {
            paro_sampler_release(&sampler);
            return paro_fail_memory(err, vocab * sizeof *sampler.candidates, "a sampler");
        }
    }
    *out = sampler;
    return PARO_STATUS_OK;
}

void paro_sampler_release(paro_sampler *sampler)
{
    if (sampler == NULL)
        return;
    free(sampler->candidates);
    free(sampler->weights);
    sampler->candidates = NULL;
    sampler->weights = NULL;
}

int32_t paro_argmax(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i])))
            best = i;
    return (int32_t)best;
}

/* Likelier first; the lower id on a tie. */
static int compare_candidates(const void *a, const void *b)
{
    const paro_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Moves the k likeliest candidates to the front, unordered (Hoare's selection). */
static void select_likeliest(paro_candidate *c, size_t n, size_t k)
{
    size_t low = 0, high = n;
    while (high - low > 1) {
        /* The lower middle: an upper one could leave all on one side, for ever. */
        const paro_candidate pivot = c[low + (high - low - 1) / 2];
        size_t i = low, j = high - 1;
        for (;;) {
            while (compare_candidates(&c[i], &pivot) < 0)
                i++;
            while (compare_candidates(&c[j], &pivot) > 0)
                j--;
            if (i >= j)
                break;
            paro_candidate swapped = c[i];
            c[i++] = c[j];
            c[j--] = swapped;
        }
        size_t middle = j + 1; /* low .. j are not less likely than middle .. high - 1 */
        if (k >= middle)
            low = middle;
        else
            high = middle;
    }
}

int32_t paro_sampler_draw(paro_sampler *sampler, const float *logits)
{
    const paro_sampler_options *options = &sampler->options;
    if (options->temperature == 0)
        return paro_argmax(logits, sampler->vocab);

    size_t n = 0;
    for (uint32_t i = 0; i < sampler->vocab; i++)
        if (logits[i] > -INFINITY) /* leaves NaN out too */
            sampler->candidates[n++] = (paro_candidate){logits[i], (int32_t)i};
    if (n == 0)
        return paro_argmax(logits, sampler->vocab);
    size_t k = options->top_k > 0 && options->top_k < n ? options->top_k : n;
    if (k < n)
        select_likeliest(sampler->candidates, n, k);
    qsort(sampler->candidates, k, sizeof *sampler->candidates, compare_candidates);

    double sum = 0;
    for (size_t i = 0; i < k; i++) {
        const float logit = sampler->candidates[i].logit, highest = sampler->candidates[0].logit;
        /* Not the difference alone: infinity less infinity is not 0. */
        sampler->weights[i] =
            logit == highest ? 1 : exp(((double)logit - (double)highest) / options->temperature);
        sum += sampler->weights[i];
    }
    if (options->top_p > 0 && options->top_p < 1) {
        double kept = 0;
        size_t i = 0;
        while (i < k && kept < options->top_p * sum)
            kept += sampler->weights[i++];
        k = i;
        sum = kept;
    }
    double at = paro_rng_f64(&sampler->rng) * sum;
    for (size_t i = 0; i + 1 < k; i++) {
        at -= sampler->weights[i];
        if (at < 0)
            return sampler->candidates[i].id;
    }
    return sampler->candidates[k - 1].id;
}
