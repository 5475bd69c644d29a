/* SPDX-License-Identifier: MIT
 *
 * What is near: problems, classes of devices, and the targets that run on a device. The one place
 * of these rules.
 *
 * Problems of one family are near where they agree in all choices, in the number of parts, and in
 * all numbers but these: m may differ by a factor of 4, and n, k, h and vocab by the square root of
 * 2; ctx, a bucket, by anything. Their distance is the sum of |log2| of the ratios, sizes weighed
 * fourfold and ctx a quarter: another m costs less than another shape.
 *
 * Classes are near where the capability agrees. Their distance is the sum of |log2| of the ratios
 * of multiprocessors, L2 and shared memory, and a quarter of the difference in bandwidth class.
 */
#ifndef PARO_CACHE_NEAR_H
#define PARO_CACHE_NEAR_H

#include <stdbool.h>
#include <stdint.h>

#include "families/problem.h"

/* 0: equal; infinity: not near. */
double paro_cache_problem_distance(const paro_problem *a, const paro_problem *b);

/* 0: equal; infinity: of another capability, or not a class at all. */
double paro_cache_class_distance(const char *a, const char *b);

/* Whether code for the target runs on the capability, and how well it suits (0 best): "sm_90" or
 * "sm_90a" on 90: 0; "sm_80" on 86: its minor version's distance (but on 87 only 87's own: binaries
 * of Tegra and of others do not mix); "compute_90" (PTX, compiled by the driver) on 90 and
 * everything above: after all cubins. -1: it does not run. */
int paro_cache_target_rank(const char *target, uint32_t capability);

#endif
