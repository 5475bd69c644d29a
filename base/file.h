/* SPDX-License-Identifier: MIT
 *
 * Files: mapped for reading; written under a temporary name, synced, then renamed.
 */
#ifndef PARO_BASE_FILE_H
#define PARO_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

/* A file mapped read-only. Empty files give data != NULL and n_bytes 0. */
typedef struct paro_mapping {
    const unsigned char *data;
    size_t n_bytes;
} paro_mapping;

/* Regular files only (a folder, a device, a pipe is PARO_STATUS_INVALID_ARGUMENT). */
paro_status paro_mapping_open(paro_error *err, const char *path, paro_mapping *out);
void paro_mapping_close(paro_mapping *mapping); /* NULL and zeroed are fine */

/* The whole file with a zero after it, malloc'd. A file over max_bytes is PARO_STATUS_LIMIT. */
paro_status paro_file_read(paro_error *err, const char *path, size_t max_bytes, char **data,
                           size_t *n_bytes);

/* Writes all of it to `path` through a temporary file beside it: write, fsync, rename, fsync of the
 * folder. On failure `path` is as it was, unless only the folder could not be synced: the message
 * then says so. */
paro_status paro_file_write(paro_error *err, const char *path, const void *data, size_t n_bytes);

/* fsync of the folder that holds `path`, so that a rename in it lasts. */
paro_status paro_sync_parent(paro_error *err, const char *path);

bool paro_path_exists(const char *path);
bool paro_path_is_dir(const char *path);

/* "dir/name" in the arena; NULL when out of memory. */
char *paro_path_join(paro_arena *arena, const char *dir, const char *name);

/* The part after the last '/', or the whole; trailing slashes are not looked through. */
const char *paro_path_base(const char *path);

/* A folder that appears whole or not at all.
 *
 * Invariants: 1. whoever makes, renames or removes the names below holds the lock on the file
 * "TARGET.paro-lock" beside the target; 2. everything is written into `temporary`, the folder
 * "TARGET.paro-partial"; 3. `target` changes only in one rename of commit (where the file system
 * can neither exchange names nor refuse to replace one, as NFS: in two, the old target standing
 * aside as "TARGET.paro-old" between them); 4. what a dead run left, begin clears up: a target that
 * stands aside goes back, a partial folder goes. */
typedef struct paro_staging {
    char *target;    /* as given, without trailing slashes; where that is a link, what it means */
    char *temporary; /* where to write meanwhile */
    char *lock;
    int lock_fd;
    bool overwrite;
} paro_staging;

/* PARO_STATUS_EXISTS where target exists (and overwrite is false), where it is not a folder, or
 * where another live process is writing the same target. Parents are created. */
paro_status paro_staging_begin(paro_error *err, const char *target, bool overwrite,
                               paro_staging *out);

/* Syncs every file and folder below temporary, then renames it to target; an old target that may be
 * overwritten is exchanged in the same step and then removed. Frees the staging once target is in
 * place, also where syncing or clearing up after that failed: the message then says so. */
paro_status paro_staging_commit(paro_error *err, paro_staging *staging);

/* Removes temporary and frees; for failures. Zeroed or committed stagings are fine. */
void paro_staging_abort(paro_staging *staging);

/* Removes a folder and all in it; symbolic links are removed, never followed. */
paro_status paro_remove_tree(paro_error *err, const char *path);

#endif
