/* SPDX-License-Identifier: MIT
 *
 * The program on a GPU: tuned kernels, and a filled cache on a machine without a compiler.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <glob.h>

#include "codegen/codegen.h"
#include "gpu/gpu.h"
#include "tests/support.h"

#include "tests/cli_process.h"

/* Skips, and says so, where there is no GPU or nothing that compiles for it. */
static void need_gpu(const char *test)
{
    paro_error err;
    paro_gpu *gpu = NULL;
    paro_nvrtc *nvrtc = NULL;
    const bool found = paro_gpu_open_cuda(&err, 0, &gpu) == PARO_STATUS_OK &&
                       paro_nvrtc_new(&err, getenv("PARO_NVRTC"), &nvrtc) == PARO_STATUS_OK;
    paro_nvrtc_free(nvrtc);
    paro_gpu_free(gpu);
    if (!found) {
        printf("SKIP %s: needs a GPU and NVRTC: %s\n", test, err.message);
        fflush(stdout);
        skip();
    }
}

static char *text_of(const char *model, const char *device)
{
    process p = RUN("run", model, "--device", device, "-p", "The history of", "-n", "24", "-q");
    assert_exit(p, 0);
    char *text = strdup(p.out);
    assert_non_null(text);
    process_free(&p);
    return text;
}

/* What the dynamic loader was asked for while it wrote to files that begin with `prefix`. */
static void assert_never_loaded(const char *prefix, const char *const *libraries, size_t n)
{
    paro_error err;
    glob_t files;
    char *pattern = NULL;
    bool saw_driver = false;
    assert_true(asprintf(&pattern, "%s.*", prefix) > 0);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t f = 0; f < files.gl_pathc; f++) {
        char *text = NULL;
        size_t n_bytes = 0;
        assert_ok(paro_file_read(&err, files.gl_pathv[f], 1 << 26, &text, &n_bytes));
        saw_driver = saw_driver || strstr(text, "libcuda.so") != NULL;
        for (size_t i = 0; i < n; i++)
            if (strstr(text, libraries[i]) != NULL)
                fail_msg("%s was looked for: see %s", libraries[i], files.gl_pathv[f]);
        free(text);
    }
    assert_true(saw_driver); /* the files are what we take them for */
    globfree(&files);
    free(pattern);
}

/* Greedy text of a rotated model from a filled cache, with NVRTC hidden, and CUPTI and libclang
 * never looked for; and what is said where the cache is empty too. */
static void test_filled_cache_without_compiler(void **state)
{
    (void)state;
    need_gpu("test_cmd_gpu test_filled_cache_without_compiler");
    char *model =
        test_shared_path("test_cmd_gpu test_filled_cache_without_compiler", "models/llama-PARO");
    char *dir = test_dir_new(), *cache = test_path(dir, "cache.db");
    char *bundle = test_path(dir, "bundle.db"), *other = test_path(dir, "other.db");
    setenv("PARO_CACHE", cache, 1);
    char *expected = text_of(model, "cpu"), *first = text_of(model, "cuda:0");
    assert_string_equal(first, expected);

    /* As a bundle on another machine. */
    process p = RUN("cache", "export", bundle);
    assert_exit(p, 0);
    process_free(&p);
    setenv("PARO_CACHE", other, 1);
    setenv("PARO_NVRTC", "/nonexistent/libnvrtc.so", 1);
    p = RUN("run", model, "--device", "cuda:0", "-p", "The history of", "-n", "24");
    assert_exit(p, 1);
    assert_contains(p.err, "/nonexistent/libnvrtc.so");
    assert_contains(p.err, "paro cache import");
    process_free(&p);
    p = RUN("cache", "import", bundle);
    assert_exit(p, 0);
    process_free(&p);
    char *loaded = test_path(dir, "loaded");
    setenv("LD_DEBUG", "files", 1);
    setenv("LD_DEBUG_OUTPUT", loaded, 1);
    char *second = text_of(model, "cuda:0");
    unsetenv("LD_DEBUG");
    unsetenv("LD_DEBUG_OUTPUT");
    static const char *const never[] = {"libcupti", "libclang"};
    assert_never_loaded(loaded, never, 2);
    free(loaded);
    assert_string_equal(second, expected);
    unsetenv("PARO_NVRTC");
    free(second);
    free(first);
    free(expected);
    free(other);
    free(bundle);
    free(cache);
    free(model);
    test_dir_remove(dir);
}

static void test_tune(void **state)
{
    (void)state;
    need_gpu("test_cmd_gpu test_tune");
    char *dir = test_dir_new(), *cache = test_path(dir, "cache.db");
    setenv("PARO_CACHE", cache, 1);
    const char *const tune[] = {"tune", "-p",   "rotate:h=1024,m=4,group=128,krot=8,dtype=f16",
                                "-o",   "json", NULL};
    for (int again = 0; again < 2; again++) {
        process p = process_run_input(tune, "", 0);
        assert_exit(p, 0);
        json_t *root = process_json(&p);
        json_t *row = json_array_get(json_object_get(root, "problems"), 0);
        assert_int_equal(json_integer_value(json_object_get(root, "n_tuned")), again ? 0 : 1);
        assert_int_equal(json_integer_value(json_object_get(root, "n_from_cache")), again);
        assert_true(json_real_value(json_object_get(row, "median_us")) > 0.5);
        assert_non_null(json_string_value(json_object_get(row, "config")));
        json_decref(root);
        process_free(&p);
    }
    process p = RUN("cache", "explain", "rotate:h=1024,m=4,group=128,krot=8,dtype=f16");
    assert_exit(p, 0);
    assert_contains(p.out, "grade    exact");
    process_free(&p);
    p = RUN("cache", "explain", "rotate:h=1024,m=8,group=128,krot=8,dtype=f16");
    assert_exit(p, 0);
    assert_contains(p.out, "grade    near problem");
    process_free(&p);
    free(cache);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_filled_cache_without_compiler),
                                       cmocka_unit_test(test_tune)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
