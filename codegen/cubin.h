/* SPDX-License-Identifier: MIT
 *
 * What a cubin holds: kernels' code, as 16-byte instructions (all architectures from sm_70 on).
 *
 *     ELF64 header, little endian; section headers; names in the section e_shstrndx
 *     .text.KERNEL        code
 *     .nv.shared.KERNEL   static shared memory: only its size counts
 *
 * The file is not trusted: nothing outside it is read, whatever it says.
 */
#ifndef PARO_CODEGEN_CUBIN_H
#define PARO_CODEGEN_CUBIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { PARO_CUBIN_MAX_KERNELS = 256, PARO_INSTRUCTION_BYTES = 16 };

typedef struct paro_cubin_kernel {
    const char *name; /* zero-terminated, in the file */
    const uint8_t *code;
    size_t n_instructions;
    uint32_t static_shared_bytes;
} paro_cubin_kernel;

typedef struct paro_cubin {
    paro_cubin_kernel kernels[PARO_CUBIN_MAX_KERNELS]; /* in the order of the file's sections */
    size_t n_kernels;
} paro_cubin;

/* Points into `data`, which must outlive *out. PARO_STATUS_FORMAT where it is no cubin. */
paro_status paro_cubin_read(paro_error *err, const void *data, size_t n_bytes, paro_cubin *out);

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
