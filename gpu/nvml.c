/* SPDX-License-Identifier: MIT
 *
 * See nvml.h.
 */
#include "gpu/nvml.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/backend.h"

typedef struct nvml_device_opaque *nvml_device;

typedef struct nvml_process {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance;
    unsigned compute_instance;
} nvml_process;

enum { NVML_CLOCK_SM = 1, NVML_MAX_PROCESSES = 64 };

/* Power cap, hardware slowdown, thermal (both), power brake: not idle, user settings, sync boost.
 */
static const uint64_t throttle_bits = 0x4 | 0x8 | 0x20 | 0x40 | 0x80;

struct paro_nvml {
    int (*init)(void);
    int (*shutdown)(void);
    int (*driver_version)(char *out, unsigned capacity);
    int (*device)(const char *pci_id, nvml_device *out);
    int (*clock)(nvml_device device, int type, unsigned *mhz);
    int (*max_clock)(nvml_device device, int type, unsigned *mhz);
    int (*reasons)(nvml_device device, unsigned long long *out);
    int (*processes)(nvml_device device, unsigned *n, nvml_process *out);
    bool is_started;
    nvml_device handle;
};

static void look_up(void *library, const char *name, void *member)
{
    void *symbol = dlsym(library, name);
    memcpy(member, &symbol, sizeof symbol);
}

static paro_status start(paro_error *err, paro_nvml *nvml)
{
    static const char library[] = "libnvidia-ml.so.1";
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "no NVML: %s cannot be loaded", library);
    look_up(handle, "nvmlInit_v2", &nvml->init);
    look_up(handle, "nvmlShutdown", &nvml->shutdown);
    look_up(handle, "nvmlSystemGetDriverVersion", &nvml->driver_version);
    look_up(handle, "nvmlDeviceGetHandleByPciBusId_v2", &nvml->device);
    look_up(handle, "nvmlDeviceGetClockInfo", &nvml->clock);
    look_up(handle, "nvmlDeviceGetMaxClockInfo", &nvml->max_clock);
    look_up(handle, "nvmlDeviceGetCurrentClocksEventReasons", &nvml->reasons);
    if (nvml->reasons == NULL)
        look_up(handle, "nvmlDeviceGetCurrentClocksThrottleReasons", &nvml->reasons);
    look_up(handle, "nvmlDeviceGetComputeRunningProcesses_v3", &nvml->processes);
    if (nvml->init == NULL || nvml->shutdown == NULL || nvml->driver_version == NULL ||
        nvml->device == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "NVML %s lacks nvmlInit_v2, nvmlShutdown, nvmlSystemGetDriverVersion or "
                         "nvmlDeviceGetHandleByPciBusId_v2",
                         library);
    int result = nvml->init();
    if (result != 0)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "NVML cannot be used (NVML error %d)",
                         result);
    nvml->is_started = true;
    return PARO_STATUS_OK;
}

paro_status paro_nvml_new(paro_error *err, const paro_gpu *gpu, paro_nvml **out)
{
    if (gpu->pci_id[0] == '\0')
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "NVML: %s is no device of its",
                         gpu->info.name);
    paro_nvml *nvml = calloc(1, sizeof *nvml);
    if (nvml == NULL)
        return paro_fail_memory(err, sizeof *nvml, "NVML");
    paro_status status = start(err, nvml);
    if (status == PARO_STATUS_OK) {
        int result = nvml->device(gpu->pci_id, &nvml->handle);
        if (result != 0)
            status = paro_fail(err, PARO_STATUS_UNSUPPORTED, "NVML: no device %s (NVML error %d)",
                               gpu->pci_id, result);
    }
    if (status != PARO_STATUS_OK) {
        paro_nvml_free(nvml);
        return status;
    }
    *out = nvml;
    return PARO_STATUS_OK;
}

void paro_nvml_free(paro_nvml *nvml)
{
    if (nvml == NULL)
        return;
    if (nvml->is_started)
        nvml->shutdown();
    free(nvml);
}

void paro_nvml_read(const paro_nvml *nvml, paro_nvml_state *out)
{
    paro_nvml_state state = {0};
    unsigned mhz = 0;
    if (nvml->clock != NULL && nvml->clock(nvml->handle, NVML_CLOCK_SM, &mhz) == 0)
        state.sm_clock_mhz = mhz;
    if (nvml->max_clock != NULL && nvml->max_clock(nvml->handle, NVML_CLOCK_SM, &mhz) == 0)
        state.max_sm_clock_mhz = mhz;
    unsigned long long reasons = 0;
    if (nvml->reasons != NULL && nvml->reasons(nvml->handle, &reasons) == 0)
        state.reasons = reasons;
    state.is_throttled = (state.reasons & throttle_bits) != 0;
    *out = state;
}

uint32_t paro_nvml_n_processes(const paro_nvml *nvml)
{
    nvml_process processes[NVML_MAX_PROCESSES];
    unsigned n = NVML_MAX_PROCESSES;
    if (nvml->processes == NULL || nvml->processes(nvml->handle, &n, processes) != 0)
        return 0;
    return n;
}

bool paro_nvml_driver_version(char *out, size_t capacity)
{
    paro_nvml nvml;
    memset(&nvml, 0, sizeof nvml);
    bool ok =
        start(NULL, &nvml) == PARO_STATUS_OK && nvml.driver_version(out, (unsigned)capacity) == 0;
    if (nvml.is_started)
        nvml.shutdown();
    return ok;
}
