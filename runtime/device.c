/* SPDX-License-Identifier: MIT
 *
 * See device.h.
 */
#include "runtime/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "emulator/emulator.h"

paro_status paro_device_parse(paro_error *err, const char *text, paro_device_choice *out)
{
    paro_device_choice choice = {.kind = PARO_DEVICE_KIND_CPU};
    const char *digits = NULL;
    if (text == NULL || strcmp(text, "cpu") == 0) {
        choice.kind = PARO_DEVICE_KIND_CPU;
    } else if (strcmp(text, "auto") == 0) {
        choice.kind = PARO_DEVICE_KIND_AUTO;
    } else if (strcmp(text, "cuda") == 0) {
        choice.kind = PARO_DEVICE_KIND_CUDA;
    } else if (strncmp(text, "cuda:", 5) == 0) {
        choice.kind = PARO_DEVICE_KIND_CUDA;
        digits = text + 5;
    } else if (strcmp(text, "emulator") == 0) {
        choice.kind = PARO_DEVICE_KIND_EMULATOR;
    } else if (strncmp(text, "emulator:", 9) == 0 && text[9] != 0) {
        choice.kind = PARO_DEVICE_KIND_EMULATOR;
        choice.folder = text + 9;
    } else {
        digits = "";
    }
    const size_t n = digits == NULL ? 0 : strlen(digits);
    if (digits != NULL && (n == 0 || n > 4 || strspn(digits, "0123456789") != n))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "device: expected auto, cpu, cuda, cuda:N or emulator, found '%s'", text);
    if (digits != NULL)
        choice.ordinal = atoi(digits);
    *out = choice;
    return PARO_STATUS_OK;
}

static paro_status open_gpu(paro_error *err, const paro_device_choice *choice, paro_pool *pool,
                            paro_gpu **out)
{
    if (choice->kind != PARO_DEVICE_KIND_EMULATOR)
        return paro_gpu_open_cuda(err, choice->ordinal, out);
    return paro_gpu_open_emulator(
        err, &(paro_emulator_options){.folder = choice->folder, .pool = pool}, out);
}

paro_status paro_device_open(paro_error *err, const paro_model *model,
                             const paro_model_options *options, paro_gpu_model **out)
{
    paro_error reason = {0};
    paro_device_choice choice;
    paro_gpu *gpu = NULL;
    paro_gpu_model *device = NULL;
    paro_status status = paro_device_parse(err, options == NULL ? NULL : options->device, &choice);
    if (status != PARO_STATUS_OK)
        return status;
    if (choice.kind == PARO_DEVICE_KIND_CPU) {
        *out = NULL;
        return PARO_STATUS_OK;
    }
    const bool is_auto = choice.kind == PARO_DEVICE_KIND_AUTO;
    const paro_kernels_options kernels = {.cache_path = options->cache_path,
                                          .system_cache_path = options->system_cache_path,
                                          .nvrtc_library = options->nvrtc_library,
                                          .observer = options->observer,
                                          .pool = model->pool};
    status = open_gpu(&reason, &choice, model->pool, &gpu);
    const bool is_there = status == PARO_STATUS_OK;
    if (is_there)
        status = paro_gpu_model_new(&reason, model, gpu, &kernels, &device);
    if (status == PARO_STATUS_OK) {
        paro_log(options->observer, PARO_LOG_LEVEL_INFO, "%s runs on %s", model->dir, device->name);
        *out = device;
        return status;
    }
    if (!is_auto || status == PARO_STATUS_CANCELLED)
        return paro_fail(err, status, "%s", reason.message);
    /* A machine without a GPU is nothing to warn of; one whose GPU stands idle is. */
    paro_log(options->observer, is_there ? PARO_LOG_LEVEL_WARNING : PARO_LOG_LEVEL_DEBUG,
             "%s runs on the CPU: %s", model->dir, reason.message);
    *out = NULL;
    return PARO_STATUS_OK;
}
