/* SPDX-License-Identifier: MIT
 *
 * Templates and their parts to one text; see expand.h for the rules.
 */
#include "codegen/expand.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/embedded.h"

enum { MAX_FILES = 32, MAX_DEPTH = 8, MAX_NAME_BYTES = 96 };

typedef struct expansion {
    paro_error *err;
    paro_expand_read_fn *read;
    void *context;
    const paro_holes *holes;
    paro_buffer *out;
    char files[MAX_FILES][MAX_NAME_BYTES]; /* put in so far */
    size_t n_files;
    bool *used; /* by hole; of the arena of `names` */
    paro_arena names;
    const char **seen; /* holes of the text so far */
    size_t n_seen, seen_capacity;
} expansion;

/* A run of bytes inside a line. */
typedef struct span {
    const char *at;
    size_t n;
} span;

static bool starts_with(span text, const char *prefix)
{
    size_t n = strlen(prefix);
    return text.n >= n && memcmp(text.at, prefix, n) == 0;
}

static span trimmed(span text)
{
    while (text.n > 0 && (text.at[0] == ' ' || text.at[0] == '\t')) {
        text.at++;
        text.n--;
    }
    while (text.n > 0 && (text.at[text.n - 1] == ' ' || text.at[text.n - 1] == '\t' ||
                          text.at[text.n - 1] == '\r'))
        text.n--;
    return text;
}

static paro_status no_memory(expansion *e)
{
    return paro_fail_memory(e->err, e->out->n_bytes, "a kernel's source");
}

static bool append(expansion *e, span text)
{
    return paro_buffer_append(e->out, text.at, text.n);
}

/* Remembers that the text has this hole; two of one name are an error. */
static paro_status note_hole(expansion *e, span hole, const char *file, size_t line)
{
    for (size_t i = 0; i < e->n_seen; i++) {
        if (strlen(e->seen[i]) == hole.n && memcmp(e->seen[i], hole.at, hole.n) == 0)
            return paro_fail(e->err, PARO_STATUS_FORMAT,
                             "%s:%zu: hole '%s' for the second time; expected one line for it",
                             file, line, e->seen[i]);
    }
    if (e->n_seen == e->seen_capacity) {
        size_t capacity = e->seen_capacity == 0 ? 32 : 2 * e->seen_capacity;
        const char **seen = paro_arena_array(&e->names, capacity, sizeof *seen);
        if (seen == NULL)
            return no_memory(e);
        if (e->n_seen > 0)
            memcpy(seen, e->seen, e->n_seen * sizeof *seen);
        e->seen = seen;
        e->seen_capacity = capacity;
    }
    const char *copy = paro_arena_strndup(&e->names, hole.at, hole.n);
    if (copy == NULL)
        return no_memory(e);
    e->seen[e->n_seen++] = copy;
    return PARO_STATUS_OK;
}

/* A line with "// hole: " at `comment`. */
static paro_status put_hole(expansion *e, span line, size_t comment, const char *file,
                            size_t number)
{
    static const size_t n_mark = sizeof "// hole: " - 1;
    span name = trimmed((span){line.at + comment + n_mark, line.n - comment - n_mark});
    size_t semicolon = comment, equals = 0;
    while (semicolon > 0 && line.at[semicolon - 1] != ';')
        semicolon--;
    while (equals < comment && line.at[equals] != '=')
        equals++;
    if (name.n == 0 || semicolon == 0 || equals >= semicolon - 1)
        return paro_fail(e->err, PARO_STATUS_FORMAT,
                         "%s:%zu: expected \"… = VALUE; // hole: NAME\", found \"%.*s\"", file,
                         number, (int)line.n, line.at);
    paro_status status = note_hole(e, name, file, number);
    if (status != PARO_STATUS_OK)
        return status;
    if (e->holes == NULL)
        return append(e, line) ? PARO_STATUS_OK : no_memory(e);

    const char *value = NULL;
    for (size_t i = 0; i < e->holes->n; i++) {
        const paro_hole *hole = &e->holes->list[i];
        if (strlen(hole->name) == name.n && memcmp(hole->name, name.at, name.n) == 0) {
            value = hole->value;
            e->used[i] = true;
        }
    }
    if (value == NULL)
        return paro_fail(e->err, PARO_STATUS_FORMAT,
                         "%s:%zu: nothing for hole '%.*s'; expected the family's holes to give it",
                         file, number, (int)name.n, name.at);
    if (strpbrk(value, "\r\n\\") != NULL)
        return paro_fail(e->err, PARO_STATUS_FORMAT,
                         "%s:%zu: hole '%.*s': expected one line of C++, found a break or '\\'",
                         file, number, (int)name.n, name.at);
    bool fine = append(e, (span){line.at, equals + 1}) && paro_buffer_append_text(e->out, " ") &&
                paro_buffer_append_text(e->out, value) &&
                append(e, (span){line.at + semicolon - 1, line.n - semicolon + 1});
    return fine ? PARO_STATUS_OK : no_memory(e);
}

static paro_status put_file(expansion *e, const char *name, size_t depth);

