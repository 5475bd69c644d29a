/* SPDX-License-Identifier: MIT
 *
 * Walking over all sound rows of a table in their fixed order: of one file, or of both as one, the
 * user's hiding the system's.
 */
#ifndef PARO_CACHE_CURSOR_H
#define PARO_CACHE_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "cache/layer.h"

/* Which rows; any may be NULL. */
typedef struct paro_cache_select {
    const char *family;       /* winners, timings: of the problem; kernels */
    const char *problem;      /* winners, timings */
    const char *device_class; /* winners, timings */
    bool by_rowid;            /* order: for verifying, where indexes are not to be trusted */
} paro_cache_select;

typedef struct paro_cache_cursor {
    paro_cache_layer *layer; /* NULL: at the end */
    paro_cache_table_id table;
    const char *family; /* kernels */
    sqlite3_stmt *statement;
    paro_arena arena; /* of the row */
    bool has_row;
    paro_cache_row row;
    char hash[PARO_SHA256_HEX_BYTES];
    uint64_t n_damaged; /* passed by */
} paro_cache_cursor;

/* Opens before the first row; a layer without a db gives none. */
paro_status paro_cache_cursor_open(paro_error *err, paro_cache_layer *layer,
                                   paro_cache_table_id table, const paro_cache_select *select,
                                   paro_cache_cursor *out);
/* The next sound row: has_row. */
paro_status paro_cache_cursor_next(paro_error *err, paro_cache_cursor *cursor);
void paro_cache_cursor_close(paro_cache_cursor *cursor);

/* Calls fn with every row of both files until it returns false. */
typedef bool paro_cache_row_fn(void *context, const paro_cache_row *row);
paro_status paro_cache_each(paro_error *err, paro_cache *cache, paro_cache_table_id table,
                            const paro_cache_select *select, paro_cache_row_fn *fn, void *context);

#endif
