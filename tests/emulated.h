/* SPDX-License-Identifier: MIT
 *
 * An emulated device for tests of what runs on one. Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_EMULATED_H
#define PARO_TESTS_EMULATED_H

#include "emulator/emulator.h"
#include "tests/support.h"

static char *emulated_folder; /* of this program; gone when it ends */

static inline void emulated_remove_folder(void)
{
    paro_remove_tree(NULL, emulated_folder);
    free(emulated_folder);
}

/* Compiled kernels are kept for the program, or in $PARO_EMULATOR_FOLDER where that is set: they
 * then need to be compiled once only. */
static inline paro_gpu *emulated_gpu(paro_pool *pool, const char *arch)
{
    paro_error err;
    paro_gpu *gpu = NULL;
    paro_emulator_options options = {.folder = getenv("PARO_EMULATOR_FOLDER"),
                                     .seed = 7,
                                     .arch = paro_arch_find(arch),
                                     .pool = pool};
    if (options.folder == NULL && emulated_folder == NULL) {
        emulated_folder = test_dir_new();
        atexit(emulated_remove_folder);
    }
    if (options.folder == NULL)
        options.folder = emulated_folder;
    assert_ok(paro_gpu_open_emulator(&err, &options, &gpu));
    return gpu;
}

#endif
