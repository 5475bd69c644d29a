/* SPDX-License-Identifier: MIT
 *
 * Texts of Lua: from a file, or from what is built into the library under that name.
 */
#ifndef PARO_LUA_SOURCE_H
#define PARO_LUA_SOURCE_H

#include <lua.h>
#include <stddef.h>

#include "base/arena.h"

enum { PARO_LUA_SOURCE_MAX_BYTES = 1 << 20 };

typedef struct paro_lua_source {
    const char *name; /* for messages: the path, or the name of what is built in */
    const char *text; /* zero-terminated */
    size_t n_bytes;
} paro_lua_source;

/* What is built in lies in `folder` of the source tree; `what` ("recipe") is for messages. The text
 * is checked (paro_lua_source_check); it lives in the arena or as long as the library, the name is
 * `path` itself. */
paro_status paro_lua_source_read(paro_error *err, paro_arena *arena, const char *folder,
                                 const char *what, const char *path, paro_lua_source *out);

/* UTF-8 without zero bytes, and not too long; else PARO_STATUS_RECIPE or PARO_STATUS_LIMIT. */
paro_status paro_lua_source_check(paro_error *err, const paro_lua_source *source);

/* Pushes the function that the text is, without a byte order mark and a first line that begins with
 * '#'; or pushes a message. Gives Lua's status. */
int paro_lua_source_load(lua_State *state, const paro_lua_source *source);

#endif
