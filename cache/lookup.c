/* SPDX-License-Identifier: MIT
 *
 * Lookup: which config to run a problem with, and whether it is compiled already.
 *
 * The first of these that there is, whose config passes the family's constraint for the problem and
 * arch, and whose layout is the one asked for:
 *
 * 1. exact: the fastest timed winner for the problem on the device's class;
 * 2. near problem: that of the nearest problem on the device's class (near.h);
 * 3. near device: the timed winner for the problem on the nearest class of the same capability;
 * 4. default: the family's default config (of the layout that was asked for).
 *
 * Its kernel is the one its row names; else that of any other row for the problem with the same
 * config. Kernels must be there and run on the device: rows for the device's own class and
 * capability first, then compiled defaults, whose device class is a target: of the device's own
 * arch, then of lower minor versions of the same major one, then PTX of the newest arch not above.
 *
 * With only_compiled, what has no kernel is passed over, and any compiled row for the problem takes
 * the place of the default.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cache/layer.h"
#include "cache/near.h"
#include "cache/select.h"
#include "cache/winners.h"

/* Problems that were tuned on the device's class, parsed once for all requests of a template. */
typedef struct neighbours {
    struct neighbours *next;
    const char *template_hash;
    paro_problem *problems;
    size_t n;
} neighbours;

typedef struct lookup {
    paro_cache *cache;
    const paro_arch *arch;
    uint32_t capability;
    char device_class[PARO_DEVICE_CLASS_BYTES];
    paro_arena *arena;
    neighbours *known;
} lookup;

/* One request on its way. */
typedef struct search {
    lookup *l;
    const paro_lookup_request *request;
    char text[PARO_PROBLEM_TEXT_BYTES];
    paro_kernel_config fallback; /* the default of the layout asked for */
    bool has_rows;
    paro_cache_winners rows; /* for the problem, of every class that may matter here */
    const char *rejected;    /* why a row was not used; NULL: none was rejected */
} search;

const char *paro_grade_name(paro_grade grade)
{
    static const char *const names[] = {"exact", "near problem", "near device", "default"};
    return grade <= PARO_GRADE_DEFAULT ? names[grade] : "?";
}

/* ---- configs -----------------------------------------------------------------------------------
 */

static bool same_config(const paro_family *family, const paro_kernel_config *a,
                        const paro_kernel_config *b)
{
    return memcmp(a->values, b->values, paro_family_n_params(family) * sizeof a->values[0]) == 0;
}

/* As paro_cache_winner_config, with a note of the first row that was rejected. */
static bool usable(search *s, const paro_cache_winner *winner, paro_kernel_config *out)
{
    const char *why_not = NULL;
    bool ok = paro_cache_winner_config(s->request->problem, s->l->arch, s->request->layout, winner,
                                       out, &why_not);
    if (why_not != NULL && s->rejected == NULL)
        s->rejected = paro_arena_printf(s->l->arena, "; the row of %s is not used: %s (%s)",
                                        winner->device_class, why_not, winner->config);
    return ok;
}

/* ---- kernels -----------------------------------------------------------------------------------
 */

/* The rank of a sound kernel's target; -1 where it does not run here or is not there. */
static paro_status checked_rank(paro_error *err, const lookup *l, const char *key, int *rank)
{
    paro_arena arena = {0};
    paro_cache_kernel kernel;
    paro_error why = {.status = PARO_STATUS_OK};
    paro_status status = paro_cache_get_kernel(&why, l->cache, key, &arena, &kernel);
    *rank = status == PARO_STATUS_OK ? paro_cache_target_rank(kernel.arch, l->capability) : -1;
    paro_arena_release(&arena);
    return status == PARO_STATUS_OK || status == PARO_STATUS_NOT_FOUND
               ? PARO_STATUS_OK
               : paro_fail(err, status, "%s", why.message);
}

/* The target of the kernel named, as its row says: its rank, -1 where it does not run here or is
 * not there. The row is checked when the kernel is read; where nothing else can take its place
 * then, here. */
