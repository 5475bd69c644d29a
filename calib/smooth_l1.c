/* SPDX-License-Identifier: MIT
 *
 * The loss of a block's output.
 */
#include "calib/block_pass.h"
#include "cpu/train_ops.h"

enum { MAX_PARTS = 256, PART_VALUES = 4096 }; /* a part is a multiple of it */

typedef struct loss {
    const paro_train_ops *ops;
    const float *y, *target;
    float *dy;
    float scale;
    size_t n, part_values;
    double parts[MAX_PARTS];
} loss;

static void loss_task(void *context, size_t i, int worker)
{
    (void)worker;
    loss *l = context;
    size_t first = i * l->part_values;
    size_t n = l->n - first < l->part_values ? l->n - first : l->part_values;
    l->parts[i] = l->ops->smooth_l1(l->y + first, l->target + first, n, l->scale,
                                    l->dy == NULL ? NULL : l->dy + first);
}

double paro_smooth_l1(paro_pool *pool, const float *y, const float *target, size_t n, float scale,
                      float *dy)
{
    loss l = {.ops = paro_train_ops_best(), .y = y, .target = target, .dy = dy, .n = n};
    l.scale = (float)((double)scale / (double)n);
    l.part_values = (n / MAX_PARTS / PART_VALUES + 1) * PART_VALUES;
    size_t n_parts = (n + l.part_values - 1) / l.part_values;
    paro_pool_run(pool, n_parts, loss_task, &l);
    double sum = 0;
    for (size_t i = 0; i < n_parts; i++)
        sum += l.parts[i];
    return sum / (double)n;
}
