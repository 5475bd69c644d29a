/* SPDX-License-Identifier: MIT
 *
 * Pairs of channels: at random, by magnitude, or as a butterfly. A task is a group.
 */
#include "calib/pairs.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"

/* Whole matchings drawn for a round before one with empty slots will do. */
enum { MATCHING_ATTEMPTS = 256 };

static const char *const names[] = {
    [PARO_PAIRS_KIND_RANDOM] = "random",
    [PARO_PAIRS_KIND_MAGNITUDE] = "magnitude",
    [PARO_PAIRS_KIND_BUTTERFLY] = "butterfly",
};
enum { N_KINDS = sizeof names / sizeof names[0] };

const char *paro_pairs_kind_name(paro_pairs_kind kind)
{
    return (unsigned)kind < N_KINDS ? names[kind] : "unknown";
}

paro_status paro_pairs_kind_parse(paro_error *err, const char *name, paro_pairs_kind *out)
{
    char all[128] = "";
    for (int i = 0; i < N_KINDS; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (paro_pairs_kind)i;
            return PARO_STATUS_OK;
        }
        size_t length = strlen(all);
        snprintf(all + length, sizeof all - length, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "pairs \"%s\": expected one of %s", name,
                     all);
}

typedef struct ranked_pair {
    float difference; /* of the magnitudes of low and high, which is not below low's */
    uint16_t low, high;
} ranked_pair;

/* Memory of one worker. */
typedef struct pairs_scratch {
    int16_t *partners; /* [krot, group_size] of each channel, itself where it has none */
    int16_t *order;    /* [group_size] channels */
    int16_t *best;     /* [group_size] */
    double *sums;      /* [group_size] MAGNITUDE */
    ranked_pair *heap; /* [group_size] likewise */
    ranked_pair *top;  /* [n_top] */
} pairs_scratch;

typedef struct pairs_task {
    const paro_train_linear *linear;
    paro_pairs_kind kind;
    uint64_t seed;
    size_t n_top;
    pairs_scratch *scratch; /* [n_threads] */
} pairs_task;

static void set_empty(int16_t *pair, int16_t channel)
{
    pair[0] = channel;
    pair[1] = channel;
}

static bool was_paired(const pairs_scratch *s, size_t group_size, size_t round, int a, int b)
{
    for (size_t before = 0; before < round; before++)
        if (s->partners[before * group_size + (size_t)a] == b)
            return true;
    return false;
}

static void swap(int16_t *a, int16_t *b)
{
    int16_t was = *a;
    *a = *b;
    *b = was;
}

/* ---- random ---- */

/* The second channel of slot t gives way to one further on that its first was not paired with. */
static bool mend(pairs_scratch *s, size_t group_size, size_t round, size_t t, paro_rng *rng)
{
    size_t n_left = group_size - (2 * t + 2);
    size_t start = n_left > 0 ? paro_rng_below(rng, n_left) : 0;
    for (size_t k = 0; k < n_left; k++) {
        size_t at = 2 * t + 2 + (start + k) % n_left;
        if (!was_paired(s, group_size, round, s->order[2 * t], s->order[at])) {
            swap(&s->order[2 * t + 1], &s->order[at]);
            return true;
        }
    }
    return false;
}

/* Shuffles order into pairs; the number of those that had to stay empty. */
static size_t draw_matching(pairs_scratch *s, size_t group_size, size_t round, paro_rng *rng)
{
    size_t n_empty = 0;
    for (size_t c = 0; c < group_size; c++)
        s->order[c] = (int16_t)c;
    for (size_t c = group_size - 1; c > 0; c--)
        swap(&s->order[c], &s->order[paro_rng_below(rng, c + 1)]);
    for (size_t t = 0; t < group_size / 2; t++) {
        if (was_paired(s, group_size, round, s->order[2 * t], s->order[2 * t + 1]) &&
            !mend(s, group_size, round, t, rng)) {
            set_empty(&s->order[2 * t], s->order[2 * t]);
            n_empty++;
        }
    }
    return n_empty;
}

