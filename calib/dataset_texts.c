/* SPDX-License-Identifier: MIT
 *
 * A dataset from texts: read into ids, these cut into samples, of which some are drawn.
 */
#include "calib/dataset.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "calib/text_reader.h"

enum {
    /* Of a source no more ids are looked at than these, or, where more are needed, so many times
     * what it owes: enough to draw from, whatever the size of the file. */
    SOURCE_MAX_IDS = 4 << 20,
    SOURCE_MAX_SHARE = 4
};

/* What becomes of a source. */
typedef struct pool {
    const paro_text_source *source;
    size_t n_train, n_validation; /* samples that it owes */
    int32_t *ids;
    size_t n_ids, capacity;
} pool;

typedef struct packer {
    const paro_tokenizer *tokenizer;
    const paro_dataset_options *options;
    uint32_t vocab; /* the model's */
    pool *pools;    /* [options->n_sources] */
} packer;

static const char *field_of(const paro_text_source *source)
{
    static const char ending[] = ".jsonl";
    const size_t n = strlen(source->path), n_ending = sizeof ending - 1;
    if (n < n_ending || strcmp(source->path + n - n_ending, ending) != 0)
        return NULL;
    return source->field == NULL ? "text" : source->field;
}

static double weight_of(const paro_text_source *source)
{
    return source->weight == 0 ? 1 : source->weight;
}

/* Whether two sources are the same text: the same file, whatever its name, and the same member. */
static bool is_same_text(const paro_text_source *a, const paro_text_source *b)
{
    struct stat x, y;
    const char *fields[2] = {field_of(a), field_of(b)};
    if (fields[0] != NULL && fields[1] != NULL && strcmp(fields[0], fields[1]) != 0)
        return false;
    return stat(a->path, &x) == 0 && stat(b->path, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

static paro_status check_sources(paro_error *err, const paro_dataset_options *options)
{
    bool has_training = false;
    for (size_t i = 0; i < options->n_sources; i++) {
        const paro_text_source *source = &options->sources[i];
        if (!(source->weight >= 0 && isfinite(source->weight)))
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "%s: weight: expected a number above 0 (or 0 for 1), found %g",
                             source->path, source->weight);
        has_training = has_training || !source->validation;
        for (size_t k = 0; k < i; k++)
            if (is_same_text(source, &options->sources[k]))
                return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                                 "%s: given twice (also as %s): the same sample could be "
                                 "drawn twice, for training and for validation; give it once",
                                 source->path, options->sources[k].path);
    }
    if (!has_training)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "expected at least one text to train on, found %s",
                         options->n_sources == 0 ? "none" : "texts for validation only");
    return PARO_STATUS_OK;
}

/* The source's part of n samples: whole numbers in proportion to the weights of those sources that
 * are `validation`; what is left over goes to the largest fractions, the first on a tie. Adds to
 * n_validation or n_train. */
static void share_out(packer *p, bool from_validation, size_t n, bool as_validation)
{
    double sum = 0;
    size_t n_left = n;
    for (size_t i = 0; i < p->options->n_sources; i++)
        if (p->pools[i].source->validation == from_validation)
            sum += weight_of(p->pools[i].source);
    for (size_t i = 0; i < p->options->n_sources; i++) {
        pool *one = &p->pools[i];
        if (one->source->validation != from_validation)
            continue;
        size_t part = (size_t)((double)n * (weight_of(one->source) / sum));
        part = part > n_left ? n_left : part;
        n_left -= part;
        *(as_validation ? &one->n_validation : &one->n_train) = part;
    }
    for (; n_left > 0; n_left--) {
        size_t *best = NULL;
        double most = 0;
        for (size_t i = 0; i < p->options->n_sources; i++) {
            pool *one = &p->pools[i];
            size_t *owed = as_validation ? &one->n_validation : &one->n_train;
            const double missing = (double)n * (weight_of(one->source) / sum) - (double)*owed;
            if (one->source->validation == from_validation && (best == NULL || missing > most)) {
                best = owed;
                most = missing;
            }
        }
        ++*best;
    }
}

