/* SPDX-License-Identifier: MIT
 *
 * See cublaslt.h. The library counts columns first: y transposed is w times x transposed, and all
 * three lie in memory as it wants them.
 */
#include "gpu/cublaslt.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cuda.h"

enum {
    LT_TYPE_F32 = 0,
    LT_TYPE_F16 = 2,
    LT_TYPE_BF16 = 14,
    LT_COMPUTE_F32 = 68,
    LT_DESC_TRANSPOSE_A = 3,
    LT_PREFERENCE_WORKSPACE = 1,
    LT_TRANSPOSED = 1,
    WORKSPACE_BYTES = 32 << 20
};

typedef struct lt_algorithm {
    uint64_t data[8];
} lt_algorithm;

typedef struct lt_choice {
    lt_algorithm algorithm;
    size_t workspace_bytes;
    int status;
    float waves;
    int reserved[4];
} lt_choice;

struct paro_cublaslt {
    paro_gpu *gpu;
    void *handle;
    paro_gpu_ptr workspace;
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_create)(void **desc, int compute, int scale_type);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t n_bytes);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride);
    int (*layout_destroy)(void *layout);
    int (*preference_create)(void **preference);
    int (*preference_destroy)(void *preference);
    int (*preference_set)(void *preference, int attribute, const void *value, size_t n_bytes);
    int (*choose)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference,
                  int n_wanted, lt_choice *choices, int *n_found);
    int (*multiply)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                    const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                    void *d, void *d_layout, const lt_algorithm *algorithm, void *workspace,
                    size_t workspace_bytes, cu_stream stream);
};

struct paro_cublaslt_product {
    const paro_cublaslt *lt;
    void *desc;
    void *w, *x, *y; /* layouts */
    lt_choice choice;
};

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
    {"cublasLtCreate", offsetof(paro_cublaslt, create)},
    {"cublasLtDestroy", offsetof(paro_cublaslt, destroy)},
    {"cublasLtMatmulDescCreate", offsetof(paro_cublaslt, desc_create)},
    {"cublasLtMatmulDescDestroy", offsetof(paro_cublaslt, desc_destroy)},
    {"cublasLtMatmulDescSetAttribute", offsetof(paro_cublaslt, desc_set)},
    {"cublasLtMatrixLayoutCreate", offsetof(paro_cublaslt, layout_create)},
    {"cublasLtMatrixLayoutDestroy", offsetof(paro_cublaslt, layout_destroy)},
    {"cublasLtMatmulPreferenceCreate", offsetof(paro_cublaslt, preference_create)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(paro_cublaslt, preference_destroy)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(paro_cublaslt, preference_set)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(paro_cublaslt, choose)},
    {"cublasLtMatmul", offsetof(paro_cublaslt, multiply)},
};

static paro_status load(paro_error *err, paro_cublaslt *lt, const char *library)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                        "/usr/local/cuda/lib64/libcublasLt.so"};
    void *handle = library != NULL ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : NULL;
    for (size_t i = 0; library == NULL && handle == NULL && i < sizeof names / sizeof names[0]; i++)
        handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "no cuBLASLt: looked for %s",
                         library != NULL ? library
                                         : "libcublasLt.so.13, libcublasLt.so.12 and in "
                                           "/usr/local/cuda/lib64");
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        void *symbol = dlsym(handle, functions[i].name);
        if (symbol == NULL)
            return paro_fail(err, PARO_STATUS_UNSUPPORTED, "cuBLASLt lacks %s", functions[i].name);
        memcpy((char *)lt + functions[i].offset, &symbol, sizeof symbol);
    }
    return PARO_STATUS_OK;
}

static paro_status result_of(paro_error *err, int result, const char *what)
{
    if (result == 0)
        return PARO_STATUS_OK;
    return paro_fail(err, PARO_STATUS_UNSUPPORTED, "cuBLASLt: %s failed (cuBLAS status %d)", what,
                     result);
}

paro_status paro_cublaslt_new(paro_error *err, paro_gpu *gpu, const char *library,
                              paro_cublaslt **out)
{
    if (paro_gpu_get_kind(gpu) != PARO_GPU_KIND_CUDA)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "cuBLASLt: %s is no CUDA device",
                         paro_gpu_info(gpu)->name);
    cuda_device *d = (cuda_device *)gpu;
    paro_cublaslt *lt = calloc(1, sizeof *lt);
    if (lt == NULL)
        return paro_fail_memory(err, sizeof *lt, "cuBLASLt");
    lt->gpu = gpu;
    paro_status status = load(err, lt, library);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_alloc(err, gpu, WORKSPACE_BYTES, &lt->workspace);
    if (status == PARO_STATUS_OK)
        status = paro_cuda_enter(err, d);
    if (status == PARO_STATUS_OK) {
        status = result_of(err, lt->create(&lt->handle), "opening it");
        paro_cuda_leave(d);
    }
    if (status != PARO_STATUS_OK) {
        paro_cublaslt_free(lt);
        return status;
    }
    *out = lt;
    return PARO_STATUS_OK;
}