static paro_status target_rank(paro_error *err, const search *s, const char *key, int *rank)
{
    const lookup *l = s->l;
    int best = -1;
    if (s->request->only_compiled && key[0] != 0)
        return checked_rank(err, l, key, rank);
    for (int i = 0; i < PARO_CACHE_LAYERS && key[0] != 0 && best < 0; i++) {
        paro_cache_layer *layer = &l->cache->layers[i];
        paro_error why = {.status = PARO_STATUS_OK};
        sqlite3_stmt *statement = NULL;
        bool has_row = false;
        if (layer->db == NULL)
            continue;
        paro_status status =
            paro_cache_layer_statement(&why, layer, PARO_CACHE_TARGET_OF_KEY, &statement);
        if (status == PARO_STATUS_OK) {
            (void)sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
            status = paro_cache_layer_step(&why, layer, statement, &has_row);
        }
        if (status == PARO_STATUS_OK && has_row) {
            const char *target = (const char *)sqlite3_column_text(statement, 0);
            if (target != NULL)
                best = paro_cache_target_rank(target, l->capability);
        }
        sqlite3_reset(statement);
        status = paro_cache_layer_forgive(layer, status, &why);
        if (status != PARO_STATUS_OK)
            return paro_fail(err, status, "%s", why.message);
    }
    *rank = best;
    return PARO_STATUS_OK;
}

/* Classes whose rows may matter here: of the device's capability, and targets that run on it. */
static bool class_matters(const void *context, const char *device_class)
{
    const lookup *l = context;
    return isfinite(paro_cache_class_distance(l->device_class, device_class)) ||
           paro_cache_target_rank(device_class, l->capability) >= 0;
}

static paro_status load_rows(paro_error *err, search *s)
{
    if (s->has_rows)
        return PARO_STATUS_OK;
    paro_status status =
        paro_cache_winners_read(err, s->l->cache, s->text, NULL, s->request->template_hash,
                                class_matters, s->l, s->l->arena, &s->rows);
    s->has_rows = status == PARO_STATUS_OK;
    return status;
}

/* How far a row is from the device: first by its class (own, near, target), then by its kernel's
 * target. */
static double row_distance(const lookup *l, const paro_cache_winner *row, int rank)
{
    enum { TARGETS = 100000 };
    double distance = paro_cache_class_distance(l->device_class, row->device_class);
    return isfinite(distance)
               ? distance + rank * 1000.0
               : TARGETS + rank * 1000.0 + paro_cache_target_rank(row->device_class, l->capability);
}

/* The best compiled row for the problem, with this config where it is not NULL. */
static paro_status find_compiled(paro_error *err, search *s, const paro_kernel_config *config,
                                 const paro_cache_winner **found, paro_kernel_config *of_row)
{
    const paro_cache_winner *best = NULL;
    double least = INFINITY;
    paro_status status = load_rows(err, s);
    for (size_t i = 0; status == PARO_STATUS_OK && i < s->rows.n; i++) {
        const paro_cache_winner *row = &s->rows.items[i];
        paro_kernel_config its;
        int rank = -1;
        if (!usable(s, row, &its) ||
            (config != NULL && !same_config(s->request->problem->family, config, &its)))
            continue;
        status = target_rank(err, s, row->kernel, &rank);
        if (status != PARO_STATUS_OK || rank < 0)
            continue;
        double distance = row_distance(s->l, row, rank);
        if (distance < least) {
            least = distance;
            best = row;
            *of_row = its;
        }
    }
    if (status == PARO_STATUS_OK)
        *found = best;
    return status;
}

/* ---- the grades --------------------------------------------------------------------------------
 */

/* The row's kernel, or another's with the same config. *taken is false where only_compiled wants
 * one and there is none. */
static paro_status take(paro_error *err, search *s, paro_grade grade,
                        const paro_cache_winner *winner, bool of_this_problem,
                        const paro_kernel_config *config, paro_lookup *out, bool *taken)
{
    paro_lookup found = {
        .grade = grade, .config = *config, .median_us = winner != NULL ? winner->median_us : 0};
    int rank = -1;
    paro_status status = PARO_STATUS_OK;
    if (winner != NULL && of_this_problem) {
        status = target_rank(err, s, winner->kernel, &rank);
        if (rank >= 0)
            memcpy(found.key, winner->kernel, sizeof found.key);
    }
    if (status == PARO_STATUS_OK && rank < 0) {
        const paro_cache_winner *other = NULL;
        paro_kernel_config same;
        status = find_compiled(err, s, config, &other, &same);
        if (status == PARO_STATUS_OK && other != NULL) {
            rank = 0;
            memcpy(found.key, other->kernel, sizeof found.key);
        }
    }
    if (status != PARO_STATUS_OK)
        return status;
    found.has_kernel = rank >= 0;
    *taken = found.has_kernel || !s->request->only_compiled;
    if (*taken)
        *out = found;
    return PARO_STATUS_OK;
}

