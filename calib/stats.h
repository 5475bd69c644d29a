/* SPDX-License-Identifier: MIT
 *
 * Statistics of a matrix whose columns are channels: of a weight [n_out, n_in] or of activations
 * [rows, n]; what recipes choose by and reports show.
 *
 * Rows are looked at once and may come in parts: the results are the same as for all at once, and
 * do not depend on the number of threads. Values that are not finite are counted and left out.
 */
#ifndef PARO_CALIB_STATS_H
#define PARO_CALIB_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"

typedef struct paro_stats paro_stats;

/* Without a finite value all but the counts is 0. Kurtosis is the fourth central moment over the
 * square of the second: 3 for a normal distribution, more where few values are far out. */
typedef struct paro_stats_summary {
    uint64_t n_values; /* finite ones */
    uint64_t n_not_finite;
    double min, max;
    double mean;
    double rms;
    double kurtosis;       /* of all values together: outlying channels count too */
    double kurtosis_mean;  /* of each channel by itself; those that do not vary are left out */
    double kurtosis_max;   /* the largest of these */
    size_t kurtosis_where; /* its channel */
    double outliers;       /* share of values with |v| >= 6 rms; 6 rms is rounded to BF16 */
} paro_stats_summary;

/* For n_channels; `pool` (may be NULL) must outlive it. */
paro_status paro_stats_new(paro_error *err, paro_pool *pool, size_t n_channels, paro_stats **out);
void paro_stats_free(paro_stats *stats);

/* Adds values [n_rows, n_channels]. */
void paro_stats_add(paro_stats *stats, const float *values, size_t n_rows);

void paro_stats_summarise(const paro_stats *stats, paro_stats_summary *out);

/* [n_channels] mean |v| of every channel; 0 without a finite value. */
void paro_stats_mean_abs(const paro_stats *stats, float *out);

#endif
