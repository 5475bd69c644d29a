/* SPDX-License-Identifier: MIT
 *
 * Round to nearest: every group by itself, no data, no search.
 */
#include "base/dtype.h"
#include "base/reference.h"
#include "calib/method.h"

typedef struct rtn_task {
    const float *w;
    const paro_quantised *out;
} rtn_task;

static void quantise_row(void *context, size_t row, int worker)
{
    (void)worker;
    const rtn_task *task = context;
    const paro_quantised *q = task->out;
    size_t n_groups = q->n_in / q->group_size;
    paro_ref_quantise_f32(task->w + row * q->n_in, 1, q->n_in, q->group_size, q->bits,
                          paro_f32_through_f16, q->codes + row * q->n_in,
                          q->scales + row * n_groups, q->zeros + row * n_groups);
}

paro_status paro_rtn_quantise(paro_error *err, paro_pool *pool, const float *w,
                              paro_quantised *quantised)
{
    rtn_task task = {w, quantised};
    paro_pool_run(pool, quantised->n_out, quantise_row, &task);
    return paro_quantised_check_scales(err, quantised);
}
