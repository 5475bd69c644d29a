/* SPDX-License-Identifier: MIT
 *
 * base/version.c, base/clock.c, cpu/summary.c: what the library says of itself and its machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <paro/paro.h>

#include "base/clock.h"
#include "cpu/linear.h"
#include "tests/support.h"

/* The header, the library and the build agree (PARO_BUILD_VERSION is CMake's). */
static void test_version(void **state)
{
    (void)state;
    assert_string_equal(paro_version(), PARO_VERSION);
    assert_string_equal(paro_version(), PARO_BUILD_VERSION);
}

static void test_summary(void **state)
{
    (void)state;
    static const struct {
        const char *isa, *words;
    } rows[] = {{"avx512", "AVX-512;"}, {"avx2", "AVX2;"}, {"generic", "plain C;"}};
    bool is_known = false;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].isa, paro_cpu_isa()) != 0)
            continue;
        is_known = true;
        assert_non_null(strstr(paro_build_summary(), rows[i].words));
    }
    assert_true(is_known);
}

static void test_clock(void **state)
{
    (void)state;
    const double start = paro_clock_seconds();
    usleep(2000);
    const double passed = paro_clock_seconds() - start;
    assert_true(passed >= 0.002 && passed < 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
