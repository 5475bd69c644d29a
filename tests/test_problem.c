/* SPDX-License-Identifier: MIT
 *
 * families/problem.c and families/numerics.c: the grammar, its errors, canonical text, buckets,
 * tolerances.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "families/family.h"
#include "tests/kernel_problems.h"
#include "tests/support.h"

static const char full[] = "rotate:h=4096,m=1,group=128,krot=8,dtype=f16,outputs=1,inverse=0";

static void test_canonical(void **state)
{
    paro_error err;
    paro_problem a, b;
    char text[PARO_PROBLEM_TEXT_BYTES];
    (void)state;
    assert_ok(paro_problem_parse(&err, full, &a));
    paro_problem_print(&a, text);
    assert_string_equal(text, full);
    assert_ok(paro_problem_parse(&err, "rotate:dtype=f16,krot=8,group=128,m=1,h=4096", &b));
    assert_true(paro_problem_equal(&a, &b));
    paro_problem_print(&b, text);
    assert_string_equal(text, full);

    b = paro_problem_with_m(&a, 16);
    assert_false(paro_problem_equal(&a, &b));
    assert_int_equal(paro_problem_get(&b, "m"), 16);
    assert_int_equal(paro_problem_get(&a, "m"), 1);
    assert_int_equal(paro_problem_get(&a, "dtype"), PARO_KERNEL_DTYPE_F16);
    assert_int_equal(paro_problem_get(&a, "parts"), -1);
    assert_ok(paro_problem_parse(&err, "read:bytes=64", &b));
    assert_false(paro_problem_equal(&a, &b));
    a = paro_problem_with_m(&b, 5); /* a family without m */
    assert_true(paro_problem_equal(&a, &b));
}

static void test_errors(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"", "no family \"\""},
        {"rotat:h=64", "no family \"rotat\" (nearest: rotate"},
        {"rotate", "found no \":\""},
        {"rotate:", "expected key=value"},
        {"rotate:h=64,", "expected key=value"},
        {"rotate:h", "expected key=value, found \"h\""},
        {"rotate:h=64,grup=32,m=1", "rotate has no key \"grup\" (nearest: group"},
        {"rotate:h=64,m=1,h=64", "found h twice"},
        {"rotate:h=64,m=1,group=32,dtype=f16", "key krot (rounds) is missing: add krot="},
        {"rotate:h=64,m=0", "expected an integer of 1 to 65535, found \"0\""},
        {"rotate:h=64,m=-1", "expected an integer"},
        {"rotate:h=64,m=+1", "expected an integer"},
        {"rotate:h=64,m= 1", "expected an integer"},
        {"rotate:h=64,m=1e3", "expected an integer"},
        {"rotate:h=64,m=", "found \"\""},
        {"rotate:h=64,m=99999999999999999999999", "expected an integer"},
        {"rotate:h=64,m=1,group=32,krot=17", "expected an integer of 0 to 16"},
        {"rotate:h=64,dtype=fp16", "expected one of f16"},
        {"rotate:h=64,dtype=f", "found \"f\""},
        {"rotate:h=80,m=1,group=32,krot=1,dtype=f16", "h a multiple of it"},
        {"rotate:h=96,m=1,group=48,krot=1,dtype=f16", "expected group 32, 64, 128 or 256"},
        {"rotate:h=64,m=1:group=32", "expected an integer"},
        {"rotate :h=64", "no family \"rotate \""},
    };
    paro_error err;
    paro_problem problem, before;
    (void)state;
    memset(&problem, 0x5a, sizeof problem);
    before = problem;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_fails(paro_problem_parse(&err, rows[i].text, &problem), PARO_STATUS_INVALID_ARGUMENT,
                     rows[i].words);
        assert_memory_equal(&problem, &before, sizeof problem); /* untouched */
    }
}

/* Strangers' text of any length is an error, not a crash. */
static void test_long(void **state)
{
    enum { N = 100000 };
    paro_error err;
    paro_problem problem;
    (void)state;
    char *text = malloc(N + 1);
    assert_non_null(text);
    static const char *const beginnings[] = {
        "", "rotate:", "rotate:h=", "rotate:dtype=", "rotate:h=1,"};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        memset(text, i % 2 == 0 ? '7' : '\xff', N);
        memcpy(text, beginnings[i], strlen(beginnings[i]));
        text[N] = '\0';
        assert_int_equal(paro_problem_parse(&err, text, &problem), PARO_STATUS_INVALID_ARGUMENT);
    }
    free(text);
}

