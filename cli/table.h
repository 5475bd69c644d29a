/* SPDX-License-Identifier: MIT
 *
 * Aligned tables of text, printed at once or row by row.
 */
#ifndef PARO_CLI_TABLE_H
#define PARO_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct paro_column {
    const char *title; /* lives as long as the table */
    bool right;        /* numbers: aligned to the right */
    unsigned width;    /* at least so many columns; 0: as the title and the cells need */
} paro_column;

typedef struct paro_table paro_table;

/* NULL where memory ran out. `columns` [n_columns] is copied. */
paro_table *paro_table_new(const paro_column *columns, size_t n_columns);
void paro_table_free(paro_table *table);

/* Fills the next cell; a row is complete with its last column. Control characters are replaced.
 * Where memory runs out the table remembers it. `table` may be NULL: no effect. */
void paro_table_cell(paro_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Prints the rows that were not printed yet, after the titles the first time. Widths are those
 * that fit everything so far. False where memory ran out before, with nothing printed, or
 * `table` is NULL. */
bool paro_table_print(paro_table *table, FILE *stream);

#endif
