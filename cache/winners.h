/* SPDX-License-Identifier: MIT
 *
 * Sound winners of one problem and template from both files, the user's hiding the system's.
 */
#ifndef PARO_CACHE_WINNERS_H
#define PARO_CACHE_WINNERS_H

#include <stdbool.h>
#include <stddef.h>

#include "cache/layer.h"

/* In order of layer, then device class, then layout; memory in the arena it was read with. */
typedef struct paro_cache_winners {
    paro_cache_winner *items;
    size_t n;
    size_t capacity;
} paro_cache_winners;

/* Whether rows of this class are wanted; asked before they are read and hashed. */
typedef bool paro_cache_class_fn(const void *context, const char *device_class);

/* device_class NULL: all that `wanted` (may be NULL) wants. A damaged file counts as empty. */
paro_status paro_cache_winners_read(paro_error *err, paro_cache *cache, const char *problem,
                                    const char *device_class, const char *template_hash,
                                    paro_cache_class_fn *wanted, const void *context,
                                    paro_arena *arena, paro_cache_winners *out);

static inline bool paro_cache_is_timed(const paro_cache_winner *winner)
{
    return winner->n_samples > 0 && winner->median_us > 0;
}

#endif
