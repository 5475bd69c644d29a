/* SPDX-License-Identifier: MIT
 *
 * Fuzzing base/cubin.c and codegen/inspect.c: the input as a cubin, and as a compiler's log. Code
 * that is found lies inside the file, and all that is known of a kernel goes to text and back.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "codegen/opcodes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fuzz_cubin: %s\n", what);
        abort();
    }
}

static void check_cubin(const uint8_t *data, size_t n_bytes)
{
    static paro_cubin cubin;
    if (paro_cubin_read(NULL, data, n_bytes, &cubin) != PARO_STATUS_OK)
        return;
    require(cubin.n_kernels <= PARO_CUBIN_MAX_KERNELS, "too many kernels");
    for (size_t k = 0; k < cubin.n_kernels; k++) {
        const paro_cubin_kernel *kernel = &cubin.kernels[k];
        require(kernel->code >= data &&
                    kernel->code + kernel->n_instructions * PARO_INSTRUCTION_BYTES <=
                        data + n_bytes,
                "code outside the file");
        require((const uint8_t *)kernel->name + strlen(kernel->name) < data + n_bytes,
                "a name outside the file");
        require(paro_cubin_n_used(kernel) <= kernel->n_instructions, "more than all instructions");
        size_t sizes[PARO_CUBIN_MAX_PARAMS], n = 0;
        if (paro_cubin_params(NULL, data, n_bytes, kernel->name, sizes, PARO_CUBIN_MAX_PARAMS,
                              &n) == PARO_STATUS_OK) {
            require(n <= PARO_CUBIN_MAX_PARAMS, "too many parameters");
            for (size_t i = 0; i < n; i++)
                require(sizes[i] > 0, "a parameter of no bytes");
        }
        for (size_t i = 0; i < kernel->n_instructions; i++)
            require(paro_opcode_name(kernel->code + i * PARO_INSTRUCTION_BYTES, NULL) != NULL,
                    "an instruction without a name");
    }
}

static void check_inspect(const paro_binary *binary)
{
    paro_arena arena = {0};
    paro_resources found = {0}, again = {0};
    paro_buffer text = {0}, same = {0};
    if (paro_inspect(NULL, binary, &arena, &found) == PARO_STATUS_OK) {
        require(paro_resources_print(NULL, &found, &text) == PARO_STATUS_OK, "no text of it");
        require(paro_resources_parse(NULL, "row", text.data, text.n_bytes, &arena, &again) ==
                    PARO_STATUS_OK,
                "a text that is not read back");
        require(paro_resources_print(NULL, &again, &same) == PARO_STATUS_OK &&
                    strcmp(text.data, same.data) == 0,
                "another text of the same");
    }
    paro_buffer_free(&text);
    paro_buffer_free(&same);
    paro_arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    check_cubin(data, n_bytes);
    char *log = malloc(n_bytes + 1);
    void *copy = malloc(n_bytes > 0 ? n_bytes : 1);
    if (log != NULL && copy != NULL) {
        memcpy(log, data, n_bytes);
        log[n_bytes] = '\0';
        memcpy(copy, data, n_bytes);
        check_inspect(&(paro_binary){.data = copy, .n_bytes = n_bytes, .log = NULL});
        check_inspect(&(paro_binary){.data = copy, .n_bytes = n_bytes, .is_ptx = true, .log = log});
    }
    free(log);
    free(copy);
    return 0;
}
