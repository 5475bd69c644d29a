/* SPDX-License-Identifier: MIT
 *
 * templates/lib through NVRTC: the kernels that test_emulator.c runs on the host compile for every
 * arch that has what they use.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/kernel_source.h"
#include "tests/nvrtc_fixture.h"

static const struct {
    const char *name;
    uint32_t features; /* of paro_arch_feature */
    const char *hole, *value;
} kernels[] = {
    {"core", 0, NULL, NULL},
    {"mma", PARO_ARCH_MMA_F16, "dtype", "f16"},
    {"mma", PARO_ARCH_MMA_BF16, "dtype", "bf16"},
    {"fragments", PARO_ARCH_MMA_F16, "dtype", "f16"},
    {"fragments", PARO_ARCH_MMA_BF16, "dtype", "bf16"},
    {"device", 0, NULL, NULL},
    {"async", 0, NULL, NULL},
    {"bulk", PARO_ARCH_BULK, NULL, NULL},
    {"cluster", PARO_ARCH_CLUSTER, NULL, NULL},
    {"wgmma", PARO_ARCH_WGMMA, "dtype", "f16"},
    {"wgmma", PARO_ARCH_WGMMA, "dtype", "bf16"},
    {"broken", PARO_ARCH_BULK, NULL, NULL},
};

static void every_arch_compiles_what_it_has(void **state)
{
    (void)state;
    paro_error err;
    paro_nvrtc *nvrtc = test_nvrtc("every_arch_compiles_what_it_has");
    const paro_arch *arch;
    size_t n_compiled = 0;
    for (size_t a = 0; (arch = paro_arch_get(a)) != NULL; a++)
        for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
            if ((kernels[i].features & ~arch->features) != 0 || !paro_nvrtc_supports(nvrtc, arch))
                continue;
            paro_buffer source = {0};
            paro_binary binary = {0};
            kernel_source(kernels[i].name, kernels[i].hole, kernels[i].value, &source);
            const char *target = paro_target_of(source.data, arch);
            assert_int_equal(strcmp(kernels[i].name, "wgmma") == 0,
                             strcmp(target, arch->name) != 0);
            assert_ok(paro_nvrtc_compile(&err, nvrtc, source.data, target, &binary));
            assert_false(binary.is_ptx);
            n_compiled++;
            paro_binary_release(&binary);
            paro_buffer_free(&source);
        }
    assert_true(n_compiled >= 12 * 3);
    paro_nvrtc_free(nvrtc);
}

/* What an arch lacks does not pass in silence. */
static void an_arch_refuses_what_it_lacks(void **state)
{
    (void)state;
    paro_error err;
    paro_nvrtc *nvrtc = test_nvrtc("an_arch_refuses_what_it_lacks");
    static const struct {
        const char *name, *target, *value;
    } rows[] = {{"mma", "sm_75", "bf16"},
                {"bulk", "sm_80", NULL},
                {"cluster", "sm_89", NULL},
                {"wgmma", "sm_90", "f16"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        paro_buffer source = {0};
        paro_binary binary = {0};
        kernel_source(rows[i].name, rows[i].value != NULL ? "dtype" : NULL, rows[i].value, &source);
        assert_fails(paro_nvrtc_compile(&err, nvrtc, source.data, rows[i].target, &binary),
                     PARO_STATUS_FORMAT, "");
        paro_buffer_free(&source);
    }
    paro_nvrtc_free(nvrtc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_arch_compiles_what_it_has),
        cmocka_unit_test(an_arch_refuses_what_it_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
