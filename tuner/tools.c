/* SPDX-License-Identifier: MIT
 *
 * What this machine has for kernels: GPU, NVRTC, libclang (include/paro/kernel.h).
 */
#include <stdio.h>

#include <paro/kernel.h>

#include "codegen/codegen.h"
#include "gpu/gpu.h"

void paro_tools_find(const char *nvrtc_library, paro_tools *out)
{
    paro_error err;
    paro_gpu *gpu = NULL;
    paro_nvrtc *nvrtc = NULL;
    paro_checker *checker = NULL;
    *out = (paro_tools){0};

    out->has_gpu = paro_gpu_open_cuda(&err, 0, &gpu) == PARO_STATUS_OK;
    if (out->has_gpu) {
        const paro_device_info *info = paro_gpu_info(gpu);
        snprintf(out->gpu, sizeof out->gpu, "%s (sm_%u), driver %s", info->name, info->capability,
                 paro_gpu_driver_version(gpu));
    } else {
        snprintf(out->gpu, sizeof out->gpu, "none: %.240s", err.message);
    }
    paro_gpu_free(gpu);

    out->has_nvrtc = paro_nvrtc_new(&err, nvrtc_library, &nvrtc) == PARO_STATUS_OK;
    if (out->has_nvrtc)
        snprintf(out->nvrtc, sizeof out->nvrtc, "%s", paro_nvrtc_version(nvrtc));
    else
        snprintf(out->nvrtc, sizeof out->nvrtc, "none: %.240s", err.message);
    paro_nvrtc_free(nvrtc);

    out->has_libclang = paro_checker_new(&err, &checker) == PARO_STATUS_OK;
    if (out->has_libclang)
        snprintf(out->libclang, sizeof out->libclang, "%s", paro_checker_version(checker));
    else
        snprintf(out->libclang, sizeof out->libclang, "none: %.240s", err.message);
    paro_checker_free(checker);
}
