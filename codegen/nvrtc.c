/* SPDX-License-Identifier: MIT
 *
 * CUDA C++ to cubin or PTX, by NVRTC, which is loaded with dlopen.
 *
 * Invariants: 1. a paro_nvrtc does not change after paro_nvrtc_new, so threads share it; 2. the log
 * has nothing that differs between two compilations of one source.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/codegen.h"

/* NVRTC's C API, as far as it is used here (its documentation, 12.0 to 13.0). */
typedef struct nvrtc_program nvrtc_program;
enum { NVRTC_SUCCESS = 0, NVRTC_ERROR_OUT_OF_MEMORY = 1, NVRTC_ERROR_COMPILATION = 6 };

typedef struct nvrtc_api {
    int (*version)(int *major, int *minor);
    int (*n_archs)(int *n);
    int (*archs)(int *capabilities);
    const char *(*error_string)(int result);
    int (*create)(nvrtc_program **program, const char *source, const char *name, int n_headers,
                  const char *const *headers, const char *const *header_names);
    int (*compile)(nvrtc_program *program, int n_options, const char *const *options);
    int (*destroy)(nvrtc_program **program);
    int (*cubin_size)(nvrtc_program *program, size_t *n_bytes);
    int (*cubin)(nvrtc_program *program, char *cubin);
    int (*ptx_size)(nvrtc_program *program, size_t *n_bytes);
    int (*ptx)(nvrtc_program *program, char *ptx);
    int (*log_size)(nvrtc_program *program, size_t *n_bytes);
    int (*log)(nvrtc_program *program, char *log);
} nvrtc_api;

enum { MAX_ARCHS = 128, MAX_PATH_BYTES = 4096 };

struct paro_nvrtc {
    void *handle;
    void *builtins;
    nvrtc_api api;
    char version[32];
    int archs[MAX_ARCHS];
    int n_archs;
};

/* A function of the library: `slot` is a member of nvrtc_api. */
static bool load_symbol(void *handle, const char *name, void *slot)
{
    void *symbol = dlsym(handle, name);
    memcpy(slot, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* NULL, or the name of what is missing. */
static const char *load_api(void *handle, nvrtc_api *api)
{
    const struct {
        const char *name;
        void *slot;
    } rows[] = {
        {"nvrtcVersion", &api->version},
        {"nvrtcGetNumSupportedArchs", &api->n_archs},
        {"nvrtcGetSupportedArchs", &api->archs},
        {"nvrtcGetErrorString", &api->error_string},
        {"nvrtcCreateProgram", &api->create},
        {"nvrtcCompileProgram", &api->compile},
        {"nvrtcDestroyProgram", &api->destroy},
        {"nvrtcGetCUBINSize", &api->cubin_size},
        {"nvrtcGetCUBIN", &api->cubin},
        {"nvrtcGetPTXSize", &api->ptx_size},
        {"nvrtcGetPTX", &api->ptx},
        {"nvrtcGetProgramLogSize", &api->log_size},
        {"nvrtcGetProgramLog", &api->log},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!load_symbol(handle, rows[i].name, rows[i].slot))
            return rows[i].name;
    }
    return NULL;
}

/* The folder of the program that runs, without a slash at the end; "" where it cannot be known. */
static void program_folder(char out[MAX_PATH_BYTES])
{
    ssize_t n = readlink("/proc/self/exe", out, MAX_PATH_BYTES - 1);
    out[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(out, '/');
    if (slash != NULL)
        *slash = '\0';
}

/* The search of codegen.h. */
static void *open_library(const char *library)
{
    if (library != NULL)
        return dlopen(library, RTLD_NOW | RTLD_LOCAL);
    static const char *const names[] = {
        "libnvrtc.so.13",
        "libnvrtc.so.12",
        "/usr/local/cuda/lib64/libnvrtc.so",
    };
    /* Below the folder above the program's: PREFIX/bin/paro finds PREFIX/lib/paro/, and
     * build/release/paro build/nvrtc/. */
    static const char *const near[] = {"lib/paro/libnvrtc.so.13", "nvrtc/libnvrtc.so.13"};
    void *handle = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && handle == NULL; i++)
        handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    char folder[MAX_PATH_BYTES], path[MAX_PATH_BYTES + 64];
    program_folder(folder);
    for (size_t i = 0; i < sizeof near / sizeof near[0] && handle == NULL; i++) {
        snprintf(path, sizeof path, "%s/../%s", folder, near[i]);
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return handle;
}

/* NVRTC opens its second library by name only, which the loader finds where the first one was given
 * with a path if it is there already. Its absence is NVRTC's to report. */
static void *open_builtins(const nvrtc_api *api, int major, int minor)
{
    Dl_info info;
    void *symbol;
    memcpy(&symbol, &api->version, sizeof symbol);
    if (dladdr(symbol, &info) == 0 || info.dli_fname == NULL)
        return NULL;
    const char *slash = strrchr(info.dli_fname, '/');
    if (slash == NULL)
        return NULL;
    char path[MAX_PATH_BYTES];
    int n = snprintf(path, sizeof path, "%.*s/libnvrtc-builtins.so.%d.%d",
                     (int)(slash - info.dli_fname), info.dli_fname, major, minor);
    return n > 0 && (size_t)n < sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

paro_status paro_nvrtc_new(paro_error *err, const char *library, paro_nvrtc **out)
{
    paro_status status = PARO_STATUS_OK;
    paro_nvrtc *nvrtc = calloc(1, sizeof *nvrtc);
    if (nvrtc == NULL)
        return paro_fail_memory(err, sizeof *nvrtc, "NVRTC");
    nvrtc->handle = open_library(library);
    if (nvrtc->handle == NULL && library != NULL) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "expected NVRTC at '%s', which does not load; name another library or "
                           "none",
                           library);
        goto done;
    }
    if (nvrtc->handle == NULL) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "kernels are compiled by NVRTC: expected libnvrtc.so.13 or .12 on the "
                           "loader's path, in /usr/local/cuda/lib64, or where "
                           "scripts/fetch_nvrtc.sh puts it, found none; install the CUDA toolkit, "
                           "run that script, or set PARO_NVRTC");
        goto done;
    }
    const char *missing = load_api(nvrtc->handle, &nvrtc->api);
    if (missing != NULL) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "%s: expected NVRTC 12 or newer, found a library without %s",
                           library != NULL ? library : "libnvrtc", missing);
        goto done;
    }
    int major = 0, minor = 0;
    if (nvrtc->api.version(&major, &minor) != NVRTC_SUCCESS ||
        nvrtc->api.n_archs(&nvrtc->n_archs) != NVRTC_SUCCESS || nvrtc->n_archs < 1 ||
        nvrtc->n_archs > MAX_ARCHS || nvrtc->api.archs(nvrtc->archs) != NVRTC_SUCCESS) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "NVRTC does not tell its version and architectures; install another");
        goto done;
    }
    snprintf(nvrtc->version, sizeof nvrtc->version, "%d.%d", major, minor);
    nvrtc->builtins = open_builtins(&nvrtc->api, major, minor);
    *out = nvrtc;
    nvrtc = NULL;
