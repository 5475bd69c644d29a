/* SPDX-License-Identifier: MIT
 *
 * codegen/expand.c and render.c: parts once and in place, #line directives, holes; every family's
 * variants.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/codegen.h"
#include "codegen/expand.h"
#include "tests/support.h"

/* Files of a test, by name; the list ends with NULL. */
typedef struct planted_file {
    const char *name;
    const char *text;
} planted_file;

static const char *read_planted(void *context, const char *name, size_t *n_bytes)
{
    for (const planted_file *file = context; file->name != NULL; file++) {
        if (strcmp(file->name, name) == 0) {
            *n_bytes = strlen(file->text);
            return file->text;
        }
    }
    return NULL;
}

static paro_hole two_holes[] = {{"krot", "8"}, {"parts", "{4096, 1024}"}};

static paro_status expand(paro_error *err, const char *text, paro_hole *list, size_t n,
                          paro_buffer *out)
{
    planted_file files[] = {
        {"a.cu", text},
        {"lib/core.cuh", "#pragma once\nusing u32 = unsigned;\n"},
        {"lib/more.cuh", "#include \"core.cuh\"\n#include \"lib/core.cuh\"\nint more;"},
        {"lib/loop.cuh", "#include \"lib/self.txt\"\n"},
        {NULL, NULL}};
    paro_holes holes = {.list = list, .n = n};
    return paro_expand(err, read_planted, files, "a.cu", list != NULL ? &holes : NULL, out);
}

static void test_parts(void **state)
{
    (void)state;
    paro_error err;
    paro_buffer out = {0};
    assert_ok(expand(
        &err, "// first\n#include \"lib/more.cuh\"\n  #include \"lib/core.cuh\"\nint last;\n", NULL,
        0, &out));
    assert_string_equal(out.data, "#line 1 \"a.cu\"\n"
                                  "// first\n"
                                  "#line 1 \"lib/more.cuh\"\n"
                                  "#line 1 \"lib/core.cuh\"\n"
                                  "\n"
                                  "using u32 = unsigned;\n"
                                  "#line 2 \"lib/more.cuh\"\n"
                                  "\n"
                                  "int more;\n"
                                  "#line 3 \"a.cu\"\n"
                                  "\n"
                                  "int last;\n");
    paro_buffer_free(&out);
    assert_fails(expand(&err, "\n#include <cuda.h>\n", NULL, 0, &out), PARO_STATUS_FORMAT,
                 "a.cu:2: expected #include \"lib/NAME.cuh\", found #include <cuda.h>");
    assert_fails(expand(&err, "#include \"core.cuh\"\n", NULL, 0, &out), PARO_STATUS_FORMAT,
                 "a.cu:1: expected #include");
    assert_fails(expand(&err, "#include \"lib/../a.cuh\"\n", NULL, 0, &out), PARO_STATUS_FORMAT,
                 "a.cu:1: expected #include");
    assert_fails(expand(&err, "#include \"lib/none.cuh\"\n", NULL, 0, &out), PARO_STATUS_FORMAT,
                 "a.cu:1: no part 'lib/none.cuh' in templates/");
    assert_fails(expand(&err, "#include \"lib/loop.cuh\"\n", NULL, 0, &out), PARO_STATUS_FORMAT,
                 "lib/loop.cuh:1: expected #include");
    paro_buffer_free(&out);
    planted_file none[] = {{NULL, NULL}};
    assert_fails(paro_expand(&err, read_planted, none, "a.cu", NULL, &out), PARO_STATUS_NOT_FOUND,
                 "no template 'a.cu'");
    paro_buffer_free(&out);
}

