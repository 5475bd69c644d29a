/* SPDX-License-Identifier: MIT
 *
 * Compiling a source with the system's C++ compiler, and loading what comes out.
 */
#include "emulator/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/embedded.h"
#include "base/file.h"
#include "base/hash.h"

extern char **environ;

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifndef WITH_ASAN
#define WITH_ASAN 0
#endif

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
enum { MAX_LOG_BYTES = 1 << 20, MAX_FLAGS = 24 };

static const char *const flags[] = {"-std=c++17",
                                    "-O1",
                                    "-fPIC",
                                    "-shared",
                                    "-fvisibility=hidden",
                                    "-fno-strict-aliasing",
                                    "-ffp-contract=off",
                                    "-fno-exceptions",
                                    "-fno-rtti",
                                    "-w",
                                    "-Wl,--as-needed"};
/* Without a sanitizer a kernel needs nothing of the C++ library: linking is then faster. */
static const char *const plain_flags[] = {"-nostdlib", "-lm", "-lgcc"};
static const char *const sanitize_flags[] = {"-g1", "-fno-omit-frame-pointer",
                                             "-fno-sanitize-recover=all"};

/* ---- running the compiler ----------------------------------------------------------------------
 */

/* argv with both outputs into the file `log`. *exit_code: 127 where there is no such program. */
static paro_status run_program(paro_error *err, char *const *argv, const char *log, int *exit_code)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "%s: out of memory", argv[0]);
    int rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (rc == 0)
        rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (rc == ENOENT || rc == EACCES) {
        *exit_code = 127;
        return PARO_STATUS_OK;
    }
    if (rc != 0)
        return paro_fail(err, PARO_STATUS_IO, "%s: cannot be started: %s", argv[0], strerror(rc));
    int state = 0;
    while (waitpid(pid, &state, 0) < 0)
        if (errno != EINTR)
            return paro_fail(err, PARO_STATUS_IO, "%s: cannot be waited for: %s", argv[0],
                             strerror(errno));
    *exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
    return PARO_STATUS_OK;
}

/* A name in the folder that no other call uses at the same time. */
static char *own_name(paro_arena *arena, const char *folder, const char *what, const char *suffix)
{
    return paro_arena_printf(arena, "%s/%s-%ld-%p%s", folder, what, (long)getpid(), (void *)arena,
                             suffix);
}

paro_status paro_emu_compiler_check(paro_error *err, paro_emu_compiler *compiler)
{
    paro_status status = PARO_STATUS_OK;
    paro_arena arena = {0};
    char *text = NULL;
    char *log = NULL;
    size_t n_bytes;
    int exit_code = 0;
    if (compiler->sanitize != NULL && strstr(compiler->sanitize, "address") != NULL && !WITH_ASAN) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "emulator: kernels with -fsanitize=%s need a program built with "
                           "AddressSanitizer (PARO_SANITIZE=address)",
                           compiler->sanitize);
        goto done;
    }
    log = own_name(&arena, compiler->folder, "version", ".txt");
    char *argv[] = {paro_arena_strdup(&arena, compiler->program),
                    paro_arena_strdup(&arena, "--version"), NULL};
    if (log == NULL || argv[0] == NULL || argv[1] == NULL) {
        status = paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory");
        goto done;
    }
    status = run_program(err, argv, log, &exit_code);
    if (status != PARO_STATUS_OK)
        goto done;
    if (exit_code != 0) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "emulator: no C++ compiler: looked for %s on the PATH; install one "
                           "(Debian: g++)",
                           compiler->program);
        goto done;
    }
    status = paro_file_read(err, log, MAX_LOG_BYTES, &text, &n_bytes);
    if (status != PARO_STATUS_OK)
        goto done;
    text[strcspn(text, "\n")] = 0;
    (void)snprintf(compiler->version, sizeof compiler->version, "%s", text);
done:
    if (log != NULL)
        (void)unlink(log);
    free(text);
    paro_arena_release(&arena);
    return status;
}

/* ---- one source --------------------------------------------------------------------------------
 */

