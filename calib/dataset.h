/* SPDX-License-Identifier: MIT
 *
 * Calibration data: texts in, samples of equally many tokens out.
 *
 * Texts are encoded without a begin token, joined in order within a source, and cut into
 * consecutive samples of n_tokens (the rest dropped); of these n_train + n_validation are drawn by
 * the seed, sources in proportion to their weights; training samples then stand mixed. Validation
 * samples come from the validation sources where there are some, else they are held out of the
 * others: never drawn for training, and the same whatever n_train, unless other weights or sizes
 * are asked for. Of a large source only the beginning is read: 4 Mi tokens, or four times what is
 * drawn from it where that is more.
 */
#ifndef PARO_CALIB_DATASET_H
#define PARO_CALIB_DATASET_H

#include <paro/model.h>
#include <paro/observer.h>
#include <paro/quantize.h>
#include <paro/tokenizer.h>

#include "base/error.h"
#include "base/hash.h"

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
    int32_t *ids;                       /* [n_train + n_validation, n_tokens], training first */
    char sha256[PARO_SHA256_HEX_BYTES]; /* of the three sizes as little-endian 64-bit words, then
                                           the ids as 32-bit words */
} paro_dataset;

/* PARO_STATUS_INVALID_ARGUMENT where the texts hold too few tokens (names how many were needed and
 * found, source by source), and where a file is given twice. What is not UTF-8 in a plain text is
 * read as U+FFFD, with a warning; text_reader.h has the format of files. Reports progress as "read
 * FILE", in bytes. */
paro_status paro_dataset_from_texts(paro_error *err, const paro_model *model,
                                    const paro_tokenizer *tokenizer,
                                    const paro_dataset_options *options, paro_dataset *out);

/* Where there is no text: the model's own, sampled at temperature 1 from a random first token that
 * is not special (Liu et al. 2023, arXiv 2305.17888); behind an end token the next text begins, in
 * the same sample. Sources are ignored. The same seed gives the same samples whatever the number of
 * threads. Reports progress as "generate samples", in tokens. */
paro_status paro_dataset_generate(paro_error *err, const paro_model *model,
                                  const paro_tokenizer *tokenizer,
                                  const paro_dataset_options *options, paro_dataset *out);

void paro_dataset_release(paro_dataset *dataset); /* NULL and zeroed are fine */

/* For the two above: PARO_STATUS_INVALID_ARGUMENT for sizes that cannot be. */
paro_status paro_dataset_check(paro_error *err, const paro_model *model,
                               const paro_dataset_options *options);

/* For the two above: the dataset of these ids (from malloc), which are its own on success. */
paro_status paro_dataset_finish(paro_error *err, const paro_dataset_options *options, int32_t *ids,
                                paro_dataset *out);

#endif
