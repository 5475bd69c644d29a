/* SPDX-License-Identifier: MIT
 *
 * The inside of a paro_recipe.
 */
#ifndef PARO_LUA_RECIPE_H
#define PARO_LUA_RECIPE_H

#include <paro/quantize.h>

#include "base/arena.h"
#include "base/hash.h"
#include "calib/plan.h"
#include "lua/sandbox.h"
#include "lua/source.h"

enum {
    PARO_RECIPE_MAX_PATTERNS = 1024, /* of one recipe */
    PARO_RECIPE_MAX_GROUP_SIZE = 1 << 16
};

typedef struct paro_recipe_option {
    const char *key;
    const char *value;
} paro_recipe_option;

/* Invariants: 1. the sandbox's registry holds at `result` what the chunk returned, a table or a
 * function; 2. it is freed by the last of its users: who opened it, and the plans that will call
 * its block function; 3. where there is a `caller`, a trusted sandbox is running it meanwhile: the
 * sandbox and `result` are the caller's, and the recipe, with its plans, is gone before that
 * returns to Lua. */
struct paro_recipe {
    unsigned n_users;
    paro_arena arena;
    const char *path; /* or the shipped recipe's name; for messages */
    paro_lua_source source;
    char sha256[PARO_SHA256_HEX_BYTES];
    paro_recipe_option *options;
    size_t n_options;
    const char *options_json;
    paro_sandbox *sandbox;
    lua_State *caller; /* the thread that is running; NULL: nothing is, the sandbox is its own */
    int result;        /* luaL_ref */
};

/* recipe.c: a recipe that is a value of a running state, at `value` (luaL_ref) of the registry, of
 * the C function that `state` is running. `source`: the text that the value came from, for
 * checkpoints; outlives the recipe. */
paro_status paro_recipe_of_value(paro_error *err, lua_State *state, int value,
                                 const paro_lua_source *source, const char *const *set,
                                 size_t n_set, paro_recipe **out);

/* Raises a Lua error that names the recipe. */
int paro_recipe_raise(lua_State *state, const paro_recipe *recipe, const char *format, ...);

/* Pushes, and gives, words for the value at `index` in a message: "a number (9)", "a table",
 * "nothing". */
const char *paro_recipe_describe(lua_State *state, int index);

/* recipe_values.c: puts a read-only view in place of the table on top. `name`: of a record, for
 * messages about unknown names; NULL for a list. */
void paro_recipe_make_readonly(lua_State *state, const char *name);

/* recipe_values.c: what a recipe function is given; each pushes one value. */
void paro_recipe_push_model(lua_State *state, const paro_model *model);
void paro_recipe_push_options(lua_State *state, const paro_recipe *recipe);

/* After the function has run, with what paro_recipe_push_options pushed at `index`: raises an error
 * where an option was set that the recipe never looked at. */
void paro_recipe_check_options(lua_State *state, const paro_recipe *recipe, int index);

/* What a recipe's table says. */
typedef struct paro_recipe_table {
    const paro_plan_rule *rules;
    size_t n_rules;
    uint32_t krot;
    paro_plan_data data;
    int block; /* luaL_ref of the block function, or LUA_NOREF */
} paro_recipe_table;

/* recipe_table.c: reads the table on top of the stack. Raises an error for what is not right. The
 * rules live in the arena. */
void paro_recipe_read_table(lua_State *state, const paro_recipe *recipe, paro_arena *arena,
                            paro_recipe_table *out);

/* recipe.c: runs `function` in the recipe's sandbox; what goes wrong names the recipe. */
paro_status paro_recipe_run(paro_error *err, const paro_recipe *recipe, lua_CFunction function,
                            void *context);

/* recipe_block.c: calls the recipe's function at `block_function` (luaL_ref) with the block. The
 * block's observer and pool are the recipe's meanwhile; limits of instructions and time begin anew
 * with every call. What was done to the block before an error stays done. */
paro_status paro_recipe_run_block(paro_error *err, paro_recipe *recipe, int block_function,
                                  paro_calib_block *block);

/* recipe_block.c: the same as a plan calls it; *out keeps the recipe alive. */
paro_status paro_recipe_plan_block(paro_error *err, paro_recipe *recipe, int block_function,
                                   paro_plan_block *out);

#endif
