/* SPDX-License-Identifier: MIT
 *
 * The rows of a cache: which columns, how they are hashed, bound and read. The tables here are the
 * one description of the schema; CREATE statements, hashes and structs follow from them.
 *
 * A row's hash is the SHA-256 of
 *
 *     "paro cache row" 0  schema version  table's name  value of column 1 … n (row_hash left out)
 *
 * where the version and every length are 8 bytes, little-endian, and a text, a blob or a name is
 * preceded by a letter (t, b) and its length, a number (8 bytes; IEEE bits of a real) by its letter
 * (i, r): no two different rows give the same bytes.
 */
#ifndef PARO_CACHE_ROWS_H
#define PARO_CACHE_ROWS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "cache/cache.h"

enum {
    PARO_CACHE_SCHEMA = 2,                  /* PRAGMA user_version */
    PARO_CACHE_APPLICATION_ID = 0x5041524F, /* PRAGMA application_id: "PARO" */
    PARO_CACHE_MAX_BINARY_BYTES = 32 << 20, /* of a kernel */
    PARO_CACHE_MAX_ROW_BYTES = (32 << 20) + (1 << 20),
    PARO_CACHE_MAX_FIELDS = 24
};

typedef enum paro_cache_kind {
    PARO_CACHE_KIND_TEXT,   /* const char * */
    PARO_CACHE_KIND_HEX,    /* char[65]: 64 digits, or (where not `needed`) empty */
    PARO_CACHE_KIND_REAL,   /* double, finite */
    PARO_CACHE_KIND_UINT32, /* uint32_t */
    PARO_CACHE_KIND_INT64,  /* int64_t */
    PARO_CACHE_KIND_BOOL,   /* bool */
    PARO_CACHE_KIND_BLOB    /* const void *, its length at n_bytes_offset */
} paro_cache_kind;

typedef struct paro_cache_field {
    const char *name;
    paro_cache_kind kind;
    size_t offset;
    size_t n_bytes_offset; /* BLOB */
    size_t max_bytes;      /* TEXT, BLOB */
    bool needed;           /* TEXT, HEX, BLOB: not empty */
    uint32_t since;        /* schema version; older rows read as 0 */
} paro_cache_field;

typedef struct paro_cache_index {
    const char *name; /* NULL ends the list */
    const char *columns;
    bool is_unique;
    uint32_t since;
} paro_cache_index;

typedef struct paro_cache_table {
    const char *name;
    const char *noun; /* of one row, for messages */
    const paro_cache_field *fields;
    size_t n_fields;
    const paro_cache_index *indexes;
    const char *order; /* ORDER BY of iteration; text columns compare as bytes */
    size_t row_bytes;  /* of the struct */
} paro_cache_table;

typedef enum paro_cache_table_id {
    PARO_CACHE_WINNERS,
    PARO_CACHE_KERNELS,
    PARO_CACHE_TIMINGS,
    PARO_CACHE_TABLE_COUNT
} paro_cache_table_id;
extern const paro_cache_table paro_cache_tables[PARO_CACHE_TABLE_COUNT];

/* Any row; large enough for each. */
typedef union paro_cache_row {
    paro_cache_winner winner;
    paro_cache_kernel kernel;
    paro_cache_timing timing;
} paro_cache_row;

/* The statement that makes the table, or its i-th index (false past the last), under schema
 * `version`; the text is what sqlite_schema then holds. False when out of memory, too: then
 * *no_memory. */
bool paro_cache_sql_table(const paro_cache_table *table, uint32_t version, paro_buffer *out);
bool paro_cache_sql_index(const paro_cache_table *table, const paro_cache_index *index,
                          paro_buffer *out);

/* "rowid,row_hash,problem,…" of schema `version`: what paro_cache_row_read expects. */
bool paro_cache_sql_columns(const paro_cache_table *table, uint32_t version, paro_buffer *out);

/* PARO_STATUS_INVALID_ARGUMENT where a value may not be stored. NULL texts count as "". */
paro_status paro_cache_row_check(paro_error *err, const paro_cache_table *table, const void *row);

/* False when out of memory. `scratch` is cleared and used. */
bool paro_cache_row_hash(const paro_cache_table *table, uint32_t version, const void *row,
                         paro_buffer *scratch, char out[PARO_SHA256_HEX_BYTES]);

/* Binds the hash to parameter 1 and the fields of today's schema to 2, 3, …; the row must stay
 * until the statement is reset. An SQLite code. */
int paro_cache_row_bind(sqlite3_stmt *statement, const paro_cache_table *table, const void *row,
                        const char *hash);

typedef enum paro_cache_read {
    PARO_CACHE_READ_SOUND,
    PARO_CACHE_READ_DAMAGED, /* wrong types, lengths or hash */
    PARO_CACHE_READ_NO_MEMORY
} paro_cache_read;

/* The statement's row, in the arena; checked against its hash. *row and hash (may be NULL) only
 * where SOUND. */
paro_cache_read paro_cache_row_read(sqlite3_stmt *statement, const paro_cache_table *table,
                                    uint32_t version, paro_arena *arena, paro_buffer *scratch,
                                    paro_cache_row *row, char hash[PARO_SHA256_HEX_BYTES]);

#endif
