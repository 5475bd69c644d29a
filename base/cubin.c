/* SPDX-License-Identifier: MIT
 *
 * Kernels and their parameters of a cubin; see cubin.h for the format.
 */
#include "base/cubin.h"

#include <stdbool.h>
#include <string.h>

enum {
    HEADER_BYTES = 64,
    SECTION_BYTES = 64,
    SECTION_PROGBITS = 1,
    SECTION_NOBITS = 8,
    MACHINE_CUDA = 190
};

/* Of .nv.info.KERNEL. */
enum {
    RECORD_BYTES = 4,
    FORMAT_FIRST = 1,
    FORMAT_HALF = 3,
    FORMAT_SIZED = 4,
    PARAM_BYTES = 12,
    INFO_PARAM = 0x17,
    INFO_PARAM_2 = 0x45,
    INFO_PARAMS_SIZE = 0x19
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
    if (!inside(&file, read_number(file.data + 0x20, 8),
                read_number(file.data + 0x36, 2) * read_number(file.data + 0x38, 2)))
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "cubin: expected program headers inside its %zu bytes, found %llu at %llu",
                         n_bytes, (unsigned long long)read_number(file.data + 0x38, 2),
                         (unsigned long long)read_number(file.data + 0x20, 8));
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

/* Records of a kernel's parameters as they are read. */
typedef struct param_list {
    const char *kernel;
    struct {
        bool is_there;
        uint32_t offset, n_bytes;
    } params[PARO_CUBIN_MAX_PARAMS];
    uint32_t n_bytes; /* of all, as a record of its own says */
} param_list;

static paro_status add_param(paro_error *err, param_list *list, const uint8_t *at, uint64_t n_bytes,
                             bool is_second)
{
    uint64_t ordinal = n_bytes == PARAM_BYTES ? read_number(at + 4, 2) : 0;
    if (n_bytes != PARAM_BYTES || ordinal >= PARO_CUBIN_MAX_PARAMS ||
        list->params[ordinal].is_there)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "cubin: kernel %s: expected parameters 0 to %d, each once, in records of "
                         "%d bytes, found parameter %llu in %llu bytes",
                         list->kernel, PARO_CUBIN_MAX_PARAMS - 1, PARAM_BYTES,
                         (unsigned long long)ordinal, (unsigned long long)n_bytes);
    list->params[ordinal].is_there = true;
    list->params[ordinal].offset = (uint32_t)read_number(at + 6, 2);
    list->params[ordinal].n_bytes =
        (uint32_t)(is_second ? read_number(at + 8, 2) : read_number(at + 8, 4) >> 18);
    return PARO_STATUS_OK;
}

static paro_status read_records(paro_error *err, const uint8_t *at, uint64_t n_left,
                                param_list *list)
{
    while (n_left > 0) {
        uint64_t n = 0;
        if (n_left >= RECORD_BYTES && at[0] == FORMAT_SIZED)
            n = read_number(at + 2, 2);
        if (n_left < RECORD_BYTES || at[0] < FORMAT_FIRST || at[0] > FORMAT_SIZED ||
            n > n_left - RECORD_BYTES)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "cubin: kernel %s: expected records inside .nv.info, found one that "
                             "does not end in the %llu bytes left",
                             list->kernel, (unsigned long long)n_left);
        if (at[0] == FORMAT_HALF && at[1] == INFO_PARAMS_SIZE)
            list->n_bytes = (uint32_t)read_number(at + 2, 2);
        if (at[0] == FORMAT_SIZED && (at[1] == INFO_PARAM || at[1] == INFO_PARAM_2)) {
            paro_status status = add_param(err, list, at + RECORD_BYTES, n, at[1] == INFO_PARAM_2);
            if (status != PARO_STATUS_OK)
                return status;
        }
        at += RECORD_BYTES + n;
        n_left -= RECORD_BYTES + n;
    }
    return PARO_STATUS_OK;
}

/* One after another, the last one's end where the kernel's parameters end. */
static paro_status check_params(paro_error *err, const param_list *list, size_t *n_params)
{
    size_t n = 0;
    uint32_t end = 0;
    while (n < PARO_CUBIN_MAX_PARAMS && list->params[n].is_there && list->params[n].offset >= end &&
           list->params[n].n_bytes > 0) {
        end = list->params[n].offset + list->params[n].n_bytes;
        n++;
    }
    for (size_t i = n; i < PARO_CUBIN_MAX_PARAMS; i++) {
        if (list->params[i].is_there)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "cubin: kernel %s: expected parameter %zu behind %u bytes of others, "
                             "found parameter %zu of %u bytes at %u",
                             list->kernel, n, (unsigned)end, i, (unsigned)list->params[i].n_bytes,
                             (unsigned)list->params[i].offset);
    }
    if (end != list->n_bytes)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "cubin: kernel %s: expected %u bytes of parameters, found %zu that end at "
                         "%u",
                         list->kernel, (unsigned)list->n_bytes, n, (unsigned)end);
    *n_params = n;
    return PARO_STATUS_OK;
}

paro_status paro_cubin_params(paro_error *err, const void *data, size_t n_bytes, const char *kernel,
                              size_t *sizes, size_t capacity, size_t *n_params)
{
    static const char info[] = ".nv.info.";
    elf file;
    section s = {0};
    bool found = false;
    paro_status status = open_elf(err, data, n_bytes, &file);
    if (status != PARO_STATUS_OK)
        return status;
    for (uint32_t i = 0; i < file.n_sections && !found; i++)
        found = read_section(&file, i, &s) && s.type != SECTION_NOBITS &&
                strncmp(s.name, info, sizeof info - 1) == 0 &&
                strcmp(s.name + sizeof info - 1, kernel) == 0;
    if (!found)
        return paro_fail(err, PARO_STATUS_NOT_FOUND,
                         "cubin: expected the section .nv.info.%s in its %zu bytes, found none",
                         kernel, n_bytes);
    param_list list = {.kernel = kernel};
    size_t n = 0;
    status = read_records(err, file.data + s.offset, s.n_bytes, &list);
    if (status == PARO_STATUS_OK)
        status = check_params(err, &list, &n);
    if (status != PARO_STATUS_OK)
        return status;
    for (size_t i = 0; i < n && i < capacity; i++)
        sizes[i] = list.params[i].n_bytes;
    *n_params = n;
    return PARO_STATUS_OK;
}
