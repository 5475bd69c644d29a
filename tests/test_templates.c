/* SPDX-License-Identifier: MIT
 *
 * Templates as they stand in the tree, with constants of their own: every template and every part
 * is read by libclang and compiled by NVRTC, and names nothing of CUDA's own outside templates/lib.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <ctype.h>

#include "base/embedded.h"
#include "codegen/codegen.h"
#include "codegen/expand.h"
#include "tests/support.h"

#include "tests/nvrtc_fixture.h"

static const char folder[] = "templates/";

/* The n-th template, its name below templates/; NULL past the last. */
static const paro_embedded_file *template_get(size_t n)
{
    const paro_embedded_file *file;
    for (size_t i = 0; (file = paro_embedded_get(folder, i)) != NULL; i++) {
        const char *end = strrchr(file->path, '.');
        if (end != NULL && strcmp(end, ".cu") == 0 && n-- == 0)
            return file;
    }
    return NULL;
}

static const char *name_of(const paro_embedded_file *file)
{
    return file->path + sizeof folder - 1;
}

static void expand_template(const char *name, paro_buffer *source)
{
    paro_error err;
    paro_buffer_clear(source);
    assert_ok(paro_expand(&err, paro_expand_read_embedded, NULL, name, NULL, source));
}

/* A source that is nothing but one part. */
static const char *read_part_alone(void *context, const char *name, size_t *n_bytes)
{
    if (strcmp(name, "alone.cu") != 0)
        return paro_expand_read_embedded(NULL, name, n_bytes);
    *n_bytes = strlen(context);
    return context;
}

static bool expand_part(size_t n, char name[128], paro_buffer *source)
{
    paro_error err;
    char text[512];
    const paro_embedded_file *file = paro_embedded_get("templates/lib/", n);
    if (file == NULL)
        return false;
    snprintf(name, 128, "%s", name_of(file));
    snprintf(text, sizeof text,
             "#include \"%s\"\nextern \"C\" __global__ void __launch_bounds__(32, 1) alone() {}\n",
             name);
    paro_buffer_clear(source);
    assert_ok(paro_expand(&err, read_part_alone, text, "alone.cu", NULL, source));
    return true;
}

/* Each family has its template, and each template a family. */
static void test_table(void **state)
{
    (void)state;
    const paro_family *family;
    const paro_embedded_file *file;
    size_t n_families = 0, n_templates = 0;
    for (; (family = paro_family_get(n_families)) != NULL; n_families++) {
        bool found = false;
        for (size_t i = 0; (file = template_get(i)) != NULL; i++)
            found = found || strcmp(name_of(file), family->template_name) == 0;
        if (!found)
            fail_msg("%s: no templates/%s", family->name, family->template_name);
    }
    while (template_get(n_templates) != NULL)
        n_templates++;
    assert_int_equal(n_templates, n_families);
}

/* Words of C++ code, comments and texts left out. */
static const char *next_word(const char *at, char word[64])
{
    while (*at != 0) {
        if (at[0] == '/' && at[1] == '/') {
            at += strcspn(at, "\n");
        } else if (*at == '"') {
            at += 1 + strcspn(at + 1, "\"");
            at += *at == '"';
        } else if (isalpha((unsigned char)*at) || *at == '_' || *at == '#') {
            size_t n = 1;
            while (isalnum((unsigned char)at[n]) || at[n] == '_')
                n++;
            snprintf(word, 64, "%.*s", (int)n, at);
            return at + n;
        } else if (isdigit((unsigned char)*at)) {
            while (isalnum((unsigned char)*at) || *at == '.')
                at++;
        } else {
            at++;
        }
    }
    return NULL;
}

static bool is_cuda_word(const char *word)
{
    static const char *const allowed[] = {"__global__",   "__device__",      "__launch_bounds__",
                                          "__restrict__", "__forceinline__", "#include",
                                          "#pragma"};
    static const char *const builtins[] = {"asm",     "threadIdx", "blockIdx",          "blockDim",
                                           "gridDim", "warpSize",  "cooperative_groups"};
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if (strcmp(word, allowed[i]) == 0)
            return false;
    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++)
        if (strcmp(word, builtins[i]) == 0)
            return true;
    return word[0] == '#' || strncmp(word, "__", 2) == 0 || strncmp(word, "atomic", 6) == 0
               ? strcmp(word, "atomic_add") != 0
               : false;
}

/* PTX, intrinsics, CUDA's variables and what asks for an architecture live in templates/lib. */
static void test_words(void **state)
{
    (void)state;
    char word[64];
    const paro_embedded_file *file;
    assert_true(is_cuda_word("__shfl_sync") && is_cuda_word("#if") && is_cuda_word("atomicAdd"));
    for (size_t i = 0; (file = template_get(i)) != NULL; i++)
        for (const char *at = file->text; (at = next_word(at, word)) != NULL;)
            if (is_cuda_word(word))
                fail_msg("%s: '%s' outside templates/lib", file->path, word);
}

static void check_source(paro_checker *checker, const char *name, const paro_buffer *source,
                         bool has_kernels)
{
    paro_error err = {.status = PARO_STATUS_OK};
    paro_arena arena = {0};
    paro_signature signature = {0};
    if (paro_checker_check(&err, checker, source->data, source->n_bytes, &arena, &signature) !=
        PARO_STATUS_OK)
        fail_msg("%s: %s", name, err.message);
    assert_true(!has_kernels || signature.n_kernels > 0);
    paro_arena_release(&arena);
}

static void test_clang(void **state)
{
    (void)state;
    paro_error err;
    char name[128];
    paro_buffer source = {0};
    paro_checker *checker = NULL;
    const paro_embedded_file *file;
    if (paro_checker_new(&err, &checker) == PARO_STATUS_UNSUPPORTED) {
        printf("SKIP test_templates clang: needs libclang\n");
        fflush(stdout);
        skip();
    }
    for (size_t i = 0; (file = template_get(i)) != NULL; i++) {
        expand_template(name_of(file), &source);
        check_source(checker, file->path, &source, true);
    }
    for (size_t i = 0; expand_part(i, name, &source); i++)
        check_source(checker, name, &source, true);
    paro_buffer_free(&source);
    paro_checker_free(checker);
}

/* The oldest, and one that has everything. */
static void compile_source(const paro_nvrtc *nvrtc, const char *name, const paro_buffer *source)
{
    static const char *const archs[] = {"sm_75", "sm_90"};
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
        paro_error err = {.status = PARO_STATUS_OK};
        paro_binary binary = {0};
        const char *target = paro_target_of(source->data, paro_arch_find(archs[i]));
        if (paro_nvrtc_compile(&err, nvrtc, source->data, target, &binary) != PARO_STATUS_OK)
            fail_msg("%s for %s: %s", name, target, err.message);
        paro_binary_release(&binary);
    }
}

static void test_nvrtc_compiles(void **state)
{
    (void)state;
    char name[128];
    paro_buffer source = {0};
    const paro_embedded_file *file;
    paro_nvrtc *nvrtc = test_nvrtc("test_templates nvrtc");
    for (size_t i = 0; (file = template_get(i)) != NULL; i++) {
        expand_template(name_of(file), &source);
        compile_source(nvrtc, file->path, &source);
    }
    for (size_t i = 0; expand_part(i, name, &source); i++)
        compile_source(nvrtc, name, &source);
    paro_buffer_free(&source);
    paro_nvrtc_free(nvrtc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_clang),
        cmocka_unit_test(test_nvrtc_compiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
