/* SPDX-License-Identifier: MIT
 *
 * Aligned tables of text, printed at once or row by row.
 *
 * 1. cells[r * n_columns + c] is the clean text of row r; complete rows come first.
 * 2. Rows below n_printed are on the stream already; their cells are freed and NULL.
 * 3. columns[c].width fits the title and every cell there ever was.
 * 4. After failed is set nothing is added or printed any more.
 */
#include "cli/table.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

struct paro_table {
    paro_column *columns;
    size_t n_columns;
    char **cells;
    size_t n_cells, n_allocated;
    size_t n_printed; /* rows */
    bool has_titles;  /* printed */
    bool failed;
};

paro_table *paro_table_new(const paro_column *columns, size_t n_columns)
{
    paro_table *table = calloc(1, sizeof *table);

    if (!table)
        return NULL;
    table->columns = calloc(n_columns, sizeof *columns);
    if (!table->columns) {
        free(table);
        return NULL;
    }
    table->n_columns = n_columns;
    for (size_t i = 0; i < n_columns; i++) {
        unsigned width = paro_text_columns(columns[i].title);
        table->columns[i] = columns[i];
        if (width > table->columns[i].width)
            table->columns[i].width = width;
    }
    return table;
}

void paro_table_free(paro_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table->columns);
    free(table);
}

static bool table_grow(paro_table *table)
{
    size_t n = table->n_allocated ? table->n_allocated * 2 : 64;
    char **cells = n <= SIZE_MAX / sizeof *cells ? realloc(table->cells, n * sizeof *cells) : NULL;

    if (!cells)
        return false;
    table->cells = cells;
    table->n_allocated = n;
    return true;
}

void paro_table_cell(paro_table *table, const char *format, ...)
{
    char *text = NULL, *clean = NULL;
    va_list values;

    if (!table || table->failed)
        return;
    va_start(values, format);
    int n = vasprintf(&text, format, values);
    va_end(values);
    if (n >= 0) {
        clean = paro_text_clean(text, 0);
        free(text);
    }
    if (!clean || (table->n_cells == table->n_allocated && !table_grow(table))) {
        free(clean);
        table->failed = true;
        return;
    }
    paro_column *column = &table->columns[table->n_cells % table->n_columns];
    unsigned width = paro_text_columns(clean);
    if (width > column->width)
        column->width = width;
    table->cells[table->n_cells++] = clean;
}

static void print_row(const paro_table *table, char *const *cells, FILE *stream)
{
    for (size_t c = 0; c < table->n_columns; c++) {
        const char *text = cells ? cells[c] : table->columns[c].title;
        unsigned gap = table->columns[c].width - paro_text_columns(text);
        bool last = c + 1 == table->n_columns;
        if (table->columns[c].right)
            fprintf(stream, "%*s%s", (int)gap, "", text);
        else
            fprintf(stream, "%s%*s", text, last ? 0 : (int)gap, "");
        fputs(last ? "\n" : "  ", stream);
    }
}

static void print_titles(const paro_table *table, FILE *stream)
{
    print_row(table, NULL, stream);
    for (size_t c = 0; c < table->n_columns; c++) {
        for (unsigned i = 0; i < table->columns[c].width; i++)
            fputc('-', stream);
        fputs(c + 1 == table->n_columns ? "\n" : "  ", stream);
    }
}

bool paro_table_print(paro_table *table, FILE *stream)
{
    if (!table || table->failed)
        return false;
    if (!table->has_titles)
        print_titles(table, stream);
    table->has_titles = true;
    for (; table->n_printed < table->n_cells / table->n_columns; table->n_printed++) {
        char **cells = table->cells + table->n_printed * table->n_columns;
        print_row(table, cells, stream);
        for (size_t c = 0; c < table->n_columns; c++) {
            free(cells[c]);
            cells[c] = NULL;
        }
    }
    return true;
}
