/* SPDX-License-Identifier: MIT
 *
 * See kernel_code.h.
 */
#include "runtime/kernel_code.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cache/near.h"

/* ---- the cache --------------------------------------------------------------
 */

/* The cache: as asked, else read-only, else that one of its two files which can be opened, else
 * none. */
static void open_cache(paro_kernel_world *world)
{
    const char *user = world->options.cache_path, *system = world->options.system_cache_path;
    const struct {
        const char *path, *system_path;
        bool read_only;
    } tries[] = {{user, system, false},
                 {user, system, true},
                 {user, NULL, false},
                 {user, NULL, true},
                 {NULL, system, true}};
    paro_error err = {0}, again = {0}; /* the first is what is told */
    if (user == NULL && system == NULL)
        return;
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        const paro_cache_options options = {.path = tries[i].path,
                                            .system_path = tries[i].system_path,
                                            .read_only = tries[i].read_only,
                                            .observer = world->options.observer};
        if ((options.path == NULL && options.system_path == NULL) ||
            paro_cache_open(i == 0 ? &err : &again, &options, &world->cache) != PARO_STATUS_OK)
            continue;
        world->is_cache_writable = user != NULL && !options.read_only;
        if (i > 0)
            paro_log(world->options.observer, PARO_LOG_LEVEL_WARNING, "the kernel cache is %s: %s",
                     options.path == NULL ? "the system's only"
                     : options.read_only  ? "read only"
                                          : "without the system's",
                     err.message);
        return;
    }
    paro_log(world->options.observer, PARO_LOG_LEVEL_WARNING, "no kernel cache: %s", err.message);
}

paro_status paro_kernel_world_init(paro_error *err, paro_gpu *gpu,
                                   const paro_kernels_options *options, paro_kernel_world *out)
{
    *out = (paro_kernel_world){.gpu = gpu,
                               .is_emulated = paro_gpu_get_kind(gpu) == PARO_GPU_KIND_EMULATED};
    if (options != NULL)
        out->options = *options;
    paro_status status =
        paro_device_arch(err, paro_gpu_info(out->gpu), &out->arch, &out->needs_ptx);
    if (status == PARO_STATUS_OK)
        open_cache(out);
    return status;
}

void paro_kernel_world_release(paro_kernel_world *world)
{
    paro_cache_free(world->cache);
    paro_nvrtc_free(world->nvrtc);
}

/* ---- configs ------------------------------------------------------------------------------------
 */

static bool has_layout(const paro_problem *problem, const paro_kernel_config *config,
                       const char *layout)
{
    return layout == NULL || problem->family->layout == NULL ||
           strcmp(problem->family->layout(problem, config), layout) == 0;
}

typedef struct layout_search {
    const paro_problem *problem;
    const char *layout;
    paro_kernel_config *config;
    bool found;
} layout_search;

/* A paro_space_fn. */
static bool take_first(void *context, const paro_kernel_config *config)
{
    layout_search *search = context;
    search->found = has_layout(search->problem, config, search->layout);
    if (search->found)
        *search->config = *config;
    return !search->found;
}

paro_status paro_kernel_default(paro_error *err, const paro_kernel_world *world,
                                const paro_problem *problem, const char *layout,
                                paro_kernel_config *config)
{
    char text[PARO_PROBLEM_TEXT_BYTES];
    paro_kernel_config found = {{0}};
    problem->family->default_config(problem, &world->arch, &found);
    const char *why = problem->family->constraint(problem, &found, &world->arch);
    if (why != NULL) {
        paro_problem_print(problem, text);
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "%s: there is no kernel for %s: %s", text,
                         world->arch.name, why);
    }
    if (!has_layout(problem, &found, layout)) {
        layout_search search = {.problem = problem, .layout = layout, .config = &found};
        paro_space_enumerate(problem, &world->arch, take_first, &search);
        if (!search.found) {
            paro_problem_print(problem, text);
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "%s: there is no kernel of layout %s for %s", text, layout,
                             world->arch.name);
        }
    }
    *config = found;
    return PARO_STATUS_OK;
}

