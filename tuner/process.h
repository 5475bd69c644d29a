/* SPDX-License-Identifier: MIT
 *
 * The tuner's side of its worker process: starting it, asking, noticing that it crashed, hung or
 * answers nonsense, and starting the next, which first proves that the device still works.
 */
#ifndef PARO_TUNER_PROCESS_H
#define PARO_TUNER_PROCESS_H

#include "gpu/gpu.h"
#include "tuner/tuner.h"

typedef struct paro_process paro_process;

typedef struct paro_process_options {
    const char *program;          /* the worker; it calls paro_tune_worker(0, 1) */
    const char *const *arguments; /* NULL-terminated, without the program's name; may be NULL */
    int device;                   /* ordinal; -1: the emulator */
    double open_seconds;          /* 0: 60 */
    double prepare_seconds;       /* 0: 600 */
    double measure_seconds;       /* 0: 20 */
    const paro_observer *observer;
} paro_process_options;

/* What an open worker told. */
typedef struct paro_process_info {
    paro_device_info device;
    char driver[64];
    char clock[PARO_CLOCK_NAME_BYTES];
    uint32_t n_others; /* other processes that compute on the device */
    double read_gbs;   /* 0 before the probe */
} paro_process_info;

/* Strings of options are referenced. Starts a worker that opens the device. */
paro_status paro_process_new(paro_error *err, const paro_process_options *options,
                             paro_process **out);
void paro_process_free(paro_process *process);
const paro_process_info *paro_process_get_info(const paro_process *process);
/* Whether there is a worker: not where the last one died and no other could be started. */
bool paro_process_is_alive(const paro_process *process);
uint32_t paro_process_n_lost(const paro_process *process);

/* The probe's code (referenced): run now, and by every later worker before anything else. */
paro_status paro_process_probe(paro_error *err, paro_process *process, const paro_gpu_image *image);

/* What is to be measured; n_samples 0: verify only. */
typedef struct paro_process_request {
    const char *problem; /* canonical */
    const char *config;
    uint32_t m; /* tokens to run */
    uint64_t seed;
    uint32_t n_samples;
    bool verify;
    paro_gpu_image image;
} paro_process_request;

/* Inputs and reference of a problem, made once. A worker that dies of it fails the request, and the
 * next one is started. */
paro_status paro_process_prepare(paro_error *err, paro_process *process,
                                 const paro_process_request *request);

/* Called between a request and its answer: time to store things. May be NULL. */
typedef void paro_process_meanwhile_fn(void *context);

/* A worker that dies or is killed for taking too long is a measurement, CRASHED or HUNG, and the
 * next one is started (where none can be, the next request fails). Fails where there is no worker,
 * or where it could not do what it was asked. */
paro_status paro_process_measure(paro_error *err, paro_process *process,
                                 const paro_process_request *request,
                                 paro_process_meanwhile_fn *meanwhile, void *context,
                                 paro_measurement *out);

#endif
