/* SPDX-License-Identifier: MIT
 *
 * Training's operations for any processor, in vectors of four.
 */
#define ISA_NAME "generic"
#define LANES    4

#include "cpu/train_ops_body.h"

const paro_train_ops *paro_train_ops_generic(void)
{
    return &table;
}