done:
    paro_nvrtc_free(nvrtc);
    return status;
}

void paro_nvrtc_free(paro_nvrtc *nvrtc)
{
    if (nvrtc == NULL)
        return;
    if (nvrtc->builtins != NULL)
        dlclose(nvrtc->builtins);
    /* The library itself stays loaded: it has threads and thread-local memory of its own. */
    free(nvrtc);
}

const char *paro_nvrtc_version(const paro_nvrtc *nvrtc)
{
    return nvrtc->version;
}

static bool knows(const paro_nvrtc *nvrtc, int capability)
{
    for (int i = 0; i < nvrtc->n_archs; i++) {
        if (nvrtc->archs[i] == capability)
            return true;
    }
    return false;
}

bool paro_nvrtc_supports(const paro_nvrtc *nvrtc, const paro_arch *arch)
{
    return knows(nvrtc, (int)arch->capability);
}

/* C++17; constants without a word are the device's; ptxas tells registers and spills. */
#define FIXED_OPTIONS(X)  X("-std=c++17") X("-default-device") X("--ptxas-options=-v")
#define OPTION_ITEM(text) text,
#define OPTION_LINE(text) text "\n"
static const char *const fixed_options[] = {FIXED_OPTIONS(OPTION_ITEM)};
enum { N_FIXED_OPTIONS = sizeof fixed_options / sizeof fixed_options[0] };

const char *paro_nvrtc_options(void)
{
    return FIXED_OPTIONS(OPTION_LINE);
}

void paro_binary_release(paro_binary *binary)
{
    if (binary == NULL)
        return;
    free(binary->data);
    free(binary->log);
    *binary = (paro_binary){0};
}

/* Takes the lines out of the log that tell times. */
static void drop_times(char *log)
{
    char *to = log;
    for (char *line = log; *line != '\0';) {
        char *end = strchr(line, '\n');
        size_t n = end != NULL ? (size_t)(end - line) + 1 : strlen(line);
        if (memmem(line, n, "Compile time", sizeof "Compile time" - 1) == NULL) {
            memmove(to, line, n);
            to += n;
        }
        line += n;
    }
    *to = '\0';
}

