/* SPDX-License-Identifier: MIT
 *
 * See cuda_api.h.
 */
#include "gpu/cuda_api.h"

#include <dlfcn.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
    int optional;
} functions[] = {
#define PARO_CUDA_ROW(member, name, optional, params)                                              \
    {name, offsetof(paro_cuda_api, member), optional},
    PARO_CUDA_TABLE(PARO_CUDA_ROW)
#undef PARO_CUDA_ROW
};

paro_status paro_cuda_api_load(paro_error *err, const char *library, paro_cuda_api *out)
{
    if (library == NULL)
        library = "libcuda.so.1";
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        const char *reason = dlerror();
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "no CUDA driver: %s cannot be loaded (%s); install the driver of the GPU "
                         "(models also run without one: paro run --device cpu)",
                         library, reason != NULL ? reason : "no reason given");
    }
    paro_cuda_api api;
    memset(&api, 0, sizeof api);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        void *symbol = dlsym(handle, functions[i].name);
        if (symbol == NULL && !functions[i].optional) {
            dlclose(handle);
            return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                             "CUDA driver %s: it lacks %s; update the driver", library,
                             functions[i].name);
        }
        memcpy((char *)&api + functions[i].offset, &symbol, sizeof symbol);
    }
    *out = api;
    return PARO_STATUS_OK;
}
