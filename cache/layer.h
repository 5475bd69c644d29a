/* SPDX-License-Identifier: MIT
 *
 * One SQLite file of a cache: opened defensively, its schema checked, its statements prepared once.
 *
 * Invariants of a paro_cache: 1. rows leave a layer only after their hash was checked, and only
 * where they are what was asked for; 2. a layer whose db is NULL is empty and refuses puts, and
 * `refusal` says why; 3. a writing transaction is BEGIN IMMEDIATE: it never waits for a lock while
 * it holds one, so that no two processes block each other.
 */
#ifndef PARO_CACHE_LAYER_H
#define PARO_CACHE_LAYER_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "cache/cache.h"
#include "cache/rows.h"

typedef enum paro_cache_mode {
    PARO_CACHE_MODE_WRITE,     /* made or migrated where need be */
    PARO_CACHE_MODE_READ,      /* nothing is changed (but a dead writer's journal rolled back) */
    PARO_CACHE_MODE_IMMUTABLE, /* no locks: nobody writes there */
    PARO_CACHE_MODE_MEMORY     /* a new one, in memory */
} paro_cache_mode;

typedef enum paro_cache_statement_id {
    PARO_CACHE_WINNER_OF_KEY,      /* problem, device class, template, layout */
    PARO_CACHE_WINNERS_OF_CLASS,   /* problem, device class, template */
    PARO_CACHE_WINNERS_OF_PROBLEM, /* problem, template */
    PARO_CACHE_PROBLEMS_OF_CLASS,  /* device class, template: the problems' texts */
    PARO_CACHE_KERNEL_OF_KEY,
    PARO_CACHE_KERNELS_OF_SOURCE, /* source hash, arch; the newest NVRTC is found by the caller */
    PARO_CACHE_TARGET_OF_KEY,     /* arch only; not checked */
    PARO_CACHE_PUT_WINNER,
    PARO_CACHE_PUT_KERNEL,
    PARO_CACHE_PUT_TIMING,
    PARO_CACHE_STATEMENT_COUNT
} paro_cache_statement_id;

typedef struct paro_cache_layer {
    sqlite3 *db;
    char *path;          /* as given */
    const char *refusal; /* why puts are refused; NULL: they are not */
    uint32_t version;    /* of the file's schema; 0: there is no file */
    bool is_read_only;
    const paro_observer *observer;
    sqlite3_stmt *statements[PARO_CACHE_STATEMENT_COUNT];
    paro_buffer scratch;
} paro_cache_layer;

enum { PARO_CACHE_USER, PARO_CACHE_SYSTEM, PARO_CACHE_LAYERS };

struct paro_cache {
    paro_cache_layer layers[PARO_CACHE_LAYERS]; /* the first hides the second */
    const paro_observer *observer;
    bool is_writing;    /* between begin and commit */
    uint32_t n_reading; /* read_begin without read_end */
};

/* READ and IMMUTABLE: a missing file, and one of a newer schema, is an empty layer. */
paro_status paro_cache_layer_open(paro_error *err, const char *path, paro_cache_mode mode,
                                  const paro_observer *observer, paro_cache_layer *out);
void paro_cache_layer_close(paro_cache_layer *layer); /* rolls back; zeroed ones are fine */

/* The prepared statement, reset and without bindings. The layer has a db. */
paro_status paro_cache_layer_statement(paro_error *err, paro_cache_layer *layer,
                                       paro_cache_statement_id id, sqlite3_stmt **out);

/* A statement of the caller's own; to be finalised. */
paro_status paro_cache_layer_prepare(paro_error *err, paro_cache_layer *layer, const char *sql,
                                     sqlite3_stmt **out);

/* Runs one statement for its effect. */
paro_status paro_cache_layer_run(paro_error *err, paro_cache_layer *layer, const char *sql);

/* The next row: *has_row. Any other outcome is an error. */
paro_status paro_cache_layer_step(paro_error *err, paro_cache_layer *layer, sqlite3_stmt *statement,
                                  bool *has_row);

/* The statement's row (columns of paro_cache_sql_columns); a damaged one is logged, *is_sound
 * false. */
paro_status paro_cache_layer_read(paro_error *err, paro_cache_layer *layer, sqlite3_stmt *statement,
                                  paro_cache_table_id table, paro_arena *arena, paro_cache_row *row,
                                  char hash[PARO_SHA256_HEX_BYTES], bool *is_sound);

/* Adds the row (hash: paro_cache_row_hash, NULL: computed here); *was_added (may be NULL) is false
 * for a timing that was there. The row has been checked. */
paro_status paro_cache_layer_put(paro_error *err, paro_cache_layer *layer,
                                 paro_cache_table_id table, const void *row, bool *was_added);

/* What SQLite's code means, with its message: "PATH: cannot VERB: …". */
paro_status paro_cache_layer_fail(paro_error *err, const paro_cache_layer *layer, int code,
                                  const char *verb);

/* Where the layer's file is damaged (PARO_STATUS_FORMAT): logs it and returns OK, for callers to
 * whom the layer is then empty; else the status as it is. */
paro_status paro_cache_layer_forgive(const paro_cache_layer *layer, paro_status status,
                                     const paro_error *err);

/* schema.c: checks that the file's schema is exactly ours; makes it where the file is empty,
 * migrates it where it is older (both only where it may be written). *is_newer: the file is of a
 * later paro and not looked at further. Sets the layer's version. */
paro_status paro_cache_schema_settle(paro_error *err, paro_cache_layer *layer, bool *is_newer);

#endif
