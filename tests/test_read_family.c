/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "families/read.h"
#include "tests/support.h"

/* What a case's reference makes of its own data is accepted, and one wrong word is not. */
static void test_reference(void **state)
{
    (void)state;
    paro_error err;
    paro_problem problem;
    paro_kernel_config config;
    paro_case c = {0};
    double error = 0;
    assert_ok(paro_problem_parse(&err, "read:bytes=1000016", &problem));
    paro_family_read.default_config(&problem, paro_arch_find("sm_90"), &config);
    assert_ok(paro_case_new(&err, &problem, &config, 7, NULL, &c));

    const uint32_t *x = c.data[PARO_READ_ARG_X];
    uint32_t *y = c.data[PARO_READ_ARG_Y], all = 0, sum = 0;
    double expected[1056 * 16];
    double *outputs[PARO_MAX_ARGS] = {[PARO_READ_ARG_Y] = expected};
    assert_true(c.info[PARO_READ_ARG_Y].n <= 1056 * 16);
    assert_ok(paro_family_read.reference(&err, &c, NULL, outputs));
    for (uint64_t i = 0; i < c.info[PARO_READ_ARG_Y].n; i++) {
        y[i] = (uint32_t)expected[i];
        all ^= y[i];
    }
    for (uint64_t i = 0; i < c.info[PARO_READ_ARG_X].n; i++)
        sum ^= x[i];
    assert_int_equal(all, sum);
    assert_ok(paro_case_check(&err, &c, c.data, NULL, &error));
    y[3] ^= 1;
    assert_fails(paro_case_check(&err, &c, c.data, NULL, &error), PARO_STATUS_FORMAT, "y");
    paro_case_release(&c);
}

static void test_problem(void **state)
{
    (void)state;
    paro_error err;
    paro_problem problem;
    assert_fails(paro_problem_parse(&err, "read:bytes=17", &problem), PARO_STATUS_INVALID_ARGUMENT,
                 "multiple of 16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference),
                                       cmocka_unit_test(test_problem)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