/* host.hpp, the source, and an entry for every kernel. */
static paro_status whole_text(paro_error *err, const char *source, size_t n_bytes,
                              const paro_emu_object *object, paro_buffer *text)
{
    const paro_embedded_file *host = paro_embedded_find("emulator/host.hpp");
    if (host == NULL)
        return paro_fail(err, PARO_STATUS_NOT_FOUND, "emulator/host.hpp is not in this library");
    bool fits = paro_buffer_append_text(text, "#line 1 \"emulator/host.hpp\"\n") &&
                paro_buffer_append(text, host->text, host->n_bytes) &&
                paro_buffer_append_text(text, "#line 1 \"kernel.cu\"\n") &&
                paro_buffer_append(text, source, n_bytes) &&
                paro_buffer_append_text(text, "\n#line 1 \"emulator/module.c\"\nEMULATOR_MODULE\n");
    for (size_t i = 0; fits && i < object->n_kernels; i++)
        fits = paro_buffer_printf(
            text, "EMULATOR_KERNEL(%s, emulator_bounds(%s))\n", object->kernels[i].name,
            object->kernels[i].bounds != NULL ? object->kernels[i].bounds : "1024");
    if (!fits)
        return paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory for a source");
    return PARO_STATUS_OK;
}

/* The first line of the log with an error, cut to the line. */
static const char *first_error(char *log)
{
    char *at = strstr(log, "error:");
    if (at == NULL)
        at = strstr(log, "undefined reference");
    if (at == NULL)
        at = log;
    while (at > log && at[-1] != '\n')
        at--;
    at[strcspn(at, "\n")] = 0;
    return at;
}

static paro_status compile(paro_error *err, const paro_emu_compiler *compiler, paro_arena *arena,
                           const paro_buffer *text, const char *object_path)
{
    paro_status status = PARO_STATUS_OK;
    char *log_text = NULL;
    FILE *file = NULL;
    size_t n = 0, n_log;
    int exit_code = 0;
    char *argv[MAX_FLAGS + 1] = {NULL};
    char *source_path = own_name(arena, compiler->folder, "source", ".cpp");
    char *log = own_name(arena, compiler->folder, "log", ".txt");
    char *made = own_name(arena, compiler->folder, "made", ".so");
    bool fits = source_path != NULL && log != NULL && made != NULL;
    fits = fits && (argv[n++] = paro_arena_strdup(arena, compiler->program)) != NULL;
    for (size_t i = 0; fits && i < COUNT(flags); i++)
        fits = (argv[n++] = paro_arena_strdup(arena, flags[i])) != NULL;
    if (compiler->sanitize != NULL) {
        for (size_t i = 0; fits && i < COUNT(sanitize_flags); i++)
            fits = (argv[n++] = paro_arena_strdup(arena, sanitize_flags[i])) != NULL;
        fits = fits &&
               (argv[n++] = paro_arena_printf(arena, "-fsanitize=%s", compiler->sanitize)) != NULL;
        /* A second stack for every fibre, to find uses after return, costs most of the time. */
        fits =
            fits &&
            (argv[n++] = paro_arena_strdup(arena, strstr(compiler->version, "clang") != NULL
                                                      ? "-fsanitize-address-use-after-return=never"
                                                      : "--param=asan-use-after-return=0")) != NULL;
    }
    fits = fits && (argv[n++] = source_path) != NULL;
    fits = fits && (argv[n++] = paro_arena_strdup(arena, "-o")) != NULL;
    fits = fits && (argv[n++] = made) != NULL;
    for (size_t i = 0; fits && compiler->sanitize == NULL && i < COUNT(plain_flags); i++)
        fits = (argv[n++] = paro_arena_strdup(arena, plain_flags[i])) != NULL;
    if (!fits) {
        status = paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory");
        goto done;
    }
    file = fopen(source_path, "wbe");
    if (file == NULL || fwrite(text->data, 1, text->n_bytes, file) != text->n_bytes ||
        fflush(file) != 0) {
        status = paro_fail(err, PARO_STATUS_IO, "%s: cannot be written: %s", source_path,
                           strerror(errno));
        goto done;
    }
    status = run_program(err, argv, log, &exit_code);
    if (status != PARO_STATUS_OK)
        goto done;
    if (exit_code != 0) {
        status = paro_file_read(err, log, MAX_LOG_BYTES, &log_text, &n_log);
        if (status == PARO_STATUS_OK)
            status = paro_fail(err, PARO_STATUS_FORMAT, "%s: %s", compiler->program,
                               first_error(log_text));
        goto done;
    }
    if (rename(made, object_path) != 0)
        status = paro_fail(err, PARO_STATUS_IO, "%s: cannot be renamed to %s: %s", made,
                           object_path, strerror(errno));
done:
    if (file != NULL)
        (void)fclose(file);
    if (fits) {
        (void)unlink(source_path);
        (void)unlink(log);
        (void)unlink(made);
    }
    free(log_text);
    return status;
}

