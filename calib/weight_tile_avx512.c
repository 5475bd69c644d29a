/* SPDX-License-Identifier: MIT
 *
 * Tiles of a weight on x86-64 with AVX-512 (F, BW, VL, DQ).
 */
#include "calib/weight_tile.h"

#if defined(__AVX512F__)

#define ISA_NAME "avx512"
#define LANES    16
#include "calib/weight_tile_body.h"

const paro_tile_kernels *paro_tile_kernels_avx512(void)
{
    return &table;
}

#else

const paro_tile_kernels *paro_tile_kernels_avx512(void)
{
    return NULL;
}

#endif
