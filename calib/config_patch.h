/* SPDX-License-Identifier: MIT
 *
 * The source model's config.json, changed in two members and otherwise kept to the byte.
 */
#ifndef PARO_CALIB_CONFIG_PATCH_H
#define PARO_CALIB_CONFIG_PATCH_H

#include "base/buffer.h"
#include "base/json.h"

/* Appends to `out` the object in `text` with quantization_config replaced (removed where
 * `quantization` is NULL, added at the end where it was not there) and "dtype" and "torch_dtype",
 * whichever are there, "float16" ("torch_dtype" is added where neither is). Other members keep
 * their order and spelling. `where` names the text in errors. */
paro_status paro_config_patch(paro_error *err, const char *where, const char *text, size_t n_bytes,
                              const json_t *quantization, paro_buffer *out);

#endif
