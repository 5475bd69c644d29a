/* SPDX-License-Identifier: MIT
 *
 * A JSON document for -o json, built up and printed at the end. One value a line, keys in the
 * order they were added.
 */
#ifndef PARO_CLI_REPORT_H
#define PARO_CLI_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct paro_report paro_report;

/* An object or array of a report; lives as long as the report. Every function takes NULL for one
 * (after memory ran out, or a NULL report's root) and then does nothing. */
typedef struct paro_report_node paro_report_node;

paro_report *paro_report_new(void); /* NULL where memory ran out */
void paro_report_free(paro_report *report);
paro_report_node *paro_report_root(paro_report *report); /* an object */

/* Add to an object under `key`, or to the end of an array, where `key` is NULL. Text that is not
 * UTF-8 gets U+FFFD in place of the wrong bytes; NULL text is null, and so are numbers that are not
 * finite. */
paro_report_node *paro_report_object(paro_report_node *node, const char *key);
paro_report_node *paro_report_array(paro_report_node *node, const char *key);
void paro_report_text(paro_report_node *node, const char *key, const char *text);
void paro_report_bytes(paro_report_node *node, const char *key, const char *text, size_t n_bytes);
void paro_report_integer(paro_report_node *node, const char *key, uint64_t value);
void paro_report_signed(paro_report_node *node, const char *key, int64_t value);
void paro_report_real(paro_report_node *node, const char *key, double value);
void paro_report_bool(paro_report_node *node, const char *key, bool value);
void paro_report_null(paro_report_node *node, const char *key);

/* Prints the document and a newline. False where memory ran out while it was built; whether the
 * stream took it is the stream's to say. */
bool paro_report_print(paro_report *report, FILE *stream);

#endif
