/* SPDX-License-Identifier: MIT
 *
 * Recipes called for a block.
 */
#include <lauxlib.h>
#include <stdlib.h>

#include "lua/block.h"
#include "lua/recipe.h"

typedef struct block_call {
    const paro_recipe *recipe;
    int function;
    paro_calib_block *block;
} block_call;

/* The handle is closed whatever comes of the call, but for a limit: nothing runs after that. */
static int call_block(lua_State *state)
{
    block_call *call = lua_touserdata(state, 1);
    paro_lua_push_block(state, call->block);
    int handle = lua_gettop(state);
    lua_rawgeti(state, LUA_REGISTRYINDEX, call->function);
    lua_pushvalue(state, handle);
    int code = lua_pcall(state, 1, 0, 0);
    paro_lua_close_block(state, handle);
    return code == LUA_OK ? 0 : lua_error(state);
}

paro_status paro_recipe_run_block(paro_error *err, paro_recipe *recipe, int block_function,
                                  paro_calib_block *block)
{
    block_call call = {recipe, block_function, block};
    const paro_observer *observer = paro_sandbox_host_observer(recipe->sandbox);
    paro_pool *pool = paro_sandbox_host_pool(recipe->sandbox);
    paro_sandbox_renew(recipe->sandbox);
    paro_sandbox_set_host(recipe->sandbox, block->observer, block->pool);
    paro_status status = paro_recipe_run(err, recipe, call_block, &call);
    paro_sandbox_set_host(recipe->sandbox, observer, pool);
    if (status != PARO_STATUS_OK)
        return paro_fail_in(err, status, "block %u", (unsigned)block->layer);
    return PARO_STATUS_OK;
}

/* ---- as a plan calls it ---- */

typedef struct plan_context {
    paro_recipe *recipe; /* one of its users is this */
    int function;
} plan_context;

static paro_status run_planned(paro_error *err, void *context, paro_calib_block *block)
{
    const plan_context *planned = context;
    return paro_recipe_run_block(err, planned->recipe, planned->function, block);
}

static void release_planned(void *context)
{
    plan_context *planned = context;
    if (planned->recipe->caller != NULL)
        luaL_unref(planned->recipe->caller, LUA_REGISTRYINDEX, planned->function);
    paro_recipe_free(planned->recipe);
    free(planned);
}

paro_status paro_recipe_plan_block(paro_error *err, paro_recipe *recipe, int block_function,
                                   paro_plan_block *out)
{
    plan_context *context = malloc(sizeof *context);
    if (context == NULL)
        return paro_fail_memory(err, sizeof *context, "a plan");
    *context = (plan_context){recipe, block_function};
    recipe->n_users++;
    *out = (paro_plan_block){run_planned, release_planned, context};
    return PARO_STATUS_OK;
}
