/* SPDX-License-Identifier: MIT
 *
 * The files of a model folder that go along unchanged.
 */
#include "calib/carry.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stddef.h>
#include <string.h>

#include "base/file.h"

/* Wanted unless it is in the second list. */
static const char *const wanted[] = {"*.json", "*.jinja",  "*.txt",    "*.model", "*.tiktoken",
                                     "*.md",   "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*"};

/* What says how the source's weights are stored. */
static const char *const unwanted[] = {"config.json", "*.index.json", "quant_config.json",
                                       "quantize_config.json", ".*"};

static bool is_in(const char *const *patterns, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    }
    return false;
}

bool paro_carry_wants(const char *name)
{
    return is_in(wanted, sizeof wanted / sizeof wanted[0], name) &&
           !is_in(unwanted, sizeof unwanted / sizeof unwanted[0], name);
}

static paro_status carry_file(paro_error *err, const char *from_dir, const char *to_dir,
                              const char *name)
{
    paro_arena scratch = {0};
    paro_mapping mapping = {0};
    const char *from = paro_path_join(&scratch, from_dir, name);
    const char *to = paro_path_join(&scratch, to_dir, name);
    paro_status status = PARO_STATUS_OK;
    if (from == NULL || to == NULL)
        status = paro_fail_memory(err, strlen(from_dir) + strlen(name), "a path");
    /* A folder that has such a name is not what is meant. */
    else if (!paro_path_is_dir(from)) {
        status = paro_mapping_open(err, from, &mapping);
        if (status == PARO_STATUS_OK)
            status = paro_file_write(err, to, mapping.data, mapping.n_bytes);
    }
    paro_mapping_close(&mapping);
    paro_arena_release(&scratch);
    return status;
}

paro_status paro_carry_files(paro_error *err, const char *from_dir, const char *to_dir)
{
    DIR *dir = opendir(from_dir);
    if (dir == NULL)
        return paro_fail_errno(err, errno, "list", from_dir);
    paro_status status = PARO_STATUS_OK;
    while (status == PARO_STATUS_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            if (errno != 0)
                status = paro_fail_errno(err, errno, "list", from_dir);
            break;
        }
        if (paro_carry_wants(entry->d_name))
            status = carry_file(err, from_dir, to_dir, entry->d_name);
    }
    closedir(dir);
    return status;
}
