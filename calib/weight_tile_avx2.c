/* SPDX-License-Identifier: MIT
 *
 * Tiles of a weight on x86-64 with AVX2, FMA and F16C.
 */
#include "calib/weight_tile.h"

#if defined(__AVX2__)

#define ISA_NAME "avx2"
#define LANES    8
#include "calib/weight_tile_body.h"

const paro_tile_kernels *paro_tile_kernels_avx2(void)
{
    return &table;
}

#else

const paro_tile_kernels *paro_tile_kernels_avx2(void)
{
    return NULL;
}

#endif
