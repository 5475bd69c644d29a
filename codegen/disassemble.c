/* SPDX-License-Identifier: MIT
 *
 * A cubin's code as text: through nvdisasm where it is on the PATH, else by opcode.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/codegen.h"
#include "codegen/opcodes.h"

extern char **environ;

/* The cubin in a file that is gone as soon as it is closed: its name under /proc is nvdisasm's
 * argument. -1 where that cannot be had. */
static int cubin_file(const paro_binary *binary)
{
    int fd = memfd_create("kernel.cubin", 0);
    size_t n = 0;
    while (fd >= 0 && n < binary->n_bytes) {
        ssize_t written = write(fd, (const char *)binary->data + n, binary->n_bytes - n);
        if (written > 0) {
            n += (size_t)written;
        } else if (errno != EINTR) {
            close(fd);
            fd = -1;
        }
    }
    return fd;
}

/* nvdisasm with its standard output in `to`; false where it does not start. */
static bool start_nvdisasm(int cubin, int to, pid_t *pid)
{
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", cubin);
    char *const args[] = {(char[]){"nvdisasm"}, (char[]){"-c"}, (char[]){"-hex"}, path, NULL};
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return false;
    bool fine =
        posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO) == 0 &&
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0 &&
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) == 0 &&
        posix_spawnp(pid, args[0], &actions, NULL, args, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return fine;
}

static bool read_all(int from, paro_buffer *out)
{
    char block[4096];
    ssize_t n;
    while ((n = read(from, block, sizeof block)) != 0) {
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0 && !paro_buffer_append(out, block, (size_t)n))
            return false;
    }
    return true;
}

/* False where nvdisasm is not there or does not like the file. */
static bool run_nvdisasm(const paro_binary *binary, paro_buffer *out)
{
    int ends[2] = {-1, -1};
    pid_t pid = 0;
    int state = 1;
    bool fine = false;
    int cubin = cubin_file(binary);
    if (cubin < 0 || pipe2(ends, O_CLOEXEC) != 0 || !start_nvdisasm(cubin, ends[1], &pid))
        goto done;
    close(ends[1]);
    ends[1] = -1;
    fine = read_all(ends[0], out);
    close(ends[0]); /* ends a writer whose reader gave up */
    ends[0] = -1;
    while (waitpid(pid, &state, 0) < 0 && errno == EINTR)
        ;
    fine = fine && WIFEXITED(state) && WEXITSTATUS(state) == 0 && out->n_bytes > 0;
done:
    for (size_t i = 0; i < 2; i++) {
        if (ends[i] >= 0)
            close(ends[i]);
    }
    if (cubin >= 0)
        close(cubin);
    return fine;
}

static unsigned long long word_at(const uint8_t *at)
{
    unsigned long long word = 0;
    for (size_t i = 8; i-- > 0;)
        word = word << 8 | at[i];
    return word;
}

static paro_status list_opcodes(paro_error *err, const paro_binary *binary, paro_buffer *out)
{
    paro_cubin *cubin = malloc(sizeof *cubin);
    if (cubin == NULL)
        return paro_fail_memory(err, sizeof *cubin, "a kernel's code");
    paro_status status = paro_cubin_read(err, binary->data, binary->n_bytes, cubin);
    bool fine = true;
    for (size_t k = 0; status == PARO_STATUS_OK && k < cubin->n_kernels; k++) {
        const paro_cubin_kernel *kernel = &cubin->kernels[k];
        size_t n = paro_cubin_n_used(kernel);
        fine = fine && paro_buffer_printf(out, "%s:\n", kernel->name);
        for (size_t i = 0; i < n && fine; i++) {
            const uint8_t *at = kernel->code + i * PARO_INSTRUCTION_BYTES;
            fine = paro_buffer_printf(out, "    %05zx  %-12s %016llx %016llx\n",
                                      i * PARO_INSTRUCTION_BYTES, paro_opcode_name(at, NULL),
                                      word_at(at + 8), word_at(at));
        }
    }
    if (!fine)
        status = paro_fail_memory(err, out->n_bytes, "a kernel's code");
    free(cubin);
    return status;
}

paro_status paro_disassemble(paro_error *err, const paro_binary *binary, paro_buffer *out)
{
    paro_buffer text = {0};
    paro_status status = PARO_STATUS_OK;
    if (binary->is_ptx) {
        if (!paro_buffer_append(&text, binary->data, strnlen(binary->data, binary->n_bytes)))
            status = paro_fail_memory(err, binary->n_bytes, "a kernel's code");
    } else if (!run_nvdisasm(binary, &text)) {
        paro_buffer_clear(&text);
        status = list_opcodes(err, binary, &text);
    }
    if (status == PARO_STATUS_OK && !paro_buffer_append(out, text.data, text.n_bytes))
        status = paro_fail_memory(err, text.n_bytes, "a kernel's code");
    paro_buffer_free(&text);
    return status;
}
