/* SPDX-License-Identifier: MIT
 *
 * Calibration data: texts in, samples of equally many tokens out.
 *
 * Texts are encoded without a begin token, joined in order within a source, and cut into
 * consecutive samples of n_tokens (the rest dropped); of these n_train + n_validation are drawn by
 * the seed, sources in proportion to their weights. Validation samples come from the validation
 * sources where there are some, else they are held out of the others: never drawn for training.
 */
#ifndef PARO_CALIB_DATASET_H
#define PARO_CALIB_DATASET_H

#include <paro/model.h>
#include <paro/observer.h>
#include <paro/quantize.h>
#include <paro/tokenizer.h>

#include "base/error.h"

typedef struct paro_dataset_options {
    const paro_text_source *sources;
    size_t n_sources;
    size_t n_train, n_validation; /* samples */
    size_t n_tokens;              /* of a sample; at most the model's max_context */
    uint64_t seed;
    const paro_observer *observer; /* may be NULL */
} paro_dataset_options;

typedef struct paro_dataset {
    size_t n_train, n_validation, n_tokens;
    int32_t *ids;    /* [n_train + n_validation, n_tokens], training first */
    char sha256[65]; /* of the ids as little-endian 32-bit words, and the three sizes before them */
} paro_dataset;

/* PARO_STATUS_INVALID_ARGUMENT where the texts hold too few tokens: names how many were needed and
 * found, source by source. */
paro_status paro_dataset_from_texts(paro_error *err, const paro_model *model,
                                    const paro_tokenizer *tokenizer,
                                    const paro_dataset_options *options, paro_dataset *out);

/* Where there is no text: the model's own, sampled at temperature 1 from a random first token
 * (sources are ignored). Reports progress as "generate samples". */
paro_status paro_dataset_generate(paro_error *err, const paro_model *model,
                                  const paro_dataset_options *options, paro_dataset *out);

void paro_dataset_release(paro_dataset *dataset); /* NULL and zeroed are fine */

#endif