/* `rest` is what follows "#include". */
static paro_status put_include(expansion *e, span rest, const char *file, size_t number,
                               size_t depth)
{
    rest = trimmed(rest);
    char name[MAX_NAME_BYTES];
    const char *end = rest.n > 1 ? memchr(rest.at + 1, '"', rest.n - 1) : NULL;
    bool fine = rest.n > 2 && rest.at[0] == '"' && end != NULL;
    size_t n = fine ? (size_t)(end - rest.at) - 1 : 0;
    fine = fine && n < sizeof name - 4;
    if (fine) {
        snprintf(name, sizeof name, "%.*s", (int)n, rest.at + 1);
        /* Parts may name their neighbours as C++ would. */
        if (strncmp(file, "lib/", 4) == 0 && strchr(name, '/') == NULL)
            snprintf(name, sizeof name, "lib/%.*s", (int)n, rest.at + 1);
        fine = strncmp(name, "lib/", 4) == 0 && strchr(name + 4, '/') == NULL &&
               strstr(name, ".cuh") != NULL;
    }
    if (!fine)
        return paro_fail(e->err, PARO_STATUS_FORMAT,
                         "%s:%zu: expected #include \"lib/NAME.cuh\", found #include %.*s", file,
                         number, (int)rest.n, rest.at);
    for (size_t i = 0; i < e->n_files; i++) {
        if (strcmp(e->files[i], name) == 0)
            return PARO_STATUS_OK;
    }
    size_t n_bytes;
    if (e->read(e->context, name, &n_bytes) == NULL)
        return paro_fail(e->err, PARO_STATUS_FORMAT, "%s:%zu: no part '%s' in templates/", file,
                         number, name);
    if (depth + 1 >= MAX_DEPTH || e->n_files == MAX_FILES)
        return paro_fail(e->err, PARO_STATUS_LIMIT, "%s:%zu: expected at most %d parts, %d deep",
                         file, number, MAX_FILES, MAX_DEPTH);
    paro_status status = put_file(e, name, depth + 1);
    if (status != PARO_STATUS_OK)
        return status;
    /* The end of this line still follows. */
    return paro_buffer_printf(e->out, "#line %zu \"%s\"", number + 1, file) ? PARO_STATUS_OK
                                                                            : no_memory(e);
}

static size_t find_comment(span line)
{
    const char *at = memmem(line.at, line.n, "// hole: ", sizeof "// hole: " - 1);
    return at == NULL ? line.n : (size_t)(at - line.at);
}

static paro_status put_file(expansion *e, const char *name, size_t depth)
{
    size_t n_bytes = 0;
    const char *text = e->read(e->context, name, &n_bytes);
    if (text == NULL)
        return paro_fail(e->err, PARO_STATUS_NOT_FOUND, "no template '%s' is built in", name);
    const char *file = e->files[e->n_files];
    snprintf(e->files[e->n_files++], MAX_NAME_BYTES, "%s", name);
    if (!paro_buffer_printf(e->out, "#line 1 \"%s\"\n", file))
        return no_memory(e);

    size_t number = 0;
    for (const char *at = text, *end = text + n_bytes; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        span line = {at, (size_t)((stop != NULL ? stop : end) - at)};
        span words = trimmed(line);
        number++;
        at = stop != NULL ? stop + 1 : end;

        paro_status status = PARO_STATUS_OK;
        size_t comment = find_comment(line);
        if (comment < line.n)
            status = put_hole(e, line, comment, file, number);
        else if (starts_with(words, "#include"))
            status = put_include(e, (span){words.at + 8, words.n - 8}, file, number, depth);
        else if (!starts_with(words, "#pragma once") && !append(e, line))
            status = no_memory(e);
        if (status == PARO_STATUS_OK && !paro_buffer_append_text(e->out, "\n"))
            status = no_memory(e);
        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

paro_status paro_expand(paro_error *err, paro_expand_read_fn *read, void *context, const char *name,
                        const paro_holes *holes, paro_buffer *out)
{
    paro_status status;
    expansion e = {.err = err, .read = read, .context = context, .holes = holes, .out = out};
    if (holes != NULL) {
        e.used = paro_arena_array(&e.names, holes->n, sizeof *e.used);
        if (e.used == NULL) {
            status = no_memory(&e);
            goto done;
        }
    }
    status = put_file(&e, name, 0);
    for (size_t i = 0; holes != NULL && status == PARO_STATUS_OK && i < holes->n; i++) {
        if (!e.used[i])
            status = paro_fail(err, PARO_STATUS_FORMAT,
                               "%s: expected a line \"… = VALUE; // hole: %s\" for the hole that "
                               "the family fills, found none",
                               name, holes->list[i].name);
    }
done:
    paro_arena_release(&e.names);
    return status;
}

const char *paro_expand_read_embedded(void *context, const char *name, size_t *n_bytes)
{
    (void)context;
    char path[MAX_NAME_BYTES + sizeof "templates/"];
    snprintf(path, sizeof path, "templates/%s", name);
    const paro_embedded_file *file = paro_embedded_find(path);
    if (file == NULL)
        return NULL;
    *n_bytes = file->n_bytes;
    return file->text;
}
