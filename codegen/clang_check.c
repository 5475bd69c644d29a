/* SPDX-License-Identifier: MIT
 *
 * A rendered source as host C++ through the emulator's header, read by libclang: its errors at the
 * template's own lines, and the signatures of its kernels.
 *
 * The header marks a __global__ function with annotate("global"). It includes nothing, and the
 * target is fixed, so the result is the same on every machine.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/embedded.h"
#include "codegen/clang_api.h"
#include "codegen/clang_check.h"
#include "codegen/codegen.h"

enum { NEWEST_VERSION = 21, OLDEST_VERSION = 13 };

struct paro_checker {
    void *handle;
    clang_api api;
    void *index;
    char version[128];
};

static const char *load_api(void *handle, clang_api *api)
{
    const struct {
        const char *name;
        void *slot;
    } rows[] = {
#define CLANG_ROW(member, name, result, params) {name, &api->member},
        CLANG_FUNCTIONS(CLANG_ROW)
#undef CLANG_ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        void *symbol = dlsym(handle, rows[i].name);
        if (symbol == NULL)
            return rows[i].name;
        memcpy(rows[i].slot, &symbol, sizeof symbol);
    }
    return NULL;
}

static void *open_library(void)
{
    static const char *const formats[] = {"libclang-%d.so.1", "libclang-%d.so.%d", "libclang.so.%d",
                                          "/usr/lib/llvm-%d/lib/libclang.so.1",
                                          "/usr/lib/llvm-%d/lib/libclang.so"};
    static const char *const names[] = {"libclang.so.1", "libclang.so"};
    void *handle = NULL;
    for (int version = NEWEST_VERSION; version >= OLDEST_VERSION; version--) {
        for (size_t i = 0; i < sizeof formats / sizeof formats[0] && handle == NULL; i++) {
            char path[128];
            snprintf(path, sizeof path, formats[i], version, version);
            handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        }
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0] && handle == NULL; i++)
        handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    return handle;
}

paro_status paro_checker_load(paro_error *err, const char *library, paro_checker **out)
{
    paro_status status = PARO_STATUS_OK;
    paro_checker *checker = calloc(1, sizeof *checker);
    if (checker == NULL)
        return paro_fail_memory(err, sizeof *checker, "libclang");
    checker->handle = library != NULL ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : open_library();
    if (checker->handle == NULL) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "kernels are checked by libclang: expected %s, found none; install the "
                           "package libclang1 (any version from %d), or go without the check",
                           library != NULL ? library
                                           : "libclang.so.1 or libclang-14.so.1 (any version) on "
                                             "the loader's path or in /usr/lib/llvm-*/lib",
                           OLDEST_VERSION);
        goto done;
    }
    const char *missing = load_api(checker->handle, &checker->api);
    if (missing != NULL) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "%s: expected libclang %d or newer, found a library without %s",
                           library != NULL ? library : "libclang", OLDEST_VERSION, missing);
        goto done;
    }
    checker->index = checker->api.create_index(0, 0);
    if (checker->index == NULL) {
        status = paro_fail_memory(err, 0, "libclang's index");
        goto done;
    }
    clang_string version = checker->api.version();
    const char *text = checker->api.string_text(version);
    snprintf(checker->version, sizeof checker->version, "%s", text != NULL ? text : "unknown");
    checker->api.dispose_string(version);
    *out = checker;
    checker = NULL;
done:
    paro_checker_free(checker);
    return status;
}

paro_status paro_checker_new(paro_error *err, paro_checker **out)
{
    return paro_checker_load(err, NULL, out);
}

void paro_checker_free(paro_checker *checker)
{
    if (checker == NULL)
        return;
    if (checker->index != NULL)
        checker->api.dispose_index(checker->index);
    /* The library stays loaded: it has tables of its own that nothing takes down. */
    free(checker);
}

const char *paro_checker_version(const paro_checker *checker)
{
    return checker->version;
}

