/* SPDX-License-Identifier: MIT
 *
 * codegen/inspect.c, cubin.c and disassemble.c: logs, a planted cubin, hostile ones, real ones
 * against kernels whose contents are known; JSON and back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codegen/codegen.h"
#include "codegen/opcodes.h"
#include "tests/support.h"

#include "tests/nvrtc_fixture.h"

static char log_text[] =
    "ptxas info    : 12 bytes gmem, 8 bytes cmem[4]\n"
    "ptxas info    : Compiling entry function 'second' for 'sm_75'\n"
    "ptxas info    : Function properties for second\n"
    "ptxas         .     272 bytes stack frame, 16 bytes spill stores, 20 bytes spill loads\n"
    "ptxas info    : Used 128 registers, used 3 barriers, 272 bytes cumulative stack size, 64 "
    "bytes "
    "smem, 360 bytes cmem[0]\n"
    "ptxas info    : Function properties for called\n"
    "ptxas         .     8 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads\n"
    "ptxas info    : Compiling entry function 'first' for 'sm_75'\n"
    "ptxas info    : Function properties for first\n"
    "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
    "ptxas info    : Used 10 registers, used 0 barriers";

/* A cubin of sections: 0 none, 1 names, 2 ".text.first", 3 ".nv.shared.first" (no bytes). */
enum { CODE_AT = 64, NAMES_AT = 256, NAMES_BYTES = 64, HEADERS_AT = 320, CUBIN_BYTES = 576 };

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
    /* LDG, LDGSTS, HMMA, BAR, EXIT, then padding: BRA, NOP, NOP. */
    static const uint16_t code[] = {0x7981, 0x7fae, 0x723c, 0x7b1d, 0x794d, 0x7947, 0x7918, 0x7918};
    static const char names[] = "\0.names\0.text.first\0.nv.shared.first";
    memset(cubin, 0, CUBIN_BYTES);
    memcpy(cubin, "\177ELF\2\1\1", 7);
    put(cubin + 18, 190, 2);
    put(cubin + 0x28, HEADERS_AT, 8);
    put(cubin + 0x3a, 64, 2);
    put(cubin + 0x3c, 4, 2);
    put(cubin + 0x3e, 1, 2);
    for (size_t i = 0; i < 8; i++)
        put(cubin + CODE_AT + 16 * i, code[i], 2);
    memcpy(cubin + NAMES_AT, names, sizeof names);
    put_section(cubin, 1, 1, 3, NAMES_AT, NAMES_BYTES);
    put_section(cubin, 2, 8, 1, CODE_AT, 128);
    put_section(cubin, 3, 20, 8, 1 << 30, 96);
}

static void test_log(void **state)
{
    (void)state;
    paro_error err;
    paro_arena arena = {0};
    paro_resources found = {0};
    paro_binary binary = {.is_ptx = true, .log = log_text};
    assert_ok(paro_inspect(&err, &binary, &arena, &found));
    assert_int_equal(found.n_kernels, 2);
    assert_string_equal(found.kernels[0].name, "first");
    assert_int_equal(found.kernels[0].n_registers, 10);
    assert_int_equal(found.kernels[0].spill_store_bytes, 0);
    const paro_kernel_resources *second = &found.kernels[1];
    assert_string_equal(second->name, "second");
    assert_int_equal(second->n_registers, 128);
    assert_int_equal(second->stack_bytes, 280);
    assert_int_equal(second->spill_store_bytes, 20);
    assert_int_equal(second->spill_load_bytes, 20);
    assert_int_equal(second->n_barriers, 3);
    assert_int_equal(second->static_shared_bytes, 64);

    static char broken[] = "x Compiling entry function 'no end";
    binary.log = broken;
    assert_fails(paro_inspect(&err, &binary, &arena, &found), PARO_STATUS_FORMAT, "ptxas's log");
    binary.log = NULL;
    assert_ok(paro_inspect(&err, &binary, &arena, &found));
    assert_int_equal(found.n_kernels, 0);
    paro_arena_release(&arena);
}

