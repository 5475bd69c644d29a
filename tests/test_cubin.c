/* SPDX-License-Identifier: MIT
 *
 * base/cubin.c: parameters of kernels: planted records, damaged ones, and what NVRTC writes on
 * every architecture. (Kernels and their code: test_inspect.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cubin.h"
#include "codegen/codegen.h"
#include "tests/support.h"

#include "tests/nvrtc_fixture.h"

/* A cubin of sections: 0 none, 1 names, 2 ".text.one", 3 ".nv.info.one". */
enum {
    NAMES_AT = 64,
    NAMES_BYTES = 40,
    CODE_AT = 112,
    INFO_AT = 128,
    HEADERS_AT = 192,
    CUBIN_BYTES = HEADERS_AT + 4 * 64
};

/* One of 0 is 8 bytes at 0, 1 is 4 at 8, in the order of a compiler: from the last. */
static const uint8_t records[] = {
    4, 0x17, 12,  0, 0, 0,    0,  0, 1, 0, 8, 0, 0x00, 0xf0, 0x11, 0, /* 1 */
    4, 0x17, 12,  0, 0, 0,    0,  0, 0, 0, 0, 0, 0x00, 0xf0, 0x21, 0, /* 0 */
    3, 0x1b, 255, 0, 3, 0x19, 12, 0,                                  /* 12 bytes of both */
};
enum { LAST = INFO_AT, FIRST = INFO_AT + 16, SIZE = INFO_AT + 36, INFO_HEADER = HEADERS_AT + 192 };

static void put(uint8_t *at, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void put_section(uint8_t *cubin, size_t i, uint32_t name, uint32_t type, uint64_t offset,
                        uint64_t n_bytes)
{
    uint8_t *at = cubin + HEADERS_AT + 64 * i;
    put(at, name, 4);
    put(at + 4, type, 4);
    put(at + 24, offset, 8);
    put(at + 32, n_bytes, 8);
}

static void make_cubin(uint8_t cubin[CUBIN_BYTES])
{
    static const char names[] = "\0.names\0.text.one\0.nv.info.one";
    memset(cubin, 0, CUBIN_BYTES);
    memcpy(cubin, "\177ELF\2\1\1", 7);
    put(cubin + 18, 190, 2);
    put(cubin + 0x28, HEADERS_AT, 8);
    put(cubin + 0x3a, 64, 2);
    put(cubin + 0x3c, 4, 2);
    put(cubin + 0x3e, 1, 2);
    memcpy(cubin + NAMES_AT, names, sizeof names);
    memcpy(cubin + INFO_AT, records, sizeof records);
    put_section(cubin, 1, 1, 3, NAMES_AT, NAMES_BYTES);
    put_section(cubin, 2, 8, 1, CODE_AT, 16);
    put_section(cubin, 3, 18, 0x70000000, INFO_AT, sizeof records);
}

static void test_planted(void **state)
{
    (void)state;
    paro_error err;
    uint8_t cubin[CUBIN_BYTES];
    size_t sizes[2] = {0}, n = 0;
    make_cubin(cubin);
    assert_ok(paro_cubin_params(&err, cubin, sizeof cubin, "one", sizes, 2, &n));
    assert_int_equal(n, 2);
    assert_int_equal(sizes[0], 8);
    assert_int_equal(sizes[1], 4);
    sizes[0] = sizes[1] = 77;
    assert_ok(paro_cubin_params(&err, cubin, sizeof cubin, "one", sizes, 1, &n));
    assert_int_equal(n, 2);
    assert_int_equal(sizes[0], 8);
    assert_int_equal(sizes[1], 77);
    assert_fails(paro_cubin_params(&err, cubin, sizeof cubin, "two", sizes, 2, &n),
                 PARO_STATUS_NOT_FOUND, "expected the section .nv.info.two");
    put(cubin + INFO_HEADER + 32, 0, 8); /* no records: no parameters */
    assert_ok(paro_cubin_params(&err, cubin, sizeof cubin, "one", sizes, 2, &n));
    assert_int_equal(n, 0);
}

/* Each breaks one field. */
static void test_hostile(void **state)
{
    (void)state;
    static const struct {
        size_t at, n_bytes;
        uint64_t value;
        const char *words;
    } rows[] = {
        {0, 1, 0, "expected a 64-bit ELF file for CUDA"},
        {0x20, 8, UINT64_MAX, "expected program headers inside"},
        {0x36, 4, 65535u << 16 | 1, "expected program headers inside"},
        {LAST, 1, 0, "expected records inside .nv.info"},
        {LAST, 1, 5, "expected records inside .nv.info"},
        {LAST + 2, 2, 40, "expected records inside .nv.info"},
        {LAST + 2, 2, 65535, "expected records inside .nv.info"},
        {INFO_HEADER + 32, 8, 3, "expected records inside .nv.info"},
        {INFO_HEADER + 32, 8, 30, "expected records inside .nv.info"},
        {FIRST + 2, 2, 20, "in records of 12 bytes, found parameter 0 in 20 bytes"},
        {FIRST + 2, 2, 0, "in records of 12 bytes"},
        {FIRST + 8, 2, 1, "each once"},
        {FIRST + 8, 2, 64, "expected parameters 0 to 63"},
        {FIRST + 8, 2, 65535, "expected parameters 0 to 63"},
        {FIRST + 8, 2, 2, "kernel one: expected parameter 0 behind 0 bytes of others, found "},
        {FIRST + 1, 1, 0x18, "expected parameter 0 behind 0 bytes of others, found parameter 1"},
        {LAST + 10, 2, 4, "expected parameter 1 behind 8 bytes of others, found parameter 1 of 4"},
        {LAST + 12, 4, 0, "expected parameter 1 behind 8 bytes"},
        {LAST + 12, 4, 8 << 18, "expected 12 bytes of parameters, found 2 that end at 16"},
        {LAST + 1, 1, 0x18, "expected 12 bytes of parameters, found 1 that end at 8"},
        {SIZE + 2, 2, 16, "expected 16 bytes of parameters, found 2 that end at 12"},
        {SIZE + 1, 1, 0x1a, "expected 0 bytes of parameters"},
        {LAST + 1, 1, 0x45, "of 61440 bytes|end at"},
    };
    paro_error err;
    uint8_t cubin[CUBIN_BYTES];
    size_t sizes[4] = {77, 77, 77, 77}, n = 77;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *words = strchr(rows[i].words, '|');
        make_cubin(cubin);
        put(cubin + rows[i].at, rows[i].value, rows[i].n_bytes);
        assert_fails(paro_cubin_params(&err, cubin, sizeof cubin, "one", sizes, 4, &n),
                     PARO_STATUS_FORMAT, words != NULL ? words + 1 : rows[i].words);
    }
    static const size_t lost[] = {INFO_HEADER + 24, INFO_HEADER, INFO_HEADER + 32};
    for (size_t i = 0; i < 3; i++) { /* outside the file: as if it were not there */
        make_cubin(cubin);
        put(cubin + lost[i], UINT64_MAX - 3, i == 1 ? 4 : 8);
        assert_fails(paro_cubin_params(&err, cubin, sizeof cubin, "one", sizes, 4, &n),
                     PARO_STATUS_NOT_FOUND, "expected the section .nv.info.one");
    }
    /* Every prefix, in a block of its own: AddressSanitizer sees what is read behind it. */
    make_cubin(cubin);
    for (size_t i = 0; i < sizeof cubin; i++) {
        uint8_t *prefix = malloc(i > 0 ? i : 1);
        assert_non_null(prefix);
        memcpy(prefix, cubin, i);
        assert_int_equal(paro_cubin_params(NULL, prefix, i, "one", sizes, 4, &n),
                         PARO_STATUS_FORMAT);
        free(prefix);
    }
    assert_int_equal(n, 77);
    assert_int_equal(sizes[0], 77);
}