/* ---- the walk ------------------------------------------------------------------------------- */

typedef struct walk {
    const clang_api *api;
    paro_error *err;
    paro_arena *arena;
    paro_status status;
    paro_signature_kernel *kernels; /* NULL: only counting */
    size_t n_kernels;
    bool is_global; /* what has_annotation found */
} walk;

/* A copy in the arena of the text of a string, which is disposed of; NULL when out of memory. */
static const char *take_text(walk *w, clang_string string)
{
    const char *text = w->api->string_text(string);
    const char *copy = paro_arena_strdup(w->arena, text != NULL ? text : "");
    w->api->dispose_string(string);
    return copy;
}

static int find_annotation(clang_cursor cursor, clang_cursor parent, void *context)
{
    walk *w = context;
    (void)parent;
    if (cursor.kind != CLANG_CURSOR_ANNOTATION)
        return CLANG_VISIT_CONTINUE;
    clang_string name = w->api->cursor_name(cursor);
    const char *text = w->api->string_text(name);
    w->is_global = text != NULL && strcmp(text, "global") == 0;
    w->api->dispose_string(name);
    return w->is_global ? CLANG_VISIT_BREAK : CLANG_VISIT_CONTINUE;
}

static paro_status read_param(walk *w, const char *kernel, clang_cursor cursor,
                              paro_signature_param *out)
{
    const clang_api *api = w->api;
    clang_type type = api->canonical(api->cursor_type(cursor));
    bool is_pointer = type.kind == CLANG_TYPE_POINTER;
    /* Of a pointer what it points to: "__restrict" is no part of the type's text. */
    clang_type element = is_pointer ? api->canonical(api->pointee(type)) : type;
    const char *name = take_text(w, api->cursor_name(cursor));
    const char *text = take_text(w, api->type_text(element));
    if (text != NULL && is_pointer)
        text = paro_arena_printf(w->arena, "%s *", text);
    if (name == NULL || text == NULL)
        return paro_fail_memory(w->err, 0, "a signature");
    long long n_bytes = api->type_bytes(element);
    if (n_bytes < 1 || n_bytes > 65536)
        return paro_fail(w->err, PARO_STATUS_FORMAT,
                         "%s: parameter '%s': expected a pointer or a scalar of known size, found "
                         "'%s'",
                         kernel, name, text);
    *out = (paro_signature_param){
        .name = name,
        .type = text,
        .kind = is_pointer ? PARO_PARAM_POINTER : PARO_PARAM_SCALAR,
        .is_const = is_pointer && api->is_const(element),
        .element_bytes = (uint32_t)n_bytes,
    };
    return PARO_STATUS_OK;
}

static paro_status read_kernel(walk *w, clang_cursor cursor, paro_signature_kernel *out)
{
    const char *name = take_text(w, w->api->cursor_name(cursor));
    int n_params = w->api->n_arguments(cursor);
    size_t n = n_params > 0 ? (size_t)n_params : 0;
    paro_signature_param *params = paro_arena_array(w->arena, n, sizeof *params);
    if (name == NULL || params == NULL)
        return paro_fail_memory(w->err, n * sizeof *params, "a signature");
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++)
        status = read_param(w, name, w->api->argument(cursor, (unsigned)i), &params[i]);
    *out = (paro_signature_kernel){.name = name, .params = params, .n_params = n};
    return status;
}

static int visit(clang_cursor cursor, clang_cursor parent, void *context)
{
    walk *w = context;
    (void)parent;
    if (cursor.kind != CLANG_CURSOR_FUNCTION)
        return CLANG_VISIT_RECURSE; /* extern "C", namespaces */
    w->is_global = false;
    if (w->api->is_definition(cursor))
        w->api->visit(cursor, find_annotation, w);
    if (!w->is_global)
        return CLANG_VISIT_CONTINUE;
    if (w->kernels != NULL)
        w->status = read_kernel(w, cursor, &w->kernels[w->n_kernels]);
    w->n_kernels++;
    return w->status == PARO_STATUS_OK ? CLANG_VISIT_CONTINUE : CLANG_VISIT_BREAK;
}

