/* SPDX-License-Identifier: MIT
 *
 * What a kernel needs: registers, stack and spills from ptxas's log, instructions from the cubin;
 * as JSON and back.
 *
 *     {"kernels": [{"name": "rotate", "registers": 40, "stack_bytes": 0, …}, …]}
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "codegen/codegen.h"
#include "codegen/opcodes.h"

/* The members of JSON, in order. */
static const struct {
    const char *name;
    size_t offset;
} members[] = {
    {"registers", offsetof(paro_kernel_resources, n_registers)},
    {"stack_bytes", offsetof(paro_kernel_resources, stack_bytes)},
    {"spill_store_bytes", offsetof(paro_kernel_resources, spill_store_bytes)},
    {"spill_load_bytes", offsetof(paro_kernel_resources, spill_load_bytes)},
    {"static_shared_bytes", offsetof(paro_kernel_resources, static_shared_bytes)},
    {"barriers", offsetof(paro_kernel_resources, n_barriers)},
    {"instructions", offsetof(paro_kernel_resources, n_instructions)},
    {"tensor", offsetof(paro_kernel_resources, n_tensor)},
    {"global_loads", offsetof(paro_kernel_resources, n_global_loads)},
    {"global_stores", offsetof(paro_kernel_resources, n_global_stores)},
    {"shared_loads", offsetof(paro_kernel_resources, n_shared_loads)},
    {"shared_stores", offsetof(paro_kernel_resources, n_shared_stores)},
    {"local", offsetof(paro_kernel_resources, n_local)},
    {"barrier_waits", offsetof(paro_kernel_resources, n_barrier_waits)},
};
enum { N_MEMBERS = sizeof members / sizeof members[0] };

static uint32_t *member(paro_kernel_resources *kernel, size_t i)
{
    return (uint32_t *)(void *)((char *)kernel + members[i].offset);
}

static uint32_t member_value(const paro_kernel_resources *kernel, size_t i)
{
    return *(const uint32_t *)(const void *)((const char *)kernel + members[i].offset);
}

/* ---- ptxas's log ------------------------------------------------------------------------------
 */

typedef struct found {
    paro_arena *arena;
    paro_kernel_resources kernels[PARO_CUBIN_MAX_KERNELS];
    size_t n_kernels;
} found;

/* The kernel of this name, added where it is new; NULL where it is none (kernels are named in
 * ASCII), or where there is no room (or memory). */
static paro_kernel_resources *kernel_of(found *f, const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        if (name[i] <= ' ' || name[i] > '~')
            return NULL;
    }
    for (size_t i = 0; i < f->n_kernels; i++) {
        if (strlen(f->kernels[i].name) == n_bytes && memcmp(f->kernels[i].name, name, n_bytes) == 0)
            return &f->kernels[i];
    }
    const char *copy = paro_arena_strndup(f->arena, name, n_bytes);
    if (copy == NULL || f->n_kernels == PARO_CUBIN_MAX_KERNELS)
        return NULL;
    f->kernels[f->n_kernels] = (paro_kernel_resources){.name = copy};
    return &f->kernels[f->n_kernels++];
}

