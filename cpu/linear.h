/* SPDX-License-Identifier: MIT
 *
 * One linear layer on the CPU: y = x W^T + bias, from the weights as they are stored.
 *
 * Invariants: 1. the weight tensors stay where the checkpoint has them (mapped); 2. nothing of them
 * is read before paro_linear_prepare, which runs once and checks everything the format promises; 3.
 * the result of a row of x does not depend on the number of threads.
 */
#ifndef PARO_CPU_LINEAR_H
#define PARO_CPU_LINEAR_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/safetensors.h"
#include "base/thread.h"

typedef enum paro_linear_kind {
    PARO_LINEAR_KIND_DENSE, /* weight [n_out, n_in], F32, F16 or BF16 */
    PARO_LINEAR_KIND_W4     /* packed as base/pack.h says; rotated where krot > 0 */
} paro_linear_kind;

/* What prepare computes: tables of sines, cosines and channels. */
typedef struct paro_linear_tables paro_linear_tables;

typedef struct paro_linear {
    const char *name; /* tensor names are "NAME.weight", "NAME.qweight", … */
    paro_linear_kind kind;
    uint32_t n_in;
    uint32_t n_out;
    const paro_tensor *bias; /* [n_out] F32, F16 or BF16; NULL where there is none */

    const paro_tensor *weight; /* DENSE */

    uint32_t group_size; /* W4: as config.json promises */
    uint32_t krot;       /* W4: rotation rounds; 0 for AWQ (or a ParoQuant file that says so) */
    const paro_tensor *qweight;
    const paro_tensor *qzeros;
    const paro_tensor *scales;
    const paro_tensor *theta; /* NULL for AWQ; also pairs, channel_scales */
    const paro_tensor *pairs;
    const paro_tensor *channel_scales;

    _Atomic(paro_linear_tables *) tables; /* NULL until prepared; owned */
} paro_linear;

/* Checks shapes, dtypes, and for W4: scales and channel_scales finite and not zero, angles finite,
 * pairs in range and disjoint in every round (a slot of one channel twice with angle 0 is empty).
 * Errors are PARO_STATUS_FORMAT and name file, tensor, round and channel (for scales group and
 * column). Cheap after the first time; any thread may call it. */
paro_status paro_linear_prepare(paro_error *err, paro_linear *linear);

/* Frees what prepare made; the struct and its tensors are the caller's. */
void paro_linear_release(paro_linear *linear);

/* y [m, n_out] = x [m, n_in] W^T + bias. Prepares if need be. x and y do not overlap. */
paro_status paro_linear_forward(paro_error *err, paro_linear *linear, paro_pool *pool,
                                const float *x, size_t m, float *y);

/* The effective weight in fp32, w [n_out, n_in]: dequantised, rotated back and unscaled, so that
 * y = x w^T; for quantising again, for statistics and for tests. */
paro_status paro_linear_weight(paro_error *err, paro_linear *linear, paro_pool *pool, float *w);

/* The tensors its weight is stored in (the bias stands alone), those that are there; their number.
 */
enum { PARO_LINEAR_MAX_TENSORS = 7 };
size_t paro_linear_tensors(const paro_linear *linear,
                           const paro_tensor *out[PARO_LINEAR_MAX_TENSORS]);

/* The bytes of these tensors. */
uint64_t paro_linear_bytes(const paro_linear *linear);

/* Which CPU kernels this machine uses: "avx512", "avx2" or "generic". */
const char *paro_cpu_isa(void);

#endif
