/* SPDX-License-Identifier: MIT
 *
 * Fuzzing codegen/signature.c and the JSON of inspect.c, as a cache stores them: what is read is
 * written, and read again the same.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fuzz_signature: %s\n", what);
        abort();
    }
}

static void check_signature(const char *text, size_t n_bytes, paro_arena *arena)
{
    paro_error err = {.status = PARO_STATUS_OK};
    paro_signature read = {0}, again = {0};
    paro_buffer first = {0}, second = {0};
    paro_status status = paro_signature_parse(&err, "row", text, n_bytes, arena, &read);
    if (status != PARO_STATUS_OK) {
        require(err.status == status && strstr(err.message, "row") != NULL,
                "an error that does not name its row");
        return;
    }
    for (size_t i = 0; i < read.n_kernels; i++) {
        for (size_t k = 0; k < read.kernels[i].n_params; k++)
            require(read.kernels[i].params[k].element_bytes > 0, "an element of no bytes");
    }
    require(paro_signature_print(NULL, &read, &first) == PARO_STATUS_OK, "no text of it");
    require(paro_signature_parse(NULL, "row", first.data, first.n_bytes, arena, &again) ==
                PARO_STATUS_OK,
            "a text that is not read back");
    require(paro_signature_print(NULL, &again, &second) == PARO_STATUS_OK &&
                strcmp(first.data, second.data) == 0,
            "another text of the same");
    paro_buffer_free(&first);
    paro_buffer_free(&second);
}

static void check_resources(const char *text, size_t n_bytes, paro_arena *arena)
{
    paro_resources read = {0}, again = {0};
    paro_buffer first = {0}, second = {0};
    if (paro_resources_parse(NULL, "row", text, n_bytes, arena, &read) != PARO_STATUS_OK)
        return;
    require(paro_resources_print(NULL, &read, &first) == PARO_STATUS_OK, "no text of it");
    require(paro_resources_parse(NULL, "row", first.data, first.n_bytes, arena, &again) ==
                PARO_STATUS_OK,
            "a text that is not read back");
    require(paro_resources_print(NULL, &again, &second) == PARO_STATUS_OK &&
                strcmp(first.data, second.data) == 0,
            "another text of the same");
    paro_buffer_free(&first);
    paro_buffer_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    paro_arena arena = {0};
    check_signature((const char *)data, n_bytes, &arena);
    check_resources((const char *)data, n_bytes, &arena);
    paro_arena_release(&arena);
    return 0;
}
