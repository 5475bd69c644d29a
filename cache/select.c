/* SPDX-License-Identifier: MIT
 *
 * Configs as lookups judge them.
 */
#include "cache/select.h"

#include <string.h>

static const char *layout_of(const paro_problem *problem, const paro_kernel_config *config)
{
    return problem->family->layout != NULL ? problem->family->layout(problem, config) : "";
}

static bool passes(const paro_problem *problem, const paro_arch *arch, const char *layout,
                   const paro_kernel_config *config)
{
    return problem->family->constraint(problem, config, arch) == NULL &&
           (layout == NULL || strcmp(layout_of(problem, config), layout) == 0);
}

typedef struct first_of_layout {
    const paro_problem *problem;
    const char *layout;
    paro_kernel_config *config;
    bool found;
} first_of_layout;

static bool take_first(void *context, const paro_kernel_config *config)
{
    first_of_layout *f = context;
    if (strcmp(layout_of(f->problem, config), f->layout) != 0)
        return true;
    *f->config = *config;
    f->found = true;
    return false;
}

bool paro_cache_default_config(const paro_problem *problem, const paro_arch *arch,
                               const char *layout, paro_kernel_config *out)
{
    const paro_family *family = problem->family;
    paro_kernel_config start = {{0}};
    family->default_config(problem, arch, &start);
    if (passes(problem, arch, layout, &start)) {
        *out = start;
        return true;
    }
    if (layout == NULL)
        return false;
    /* The default with one param changed; else the first of the space. */
    for (size_t p = 0; family->params[p].name != NULL; p++)
        for (size_t v = 0; v < family->params[p].n_values; v++) {
            paro_kernel_config config = start;
            config.values[p] = family->params[p].values[v];
            if (passes(problem, arch, layout, &config)) {
                *out = config;
                return true;
            }
        }
    paro_kernel_config config;
    first_of_layout first = {problem, layout, &config, false};
    paro_space_enumerate(problem, arch, take_first, &first);
    if (first.found)
        *out = config;
    return first.found;
}

bool paro_cache_winner_config(const paro_problem *problem, const paro_arch *arch,
                              const char *layout, const paro_cache_winner *winner,
                              paro_kernel_config *out, const char **why_not)
{
    const paro_family *family = problem->family;
    paro_kernel_config config = {{0}};
    family->default_config(problem, arch, &config);
    *why_not = NULL;
    if (paro_kernel_config_parse(NULL, family, winner->config, &config) != PARO_STATUS_OK) {
        *why_not = "no config of the family's";
        return false;
    }
    if (layout != NULL && strcmp(winner->layout, layout) != 0)
        return false;
    *why_not = family->constraint(problem, &config, arch);
    if (*why_not == NULL && strcmp(layout_of(problem, &config), winner->layout) != 0)
        *why_not = "its layout is not the config's";
    if (*why_not != NULL)
        return false;
    *out = config;
    return true;
}