/* Families with parts, by a stand-in: the table's may change. */
static const paro_problem_key part_keys[] = {
    {"n", PARO_KEY_INTEGER, 1, 1 << 20, NULL, false, 0, "rows"},
    {"parts", PARO_KEY_PARTS, 8, 1 << 20, NULL, true, 0, "rows of each"},
    {NULL, PARO_KEY_INTEGER, 0, 0, NULL, false, 0, NULL}};

static paro_status complete_parts(paro_error *err, paro_problem *problem)
{
    (void)err;
    if (problem->n_parts == 0) {
        problem->n_parts = 1;
        problem->parts[0] = (uint32_t)problem->values[0];
    }
    return PARO_STATUS_OK;
}

static void test_parts_print(void **state)
{
    const paro_family family = {.name = "parts", .keys = part_keys, .complete = complete_parts};
    paro_problem a = {.family = &family, .values = {48}, .parts = {32, 8, 8}, .n_parts = 3}, b = a;
    paro_error err;
    char text[PARO_PROBLEM_TEXT_BYTES];
    (void)state;
    assert_ok(paro_problem_complete(&err, &a));
    assert_int_equal(paro_problem_get(&a, "parts"), 3);
    paro_problem_print(&a, text);
    assert_string_equal(text, "parts:n=48,parts=32+8+8");
    b = a;
    assert_true(paro_problem_equal(&a, &b));
    b.parts[0] = 8, b.parts[1] = 32;
    assert_false(paro_problem_equal(&a, &b));
    b.n_parts = 0;
    assert_ok(paro_problem_complete(&err, &b));
    paro_problem_print(&b, text);
    assert_string_equal(text, "parts:n=48,parts=48");
}

/* Every family's problems survive being printed and read. */
static void test_round_trip(void **state)
{
    paro_error err;
    paro_rng rng;
    (void)state;
    paro_rng_seed(&rng, 1);
    for (size_t f = 0; paro_family_get(f) != NULL; f++)
        for (int i = 0; i < 100; i++) {
            char text[PARO_PROBLEM_TEXT_BYTES];
            paro_problem problem = test_draw_problem(&rng, paro_family_get(f)), read;
            paro_problem_print(&problem, text);
            assert_ok(paro_problem_parse(&err, text, &read));
            assert_true(paro_problem_equal(&problem, &read));
        }
}

static void test_buckets(void **state)
{
    (void)state;
    assert_int_equal(paro_bucket_get(0), 1);
    for (size_t i = 1; paro_bucket_get(i) != 0; i++)
        assert_int_equal(paro_bucket_get(i), 2 * paro_bucket_get(i - 1));
    assert_int_equal(paro_bucket_get(9), PARO_BUCKET_MAX);
    assert_int_equal(paro_bucket_get(10), 0);
    assert_int_equal(paro_bucket_get(SIZE_MAX), 0);
    assert_int_equal(paro_bucket_for(0), 1);
    assert_int_equal(paro_bucket_for(1), 1);
    assert_int_equal(paro_bucket_for(3), 4);
    assert_int_equal(paro_bucket_for(257), 512);
    assert_int_equal(paro_bucket_for(512), 512);
    assert_int_equal(paro_bucket_for(513), 0);
}

static void test_numerics(void **state)
{
    (void)state;
    assert_true(paro_numerics_tolerance(PARO_KERNEL_DTYPE_F32) == 1e-5);
    assert_true(paro_numerics_tolerance(PARO_KERNEL_DTYPE_F16) == 2e-3);
    assert_true(paro_numerics_tolerance(PARO_KERNEL_DTYPE_BF16) == 1.5e-2);
    assert_string_equal(paro_problem_dtypes[PARO_KERNEL_DTYPE_F32], "f32");
    assert_int_equal(paro_kernel_dtype_storage(PARO_KERNEL_DTYPE_BF16), PARO_DTYPE_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical),  cmocka_unit_test(test_errors),
        cmocka_unit_test(test_long),       cmocka_unit_test(test_parts_print),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_numerics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
