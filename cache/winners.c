/* SPDX-License-Identifier: MIT
 *
 * Winners of one problem, from both files.
 */
#include "cache/winners.h"

#include <string.h>

static bool is_hidden(const paro_cache_winners *found, size_t n, const paro_cache_winner *winner)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(found->items[i].device_class, winner->device_class) == 0 &&
            strcmp(found->items[i].layout, winner->layout) == 0)
            return true;
    return false;
}

static bool add(paro_cache_winners *winners, paro_arena *arena, const paro_cache_winner *winner)
{
    if (winners->n == winners->capacity) {
        size_t capacity = winners->capacity == 0 ? 4 : 2 * winners->capacity;
        paro_cache_winner *items = paro_arena_array(arena, capacity, sizeof *items);
        if (items == NULL)
            return false;
        if (winners->n > 0)
            memcpy(items, winners->items, winners->n * sizeof *items);
        winners->items = items;
        winners->capacity = capacity;
    }
    winners->items[winners->n++] = *winner;
    return true;
}

static paro_status read_layer(paro_error *err, paro_cache_layer *layer, const char *problem,
                              const char *device_class, const char *template_hash,
                              paro_cache_class_fn *wanted, const void *context, paro_arena *arena,
                              paro_cache_winners *found)
{
    enum { CLASS_COLUMN = 3 }; /* rowid, row_hash, problem, device_class */
    const size_t n_above = found->n;
    sqlite3_stmt *statement = NULL;
    paro_status status = paro_cache_layer_statement(
        err, layer,
        device_class != NULL ? PARO_CACHE_WINNERS_OF_CLASS : PARO_CACHE_WINNERS_OF_PROBLEM,
        &statement);
    if (status != PARO_STATUS_OK)
        return status;
    int at = 1, rc = sqlite3_bind_text(statement, at++, problem, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && device_class != NULL)
        rc = sqlite3_bind_text(statement, at++, device_class, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(statement, at, template_hash, -1, SQLITE_STATIC);
    if (rc != SQLITE_OK)
        status = paro_cache_layer_fail(err, layer, rc, "look up a winner");
    while (status == PARO_STATUS_OK) {
        bool has_row = false, is_sound = false;
        paro_cache_row row;
        status = paro_cache_layer_step(err, layer, statement, &has_row);
        if (status != PARO_STATUS_OK || !has_row)
            break;
        if (device_class == NULL && wanted != NULL) {
            const char *text = (const char *)sqlite3_column_text(statement, CLASS_COLUMN);
            if (text == NULL || !wanted(context, text))
                continue;
        }
        status = paro_cache_layer_read(err, layer, statement, PARO_CACHE_WINNERS, arena, &row, NULL,
                                       &is_sound);
        /* A damaged index can lead to a row that is sound and another's. */
        if (status == PARO_STATUS_OK && is_sound && strcmp(row.winner.problem, problem) == 0 &&
            strcmp(row.winner.template_hash, template_hash) == 0 &&
            (device_class == NULL || strcmp(row.winner.device_class, device_class) == 0) &&
            !is_hidden(found, n_above, &row.winner) && !add(found, arena, &row.winner))
            status = paro_fail_memory(err, sizeof row, "winners");
    }
    sqlite3_reset(statement);
    return status;
}

paro_status paro_cache_winners_read(paro_error *err, paro_cache *cache, const char *problem,
                                    const char *device_class, const char *template_hash,
                                    paro_cache_class_fn *wanted, const void *context,
                                    paro_arena *arena, paro_cache_winners *out)
{
    paro_cache_winners found = {0};
    for (int i = 0; i < PARO_CACHE_LAYERS; i++) {
        paro_cache_layer *layer = &cache->layers[i];
        paro_error why = {.status = PARO_STATUS_OK};
        if (layer->db == NULL)
            continue;
        paro_status status =
            paro_cache_layer_forgive(layer,
                                     read_layer(&why, layer, problem, device_class, template_hash,
                                                wanted, context, arena, &found),
                                     &why);
        if (status != PARO_STATUS_OK)
            return paro_fail(err, status, "%s", why.message);
    }
    *out = found;
    return PARO_STATUS_OK;
}
