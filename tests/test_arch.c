/* SPDX-License-Identifier: MIT
 *
 * families/arch.c and families/device.c: the table of architectures, which row serves a device,
 * device classes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "families/arch.h"
#include "families/device.h"
#include "tests/support.h"

static void test_table(void **state)
{
    static const uint32_t nvrtc_13_0[] = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};
    const size_t n = sizeof nvrtc_13_0 / sizeof nvrtc_13_0[0];
    (void)state;
    for (size_t i = 0; i < n; i++) {
        const paro_arch *arch = paro_arch_get(i);
        char name[32];
        assert_non_null(arch);
        assert_int_equal(arch->capability, nvrtc_13_0[i]);
        snprintf(name, sizeof name, "sm_%u", arch->capability);
        assert_string_equal(arch->name, name);
        snprintf(name, sizeof name, "compute_%u", arch->capability);
        assert_string_equal(arch->virtual_name, name);
        assert_int_equal(arch->own_name != NULL, arch->capability >= 90);
        if (arch->own_name != NULL) {
            snprintf(name, sizeof name, "sm_%ua", arch->capability);
            assert_string_equal(arch->own_name, name);
            assert_ptr_equal(paro_arch_find(name), arch);
        }
        assert_ptr_equal(paro_arch_find(arch->name), arch);
        assert_true(arch->max_shared_bytes <= arch->sm_shared_bytes);
        assert_true(arch->max_shared_bytes >= 65536 && arch->max_shared_bytes <= 232448);
        assert_true(arch->sm_threads >= 1024 && arch->sm_registers == 65536);
        assert_int_equal((arch->features & PARO_ARCH_WGMMA) != 0, arch->capability == 90);
        assert_int_equal((arch->features & PARO_ARCH_MMA_BF16) != 0, arch->capability >= 80);
        assert_int_equal((arch->features & PARO_ARCH_BULK) != 0, arch->capability >= 90);
    }
    assert_null(paro_arch_get(n));
    assert_null(paro_arch_find("sm_70"));
    assert_null(paro_arch_find("sm_80a"));
    assert_null(paro_arch_find(""));
}

static void test_for_capability(void **state)
{
    bool exact = false;
    (void)state;
    assert_string_equal(paro_arch_for_capability(90, &exact)->name, "sm_90");
    assert_true(exact);
    assert_string_equal(paro_arch_for_capability(101, &exact)->name, "sm_100");
    assert_false(exact);
    assert_string_equal(paro_arch_for_capability(129, &exact)->name, "sm_121");
    assert_false(exact);
    assert_null(paro_arch_for_capability(130, &exact)); /* a new major version: PTX only */
    assert_null(paro_arch_for_capability(70, &exact));
    assert_string_equal(paro_arch_newest_below(130)->name, "sm_121");
    assert_string_equal(paro_arch_newest_below(95)->name, "sm_90");
    assert_string_equal(paro_arch_newest_below(75)->name, "sm_75");
    assert_null(paro_arch_newest_below(74));
}

static void test_device_class(void **state)
{
    char text[PARO_DEVICE_CLASS_BYTES], other[PARO_DEVICE_CLASS_BYTES];
    (void)state;
    paro_device_info h200 = {.name = "NVIDIA H200",
                             .capability = 90,
                             .n_sms = 132,
                             .l2_bytes = 60 << 20,
                             .sm_shared_bytes = 228 * 1024,
                             .bandwidth_gbs = 4814};
    paro_device_class(&h200, text);
    assert_string_equal(text, "cc90-sm132-l2_60-smem228-bw49");
    h200.clock_mhz = 1000; /* not of the class: nor are the name and the memory's size */
    h200.bandwidth_gbs = 4800;
    paro_device_class(&h200, other);
    assert_string_equal(text, other);
    h200.bandwidth_gbs = 3352;
    paro_device_class(&h200, other);
    assert_string_not_equal(text, other);
    paro_device_info unknown = {.capability = 90};
    paro_device_class(&unknown, other);
    assert_string_equal(other, "cc90-sm0-l2_0-smem0-bw0");
}

static void test_typical(void **state)
{
    (void)state;
    for (size_t i = 0; paro_arch_get(i) != NULL; i++) {
        paro_device_info info;
        const paro_arch *arch = paro_arch_get(i);
        paro_device_typical(arch, &info);
        assert_int_equal(info.capability, arch->capability);
        assert_int_equal(info.max_shared_bytes, arch->max_shared_bytes);
        assert_true(info.n_sms > 0 && info.clock_mhz > 0 && info.l2_bytes > 0);
        assert_true(info.memory_bytes > info.l2_bytes && info.bandwidth_gbs > 0);
        assert_true(info.name[0] != '\0');
    }
}

static void test_device_arch(void **state)
{
    (void)state;
    paro_error err;
    paro_arch arch;
    bool wants_ptx = true;
    paro_device_info info = {.name = "some", .capability = 90};
    assert_ok(paro_device_arch(&err, &info, &arch, &wants_ptx));
    assert_string_equal(arch.own_name, "sm_90a");
    assert_true((arch.features & PARO_ARCH_WGMMA) != 0 && !wants_ptx);
    info.capability = 95; /* a later minor version: without what is sm_90a's alone */
    assert_ok(paro_device_arch(&err, &info, &arch, &wants_ptx));
    assert_string_equal(arch.name, "sm_90");
    assert_true(arch.own_name == NULL && (arch.features & PARO_ARCH_WGMMA) == 0 && !wants_ptx);
    info.capability = 130;
    assert_ok(paro_device_arch(&err, &info, &arch, &wants_ptx));
    assert_string_equal(arch.virtual_name, "compute_121");
    assert_true(arch.own_name == NULL && wants_ptx);
    info.capability = 70;
    assert_fails(paro_device_arch(&err, &info, &arch, &wants_ptx), PARO_STATUS_UNSUPPORTED,
                 "7.5 and newer, this one has 7.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),        cmocka_unit_test(test_for_capability),
        cmocka_unit_test(test_device_class), cmocka_unit_test(test_typical),
        cmocka_unit_test(test_device_arch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
