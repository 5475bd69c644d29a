/* SPDX-License-Identifier: MIT
 *
 * See source.h.
 */
#include "lua/source.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/embedded.h"
#include "base/file.h"
#include "base/nearest.h"
#include "base/utf8.h"

static const char *shipped_name(const void *context, size_t i)
{
    return paro_embedded_get(context, i)->name;
}

static paro_status find_shipped(paro_error *err, const char *folder, const char *what,
                                const char *path, paro_lua_source *out)
{
    const paro_embedded_file *file = NULL;
    size_t n_shipped = 0;
    while ((file = paro_embedded_get(folder, n_shipped)) != NULL) {
        if (strcmp(file->name, path) == 0) {
            *out = (paro_lua_source){path, file->text, file->n_bytes};
            return PARO_STATUS_OK;
        }
        n_shipped++;
    }
    char nearest[256];
    paro_nearest(nearest, sizeof nearest, path, n_shipped, shipped_name, folder);
    return paro_fail(err, PARO_STATUS_NOT_FOUND,
                     "%s: there is no such file, and no such %s among the shipped ones "
                     "(nearest: %s)",
                     path, what, nearest);
}

paro_status paro_lua_source_read(paro_error *err, paro_arena *arena, const char *folder,
                                 const char *what, const char *path, paro_lua_source *out)
{
    if (!paro_path_exists(path))
        return find_shipped(err, folder, what, path, out);
    char *text = NULL;
    paro_lua_source source = {.name = path};
    paro_status status =
        paro_file_read(err, path, PARO_LUA_SOURCE_MAX_BYTES, &text, &source.n_bytes);
    if (status != PARO_STATUS_OK)
        return status;
    source.text = paro_arena_strndup(arena, text, source.n_bytes);
    free(text);
    if (source.text == NULL)
        return paro_fail_memory(err, source.n_bytes, "a text of Lua");
    status = paro_lua_source_check(err, &source);
    if (status == PARO_STATUS_OK)
        *out = source;
    return status;
}

paro_status paro_lua_source_check(paro_error *err, const paro_lua_source *source)
{
    if (source->n_bytes > PARO_LUA_SOURCE_MAX_BYTES)
        return paro_fail(err, PARO_STATUS_LIMIT, "%s: expected at most %d bytes, found %zu",
                         source->name, PARO_LUA_SOURCE_MAX_BYTES, source->n_bytes);
    if (paro_utf8_valid_prefix(source->text, source->n_bytes) != source->n_bytes ||
        memchr(source->text, '\0', source->n_bytes) != NULL)
        return paro_fail(err, PARO_STATUS_RECIPE,
                         "%s: expected Lua source text in UTF-8, found other bytes (compiled Lua "
                         "is not accepted)",
                         source->name);
    return PARO_STATUS_OK;
}

/* What Lua's own loader of files leaves out: a byte order mark, and a first line that begins with
 * '#'; its newline stays, so that the lines' numbers are right. */
static size_t count_skipped(const char *text, size_t n_bytes)
{
    size_t n = n_bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (n < n_bytes && text[n] == '#') {
        const char *newline = memchr(text + n, '\n', n_bytes - n);
        n = newline != NULL ? (size_t)(newline - text) : n_bytes;
    }
    return n;
}

int paro_lua_source_load(lua_State *state, const paro_lua_source *source)
{
    size_t n_skipped = count_skipped(source->text, source->n_bytes);
    lua_pushfstring(state, "@%s", source->name);
    int code = luaL_loadbufferx(state, source->text + n_skipped, source->n_bytes - n_skipped,
                                lua_tostring(state, -1), "t");
    lua_remove(state, -2);
    return code;
}
