/* SPDX-License-Identifier: MIT
 *
 * gpu/: devices that are not there, code that is none, plans against kernels.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gpu/backend.h"
#include "gpu/cublaslt.h"
#include "gpu/cuda.h"
#include "gpu/nvml.h"
#include "gpu/plan.h"
#include "tests/support.h"

static void test_a_missing_driver_is_named(void **state)
{
    (void)state;
    paro_error err;
    paro_cuda_api api;
    assert_fails(paro_cuda_api_load(&err, "libcuda-that-is-not-there.so", &api),
                 PARO_STATUS_UNSUPPORTED, "libcuda-that-is-not-there.so");
}

static void test_a_library_without_the_functions_is_refused(void **state)
{
    (void)state;
    paro_error err;
    paro_cuda_api api;
    assert_fails(paro_cuda_api_load(&err, "libm.so.6", &api), PARO_STATUS_UNSUPPORTED,
                 "lacks cuInit");
}

static void test_opening_where_there_is_no_device(void **state)
{
    (void)state;
    paro_error err;
    paro_gpu *gpu = NULL;
    int n = paro_gpu_count();
    assert_true(n >= 0);
    memset(&err, 0, sizeof err);
    paro_status status = paro_gpu_open_cuda(&err, n, &gpu); /* one past the last */
    assert_true(status == PARO_STATUS_UNSUPPORTED || status == PARO_STATUS_NOT_FOUND);
    assert_true(strlen(err.message) > 0);
    assert_null(gpu);
}

static void test_nothing_is_freed_twice(void **state)
{
    (void)state;
    paro_gpu_free(NULL);
    paro_gpu_stream_free(NULL);
    paro_gpu_module_free(NULL);
    paro_gpu_graph_free(NULL);
    paro_gpu_event_free(NULL);
    paro_nvml_free(NULL);
}

/* Neither the emulator nor a machine without NVML or cuBLASLt ends anything. */
static void test_what_other_devices_lack(void **state)
{
    (void)state;
    paro_error err;
    paro_nvml *nvml = NULL;
    paro_cublaslt *lt = NULL;
    const paro_gpu_backend emulated = {.kind = PARO_GPU_KIND_EMULATED};
    paro_gpu gpu = {.backend = &emulated, .info = {.name = "a device"}};
    assert_fails(paro_nvml_new(&err, &gpu, &nvml), PARO_STATUS_UNSUPPORTED, "a device");
    assert_fails(paro_cublaslt_new(&err, &gpu, NULL, &lt), PARO_STATUS_UNSUPPORTED, "a device");
    /* No library, or none that knows such a device. */
    snprintf(gpu.pci_id, sizeof gpu.pci_id, "ffff:ff:1f.0");
    assert_fails(paro_nvml_new(&err, &gpu, &nvml), PARO_STATUS_UNSUPPORTED, "NVML");
    assert_null(nvml);
    const paro_gpu_backend cuda = {.kind = PARO_GPU_KIND_CUDA};
    gpu.backend = &cuda;
    assert_fails(paro_cublaslt_new(&err, &gpu, "libcublasLt-not-there.so", &lt),
                 PARO_STATUS_UNSUPPORTED, "libcublasLt-not-there.so");
    assert_fails(paro_cublaslt_new(&err, &gpu, "libm.so.6", &lt), PARO_STATUS_UNSUPPORTED,
                 "lacks cublasLtCreate");
    paro_cublaslt_free(NULL);
    paro_cublaslt_product_free(NULL);
}

/* Images are looked at before the driver is. */
static void test_code_that_is_none(void **state)
{
    (void)state;
    paro_error err;
    paro_gpu_module *module = NULL;
    unsigned char bytes[128] = "\177ELF\002\001";
    paro_gpu_image image = {"hello", 5, false};
    assert_fails(paro_cuda_module_load(&err, NULL, &image, &module), PARO_STATUS_FORMAT,
                 "expected a 64-bit ELF file for CUDA");
    image = (paro_gpu_image){bytes, sizeof bytes, false};
    bytes[18] = 190; /* the machine: CUDA */
    bytes[58] = 64;  /* of a section's entry */
    bytes[60] = 100; /* sections: more than there are bytes */
    assert_fails(paro_cuda_module_load(&err, NULL, &image, &module), PARO_STATUS_FORMAT,
                 "expected section headers inside its 128 bytes");
    image = (paro_gpu_image){".version 8.0", 12, true};
    assert_fails(paro_cuda_module_load(&err, NULL, &image, &module), PARO_STATUS_FORMAT,
                 "ends in a zero byte");
}

