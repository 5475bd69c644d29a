/* SPDX-License-Identifier: MIT
 *
 * Tiles of a weight on any processor.
 */
#define ISA_NAME "generic"
#define LANES    4
#include "calib/weight_tile_body.h"

const paro_tile_kernels *paro_tile_kernels_generic(void)
{
    return &table;
}
