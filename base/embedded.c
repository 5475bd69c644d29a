/* SPDX-License-Identifier: MIT
 *
 * Finding a file that is built into the library.
 */
#include "base/embedded.h"

#include <string.h>

const paro_embedded_file *paro_embedded_get(const char *folder, size_t n)
{
    const size_t n_folder = strlen(folder);
    for (size_t i = 0; i < paro_n_embedded_files; i++)
        if (strncmp(paro_embedded_files[i].path, folder, n_folder) == 0 && n-- == 0)
            return &paro_embedded_files[i];
    return NULL;
}

const paro_embedded_file *paro_embedded_find(const char *path)
{
    for (size_t i = 0; i < paro_n_embedded_files; i++)
        if (strcmp(paro_embedded_files[i].path, path) == 0)
            return &paro_embedded_files[i];
    return NULL;
}
