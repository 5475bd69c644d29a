/* SPDX-License-Identifier: MIT
 *
 * Time that only goes forward.
 */
#ifndef PARO_BASE_CLOCK_H
#define PARO_BASE_CLOCK_H

/* Seconds since some fixed moment (CLOCK_MONOTONIC). */
double paro_clock_seconds(void);

#endif
