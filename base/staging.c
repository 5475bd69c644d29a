/* SPDX-License-Identifier: MIT
 *
 * Folders that appear whole or not at all. Invariants in file.h, at paro_staging.
 *
 *     (nothing) --begin--> TARGET.paro-lock, locked, and TARGET.paro-partial --commit--> TARGET
 *                                 |  \--abort--> (nothing)
 *                                 \--the process dies--> unlocked; the next begin clears up
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTIAL_SUFFIX ".paro-partial"
#define LOCK_SUFFIX    ".paro-lock"
#define OLD_SUFFIX     ".paro-old"

/* What is done to each entry of a tree; folders after what they hold. */
typedef paro_status visit_fn(paro_error *err, int dir_fd, const char *name, bool is_dir);

static paro_status walk(paro_error *err, int parent_fd, const char *name, visit_fn *visit)
{
    paro_status status = PARO_STATUS_OK;
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return paro_fail_errno(err, errno, "open the folder", name);
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        status = paro_fail_errno(err, errno, "list", name);
        close(fd);
        return status;
    }
    while (status == PARO_STATUS_OK) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            if (errno != 0)
                status = paro_fail_errno(err, errno, "list", name);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        struct stat info;
        if (fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            status = paro_fail_errno(err, errno, "stat", entry->d_name);
        else if (S_ISDIR(info.st_mode))
            status = walk(err, fd, entry->d_name, visit);
        else
            status = visit(err, fd, entry->d_name, false);
    }
    closedir(dir);
    return status == PARO_STATUS_OK ? visit(err, parent_fd, name, true) : status;
}

static paro_status visit_remove(paro_error *err, int dir_fd, const char *name, bool is_dir)
{
    if (unlinkat(dir_fd, name, is_dir ? AT_REMOVEDIR : 0) != 0)
        return paro_fail_errno(err, errno, "remove", name);
    return PARO_STATUS_OK;
}

static paro_status visit_sync(paro_error *err, int dir_fd, const char *name, bool is_dir)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | (is_dir ? O_DIRECTORY : 0));
    if (fd < 0)
        return paro_fail_errno(err, errno, "open", name);
    int code = fsync(fd) != 0 ? errno : 0;
    close(fd);
    return code == 0 ? PARO_STATUS_OK : paro_fail_errno(err, code, "sync", name);
}

paro_status paro_remove_tree(paro_error *err, const char *path)
{
    paro_status status = walk(err, AT_FDCWD, path, visit_remove);
    return status == PARO_STATUS_OK ? status : paro_fail_in(err, status, "%s", path);
}

/* mkdir -p of the folders above `path`. */
static paro_status make_parents(paro_error *err, const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return paro_fail_memory(err, strlen(path), "a path");
    paro_status status = PARO_STATUS_OK;
    for (char *s = copy + 1; *copy != 0 && status == PARO_STATUS_OK; s++) {
        s = strchr(s, '/');
        if (s == NULL)
            break;
        *s = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST)
            status = paro_fail_errno(err, errno, "create the folder", copy);
        *s = '/';
    }
    free(copy);
    return status;
}

/* The two texts put together; NULL when out of memory. */
static char *concat(const char *a, const char *b)
{
    char *text = malloc(strlen(a) + strlen(b) + 1);
    return text == NULL ? NULL : strcat(strcpy(text, a), b);
}

/* Opens and locks the file at `path`, which a writer unlinks when it is done: the lock counts only
 * while the locked file is still the one of that name. */
static paro_status take_lock(paro_error *err, const char *path, const char *target, int *lock_fd)
{
    for (;;) {
        struct stat mine, there;
        int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0)
            return paro_fail_errno(err, errno, "create the lock", path);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int code = errno;
            close(fd);
            if (code != EWOULDBLOCK)
                return paro_fail_errno(err, code, "lock", path);
            return paro_fail(err, PARO_STATUS_EXISTS,
                             "%s: another process is writing there now; wait for it, or choose "
                             "another name",
                             target);
        }
        if (fstat(fd, &mine) == 0 && lstat(path, &there) == 0 && mine.st_ino == there.st_ino &&
            mine.st_dev == there.st_dev) {
            *lock_fd = fd;
            return PARO_STATUS_OK;
        }
        close(fd);
    }
}

/* Removes whatever stands at `path`; a link is removed, never followed. */
static paro_status remove_any(paro_error *err, const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? PARO_STATUS_OK : paro_fail_errno(err, errno, "stat", path);
    if (S_ISDIR(info.st_mode))
        return paro_remove_tree(err, path);
    return unlink(path) == 0 ? PARO_STATUS_OK : paro_fail_errno(err, errno, "remove", path);
}

/* What a dead run left, seen under the lock: a target it had put aside goes back, the rest goes. */
static paro_status recover(paro_error *err, const paro_staging *staging)
{
    char *aside = concat(staging->target, OLD_SUFFIX);
    if (aside == NULL)
        return paro_fail_memory(err, strlen(staging->target) + sizeof OLD_SUFFIX, "a path");
    paro_status status = PARO_STATUS_OK;
    if (paro_path_exists(staging->target) || !paro_path_exists(aside))
        status = remove_any(err, aside);
    else if (rename(aside, staging->target) != 0)
        status = paro_fail_errno(err, errno, "restore", staging->target);
    if (status == PARO_STATUS_OK)
        status = remove_any(err, staging->temporary);
    free(aside);
    return status;
}

