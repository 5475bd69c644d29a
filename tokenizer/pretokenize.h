/* SPDX-License-Identifier: MIT
 *
 * Cutting text into the words that BPE works on.
 */
#ifndef PARO_TOKENIZER_PRETOKENIZE_H
#define PARO_TOKENIZER_PRETOKENIZE_H

#include <stddef.h>

#include "base/error.h"
#include "tokenizer/tokenizer_spec.h"

/* The compiled steps; immutable, may be shared by threads. */
typedef struct paro_pretokenizer paro_pretokenizer;

/* Nothing of `splits` is needed afterwards. */
paro_status paro_pretokenizer_new(paro_error *err, const paro_split_spec *splits, size_t n_splits,
                                  paro_pretokenizer **out);
void paro_pretokenizer_free(paro_pretokenizer *pretokenizer);

/* What one call of encode needs: matching state and a budget of steps that grows with n_bytes, the
 * length of the whole text. For one thread. */
typedef struct paro_pretokenizer_run paro_pretokenizer_run;

paro_status paro_pretokenizer_begin(paro_error *err, const paro_pretokenizer *pretokenizer,
                                    size_t n_bytes, paro_pretokenizer_run **out);
void paro_pretokenizer_end(paro_pretokenizer_run *run);

/* Receives a word (never empty), valid during the call; anything but PARO_STATUS_OK ends the run.
 */
typedef paro_status paro_word_fn(paro_error *err, void *context, const char *word, size_t n_bytes);

/* Cuts `text` (valid UTF-8) and hands over its words in order. PARO_STATUS_LIMIT where a pattern
 * takes too many steps on this text. */
paro_status paro_pretokenizer_split(paro_error *err, paro_pretokenizer_run *run, const char *text,
                                    size_t n_bytes, paro_word_fn *word, void *context);

#endif
