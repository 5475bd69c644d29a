/* SPDX-License-Identifier: MIT
 *
 * What a cubin holds: kernels' code, as 16-byte instructions (all architectures from sm_70 on).
 *
 *     ELF64 header, little endian; section headers; names in the section e_shstrndx
 *     .text.KERNEL        code
 *     .nv.shared.KERNEL   static shared memory: only its size counts
 *     .nv.info.KERNEL     records: u8 format, u8 what, u16 value; format 4: value bytes follow
 *         3 0x19          value: bytes of all parameters
 *         4 0x17          a parameter: u32 0, u16 ordinal, u16 offset, u32 with its size in the
 *                         upper 14 bits
 *         4 0x45          as 0x17 (kernels with many bytes of them), but u16 size, u16 flags
 *
 * The file is not trusted: nothing outside it is read, whatever it says.
 */
#ifndef PARO_BASE_CUBIN_H
#define PARO_BASE_CUBIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { PARO_CUBIN_MAX_KERNELS = 256, PARO_CUBIN_MAX_PARAMS = 64, PARO_INSTRUCTION_BYTES = 16 };

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

/* The sizes of a kernel's parameters, in their order: at most `capacity` are written, *n_params is
 * their number. NOT_FOUND where the file says nothing of such a kernel, FORMAT where what it says
 * cannot be. */
paro_status paro_cubin_params(paro_error *err, const void *data, size_t n_bytes, const char *kernel,
                              size_t *sizes, size_t capacity, size_t *n_params);

#endif
