/* SPDX-License-Identifier: MIT
 *
 * Lists of holes.
 */
#include "families/holes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void add(paro_holes *holes, const char *name, const char *value)
{
    if (holes->n == holes->capacity) {
        size_t capacity = holes->capacity == 0 ? 16 : 2 * holes->capacity;
        paro_hole *list = paro_arena_array(&holes->arena, capacity, sizeof *list);
        if (list == NULL) {
            holes->out_of_memory = true;
            return;
        }
        if (holes->n > 0)
            memcpy(list, holes->list, holes->n * sizeof *list);
        holes->list = list;
        holes->capacity = capacity;
    }
    paro_hole hole = {paro_arena_strdup(&holes->arena, name),
                      paro_arena_strdup(&holes->arena, value)};
    if (hole.name == NULL || hole.value == NULL)
        holes->out_of_memory = true;
    else
        holes->list[holes->n++] = hole;
}

void paro_hole_integer(paro_holes *holes, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    add(holes, name, text);
}

void paro_hole_text(paro_holes *holes, const char *name, const char *format, ...)
{
    va_list args;
    paro_buffer text = {0};
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !paro_buffer_reserve(&text, (size_t)n + 1)) {
        holes->out_of_memory = true;
        return;
    }
    va_start(args, format);
    vsnprintf(text.data, (size_t)n + 1, format, args);
    va_end(args);
    add(holes, name, text.data);
    paro_buffer_free(&text);
}

const paro_hole *paro_holes_find(const paro_holes *holes, const char *name)
{
    for (size_t i = 0; i < holes->n; i++)
        if (strcmp(holes->list[i].name, name) == 0)
            return &holes->list[i];
    return NULL;
}

paro_status paro_holes_make(paro_error *err, const paro_problem *problem,
                            const paro_kernel_config *config, const paro_arch *arch,
                            paro_holes *out)
{
    paro_holes holes = {0};
    paro_status status = PARO_STATUS_OK;
    problem->family->holes(problem, config, arch, &holes);
    if (holes.out_of_memory)
        status = paro_fail_memory(err, sizeof holes, "the holes of a template");
    for (size_t i = 0; i < holes.n && status == PARO_STATUS_OK; i++)
        if (paro_holes_find(&holes, holes.list[i].name) != &holes.list[i])
            status = paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                               "family %s: expected every hole to be filled once, found \"%s\" "
                               "twice: mend its C file",
                               problem->family->name, holes.list[i].name);
    if (status == PARO_STATUS_OK)
        *out = holes;
    else
        paro_holes_release(&holes);
    return status;
}

void paro_holes_release(paro_holes *holes)
{
    paro_arena_release(&holes->arena);
    *holes = (paro_holes){0};
}