/* The number in front of `words` in a line; 0 where there is none. */
static uint32_t number_before(const char *line, size_t n_bytes, const char *words)
{
    const char *at = memmem(line, n_bytes, words, strlen(words));
    if (at == NULL)
        return 0;
    while (at > line && at[-1] == ' ')
        at--;
    const char *end = at;
    while (at > line && at[-1] >= '0' && at[-1] <= '9')
        at--;
    uint64_t value = 0;
    for (; at < end && value < UINT32_MAX; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return (uint32_t)(value < UINT32_MAX ? value : UINT32_MAX);
}

/* Each kernel has a line "… Compiling entry function 'NAME' for 'ARCH'"; what follows, of functions
 * that it calls too, is its own. */
static paro_status read_log(paro_error *err, const char *log, found *f)
{
    static const char entry[] = "Compiling entry function '";
    paro_kernel_resources *kernel = NULL;
    for (const char *line = log; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        const char *name = memmem(line, n, entry, sizeof entry - 1);
        if (name != NULL) {
            name += sizeof entry - 1;
            const char *end = memchr(name, '\'', (size_t)(line + n - name));
            kernel = end != NULL ? kernel_of(f, name, (size_t)(end - name)) : NULL;
            if (kernel == NULL)
                return paro_fail(err, PARO_STATUS_FORMAT,
                                 "ptxas's log: expected the names of at most %d kernels, found "
                                 "\"%.*s\"",
                                 PARO_CUBIN_MAX_KERNELS, (int)(n < 200 ? n : 200), line);
        } else if (kernel != NULL && memmem(line, n, "spill stores", 12) != NULL) {
            kernel->stack_bytes += number_before(line, n, "bytes stack frame");
            kernel->spill_store_bytes += number_before(line, n, "bytes spill stores");
            kernel->spill_load_bytes += number_before(line, n, "bytes spill loads");
        } else if (kernel != NULL && memmem(line, n, "Used ", 5) != NULL) {
            kernel->n_registers = number_before(line, n, " registers");
            kernel->n_barriers = number_before(line, n, " barriers");
            kernel->static_shared_bytes = number_before(line, n, " bytes smem");
        }
        line += line[n] != '\0' ? n + 1 : n;
    }
    return PARO_STATUS_OK;
}

/* ---- the cubin ---------------------------------------------------------------------------------
 */

static void count_instructions(const paro_cubin_kernel *code, paro_kernel_resources *out)
{
    uint32_t counts[PARO_OPCODE_KIND_COUNT] = {0};
    size_t n = paro_cubin_n_used(code);
    for (size_t i = 0; i < n; i++) {
        paro_opcode_kind kind;
        paro_opcode_name(code->code + i * PARO_INSTRUCTION_BYTES, &kind);
        counts[kind]++;
    }
    out->n_instructions = (uint32_t)n;
    out->n_tensor = counts[PARO_OPCODE_TENSOR];
    out->n_global_loads = counts[PARO_OPCODE_GLOBAL_LOAD];
    out->n_global_stores = counts[PARO_OPCODE_GLOBAL_STORE];
    out->n_shared_loads = counts[PARO_OPCODE_SHARED_LOAD];
    out->n_shared_stores = counts[PARO_OPCODE_SHARED_STORE];
    out->n_local = counts[PARO_OPCODE_LOCAL];
    out->n_barrier_waits = counts[PARO_OPCODE_BARRIER];
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const paro_kernel_resources *)a)->name,
                  ((const paro_kernel_resources *)b)->name);
}

paro_status paro_inspect(paro_error *err, const paro_binary *binary, paro_arena *arena,
                         paro_resources *out)
{
    found *f = paro_arena_alloc(arena, sizeof *f);
    paro_cubin *cubin = paro_arena_alloc(arena, sizeof *cubin);
    if (f == NULL || cubin == NULL)
        return paro_fail_memory(err, sizeof *f, "a kernel's resources");
    f->arena = arena;
    paro_status status = read_log(err, binary->log != NULL ? binary->log : "", f);
    if (status != PARO_STATUS_OK)
        return status;
    if (!binary->is_ptx) {
        status = paro_cubin_read(err, binary->data, binary->n_bytes, cubin);
        if (status != PARO_STATUS_OK)
            return status;
    }
    for (size_t i = 0; i < cubin->n_kernels; i++) {
        const paro_cubin_kernel *code = &cubin->kernels[i];
        paro_kernel_resources *kernel = kernel_of(f, code->name, strlen(code->name));
        if (kernel == NULL)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "cubin: expected the names of at most %d kernels, found \"%s\"",
                             PARO_CUBIN_MAX_KERNELS, code->name);
        count_instructions(code, kernel);
        if (kernel->static_shared_bytes == 0)
            kernel->static_shared_bytes = code->static_shared_bytes;
    }
    qsort(f->kernels, f->n_kernels, sizeof f->kernels[0], by_name);
    *out = (paro_resources){.kernels = f->kernels, .n_kernels = f->n_kernels};
    return PARO_STATUS_OK;
}

