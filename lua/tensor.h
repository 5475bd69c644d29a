/* SPDX-License-Identifier: MIT
 *
 * Tensors of recipes: userdata of rank 1 or 2, fp32, row-major. docs/lua.md has the user's view.
 *
 * Invariants:
 * 1. A tensor's shape never changes; every dimension is at least 1; of rank 1, n_rows is 1.
 * 2. Its numbers are paro_sandbox_data_alloc's. No two tensors share them.
 * 3. Every function charges its work before it does it, and what it does ends by itself: it runs as
 *    a stage (sandbox.h). Results do not depend on the number of threads.
 */
#ifndef PARO_LUA_TENSOR_H
#define PARO_LUA_TENSOR_H

#include <lauxlib.h>
#include <stddef.h>

#include "base/thread.h"

#define PARO_LUA_TENSOR_NAME "tensor" /* of the metatable in the registry */

enum {
    PARO_LUA_TENSOR_TASK = 1 << 16,    /* elements of one task of a pool, about */
    PARO_LUA_TENSOR_CHEAP = 64,        /* elements copied or added that count as one instruction */
    PARO_LUA_TENSOR_DEAR = 16,         /* likewise, with a function such as exp */
    PARO_LUA_TENSOR_MULTIPLIED = 4096, /* multiplications of a product likewise */
    PARO_LUA_TENSOR_MAX = 1 << 30      /* of a dimension */
};

typedef struct paro_lua_tensor {
    float *data; /* [n_rows, n_columns] */
    size_t n_rows, n_columns;
    int rank;
} paro_lua_tensor;

/* The tensor at `index`; anything else is an argument error. */
paro_lua_tensor *paro_lua_tensor_check(lua_State *state, int index);

/* Pushes a tensor with no values yet; charged. */
paro_lua_tensor *paro_lua_tensor_push(lua_State *state, int rank, size_t n_rows, size_t n_columns);

/* Pushes one of the same shape. */
paro_lua_tensor *paro_lua_tensor_push_like(lua_State *state, const paro_lua_tensor *tensor);

size_t paro_lua_tensor_count(const paro_lua_tensor *tensor);

/* "[2, 3]"; pushed. */
const char *paro_lua_tensor_describe(lua_State *state, const paro_lua_tensor *tensor);

/* A dimension, an index from 1 to n, or 1 where the argument is absent and `optional`. */
size_t paro_lua_tensor_dimension(lua_State *state, int argument);
size_t paro_lua_tensor_index(lua_State *state, int argument, size_t n);

/* paro_pool_run on the host's pool, as a stage. */
void paro_lua_tensor_run(lua_State *state, size_t n_tasks, paro_task_fn *fn, void *context);

/* What tensors can do, by file: tensor.c (access and shape), tensor_math.c, tensor_reduce.c,
 * tensor_product.c. */
extern const luaL_Reg paro_lua_tensor_access[];
extern const luaL_Reg paro_lua_tensor_math[];
extern const luaL_Reg paro_lua_tensor_operators[]; /* for the metatable */
extern const luaL_Reg paro_lua_tensor_reductions[];
extern const luaL_Reg paro_lua_tensor_products[];

#endif
