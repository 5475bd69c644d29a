/* SPDX-License-Identifier: MIT
 *
 * Sums of powers for every channel, and a histogram of magnitudes.
 *
 * Invariants: 1. a channel's sums are formed by one task, in the order of rows; 2. powers are of
 * the distance to the channel's first finite value (its pivot), so that a mean far from 0 costs no
 * digits; 3. bin b counts the finite values whose magnitude begins with the bits b: sign cut off,
 * the upper half of an fp32, which is a BF16.
 */
#include "calib/stats.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"

enum {
    BLOCK_CHANNELS = 32, /* of a task: two cache lines of a row */
    N_BINS = 1 << 15,
    FIRST_BIN_NOT_FINITE = 0x7F80
};

/* Channels that one task goes through. */
typedef struct block {
    bool has_pivot[BLOCK_CHANNELS];
    float pivot[BLOCK_CHANNELS];
    float min[BLOCK_CHANNELS], max[BLOCK_CHANNELS];
    double n[BLOCK_CHANNELS];
    double sums[4][BLOCK_CHANNELS]; /* of the distance's powers 1 to 4 */
    double sum_abs[BLOCK_CHANNELS], squares[BLOCK_CHANNELS];
} block;

struct paro_stats {
    paro_pool *pool;
    size_t n_channels, n_blocks;
    uint64_t n_rows;
    block *blocks;  /* [n_blocks] */
    uint64_t *bins; /* [n_threads, N_BINS] counted by each worker */
};

/* Distances to the mean: sums of powers 2 to 4. */
typedef struct moments {
    double n, mean, m2, m3, m4;
} moments;

typedef struct addition {
    paro_stats *stats;
    const float *values;
    size_t n_rows;
} addition;

static size_t channels_of(const paro_stats *stats, size_t i)
{
    const size_t n_left = stats->n_channels - i * BLOCK_CHANNELS;
    return n_left < BLOCK_CHANNELS ? n_left : BLOCK_CHANNELS;
}

static void count_row(uint64_t *bins, const float *row, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        uint32_t bits;
        memcpy(&bits, row + c, sizeof bits);
        bins[(bits >> 16) & (N_BINS - 1)]++;
    }
}

static void find_pivots(block *b, const float *row, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        if (b->has_pivot[c] || !isfinite(row[c]))
            continue;
        b->has_pivot[c] = true;
        b->pivot[c] = b->min[c] = b->max[c] = row[c];
    }
}

static void add_row(block *b, const float *row, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        const bool ok = fabsf(row[c]) < INFINITY;
        const float v = ok ? row[c] : b->pivot[c];
        const double d = (double)v - (double)b->pivot[c], d2 = d * d;
        b->n[c] += ok ? 1 : 0;
        b->min[c] = v < b->min[c] ? v : b->min[c];
        b->max[c] = v > b->max[c] ? v : b->max[c];
        b->sums[0][c] += d;
        b->sums[1][c] += d2;
        b->sums[2][c] += d2 * d;
        b->sums[3][c] += d2 * d2;
        b->sum_abs[c] += ok ? fabs((double)v) : 0;
        b->squares[c] += ok ? (double)v * (double)v : 0;
    }
}

static void add_task(void *context, size_t i, int worker)
{
    const addition *a = context;
    block *b = &a->stats->blocks[i];
    uint64_t *bins = a->stats->bins + (size_t)worker * N_BINS;
    const size_t n = channels_of(a->stats, i);
    bool is_complete = false;
    for (size_t r = 0; r < a->n_rows; r++) {
        const float *row = a->values + r * a->stats->n_channels + i * BLOCK_CHANNELS;
        if (!is_complete) {
            find_pivots(b, row, n);
            is_complete = memchr(b->has_pivot, false, n) == NULL;
        }
        count_row(bins, row, n);
        add_row(b, row, n);
    }
}

paro_status paro_stats_new(paro_error *err, paro_pool *pool, size_t n_channels, paro_stats **out)
{
    if (n_channels == 0 || n_channels > UINT32_MAX)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "channels: expected 1 to %u, found %zu",
                         UINT32_MAX, n_channels);
    const size_t n_blocks = (n_channels + BLOCK_CHANNELS - 1) / BLOCK_CHANNELS;
    const size_t n_bins = (size_t)paro_pool_n_threads(pool) * N_BINS;
    paro_stats *stats = calloc(1, sizeof *stats);
    if (stats == NULL)
        return paro_fail_memory(err, sizeof *stats, "statistics");
    *stats = (paro_stats){.pool = pool,
                          .n_channels = n_channels,
                          .n_blocks = n_blocks,
                          .blocks = calloc(n_blocks, sizeof *stats->blocks),
                          .bins = calloc(n_bins, sizeof *stats->bins)};
    if (stats->blocks == NULL || stats->bins == NULL) {
        paro_stats_free(stats);
        return paro_fail_memory(
            err, n_blocks * sizeof *stats->blocks + n_bins * sizeof *stats->bins, "statistics");
    }
    *out = stats;
    return PARO_STATUS_OK;
}

