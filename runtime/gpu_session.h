/* SPDX-License-Identifier: MIT
 *
 * A session on a GPU.
 */
#ifndef PARO_RUNTIME_GPU_SESSION_H
#define PARO_RUNTIME_GPU_SESSION_H

#include "runtime/gpu_model.h"
#include "runtime/session.h"

paro_status paro_session_new_gpu(paro_error *err, paro_gpu_model *device, paro_session **out);

#endif
