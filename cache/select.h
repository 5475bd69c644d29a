/* SPDX-License-Identifier: MIT
 *
 * Configs as lookups judge them.
 */
#ifndef PARO_CACHE_SELECT_H
#define PARO_CACHE_SELECT_H

#include <stdbool.h>

#include "cache/cache.h"

/* The family's default of this layout (NULL: any; "": families without): the default itself, with
 * one param changed where its layout is another, else the first of the space. False: the arch has
 * no path. */
bool paro_cache_default_config(const paro_problem *problem, const paro_arch *arch,
                               const char *layout, paro_kernel_config *out);

/* The winner's config where it passes the constraint for this problem, which may be another than
 * the winner's, and has the layout. False: *why_not, or NULL where only the layout is another. */
bool paro_cache_winner_config(const paro_problem *problem, const paro_arch *arch,
                              const char *layout, const paro_cache_winner *winner,
                              paro_kernel_config *out, const char **why_not);

#endif