void paro_cublaslt_free(paro_cublaslt *lt)
{
    if (lt == NULL)
        return;
    if (lt->handle != NULL && paro_cuda_enter(NULL, (cuda_device *)lt->gpu) == PARO_STATUS_OK) {
        lt->destroy(lt->handle);
        paro_cuda_leave((cuda_device *)lt->gpu);
    }
    paro_gpu_release(lt->gpu, lt->workspace);
    free(lt);
}

static int type_of(paro_dtype dtype)
{
    return dtype == PARO_DTYPE_F16    ? LT_TYPE_F16
           : dtype == PARO_DTYPE_BF16 ? LT_TYPE_BF16
                                      : LT_TYPE_F32;
}

static paro_status describe(paro_error *err, paro_cublaslt_product *p, uint32_t m, uint32_t n,
                            uint32_t k, int type, int out_type)
{
    const paro_cublaslt *lt = p->lt;
    const int transposed = LT_TRANSPOSED;
    int result = lt->desc_create(&p->desc, LT_COMPUTE_F32, LT_TYPE_F32);
    if (result == 0)
        result = lt->desc_set(p->desc, LT_DESC_TRANSPOSE_A, &transposed, sizeof transposed);
    if (result == 0)
        result = lt->layout_create(&p->w, type, k, n, (int64_t)k);
    if (result == 0)
        result = lt->layout_create(&p->x, type, k, m, (int64_t)k);
    if (result == 0)
        result = lt->layout_create(&p->y, out_type, n, m, (int64_t)n);
    return result_of(err, result, "describing a product");
}

static paro_status choose(paro_error *err, paro_cublaslt_product *p)
{
    const paro_cublaslt *lt = p->lt;
    const size_t workspace_bytes = WORKSPACE_BYTES;
    void *preference = NULL;
    int n_found = 0;
    int result = lt->preference_create(&preference);
    if (result == 0)
        result = lt->preference_set(preference, LT_PREFERENCE_WORKSPACE, &workspace_bytes,
                                    sizeof workspace_bytes);
    if (result == 0)
        result = lt->choose(lt->handle, p->desc, p->w, p->x, p->y, p->y, preference, 1, &p->choice,
                            &n_found);
    if (preference != NULL)
        lt->preference_destroy(preference);
    if (result == 0 && n_found == 0)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "cuBLASLt: no kernel for this product");
    return result_of(err, result, "choosing a kernel");
}

paro_status paro_cublaslt_product_new(paro_error *err, paro_cublaslt *lt, uint32_t m, uint32_t n,
                                      uint32_t k, paro_dtype dtype, paro_dtype out_dtype,
                                      paro_cublaslt_product **out)
{
    cuda_device *d = (cuda_device *)lt->gpu;
    paro_cublaslt_product *p = calloc(1, sizeof *p);
    if (p == NULL)
        return paro_fail_memory(err, sizeof *p, "a product");
    p->lt = lt;
    paro_status status = paro_cuda_enter(err, d);
    if (status == PARO_STATUS_OK) {
        status = describe(err, p, m, n, k, type_of(dtype), type_of(out_dtype));
        if (status == PARO_STATUS_OK)
            status = choose(err, p);
        paro_cuda_leave(d);
    }
    if (status != PARO_STATUS_OK) {
        paro_cublaslt_product_free(p);
        return status;
    }
    *out = p;
    return PARO_STATUS_OK;
}

void paro_cublaslt_product_free(paro_cublaslt_product *p)
{
    if (p == NULL)
        return;
    if (p->y != NULL)
        p->lt->layout_destroy(p->y);
    if (p->x != NULL)
        p->lt->layout_destroy(p->x);
    if (p->w != NULL)
        p->lt->layout_destroy(p->w);
    if (p->desc != NULL)
        p->lt->desc_destroy(p->desc);
    free(p);
}

static void *address(paro_gpu_ptr ptr)
{
    return (void *)(uintptr_t)ptr;
}

paro_status paro_cublaslt_product_launch(paro_error *err, const paro_cublaslt_product *p,
                                         paro_gpu_stream *stream, paro_gpu_ptr x, paro_gpu_ptr w,
                                         paro_gpu_ptr y)
{
    const paro_cublaslt *lt = p->lt;
    cuda_device *d = (cuda_device *)lt->gpu;
    const float one = 1, zero = 0;
    paro_status status = paro_cuda_enter(err, d);
    if (status != PARO_STATUS_OK)
        return status;
    int result = lt->multiply(lt->handle, p->desc, &one, address(w), p->w, address(x), p->x, &zero,
                              address(y), p->y, address(y), p->y, &p->choice.algorithm,
                              address(lt->workspace), WORKSPACE_BYTES, stream->handle);
    paro_cuda_leave(d);
    return result_of(err, result, "multiplying");
}
