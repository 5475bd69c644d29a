/* SPDX-License-Identifier: MIT
 *
 * read: a plain read of device memory, the measure of everything bound by it.
 */
#ifndef PARO_FAMILIES_READ_H
#define PARO_FAMILIES_READ_H

#include "families/family.h"

enum { PARO_READ_ARG_X, PARO_READ_ARG_Y };

extern const paro_family paro_family_read;

#endif