static paro_status add_ids(paro_error *err, const packer *p, pool *one, const int32_t *ids,
                           size_t n_ids)
{
    for (size_t i = 0; i < n_ids; i++)
        if ((uint32_t)ids[i] >= p->vocab)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "%s: has the id %d, but the model's vocabulary is %u: the tokenizer "
                             "is another model's",
                             one->source->path, ids[i], p->vocab);
    if (n_ids > one->capacity - one->n_ids) {
        size_t capacity = one->capacity * 2;
        if (capacity < one->n_ids + n_ids)
            capacity = one->n_ids + n_ids;
        int32_t *grown = realloc(one->ids, capacity * sizeof *grown);
        if (grown == NULL)
            return paro_fail_memory(err, capacity * sizeof *grown, one->source->path);
        one->ids = grown;
        one->capacity = capacity;
    }
    if (n_ids > 0)
        memcpy(one->ids + one->n_ids, ids, n_ids * sizeof *ids);
    one->n_ids += n_ids;
    return PARO_STATUS_OK;
}

/* The next piece into the pool; *done where there is none. */
static paro_status read_piece(paro_error *err, const packer *p, paro_text_reader *reader, pool *one,
                              bool *done)
{
    const char *text;
    size_t n_bytes, n_ids = 0;
    int32_t *ids = NULL;
    paro_status status = paro_text_reader_next(err, reader, &text, &n_bytes);
    if (status == PARO_STATUS_OK && text == NULL)
        *done = true;
    if (status != PARO_STATUS_OK || text == NULL)
        return status;
    status = paro_tokenizer_encode(err, p->tokenizer, text, n_bytes, NULL, &ids, &n_ids);
    if (status != PARO_STATUS_OK)
        return paro_fail_in(err, status, "%s", reader->path);
    status = add_ids(err, p, one, ids, n_ids);
    free(ids);
    return status;
}

static paro_status read_source(paro_error *err, const packer *p, pool *one)
{
    const char *path = one->source->path;
    const size_t n_owed = (one->n_train + one->n_validation) * p->options->n_tokens;
    const size_t most =
        n_owed > SOURCE_MAX_IDS / SOURCE_MAX_SHARE ? n_owed * SOURCE_MAX_SHARE : SOURCE_MAX_IDS;
    char stage[128];
    paro_mapping file = {0};
    paro_text_reader reader = {0};
    bool done = false;
    if (n_owed == 0)
        return PARO_STATUS_OK;
    snprintf(stage, sizeof stage, "read %s", paro_path_base(path));
    paro_status status = paro_mapping_open(err, path, &file);
    if (status == PARO_STATUS_OK)
        status = paro_text_reader_init(err, path, field_of(one->source), (const char *)file.data,
                                       file.n_bytes, &reader);
    /* Lines are short: what was read is reported a piece's length at a time. */
    for (size_t next_report = 0; status == PARO_STATUS_OK && !done && one->n_ids < most;) {
        status = read_piece(err, p, &reader, one, &done);
        if (status == PARO_STATUS_OK && (reader.at >= next_report || done)) {
            status = paro_report(err, p->options->observer, stage, reader.at, file.n_bytes);
            next_report = reader.at + PARO_TEXT_PIECE_BYTES;
        }
    }
    if (status == PARO_STATUS_OK && reader.is_damaged)
        paro_log(p->options->observer, PARO_LOG_LEVEL_WARNING,
                 "%s: not UTF-8 at byte %zu: what is not is read as U+FFFD", path,
                 reader.damage_at);
    if (status == PARO_STATUS_OK && !done && reader.at < file.n_bytes)
        paro_log(p->options->observer, PARO_LOG_LEVEL_INFO,
                 "%s: samples come from the first %zu of its %zu bytes: %zu tokens are enough",
                 path, reader.at, file.n_bytes, one->n_ids);
    paro_text_reader_release(&reader);
    paro_mapping_close(&file);
    return status;
}

static size_t n_samples_of(const packer *p, const pool *one)
{
    return one->n_ids / p->options->n_tokens;
}

/* Names all sources, so that one reading tells what to do. */
static paro_status check_enough(paro_error *err, const packer *p)
{
    const paro_dataset_options *options = p->options;
    paro_buffer list = {0};
    bool is_enough = true, has_memory = true;
    for (size_t i = 0; i < options->n_sources; i++) {
        const pool *one = &p->pools[i];
        const size_t n_owed = one->n_train + one->n_validation;
        if (n_owed == 0)
            continue;
        is_enough = is_enough && n_samples_of(p, one) >= n_owed;
        has_memory =
            has_memory &&
            paro_buffer_printf(&list, "%s%s: %zu needed, %zu found", list.n_bytes == 0 ? "" : "; ",
                               one->source->path, n_owed * options->n_tokens, one->n_ids);
    }
    paro_status status = PARO_STATUS_OK;
    if (!has_memory)
        status = paro_fail_memory(err, list.n_bytes, "a list of texts");
    else if (!is_enough)
        status = paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                           "too few tokens for %zu + %zu samples of %zu: give more text, other "
                           "weights, or ask for fewer or shorter samples (%s)",
                           options->n_train, options->n_validation, options->n_tokens, list.data);
    paro_buffer_free(&list);
    return status;
}

