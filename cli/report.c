/* SPDX-License-Identifier: MIT
 *
 * A JSON document for -o json, built with Jansson: the only file of the CLI that knows it.
 *
 * 1. Nodes are in a list that the report owns; node->value is borrowed from the report's root.
 * 2. Once failed is set the document is incomplete and never printed.
 */
#include "cli/report.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

struct paro_report_node {
    json_t *value;
    paro_report *report;
    paro_report_node *next;
};

struct paro_report {
    paro_report_node root;
    bool failed;
};

paro_report *paro_report_new(void)
{
    paro_report *report = calloc(1, sizeof *report);

    if (!report)
        return NULL;
    report->root = (paro_report_node){.value = json_object(), .report = report};
    if (!report->root.value) {
        free(report);
        return NULL;
    }
    return report;
}

void paro_report_free(paro_report *report)
{
    if (!report)
        return;
    for (paro_report_node *node = report->root.next, *next; node; node = next) {
        next = node->next;
        free(node);
    }
    json_decref(report->root.value);
    free(report);
}

paro_report_node *paro_report_root(paro_report *report)
{
    return report ? &report->root : NULL;
}

/* A copy with U+FFFD in place of what is not UTF-8; zero bytes stay. */
static char *repaired(const char *text, size_t n_bytes, size_t *n_out)
{
    char *copy = n_bytes < SIZE_MAX / 4 ? malloc(n_bytes * 3 + 1) : NULL;
    size_t n = 0;

    for (size_t i = 0; copy && i < n_bytes;) {
        uint32_t value;
        char window[5] = {0}; /* decoding must not look past the end */
        memcpy(window, text + i, n_bytes - i < 4 ? n_bytes - i : 4);
        size_t n_read = paro_text_decode(window, &value);
        bool wrong = value == 0xfffd;
        memcpy(copy + n, wrong ? "\xef\xbf\xbd" : text + i, wrong ? 3 : n_read);
        n += wrong ? 3 : n_read;
        i += n_read;
    }
    if (copy)
        copy[n] = '\0';
    *n_out = n;
    return copy;
}

/* Takes over `value`; a NULL one is memory that ran out. */
static void add(paro_report_node *node, const char *key, json_t *value)
{
    char *name = NULL;
    size_t n_name;
    int rc = -1;

    if (!node) {
        json_decref(value);
        return;
    }
    if (!key) {
        rc = json_array_append_new(node->value, value);
    } else if ((name = repaired(key, strlen(key), &n_name))) {
        rc = json_object_set_new(node->value, name, value);
        free(name);
    } else {
        json_decref(value);
    }
    if (rc)
        node->report->failed = true;
}

static paro_report_node *add_node(paro_report_node *parent, const char *key, json_t *value)
{
    paro_report_node *node = parent ? malloc(sizeof *node) : NULL;

    if (!node || !value) {
        if (parent)
            parent->report->failed = true;
        json_decref(value);
        free(node);
        return NULL;
    }
    *node = (paro_report_node){value, parent->report, parent->report->root.next};
    parent->report->root.next = node;
    add(parent, key, value);
    if (parent->report->failed) /* value may be gone already */
        return NULL;
    return node;
}

paro_report_node *paro_report_object(paro_report_node *node, const char *key)
{
    return add_node(node, key, node ? json_object() : NULL);
}

paro_report_node *paro_report_array(paro_report_node *node, const char *key)
{
    return add_node(node, key, node ? json_array() : NULL);
}

void paro_report_bytes(paro_report_node *node, const char *key, const char *text, size_t n_bytes)
{
    size_t n;
    char *copy = repaired(text, n_bytes, &n);

    add(node, key, copy ? json_stringn(copy, n) : NULL);
    free(copy);
}

void paro_report_text(paro_report_node *node, const char *key, const char *text)
{
    if (text)
        paro_report_bytes(node, key, text, strlen(text));
    else
        paro_report_null(node, key);
}

void paro_report_signed(paro_report_node *node, const char *key, int64_t value)
{
    add(node, key, json_integer(value));
}

void paro_report_integer(paro_report_node *node, const char *key, uint64_t value)
{
    add(node, key, value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value));
}

void paro_report_real(paro_report_node *node, const char *key, double value)
{
    add(node, key, isfinite(value) ? json_real(value) : json_null());
}

void paro_report_bool(paro_report_node *node, const char *key, bool value)
{
    add(node, key, json_boolean(value));
}

void paro_report_null(paro_report_node *node, const char *key)
{
    add(node, key, json_null());
}

bool paro_report_print(paro_report *report, FILE *stream)
{
    if (!report || report->failed)
        return false;
    if (json_dumpf(report->root.value, stream, JSON_INDENT(1)) == 0)
        fputc('\n', stream);
    return true;
}
