/* SPDX-License-Identifier: MIT
 *
 * The space of a problem: every config that its family's constraint lets pass, in order.
 */
#include "families/family.h"

uint64_t paro_space_raw(const paro_family *family)
{
    uint64_t n = 1;
    for (size_t i = 0; family->params[i].name != NULL; i++)
        n *= family->params[i].n_values;
    return n;
}

void paro_space_enumerate(const paro_problem *problem, const paro_arch *arch, paro_space_fn *fn,
                          void *context)
{
    const paro_family *family = problem->family;
    const size_t n_params = paro_family_n_params(family);
    size_t at[PARO_MAX_PARAMS] = {0};
    paro_kernel_config config = {{0}};
    for (;;) {
        for (size_t i = 0; i < n_params; i++)
            config.values[i] = family->params[i].values[at[i]];
        if (family->constraint(problem, &config, arch) == NULL && !fn(context, &config))
            return;
        size_t i = n_params; /* the next, as an odometer turns */
        while (i > 0 && ++at[i - 1] == family->params[i - 1].n_values)
            at[--i] = 0;
        if (i == 0)
            return;
    }
}
