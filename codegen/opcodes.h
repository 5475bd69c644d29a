/* SPDX-License-Identifier: MIT
 *
 * What a kernel's instructions are, by their numbers (opcodes_table.h).
 */
#ifndef PARO_CODEGEN_OPCODES_H
#define PARO_CODEGEN_OPCODES_H

#include "base/cubin.h"

/* What an instruction is counted as. */
typedef enum paro_opcode_kind {
    PARO_OPCODE_OTHER,
    PARO_OPCODE_TENSOR,
    PARO_OPCODE_GLOBAL_LOAD,
    PARO_OPCODE_GLOBAL_STORE,
    PARO_OPCODE_SHARED_LOAD,
    PARO_OPCODE_SHARED_STORE,
    PARO_OPCODE_LOCAL,
    PARO_OPCODE_BARRIER,
    PARO_OPCODE_BRANCH,
    PARO_OPCODE_NOP,
    PARO_OPCODE_KIND_COUNT
} paro_opcode_kind;

/* The mnemonic of an instruction ("HMMA", "?" where unknown) and its kind (may be NULL). */
const char *paro_opcode_name(const uint8_t instruction[PARO_INSTRUCTION_BYTES],
                             paro_opcode_kind *kind);

/* Instructions without what pads the end: a branch to itself and NOPs. */
size_t paro_cubin_n_used(const paro_cubin_kernel *kernel);

#endif
