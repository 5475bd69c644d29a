/* SPDX-License-Identifier: MIT
 *
 * safetensors, written: declared first, then filled one tensor at a time, so that a checkpoint
 * never stands in memory as a whole.
 *
 * Invariants: 1. names are unique; 2. tensors are written exactly once, in the order declared;
 * 3. the same declarations and data give the same bytes; 4. finish succeeds only when all is
 * written and synced: after a write that failed, nothing succeeds any more.
 */
#ifndef PARO_BASE_SAFETENSORS_WRITE_H
#define PARO_BASE_SAFETENSORS_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

typedef struct paro_shard_writer paro_shard_writer;

/* Writes into the existing folder `dir`: model.safetensors, or model-00001-of-0000N.safetensors and
 * model.safetensors.index.json where the data exceeds max_shard_bytes (0: 5e9). One tensor is
 * never split. */
paro_status paro_shard_writer_new(paro_error *err, const char *dir, uint64_t max_shard_bytes,
                                  paro_shard_writer **out);

/* Metadata of every shard; "format": "pt" is always there (transformers asks for it). */
paro_status paro_shard_writer_metadata(paro_error *err, paro_shard_writer *writer, const char *key,
                                       const char *value);

/* PARO_STATUS_INVALID_ARGUMENT for a name that is empty, not UTF-8, "__metadata__" or declared
 * already, an impossible dtype or shape, or after the first write. */
paro_status paro_shard_writer_declare(paro_error *err, paro_shard_writer *writer, const char *name,
                                      paro_dtype dtype, uint32_t rank, const uint64_t *shape);

/* The first call ends the declarations. `name` and `n_bytes` must be the next declared tensor's. */
paro_status paro_shard_writer_write(paro_error *err, paro_shard_writer *writer, const char *name,
                                    const void *data, size_t n_bytes);

/* Syncs, writes the index; *n_bytes of tensor data, *n_shards; either may be NULL. */
paro_status paro_shard_writer_finish(paro_error *err, paro_shard_writer *writer, uint64_t *n_bytes,
                                     uint32_t *n_shards);
void paro_shard_writer_free(paro_shard_writer *writer);

#endif
