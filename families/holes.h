/* SPDX-License-Identifier: MIT
 *
 * The holes of one variant: what a family's `holes` wrote, in its order, for render to put into the
 * template.
 */
#ifndef PARO_FAMILIES_HOLES_H
#define PARO_FAMILIES_HOLES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "families/family.h"

typedef struct paro_hole {
    const char *name;
    const char *value; /* C++ text */
} paro_hole;

/* Zero-initialised is empty and ready. */
struct paro_holes {
    paro_arena arena; /* has all text, and the list */
    paro_hole *list;
    size_t n;
    size_t capacity;
    bool out_of_memory; /* something is missing */
};

/* Asks the problem's family. OUT_OF_MEMORY; or INVALID_ARGUMENT where it wrote a name twice. */
paro_status paro_holes_make(paro_error *err, const paro_problem *problem,
                            const paro_kernel_config *config, const paro_arch *arch,
                            paro_holes *out);

/* NULL where there is none of this name. */
const paro_hole *paro_holes_find(const paro_holes *holes, const char *name);

void paro_holes_release(paro_holes *holes); /* empty and ready again */

#endif
