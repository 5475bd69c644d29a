/* SPDX-License-Identifier: MIT
 *
 * The part of the CUDA driver's interface that paro calls, with prototypes of our own (no build
 * needs CUDA's headers) and looked up in libcuda.so.1 at run time. Names are the versioned ones
 * that the library exports.
 */
#ifndef PARO_GPU_CUDA_API_H
#define PARO_GPU_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef int cu_result; /* 0: success */
typedef int cu_device;
typedef uint64_t cu_ptr;
typedef struct cu_context_opaque *cu_context;
typedef struct cu_module_opaque *cu_module;
typedef struct cu_function_opaque *cu_function;
typedef struct cu_stream_opaque *cu_stream;
typedef struct cu_event_opaque *cu_event;
typedef struct cu_graph_opaque *cu_graph;
typedef struct cu_graph_exec_opaque *cu_graph_exec;

/* What the driver answers with. */
enum {
    CU_INVALID_VALUE = 1,
    CU_OUT_OF_MEMORY = 2,
    CU_DEVICE_UNAVAILABLE = 46,
    CU_NO_DEVICE = 100,
    CU_INVALID_DEVICE = 101,
    CU_INVALID_IMAGE = 200,
    CU_NO_BINARY_FOR_GPU = 209,
    CU_ECC_UNCORRECTABLE = 214,
    CU_INVALID_PTX = 218,
    CU_NVLINK_UNCORRECTABLE = 220,
    CU_UNSUPPORTED_PTX_VERSION = 222,
    CU_CONTAINED = 226,
    CU_NOT_FOUND = 500,
    CU_ILLEGAL_ADDRESS = 700,
    CU_LAUNCH_OUT_OF_RESOURCES = 701,
    CU_LAUNCH_TIMEOUT = 702,
    CU_CONTEXT_IS_DESTROYED = 709,
    CU_ASSERT = 710,
    CU_HARDWARE_STACK_ERROR = 714,
    CU_LAUNCH_FAILED = 719,
    CU_TENSOR_MEMORY_LEAK = 721,
    CU_INVALID_CLUSTER_SIZE = 912,
    CU_UNKNOWN = 999
};

enum {
    CU_ATTRIBUTE_CLOCK_KHZ = 13,
    CU_ATTRIBUTE_N_SMS = 16,
    CU_ATTRIBUTE_MEMORY_CLOCK_KHZ = 36,
    CU_ATTRIBUTE_MEMORY_BUS_BITS = 37,
    CU_ATTRIBUTE_L2_BYTES = 38,
    CU_ATTRIBUTE_CAPABILITY_MAJOR = 75,
    CU_ATTRIBUTE_CAPABILITY_MINOR = 76,
    CU_ATTRIBUTE_SM_SHARED_BYTES = 81,
    CU_ATTRIBUTE_MAX_SHARED_BYTES = 97
};

enum {
    CU_FUNCTION_MAX_THREADS = 0,
    CU_FUNCTION_STATIC_SHARED_BYTES = 1,
    CU_FUNCTION_LOCAL_BYTES = 3,
    CU_FUNCTION_N_REGISTERS = 4,
    CU_FUNCTION_MAX_DYNAMIC_SHARED_BYTES = 8
};

enum { CU_STREAM_NON_BLOCKING = 1, CU_CAPTURE_RELAXED = 2, CU_LAUNCH_CLUSTER = 4 };

typedef struct cu_launch_attribute {
    int id;
    char pad[4];
    union {
        char pad[64];
        struct {
            unsigned x, y, z;
        } cluster;
    } value;
} cu_launch_attribute;

typedef struct cu_launch_config {
    unsigned grid[3];
    unsigned block[3];
    unsigned shared_bytes;
    cu_stream stream;
    cu_launch_attribute *attributes;
    unsigned n_attributes;
} cu_launch_config;

