/* SPDX-License-Identifier: MIT
 *
 * An emulated device for tests of what runs on one. Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_EMULATED_H
#define PARO_TESTS_EMULATED_H

#include "emulator/emulator.h"
#include "tests/support.h"

/* Compiled kernels are kept in $PARO_EMULATOR_FOLDER where that is set: they then need to be
 * compiled once only. */
static inline paro_gpu *emulated_gpu(paro_pool *pool)
{
    paro_error err;
    paro_gpu *gpu = NULL;
    const paro_emulator_options options = {
        .folder = getenv("PARO_EMULATOR_FOLDER"), .seed = 7, .pool = pool};
    assert_ok(paro_gpu_open_emulator(&err, &options, &gpu));
    return gpu;
}

#endif
