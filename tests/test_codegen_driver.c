/* SPDX-License-Identifier: MIT
 *
 * codegen/driver.c: the passes in order, with and without libclang and NVRTC; keys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/codegen.h"
#include "tests/support.h"

#include "tests/nvrtc_fixture.h"

static paro_problem problem;
static paro_kernel_config config;
static paro_variant variant;

static void set_variant(const char *text, const char *arch)
{
    paro_error err;
    assert_ok(paro_problem_parse(&err, text, &problem));
    variant = (paro_variant){&problem, &config, paro_arch_find(arch)};
    assert_non_null(variant.arch);
    problem.family->default_config(&problem, variant.arch, &config);
}

/* The names of passes, a comma after each. */
static void note_pass(void *context, const char *pass, const char *text, size_t n_bytes)
{
    paro_buffer *passes = context;
    assert_non_null(text);
    if (strcmp(pass, "log") != 0)
        assert_true(n_bytes > 0);
    assert_true(paro_buffer_printf(passes, "%s,", pass));
}

static paro_checker *checker_or_null(void)
{
    paro_checker *checker = NULL;
    return paro_checker_new(NULL, &checker) == PARO_STATUS_OK ? checker : NULL;
}

static void test_source_only(void **state)
{
    (void)state;
    paro_error err;
    paro_buffer passes = {0};
    paro_build build = {0}, again = {0};
    set_variant("rotate:h=256,m=4,group=64,krot=4,dtype=f16", "sm_90");
    assert_ok(paro_build_variant(&err, &variant, NULL, NULL, note_pass, &passes, &build));
    assert_string_equal(passes.data, "problem,config,source,");
    assert_false(build.has_signature);
    assert_null(build.binary.data);
    assert_string_equal(build.target, "sm_90");
    assert_int_equal(strlen(build.source), build.n_source_bytes);
    assert_non_null(strstr(build.source, "// A kernel of paro's family rotate"));
    assert_non_null(strstr(build.source, "#line 1 \"rotate.cu\""));
    assert_ok(paro_build_variant(&err, &variant, NULL, NULL, NULL, NULL, &again));
    assert_string_equal(build.source, again.source);
    paro_build_release(&build);
    paro_build_release(&again);
    paro_build_release(NULL);
    paro_buffer_free(&passes);
}

static void test_all(void **state)
{
    (void)state;
    paro_error err;
    paro_nvrtc *nvrtc = test_nvrtc("test_codegen_driver all");
    paro_checker *checker = checker_or_null();
    if (checker == NULL)
        printf("SKIP test_codegen_driver signature: needs libclang\n");
    paro_buffer passes = {0};
    paro_build build = {0}, again = {0};
    set_variant("rotate:h=256,m=4,group=64,krot=4,dtype=f16", "sm_90");
    assert_ok(paro_build_variant(&err, &variant, checker, nvrtc, note_pass, &passes, &build));
    assert_string_equal(passes.data, checker != NULL
                                         ? "problem,config,source,signature,binary,log,resources,"
                                         : "problem,config,source,binary,log,resources,");
    assert_int_equal(build.has_signature, checker != NULL);
    assert_true(build.resources.n_kernels >= 1);
    assert_int_equal(build.resources.kernels[0].spill_store_bytes, 0);
    assert_int_equal(strlen(build.key), 64);
    assert_ok(paro_build_variant(&err, &variant, checker, nvrtc, NULL, NULL, &again));
    assert_string_equal(build.key, again.key);
    assert_int_equal(build.binary.n_bytes, again.binary.n_bytes);
    assert_memory_equal(build.binary.data, again.binary.data, build.binary.n_bytes);
    assert_string_equal(build.binary.log, again.binary.log);
    paro_build_release(&again);
    set_variant("rotate:h=256,m=4,group=64,krot=4,dtype=f16", "sm_80");
    assert_ok(paro_build_variant(&err, &variant, checker, nvrtc, NULL, NULL, &again));
    assert_string_not_equal(build.key, again.key);
    paro_build_release(&build);
    paro_build_release(&again);
    paro_buffer_free(&passes);
    paro_checker_free(checker);
    paro_nvrtc_free(nvrtc);
}

static const char *refuse(const paro_problem *p, const paro_kernel_config *c, const paro_arch *arch)
{
    (void)p, (void)c, (void)arch;
    return "planted";
}

/* A family that is rotate but for one answer: each pass refuses. */
static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    paro_build build = {0};
    set_variant("rotate:h=256,m=4,group=64,krot=4,dtype=f16", "sm_90");
    paro_family planted = *problem.family;
    const paro_family *kept = problem.family;
    problem.family = &planted;

    planted.constraint = refuse;
    assert_fails(paro_build_variant(&err, &variant, NULL, NULL, NULL, NULL, &build),
                 PARO_STATUS_INVALID_ARGUMENT, "on sm_90: planted");
    planted.constraint = kept->constraint;

    planted.template_name = "none.cu";
    assert_fails(paro_build_variant(&err, &variant, NULL, NULL, NULL, NULL, &build),
                 PARO_STATUS_NOT_FOUND, "no template 'none.cu'");
    planted.template_name = "read.cu"; /* another family's: its holes are not these */
    assert_fails(paro_build_variant(&err, &variant, NULL, NULL, NULL, NULL, &build),
                 PARO_STATUS_FORMAT, "read.cu");
    planted.template_name = kept->template_name;

    paro_checker *checker = checker_or_null();
    paro_arg args[PARO_MAX_ARGS + 1];
    size_t n_args = paro_family_n_args(kept);
    memcpy(args, kept->args, (n_args + 1) * sizeof *args);
    args[0].name = "renamed";
    planted.args = args;
    if (checker != NULL)
        assert_fails(paro_build_variant(&err, &variant, checker, NULL, NULL, NULL, &build),
                     PARO_STATUS_FORMAT, "expected 'renamed', found");
    assert_null(build.source);
    paro_checker_free(checker);
}

static void test_key(void **state)
{
    (void)state;
    char first[PARO_SHA256_HEX_BYTES], other[PARO_SHA256_HEX_BYTES];
    paro_kernel_key("source", "sm_90", "13.0", first);
    paro_kernel_key("source", "sm_90", "13.0", other);
    assert_string_equal(first, other);
    paro_kernel_key("sources", "m_90", "13.0", other);
    assert_string_not_equal(first, other);
    paro_kernel_key("source", "sm_90a", "13.0", other);
    assert_string_not_equal(first, other);
    paro_kernel_key("source", "sm_90", "12.9", other);
    assert_string_not_equal(first, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_only),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
