/* SPDX-License-Identifier: MIT
 *
 * Kernels and instructions of a cubin; see cubin.h for the format.
 */
#include "codegen/cubin.h"

#include <stdbool.h>
#include <string.h>

enum {
    HEADER_BYTES = 64,
    SECTION_BYTES = 64,
    SECTION_PROGBITS = 1,
    SECTION_NOBITS = 8,
    MACHINE_CUDA = 190
};

typedef struct elf {
    const uint8_t *data;
    uint64_t n_bytes;
    uint64_t sections; /* offset of the headers, all inside the file */
    uint32_t n_sections;
    const char *names; /* of sections: n_name_bytes, the last one zero */
    uint64_t n_name_bytes;
} elf;

typedef struct section {
    const char *name;
    uint32_t type;
    uint64_t offset, n_bytes; /* inside the file but for NOBITS */
} section;

static uint64_t read_number(const uint8_t *at, size_t n_bytes)
{
    uint64_t value = 0;
    for (size_t i = n_bytes; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

static bool inside(const elf *file, uint64_t offset, uint64_t n_bytes)
{
    return offset <= file->n_bytes && n_bytes <= file->n_bytes - offset;
}

static bool read_section(const elf *file, uint32_t i, section *out)
{
    const uint8_t *at = file->data + file->sections + (uint64_t)i * SECTION_BYTES;
    uint64_t name = read_number(at, 4);
    *out = (section){.name = "",
                     .type = (uint32_t)read_number(at + 4, 4),
                     .offset = read_number(at + 24, 8),
                     .n_bytes = read_number(at + 32, 8)};
    if (file->names != NULL) {
        if (name >= file->n_name_bytes)
            return false;
        out->name = file->names + name;
    }
    return out->type == SECTION_NOBITS || inside(file, out->offset, out->n_bytes);
}

static paro_status open_elf(paro_error *err, const void *data, size_t n_bytes, elf *out)
{
    elf file = {.data = data, .n_bytes = n_bytes};
    if (n_bytes < HEADER_BYTES || memcmp(data, "\177ELF\2\1", 6) != 0 ||
        read_number(file.data + 18, 2) != MACHINE_CUDA)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "cubin: expected a 64-bit ELF file for CUDA, found %zu other bytes",
                         n_bytes);
    file.sections = read_number(file.data + 0x28, 8);
    file.n_sections = (uint32_t)read_number(file.data + 0x3c, 2);
    uint32_t names_at = (uint32_t)read_number(file.data + 0x3e, 2);
    if (read_number(file.data + 0x3a, 2) != SECTION_BYTES || names_at >= file.n_sections ||
        !inside(&file, file.sections, (uint64_t)file.n_sections * SECTION_BYTES))
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "cubin: expected section headers inside its %zu bytes, found %u at %llu",
                         n_bytes, (unsigned)file.n_sections, (unsigned long long)file.sections);
    section names;
    if (!read_section(&file, names_at, &names) || names.type == SECTION_NOBITS ||
        names.n_bytes == 0 || file.data[names.offset + names.n_bytes - 1] != 0)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "cubin: expected names of sections inside its %zu bytes, found none",
                         n_bytes);
    file.names = (const char *)file.data + names.offset;
    file.n_name_bytes = names.n_bytes;
    *out = file;
    return PARO_STATUS_OK;
}

paro_status paro_cubin_read(paro_error *err, const void *data, size_t n_bytes, paro_cubin *out)
{
    static const char text[] = ".text.", shared[] = ".nv.shared.";
    elf file;
    paro_status status = open_elf(err, data, n_bytes, &file);
    if (status != PARO_STATUS_OK)
        return status;
    size_t n = 0;
    section s;
    for (uint32_t i = 0; i < file.n_sections; i++) {
        if (!read_section(&file, i, &s))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "cubin: expected section %u inside its %zu bytes, found %llu bytes at "
                             "%llu",
                             (unsigned)i, n_bytes, (unsigned long long)s.n_bytes,
                             (unsigned long long)s.offset);
        if (s.type != SECTION_PROGBITS || strncmp(s.name, text, sizeof text - 1) != 0)
            continue;
        if (n == PARO_CUBIN_MAX_KERNELS || s.n_bytes % PARO_INSTRUCTION_BYTES != 0)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "cubin: %s: expected code of at most %d kernels in instructions of %d "
                             "bytes, found kernel %zu of %llu bytes",
                             s.name, PARO_CUBIN_MAX_KERNELS, PARO_INSTRUCTION_BYTES, n + 1,
                             (unsigned long long)s.n_bytes);
        out->kernels[n++] = (paro_cubin_kernel){
            .name = s.name + sizeof text - 1,
            .code = file.data + s.offset,
            .n_instructions = (size_t)(s.n_bytes / PARO_INSTRUCTION_BYTES),
        };
    }
    for (uint32_t i = 0; i < file.n_sections; i++) {
        if (!read_section(&file, i, &s) || strncmp(s.name, shared, sizeof shared - 1) != 0)
            continue;
        for (size_t k = 0; k < n; k++) {
            if (strcmp(out->kernels[k].name, s.name + sizeof shared - 1) == 0)
                out->kernels[k].static_shared_bytes =
                    (uint32_t)(s.n_bytes < UINT32_MAX ? s.n_bytes : UINT32_MAX);
        }
    }
    out->n_kernels = n;
    return PARO_STATUS_OK;
}

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
    uint16_t number = (uint16_t)(read_number(instruction, 2) & 0x1ff);
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
