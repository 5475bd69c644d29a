/* SPDX-License-Identifier: MIT
 *
 * The packed layout of one weight: one for all its problems, so that it is stored once.
 *
 * A layout is a candidate where every problem has a config with it that passes. Those win whose
 * timed winners cover most problems; among them the one whose times sum to the least, where a
 * problem that a layout has no time for counts as slow as the slowest known; then the default's;
 * then the first by name. Winners are of the device's class; where that has none at all, of the
 * nearest class of the same capability.
 */
#include <math.h>
#include <string.h>

#include "cache/layer.h"
#include "cache/near.h"
#include "cache/select.h"
#include "cache/winners.h"

enum { MAX_LAYOUTS = 8 };

typedef struct candidates {
    const char *names[MAX_LAYOUTS];
    size_t n;
    double *times; /* [n_problems][MAX_LAYOUTS]; infinite: not known */
} candidates;

static size_t find_or_add(candidates *c, const char *name)
{
    size_t i = 0;
    while (i < c->n && strcmp(c->names[i], name) != 0)
        i++;
    if (i == c->n && c->n < MAX_LAYOUTS)
        c->names[c->n++] = name;
    return i;
}

static bool same_capability(const void *context, const char *device_class)
{
    return isfinite(paro_cache_class_distance(context, device_class));
}

/* Times of one problem, of its nearest class that has one of the layout; `exact`: of the device's
 * class only. */
static paro_status read_times(paro_error *err, paro_cache *cache, const paro_problem *problem,
                              const paro_arch *arch, const char *device_class, bool exact,
                              const char *template_hash, paro_arena *arena, candidates *c,
                              double *times)
{
    char text[PARO_PROBLEM_TEXT_BYTES];
    double distances[MAX_LAYOUTS];
    paro_cache_winners rows;
    paro_problem_print(problem, text);
    for (size_t i = 0; i < MAX_LAYOUTS; i++)
        distances[i] = times[i] = INFINITY;
    paro_status status =
        paro_cache_winners_read(err, cache, text, exact ? device_class : NULL, template_hash,
                                same_capability, device_class, arena, &rows);
    for (size_t i = 0; status == PARO_STATUS_OK && i < rows.n; i++) {
        const paro_cache_winner *row = &rows.items[i];
        const char *why_not = NULL;
        paro_kernel_config config;
        if (!paro_cache_is_timed(row) ||
            !paro_cache_winner_config(problem, arch, NULL, row, &config, &why_not))
            continue;
        size_t at = find_or_add(c, row->layout);
        double distance = paro_cache_class_distance(device_class, row->device_class);
        if (at == MAX_LAYOUTS || distance > distances[at] ||
            (distance == distances[at] && row->median_us >= times[at]))
            continue;
        distances[at] = distance;
        times[at] = row->median_us;
    }
    return status;
}

static bool is_possible(const paro_problem *problems, size_t n_problems, const paro_arch *arch,
                        const char *layout)
{
    for (size_t p = 0; p < n_problems; p++) {
        paro_kernel_config config;
        if (!paro_cache_default_config(&problems[p], arch, layout, &config))
            return false;
    }
    return true;
}

/* The best candidate; NULL where none is possible and known. */
static const char *best_of(const candidates *c, const paro_problem *problems, size_t n_problems,
                           const paro_arch *arch, const char *of_default)
{
    const char *best = NULL;
    size_t best_known = 0;
    double best_sum = INFINITY;
    for (size_t i = 0; i < c->n; i++) {
        size_t n_known = 0;
        double sum = 0;
        for (size_t p = 0; p < n_problems; p++) {
            const double *times = c->times + p * MAX_LAYOUTS;
            double slowest = 0;
            for (size_t k = 0; k < c->n; k++)
                if (isfinite(times[k]) && times[k] > slowest)
                    slowest = times[k];
            sum += isfinite(times[i]) ? times[i] : slowest;
            n_known += isfinite(times[i]);
        }
        if (n_known < best_known || !is_possible(problems, n_problems, arch, c->names[i]))
            continue;
        bool better = n_known > best_known || sum < best_sum;
        if (!better && sum == best_sum && best != NULL && strcmp(best, of_default) != 0)
            better = strcmp(c->names[i], of_default) == 0 || strcmp(c->names[i], best) < 0;
        if (!better)
            continue;
        best = c->names[i];
        best_known = n_known;
        best_sum = sum;
    }
    return best;
}

/* That of the first problem's default that is possible for all. */
static const char *default_layout(const paro_problem *problems, size_t n_problems,
                                  const paro_arch *arch)
{
    for (size_t p = 0; p < n_problems; p++) {
        paro_kernel_config config;
        if (!paro_cache_default_config(&problems[p], arch, NULL, &config))
            continue;
        const char *name = problems[p].family->layout(&problems[p], &config);
        if (is_possible(problems, n_problems, arch, name))
            return name;
    }
    return NULL;
}

paro_status paro_cache_choose_layout(paro_error *err, paro_cache *cache,
                                     const paro_problem *problems, size_t n_problems,
                                     const paro_arch *arch, const paro_device_info *device,
                                     const char *template_hash, paro_arena *arena,
                                     const char **layout)
{
    if (n_problems == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "a layout of no problem: expected at least one");
    if (problems[0].family->layout == NULL) {
        *layout = "";
        return PARO_STATUS_OK;
    }
    char device_class[PARO_DEVICE_CLASS_BYTES], text[PARO_PROBLEM_TEXT_BYTES];
    paro_device_class(device, device_class);
    const char *chosen = default_layout(problems, n_problems, arch);
    if (chosen == NULL) {
        paro_problem_print(&problems[0], text);
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s has no path for %s and the other %zu problems of its weight with one "
                         "layout",
                         arch->name, text, n_problems - 1);
    }
    double *times = paro_arena_array(arena, n_problems, MAX_LAYOUTS * sizeof *times);
    if (times == NULL)
        return paro_fail_memory(err, n_problems * sizeof *times, "times");
    paro_status status = paro_cache_read_begin(err, cache);
    if (status != PARO_STATUS_OK)
        return status;
    const char *best = NULL;
    for (int pass = 0; pass < 2 && best == NULL && status == PARO_STATUS_OK; pass++) {
        candidates c = {.n = 0, .times = times};
        for (size_t p = 0; p < n_problems && status == PARO_STATUS_OK; p++)
            status = read_times(err, cache, &problems[p], arch, device_class, pass == 0,
                                template_hash, arena, &c, times + p * MAX_LAYOUTS);
        if (status == PARO_STATUS_OK)
            best = best_of(&c, problems, n_problems, arch, chosen);
    }
    paro_cache_read_end(cache);
    if (status == PARO_STATUS_OK)
        *layout = best != NULL ? best : chosen;
    return status;
}
