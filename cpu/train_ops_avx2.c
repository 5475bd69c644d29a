/* SPDX-License-Identifier: MIT
 *
 * Training's operations for x86-64 with AVX2 and FMA.
 */
#include "cpu/train_ops.h"

#if defined(__AVX2__) && defined(__FMA__)

#define ISA_NAME "avx2"
#define LANES    8

#include "cpu/train_ops_body.h"

const paro_train_ops *paro_train_ops_avx2(void)
{
    return &table;
}

#else

const paro_train_ops *paro_train_ops_avx2(void)
{
    return NULL;
}

#endif
