/* SPDX-License-Identifier: MIT
 *
 * Which of the tables of training's operations this machine can run.
 */
#include "cpu/train_ops.h"

#include "cpu/cpu_kernels.h"

const paro_train_ops *paro_train_ops_get(size_t n)
{
    const paro_train_ops *tables[] = {
        paro_cpu_kernels_find("avx2") ? paro_train_ops_avx2() : NULL,
        paro_train_ops_generic(),
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (tables[i] && n-- == 0)
            return tables[i];
    return NULL;
}

const paro_train_ops *paro_train_ops_best(void)
{
    return paro_train_ops_get(0);
}