static void test_holes(void **state)
{
    (void)state;
    static const char text[] = "constexpr int KROT = 1; // hole: krot\n"
                               "constexpr u32 PARTS[] = {1, 2}; // hole: parts\n";
    paro_error err;
    paro_buffer out = {0};
    assert_ok(expand(&err, text, two_holes, 2, &out));
    assert_string_equal(out.data, "#line 1 \"a.cu\"\n"
                                  "constexpr int KROT = 8; // hole: krot\n"
                                  "constexpr u32 PARTS[] = {4096, 1024}; // hole: parts\n");
    paro_buffer_clear(&out);
    assert_ok(expand(&err, text, NULL, 0, &out));
    assert_non_null(strstr(out.data, "{1, 2}; // hole: parts\n"));

    assert_fails(expand(&err, text, two_holes, 1, &out), PARO_STATUS_FORMAT,
                 "a.cu:2: nothing for hole 'parts'");
    assert_fails(expand(&err, "constexpr int KROT = 1; // hole: krot\n", two_holes, 2, &out),
                 PARO_STATUS_FORMAT, "// hole: parts\" for the hole that the family fills");
    assert_fails(
        expand(&err, "int A = 1; // hole: krot\nint B = 1; // hole: krot\n", two_holes, 1, &out),
        PARO_STATUS_FORMAT, "a.cu:2: hole 'krot' for the second time");
    static const char *const broken[] = {"int A; // hole: krot\n", "int A = 1 // hole: krot\n",
                                         "int A = 1; // hole: \n", "// hole: krot\n",
                                         "; = // hole: krot\n"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        assert_fails(expand(&err, broken[i], two_holes, 1, &out), PARO_STATUS_FORMAT,
                     "a.cu:1: expected \"… = VALUE; // hole: NAME\"");
    paro_hole two_lines[] = {{"krot", "1;\nint b"}};
    assert_fails(expand(&err, "int A = 1; // hole: krot\n", two_lines, 1, &out), PARO_STATUS_FORMAT,
                 "expected one line of C++");
    paro_buffer_free(&out);
}

static const char golden_folder[] = "tests/goldens/kernels";

static const char *read_golden(void *context, const char *name, size_t *n_bytes)
{
    paro_buffer *files = context; /* one for each file: texts stay */
    while (files->data != NULL)
        files++;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", golden_folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    char block[4096];
    size_t n = fread(block, 1, sizeof block, file);
    fclose(file);
    assert_true(n > 0 && n < sizeof block && paro_buffer_append(files, block, n));
    *n_bytes = files->n_bytes;
    return files->data;
}

/* The generator's bytes: whatever else changes, this template gives scale.expected.cu. */
static void test_golden(void **state)
{
    (void)state;
    paro_error err;
    paro_hole list[] = {{"dtype", "f16"}, {"n_threads", "256"}, {"parts", "{4096, 1024, 1024}"}};
    paro_holes holes = {.list = list, .n = 3};
    paro_buffer files[16] = {{0}}, out = {0}, expected[2] = {{0}};
    size_t n_bytes = 0;
    assert_ok(paro_expand(&err, read_golden, files, "scale.cu", &holes, &out));
    const char *text = read_golden(expected, "scale.expected.cu", &n_bytes);
    assert_non_null(text);
    assert_string_equal(out.data, text);
    for (size_t i = 0; i < 16; i++)
        paro_buffer_free(&files[i]);
    paro_buffer_free(&expected[0]);
    paro_buffer_free(&out);
}

/* How it was made: family, template, hash, holes; then the template from its first line. */
static void test_header(void **state)
{
    (void)state;
    paro_error err;
    paro_problem problem;
    paro_kernel_config config = {{0}};
    paro_buffer source = {0};
    char expected[512], hash[PARO_SHA256_HEX_BYTES];
    assert_ok(paro_problem_parse(&err, "read:bytes=1048576", &problem));
    const paro_arch *arch = paro_arch_find("sm_90");
    problem.family->default_config(&problem, arch, &config);
    paro_variant variant = {&problem, &config, arch};
    assert_ok(paro_render(&err, &variant, &source));
    assert_ok(paro_template_hash(&err, problem.family, hash));
    int n =
        snprintf(expected, sizeof expected,
                 "// A kernel of paro's family read, made from templates/read.cu by filling its "
                 "holes.\n// template: %s\n// hole: ",
                 hash);
    assert_memory_equal(source.data, expected, (size_t)n);
    const char *first =
        strstr(source.data, "#line 1 \"read.cu\"\n// SPDX-License-Identifier: MIT\n");
    assert_non_null(first);
    for (const char *line = source.data; line < first; line = strchr(line, '\n') + 1)
        assert_memory_equal(line, "// ", 3);
    paro_buffer_free(&source);
}

static void test_target(void **state)
{
    (void)state;
    const paro_arch *sm_90 = paro_arch_find("sm_90"), *sm_75 = paro_arch_find("sm_75");
    assert_non_null(sm_90);
    assert_non_null(sm_75);
    assert_string_equal(paro_target_of("int a;\n// needs: own\n", sm_90), "sm_90a");
    assert_string_equal(paro_target_of("int a; // needs: own\n", sm_90), "sm_90");
    assert_string_equal(paro_target_of("// needs: own\n", sm_75), "sm_75");
    assert_string_equal(paro_target_of("", sm_90), "sm_90");
}

/* Every family's template, with its own values. */
static void test_families(void **state)
{
    (void)state;
    paro_error err;
    const paro_family *family;
    for (size_t f = 0; (family = paro_family_get(f)) != NULL; f++) {
        char hash[PARO_SHA256_HEX_BYTES], again[PARO_SHA256_HEX_BYTES];
        assert_ok(paro_template_hash(&err, family, hash));
        assert_ok(paro_template_hash(&err, family, again));
        assert_string_equal(hash, again);
        assert_int_equal(strlen(hash), 64);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),  cmocka_unit_test(test_holes),
        cmocka_unit_test(test_golden), cmocka_unit_test(test_header),
        cmocka_unit_test(test_target), cmocka_unit_test(test_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