static void test_planted(void **state)
{
    (void)state;
    paro_error err;
    paro_arena arena = {0};
    paro_resources found = {0};
    uint8_t cubin[CUBIN_BYTES];
    make_cubin(cubin);
    paro_binary binary = {.data = cubin, .n_bytes = sizeof cubin, .log = log_text};
    assert_ok(paro_inspect(&err, &binary, &arena, &found));
    assert_int_equal(found.n_kernels, 2);
    const paro_kernel_resources *first = &found.kernels[0];
    assert_int_equal(first->n_registers, 10);
    assert_int_equal(first->static_shared_bytes, 96);
    assert_int_equal(first->n_instructions, 5);
    assert_int_equal(first->n_global_loads, 2);
    assert_int_equal(first->n_tensor, 1);
    assert_int_equal(first->n_barrier_waits, 1);
    assert_int_equal(first->n_global_stores + first->n_shared_loads + first->n_shared_stores +
                         first->n_local,
                     0);
    cubin[NAMES_AT + 15] = 0xff; /* ".text.f\xffrst" */
    assert_fails(paro_inspect(&err, &binary, &arena, &found), PARO_STATUS_FORMAT,
                 "cubin: expected the names of at most");
    paro_arena_release(&arena);
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
        {4, 1, 1, "expected a 64-bit ELF file for CUDA"},
        {18, 2, 62, "expected a 64-bit ELF file for CUDA"},
        {0x28, 8, CUBIN_BYTES - 100, "expected section headers inside"},
        {0x28, 8, UINT64_MAX, "expected section headers inside"},
        {0x3a, 2, 40, "expected section headers inside"},
        {0x3c, 2, 65535, "expected section headers inside"},
        {0x3e, 2, 4, "expected section headers inside"},
        {0x3e, 2, 3, "expected names of sections"},
        {HEADERS_AT + 64 + 24, 8, UINT64_MAX - 8, "expected names of sections"},
        {HEADERS_AT + 64 + 32, 8, UINT64_MAX, "expected names of sections"},
        {HEADERS_AT + 64 + 32, 8, 0, "expected names of sections"},
        {NAMES_AT + NAMES_BYTES - 1, 1, 1, "expected names of sections"},
        {HEADERS_AT + 128, 4, NAMES_BYTES, "expected section 2 inside"},
        {HEADERS_AT + 128 + 24, 8, CUBIN_BYTES - 64, "expected section 2 inside"},
        {HEADERS_AT + 128 + 32, 8, UINT64_MAX - 63, "expected section 2 inside"},
        {HEADERS_AT + 128 + 32, 8, 100, "instructions of 16 bytes"},
    };
    paro_error err;
    uint8_t cubin[CUBIN_BYTES];
    paro_cubin *found = calloc(1, sizeof *found);
    assert_non_null(found);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        make_cubin(cubin);
        put(cubin + rows[i].at, rows[i].value, rows[i].n_bytes);
        assert_fails(paro_cubin_read(&err, cubin, sizeof cubin, found), PARO_STATUS_FORMAT,
                     rows[i].words);
    }
    /* Every prefix, in a block of its own: AddressSanitizer sees what is read behind it. */
    make_cubin(cubin);
    for (size_t n = 0; n < sizeof cubin; n++) {
        uint8_t *prefix = malloc(n > 0 ? n : 1);
        assert_non_null(prefix);
        memcpy(prefix, cubin, n);
        assert_int_equal(paro_cubin_read(NULL, prefix, n, found), PARO_STATUS_FORMAT);
        free(prefix);
    }
    free(found);
}