/* "HASH.so" of text, flags, compiler. */
static char *object_path_of(const paro_emu_compiler *compiler, paro_arena *arena,
                            const paro_buffer *text)
{
    paro_buffer key = {0};
    char *path = NULL;
    bool fits = paro_buffer_append(&key, text->data, text->n_bytes) &&
                paro_buffer_printf(&key, "\n%s\n%s\n%s", compiler->program, compiler->version,
                                   compiler->sanitize != NULL ? compiler->sanitize : "");
    for (size_t i = 0; fits && i < COUNT(flags); i++)
        fits = paro_buffer_printf(&key, "\n%s", flags[i]);
    for (size_t i = 0; fits && compiler->sanitize == NULL && i < COUNT(plain_flags); i++)
        fits = paro_buffer_printf(&key, "\n%s", plain_flags[i]);
    if (fits) {
        char hash[PARO_SHA256_HEX_BYTES];
        paro_sha256_hex(key.data, key.n_bytes, hash);
        path = paro_arena_printf(arena, "%s/%s.so", compiler->folder, hash);
    }
    paro_buffer_free(&key);
    return path;
}

/* ---- loading -----------------------------------------------------------------------------------
 */

/* A function pointer is not an object pointer in ISO C; POSIX says dlsym's can be converted. */
static bool find(paro_error *err, void *handle, const char *prefix, const char *name, void *fn)
{
    char symbol[256];
    (void)snprintf(symbol, sizeof symbol, "%s%s", prefix, name);
    void *address = dlsym(handle, symbol);
    if (address == NULL) {
        (void)paro_fail(err, PARO_STATUS_FORMAT, "emulator: the compiled kernels lack %s", symbol);
        return false;
    }
    memcpy(fn, &address, sizeof address);
    return true;
}

static paro_status load(paro_error *err, const char *path, paro_emu_object *object)
{
    object->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object->handle == NULL) {
        const char *why = dlerror();
        return paro_fail(err, PARO_STATUS_UNSUPPORTED, "%s: cannot be loaded: %s", path,
                         why != NULL ? why : "?");
    }
    if (!find(err, object->handle, "emulator_self_at", "", &object->self_at))
        return PARO_STATUS_FORMAT;
    for (size_t i = 0; i < object->n_kernels; i++) {
        paro_emu_kernel *kernel = &object->kernels[i];
        uint32_t (*threads)(void);
        uint32_t (*size)(uint32_t);
        if (!find(err, object->handle, "emulator_run_", kernel->name, &kernel->fn) ||
            !find(err, object->handle, "emulator_threads_", kernel->name, &threads) ||
            !find(err, object->handle, "emulator_size_", kernel->name, &size))
            return PARO_STATUS_FORMAT;
        kernel->max_threads = threads();
        while (kernel->n_params < PARO_EMU_MAX_PARAMS &&
               (kernel->sizes[kernel->n_params] = size((uint32_t)kernel->n_params)) > 0)
            kernel->n_params++;
    }
    return PARO_STATUS_OK;
}

paro_status paro_emu_object_open(paro_error *err, const paro_emu_compiler *compiler,
                                 const char *source, size_t n_bytes, paro_emu_object *out)
{
    paro_status status = PARO_STATUS_OK;
    paro_emu_object object = {0};
    paro_arena scratch = {0};
    paro_buffer text = {0};
    status = paro_emu_find_kernels(err, source, n_bytes, &object.arena, &object.kernels,
                                   &object.n_kernels);
    if (status == PARO_STATUS_OK)
        status = whole_text(err, source, n_bytes, &object, &text);
    if (status != PARO_STATUS_OK)
        goto done;
    char *path = object_path_of(compiler, &scratch, &text);
    if (path == NULL) {
        status = paro_fail(err, PARO_STATUS_OUT_OF_MEMORY, "emulator: out of memory");
        goto done;
    }
    if (!paro_path_exists(path))
        status = compile(err, compiler, &scratch, &text, path);
    if (status == PARO_STATUS_OK)
        status = load(err, path, &object);
    if (status != PARO_STATUS_OK)
        goto done;
    *out = object;
    object = (paro_emu_object){0};
done:
    paro_emu_object_close(&object);
    paro_buffer_free(&text);
    paro_arena_release(&scratch);
    return status;
}

void paro_emu_object_close(paro_emu_object *object)
{
    if (object == NULL)
        return;
    if (object->handle != NULL)
        (void)dlclose(object->handle);
    paro_arena_release(&object->arena);
    *object = (paro_emu_object){0};
}