static paro_status explain(paro_error *err, const search *s, const char *why, paro_lookup *out)
{
    out->why = why == NULL ? NULL
                           : paro_arena_printf(s->l->arena, "%s; %s%s", why,
                                               out->has_kernel ? "compiled" : "not compiled yet",
                                               s->rejected != NULL ? s->rejected : "");
    return out->why != NULL ? PARO_STATUS_OK : paro_fail_memory(err, 0, "an explanation");
}

/* The fastest usable timed row. */
static const paro_cache_winner *fastest(search *s, const paro_cache_winners *rows,
                                        paro_kernel_config *config)
{
    const paro_cache_winner *best = NULL;
    for (size_t i = 0; i < rows->n; i++) {
        paro_kernel_config its;
        if (!paro_cache_is_timed(&rows->items[i]) || !usable(s, &rows->items[i], &its) ||
            (best != NULL && rows->items[i].median_us >= best->median_us))
            continue;
        best = &rows->items[i];
        *config = its;
    }
    return best;
}

static paro_status look_exact(paro_error *err, search *s, paro_lookup *out, bool *taken)
{
    paro_cache_winners rows;
    paro_kernel_config config;
    paro_status status =
        paro_cache_winners_read(err, s->l->cache, s->text, s->l->device_class,
                                s->request->template_hash, NULL, NULL, s->l->arena, &rows);
    if (status != PARO_STATUS_OK)
        return status;
    const paro_cache_winner *best = fastest(s, &rows, &config);
    if (best == NULL)
        return PARO_STATUS_OK;
    status = take(err, s, PARO_GRADE_EXACT, best, true, &config, out, taken);
    if (status != PARO_STATUS_OK || !*taken)
        return status;
    return explain(err, s,
                   paro_arena_printf(s->l->arena,
                                     "tuned for this problem on %s: %.4g us (%u samples, %s)",
                                     best->device_class, best->median_us, best->n_samples,
                                     best->clock[0] != 0 ? best->clock : "no clock named"),
                   out);
}

/* Adds the layer's problems of the class; texts that are no problems (of a later paro) are left
 * out. */
