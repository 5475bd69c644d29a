/* SPDX-License-Identifier: MIT
 *
 * swiglu: gate / (1 + exp(-gate)) * up (templates/swiglu.cu).
 */
#ifndef PARO_FAMILIES_SWIGLU_H
#define PARO_FAMILIES_SWIGLU_H

#include "families/family.h"

enum { PARO_SWIGLU_ARG_GATE_UP, PARO_SWIGLU_ARG_Y };

extern const paro_family paro_family_swiglu;

#endif
