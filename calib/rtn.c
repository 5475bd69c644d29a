/* SPDX-License-Identifier: MIT
 *
 * Round to nearest: every group by itself, no data, no search.
 */
#include <math.h>

#include "base/dtype.h"
#include "base/reference.h"
#include "calib/method.h"

typedef struct rtn_task {
    const float *w;
    const paro_quantised *out;
} rtn_task;

static float round_to_f16(float value)
{
    return paro_f32_from_f16(paro_f16_from_f32(value));
}

static void quantise_row(void *context, size_t row, int worker)
{
    (void)worker;
    const rtn_task *task = context;
    const paro_quantised *q = task->out;
    size_t n_groups = q->n_in / q->group_size;
    paro_ref_quantise_f32(task->w + row * q->n_in, 1, q->n_in, q->group_size, q->bits, round_to_f16,
                          q->codes + row * q->n_in, q->scales + row * n_groups,
                          q->zeros + row * n_groups);
}

paro_status paro_rtn_quantise(paro_error *err, paro_pool *pool, const float *w,
                              paro_quantised *quantised)
{
    rtn_task task = {w, quantised};
    paro_pool_run(pool, quantised->n_out, quantise_row, &task);
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