static paro_status read_signature(paro_error *err, const clang_api *api, void *unit,
                                  paro_arena *arena, paro_signature *out)
{
    walk w = {.api = api, .err = err, .arena = arena};
    clang_cursor root = api->unit_cursor(unit);
    api->visit(root, visit, &w);
    w.kernels = paro_arena_array(arena, w.n_kernels, sizeof *w.kernels);
    if (w.kernels == NULL)
        return paro_fail_memory(err, w.n_kernels * sizeof *w.kernels, "a signature");
    w.n_kernels = 0;
    api->visit(root, visit, &w);
    if (w.status == PARO_STATUS_OK)
        *out = (paro_signature){.kernels = w.kernels, .n_kernels = w.n_kernels};
    return w.status;
}

/* ---- diagnostics ------------------------------------------------------------------------------
 */

/* The first error becomes the message. */
static paro_status check_diagnostics(paro_error *err, const clang_api *api, void *unit)
{
    paro_status status = PARO_STATUS_OK;
    unsigned n = api->n_diagnostics(unit);
    for (unsigned i = 0; i < n && status == PARO_STATUS_OK; i++) {
        void *diagnostic = api->diagnostic(unit, i);
        if (api->severity(diagnostic) >= CLANG_SEVERITY_ERROR) {
            clang_string file, text = api->diagnostic_text(diagnostic);
            unsigned line = 0, column = 0;
            api->presumed_location(api->diagnostic_location(diagnostic), &file, &line, &column);
            const char *name = api->string_text(file), *words = api->string_text(text);
            status = paro_fail(err, PARO_STATUS_FORMAT, "%s:%u:%u: error: %s",
                               name != NULL ? name : "kernel", line, column,
                               words != NULL ? words : "unknown");
            api->dispose_string(file);
            api->dispose_string(text);
        }
        api->dispose_diagnostic(diagnostic);
    }
    return status;
}

paro_status paro_checker_check(paro_error *err, paro_checker *checker, const char *source,
                               size_t n_bytes, paro_arena *arena, paro_signature *out)
{
    static const char *const args[] = {
        "-x",        "c++",         "-std=c++17", "-target", "x86_64-unknown-linux-gnu",
        "-nostdinc", "-nostdinc++", "-w"};
    static const char file_name[] = "kernel.cpp", header_path[] = "emulator/host.hpp";
    const clang_api *api = &checker->api;
    paro_status status = PARO_STATUS_OK;
    paro_buffer text = {0};
    void *unit = NULL;
    const paro_embedded_file *header = paro_embedded_find(header_path);
    if (header == NULL)
        return paro_fail(err, PARO_STATUS_NOT_FOUND, "no %s is built in", header_path);
    if (!paro_buffer_printf(&text, "#line 1 \"%s\"\n", header_path) ||
        !paro_buffer_append(&text, header->text, header->n_bytes) ||
        !paro_buffer_append_text(&text, "\n#line 1 \"kernel\"\n") ||
        !paro_buffer_append(&text, source, n_bytes)) {
        status = paro_fail_memory(err, text.n_bytes + n_bytes, "a kernel's check");
        goto done;
    }
    clang_unsaved_file file = {file_name, text.data, text.n_bytes};
    int result = api->parse(checker->index, file_name, args, (int)(sizeof args / sizeof args[0]),
                            &file, 1, 0, &unit);
    if (result != 0 || unit == NULL) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "libclang (%s) gives up on a kernel's source with error %d; try another "
                           "version of it",
                           checker->version, result);
        goto done;
    }
    status = check_diagnostics(err, api, unit);
    if (status == PARO_STATUS_OK)
        status = read_signature(err, api, unit, arena, out);
done:
    if (unit != NULL)
        api->dispose_unit(unit);
    paro_buffer_free(&text);
    return status;
}
