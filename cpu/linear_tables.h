/* SPDX-License-Identifier: MIT
 *
 * What paro_linear_prepare computes, and the forward product with chosen kernels; for linear*.c,
 * tests and benchmarks.
 */
#ifndef PARO_CPU_LINEAR_TABLES_H
#define PARO_CPU_LINEAR_TABLES_H

#include "cpu/cpu_kernels.h"
#include "cpu/linear.h"

/* One turn of two channels of a group. An empty slot of one channel has cosine 1 and sine 0. */
typedef struct paro_turn {
    float cosine;
    float sine;
    uint16_t i; /* within the group */
    uint16_t j;
} paro_turn;

/* Copies, not views: a file that changes after it was checked must not lead outside an array. */
struct paro_linear_tables {
    paro_w4 w4;            /* W4 only; views of the mapped tensors, any bits are valid there */
    float *channel_scales; /* [n_in]; NULL where there are none */
    paro_turn *turns;      /* [n_groups][krot][group_size / 2]; NULL where krot is 0 */
};

void paro_linear_tables_free(paro_linear_tables *tables);

/* x [group_size] <- R(x) for the group, and x <- R^-1(x). */
void paro_linear_rotate(const paro_linear *linear, const paro_linear_tables *tables, size_t group,
                        float *x);
void paro_linear_unrotate(const paro_linear *linear, const paro_linear_tables *tables, size_t group,
                          float *x);

/* As paro_linear_forward, with these kernels. */
paro_status paro_linear_forward_with(paro_error *err, paro_linear *linear, paro_pool *pool,
                                     const paro_cpu_kernels *kernels, const float *x, size_t m,
                                     float *y);

#endif