static paro_status read_log(paro_error *err, const nvrtc_api *api, nvrtc_program *program,
                            char **out)
{
    size_t n_bytes = 0;
    if (api->log_size(program, &n_bytes) != NVRTC_SUCCESS)
        n_bytes = 0;
    char *log = calloc(n_bytes + 1, 1);
    if (log == NULL)
        return paro_fail_memory(err, n_bytes, "NVRTC's log");
    if (n_bytes > 0 && api->log(program, log) != NVRTC_SUCCESS)
        log[0] = '\0';
    drop_times(log);
    *out = log;
    return PARO_STATUS_OK;
}

/* The first line of the log that tells an error; else its first line. */
static paro_status fail_compile(paro_error *err, const char *target, const char *log)
{
    static const char *const words[] = {"error", "fatal"};
    const char *at = NULL;
    for (size_t i = 0; i < sizeof words / sizeof words[0] && at == NULL; i++)
        at = strstr(log, words[i]);
    if (at == NULL)
        at = log;
    while (at > log && at[-1] != '\n')
        at--;
    int n = (int)strcspn(at, "\n");
    return paro_fail(err, PARO_STATUS_FORMAT, "NVRTC for %s: %.*s", target, n > 0 ? n : 10,
                     n > 0 ? at : "(no words)");
}

static paro_status read_binary(paro_error *err, const nvrtc_api *api, nvrtc_program *program,
                               const char *target, paro_binary *binary)
{
    int (*size)(nvrtc_program *, size_t *) = binary->is_ptx ? api->ptx_size : api->cubin_size;
    int (*get)(nvrtc_program *, char *) = binary->is_ptx ? api->ptx : api->cubin;
    size_t n_bytes = 0;
    int result = size(program, &n_bytes);
    if (result == NVRTC_SUCCESS && n_bytes > 0) {
        binary->data = malloc(n_bytes);
        if (binary->data == NULL)
            return paro_fail_memory(err, n_bytes, "a kernel's binary");
        binary->n_bytes = n_bytes;
        result = get(program, binary->data);
    }
    if (result != NVRTC_SUCCESS || n_bytes == 0)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "NVRTC made nothing for %s: %s", target,
                         api->error_string(result));
    return PARO_STATUS_OK;
}

paro_status paro_nvrtc_compile(paro_error *err, const paro_nvrtc *nvrtc, const char *source,
                               const char *target, paro_binary *out)
{
    const nvrtc_api *api = &nvrtc->api;
    paro_status status = PARO_STATUS_OK;
    nvrtc_program *program = NULL;
    paro_binary binary = {.is_ptx = strncmp(target, "compute_", 8) == 0};
    const char *underscore = strchr(target, '_');
    if (underscore == NULL || !knows(nvrtc, atoi(underscore + 1)))
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "NVRTC %s does not know '%s'; expected one of its architectures, from %d "
                         "to %d",
                         nvrtc->version, target, nvrtc->archs[0], nvrtc->archs[nvrtc->n_archs - 1]);
    char arch_option[64];
    snprintf(arch_option, sizeof arch_option, "--gpu-architecture=%s", target);
    const char *options[N_FIXED_OPTIONS + 1] = {arch_option};
    memcpy(options + 1, fixed_options, sizeof fixed_options);

    int result = api->create(&program, source, "kernel.cu", 0, NULL, NULL);
    if (result == NVRTC_SUCCESS)
        result = api->compile(program, N_FIXED_OPTIONS + 1, options);
    if (program != NULL) {
        status = read_log(err, api, program, &binary.log);
        if (status != PARO_STATUS_OK)
            goto done;
    }
    if (result == NVRTC_ERROR_COMPILATION) {
        status = fail_compile(err, target, binary.log);
        goto done;
    }
    if (result == NVRTC_ERROR_OUT_OF_MEMORY) {
        status = paro_fail_memory(err, strlen(source), "NVRTC");
        goto done;
    }
    if (result != NVRTC_SUCCESS) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED, "NVRTC %s for %s: %s", nvrtc->version,
                           target, api->error_string(result));
        goto done;
    }
    status = read_binary(err, api, program, target, &binary);
    if (status == PARO_STATUS_OK) {
        *out = binary;
        binary = (paro_binary){0};
    }
done:
    if (program != NULL)
        api->destroy(&program);
    paro_binary_release(&binary);
    return status;
}