/* ---- JSON --------------------------------------------------------------------------------------
 */

paro_status paro_resources_print(paro_error *err, const paro_resources *resources, paro_buffer *out)
{
    char *text = NULL;
    json_t *root = json_object(), *rows = json_array();
    bool fine = json_object_set_new(root, "kernels", rows) == 0;
    for (size_t i = 0; i < resources->n_kernels && fine; i++) {
        const paro_kernel_resources *kernel = &resources->kernels[i];
        json_t *row = json_object();
        fine = json_array_append_new(rows, row) == 0 &&
               json_object_set_new(row, "name", json_string(kernel->name)) == 0;
        for (size_t k = 0; k < N_MEMBERS && fine; k++)
            fine = json_object_set_new(row, members[k].name,
                                       json_integer(member_value(kernel, k))) == 0;
    }
    if (fine)
        text = json_dumps(root, JSON_INDENT(2));
    fine = text != NULL && paro_buffer_printf(out, "%s\n", text);
    free(text);
    json_decref(root);
    return fine ? PARO_STATUS_OK : paro_fail_memory(err, out->n_bytes, "a kernel's resources");
}

static paro_status parse_kernel(paro_error *err, const char *where, const json_t *row,
                                paro_arena *arena, paro_kernel_resources *out)
{
    const char *name = NULL;
    if (!json_is_object(row))
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: kernels: expected objects, found %s", where,
                         paro_json_type_name(row));
    paro_status status = paro_json_get_string(err, where, row, "name", NULL, &name);
    if (status == PARO_STATUS_OK && name == NULL)
        status = paro_json_missing(err, where, "name", "a string");
    for (size_t k = 0; k < N_MEMBERS && status == PARO_STATUS_OK; k++)
        status =
            paro_json_get_u32(err, where, row, members[k].name, 0, UINT32_MAX, 0, member(out, k));
    if (status != PARO_STATUS_OK)
        return status;
    out->name = paro_arena_strdup(arena, name);
    return out->name != NULL ? PARO_STATUS_OK
                             : paro_fail_memory(err, strlen(name), "a kernel's resources");
}

paro_status paro_resources_parse(paro_error *err, const char *where, const char *text,
                                 size_t n_bytes, paro_arena *arena, paro_resources *out)
{
    json_t *root = NULL, *rows = NULL;
    paro_resources resources = {0};
    paro_status status = paro_json_parse(err, where, text, n_bytes, &root);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_json_get_container(err, where, root, "kernels", JSON_ARRAY, &rows);
    if (status == PARO_STATUS_OK && rows == NULL)
        status = paro_json_missing(err, where, "kernels", "an array");
    if (status != PARO_STATUS_OK)
        goto done;
    resources.n_kernels = json_array_size(rows);
    if (resources.n_kernels > PARO_CUBIN_MAX_KERNELS) {
        status = paro_fail(err, PARO_STATUS_FORMAT, "%s: kernels: expected at most %d, found %zu",
                           where, PARO_CUBIN_MAX_KERNELS, resources.n_kernels);
        goto done;
    }
    resources.kernels = paro_arena_array(arena, resources.n_kernels, sizeof *resources.kernels);
    if (resources.kernels == NULL) {
        status = paro_fail_memory(err, resources.n_kernels * sizeof *resources.kernels,
                                  "a kernel's resources");
        goto done;
    }
    for (size_t i = 0; i < resources.n_kernels && status == PARO_STATUS_OK; i++)
        status = parse_kernel(err, where, json_array_get(rows, i), arena, &resources.kernels[i]);
    if (status == PARO_STATUS_OK)
        *out = resources;
done:
    json_decref(root);
    return status;
}