static paro_status look_up(paro_error *err, paro_kernel_world *world, const paro_problem *problem,
                           const char *layout, bool only_compiled, paro_kernel_config *config,
                           paro_grade *grade)
{
    char hash[PARO_SHA256_HEX_BYTES];
    paro_lookup found;
    paro_arena arena = {0};
    const paro_lookup_request request = {problem, hash, layout, only_compiled};
    paro_status status = paro_template_hash(err, problem->family, hash);
    if (status == PARO_STATUS_OK)
        status = paro_cache_lookup_all(err, world->cache, &request, 1, &world->arch,
                                       paro_gpu_info(world->gpu), &arena, &found);
    if (status == PARO_STATUS_OK) {
        char text[PARO_PROBLEM_TEXT_BYTES], chosen[PARO_KERNEL_CONFIG_TEXT_BYTES];
        paro_problem_print(problem, text);
        paro_kernel_config_print(problem->family, &found.config, chosen);
        paro_log(world->options.observer, PARO_LOG_LEVEL_DEBUG, "%s: %s (%s: %s)", text, chosen,
                 paro_grade_name(found.grade), found.why == NULL ? "" : found.why);
        *config = found.config;
        *grade = found.grade;
    }
    paro_arena_release(&arena);
    return status;
}

paro_status paro_kernel_choose(paro_error *err, paro_kernel_world *world,
                               const paro_problem *problem, const char *layout,
                               paro_kernel_config *config, paro_grade *grade)
{
    if (world->cache != NULL)
        return look_up(err, world, problem, layout, false, config, grade);
    *grade = PARO_GRADE_DEFAULT;
    return paro_kernel_default(err, world, problem, layout, config);
}

paro_status paro_kernel_choose_compiled(paro_error *err, paro_kernel_world *world,
                                        const paro_problem *problem, const char *layout,
                                        paro_kernel_config *config, paro_grade *grade, bool *found)
{
    paro_status status = PARO_STATUS_NOT_FOUND;
    if (world->cache != NULL)
        status = look_up(err, world, problem, layout, true, config, grade);
    if (status != PARO_STATUS_OK && status != PARO_STATUS_NOT_FOUND)
        return status;
    *found = status == PARO_STATUS_OK;
    return PARO_STATUS_OK;
}

/* ---- code ---------------------------------------------------------------------------------------
 */

void paro_kernel_code_release(paro_kernel_code *code)
{
    paro_buffer_free(&code->source);
    paro_arena_release(&code->arena);
    paro_binary_release(&code->compiled);
    *code = (paro_kernel_code){0};
}

paro_status paro_kernel_code_render(paro_error *err, paro_kernel_world *world,
                                    const paro_problem *problem, const paro_kernel_config *config,
                                    paro_kernel_code *out)
{
    const paro_variant variant = {problem, config, &world->arch};
    paro_kernel_code code = {.family = problem->family};
    paro_status status = paro_render(err, &variant, &code.source);
    if (status != PARO_STATUS_OK) {
        paro_kernel_code_release(&code);
        return status;
    }
    paro_sha256_hex(code.source.data, code.source.n_bytes, code.source_hash);
    const char *target = world->needs_ptx ? world->arch.virtual_name
                                          : paro_target_of(code.source.data, &world->arch);
    snprintf(code.target, sizeof code.target, "%s", target);
    if (world->is_emulated) {
        code.binary = code.source.data;
        code.n_bytes = code.source.n_bytes;
    }
    *out = code;
    return PARO_STATUS_OK;
}

static bool is_ptx_target(const char *target)
{
    return strncmp(target, "compute_", 8) == 0;
}

