/* SPDX-License-Identifier: MIT
 *
 * cli/cmd_cache.c, and cli/cmd_tune.c without a GPU
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "codegen/codegen.h"
#include "tests/support.h"

#include "tests/cli_process.h"

#define ROTATE "rotate:h=256,m=1,group=128,krot=8,dtype=f16"

/* A folder with PARO_CACHE in it. */
static char *new_cache(void)
{
    char *dir = test_dir_new(), *path = test_path(dir, "cache.db");
    setenv("PARO_CACHE", path, 1);
    free(path);
    return dir;
}

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

static json_int_t number(const char *key, const char *const *args)
{
    process p = process_run_input(args, "", 0);
    assert_exit(p, 0);
    json_t *root = process_json(&p);
    const json_int_t value = json_integer_value(json_object_get(root, key));
    json_decref(root);
    process_free(&p);
    return value;
}

static void test_compile_export_import(void **state)
{
    (void)state;
    need_nvrtc("test_cmd_cache test_compile_export_import");
    const char *const info[] = {"cache", "info", "-o", "json", NULL};
    const char *const compile[] = {
        "tune", "-p", ROTATE, "--compile-only", "--arch", "sm_80,sm_90", "-o", "json", NULL};
    char *dir = new_cache(), *bundle = test_path(dir, "bundle.db"), *other = test_path(dir, "b.db");
    assert_int_equal(number("n_kernels", info), 0);
    assert_int_equal(number("n_kernels", compile), 2);
    assert_int_equal(number("n_from_cache", compile), 2);
    assert_int_equal(number("n_kernels", info), 2);

    process p = RUN("cache", "explain", ROTATE, "--arch", "sm_90");
    assert_exit(p, 0);
    assert_contains(p.out, "grade    default\n");
    assert_true(strstr(p.out, "to be compiled") == NULL);
    process_free(&p);

    p = RUN("cache", "export", bundle, "--arch", "sm_90");
    assert_exit(p, 0);
    process_free(&p);
    p = RUN("cache", "export", bundle);
    assert_exit(p, 1);
    assert_contains(p.err, "bundle.db");
    process_free(&p);

    setenv("PARO_CACHE", other, 1);
    p = RUN("cache", "import", bundle);
    assert_exit(p, 0);
    assert_contains(p.out, "1 kernels");
    process_free(&p);
    assert_int_equal(number("n_kernels", info), 1);
    const char *const verify[] = {"cache", "verify", "-o", "json", NULL};
    assert_int_equal(number("n_damaged", verify), 0);
    const char *const prune[] = {"cache", "prune", "-o", "json", NULL};
    assert_int_equal(number("n_removed", prune), 0);
    free(other);
    free(bundle);
    test_dir_remove(dir);
}

