/* SPDX-License-Identifier: MIT
 *
 * The inside of a script: its state, the models it has open, and the table `paro`.
 */
#ifndef PARO_LUA_SCRIPT_H
#define PARO_LUA_SCRIPT_H

#include <lauxlib.h>
#include <paro/script.h>
#include <paro/tokenizer.h>

#include "base/thread.h"
#include "lua/block.h"
#include "lua/sandbox.h"
#include "lua/source.h"

#define PARO_SCRIPT_MODEL_NAME "model" /* of the metatable in the registry */

/* Invariants: 1. it is on its script's list, behind those that were made after it; 2. it goes when
 * nobody uses it any more: its handle while that is open, models whose weights lie in its files,
 * calls that it was given to; 3. what is still there at the end goes with the script, the last one
 * first. */
typedef struct paro_script_model {
    struct paro_script_model *prev, *next;
    unsigned n_users;
    struct paro_script_model *source; /* whose files it maps; NULL: its own */
    paro_model *model;
    paro_tokenizer *tokenizer; /* opened when it is first needed */
    char *device;              /* as it was opened; NULL: as the script's options say */
    int n_threads;
} paro_script_model;

struct paro_script {
    paro_sandbox *sandbox;
    paro_pool *pool;
    bool allow_io;
    uint64_t memory_bytes;
    paro_model_options model_options;
    char *const *arguments; /* [n_arguments], owned; the first is arg[0] */
    size_t n_arguments;
    const paro_observer *observer;
    paro_script_model *models;
    paro_lua_source source; /* of what is running */
};

paro_script *paro_script_of(lua_State *state);

/* A string as it is now, whatever becomes of the table it came from: copied onto the stack. */
const char *paro_script_keep(lua_State *state, const char *text);

/* script_model.c: registers the handles. */
void paro_script_open_models(lua_State *state);

/* script_model.c: a handle is made in three steps, so that nothing is lost where there is no
 * memory: pushed, closed as yet (gives its index); made that of the model, which belongs to the
 * script from then on (on failure it is freed); filled with the fields. `device` and n_threads are
 * how it was opened, `source` is whose files it maps (NULL: its own). */
int paro_script_push_handle(lua_State *state);
paro_status paro_script_adopt(paro_error *err, lua_State *state, int index, paro_model *model,
                              const char *device, int n_threads, paro_script_model *source);
void paro_script_fill_handle(lua_State *state, int index);

/* script_model.c: the model of the handle at `index`; a handle that is closed is an error, anything
 * else too. Between hold and release, where no Lua error may leave, it cannot go. */
paro_script_model *paro_script_check_model(lua_State *state, int index);
void paro_script_hold(paro_script_model *model);
void paro_script_release(paro_script *script, paro_script_model *model);
void paro_script_free_models(paro_script *script);

/* script_model.c: its tokenizer. */
paro_status paro_script_tokenizer(paro_error *err, paro_script_model *model,
                                  const paro_tokenizer **out);

/* script_model.c: paro_model_open as the model was, or (NULL) as the options say. */
paro_status paro_script_open_model(paro_error *err, const paro_script *script, const char *dir,
                                   const char *device, int n_threads, paro_model **out);

/* script_generate.c */
int paro_script_generate(lua_State *state);

/* The functions of the table `paro`, by file: script_paro.c, script_quantize.c. */
int paro_script_open(lua_State *state);
int paro_script_eval(lua_State *state);
int paro_script_quantize(lua_State *state);
int paro_script_plan(lua_State *state);

/* script_paro.c: pushes the table `paro`. */
void paro_script_push_paro(lua_State *state);

/* What people can call and look at, for the test of the documentation; each ends with NULL. */
extern const luaL_Reg paro_script_model_methods[];
extern const char *const paro_script_model_fields[];

#endif