static void staging_release(paro_staging *staging)
{
    if (staging->lock_fd >= 0) {
        unlink(staging->lock); /* still locked: whoever waits for it looks at the name again */
        close(staging->lock_fd);
    }
    free(staging->target);
    free(staging->temporary);
    free(staging->lock);
    *staging = (paro_staging){.lock_fd = -1};
}

/* Fills target, temporary and lock from what the user wrote; a link to a folder stands for it. */
static paro_status name_paths(paro_error *err, const char *target, paro_staging *staging)
{
    size_t n = strlen(target);
    while (n > 1 && target[n - 1] == '/')
        n--;
    const char *last = target + n;
    while (last > target && last[-1] != '/')
        last--;
    size_t n_last = (size_t)(target + n - last);
    if (n_last == 0 || (n_last == 1 && *last == '.') ||
        (n_last == 2 && strncmp(last, "..", 2) == 0))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "\"%s\": expected the name of a folder to create", target);
    staging->target = strndup(target, n);
    struct stat info;
    if (staging->target != NULL && lstat(staging->target, &info) == 0 && S_ISLNK(info.st_mode)) {
        char *real = realpath(staging->target, NULL);
        if (real == NULL)
            return paro_fail_errno(err, errno, "follow the link", staging->target);
        free(staging->target);
        staging->target = real;
    }
    if (staging->target != NULL) {
        staging->temporary = concat(staging->target, PARTIAL_SUFFIX);
        staging->lock = concat(staging->target, LOCK_SUFFIX);
    }
    if (staging->temporary == NULL || staging->lock == NULL)
        return paro_fail_memory(err, n + sizeof PARTIAL_SUFFIX, "a path");
    return PARO_STATUS_OK;
}

static paro_status check_target(paro_error *err, const paro_staging *staging)
{
    if (!paro_path_exists(staging->target))
        return PARO_STATUS_OK;
    if (!paro_path_is_dir(staging->target))
        return paro_fail(err, PARO_STATUS_EXISTS, "%s: exists and is not a folder",
                         staging->target);
    if (!staging->overwrite)
        return paro_fail(err, PARO_STATUS_EXISTS,
                         "%s: exists already; remove it, choose another name, or ask to overwrite",
                         staging->target);
    return PARO_STATUS_OK;
}

paro_status paro_staging_begin(paro_error *err, const char *target, bool overwrite,
                               paro_staging *out)
{
    paro_staging staging = {.lock_fd = -1, .overwrite = overwrite};
    paro_status status = name_paths(err, target, &staging);
    if (status == PARO_STATUS_OK)
        status = check_target(err, &staging);
    if (status == PARO_STATUS_OK)
        status = make_parents(err, staging.target);
    if (status == PARO_STATUS_OK)
        status = take_lock(err, staging.lock, staging.target, &staging.lock_fd);
    if (status == PARO_STATUS_OK)
        status = recover(err, &staging);
    if (status == PARO_STATUS_OK) /* again: now nobody else who locks can change it */
        status = check_target(err, &staging);
    if (status == PARO_STATUS_OK && mkdir(staging.temporary, 0777) != 0)
        status = paro_fail_errno(err, errno, "create the folder", staging.temporary);
    if (status == PARO_STATUS_OK) {
        *out = staging;
        return status;
    }
    staging_release(&staging);
    return status;
}

/* Renames temporary to target, which must not be there; or exchanges the two, and *exchanged, where
 * it is and may be overwritten. File systems that know neither (NFS) get plain renames: then an old
 * target is away for a moment. */
static int move_to_target(const paro_staging *staging, bool *exchanged)
{
    const char *from = staging->temporary, *to = staging->target;
    *exchanged = false;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST && staging->overwrite) {
        *exchanged = true;
        if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0)
            return 0;
    }
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    *exchanged = paro_path_exists(to);
    if (!*exchanged)
        return rename(from, to);
    if (!staging->overwrite) {
        errno = EEXIST;
        return -1;
    }
    char *aside = concat(to, OLD_SUFFIX);
    if (aside == NULL) {
        errno = ENOMEM;
        return -1;
    }
    int rc = rename(to, aside);
    if (rc == 0 && rename(from, to) != 0) {
        int code = errno;
        rc = -1;
        if (rename(aside, to) != 0)
            code = errno;
        errno = code;
    } else if (rc == 0) {
        rc = rename(aside, from); /* as after an exchange */
    }
    free(aside);
    return rc;
}

paro_status paro_staging_commit(paro_error *err, paro_staging *staging)
{
    bool exchanged = false;
    paro_status status = walk(err, AT_FDCWD, staging->temporary, visit_sync);
    if (status == PARO_STATUS_OK && move_to_target(staging, &exchanged) != 0)
        status = paro_fail_errno(err, errno, "move the finished folder to", staging->target);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_sync_parent(err, staging->target);
    if (status == PARO_STATUS_OK && exchanged) /* temporary now holds the old one */
        status = paro_remove_tree(err, staging->temporary);
    if (status != PARO_STATUS_OK)
        status = paro_fail_in(err, status, "%s is complete and in place, but", staging->target);
    staging_release(staging);
    return status;
}

void paro_staging_abort(paro_staging *staging)
{
    if (staging == NULL)
        return;
    /* Nothing more can be done where removing fails: the next begin tries again. */
    if (staging->temporary != NULL)
        (void)paro_remove_tree(NULL, staging->temporary);
    if (staging->temporary != NULL || staging->target != NULL)
        staging_release(staging);
}
