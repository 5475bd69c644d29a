/* SPDX-License-Identifier: MIT
 *
 * codegen/nvrtc.c: absence, all archs, PTX, bad sources, many threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/thread.h"
#include "tests/support.h"

#include "tests/nvrtc_fixture.h"

static const char source[] =
    "constexpr unsigned PARTS[] = {4, 5, 6};\n"
    "extern \"C\" __global__ void __launch_bounds__(128) first(const float *x, float *y, unsigned "
    "m)\n"
    "{\n"
    "    extern __shared__ float s[];\n"
    "    s[threadIdx.x] = x[threadIdx.x] + PARTS[m % 3];\n"
    "    __syncthreads();\n"
    "    y[threadIdx.x] = s[threadIdx.x ^ 33] * m;\n"
    "}\n"
    "extern \"C\" __global__ void second(int *y) { y[threadIdx.x] = 1; }\n";

static void test_absent(void **state)
{
    (void)state;
    paro_error err;
    paro_nvrtc *nvrtc = NULL;
    assert_fails(paro_nvrtc_new(&err, "/nowhere/libnvrtc.so", &nvrtc), PARO_STATUS_UNSUPPORTED,
                 "expected NVRTC at '/nowhere/libnvrtc.so'");
    assert_null(nvrtc);
    /* A library, but another. */
    assert_fails(paro_nvrtc_new(&err, "libc.so.6", &nvrtc), PARO_STATUS_UNSUPPORTED,
                 "libc.so.6: expected NVRTC 12 or newer, found a library without nvrtcVersion");
    assert_null(nvrtc);
    paro_nvrtc_free(NULL);
    paro_binary_release(NULL);
}

static void test_archs(void **state)
{
    (void)state;
    paro_error err;
    paro_nvrtc *nvrtc = test_nvrtc("test_nvrtc archs");
    bool is_13 = strcmp(paro_nvrtc_version(nvrtc), "13.0") == 0;
    const paro_arch *arch;
    for (size_t i = 0; (arch = paro_arch_get(i)) != NULL; i++) {
        if (is_13)
            assert_true(paro_nvrtc_supports(nvrtc, arch));
        if (!paro_nvrtc_supports(nvrtc, arch))
            continue;
        const char *const targets[] = {arch->name, arch->virtual_name, arch->own_name};
        for (size_t t = 0; t < 3; t++) {
            paro_binary binary = {0};
            if (targets[t] == NULL)
                continue;
            assert_ok(paro_nvrtc_compile(&err, nvrtc, source, targets[t], &binary));
            assert_int_equal(binary.is_ptx, t == 1);
            assert_true(binary.n_bytes > 100);
            if (t == 1) {
                const char *ptx = binary.data;
                char words[64];
                snprintf(words, sizeof words, ".target sm_%u", arch->capability);
                assert_int_equal(ptx[binary.n_bytes - 1], '\0');
                assert_non_null(strstr(ptx, words));
            } else {
                assert_memory_equal(binary.data, "\177ELF", 4);
                assert_non_null(strstr(binary.log, "0 bytes spill stores"));
                assert_null(strstr(binary.log, "Compile time"));
            }
            paro_binary_release(&binary);
        }
    }
    paro_nvrtc_free(nvrtc);
}

static void test_errors(void **state)
{
    (void)state;
    paro_error err;
    paro_nvrtc *nvrtc = test_nvrtc("test_nvrtc errors");
    paro_binary binary = {0};
    assert_fails(paro_nvrtc_compile(&err, nvrtc, source, "sm_10", &binary), PARO_STATUS_UNSUPPORTED,
                 "does not know 'sm_10'");
    assert_fails(paro_nvrtc_compile(&err, nvrtc, source, "x", &binary), PARO_STATUS_UNSUPPORTED,
                 "does not know 'x'");
    assert_fails(paro_nvrtc_compile(&err, nvrtc,
                                    "int warned() { }\n#line 41 \"rotate.cu\"\nint a = b;\n",
                                    "sm_90", &binary),
                 PARO_STATUS_FORMAT, "NVRTC for sm_90: rotate.cu(41): error");
    assert_fails(paro_nvrtc_compile(&err, nvrtc,
                                    "extern \"C\" __global__ void k() { asm volatile(\"none;\"); }",
                                    "sm_90", &binary),
                 PARO_STATUS_FORMAT, "ptxas");
    assert_null(binary.data);
    assert_null(binary.log);
    paro_nvrtc_free(nvrtc);
}

enum { N_COMPILATIONS = 16 };

typedef struct compilation {
    const paro_nvrtc *nvrtc;
    paro_status status;
    paro_binary binary;
} compilation;

static void compile_one(void *context, size_t i, int worker)
{
    compilation *c = (compilation *)context + i;
    (void)worker;
    c->status = paro_nvrtc_compile(NULL, c->nvrtc, source, "sm_80", &c->binary);
}

/* The same bytes from every thread. */
static void test_threads(void **state)
{
    (void)state;
    paro_error err;
    paro_nvrtc *nvrtc = test_nvrtc("test_nvrtc threads");
    paro_pool *pool = NULL;
    assert_ok(paro_pool_new(&err, 4, &pool));
    compilation all[N_COMPILATIONS] = {{0}};
    for (size_t i = 0; i < N_COMPILATIONS; i++)
        all[i].nvrtc = nvrtc;
    paro_pool_run(pool, N_COMPILATIONS, compile_one, all);
    for (size_t i = 0; i < N_COMPILATIONS; i++) {
        assert_int_equal(all[i].status, PARO_STATUS_OK);
        assert_int_equal(all[i].binary.n_bytes, all[0].binary.n_bytes);
        assert_memory_equal(all[i].binary.data, all[0].binary.data, all[0].binary.n_bytes);
        assert_string_equal(all[i].binary.log, all[0].binary.log);
    }
    for (size_t i = 0; i < N_COMPILATIONS; i++)
        paro_binary_release(&all[i].binary);
    paro_pool_free(pool);
    paro_nvrtc_free(nvrtc);
}

/* The key lists what is given: the same words, one a line. */
static void test_options(void **state)
{
    (void)state;
    assert_string_equal(paro_nvrtc_options(), "-std=c++17\n-default-device\n--ptxas-options=-v\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent),  cmocka_unit_test(test_archs),
        cmocka_unit_test(test_errors),  cmocka_unit_test(test_threads),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
