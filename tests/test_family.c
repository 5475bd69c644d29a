/* SPDX-License-Identifier: MIT
 *
 * families/family.c and families/holes.c: every family's tables are well-formed, its default and
 * its configs keep each arch's limits, configs as text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <ctype.h>
#include <math.h>

#include "base/embedded.h"
#include "families/holes.h"
#include "families/rotate.h"
#include "tests/kernel_problems.h"
#include "tests/support.h"

static bool is_word(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_')
            return false;
    return text[0] != '\0';
}

static void check_keys(const paro_family *family)
{
    size_t n = 0, n_parts = 0, n_text = strlen(family->name) + 2;
    for (; family->keys[n].name != NULL; n++) {
        const paro_problem_key *key = &family->keys[n];
        assert_true(is_word(key->name));
        assert_non_null(key->help);
        n_text += strlen(key->name) + 2;
        if (key->kind == PARO_KEY_CHOICE) {
            size_t n_choices = 0, longest = 0;
            for (; key->choices[n_choices] != NULL; n_choices++) {
                assert_true(is_word(key->choices[n_choices]));
                size_t length = strlen(key->choices[n_choices]);
                longest = length > longest ? length : longest;
            }
            assert_true(n_choices > 0);
            assert_true(!key->has_default ||
                        (key->fallback >= 0 && key->fallback < (int64_t)n_choices));
            n_text += longest;
        } else {
            assert_true(key->min >= 0 && key->min <= key->max);
            assert_true(key->max < INT64_C(1000000000000000000)); /* 18 digits are read */
            assert_true(!key->has_default || key->kind == PARO_KEY_PARTS ||
                        (key->fallback >= key->min && key->fallback <= key->max));
            char number[32];
            size_t digits = (size_t)snprintf(number, sizeof number, "%lld", (long long)key->max);
            bool parts = key->kind == PARO_KEY_PARTS;
            assert_true(!parts || (key->min > 0 && key->max <= UINT32_MAX));
            n_parts += parts;
            n_text += parts ? PARO_PROBLEM_MAX_PARTS * (digits + 1) : digits;
        }
    }
    assert_true(n > 0 && n <= PARO_PROBLEM_MAX_KEYS && n_parts <= 1);
    assert_true(n_text < PARO_PROBLEM_TEXT_BYTES);
}

static void check_params(const paro_family *family)
{
    size_t n = 0, n_text = 1;
    for (; family->params[n].name != NULL; n++) {
        const paro_param *param = &family->params[n];
        size_t longest = 0;
        assert_true(is_word(param->name));
        assert_non_null(param->help);
        assert_true(param->n_values > 0 && param->n_values <= PARO_MAX_PARAM_VALUES);
        for (size_t v = 0; v < param->n_values; v++) {
            char number[32];
            snprintf(number, sizeof number, "%d", (int)param->values[v]);
            for (size_t other = 0; other < v; other++)
                assert_int_not_equal(param->values[v], param->values[other]);
            const char *value = param->choices == NULL ? number : param->choices[param->values[v]];
            assert_non_null(value);
            assert_null(strpbrk(value, ",="));
            longest = strlen(value) > longest ? strlen(value) : longest;
        }
        n_text += strlen(param->name) + 2 + longest;
    }
    assert_true(n <= PARO_MAX_PARAMS && n_text < PARO_KERNEL_CONFIG_TEXT_BYTES);
}

static void test_tables(void **state)
{
    (void)state;
    assert_ptr_equal(paro_family_find("rotate"), &paro_family_rotate);
    assert_null(paro_family_find("rotates"));
    assert_null(paro_family_get(SIZE_MAX));
    for (size_t f = 0; paro_family_get(f) != NULL; f++) {
        const paro_family *family = paro_family_get(f);
        char path[128];
        print_message("%s\n", family->name);
        assert_true(is_word(family->name));
        assert_ptr_equal(paro_family_find(family->name), family); /* no name twice */
        assert_non_null(family->summary);
        snprintf(path, sizeof path, "templates/%s", family->template_name);
        assert_non_null(paro_embedded_find(path));
        check_keys(family);
        check_params(family);
        bool writes = false;
        size_t n_args = paro_family_n_args(family);
        assert_true(n_args > 0 && n_args <= PARO_MAX_ARGS);
        for (size_t a = 0; a < n_args; a++) {
            assert_true(is_word(family->args[a].name));
            assert_non_null(family->args[a].help);
            writes |=
                family->args[a].role == PARO_ARG_OUTPUT || family->args[a].role == PARO_ARG_INOUT;
        }
        assert_true(writes);
        assert_true(family->complete && family->constraint && family->default_config);
        assert_true(family->holes && family->plan && family->arg_info && family->fill);
        assert_true(family->reference && family->cost && family->estimate_us);
    }
}

