/* SPDX-License-Identifier: MIT
 *
 * The option --device, of every command that runs models.
 */
#ifndef PARO_CLI_DEVICE_H
#define PARO_CLI_DEVICE_H

#include <paro/model.h>

#include "cli/console.h"

#define PARO_DEVICE_ARGUMENT "DEVICE"
#define PARO_DEVICE_HELP                                                                           \
    "where the model runs: cpu; cuda:N, or cuda for the first; or auto: the first GPU where "      \
    "there "                                                                                       \
    "is one, a driver for it and kernels (in the cache, or NVRTC to compile them), else the CPU; " \
    "or emulator: a GPU's kernels on the CPU, slowly. The default is $PARO_DEVICE, else auto"

/* Options for a model on a device (NULL: the environment's, else auto; its name belongs to argv);
 * the console must not move. */
paro_model_options paro_console_model_options(paro_console *console, const char *device);

#endif
