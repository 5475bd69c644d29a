/* SPDX-License-Identifier: MIT
 *
 * Lua's patterns (manual 6.4.1) for sandboxed code: every step of the backtracking is charged, so
 * that none can run for ever inside C.
 */
#ifndef PARO_LUA_PATTERN_H
#define PARO_LUA_PATTERN_H

#include <lua.h>
#include <stddef.h>

enum {
    PARO_PATTERN_MAX_CAPTURES = 32,
    PARO_CAPTURE_OPEN = -1,    /* length of a capture that is not closed yet */
    PARO_CAPTURE_POSITION = -2 /* length of a position capture, () */
};

typedef struct paro_capture {
    const char *start;
    ptrdiff_t length; /* or PARO_CAPTURE_OPEN, PARO_CAPTURE_POSITION */
} paro_capture;

/* The first four are the caller's to fill in. */
typedef struct paro_matcher {
    lua_State *state;
    const char *text;
    const char *text_end;
    const char *pattern_end;
    int depth;
    int n_captures;
    paro_capture captures[PARO_PATTERN_MAX_CAPTURES];
} paro_matcher;

/* The end of the match of the pattern from p (past a leading ^) that begins at s, or NULL. Raises a
 * Lua error for a malformed pattern. */
const char *paro_pattern_match(paro_matcher *matcher, const char *s, const char *p);

/* Pushes the i-th capture of a match start .. end; of a pattern without captures, the whole match
 * is the first. */
void paro_pattern_push_capture(paro_matcher *matcher, int i, const char *start, const char *end);

#endif