static const char source[] =
    "struct odd { float a[5]; char c; };\n"
    "struct large { float a[1400]; };\n"
    "extern \"C\" __global__ void none() {}\n"
    "extern \"C\" __global__ void some(const float *x, float e, float *y, odd s, unsigned char b)\n"
    "{\n"
    "    *y = e;\n"
    "}\n"
    "extern \"C\" __global__ void many(large s, float *y, unsigned m) { y[m] = s.a[3]; }\n";

static void check_sizes(const paro_binary *binary, const char *kernel, const size_t *expected,
                        size_t n_expected)
{
    paro_error err;
    size_t sizes[8] = {0}, n = 99;
    assert_ok(paro_cubin_params(&err, binary->data, binary->n_bytes, kernel, sizes, 8, &n));
    assert_int_equal(n, n_expected);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(sizes[i], expected[i]);
}

/* On all archs: what is unused counts too; and no damaged or shortened copy is read outside. */
static void test_compiled(void **state)
{
    (void)state;
    static const size_t some[] = {8, 4, 8, 24, 1}, many[] = {5600, 8, 4};
    paro_error err;
    paro_nvrtc *nvrtc = test_nvrtc("test_cubin compiled");
    const paro_arch *arch;
    uint32_t seed = 1;
    for (size_t i = 0; (arch = paro_arch_get(i)) != NULL; i++) {
        if (!paro_nvrtc_supports(nvrtc, arch))
            continue;
        paro_binary binary = {0};
        size_t sizes[8], n = 0;
        assert_ok(paro_nvrtc_compile(&err, nvrtc, source, arch->name, &binary));
        assert_false(binary.is_ptx);
        check_sizes(&binary, "none", NULL, 0);
        check_sizes(&binary, "some", some, 5);
        check_sizes(&binary, "many", many, 3);
        for (size_t k = 0; k < 300; k++) {
            seed = seed * 1664525 + 1013904223;
            size_t n_bytes = (size_t)((uint64_t)binary.n_bytes * (seed >> 8) >> 24);
            uint8_t *copy = malloc(n_bytes > 0 ? n_bytes : 1);
            assert_non_null(copy);
            memcpy(copy, binary.data, n_bytes);
            assert_int_not_equal(paro_cubin_params(NULL, copy, n_bytes, "some", sizes, 8, &n),
                                 PARO_STATUS_OK);
            if (n_bytes > 0) /* and whole, with one byte changed */
                ((uint8_t *)binary.data)[n_bytes] ^= (uint8_t)(1 + seed % 255);
            (void)paro_cubin_params(NULL, binary.data, binary.n_bytes, "some", sizes, 8, &n);
            if (n_bytes > 0)
                ((uint8_t *)binary.data)[n_bytes] ^= (uint8_t)(1 + seed % 255);
            free(copy);
        }
        paro_binary_release(&binary);
    }
    paro_nvrtc_free(nvrtc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