/* ---- plans on a device of the test's own ------------------------------------------------------
 */

typedef struct fake {
    paro_gpu gpu;
    size_t n_params;
    size_t sizes[4];
    uint64_t seen[4];
    size_t n_seen;
    uint32_t fails_at;
    uint32_t n_launches;
} fake;

static paro_status fake_params(paro_error *err, const paro_gpu_function *function, size_t *sizes,
                               size_t capacity, size_t *n_params)
{
    const fake *f = *(const fake *const *)(const void *)function;
    if (f->n_params == 99)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "too old");
    for (size_t i = 0; i < f->n_params && i < capacity; i++)
        sizes[i] = f->sizes[i];
    *n_params = f->n_params;
    return PARO_STATUS_OK;
}

static paro_status fake_launch(paro_error *err, paro_gpu_stream *stream,
                               const paro_gpu_launch *launch)
{
    fake *f = *(fake *const *)(const void *)stream;
    if (++f->n_launches == f->fails_at)
        return paro_fail(err, PARO_STATUS_IO, "no");
    f->n_seen = launch->n_args;
    for (size_t i = 0; i < launch->n_args; i++)
        memcpy(&f->seen[i], launch->args[i], 8);
    return PARO_STATUS_OK;
}

static const paro_gpu_backend fake_backend = {.function_params = fake_params,
                                              .launch = fake_launch};

static const paro_arg fake_args[] = {{"x", PARO_ARG_INPUT, ""},
                                     {"y", PARO_ARG_OUTPUT, ""},
                                     {"m", PARO_ARG_SCALAR, ""},
                                     {NULL, PARO_ARG_INPUT, NULL}};

static void test_plans_are_checked_and_launched(void **state)
{
    (void)state;
    paro_error err;
    const paro_family family = {.name = "fake", .args = fake_args};
    fake f = {.gpu = {.backend = &fake_backend}, .n_params = 3, .sizes = {8, 8, 4}};
    paro_gpu *handle = &f.gpu;
    paro_gpu_function *functions[PARO_MAX_LAUNCHES] = {(paro_gpu_function *)(void *)&handle,
                                                       (paro_gpu_function *)(void *)&handle};
    paro_gpu_stream *stream = (paro_gpu_stream *)(void *)&handle;
    paro_launch_plan plan = {.n_launches = 2};
    for (size_t i = 0; i < 2; i++)
        plan.launches[i] = (paro_launch){.kernel = i == 0 ? "first" : "second",
                                         .grid = {1, 1, 1},
                                         .n_threads = 32,
                                         .args = {1, 0, 2},
                                         .n_args = 3};
    assert_ok(paro_launch_plan_check(&err, &family, &plan, functions));
    f.sizes[2] = 8;
    assert_fails(paro_launch_plan_check(&err, &family, &plan, functions), PARO_STATUS_FORMAT,
                 "kernel first: parameter m: expected 4 bytes, found 8");
    f.n_params = 2;
    assert_fails(paro_launch_plan_check(&err, &family, &plan, functions), PARO_STATUS_FORMAT,
                 "expected 3 parameters, found 2");
    f.n_params = 99; /* a driver that cannot tell */
    assert_ok(paro_launch_plan_check(&err, &family, &plan, functions));

    paro_gpu_value values[PARO_MAX_ARGS] = {{.ptr = 0x1111}, {.ptr = 0x2222}, {.ptr = 0}};
    values[2].scalar.u32 = 7;
    assert_ok(paro_launch_plan_launch(&err, stream, &plan, functions, values));
    assert_int_equal(f.n_launches, 2);
    assert_int_equal(f.n_seen, 3);
    assert_int_equal(f.seen[0], 0x2222); /* in the kernel's order */
    assert_int_equal(f.seen[1], 0x1111);
    assert_int_equal((uint32_t)f.seen[2], 7);
    f.fails_at = 4;
    assert_fails(paro_launch_plan_launch(&err, stream, &plan, functions, values), PARO_STATUS_IO,
                 "kernel second: no");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_missing_driver_is_named),
        cmocka_unit_test(test_a_library_without_the_functions_is_refused),
        cmocka_unit_test(test_opening_where_there_is_no_device),
        cmocka_unit_test(test_nothing_is_freed_twice),
        cmocka_unit_test(test_what_other_devices_lack),
        cmocka_unit_test(test_code_that_is_none),
        cmocka_unit_test(test_plans_are_checked_and_launched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
