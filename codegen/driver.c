/* SPDX-License-Identifier: MIT
 *
 * The passes in their order, each with its result shown to the caller:
 *
 *     problem     the canonical text                             families
 *     config      all params                                     families
 *     source      the template with its holes filled             render.c
 *     signature   kernels and parameters, against the plan       clang_check.c, signature.c
 *     binary      cubin or PTX, and the compiler's log ("log")   nvrtc.c
 *     resources   registers, spills, instructions                inspect.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"

void paro_kernel_key(const char *source, const char *target, const char *nvrtc_version,
                     char out[PARO_SHA256_HEX_BYTES])
{
    /* Hash of hashes: no text can run into the next one. */
    const char *const texts[] = {source, target, paro_nvrtc_options(), nvrtc_version};
    enum { N_TEXTS = sizeof texts / sizeof texts[0] };
    char hashes[N_TEXTS][PARO_SHA256_HEX_BYTES];
    for (size_t i = 0; i < N_TEXTS; i++)
        paro_sha256_hex(texts[i], strlen(texts[i]), hashes[i]);
    paro_sha256_hex(hashes, sizeof hashes, out);
}

void paro_build_release(paro_build *build)
{
    if (build == NULL)
        return;
    free(build->source);
    paro_binary_release(&build->binary);
    paro_arena_release(&build->arena);
    *build = (paro_build){0};
}

typedef struct passes {
    paro_error *err;
    const paro_variant *variant;
    paro_checker *checker;
    const paro_nvrtc *nvrtc;
    paro_dump_fn *dump;
    void *context;
    paro_build *build;
} passes;

static void show(const passes *p, const char *pass, const char *text, size_t n_bytes)
{
    if (p->dump != NULL)
        p->dump(p->context, pass, text, n_bytes);
}

static paro_status pass_problem(passes *p)
{
    const paro_variant *variant = p->variant;
    char problem[PARO_PROBLEM_TEXT_BYTES];
    paro_problem_print(variant->problem, problem);
    const char *why =
        variant->problem->family->constraint(variant->problem, variant->config, variant->arch);
    char config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_kernel_config_print(variant->problem->family, variant->config, config);
    if (why != NULL)
        return paro_fail(p->err, PARO_STATUS_INVALID_ARGUMENT, "%s with \"%s\" on %s: %s", problem,
                         config, variant->arch->name, why);
    show(p, "problem", problem, strlen(problem));
    show(p, "config", config, strlen(config));
    return PARO_STATUS_OK;
}

static paro_status pass_render(passes *p)
{
    paro_buffer source = {0};
    paro_status status = paro_render(p->err, p->variant, &source);
    if (status == PARO_STATUS_OK) {
        p->build->n_source_bytes = source.n_bytes;
        p->build->source = paro_buffer_take(&source);
        p->build->target = paro_target_of(p->build->source, p->variant->arch);
        show(p, "source", p->build->source, p->build->n_source_bytes);
    }
    paro_buffer_free(&source);
    return status;
}

static paro_status pass_check(passes *p)
{
    paro_build *build = p->build;
    if (p->checker == NULL)
        return PARO_STATUS_OK;
    paro_buffer text = {0};
    paro_status status = paro_checker_check(
        p->err, p->checker, build->source, build->n_source_bytes, &build->arena, &build->signature);
    if (status == PARO_STATUS_OK)
        status = paro_signature_check(p->err, &build->signature, p->variant->problem,
                                      p->variant->config);
    if (status == PARO_STATUS_OK && p->dump != NULL) {
        status = paro_signature_print(p->err, &build->signature, &text);
        if (status == PARO_STATUS_OK)
            show(p, "signature", text.data, text.n_bytes);
    }
    build->has_signature = status == PARO_STATUS_OK;
    paro_buffer_free(&text);
    return status;
}

static paro_status pass_compile(passes *p)
{
    paro_build *build = p->build;
    if (p->nvrtc == NULL)
        return PARO_STATUS_OK;
    paro_status status =
        paro_nvrtc_compile(p->err, p->nvrtc, build->source, build->target, &build->binary);
    if (status != PARO_STATUS_OK)
        return status;
    paro_kernel_key(build->source, build->target, paro_nvrtc_version(p->nvrtc), build->key);
    show(p, "binary", build->binary.data, build->binary.n_bytes);
    show(p, "log", build->binary.log, strlen(build->binary.log));
    return PARO_STATUS_OK;
}

static paro_status pass_inspect(passes *p)
{
    paro_build *build = p->build;
    if (p->nvrtc == NULL)
        return PARO_STATUS_OK;
    paro_buffer text = {0};
    paro_status status = paro_inspect(p->err, &build->binary, &build->arena, &build->resources);
    if (status == PARO_STATUS_OK && p->dump != NULL) {
        status = paro_resources_print(p->err, &build->resources, &text);
        if (status == PARO_STATUS_OK)
            show(p, "resources", text.data, text.n_bytes);
    }
    paro_buffer_free(&text);
    return status;
}

paro_status paro_build_variant(paro_error *err, const paro_variant *variant, paro_checker *checker,
                               const paro_nvrtc *nvrtc, paro_dump_fn *dump, void *context,
                               paro_build *out)
{
    static paro_status (*const order[])(passes *) = {pass_problem, pass_render, pass_check,
                                                     pass_compile, pass_inspect};
    paro_build build = {0};
    passes p = {err, variant, checker, nvrtc, dump, context, &build};
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < sizeof order / sizeof order[0] && status == PARO_STATUS_OK; i++)
        status = order[i](&p);
    if (status == PARO_STATUS_OK) {
        *out = build;
        build = (paro_build){0};
    }
    paro_build_release(&build);
    return status;
}