static void random_group(const pairs_task *task, size_t group, pairs_scratch *s)
{
    const paro_train_linear *linear = task->linear;
    size_t group_size = linear->group_size;
    paro_rng rng;
    paro_rng_seed(&rng, paro_hash_mix(task->seed) + group);
    for (size_t round = 0; round < linear->krot; round++) {
        size_t fewest = SIZE_MAX;
        int attempts = round < group_size - 1 ? MATCHING_ATTEMPTS : 1;
        for (int i = 0; i < attempts && fewest > 0; i++) {
            size_t n_empty = draw_matching(s, group_size, round, &rng);
            if (n_empty < fewest) {
                memcpy(s->best, s->order, group_size * sizeof *s->best);
                fewest = n_empty;
            }
        }
        int16_t *partners = s->partners + round * group_size;
        for (size_t c = 0; c < group_size; c++)
            partners[c] = (int16_t)c;
        for (size_t t = 0; t < group_size / 2; t++) {
            partners[s->best[2 * t]] = s->best[2 * t + 1];
            partners[s->best[2 * t + 1]] = s->best[2 * t];
        }
        memcpy(linear->pairs + round * linear->n_in + group * group_size, s->best,
               group_size * sizeof *s->best);
    }
}

/* ---- by magnitude ---- */

/* Whether a comes before b. */
static bool ranks_before(const ranked_pair *a, const ranked_pair *b)
{
    if (a->difference != b->difference)
        return a->difference > b->difference;
    return a->low != b->low ? a->low < b->low : a->high < b->high;
}

static void sift_down(ranked_pair *heap, size_t n, size_t at)
{
    for (;;) {
        size_t first = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < n && ranks_before(&heap[child], &heap[first]))
                first = child;
        if (first == at)
            return;
        ranked_pair was = heap[at];
        heap[at] = heap[first];
        heap[first] = was;
        at = first;
    }
}

static int compare_magnitudes(const void *left, const void *right)
{
    const ranked_pair *a = left, *b = right;
    if (a->difference != b->difference)
        return a->difference < b->difference ? -1 : 1;
    return (a->low > b->low) - (a->low < b->low);
}

/* s->top <- the first n_top of all pairs. With channels sorted by magnitude, each one's best
 * partner above it is the last; a heap has the best pair left of every channel. */
static void rank_pairs(const pairs_task *task, size_t group, pairs_scratch *s)
{
    const paro_train_linear *linear = task->linear;
    size_t n = linear->group_size, first = group * n;
    memset(s->sums, 0, n * sizeof *s->sums);
    for (size_t row = 0; row < linear->n_out; row++)
        for (size_t c = 0; c < n; c++)
            s->sums[c] += fabs((double)linear->w[row * linear->n_in + first + c]);
    ranked_pair *channels = s->heap; /* difference is the magnitude, low the channel */
    for (size_t c = 0; c < n; c++) {
        double scale = (double)linear->weight_channel_scales[first + c];
        channels[c] = (ranked_pair){(float)(s->sums[c] / linear->n_out * scale), (uint16_t)c, 0};
    }
    qsort(channels, n, sizeof *channels, compare_magnitudes);
    for (size_t c = 0; c < n; c++) {
        s->order[c] = (int16_t)channels[c].low;
        s->sums[c] = (double)channels[c].difference;
    }
    /* From here on low and high are places in that order. */
    size_t n_heap = n - 1;
    for (size_t c = 0; c < n_heap; c++)
        s->heap[c] =
            (ranked_pair){(float)(s->sums[n - 1] - s->sums[c]), (uint16_t)c, (uint16_t)(n - 1)};
    for (size_t at = n_heap; at-- > 0;)
        sift_down(s->heap, n_heap, at);
    for (size_t k = 0; k < task->n_top; k++) {
        ranked_pair pair = s->heap[0];
        s->top[k] = pair;
        if (--pair.high > pair.low) {
            pair.difference = (float)(s->sums[pair.high] - s->sums[pair.low]);
            s->heap[0] = pair;
        } else {
            s->heap[0] = s->heap[--n_heap];
        }
        sift_down(s->heap, n_heap, 0);
    }
}

static void magnitude_group(const pairs_task *task, size_t group, pairs_scratch *s)
{
    const paro_train_linear *linear = task->linear;
    size_t group_size = linear->group_size, n_left = task->n_top;
    rank_pairs(task, group, s);
    for (size_t round = 0; round < linear->krot; round++) {
        int16_t *pairs = linear->pairs + round * linear->n_in + group * group_size;
        int16_t *is_taken = s->best;
        size_t n_pairs = 0, n_kept = 0;
        memset(is_taken, 0, group_size * sizeof *is_taken);
        for (size_t k = 0; k < n_left; k++) {
            ranked_pair pair = s->top[k];
            if (is_taken[pair.low] || is_taken[pair.high]) {
                s->top[n_kept++] = pair;
                continue;
            }
            is_taken[pair.low] = is_taken[pair.high] = 1;
            pairs[2 * n_pairs] = s->order[pair.low];
            pairs[2 * n_pairs + 1] = s->order[pair.high];
            n_pairs++;
        }
        n_left = n_kept;
        for (size_t c = 0; n_pairs < group_size / 2; c++)
            if (!is_taken[c])
                set_empty(&pairs[2 * n_pairs++], s->order[c]);
    }
}