/* One row a function: member, exported name, whether it may be missing, parameters. */
#define PARO_CUDA_TABLE(X)                                                                         \
    X(init, "cuInit", 0, (unsigned flags))                                                         \
    X(driver_version, "cuDriverGetVersion", 0, (int *version))                                     \
    X(error_text, "cuGetErrorString", 0, (cu_result result, const char **text))                    \
    X(device_count, "cuDeviceGetCount", 0, (int *n))                                               \
    X(device_get, "cuDeviceGet", 0, (cu_device * device, int ordinal))                             \
    X(device_name, "cuDeviceGetName", 0, (char *name, int capacity, cu_device device))             \
    X(device_attribute, "cuDeviceGetAttribute", 0, (int *value, int attribute, cu_device device))  \
    X(device_memory, "cuDeviceTotalMem_v2", 0, (size_t * n_bytes, cu_device device))               \
    X(device_pci_id, "cuDeviceGetPCIBusId", 0, (char *id, int capacity, cu_device device))         \
    X(context_retain, "cuDevicePrimaryCtxRetain", 0, (cu_context * context, cu_device device))     \
    X(context_release, "cuDevicePrimaryCtxRelease_v2", 0, (cu_device device))                      \
    X(context_push, "cuCtxPushCurrent_v2", 0, (cu_context context))                                \
    X(context_pop, "cuCtxPopCurrent_v2", 0, (cu_context * context))                                \
    X(memory_info, "cuMemGetInfo_v2", 0, (size_t * n_free, size_t * n_total))                      \
    X(alloc, "cuMemAlloc_v2", 0, (cu_ptr * ptr, size_t n_bytes))                                   \
    X(release, "cuMemFree_v2", 0, (cu_ptr ptr))                                                    \
    X(upload, "cuMemcpyHtoDAsync_v2", 0,                                                           \
      (cu_ptr to, const void *from, size_t n_bytes, cu_stream stream))                             \
    X(download, "cuMemcpyDtoHAsync_v2", 0,                                                         \
      (void *to, cu_ptr from, size_t n_bytes, cu_stream stream))                                   \
    X(copy, "cuMemcpyDtoDAsync_v2", 0, (cu_ptr to, cu_ptr from, size_t n_bytes, cu_stream stream)) \
    X(fill, "cuMemsetD8Async", 0,                                                                  \
      (cu_ptr to, unsigned char byte, size_t n_bytes, cu_stream stream))                           \
    X(stream_new, "cuStreamCreate", 0, (cu_stream * stream, unsigned flags))                       \
    X(stream_free, "cuStreamDestroy_v2", 0, (cu_stream stream))                                    \
    X(stream_wait, "cuStreamSynchronize", 0, (cu_stream stream))                                   \
    X(event_new, "cuEventCreate", 0, (cu_event * event, unsigned flags))                           \
    X(event_free, "cuEventDestroy_v2", 0, (cu_event event))                                        \
    X(event_record, "cuEventRecord", 0, (cu_event event, cu_stream stream))                        \
    X(event_wait, "cuEventSynchronize", 0, (cu_event event))                                       \
    X(event_elapsed, "cuEventElapsedTime", 0, (float *ms, cu_event from, cu_event to))             \
    X(module_load, "cuModuleLoadData", 0, (cu_module * module, const void *image))                 \
    X(module_free, "cuModuleUnload", 0, (cu_module module))                                        \
    X(module_function, "cuModuleGetFunction", 0,                                                   \
      (cu_function * function, cu_module module, const char *name))                                \
    X(function_get, "cuFuncGetAttribute", 0, (int *value, int attribute, cu_function function))    \
    X(function_set, "cuFuncSetAttribute", 0, (cu_function function, int attribute, int value))     \
    X(function_param, "cuFuncGetParamInfo", 1,                                                     \
      (cu_function function, size_t index, size_t * offset, size_t * n_bytes))                     \
    X(function_n_params, "cuFuncGetParamCount", 1, (cu_function function, size_t * n_params))      \
    X(function_load, "cuFuncLoad", 1, (cu_function function))                                      \
    X(occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor", 0,                                 \
      (int *n_blocks, cu_function function, int n_threads, size_t shared_bytes))                   \
    X(launch, "cuLaunchKernel", 0,                                                                 \
      (cu_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,  \
       unsigned block_y, unsigned block_z, unsigned shared_bytes, cu_stream stream, void **params, \
       void **extra))                                                                              \
    X(launch_ex, "cuLaunchKernelEx", 1,                                                            \
      (const cu_launch_config *config, cu_function function, void **params, void **extra))         \
    X(capture_begin, "cuStreamBeginCapture_v2", 0, (cu_stream stream, int mode))                   \
    X(capture_end, "cuStreamEndCapture", 0, (cu_stream stream, cu_graph * graph))                  \
    X(graph_free, "cuGraphDestroy", 0, (cu_graph graph))                                           \
    X(graph_instantiate, "cuGraphInstantiateWithFlags", 0,                                         \
      (cu_graph_exec * exec, cu_graph graph, unsigned long long flags))                            \
    X(graph_launch, "cuGraphLaunch", 0, (cu_graph_exec exec, cu_stream stream))                    \
    X(graph_exec_free, "cuGraphExecDestroy", 0, (cu_graph_exec exec))

typedef struct paro_cuda_api {
#define PARO_CUDA_MEMBER(member, name, optional, params) cu_result(*member) params;
    PARO_CUDA_TABLE(PARO_CUDA_MEMBER)
#undef PARO_CUDA_MEMBER
} paro_cuda_api;

/* Loads `library` (NULL: libcuda.so.1) and looks the table up; functions that may be missing are
 * then NULL. PARO_STATUS_UNSUPPORTED names what was looked for. The library stays loaded: the
 * driver has threads of its own. */
paro_status paro_cuda_api_load(paro_error *err, const char *library, paro_cuda_api *out);

#endif
