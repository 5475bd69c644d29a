/* SPDX-License-Identifier: MIT
 *
 * The inside of a paro_problems.
 */
#ifndef PARO_TUNER_PROBLEMS_H
#define PARO_TUNER_PROBLEMS_H

#include <paro/kernel.h>

#include "families/family.h"

/* [paro_problems_count]; valid until the next addition. */
const paro_problem *paro_problems_array(const paro_problems *problems);

#endif