/* Takes a row over where it is what it says. */
static bool take_row(const paro_cache_kernel *row, const char *target, paro_kernel_code *code)
{
    const unsigned char *bytes = row->binary;
    const bool wants_ptx = is_ptx_target(target);
    if (row->n_bytes == 0 || row->is_ptx != wants_ptx || strcmp(row->arch, target) != 0 ||
        strcmp(row->source_hash, code->source_hash) != 0 ||
        (row->is_ptx && bytes[row->n_bytes - 1] != 0))
        return false;
    snprintf(code->target, sizeof code->target, "%s", target);
    code->binary = row->binary;
    code->n_bytes = row->n_bytes;
    code->is_ptx = row->is_ptx;
    code->signature = row->signature;
    return true;
}

static paro_status find_target(paro_error *err, paro_kernel_world *world, const char *target,
                               paro_kernel_code *code, bool *found)
{
    paro_cache_kernel row;
    paro_status status =
        paro_cache_find_kernel(err, world->cache, code->source_hash, target, &code->arena, &row);
    if (status == PARO_STATUS_OK)
        *found = take_row(&row, target, code);
    return status == PARO_STATUS_NOT_FOUND ? PARO_STATUS_OK : status;
}

/* The target that suits the capability best after those of rank *rank or less; NULL: no more. */
static const char *next_target(uint32_t capability, int *rank)
{
    const char *best = NULL;
    int least = INT_MAX;
    for (size_t i = 0; paro_arch_get(i) != NULL; i++) {
        const char *const names[] = {paro_arch_get(i)->name, paro_arch_get(i)->virtual_name};
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            const int its = paro_cache_target_rank(names[k], capability);
            if (its > *rank && its < least) {
                least = its;
                best = names[k];
            }
        }
    }
    *rank = least;
    return best;
}

paro_status paro_kernel_code_find(paro_error *err, paro_kernel_world *world, paro_kernel_code *code,
                                  bool *found)
{
    const uint32_t capability = paro_gpu_info(world->gpu)->capability;
    bool has = false;
    int rank = -1;
    char own[PARO_KERNEL_TARGET_BYTES];
    memcpy(own, code->target, sizeof own);
    const char *target = world->cache != NULL ? own : NULL;
    paro_status status = PARO_STATUS_OK;
    while (target != NULL && status == PARO_STATUS_OK && !has) {
        status = find_target(err, world, target, code, &has);
        target = next_target(capability, &rank);
    }
    if (status == PARO_STATUS_OK)
        *found = has;
    return status;
}

/* ---- compiling ----------------------------------------------------------------------------------
 */

static void look_for_nvrtc(paro_kernel_world *world)
{
    if (world->looked_for_nvrtc)
        return;
    world->looked_for_nvrtc = true;
    if (world->options.no_nvrtc)
        paro_fail(&world->nvrtc_error, PARO_STATUS_UNSUPPORTED, "NVRTC is not to be used");
    else if (paro_nvrtc_new(&world->nvrtc_error, world->options.nvrtc_library, &world->nvrtc) !=
             PARO_STATUS_OK)
        world->nvrtc = NULL;
}

paro_status paro_kernel_code_can_compile(paro_error *err, paro_kernel_world *world,
                                         paro_kernel_code *code)
{
    look_for_nvrtc(world);
    if (world->nvrtc == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "%s", world->nvrtc_error.message);
    const paro_arch *arch = paro_arch_find(world->arch.name);
    if (paro_nvrtc_supports(world->nvrtc, arch))
        return PARO_STATUS_OK;
    /* PTX of the newest arch that it does know and that is not above the device's. */
    const paro_arch *newest = NULL;
    for (size_t i = 0; paro_arch_get(i) != NULL; i++)
        if (paro_arch_get(i)->capability <= world->arch.capability &&
            paro_nvrtc_supports(world->nvrtc, paro_arch_get(i)))
            newest = paro_arch_get(i);
    if (newest == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "NVRTC %s cannot compile for %s",
                         paro_nvrtc_version(world->nvrtc), world->arch.name);
    snprintf(code->target, sizeof code->target, "%s", newest->virtual_name);
    return PARO_STATUS_OK;
}

