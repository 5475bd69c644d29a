/* SPDX-License-Identifier: MIT
 *
 * cli/cmd_kernel.c, cli/kernels.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codegen/codegen.h"
#include "tests/support.h"

#include "tests/cli_process.h"

#define ROTATE "rotate:h=256,m=1,group=128,krot=8,dtype=f16"

static void need_nvrtc(const char *test)
{
    paro_error err;
    paro_nvrtc *nvrtc = NULL;
    if (paro_nvrtc_new(&err, getenv("PARO_NVRTC"), &nvrtc) != PARO_STATUS_OK) {
        printf("SKIP %s: needs NVRTC: %s\n", test, err.message);
        fflush(stdout);
        skip();
    }
    paro_nvrtc_free(nvrtc);
}

static void test_list(void **state)
{
    (void)state;
    process p = RUN("kernel", "list");
    assert_exit(p, 0);
    assert_contains(p.out, "rotate ");
    assert_contains(p.out, "linear_w4 ");
    assert_contains(p.out, "n,k,m,group,krot,dtype,parts,zero,bias");
    process_free(&p);

    p = RUN("kernel", "list", "rotate");
    assert_exit(p, 0);
    assert_contains(p.out, "krot");
    assert_contains(p.out, "f16|bf16|f32");
    assert_contains(p.out, "channel_scales");
    process_free(&p);

    p = RUN("kernel", "list", "rotate", "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    assert_string_equal(json_string_value(json_object_get(root, "family")), "rotate");
    assert_true(json_array_size(json_object_get(root, "problem")) >= 5);
    assert_true(json_array_size(json_object_get(root, "arguments")) >= 5);
    json_decref(root);
    process_free(&p);
}

static void test_show_source(void **state)
{
    (void)state;
    process p = RUN("kernel", "show", "-p", ROTATE), again;
    assert_exit(p, 0);
    assert_contains(p.out, "extern \"C\" __global__");
    assert_contains(p.out, "// hole: h = 256\n");
    /* The family may stand before the problem; the same source, byte for byte. */
    again = RUN("kernel", "show", "rotate", "-p", "dtype=f16,krot=8,group=128,m=1,h=256", "-a",
                "sm_90");
    assert_exit(again, 0);
    assert_string_equal(p.out, again.out);
    process_free(&again);
    process_free(&p);
}

static void test_show_resources(void **state)
{
    (void)state;
    need_nvrtc("test_cmd_kernel test_show_resources");
    process p = RUN("kernel", "show", "-p", ROTATE, "-s", "resources");
    assert_exit(p, 0);
    assert_contains(p.out, "\"registers\"");
    process_free(&p);
    p = RUN("kernel", "show", "-p", ROTATE, "-s", "sass", "-a", "sm_75");
    assert_exit(p, 0);
    assert_contains(p.out, "EXIT");
    process_free(&p);
}

static void test_check(void **state)
{
    (void)state;
    need_nvrtc("test_cmd_kernel test_check");
    process p =
        RUN("kernel", "check", "-p", ROTATE, "-a", "sm_75,sm_90", "--emulate", "-o", "json");
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    assert_int_equal(json_integer_value(json_object_get(root, "n_compiled")), 2);
    assert_int_equal(json_integer_value(json_object_get(root, "n_spilling")), 0);
    assert_int_equal(json_integer_value(json_object_get(root, "n_emulated")), 1);
    assert_int_equal(json_integer_value(json_object_get(root, "n_wrong")), 0);
    assert_int_equal(json_array_size(json_object_get(root, "kernels")), 3);
    json_decref(root);
    process_free(&p);
}

static void test_usage(void **state)
{
    (void)state;
    const struct {
        const char *args[8];
        const char *words;
    } cases[] = {
        {{"kernel"}, "needs list, show or check"},
        {{"kernel", "lst"}, "expected list, show or check, found 'lst'"},
        {{"kernel", "list", "rotat"}, "no kernel family 'rotat'"},
        {{"kernel", "show"}, "one --problem"},
        {{"kernel", "show", "swiglu", "-p", ROTATE}, "show swiglu: expected a problem of it"},
        {{"kernel", "show", "rota", "-p", ROTATE}, "found 'rotate:"},
        {{"kernel", "check"}, "--model DIR or --problem P"},
        {{"kernel", "check", "-p", "rotate:h=256"}, "m"},
        {{"kernel", "check", "-p", ROTATE, "-a", "sm_91"}, "no arch 'sm_91'"},
        {{"kernel", "check", "-m", DEMO_MODEL, "--buckets", "3"}, "3"},
        {{"kernel", "check", "-m", DEMO_MODEL, "--buckets", "x"}, "--buckets"},
        {{"kernel", "show", "-p", ROTATE ",x=1"}, "no key \"x\""},
        {{"kernel", "show", "-p", ROTATE, "-c", "nonsense=1"}, "nonsense"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        process p = process_run_input(cases[i].args, "", 0);
        assert_exit(p, 2);
        assert_contains(p.err, cases[i].words);
        process_free(&p);
    }
    /* All archs are named, from the table. */
    process p = RUN("kernel", "show", "-p", ROTATE, "-a", "sm_91");
    assert_contains(p.err, "archs are sm_75, ");
    assert_contains(p.err, ", sm_121");
    process_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_list),
                                       cmocka_unit_test(test_show_source),
                                       cmocka_unit_test(test_show_resources),
                                       cmocka_unit_test(test_check), cmocka_unit_test(test_usage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