/* A plan that the arch can launch, whose arguments exist. */
static void check_plan(const paro_problem *problem, const paro_kernel_config *config,
                       const paro_arch *arch)
{
    const paro_family *family = problem->family;
    paro_launch_plan plan;
    memset(&plan, 0x5a, sizeof plan);
    family->plan(problem, config, &plan);
    assert_in_range(plan.n_launches, 1, PARO_MAX_LAUNCHES);
    for (size_t l = 0; l < plan.n_launches; l++) {
        const paro_launch *launch = &plan.launches[l];
        assert_non_null(launch->kernel);
        assert_in_range(launch->grid[0], 1, INT32_MAX);
        assert_in_range(launch->grid[1], 1, 65535);
        assert_in_range(launch->grid[2], 1, 65535);
        assert_in_range(launch->n_threads, 32, 1024);
        assert_int_equal(launch->n_threads % 32, 0);
        assert_in_range(launch->shared_bytes, 0, arch->max_shared_bytes);
        assert_in_range(launch->cluster, 0, 16);
        if (launch->cluster > 1) {
            assert_true((arch->features & PARO_ARCH_CLUSTER) != 0);
            assert_int_equal(launch->grid[0] % launch->cluster, 0);
        }
        assert_in_range(launch->n_args, 1, PARO_MAX_ARGS);
        for (size_t a = 0; a < launch->n_args; a++)
            assert_true(launch->args[a] < paro_family_n_args(family));
    }
    for (size_t a = 0; a < paro_family_n_args(family); a++) {
        paro_arg_info info = {PARO_DTYPE_COUNT, UINT64_MAX};
        family->arg_info(problem, config, a, &info);
        assert_true(info.dtype < PARO_DTYPE_COUNT && info.n < (uint64_t)1 << 40);
        if (family->args[a].role == PARO_ARG_SCALAR) {
            assert_true(info.dtype == PARO_DTYPE_U32 || info.dtype == PARO_DTYPE_F32);
            assert_int_equal(info.n, 1);
        }
    }
}

