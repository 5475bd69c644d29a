/* SPDX-License-Identifier: MIT
 *
 * One kernel for users: the text of a stage (include/paro/kernel.h).
 */
#include <stdlib.h>
#include <string.h>

#include <paro/kernel.h>

#include "codegen/codegen.h"

/* The variant that a user's words mean; problem and config are filled in for it. */
static paro_status read_variant(paro_error *err, const char *text,
                                const paro_kernel_options *options, paro_problem *problem,
                                paro_kernel_config *config, paro_variant *out)
{
    const char *arch_name = options->arch != NULL ? options->arch : "sm_90";
    const paro_arch *arch = paro_arch_find(arch_name);
    if (arch == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "arch: expected one of sm_75 … sm_121, found '%s'", arch_name);
    paro_status status = paro_problem_parse(err, text, problem);
    if (status != PARO_STATUS_OK)
        return status;
    problem->family->default_config(problem, arch, config);
    if (options->config != NULL)
        status = paro_kernel_config_parse(err, problem->family, options->config, config);
    if (status == PARO_STATUS_OK)
        *out = (paro_variant){.problem = problem, .config = config, .arch = arch};
    return status;
}

static paro_status make(paro_error *err, const paro_variant *variant,
                        const paro_kernel_options *options, paro_kernel_stage stage,
                        paro_buffer *text)
{
    paro_checker *checker = NULL;
    paro_nvrtc *nvrtc = NULL;
    paro_build build = {0};
    paro_status status = PARO_STATUS_OK;
    if (stage == PARO_KERNEL_STAGE_SIGNATURE)
        status = paro_checker_new(err, &checker);
    else if (stage != PARO_KERNEL_STAGE_SOURCE)
        status = paro_nvrtc_new(err, options->nvrtc_library, &nvrtc);
    if (status == PARO_STATUS_OK)
        status = paro_build_variant(err, variant, checker, nvrtc, NULL, NULL, &build);
    if (status != PARO_STATUS_OK)
        goto done;
    switch (stage) {
    case PARO_KERNEL_STAGE_SOURCE:
        if (!paro_buffer_append(text, build.source, build.n_source_bytes))
            status = paro_fail_memory(err, build.n_source_bytes, "the source");
        break;
    case PARO_KERNEL_STAGE_SIGNATURE:
        status = paro_signature_print(err, &build.signature, text);
        break;
    case PARO_KERNEL_STAGE_RESOURCES:
        status = paro_resources_print(err, &build.resources, text);
        break;
    case PARO_KERNEL_STAGE_SASS:
        status = paro_disassemble(err, &build.binary, text);
        break;
    }
done:
    paro_build_release(&build);
    paro_nvrtc_free(nvrtc);
    paro_checker_free(checker);
    return status;
}

paro_status paro_kernel_show(paro_error *err, const char *problem,
                             const paro_kernel_options *options, paro_kernel_stage stage,
                             char **text, size_t *n_bytes)
{
    static const paro_kernel_options none = {0};
    paro_problem parsed;
    paro_kernel_config config = {0};
    paro_variant variant;
    paro_buffer buffer = {0};
    if (options == NULL)
        options = &none;
    paro_status status = read_variant(err, problem, options, &parsed, &config, &variant);
    if (status == PARO_STATUS_OK)
        status = make(err, &variant, options, stage, &buffer);
    if (status == PARO_STATUS_OK && buffer.n_bytes > 0 && buffer.data[buffer.n_bytes - 1] != '\n' &&
        !paro_buffer_append(&buffer, "\n", 1))
        status = paro_fail_memory(err, buffer.n_bytes, "a stage's text");
    if (status != PARO_STATUS_OK) {
        paro_buffer_free(&buffer);
        return status;
    }
    *n_bytes = buffer.n_bytes;
    *text = paro_buffer_take(&buffer);
    return PARO_STATUS_OK;
}
