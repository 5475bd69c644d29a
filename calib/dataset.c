/* SPDX-License-Identifier: MIT
 *
 * What both ways to a dataset share: what may be asked for, and its hash. The ways are
 * dataset_texts.c and dataset_generate.c.
 */
#include "calib/dataset.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* Samples may need so many bytes that they cannot be counted with several bytes a token. */
enum { MAX_TOKEN_BYTES = 64 };

paro_status paro_dataset_check(paro_error *err, const paro_model *model,
                               const paro_dataset_options *options)
{
    paro_model_info info;
    paro_model_get_info(model, &info);
    if (options->n_tokens < 1 || options->n_tokens > info.max_context)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "tokens of a sample: expected 1 to %u (the model's "
                         "max_position_embeddings), found %zu",
                         info.max_context, options->n_tokens);
    if (options->n_train < 1)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "samples: expected at least 1 to train on, found 0");
    const size_t most = SIZE_MAX / MAX_TOKEN_BYTES / options->n_tokens;
    if (options->n_train > most || options->n_validation > most - options->n_train)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "samples: expected at most %zu of %zu tokens, found %zu + %zu", most,
                         options->n_tokens, options->n_train, options->n_validation);
    return PARO_STATUS_OK;
}

static void put_le(unsigned char *out, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        out[i] = (unsigned char)(value >> (8 * i));
}

paro_status paro_dataset_finish(paro_error *err, const paro_dataset_options *options, int32_t *ids,
                                paro_dataset *out)
{
    paro_dataset made = {.n_train = options->n_train,
                         .n_validation = options->n_validation,
                         .n_tokens = options->n_tokens,
                         .ids = ids};
    const size_t n_ids = (made.n_train + made.n_validation) * made.n_tokens;
    const size_t n_bytes = 3 * 8 + n_ids * 4;
    unsigned char *bytes = malloc(n_bytes);
    if (bytes == NULL)
        return paro_fail_memory(err, n_bytes, "the samples' hash");
    put_le(bytes, made.n_train, 8);
    put_le(bytes + 8, made.n_validation, 8);
    put_le(bytes + 16, made.n_tokens, 8);
    for (size_t i = 0; i < n_ids; i++)
        put_le(bytes + 24 + i * 4, (uint32_t)ids[i], 4);
    paro_sha256_hex(bytes, n_bytes, made.sha256);
    free(bytes);
    *out = made;
    return PARO_STATUS_OK;
}

void paro_dataset_release(paro_dataset *dataset)
{
    if (dataset == NULL)
        return;
    free(dataset->ids);
    *dataset = (paro_dataset){0};
}
