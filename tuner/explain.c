/* SPDX-License-Identifier: MIT
 *
 * What the runtime would take from a cache for a problem, and what it no longer can
 * (include/paro/cache.h): the parts of a cache's upkeep that need today's templates.
 */
#include <stdio.h>
#include <string.h>

#include "cache/cache.h"
#include "codegen/codegen.h"
#include "gpu/gpu.h"

static paro_status describe_device(paro_error *err, const char *arch_name, int ordinal,
                                   paro_arch *arch, paro_device_info *device)
{
    if (arch_name != NULL) {
        const paro_arch *found = paro_arch_find(arch_name);
        if (found == NULL)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "arch: expected one of sm_75 … sm_121, found '%s'", arch_name);
        *arch = *found;
        paro_device_typical(arch, device);
        return PARO_STATUS_OK;
    }
    paro_gpu *gpu = NULL;
    bool wants_ptx;
    paro_status status = paro_gpu_open_cuda(err, ordinal, &gpu);
    if (status != PARO_STATUS_OK)
        return paro_fail_in(err, status, "explain without --arch needs a GPU");
    *device = *paro_gpu_info(gpu);
    paro_gpu_free(gpu);
    return paro_device_arch(err, device, arch, &wants_ptx);
}

paro_status paro_cache_explain(paro_error *err, paro_cache *cache, const char *problem,
                               const char *arch, int device, paro_cache_explanation *out)
{
    paro_arena arena = {0};
    paro_problem parsed;
    paro_device_info info;
    paro_arch row;
    char hash[PARO_SHA256_HEX_BYTES];
    paro_lookup lookup = {0};
    paro_status status = paro_problem_parse(err, problem, &parsed);
    if (status == PARO_STATUS_OK)
        status = describe_device(err, arch, device, &row, &info);
    if (status == PARO_STATUS_OK)
        status = paro_template_hash(err, parsed.family, hash);
    if (status == PARO_STATUS_OK)
        status = paro_cache_lookup(err, cache, &parsed, &row, &info, hash, NULL, &arena, &lookup);
    if (status == PARO_STATUS_OK) {
        paro_cache_explanation e = {
            .grade = lookup.grade, .has_kernel = lookup.has_kernel, .median_us = lookup.median_us};
        paro_kernel_config_print(parsed.family, &lookup.config, e.config);
        paro_device_class(&info, e.device_class);
        if (lookup.has_kernel)
            memcpy(e.kernel, lookup.key, sizeof e.kernel);
        snprintf(e.why, sizeof e.why, "%s", lookup.why);
        paro_text_make_printable(e.why, sizeof e.why); /* it quotes rows */
        *out = e;
    }
    paro_arena_release(&arena);
    return status;
}

paro_status paro_cache_prune_old(paro_error *err, paro_cache *cache, bool all_timings,
                                 uint64_t *n_removed)
{
    enum { MAX_FAMILIES = 64 };
    char hashes[MAX_FAMILIES][PARO_SHA256_HEX_BYTES];
    size_t n = 0;
    const paro_family *family = NULL;
    paro_status status = PARO_STATUS_OK;
    while (n < MAX_FAMILIES && (family = paro_family_get(n)) != NULL && status == PARO_STATUS_OK) {
        status = paro_template_hash(err, family, hashes[n]);
        n++;
    }
    if (status != PARO_STATUS_OK)
        return status;
    return paro_cache_prune(err, cache, (const char(*)[PARO_SHA256_HEX_BYTES])hashes, n,
                            all_timings, n_removed);
}