static paro_status add_neighbours(paro_error *err, const lookup *l, paro_cache_layer *layer,
                                  neighbours *list, size_t *capacity)
{
    sqlite3_stmt *statement = NULL;
    paro_status status =
        paro_cache_layer_statement(err, layer, PARO_CACHE_PROBLEMS_OF_CLASS, &statement);
    if (status != PARO_STATUS_OK)
        return status;
    (void)sqlite3_bind_text(statement, 1, l->device_class, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(statement, 2, list->template_hash, -1, SQLITE_STATIC);
    for (bool has_row = true; status == PARO_STATUS_OK;) {
        paro_problem problem;
        status = paro_cache_layer_step(err, layer, statement, &has_row);
        if (status != PARO_STATUS_OK || !has_row)
            break;
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        if (text == NULL || strlen(text) >= PARO_PROBLEM_TEXT_BYTES ||
            paro_problem_parse(NULL, text, &problem) != PARO_STATUS_OK)
            continue;
        if (list->n == *capacity) {
            size_t more = *capacity == 0 ? 64 : 2 * *capacity;
            paro_problem *problems = paro_arena_array(l->arena, more, sizeof *problems);
            if (problems == NULL) {
                status = paro_fail_memory(err, more * sizeof *problems, "problems");
                break;
            }
            if (list->n > 0)
                memcpy(problems, list->problems, list->n * sizeof *problems);
            list->problems = problems;
            *capacity = more;
        }
        list->problems[list->n++] = problem;
    }
    sqlite3_reset(statement);
    return status;
}

static paro_status get_neighbours(paro_error *err, lookup *l, const char *template_hash,
                                  const neighbours **out)
{
    for (const neighbours *n = l->known; n != NULL; n = n->next)
        if (strcmp(n->template_hash, template_hash) == 0) {
            *out = n;
            return PARO_STATUS_OK;
        }
    neighbours *list = paro_arena_alloc(l->arena, sizeof *list);
    if (list == NULL)
        return paro_fail_memory(err, sizeof *list, "problems");
    list->template_hash = template_hash;
    size_t capacity = 0;
    for (int i = 0; i < PARO_CACHE_LAYERS; i++) {
        paro_cache_layer *layer = &l->cache->layers[i];
        paro_error why = {.status = PARO_STATUS_OK};
        if (layer->db == NULL)
            continue;
        paro_status status =
            paro_cache_layer_forgive(layer, add_neighbours(&why, l, layer, list, &capacity), &why);
        if (status != PARO_STATUS_OK)
            return paro_fail(err, status, "%s", why.message);
    }
    list->next = l->known;
    l->known = list;
    *out = list;
    return PARO_STATUS_OK;
}

/* The index of the nearest problem after `after` (-1: of all); -1: no more. */
static ptrdiff_t next_nearest(const neighbours *list, const double *distances, ptrdiff_t after)
{
    ptrdiff_t best = -1;
    for (size_t i = 0; i < list->n; i++) {
        const double d = distances[i];
        if (!isfinite(d) || d == 0)
            continue;
        if (after >= 0 &&
            (d < distances[after] || (d == distances[after] && (ptrdiff_t)i <= after)))
            continue;
        if (best < 0 || d < distances[best])
            best = (ptrdiff_t)i;
    }
    return best;
}

static paro_status look_near_problem(paro_error *err, search *s, paro_lookup *out, bool *taken)
{
    const neighbours *list = NULL;
    paro_status status = get_neighbours(err, s->l, s->request->template_hash, &list);
    if (status != PARO_STATUS_OK || list->n == 0)
        return status;
    double *distances = paro_arena_array(s->l->arena, list->n, sizeof *distances);
    if (distances == NULL)
        return paro_fail_memory(err, list->n * sizeof *distances, "distances");
    for (size_t i = 0; i < list->n; i++) {
        distances[i] = paro_cache_problem_distance(&list->problems[i], s->request->problem);
        /* Of two at the same distance the larger m: a hair nearer. */
        if (isfinite(distances[i]) && distances[i] > 0 &&
            paro_problem_get(&list->problems[i], "m") > paro_problem_get(s->request->problem, "m"))
            distances[i] -= 1e-9;
    }
    for (ptrdiff_t at = -1; !*taken;) {
        at = next_nearest(list, distances, at);
        if (at < 0)
            break;
        char text[PARO_PROBLEM_TEXT_BYTES];
        paro_cache_winners rows;
        paro_kernel_config config;
        paro_problem_print(&list->problems[at], text);
        status = paro_cache_winners_read(err, s->l->cache, text, s->l->device_class,
                                         s->request->template_hash, NULL, NULL, s->l->arena, &rows);
        if (status != PARO_STATUS_OK)
            break;
        const paro_cache_winner *best = fastest(s, &rows, &config);
        if (best == NULL)
            continue;
        status = take(err, s, PARO_GRADE_NEAR_PROBLEM, best, false, &config, out, taken);
        if (status != PARO_STATUS_OK)
            break;
        if (*taken)
            status = explain(err, s,
                             paro_arena_printf(s->l->arena,
                                               "not tuned on %s; config of the nearest problem "
                                               "there, %s: %.4g us",
                                               s->l->device_class, text, best->median_us),
                             out);
    }
    return status;
}

static paro_status look_near_device(paro_error *err, search *s, paro_lookup *out, bool *taken)
{
    const paro_cache_winner *best = NULL;
    paro_kernel_config config;
    double least = INFINITY;
    paro_status status = load_rows(err, s);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < s->rows.n; i++) {
        const paro_cache_winner *row = &s->rows.items[i];
        paro_kernel_config its;
        double d = paro_cache_class_distance(s->l->device_class, row->device_class);
        if (!isfinite(d) || d == 0 || !paro_cache_is_timed(row) || !usable(s, row, &its))
            continue;
        if (best == NULL || d < least || (d == least && row->median_us < best->median_us)) {
            best = row;
            least = d;
            config = its;
        }
    }
    if (best == NULL)
        return status;
    status = take(err, s, PARO_GRADE_NEAR_DEVICE, best, true, &config, out, taken);
    if (status != PARO_STATUS_OK || !*taken)
        return status;
    return explain(err, s,
                   paro_arena_printf(s->l->arena,
                                     "not tuned on %s, nor anything near; config of this problem "
                                     "on %s: %.4g us",
                                     s->l->device_class, best->device_class, best->median_us),
                   out);
}

