/* SPDX-License-Identifier: MIT
 *
 * A variant on a device: arguments made, uploaded, launched, compared with the reference. The tests
 * of the families run on it (on the emulator), and the tuner's worker (there inputs are uploaded
 * once and used by many configs and launches).
 *
 * The parts in the order of use: new (inputs, the reference when first needed), config (arguments
 * whose size depends on the config), load (a module), check (once), sets and launch (to time).
 */
#ifndef PARO_TUNER_TRIAL_H
#define PARO_TUNER_TRIAL_H

#include "families/family.h"
#include "gpu/gpu.h"
#include "gpu/plan.h"

typedef struct paro_trial paro_trial;

/* `problem` is the bucket's; `m` tokens are run (1 .. the bucket's; 0: the bucket's). Data by
 * `seed`, made and checked on the pool's threads (NULL: one). gpu and pool outlive the trial. */
paro_status paro_trial_new(paro_error *err, paro_gpu *gpu, const paro_problem *problem, uint32_t m,
                           const paro_kernel_config *config, uint64_t seed, paro_pool *pool,
                           paro_trial **out);
void paro_trial_free(paro_trial *trial);

/* Whether the trial's data serve this config too: same layout, same sizes of all but scratch. */
bool paro_trial_fits(const paro_trial *trial, const paro_kernel_config *config);

/* Changes the config (which fits); the module of the one before is freed. */
paro_status paro_trial_set_config(paro_error *err, paro_trial *trial,
                                  const paro_kernel_config *config);

/* Loads the config's code and checks its parameters against the plan. */
paro_status paro_trial_load(paro_error *err, paro_trial *trial, const paro_gpu_image *image);

/* Computes the reference now, not in the first check. */
paro_status paro_trial_expect(paro_error *err, paro_trial *trial);

/* Poisons outputs, scratch and what lies behind every buffer, launches, waits, compares with the
 * reference. *error as in paro_case_check. PARO_STATUS_FORMAT says what was wrong: a value, or
 * bytes behind a buffer that a kernel wrote. */
paro_status paro_trial_check(paro_error *err, paro_trial *trial, double *error);

/* Copies of the arguments in device memory, for launches that find nothing of theirs in the L2: as
 * many as make all sets together n_bytes or more, 1 to `max`. At first there is one. */
paro_status paro_trial_make_sets(paro_error *err, paro_trial *trial, uint64_t n_bytes, size_t max);
size_t paro_trial_n_sets(const paro_trial *trial);
uint64_t paro_trial_set_bytes(const paro_trial *trial); /* of one set */

/* Launches the plan once with the n-th set (modulo their number). */
paro_status paro_trial_launch(paro_error *err, paro_trial *trial, paro_gpu_stream *stream,
                              size_t n);

/* The plan that is launched, and the n-th launch's function. */
const paro_launch_plan *paro_trial_plan(const paro_trial *trial);
const paro_gpu_function *paro_trial_function(const paro_trial *trial, size_t n);

/* All of the above once: one call for tests. */
paro_status paro_trial_run_once(paro_error *err, paro_gpu *gpu, const paro_problem *problem,
                                uint32_t m, const paro_kernel_config *config,
                                const paro_gpu_image *image, uint64_t seed, paro_pool *pool,
                                double *error);

#endif