void paro_stats_free(paro_stats *stats)
{
    if (stats == NULL)
        return;
    free(stats->blocks);
    free(stats->bins);
    free(stats);
}

void paro_stats_add(paro_stats *stats, const float *values, size_t n_rows)
{
    addition a = {.stats = stats, .values = values, .n_rows = n_rows};
    paro_pool_run(stats->pool, stats->n_blocks, add_task, &a);
    stats->n_rows += n_rows;
}

static moments channel_moments(const block *b, size_t c)
{
    moments m = {.n = b->n[c]};
    if (m.n == 0)
        return m;
    const double mean = b->sums[0][c] / m.n; /* of the distance to the pivot */
    const double s2 = b->sums[1][c], s3 = b->sums[2][c], s4 = b->sums[3][c];
    m.mean = (double)b->pivot[c] + mean;
    m.m2 = s2 - m.n * mean * mean;
    m.m3 = s3 - 3 * mean * s2 + 2 * m.n * mean * mean * mean;
    m.m4 = s4 - 4 * mean * s3 + 6 * mean * mean * s2 - 3 * m.n * mean * mean * mean * mean;
    if (b->min[c] == b->max[c] || m.m2 < 0) /* what rounding left of nothing */
        m.m2 = m.m3 = m.m4 = 0;
    return m;
}

/* The channel's powers about another mean, added to `all`. */
static void add_about(moments *all, const moments *m)
{
    const double d = m->mean - all->mean;
    all->m2 += m->m2 + m->n * d * d;
    all->m4 += m->m4 + 4 * d * m->m3 + 6 * d * d * m->m2 + m->n * d * d * d * d;
}

static double kurtosis(const moments *m)
{
    return m->m2 > 0 ? m->n * m->m4 / (m->m2 * m->m2) : 0;
}

/* Finite values with a magnitude of at least `limit`, rounded to BF16. */
static uint64_t count_from(const paro_stats *stats, double limit)
{
    uint64_t n = 0;
    const size_t first = paro_bf16_from_f32((float)limit);
    for (int worker = 0; worker < paro_pool_n_threads(stats->pool); worker++)
        for (size_t bin = first; bin < FIRST_BIN_NOT_FINITE; bin++)
            n += stats->bins[(size_t)worker * N_BINS + bin];
    return n;
}

void paro_stats_summarise(const paro_stats *stats, paro_stats_summary *out)
{
    paro_stats_summary s = {.min = INFINITY, .max = -INFINITY};
    moments all = {0};
    double squares = 0;
    size_t n_varying = 0;
    for (size_t i = 0; i < stats->n_channels; i++) {
        const block *b = &stats->blocks[i / BLOCK_CHANNELS];
        const size_t c = i % BLOCK_CHANNELS;
        const moments m = channel_moments(b, c);
        all.n += m.n;
        all.mean += m.n * m.mean;
        squares += b->squares[c];
        if (m.n > 0) {
            s.min = fmin(s.min, (double)b->min[c]);
            s.max = fmax(s.max, (double)b->max[c]);
        }
        if (m.m2 > 0) {
            const double k = kurtosis(&m);
            n_varying++;
            s.kurtosis_mean += k;
            if (k > s.kurtosis_max) {
                s.kurtosis_max = k;
                s.kurtosis_where = i;
            }
        }
    }
    s.n_values = (uint64_t)all.n;
    s.n_not_finite = stats->n_rows * stats->n_channels - s.n_values;
    if (s.n_values == 0) {
        *out = (paro_stats_summary){.n_not_finite = s.n_not_finite};
        return;
    }
    all.mean /= all.n;
    for (size_t i = 0; i < stats->n_channels; i++) {
        const moments m = channel_moments(&stats->blocks[i / BLOCK_CHANNELS], i % BLOCK_CHANNELS);
        add_about(&all, &m);
    }
    s.mean = all.mean;
    s.rms = sqrt(squares / all.n);
    s.kurtosis = s.min == s.max ? 0 : kurtosis(&all);
    s.kurtosis_mean = n_varying == 0 ? 0 : s.kurtosis_mean / (double)n_varying;
    if (s.rms > 0)
        s.outliers = (double)count_from(stats, 6 * s.rms) / all.n;
    *out = s;
}

void paro_stats_mean_abs(const paro_stats *stats, float *out)
{
    for (size_t i = 0; i < stats->n_channels; i++) {
        const block *b = &stats->blocks[i / BLOCK_CHANNELS];
        const size_t c = i % BLOCK_CHANNELS;
        out[i] = b->n[c] > 0 ? (float)(b->sum_abs[c] / b->n[c]) : 0;
    }
}
