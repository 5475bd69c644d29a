/* SPDX-License-Identifier: MIT
 *
 * What include/paro/eval.h measures, on ids that are at hand: for calibration and recipes, whose
 * samples are windows already.
 */
#ifndef PARO_CALIB_SCORE_H
#define PARO_CALIB_SCORE_H

#include <paro/eval.h>

#include "base/error.h"

/* As paro_eval_text on ids [n_windows, context], each row a window; of the options context and
 * max_tokens are not looked at. A model quantised in memory scores as any other. */
paro_status paro_score_windows(paro_error *err, const paro_model *model, const int32_t *ids,
                               size_t n_windows, size_t context, const paro_model *reference,
                               const paro_eval_options *options, paro_eval_result *result);

#endif
