/* SPDX-License-Identifier: MIT
 *
 * Which device a model's sessions run on: what paro_model_options names, opened.
 */
#ifndef PARO_RUNTIME_DEVICE_H
#define PARO_RUNTIME_DEVICE_H

#include <paro/model.h>

#include "gpu/gpu.h"
#include "runtime/gpu_model.h"

typedef enum paro_device_kind {
    PARO_DEVICE_KIND_CPU,
    PARO_DEVICE_KIND_CUDA,
    PARO_DEVICE_KIND_AUTO,    /* CUDA device 0 where that works, else the CPU */
    PARO_DEVICE_KIND_EMULATOR /* for development */
} paro_device_kind;

typedef struct paro_device_choice {
    paro_device_kind kind;
    int ordinal;        /* CUDA */
    const char *folder; /* EMULATOR: where compiled kernels are kept; NULL: nowhere. In `text` */
} paro_device_choice;

/* "cpu", "cuda", "cuda:N", "auto", "emulator", "emulator:FOLDER"; NULL: cpu. INVALID_ARGUMENT lists
 * them. */
paro_status paro_device_parse(paro_error *err, const char *text, paro_device_choice *out);

/* The model on the device of options->device; *out is NULL where that is the CPU. For auto, a
 * device that is not there or cannot be used is no error; the log says why. */
paro_status paro_device_open(paro_error *err, const paro_model *model,
                             const paro_model_options *options, paro_gpu_model **out);

#endif
