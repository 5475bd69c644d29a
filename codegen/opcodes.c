/* SPDX-License-Identifier: MIT
 *
 * Instructions by number. See opcodes.h.
 */
#include "codegen/opcodes.h"

typedef struct opcode {
    uint16_t number;
    const char *name;
    paro_opcode_kind kind;
} opcode;

static const opcode opcodes[] = {
#include "codegen/opcodes_table.h"
};

const char *paro_opcode_name(const uint8_t instruction[PARO_INSTRUCTION_BYTES],
                             paro_opcode_kind *kind)
{
    /* Bits 0 to 8 are the operation, 9 to 11 the form of its operands. */
    uint16_t number = (uint16_t)((instruction[0] | instruction[1] << 8) & 0x1ff);
    const opcode *found = NULL;
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0] && found == NULL; i++) {
        if (opcodes[i].number == number)
            found = &opcodes[i];
    }
    if (kind != NULL)
        *kind = found != NULL ? found->kind : PARO_OPCODE_OTHER;
    return found != NULL ? found->name : "?";
}

size_t paro_cubin_n_used(const paro_cubin_kernel *kernel)
{
    size_t n = kernel->n_instructions;
    paro_opcode_kind kind = PARO_OPCODE_NOP;
    while (n > 0 && kind == PARO_OPCODE_NOP) {
        paro_opcode_name(kernel->code + (n - 1) * PARO_INSTRUCTION_BYTES, &kind);
        if (kind == PARO_OPCODE_NOP)
            n--;
    }
    return n > 0 && kind == PARO_OPCODE_BRANCH ? n - 1 : n;
}
