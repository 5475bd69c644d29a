/* SPDX-License-Identifier: MIT
 *
 * What can be done to a linear: a table of methods, and what they produce.
 */
#ifndef PARO_CALIB_METHOD_H
#define PARO_CALIB_METHOD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/thread.h"

/* A quantised matrix. Every scale is exactly representable in F16, so that this and what is read
 * back from a file are the same numbers. */
typedef struct paro_quantised {
    uint32_t n_out;
    uint32_t n_in;
    uint32_t bits;
    uint32_t group_size; /* divides n_in */
    uint8_t *codes;      /* [n_out, n_in] */
    uint8_t *zeros;      /* [n_out, n_in / group_size] */
    float *scales;       /* [n_out, n_in / group_size] */
} paro_quantised;

/* Allocates for the sizes given in it. */
paro_status paro_quantised_alloc(paro_error *err, paro_quantised *quantised);
void paro_quantised_release(paro_quantised *quantised); /* NULL and zeroed are fine */

/* PARO_STATUS_UNSUPPORTED, with row and group, where a scale became infinite in F16. */
paro_status paro_quantised_check_scales(paro_error *err, const paro_quantised *quantised);

/* |W' - W| / |W| (Frobenius) of what it stands for against w [n_out, n_in]; 0 where |W| is 0.
 * row_sums [2 * n_out] is scratch memory. */
double paro_quantised_error(const paro_quantised *quantised, paro_pool *pool, const float *w,
                            double *row_sums);

/* Fills `quantised` (allocated) from w [n_out, n_in], all finite. */
typedef paro_status paro_method_fn(paro_error *err, paro_pool *pool, const float *w,
                                   paro_quantised *quantised);

typedef struct paro_method {
    const char *name;
    paro_method_fn *quantise; /* NULL: the linear stays as it is */
} paro_method;

/* The n-th method, or NULL past the last. */
const paro_method *paro_method_get(size_t n);

/* NULL where there is none. */
const paro_method *paro_method_find(const char *name);

/* rtn.c: round to nearest, by base/reference.h's rule with scales rounded to F16. */
paro_method_fn paro_rtn_quantise;

#endif
