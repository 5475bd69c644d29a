/* SPDX-License-Identifier: MIT
 *
 * The table of methods, and quantised matrices.
 */
#include "calib/method.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const paro_method methods[] = {
    {"keep", NULL},
    {"rtn", paro_rtn_quantise},
};

const paro_method *paro_method_get(size_t n)
{
    return n < sizeof methods / sizeof methods[0] ? &methods[n] : NULL;
}

const paro_method *paro_method_find(const char *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    }
    return NULL;
}

paro_status paro_quantised_alloc(paro_error *err, paro_quantised *quantised)
{
    size_t n_values = (size_t)quantised->n_out * quantised->n_in;
    size_t n_scales = n_values / quantised->group_size;
    quantised->codes = malloc(n_values);
    quantised->zeros = malloc(n_scales);
    quantised->scales = malloc(n_scales * sizeof *quantised->scales);
    if (quantised->codes == NULL || quantised->zeros == NULL || quantised->scales == NULL) {
        paro_quantised_release(quantised);
        return paro_fail_memory(err, n_values + 5 * n_scales, "a quantised matrix");
    }
    return PARO_STATUS_OK;
}

void paro_quantised_release(paro_quantised *quantised)
{
    if (quantised == NULL)
        return;
    free(quantised->codes);
    free(quantised->zeros);
    free(quantised->scales);
    quantised->codes = NULL;
    quantised->zeros = NULL;
    quantised->scales = NULL;
}

paro_status paro_quantised_check_scales(paro_error *err, const paro_quantised *quantised)
{
    size_t n_groups = quantised->n_in / quantised->group_size;
    for (size_t i = 0; i < quantised->n_out * n_groups; i++) {
        if (!isfinite(quantised->scales[i]))
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "row %zu, group %zu: expected weights whose scale fits F16 (at most "
                             "65504), found a range too wide",
                             i / n_groups, i % n_groups);
    }
    return PARO_STATUS_OK;
}

typedef struct error_task {
    const paro_quantised *quantised;
    const float *w;
    double *sums; /* [n_out][2]: squares of the difference, squares of w */
} error_task;

static void sum_row(void *context, size_t row, int worker)
{
    (void)worker;
    const error_task *task = context;
    const paro_quantised *q = task->quantised;
    size_t n_groups = q->n_in / q->group_size;
    double difference = 0;
    double size = 0;
    for (size_t group = 0; group < n_groups; group++) {
        float scale = q->scales[row * n_groups + group];
        int zero = q->zeros[row * n_groups + group];
        size_t first = row * q->n_in + group * q->group_size;
        for (size_t i = first; i < first + q->group_size; i++) {
            double w = (double)task->w[i];
            double d = (double)((float)(q->codes[i] - zero) * scale) - w;
            difference += d * d;
            size += w * w;
        }
    }
    task->sums[2 * row] = difference;
    task->sums[2 * row + 1] = size;
}

double paro_quantised_error(const paro_quantised *quantised, paro_pool *pool, const float *w,
                            double *row_sums)
{
    error_task task = {quantised, w, row_sums};
    paro_pool_run(pool, quantised->n_out, sum_row, &task);
    double difference = 0;
    double size = 0;
    for (size_t row = 0; row < quantised->n_out; row++) {
        difference += row_sums[2 * row];
        size += row_sums[2 * row + 1];
    }
    return size > 0 ? sqrt(difference / size) : 0;
}
