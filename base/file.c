/* SPDX-License-Identifier: MIT
 *
 * Files: mapped for reading, written whole. Folders that appear whole are in staging.c.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens a regular file for reading; *fd and *n_bytes on success. */
static paro_status open_regular(paro_error *err, const char *path, int *fd, size_t *n_bytes)
{
    /* Not blocking: opening a pipe nobody writes to must not hang. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return paro_fail_errno(err, errno, "open", path);
    struct stat info;
    if (fstat(file, &info) != 0) {
        int code = errno;
        close(file);
        return paro_fail_errno(err, code, "stat", path);
    }
    if (!S_ISREG(info.st_mode)) {
        close(file);
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s: expected a regular file, found %s",
                         path, S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    }
    *fd = file;
    *n_bytes = (size_t)info.st_size;
    return PARO_STATUS_OK;
}

paro_status paro_mapping_open(paro_error *err, const char *path, paro_mapping *out)
{
    int fd = -1;
    size_t n_bytes = 0;
    paro_status status = open_regular(err, path, &fd, &n_bytes);
    if (status != PARO_STATUS_OK)
        return status;
    if (n_bytes == 0) {
        close(fd);
        *out = (paro_mapping){(const unsigned char *)"", 0};
        return PARO_STATUS_OK;
    }
    void *data = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, fd, 0);
    int code = errno;
    close(fd);
    if (data == MAP_FAILED)
        return paro_fail_errno(err, code, "map", path);
    *out = (paro_mapping){data, n_bytes};
    return PARO_STATUS_OK;
}

void paro_mapping_close(paro_mapping *mapping)
{
    if (mapping == NULL)
        return;
    if (mapping->n_bytes > 0) {
        union {
            const unsigned char *in;
            void *out;
        } data = {.in = mapping->data};
        munmap(data.out, mapping->n_bytes);
    }
    *mapping = (paro_mapping){NULL, 0};
}

paro_status paro_file_read(paro_error *err, const char *path, size_t max_bytes, char **data,
                           size_t *n_bytes)
{
    int fd = -1;
    size_t n = 0;
    paro_status status = open_regular(err, path, &fd, &n);
    if (status != PARO_STATUS_OK)
        return status;
    char *text = NULL;
    if (n > max_bytes) {
        status = paro_fail(err, PARO_STATUS_LIMIT, "%s: expected at most %zu bytes, found %zu",
                           path, max_bytes, n);
        goto done;
    }
    text = malloc(n + 1);
    if (text == NULL) {
        status = paro_fail_memory(err, n + 1, path);
        goto done;
    }
    size_t filled = 0;
    while (filled < n) {
        ssize_t got = read(fd, text + filled, n - filled);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = paro_fail_errno(err, errno, "read", path);
            goto done;
        }
        if (got == 0)
            break; /* became shorter meanwhile */
        filled += (size_t)got;
    }
    text[filled] = 0;
    *data = text;
    *n_bytes = filled;
    text = NULL;
done:
    free(text);
    close(fd);
    return status;
}

paro_status paro_sync_parent(paro_error *err, const char *path)
{
    const char *base = paro_path_base(path);
    char *dir = base == path ? strdup(".") : strndup(path, (size_t)(base - path));
    if (dir == NULL)
        return paro_fail_memory(err, strlen(path), "a path");
    paro_status status = PARO_STATUS_OK;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EINVAL: a file system whose folders cannot be synced. */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        status = paro_fail_errno(err, errno, "sync", dir);
    if (fd >= 0)
        close(fd);
    free(dir);
    return status;
}

/* Creates a new file beside `path` and keeps its name in the arena; -1 and errno on failure. (Not
 * mkostemp: its files are 0600, and asking for the umask would change it for other threads.) */
static int create_beside(paro_arena *arena, const char *path, char **name)
{
    for (unsigned i = 0; i < 1000; i++) {
        *name = paro_arena_printf(arena, "%s.%ld-%u.tmp", path, (long)getpid(), i);
        if (*name == NULL) {
            errno = ENOMEM;
            return -1;
        }
        int fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

paro_status paro_file_write(paro_error *err, const char *path, const void *data, size_t n_bytes)
{
    paro_arena arena = {0};
    paro_status status = PARO_STATUS_OK;
    char *temporary = NULL;
    int fd = create_beside(&arena, path, &temporary);
    if (fd < 0) {
        status = paro_fail_errno(err, errno, "create a temporary file for", path);
        goto done;
    }
    const char *bytes = data;
    for (size_t written = 0; written < n_bytes;) {
        ssize_t n = write(fd, bytes + written, n_bytes - written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = paro_fail_errno(err, errno, "write", path);
            goto done;
        }
        written += (size_t)n;
    }
    if (fsync(fd) != 0) {
        status = paro_fail_errno(err, errno, "sync", path);
        goto done;
    }
    if (rename(temporary, path) != 0) {
        status = paro_fail_errno(err, errno, "replace", path);
        goto done;
    }
    temporary = NULL;
    status = paro_sync_parent(err, path);
    if (status != PARO_STATUS_OK)
        status = paro_fail_in(err, status, "%s is written, but", path);
done:
    if (fd >= 0) {
        close(fd);
        if (temporary != NULL)
            unlink(temporary);
    }
    paro_arena_release(&arena);
    return status;
}

bool paro_path_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool paro_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *paro_path_join(paro_arena *arena, const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return paro_arena_printf(arena, n > 0 && dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}

const char *paro_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}
