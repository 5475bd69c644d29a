/* SPDX-License-Identifier: MIT
 *
 * codegen/clang_check.c: absence, errors at the template's own line, signatures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/clang_check.h"
#include "tests/support.h"

static paro_checker *new_checker(const char *test)
{
    paro_error err;
    paro_checker *checker = NULL;
    paro_status status = paro_checker_new(&err, &checker);
    if (status == PARO_STATUS_UNSUPPORTED) {
        printf("SKIP %s: needs libclang\n", test);
        fflush(stdout);
        skip();
    }
    assert_int_equal(status, PARO_STATUS_OK);
    return checker;
}

static void test_absent(void **state)
{
    (void)state;
    paro_error err;
    paro_checker *checker = NULL;
    assert_fails(paro_checker_load(&err, "/nowhere/libclang.so", &checker), PARO_STATUS_UNSUPPORTED,
                 "expected /nowhere/libclang.so, found none");
    assert_fails(paro_checker_load(&err, "libc.so.6", &checker), PARO_STATUS_UNSUPPORTED,
                 "found a library without clang_createIndex");
    assert_null(checker);
    paro_checker_free(NULL);
}

static const char good[] =
    "// header\n"
    "#line 1 \"lib/core.cuh\"\n"
    "using u32 = unsigned int;\n"
    "struct f16 { unsigned short bits; };\n"
    "#line 1 \"rotate.cu\"\n"
    "using scalar = f16; // hole: dtype\n"
    "namespace inner { __device__ __forceinline__ u32 twice(u32 v) { return 2 * v; } }\n"
    "extern \"C\" __global__ void __launch_bounds__(128)\n"
    "    rotate(const scalar *__restrict__ x, scalar *y, const u32 *__restrict__ state, float "
    "eps,\n"
    "           u32 m)\n"
    "{\n"
    "    y[inner::twice(m)] = x[state[0]];\n"
    "}\n"
    "extern \"C\" __global__ void declared_only(u32 m);\n"
    "extern \"C\" {\n"
    "__global__ void combine() {}\n"
    "}\n";

static void test_signature(void **state)
{
    (void)state;
    paro_error err;
    paro_checker *checker = new_checker("test_clang_check signature");
    assert_non_null(strstr(paro_checker_version(checker), "clang"));
    paro_arena arena = {0};
    paro_signature signature = {0};
    assert_ok(paro_checker_check(&err, checker, good, sizeof good - 1, &arena, &signature));
    assert_int_equal(signature.n_kernels, 2);
    assert_string_equal(signature.kernels[1].name, "combine");
    assert_int_equal(signature.kernels[1].n_params, 0);
    const paro_signature_kernel *kernel = &signature.kernels[0];
    assert_string_equal(kernel->name, "rotate");
    static const paro_signature_param expected[] = {
        {"x", "const f16 *", PARO_PARAM_POINTER, true, 2},
        {"y", "f16 *", PARO_PARAM_POINTER, false, 2},
        {"state", "const unsigned int *", PARO_PARAM_POINTER, true, 4},
        {"eps", "float", PARO_PARAM_SCALAR, false, 4},
        {"m", "unsigned int", PARO_PARAM_SCALAR, false, 4},
    };
    assert_int_equal(kernel->n_params, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(kernel->params[i].name, expected[i].name);
        assert_string_equal(kernel->params[i].type, expected[i].type);
        assert_int_equal(kernel->params[i].kind, expected[i].kind);
        assert_int_equal(kernel->params[i].is_const, expected[i].is_const);
        assert_int_equal(kernel->params[i].element_bytes, expected[i].element_bytes);
    }
    paro_arena_release(&arena);
    paro_checker_free(checker);
}

/* Errors are where the template has them. */
static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *source, *words;
    } rows[] = {
        {"#line 41 \"rotate.cu\"\nint f() {\n    return missing;\n}\n",
         "rotate.cu:42:12: error: use of undeclared identifier 'missing'"},
        {"#line 7 \"lib/core.cuh\"\nint x\n#line 1 \"rotate.cu\"\nint y;\n",
         "lib/core.cuh:7:6: error: expected ';'"},
        {"#line 1 \"rotate.cu\"\nstatic_assert(sizeof(int) == 5, \"five\");\n",
         "rotate.cu:1:1: error: static_assert failed"},
        {"#line 3 \"rotate.cu\"\n#include <cuda.h>\n", "rotate.cu:3:10: error: 'cuda.h' file not"},
        {"#line 3 \"rotate.cu\"\nextern \"C\" __global__ void k(void *p) {}\n",
         "k: parameter 'p': expected a pointer or a scalar of known size, found 'void *'"},
    };
    paro_error err;
    paro_checker *checker = new_checker("test_clang_check errors");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        paro_arena arena = {0};
        paro_signature signature = {0};
        assert_fails(paro_checker_check(&err, checker, rows[i].source, strlen(rows[i].source),
                                        &arena, &signature),
                     PARO_STATUS_FORMAT, i == 2 ? "rotate.cu:1:" : rows[i].words);
        assert_int_equal(signature.n_kernels, 0);
        paro_arena_release(&arena);
    }
    paro_checker_free(checker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_signature),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
