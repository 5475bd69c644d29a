/* SPDX-License-Identifier: MIT
 *
 * Scores: perplexity, and distance to a reference model.
 */
#ifndef PARO_EVAL_H
#define PARO_EVAL_H

#include <stddef.h>
#include <stdint.h>

#include <paro/model.h>
#include <paro/observer.h>
#include <paro/status.h>
#include <paro/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct paro_eval_options {
    uint32_t context;              /* window length in tokens; 0: 512 */
    uint64_t max_tokens;           /* use only the first so many tokens of the text; 0: all */
    const char *stage;             /* name for progress reports; NULL: "eval" */
    const paro_observer *observer; /* may be NULL */
} paro_eval_options;

typedef struct paro_eval_result {
    uint64_t n_tokens; /* in whole windows */
    uint64_t n_windows;
    uint64_t n_predicted; /* n_windows * (context - 1) */
    double nll;           /* mean negative log-likelihood of a predicted token, in nats */
    double perplexity;    /* exp(nll) */
    double seconds;

    /* With a reference model; all 0 without. Over the same predicted positions. */
    double reference_perplexity;
    double kl_mean; /* mean of KL(reference || model), in nats */
    double kl_p50;  /* percentiles by nearest rank */
    double kl_p90;
    double kl_p99;
    double kl_max;
    double same_top; /* share of positions with the same likeliest token, 0..1 */
} paro_eval_result;

/* Perplexity: the text is encoded without a begin token and cut into consecutive windows of
 * `context` tokens, the rest dropped; every token of a window but its first is predicted from
 * those before it in the window; the mean is over all of them. A text shorter than one window is
 * PARO_STATUS_INVALID_ARGUMENT. `reference` may be NULL; it must have the same vocabulary.
 * Memory for 4 bytes a token of text, 4 more with a reference,
 * and the reference's logits of one window (context * vocab floats). Logits that are not finite are
 * PARO_STATUS_FORMAT. `options` may be NULL. */
paro_status paro_eval_text(paro_error *err, const paro_model *model,
                           const paro_tokenizer *tokenizer, const char *text, size_t n_bytes,
                           const paro_model *reference, const paro_eval_options *options,
                           paro_eval_result *result);

#ifdef __cplusplus
}
#endif
#endif
