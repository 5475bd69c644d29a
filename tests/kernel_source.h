/* SPDX-License-Identifier: MIT
 *
 * Kernels of tests/kernels for tests of the emulator: lib parts put in place, a hole filled, and a
 * device with buffers to run them on. Include after "tests/support.h".
 */
#ifndef PARO_TESTS_KERNEL_SOURCE_H
#define PARO_TESTS_KERNEL_SOURCE_H

#include "base/buffer.h"
#include "base/embedded.h"
#include "emulator/emulator.h"
#include "tests/support.h"

/* Built with AddressSanitizer: kernels are too. */
#if defined(__SANITIZE_ADDRESS__)
#define TEST_ADDRESS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ADDRESS 1
#endif
#endif
#ifndef TEST_ADDRESS
#define TEST_ADDRESS 0
#endif

/* Appends `text` with its lib parts, each once (`seen` has their paths). */
static inline void kernel_expand(paro_buffer *out, paro_buffer *seen, const char *text)
{
    for (const char *line = text; *line != 0;) {
        size_t n = strcspn(line, "\n");
        n += line[n] == '\n';
        char part[64], path[96];
        if (sscanf(line, "#include \"%60[^\"]\"", part) == 1) {
            (void)snprintf(path, sizeof path, "templates/%s", part);
            if (seen->data == NULL || strstr(seen->data, path) == NULL) {
                assert_true(paro_buffer_append_text(seen, path));
                const paro_embedded_file *file = paro_embedded_find(path);
                assert_non_null(file);
                kernel_expand(out, seen, file->text);
            }
        } else if (strncmp(line, "#pragma once", 12) != 0) {
            assert_true(paro_buffer_append(out, line, n));
        }
        line += n;
    }
}

/* tests/kernels/NAME.cu; `hole` = `value` where hole is not NULL. */
static inline void kernel_source(const char *name, const char *hole, const char *value,
                                 paro_buffer *out)
{
    paro_error err;
    char path[96], mark[64], *text = NULL;
    size_t n_bytes;
    paro_buffer seen = {0};
    (void)snprintf(path, sizeof path, "tests/kernels/%s.cu", name);
    assert_ok(paro_file_read(&err, path, 1 << 20, &text, &n_bytes));
    kernel_expand(out, &seen, text);
    free(text);
    paro_buffer_free(&seen);
    if (hole == NULL)
        return;
    (void)snprintf(mark, sizeof mark, "; // hole: %s\n", hole);
    const char *end = strstr(out->data, mark);
    assert_non_null(end);
    const char *start = end;
    while (*start != '=')
        start--;
    paro_buffer filled = {0};
    assert_true(paro_buffer_append(&filled, out->data, (size_t)(start - out->data) + 1) &&
                paro_buffer_append_text(&filled, " ") && paro_buffer_append_text(&filled, value) &&
                paro_buffer_append_text(&filled, end));
    paro_buffer_free(out);
    *out = filled;
}

/* One device for all tests of a program, with a folder for compiled kernels. */
typedef struct fixture {
    char *folder;
    paro_pool *pool;
    paro_gpu *gpu;
    paro_gpu_stream *stream;
} fixture;

static inline paro_gpu *open_device(const fixture *f, const char *arch)
{
    paro_error err;
    paro_gpu *gpu = NULL;
    const paro_emulator_options options = {.folder = f->folder,
                                           .sanitize = TEST_ADDRESS ? "address,undefined" : NULL,
                                           .arch = paro_arch_find(arch),
                                           .pool = f->pool};
    assert_ok(paro_gpu_open_emulator(&err, &options, &gpu));
    return gpu;
}

static inline int set_up(void **state)
{
    paro_error err;
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->folder = test_dir_new();
    assert_ok(paro_pool_new(&err, 2, &f->pool));
    f->gpu = open_device(f, "sm_90");
    assert_ok(paro_gpu_stream_new(&err, f->gpu, &f->stream));
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    fixture *f = *state;
    paro_gpu_stream_free(f->stream);
    paro_gpu_free(f->gpu);
    paro_pool_free(f->pool);
    test_dir_remove(f->folder);
    free(f);
    return 0;
}

static inline paro_gpu_module *load(paro_gpu *gpu, const char *name, const char *hole,
                                    const char *value)
{
    paro_error err;
    paro_buffer source = {0};
    paro_gpu_module *module = NULL;
    kernel_source(name, hole, value, &source);
    assert_ok(paro_gpu_module_load(
        &err, gpu, &(paro_gpu_image){.data = source.data, .n_bytes = source.n_bytes}, &module));
    paro_buffer_free(&source);
    return module;
}

static inline paro_gpu_launch launch_of(paro_gpu_module *module, const char *kernel,
                                        uint32_t n_blocks, uint32_t n_threads,
                                        uint32_t shared_bytes, void **args, size_t n_args)
{
    paro_error err;
    paro_gpu_launch launch = {.grid = {n_blocks, 1, 1},
                              .n_threads = n_threads,
                              .shared_bytes = shared_bytes,
                              .args = args,
                              .n_args = n_args};
    assert_ok(paro_gpu_module_function(&err, module, kernel, &launch.function));
    return launch;
}

static inline void *buffer_of(paro_gpu *gpu, size_t n_bytes, paro_gpu_ptr *out)
{
    paro_error err;
    assert_ok(paro_gpu_alloc(&err, gpu, n_bytes, out));
    return (void *)(uintptr_t)*out;
}

#endif