static paro_status look_default(paro_error *err, search *s, paro_lookup *out, bool *taken)
{
    paro_kernel_config config = s->fallback;
    const char *which = "the family's default";
    paro_status status = take(err, s, PARO_GRADE_DEFAULT, NULL, false, &config, out, taken);
    if (status == PARO_STATUS_OK && !*taken) {
        const paro_cache_winner *row = NULL;
        status = find_compiled(err, s, NULL, &row, &config);
        if (status == PARO_STATUS_OK && row == NULL)
            return paro_fail(err, PARO_STATUS_NOT_FOUND,
                             "no kernel for %s on %s in the cache%s: tune or compile it (paro "
                             "tune), or import a bundle that has it (paro cache import)",
                             s->text, s->l->device_class, s->rejected != NULL ? s->rejected : "");
        if (status == PARO_STATUS_OK) {
            which = "another config than the default's, which is all there is";
            status = take(err, s, PARO_GRADE_DEFAULT, row, true, &config, out, taken);
        }
    }
    if (status != PARO_STATUS_OK)
        return status;
    return explain(err, s,
                   paro_arena_printf(s->l->arena, "not tuned on %s, nor anything near; %s",
                                     s->l->device_class, which),
                   out);
}

static paro_status look_up(paro_error *err, lookup *l, const paro_lookup_request *request,
                           paro_lookup *out)
{
    typedef paro_status look_fn(paro_error *, search *, paro_lookup *, bool *);
    static look_fn *const steps[] = {look_exact, look_near_problem, look_near_device, look_default};
    search s = {.l = l, .request = request};
    const paro_problem *problem = request->problem;
    paro_problem_print(problem, s.text);
    if (!paro_cache_default_config(problem, l->arch, request->layout, &s.fallback)) {
        paro_kernel_config config = {{0}};
        problem->family->default_config(problem, l->arch, &config);
        const char *reason = problem->family->constraint(problem, &config, l->arch);
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "%s has no path for %s%s%s: %s",
                         l->arch->name, s.text, request->layout != NULL ? " with the layout " : "",
                         request->layout != NULL ? request->layout : "",
                         reason != NULL ? reason : "no config of this layout passes");
    }
    bool taken = false;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; !taken && status == PARO_STATUS_OK && i < sizeof steps / sizeof steps[0];
         i++)
        status = steps[i](err, &s, out, &taken);
    return status;
}

paro_status paro_cache_lookup_all(paro_error *err, paro_cache *cache,
                                  const paro_lookup_request *requests, size_t n,
                                  const paro_arch *arch, const paro_device_info *device,
                                  paro_arena *arena, paro_lookup *out)
{
    lookup l = {.cache = cache, .arch = arch, .capability = device->capability, .arena = arena};
    paro_device_class(device, l.device_class);
    paro_lookup *found = paro_arena_array(arena, n, sizeof *found);
    if (found == NULL)
        return paro_fail_memory(err, n * sizeof *found, "lookups");
    paro_status status = paro_cache_read_begin(err, cache);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++)
        status = look_up(err, &l, &requests[i], &found[i]);
    paro_cache_read_end(cache);
    if (status == PARO_STATUS_OK && n > 0)
        memcpy(out, found, n * sizeof *found);
    return status;
}

paro_status paro_cache_lookup(paro_error *err, paro_cache *cache, const paro_problem *problem,
                              const paro_arch *arch, const paro_device_info *device,
                              const char *template_hash, const char *layout, paro_arena *arena,
                              paro_lookup *out)
{
    paro_lookup_request request = {problem, template_hash, layout, false};
    return paro_cache_lookup_all(err, cache, &request, 1, arch, device, arena, out);
}
