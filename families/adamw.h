/* SPDX-License-Identifier: MIT
 *
 * adamw: one step of calib/adamw.h on one parameter, without the host (templates/adamw.cu).
 */
#ifndef PARO_FAMILIES_ADAMW_H
#define PARO_FAMILIES_ADAMW_H

#include "families/family.h"

enum {
    PARO_ADAMW_ARG_GRADIENT,
    PARO_ADAMW_ARG_STEP,
    PARO_ADAMW_ARG_SCHEDULE,
    PARO_ADAMW_ARG_GRADIENT_SCALE,
    PARO_ADAMW_ARG_BETA1,
    PARO_ADAMW_ARG_BETA2,
    PARO_ADAMW_ARG_EPSILON,
    PARO_ADAMW_ARG_DECAY,
    PARO_ADAMW_ARG_N,
    PARO_ADAMW_ARG_PARAMETER,
    PARO_ADAMW_ARG_FIRST,
    PARO_ADAMW_ARG_SECOND
};

/* Numbers of a row of the schedule: lr and the two corrections of the moments. */
enum { PARO_ADAMW_SCHEDULE_ROW = 3 };

/* row <- that of step number t (from 1). */
void paro_adamw_schedule_row(double lr, double beta1, double beta2, uint64_t t,
                             float row[PARO_ADAMW_SCHEDULE_ROW]);

extern const paro_family paro_family_adamw;

#endif
