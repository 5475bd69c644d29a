/* SPDX-License-Identifier: MIT
 *
 * Activations of many samples.
 */
#include "calib/activations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"

/* A new file of n_bytes without a name, mapped. */
static paro_status map_file(paro_error *err, const char *dir, size_t n_bytes, float **out)
{
    paro_arena scratch = {0};
    paro_status status = PARO_STATUS_OK;
    int fd = -1;
    char *path = paro_path_join(&scratch, dir, "activations-XXXXXX");
    if (path == NULL) {
        status = paro_fail_memory(err, 64, "a path");
        goto done;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        status = paro_fail_errno(err, errno, "create", path);
        goto done;
    }
    unlink(path);
    /* Room is taken now: a disk that fills up later would kill the process in the middle. */
    const int failed = posix_fallocate(fd, 0, (off_t)n_bytes);
    if (failed != 0) {
        status = paro_fail_errno(err, failed, "make room for activations in", path);
        goto done;
    }
    void *data = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        status = paro_fail_errno(err, errno, "map", path);
        goto done;
    }
    *out = data;

done:
    if (fd >= 0)
        close(fd);
    paro_arena_release(&scratch);
    return status;
}

paro_status paro_activations_alloc(paro_error *err, const char *spill_dir, uint64_t memory_bytes,
                                   paro_activations *out)
{
    size_t n_rows = 0, n_values = 0, n_bytes = 0;
    if (__builtin_mul_overflow(out->n_samples, out->n_tokens, &n_rows) ||
        __builtin_mul_overflow(n_rows, out->hidden, &n_values) ||
        __builtin_mul_overflow(n_values, sizeof(float), &n_bytes) || n_bytes > PTRDIFF_MAX)
        return paro_fail_memory(err, SIZE_MAX, "activations");
    n_bytes = n_bytes > 0 ? n_bytes : sizeof(float);
    if (spill_dir != NULL && n_bytes > memory_bytes) {
        paro_status status = map_file(err, spill_dir, n_bytes, &out->data);
        if (status == PARO_STATUS_OK)
            out->n_mapped_bytes = n_bytes;
        return status;
    }
    float *data = malloc(n_bytes);
    if (data == NULL)
        return paro_fail_memory(err, n_bytes, "activations");
    out->data = data;
    out->n_mapped_bytes = 0;
    return PARO_STATUS_OK;
}

void paro_activations_release(paro_activations *activations)
{
    if (activations == NULL)
        return;
    if (activations->n_mapped_bytes > 0)
        munmap(activations->data, activations->n_mapped_bytes);
    else
        free(activations->data);
    activations->data = NULL;
    activations->n_mapped_bytes = 0;
}