/* ---- butterfly ---- */

static void butterfly_group(const pairs_task *task, size_t group)
{
    const paro_train_linear *linear = task->linear;
    size_t group_size = linear->group_size, distance = 1;
    for (size_t round = 0; round < linear->krot; round++) {
        int16_t *pairs = linear->pairs + round * linear->n_in + group * group_size;
        size_t n_pairs = 0;
        for (size_t c = 0; c < group_size; c++) {
            if (c & distance)
                continue;
            pairs[2 * n_pairs] = (int16_t)c;
            pairs[2 * n_pairs + 1] = (int16_t)(c ^ distance);
            n_pairs++;
        }
        distance = 2 * distance < group_size ? 2 * distance : 1;
    }
}

static void make_group(void *context, size_t group, int worker)
{
    const pairs_task *task = context;
    if (task->kind == PARO_PAIRS_KIND_BUTTERFLY)
        butterfly_group(task, group);
    else if (task->kind == PARO_PAIRS_KIND_MAGNITUDE)
        magnitude_group(task, group, &task->scratch[worker]);
    else
        random_group(task, group, &task->scratch[worker]);
}

/* ---- memory ---- */

static void scratch_free(pairs_scratch *scratch, size_t n)
{
    for (size_t i = 0; scratch != NULL && i < n; i++) {
        free(scratch[i].partners);
        free(scratch[i].order);
        free(scratch[i].best);
        free(scratch[i].sums);
        free(scratch[i].heap);
        free(scratch[i].top);
    }
    free(scratch);
}

static pairs_scratch *scratch_new(const pairs_task *task, size_t n)
{
    size_t group_size = task->linear->group_size;
    pairs_scratch *scratch = calloc(n, sizeof *scratch);
    bool ok = scratch != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        pairs_scratch *s = &scratch[i];
        s->partners = calloc((size_t)task->linear->krot * group_size, sizeof *s->partners);
        s->order = calloc(group_size, sizeof *s->order);
        s->best = calloc(group_size, sizeof *s->best);
        s->sums = calloc(group_size, sizeof *s->sums);
        s->heap = calloc(group_size, sizeof *s->heap);
        s->top = calloc(task->n_top + 1, sizeof *s->top);
        ok = s->partners != NULL && s->order != NULL && s->best != NULL && s->sums != NULL &&
             s->heap != NULL && s->top != NULL;
    }
    if (ok)
        return scratch;
    scratch_free(scratch, n);
    return NULL;
}

paro_status paro_pairs_make(paro_error *err, paro_pool *pool, paro_train_linear *linear,
                            paro_pairs_kind kind, uint64_t seed)
{
    if ((unsigned)kind >= N_KINDS)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s: pairs %d: there is no such kind",
                         linear->name, (int)kind);
    if (linear->krot == 0)
        return PARO_STATUS_OK;
    size_t group_size = linear->group_size;
    if (kind == PARO_PAIRS_KIND_BUTTERFLY && (group_size & (group_size - 1)) != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: butterfly pairs: expected a group_size that is a power of two, found "
                         "%zu (random pairs take any)",
                         linear->name, group_size);
    pairs_task task = {.linear = linear, .kind = kind, .seed = seed};
    if (kind == PARO_PAIRS_KIND_MAGNITUDE)
        task.n_top = (group_size * (group_size - 1) / 2 + 9) / 10;
    size_t n_workers = (size_t)paro_pool_n_threads(pool);
    task.scratch = scratch_new(&task, n_workers);
    if (task.scratch == NULL)
        return paro_fail_memory(err, n_workers * (group_size + task.n_top) * sizeof(ranked_pair),
                                "pairs");
    paro_pool_run(pool, linear->n_in / group_size, make_group, &task);
    memset(linear->theta, 0, (size_t)linear->krot * (linear->n_in / 2) * sizeof *linear->theta);
    scratch_free(task.scratch, n_workers);
    return PARO_STATUS_OK;
}
