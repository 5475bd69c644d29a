/* SPDX-License-Identifier: MIT
 *
 * Timing a trial on a device, with what is there: CUPTI's kernel records (the time of a plan is its
 * last kernel's end less its first one's start), replays of a graph, events, and on the emulator
 * the host's clock. Every launch finds an L2 without its data: sets of arguments take turns, and
 * where all of them fit into the L2 together, a read of twice its size goes before. Samples taken
 * while the device was throttled, or its clock well below the highest seen, do not count.
 *
 * The read is the probe: the family `read` on data whose result is known. It proves that the device
 * works and measures its bandwidth.
 */
#ifndef PARO_TUNER_TIMER_H
#define PARO_TUNER_TIMER_H

#include "gpu/gpu.h"
#include "tuner/cupti.h"
#include "tuner/trial.h"
#include "tuner/tuner.h"

typedef struct paro_timer paro_timer;

/* The probe for a device: a problem of the family `read`, of more bytes than its L2 holds. */
paro_status paro_probe_variant(paro_error *err, const paro_device_info *info, const paro_arch *arch,
                               paro_problem *problem, paro_kernel_config *config);

/* cupti may be NULL; it and gpu outlive the timer. */
paro_status paro_timer_new(paro_error *err, paro_gpu *gpu, paro_cupti *cupti, paro_timer **out);
void paro_timer_free(paro_timer *timer);

/* "cupti", "graph", "events" or "host". */
const char *paro_timer_clock(const paro_timer *timer);

/* Other processes that compute on the device (NVML; 0 where unknown). */
uint32_t paro_timer_n_others(const paro_timer *timer);

/* Loads and runs the probe's code: its result is right, and *read_gbs what a large read moves a
 * second (1e9 bytes; 0 by the host's clock). Before it no launch is made cold but by taking turns.
 */
paro_status paro_timer_probe(paro_error *err, paro_timer *timer, const paro_gpu_image *image,
                             double *read_gbs);

/* Times a loaded, checked trial: fills in all but state, reason and error of a failed one. Where
 * not all samples are of a calm device (throttled, other processes), reason says so. */
paro_status paro_timer_run(paro_error *err, paro_timer *timer, paro_trial *trial,
                           uint32_t n_samples, paro_measurement *out);

#endif
