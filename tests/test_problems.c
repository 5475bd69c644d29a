/* SPDX-License-Identifier: MIT
 *
 * tuner/problems.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "families/family.h"
#include "tests/support.h"
#include "tuner/problems.h"

static void test_list(void **state)
{
    (void)state;
    paro_error err;
    paro_problems *problems = NULL;
    assert_ok(paro_problems_new(&err, &problems));
    assert_ok(paro_problems_add(&err, problems, "rotate:m=1,h=256,group=128,krot=8,dtype=f16"));
    assert_ok(paro_problems_add(&err, problems, "rotate:h=256,m=1,dtype=f16,group=128,krot=8"));
    assert_int_equal(paro_problems_count(problems), 1);
    assert_string_equal(paro_problems_get(problems, 0),
                        "rotate:h=256,m=1,group=128,krot=8,dtype=f16,outputs=1,inverse=0");
    assert_fails(paro_problems_add(&err, problems, "rotate:h=250"), PARO_STATUS_INVALID_ARGUMENT,
                 "rotate");
    assert_int_equal(paro_problems_count(problems), 1);
    paro_problems_free(problems);
    paro_problems_free(NULL);
}

static bool has(const paro_problems *problems, const char *text)
{
    for (size_t i = 0; i < paro_problems_count(problems); i++)
        if (strcmp(paro_problems_get(problems, i), text) == 0)
            return true;
    return false;
}

/* A folder with nothing but config.json has its problems. */
static void test_model_shape(void **state)
{
    (void)state;
    paro_error err;
    paro_problems *problems = NULL;
    const uint32_t buckets[] = {1, 16}, odd[] = {3};
    assert_ok(paro_problems_new(&err, &problems));
    assert_ok(paro_problems_add_model(&err, problems, "models/shapes/llama-3-8b", buckets, 2));
    assert_true(has(problems, "linear_w4:n=6144,k=4096,m=1,group=128,krot=8,dtype=f16,"
                              "parts=4096+1024+1024,zero=u4,bias=0"));
    assert_true(has(problems, "linear_w4:n=28672,k=4096,m=16,group=128,krot=8,dtype=f16,"
                              "parts=14336+14336,zero=u4,bias=0"));
    assert_false(has(problems, "linear_w4:n=28672,k=4096,m=32,group=128,krot=8,dtype=f16,"
                               "parts=14336+14336,zero=u4,bias=0"));
    const size_t n = paro_problems_count(problems);
    assert_ok(paro_problems_add_model(&err, problems, "models/shapes/llama-3-8b", buckets, 1));
    assert_int_equal(paro_problems_count(problems), n);
    assert_fails(paro_problems_add_model(&err, problems, "models/demo", odd, 1),
                 PARO_STATUS_INVALID_ARGUMENT, "found 3");
    assert_fails(paro_problems_add_model(&err, problems, "models/none", NULL, 0),
                 PARO_STATUS_NOT_FOUND, "models/none");
    paro_problems_free(problems);
}

/* What users see of a family is its tables. */
static void test_families(void **state)
{
    (void)state;
    paro_family_info info;
    paro_family_row row;
    size_t n = 0;
    for (; paro_family_describe(n, &info); n++) {
        assert_ptr_equal(info.name, paro_family_get(n)->name);
        for (size_t i = 0; i < info.n_keys; i++)
            assert_true(paro_family_key(n, i, &row) && row.help[0] != 0 && row.values[0] != 0);
        assert_false(paro_family_key(n, info.n_keys, &row));
        for (size_t i = 0; i < info.n_params; i++)
            assert_true(paro_family_param(n, i, &row) && row.values[0] != 0);
        assert_false(paro_family_param(n, info.n_params, &row));
        for (size_t i = 0; i < info.n_args; i++)
            assert_true(paro_family_arg(n, i, &row) && row.values[0] != 0);
        assert_false(paro_family_arg(n, info.n_args, &row));
    }
    assert_true(n >= 10);
    assert_null(paro_family_get(n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_list),
                                       cmocka_unit_test(test_model_shape),
                                       cmocka_unit_test(test_families)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