static void test_text(void **state)
{
    (void)state;
    paro_error err;
    paro_arena arena = {0};
    paro_resources found = {0}, read = {0};
    paro_buffer text = {0}, again = {0};
    uint8_t cubin[CUBIN_BYTES];
    make_cubin(cubin);
    paro_binary binary = {.data = cubin, .n_bytes = sizeof cubin, .log = log_text};
    assert_ok(paro_inspect(&err, &binary, &arena, &found));
    assert_ok(paro_resources_print(&err, &found, &text));
    assert_non_null(strstr(text.data, "\"spill_store_bytes\": 20"));
    assert_ok(paro_resources_parse(&err, "row", text.data, text.n_bytes, &arena, &read));
    assert_int_equal(read.kernels[0].n_instructions, 5);
    assert_ok(paro_resources_print(&err, &read, &again));
    assert_string_equal(text.data, again.data);

    static const struct {
        const char *text, *words;
    } rows[] = {
        {"{}", "row: kernels: missing"},
        {"{\"kernels\": 1}", "row: kernels: expected an array"},
        {"{\"kernels\": [1]}", "row: kernels: expected objects"},
        {"{\"kernels\": [{\"registers\": 1}]}", "row: name: missing"},
        {"{\"kernels\": [{\"name\": \"a\", \"registers\": -1}]}", "row: registers: expected"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_fails(
            paro_resources_parse(&err, "row", rows[i].text, strlen(rows[i].text), &arena, &read),
            PARO_STATUS_FORMAT, rows[i].words);
    paro_buffer_free(&text);
    paro_buffer_free(&again);
    paro_arena_release(&arena);
}

static void disassemble(const paro_binary *binary, const char *words)
{
    paro_error err;
    paro_buffer text = {0};
    assert_ok(paro_disassemble(&err, binary, &text));
    if (strstr(text.data, words) == NULL)
        fail_msg("expected \"%s\" in:\n%s", words, text.data);
    paro_buffer_free(&text);
}

/* By opcode; through an nvdisasm that answers; through one that fails. */
static void test_disassemble(void **state)
{
    (void)state;
    static const char answers[] = "#!/bin/sh\necho \"$1 $2 $(wc -c <\"$3\") bytes\"\n";
    static const char fails[] = "#!/bin/sh\necho LDX\nexit 1\n";
    uint8_t cubin[CUBIN_BYTES];
    make_cubin(cubin);
    paro_binary binary = {.data = cubin, .n_bytes = sizeof cubin};
    static const char listed[] = "first:\n"
                                 "    00000  LDG          0000000000000000 0000000000007981\n"
                                 "    00010  LDGSTS       0000000000000000 0000000000007fae\n";
    char *dir = test_dir_new(), *program = test_path(dir, "nvdisasm"), *path = NULL;
    char *kept = strdup(getenv("PATH"));
    assert_true(kept != NULL && asprintf(&path, "%s:/usr/bin:/bin", dir) > 0);
    setenv("PATH", path, 1);
    disassemble(&binary, listed);
    test_file_write(dir, "nvdisasm", answers, sizeof answers - 1);
    assert_int_equal(chmod(program, 0700), 0);
    disassemble(&binary, "-c -hex 576 bytes\n");
    test_file_write(dir, "nvdisasm", fails, sizeof fails - 1);
    disassemble(&binary, listed);
    setenv("PATH", kept, 1);

    static char ptx[] = "// ptx";
    binary = (paro_binary){.data = ptx, .n_bytes = sizeof ptx, .is_ptx = true};
    disassemble(&binary, "// ptx");
    paro_error err;
    paro_buffer text = {0};
    binary.is_ptx = false;
    assert_fails(paro_disassemble(&err, &binary, &text), PARO_STATUS_FORMAT, "expected a 64-bit");
    assert_null(text.data);
    free(kept);
    free(path);
    free(program);
    test_dir_remove(dir);
}

/* Two loads, one store; two stores to shared memory, one load from it, one barrier; one mma; local
 * memory. */
static const char known[] =
    "extern \"C\" __global__ void moves(const float *x, float *y)\n"
    "{\n"
    "    extern __shared__ float s[];\n"
    "    unsigned t = threadIdx.x;\n"
    "    float a = x[t], b = x[t * 3 + 5];\n"
    "    s[t] = a;\n"
    "    s[t * 5 + 1024] = b;\n"
    "    __syncthreads();\n"
    "    y[t] = s[t ^ 7];\n"
    "}\n"
    "extern \"C\" __global__ void tensor(const unsigned *x, float *y)\n"
    "{\n"
    "    float d[4] = {0, 0, 0, 0};\n"
    "    asm volatile(\"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},\"\n"
    "                 \"{%6},{%0,%1,%2,%3};\"\n"
    "                 : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3])\n"
    "                 : \"r\"(x[0]), \"r\"(x[1]), \"r\"(x[2]));\n"
    "    y[threadIdx.x] = d[0] + d[1] + d[2] + d[3];\n"
    "}\n"
    "extern \"C\" __global__ void local(const int *x, int *y, unsigned m)\n"
    "{\n"
    "    int own[64];\n"
    "    for (int i = 0; i < 64; i++)\n"
    "        own[i] = x[i];\n"
    "    for (unsigned i = 0; i < m; i++)\n"
    "        own[(i * 7) % 64] += x[i + 64];\n"
    "    y[threadIdx.x] = own[m % 64];\n"
    "}\n";

static void check_known(const paro_resources *found)
{
    assert_int_equal(found->n_kernels, 3);
    const paro_kernel_resources *local = &found->kernels[0], *moves = &found->kernels[1],
                                *tensor = &found->kernels[2];
    assert_string_equal(moves->name, "moves");
    assert_int_equal(moves->n_global_loads, 2);
    assert_int_equal(moves->n_global_stores, 1);
    assert_int_equal(moves->n_shared_loads, 1);
    assert_int_equal(moves->n_shared_stores, 2);
    assert_int_equal(moves->n_barrier_waits, 1);
    assert_int_equal(moves->n_barriers, 1);
    assert_int_equal(moves->n_tensor + moves->n_local, 0);
    assert_int_equal(moves->spill_store_bytes + moves->spill_load_bytes + moves->stack_bytes, 0);
    assert_true(moves->n_registers >= 8 && moves->n_registers < 32);
    assert_true(moves->n_instructions >= 14 && moves->n_instructions < 48);
    assert_int_equal(tensor->n_tensor, 1);
    assert_true(local->n_local > 2);
    assert_true(local->stack_bytes >= 256);
}

/* On all archs; and no damaged copy of a real cubin is read outside. */
static void test_known(void **state)
{
    (void)state;
    paro_error err;
    paro_nvrtc *nvrtc = test_nvrtc("test_inspect known");
    const paro_arch *arch;
    uint32_t seed = 1;
    for (size_t i = 0; (arch = paro_arch_get(i)) != NULL; i++) {
        if (!paro_nvrtc_supports(nvrtc, arch))
            continue;
        paro_arena arena = {0};
        paro_binary binary = {0};
        paro_resources found = {0};
        assert_ok(paro_nvrtc_compile(&err, nvrtc, known, arch->name, &binary));
        assert_ok(paro_inspect(&err, &binary, &arena, &found));
        check_known(&found);
        uint8_t *bytes = binary.data;
        for (size_t n = 0; n < 2000; n++) {
            seed = seed * 1664525 + 1013904223;
            size_t at = seed % (n % 2 == 0 ? 64 : binary.n_bytes);
            uint8_t kept = bytes[at];
            bytes[at] ^= (uint8_t)(seed >> 24);
            paro_arena scratch = {0};
            (void)paro_inspect(NULL, &binary, &scratch, &found);
            paro_arena_release(&scratch);
            bytes[at] = kept;
        }
        paro_binary_release(&binary);
        paro_arena_release(&arena);
    }
    paro_nvrtc_free(nvrtc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log),         cmocka_unit_test(test_planted),
        cmocka_unit_test(test_hostile),     cmocka_unit_test(test_text),
        cmocka_unit_test(test_disassemble), cmocka_unit_test(test_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