static void test_usage(void **state)
{
    (void)state;
    char *dir = new_cache();
    const struct {
        int code;
        const char *args[8];
        const char *words;
    } cases[] = {
        {2, {"cache"}, "needs a verb"},
        {2, {"cache", "inf"}, "found 'inf'"},
        {2, {"cache", "import"}, "takes a file to read"},
        {2, {"cache", "info", "x"}, "takes nothing"},
        {1, {"cache", "import", "/nonexistent/file"}, "/nonexistent/file"},
        {1, {"cache", "import", "README.md"}, "README.md"},
        {2, {"cache", "explain", "rotate:x=1", "--arch", "sm_90"}, "rotate"},
        {2, {"cache", "explain", ROTATE, "--arch", "sm_91"}, "sm_91"},
        {2, {"cache", "export", "x.db", "-a", "sm_90", "-a", "sm_80"}, "takes one --arch, found 2"},
        {1, {"cache", "export", "x.db", "-a", "sm_9"}, "such as sm_90"},
        {2, {"tune"}, "--model DIR or --problem P"},
        {2, {"tune", "-p", ROTATE, "--shard", "0/4"}, "I/N"},
        {2, {"tune", "-p", ROTATE, "--shard", "5/4"}, "I/N"},
        {2, {"tune", "-p", ROTATE, "--strategy", "luck"}, "no strategy 'luck'"},
        {2, {"tune", "-p", ROTATE, "--compile-only"}, "--arch"},
        {2, {"tune", "-p", ROTATE, "--arch", "sm_90"}, "--compile-only"},
        {2, {"bench", "disks"}, "expected kernels"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        process p = process_run_input(cases[i].args, "", 0);
        if (p.code != cases[i].code || strstr(p.err, cases[i].words) == NULL)
            fail_msg("%s %s: exit code %d, %s", cases[i].args[0],
                     cases[i].args[1] ? cases[i].args[1] : "", p.code, p.err);
        process_free(&p);
    }
    test_dir_remove(dir);
}

/* What a stranger's row says does not command the terminal. */
static void test_explain_is_printable(void **state)
{
    (void)state;
    paro_error err;
    paro_cache *cache = NULL;
    paro_problem problem;
    char *dir = new_cache(), text[PARO_PROBLEM_TEXT_BYTES];
    assert_ok(paro_problem_parse(&err, ROTATE, &problem));
    paro_problem_print(&problem, text);
    paro_cache_winner row = {.problem = text,
                             .device_class = "sm_90",
                             .layout = "",
                             .config = "\x1b[2Jtokens",
                             .clock = "",
                             .device = "",
                             .driver = "",
                             .strategy = ""};
    assert_ok(paro_template_hash(&err, problem.family, row.template_hash));
    assert_ok(paro_cache_open(&err, &(paro_cache_options){.path = getenv("PARO_CACHE")}, &cache));
    assert_ok(paro_cache_put_winner(&err, cache, &row));
    paro_cache_free(cache);
    process p = RUN("cache", "explain", ROTATE, "--arch", "sm_90");
    assert_exit(p, 0);
    assert_contains(p.out, "the row of sm_90 is not used");
    assert_contains(p.out, "[2Jtokens");
    assert_null(strchr(p.out, '\x1b'));
    process_free(&p);
    test_dir_remove(dir);
}

/* Where PARO_CACHE points to nothing, to a folder, to where nothing can be made. Who only looks
 * makes nothing. */
static void test_places(void **state)
{
    (void)state;
    char *dir = test_dir_new(), *above = test_path(dir, "a"), *path = test_path(dir, "a/b/c.db");
    const char *const info[] = {"cache", "info", "-o", "json", NULL};
    setenv("PARO_CACHE", path, 1);
    assert_int_equal(number("n_winners", info), 0);
    process p = RUN("cache", "explain", ROTATE, "--arch", "sm_90");
    assert_exit(p, 0);
    process_free(&p);
    assert_false(paro_path_exists(above));
    p = RUN("cache", "prune");
    assert_exit(p, 0);
    process_free(&p);
    assert_true(paro_path_exists(path));
    assert_int_equal(number("schema", info), 2);

    const struct {
        const char *path, *verb, *words;
    } rows[] = {{dir, "info", "found a folder"},
                {dir, "prune", "found a folder"},
                {"/dev/null", "info", "found a device or pipe"},
                {"README.md", "verify", "expected a cache of paro"},
                {"README.md/cache.db", "prune", "README.md"},
                {"/proc/paro/cache.db", "prune", "create the folder"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        setenv("PARO_CACHE", rows[i].path, 1);
        p = RUN("cache", rows[i].verb);
        if (p.code != 1 || strstr(p.err, rows[i].words) == NULL)
            fail_msg("%s %s: exit code %d, %s", rows[i].verb, rows[i].path, p.code, p.err);
        process_free(&p);
    }
    free(above);
    free(path);
    test_dir_remove(dir);
}

/* Without a driver, what needs a GPU says what was looked for. */
static void test_no_gpu(void **state)
{
    (void)state;
    char *dir = new_cache();
    process p = RUN("tune", "-p", ROTATE);
    if (p.code == 0) { /* there is one */
        process_free(&p);
        test_dir_remove(dir);
        printf("SKIP test_cmd_cache test_no_gpu: there is a GPU\n");
        fflush(stdout);
        skip();
    }
    assert_exit(p, 1);
    assert_contains(p.err, "libcuda");
    process_free(&p);
    p = RUN("bench", "kernels", "-p", ROTATE);
    assert_exit(p, 1);
    assert_contains(p.err, "libcuda");
    process_free(&p);
    p = RUN("cache", "explain", ROTATE);
    assert_exit(p, 1);
    assert_contains(p.err, "--arch");
    process_free(&p);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_compile_export_import),
                                       cmocka_unit_test(test_usage), cmocka_unit_test(test_places),
                                       cmocka_unit_test(test_explain_is_printable),
                                       cmocka_unit_test(test_no_gpu)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
