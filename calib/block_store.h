/* SPDX-License-Identifier: MIT
 *
 * Finished blocks: kept in a folder, one that appears whole for every block, or in memory.
 *
 * The folder:
 *     job.json                        what the blocks are of: see paro_block_store_open
 *     block-00000/model.safetensors   of each quantised linear "P": "P.codes" U8 [n_out, n_in],
 *                                     "P.zeros" U8 and "P.scales" F32 [n_out, n_in / group_size],
 *                                     "P.weight_channel_scales" F32 [n_in], and where krot > 0
 *                                     "P.pairs" I16 [krot, n_in], "P.theta" F32 [krot, n_in / 2];
 *                                     metadata "paro.summary": a line for people
 *
 * Invariants: 1. a block's folder is there whole or not at all; 2. blocks were put in order, and
 * all for the same job; 3. while the store is open no other process can open the folder.
 */
#ifndef PARO_CALIB_BLOCK_STORE_H
#define PARO_CALIB_BLOCK_STORE_H

#include "base/hash.h"
#include "calib/train_linear.h"

typedef struct paro_block_store paro_block_store;

/* `dir` NULL: in memory. `job` is the SHA-256 of all that decides the result, `about` a line for
 * people. A folder that is there already must be of the same job: PARO_STATUS_EXISTS otherwise,
 * saying how to go on. Parents are made. */
paro_status paro_block_store_open(paro_error *err, const char *dir, uint32_t n_layers,
                                  const char job[PARO_SHA256_HEX_BYTES], const char *about,
                                  paro_block_store **out);
void paro_block_store_free(paro_block_store *store);

/* Blocks that are finished: 0 .. this - 1. */
uint32_t paro_block_store_count(const paro_block_store *store);

/* The next block: its linears that are not kept, all rounded. */
paro_status paro_block_store_put(paro_error *err, paro_block_store *store,
                                 const paro_train_linear *linears, size_t n_linears,
                                 const char *summary);

/* A linear of a finished block: `out` has name, sizes, bits and group_size filled in and no memory;
 * it gets what was put (w stays NULL; krot as it was put), rounded. PARO_STATUS_FORMAT where the
 * file does not hold that. */
paro_status paro_block_store_get(paro_error *err, const paro_block_store *store, uint32_t layer,
                                 paro_train_linear *out);

/* What was said of a finished block. */
const char *paro_block_store_summary(const paro_block_store *store, uint32_t layer);

/* Removes the folder and all in it; the store is then empty. */
paro_status paro_block_store_remove(paro_error *err, paro_block_store *store);

#endif