static void check_variant(const paro_problem *problem, const paro_kernel_config *config,
                          const paro_arch *arch)
{
    const paro_family *family = problem->family;
    paro_error err;
    paro_holes holes;
    paro_device_info device;
    paro_cost cost = {-1, -1};
    char text[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_kernel_config read = {{0}};
    assert_null(family->constraint(problem, config, arch));
    check_plan(problem, config, arch);
    int64_t m = paro_problem_get(problem, "m");
    if (m > 1) { /* fewer tokens are a plan too */
        paro_problem fewer = paro_problem_with_m(problem, (uint32_t)m / 2);
        check_plan(&fewer, config, arch);
    }
    assert_ok(paro_holes_make(&err, problem, config, arch, &holes));
    assert_true(holes.n > 0);
    paro_holes_release(&holes);
    family->cost(problem, &cost);
    assert_true(isfinite(cost.bytes) && cost.bytes > 0);
    assert_true(isfinite(cost.operations) && cost.operations >= 0);
    paro_device_typical(arch, &device);
    double us = family->estimate_us(problem, config, &device);
    assert_true(isfinite(us) && us > 0 && us < 1e9);
    paro_kernel_config_print(family, config, text);
    assert_ok(paro_kernel_config_parse(&err, family, text, &read));
    assert_memory_equal(read.values, config->values,
                        paro_family_n_params(family) * sizeof read.values[0]);
}

static void test_variants(void **state)
{
    paro_rng rng;
    (void)state;
    paro_rng_seed(&rng, 2);
    for (size_t f = 0; paro_family_get(f) != NULL; f++) {
        const paro_family *family = paro_family_get(f);
        size_t n_paths = 0;
        for (int i = 0; i < 100; i++) {
            paro_problem problem = test_draw_problem(&rng, family);
            const paro_arch *arch = paro_arch_get((size_t)i % 12);
            paro_kernel_config config;
            if (!test_draw_config(&rng, &problem, arch, &config))
                continue; /* no path there */
            n_paths++;
            check_variant(&problem, &config, arch);
            memset(&config, 0, sizeof config);
            family->default_config(&problem, arch, &config);
            check_variant(&problem, &config, arch);
        }
        assert_true(n_paths > 50);
    }
}

static void test_config_text(void **state)
{
    const paro_family *family = &paro_family_rotate;
    paro_error err;
    paro_kernel_config config = {{1, 4}}, before = config;
    char text[PARO_KERNEL_CONFIG_TEXT_BYTES];
    (void)state;
    paro_kernel_config_print(family, &config, text);
    assert_string_equal(text, "tokens=1,warps=4");
    assert_fails(paro_kernel_config_parse(&err, family, "warps=2,token=1", &config),
                 PARO_STATUS_INVALID_ARGUMENT, "no param \"token\" (nearest: tokens");
    assert_fails(paro_kernel_config_parse(&err, family, "warps=3", &config),
                 PARO_STATUS_INVALID_ARGUMENT, "expected one of 1, 2, 4, 8, found \"3\"");
    assert_fails(paro_kernel_config_parse(&err, family, "warps=2,warps=2", &config),
                 PARO_STATUS_INVALID_ARGUMENT, "found warps twice");
    assert_fails(paro_kernel_config_parse(&err, family, "warps=2,", &config),
                 PARO_STATUS_INVALID_ARGUMENT, "expected param=value, found \"\"");
    assert_fails(paro_kernel_config_parse(&err, family, "warps", &config),
                 PARO_STATUS_INVALID_ARGUMENT, "expected param=value, found \"warps\"");
    assert_memory_equal(&config, &before, sizeof config);
    assert_ok(paro_kernel_config_parse(&err, family, "", &config));
    assert_memory_equal(&config, &before, sizeof config);
    assert_ok(paro_kernel_config_parse(&err, family, "warps=8", &config)); /* tokens stays */
    paro_kernel_config_print(family, &config, text);
    assert_string_equal(text, "tokens=1,warps=8");
}

static void fill_twice(const paro_problem *problem, const paro_kernel_config *config,
                       const paro_arch *arch, paro_holes *holes)
{
    (void)problem, (void)config, (void)arch;
    paro_hole_integer(holes, "a", 1);
    paro_hole_text(holes, "b", "{%d, %s}", 2, "three");
    if (config->values[0] != 0)
        paro_hole_integer(holes, "a", 1);
}

static void test_holes(void **state)
{
    const paro_family family = {.name = "twice", .holes = fill_twice};
    const paro_problem problem = {.family = &family};
    paro_kernel_config config = {{0}};
    paro_error err;
    paro_holes holes;
    (void)state;
    assert_ok(paro_holes_make(&err, &problem, &config, NULL, &holes));
    assert_int_equal(holes.n, 2);
    assert_string_equal(paro_holes_find(&holes, "b")->value, "{2, three}");
    assert_null(paro_holes_find(&holes, "c"));
    paro_holes_release(&holes);
    for (int i = 0; i < 100; i++) { /* more than at first fit */
        char name[16];
        snprintf(name, sizeof name, "h%d", i);
        paro_hole_integer(&holes, name, -i);
    }
    assert_int_equal(holes.n, 100);
    assert_string_equal(paro_holes_find(&holes, "h77")->value, "-77");
    paro_holes_release(&holes);
    config.values[0] = 1;
    assert_fails(paro_holes_make(&err, &problem, &config, NULL, &holes),
                 PARO_STATUS_INVALID_ARGUMENT, "found \"a\" twice");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_config_text),
        cmocka_unit_test(test_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