paro_status paro_kernel_code_compile(paro_error *err, const paro_kernel_world *world,
                                     paro_kernel_code *code)
{
    paro_binary binary;
    paro_status status =
        paro_nvrtc_compile(err, world->nvrtc, code->source.data, code->target, &binary);
    if (status != PARO_STATUS_OK)
        return status;
    code->compiled = binary;
    code->binary = binary.data;
    code->n_bytes = binary.n_bytes;
    code->is_ptx = binary.is_ptx;
    code->is_compiled = true;
    return PARO_STATUS_OK;
}

/* ---- keeping ------------------------------------------------------------------------------------
 */

/* Resources as JSON in `out`; empty where the binary cannot be read. */
static void describe(const paro_kernel_code *code, paro_buffer *out)
{
    paro_arena arena = {0};
    paro_resources resources;
    if (paro_inspect(NULL, &code->compiled, &arena, &resources) != PARO_STATUS_OK ||
        paro_resources_print(NULL, &resources, out) != PARO_STATUS_OK)
        paro_buffer_clear(out);
    paro_arena_release(&arena);
}

/* A compiled default is a winner of the arch, not of a class of devices. */
static paro_status keep_default(paro_error *err, paro_kernel_world *world,
                                const paro_problem *problem, const paro_kernel_config *config,
                                const paro_kernel_code *code, const char *key)
{
    const paro_family *family = problem->family;
    char text[PARO_PROBLEM_TEXT_BYTES], chosen[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_kernel_config default_config = {{0}};
    family->default_config(problem, &world->arch, &default_config);
    if (memcmp(default_config.values, config->values, sizeof config->values) != 0)
        return PARO_STATUS_OK;
    paro_problem_print(problem, text);
    paro_kernel_config_print(family, config, chosen);
    paro_cache_winner winner = {
        .problem = text,
        .device_class = is_ptx_target(code->target) ? code->target : world->arch.name,
        .layout = family->layout == NULL ? "" : family->layout(problem, config),
        .config = chosen,
        .clock = "",
        .device = "",
        .driver = "",
        .strategy = ""};
    snprintf(winner.kernel, sizeof winner.kernel, "%s", key);
    paro_status status = paro_template_hash(err, family, winner.template_hash);
    return status == PARO_STATUS_OK ? paro_cache_put_winner(err, world->cache, &winner) : status;
}

/* The binary under its key, which goes to `key`. */
static paro_status keep_binary(paro_error *err, paro_kernel_world *world,
                               const paro_kernel_code *code, const char *key)
{
    paro_buffer resources = {0};
    describe(code, &resources);
    paro_cache_kernel row = {.family = code->family->name,
                             .arch = code->target,
                             .nvrtc = paro_nvrtc_version(world->nvrtc),
                             .signature = "",
                             .resources = resources.n_bytes == 0 ? "" : resources.data,
                             .binary = code->binary,
                             .n_bytes = code->n_bytes,
                             .is_ptx = code->is_ptx};
    memcpy(row.source_hash, code->source_hash, sizeof row.source_hash);
    memcpy(row.key, key, sizeof row.key);
    paro_status status = paro_cache_put_kernel(err, world->cache, &row);
    paro_buffer_free(&resources);
    return status;
}

paro_status paro_kernel_code_keep(paro_error *err, paro_kernel_world *world,
                                  const paro_problem *problem, const paro_kernel_config *config,
                                  const paro_kernel_code *code, bool with_binary)
{
    char key[PARO_SHA256_HEX_BYTES];
    paro_status status = PARO_STATUS_OK;
    paro_kernel_key(code->source.data, code->target, paro_nvrtc_version(world->nvrtc), key);
    if (with_binary)
        status = keep_binary(err, world, code, key);
    return status == PARO_STATUS_OK ? keep_default(err, world, problem, config, code, key) : status;
}