/* Draws the pool's samples without putting any back: those of validation first, so that they stay
 * the same whatever n_train. `train` and `validation` receive the places of their ids. */
static paro_status draw(paro_error *err, const packer *p, const pool *one, paro_rng *rng,
                        const int32_t **train, const int32_t **validation)
{
    const size_t n = n_samples_of(p, one), n_owed = one->n_train + one->n_validation;
    size_t *order = malloc((n > 0 ? n : 1) * sizeof *order);
    if (order == NULL)
        return paro_fail_memory(err, n * sizeof *order, "an order of samples");
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    for (size_t i = 0; i < n_owed; i++) {
        const size_t k = i + (size_t)paro_rng_below(rng, n - i), sample = order[k];
        order[k] = order[i];
        const int32_t *ids = one->ids + sample * p->options->n_tokens;
        if (i < one->n_validation)
            validation[i] = ids;
        else
            train[i - one->n_validation] = ids;
    }
    free(order);
    return PARO_STATUS_OK;
}

static void shuffle(paro_rng *rng, const int32_t **rows, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        const size_t k = (size_t)paro_rng_below(rng, i);
        const int32_t *row = rows[k];
        rows[k] = rows[i - 1];
        rows[i - 1] = row;
    }
}

/* The samples of all pools, those of training mixed. */
static paro_status pack(paro_error *err, const packer *p, paro_dataset *out)
{
    const paro_dataset_options *options = p->options;
    const size_t n = options->n_train + options->n_validation, n_tokens = options->n_tokens;
    const uint64_t seed = paro_hash_mix(options->seed);
    size_t n_train = 0, n_validation = options->n_train;
    paro_rng rng;
    paro_status status = PARO_STATUS_OK;
    const int32_t **rows = calloc(n, sizeof *rows);
    int32_t *ids = malloc(n * n_tokens * sizeof *ids);
    if (rows == NULL || ids == NULL)
        status = paro_fail_memory(err, n * n_tokens * sizeof *ids, "samples");
    for (size_t i = 0; i < options->n_sources && status == PARO_STATUS_OK; i++) {
        const pool *one = &p->pools[i];
        paro_rng_seed(&rng, seed + 1 + i);
        status = draw(err, p, one, &rng, rows + n_train, rows + n_validation);
        n_train += one->n_train;
        n_validation += one->n_validation;
    }
    if (status == PARO_STATUS_OK) {
        paro_rng_seed(&rng, seed);
        shuffle(&rng, rows, n_train);
        for (size_t i = 0; i < n; i++)
            memcpy(ids + i * n_tokens, rows[i], n_tokens * sizeof *ids);
        status = paro_dataset_finish(err, options, ids, out);
    }
    if (status != PARO_STATUS_OK)
        free(ids);
    free(rows);
    return status;
}

paro_status paro_dataset_from_texts(paro_error *err, const paro_model *model,
                                    const paro_tokenizer *tokenizer,
                                    const paro_dataset_options *options, paro_dataset *out)
{
    paro_model_info info;
    paro_model_get_info(model, &info);
    packer p = {.tokenizer = tokenizer, .options = options, .vocab = info.vocab};
    paro_status status = paro_dataset_check(err, model, options);
    if (status == PARO_STATUS_OK)
        status = check_sources(err, options);
    if (status != PARO_STATUS_OK)
        return status;
    p.pools = calloc(options->n_sources, sizeof *p.pools);
    if (p.pools == NULL)
        return paro_fail_memory(err, options->n_sources * sizeof *p.pools, "sources of text");
    bool has_validation = false;
    for (size_t i = 0; i < options->n_sources; i++) {
        p.pools[i].source = &options->sources[i];
        has_validation = has_validation || options->sources[i].validation;
    }
    share_out(&p, false, options->n_train, false);
    share_out(&p, has_validation, options->n_validation, true);
    for (size_t i = 0; i < options->n_sources && status == PARO_STATUS_OK; i++)
        status = read_source(err, &p, &p.pools[i]);
    if (status == PARO_STATUS_OK)
        status = check_enough(err, &p);
    if (status == PARO_STATUS_OK)
        status = pack(err, &p, out);
    for (size_t i = 0; i < options->n_sources; i++)
        free(p.pools[i].ids);
    free(p.pools);
    return status;
}
