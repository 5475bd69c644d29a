/* SPDX-License-Identifier: MIT
 *
 * Tensors: how they are made, looked into and cut up.
 */
#include "lua/tensor.h"

#include <string.h>

#include "base/rng.h"
#include "lua/sandbox.h"

paro_lua_tensor *paro_lua_tensor_check(lua_State *state, int index)
{
    return luaL_checkudata(state, index, PARO_LUA_TENSOR_NAME);
}

size_t paro_lua_tensor_count(const paro_lua_tensor *tensor)
{
    return tensor->n_rows * tensor->n_columns;
}

paro_lua_tensor *paro_lua_tensor_push(lua_State *state, int rank, size_t n_rows, size_t n_columns)
{
    luaL_checkstack(state, 4, "tensor");
    paro_lua_tensor *tensor = lua_newuserdatauv(state, sizeof *tensor, 0);
    *tensor = (paro_lua_tensor){.rank = rank, .n_rows = n_rows, .n_columns = n_columns};
    luaL_setmetatable(state, PARO_LUA_TENSOR_NAME);
    /* Dimensions are at most 2^30: no overflow. */
    uint64_t n = (uint64_t)n_rows * n_columns;
    paro_sandbox_charge(state, n / PARO_LUA_TENSOR_CHEAP);
    tensor->data = paro_sandbox_data_alloc(state, n * sizeof *tensor->data);
    return tensor;
}

paro_lua_tensor *paro_lua_tensor_push_like(lua_State *state, const paro_lua_tensor *tensor)
{
    return paro_lua_tensor_push(state, tensor->rank, tensor->n_rows, tensor->n_columns);
}

const char *paro_lua_tensor_describe(lua_State *state, const paro_lua_tensor *tensor)
{
    if (tensor->rank == 1)
        return lua_pushfstring(state, "[%I]", (lua_Integer)tensor->n_columns);
    return lua_pushfstring(state, "[%I, %I]", (lua_Integer)tensor->n_rows,
                           (lua_Integer)tensor->n_columns);
}

size_t paro_lua_tensor_dimension(lua_State *state, int argument)
{
    lua_Integer n = luaL_checkinteger(state, argument);
    if (n < 1 || n > PARO_LUA_TENSOR_MAX)
        luaL_argerror(state, argument,
                      lua_pushfstring(state, "expected a dimension from 1 to %I, found %I",
                                      (lua_Integer)PARO_LUA_TENSOR_MAX, n));
    return (size_t)n;
}

size_t paro_lua_tensor_index(lua_State *state, int argument, size_t n)
{
    lua_Integer i = luaL_checkinteger(state, argument);
    if (i < 1 || (lua_Unsigned)i > n)
        luaL_argerror(
            state, argument,
            lua_pushfstring(state, "expected an index from 1 to %I, found %I", (lua_Integer)n, i));
    return (size_t)i - 1;
}

void paro_lua_tensor_run(lua_State *state, size_t n_tasks, paro_task_fn *fn, void *context)
{
    paro_sandbox_enter_stage(state);
    paro_pool_run(paro_sandbox_pool(state), n_tasks, fn, context);
    paro_sandbox_leave_stage(state);
}

static int free_tensor(lua_State *state)
{
    paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    paro_sandbox_data_free(state, tensor->data);
    tensor->data = NULL;
    return 0;
}

/* Pushes a tensor of the shape in arguments first and first + 1 (which may be absent: rank 1). */
static paro_lua_tensor *push_shaped(lua_State *state, int first)
{
    size_t n = paro_lua_tensor_dimension(state, first);
    if (lua_isnoneornil(state, first + 1))
        return paro_lua_tensor_push(state, 1, 1, n);
    return paro_lua_tensor_push(state, 2, n, paro_lua_tensor_dimension(state, first + 1));
}

/* ---- the table `tensor` ---- */

static void fill(paro_lua_tensor *tensor, float value)
{
    size_t n = paro_lua_tensor_count(tensor);
    for (size_t i = 0; i < n; i++)
        tensor->data[i] = value;
}

/* tensor.zeros(n [, m]) */
static int tensor_zeros(lua_State *state)
{
    fill(push_shaped(state, 1), 0);
    return 1;
}

/* tensor.full(value, n [, m]) */
static int tensor_full(lua_State *state)
{
    float value = (float)luaL_checknumber(state, 1);
    fill(push_shaped(state, 2), value);
    return 1;
}

/* tensor.random(n, m or nil, seed): normal, mean 0 and variance 1. */
static int tensor_random(lua_State *state)
{
    lua_Integer seed = luaL_checkinteger(state, 3);
    paro_lua_tensor *tensor = push_shaped(state, 1);
    size_t n = paro_lua_tensor_count(tensor);
    paro_sandbox_charge(state, n);
    paro_rng rng;
    paro_rng_seed(&rng, (uint64_t)seed);
    for (size_t i = 0; i < n; i++)
        tensor->data[i] = paro_rng_normal(&rng);
    return 1;
}

/* The numbers of the list at `index` into `out`. */
static void read_numbers(lua_State *state, int index, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        int is_number = 0;
        lua_rawgeti(state, index, (lua_Integer)i + 1);
        if (lua_type(state, -1) == LUA_TNUMBER)
            out[i] = (float)lua_tonumberx(state, -1, &is_number);
        if (!is_number)
            luaL_error(state, "tensor.of: expected a number at place %I, found a %s",
                       (lua_Integer)i + 1, luaL_typename(state, -1));
        lua_pop(state, 1);
    }
}

static size_t list_length(lua_State *state, int index)
{
    size_t n = lua_type(state, index) == LUA_TTABLE ? lua_rawlen(state, index) : 0;
    if (n < 1 || n > PARO_LUA_TENSOR_MAX)
        luaL_error(state, "tensor.of: expected a list of numbers, or of such lists, found %s",
                   lua_type(state, index) == LUA_TTABLE ? "an empty table"
                                                        : luaL_typename(state, index));
    return n;
}

/* tensor.of{1, 2} or tensor.of{{1, 2}, {3, 4}} */
static int tensor_of(lua_State *state)
{
    lua_settop(state, 1);
    size_t n = list_length(state, 1);
    if (lua_rawgeti(state, 1, 1) != LUA_TTABLE) {
        paro_sandbox_charge(state, n);
        read_numbers(state, 1, n, paro_lua_tensor_push(state, 1, 1, n)->data);
        return 1;
    }
    size_t n_columns = list_length(state, 2);
    paro_lua_tensor *tensor = paro_lua_tensor_push(state, 2, n, n_columns);
    for (size_t row = 0; row < n; row++) {
        lua_rawgeti(state, 1, (lua_Integer)row + 1);
        size_t n_found = list_length(state, lua_gettop(state));
        if (n_found != n_columns)
            return luaL_error(state, "tensor.of: expected %I numbers in row %I, found %I",
                              (lua_Integer)n_columns, (lua_Integer)row + 1, (lua_Integer)n_found);
        paro_sandbox_charge(state, n_columns);
        read_numbers(state, lua_gettop(state), n_columns, tensor->data + row * n_columns);
        lua_pop(state, 1);
    }
    return 1;
}

/* ---- access and shape ---- */

static int tensor_shape(lua_State *state)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    if (tensor->rank == 2)
        lua_pushinteger(state, (lua_Integer)tensor->n_rows);
    lua_pushinteger(state, (lua_Integer)tensor->n_columns);
    return tensor->rank;
}

static int tensor_length(lua_State *state)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    lua_pushinteger(state, (lua_Integer)(tensor->rank == 1 ? tensor->n_columns : tensor->n_rows));
    return 1;
}

static int tensor_to_string(lua_State *state)
{
    const char *shape = paro_lua_tensor_describe(state, paro_lua_tensor_check(state, 1));
    lua_pushfstring(state, "tensor %s", shape);
    return 1;
}

/* The element that arguments 2 (and 3, of rank 2) name. */
static float *element(lua_State *state, paro_lua_tensor *tensor)
{
    size_t row = tensor->rank == 2 ? paro_lua_tensor_index(state, 2, tensor->n_rows) : 0;
    size_t column = paro_lua_tensor_index(state, 1 + tensor->rank, tensor->n_columns);
    return &tensor->data[row * tensor->n_columns + column];
}

static int tensor_get(lua_State *state)
{
    lua_pushnumber(state, (lua_Number)*element(state, paro_lua_tensor_check(state, 1)));
    return 1;
}

static int tensor_set(lua_State *state)
{
    paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    float *at = element(state, tensor);
    *at = (float)luaL_checknumber(state, 2 + tensor->rank);
    return 0;
}

static int tensor_copy(lua_State *state)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    paro_lua_tensor *copy = paro_lua_tensor_push_like(state, tensor);
    memcpy(copy->data, tensor->data, paro_lua_tensor_count(tensor) * sizeof *copy->data);
    return 1;
}

static int tensor_reshape(lua_State *state)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    bool flat = lua_isnoneornil(state, 3);
    size_t n_rows = flat ? 1 : paro_lua_tensor_dimension(state, 2);
    size_t n_columns = paro_lua_tensor_dimension(state, flat ? 2 : 3);
    size_t n = paro_lua_tensor_count(tensor);
    if (n_rows * n_columns != n)
        return luaL_error(state, "reshape: expected a shape of %I elements, found %I * %I",
                          (lua_Integer)n, (lua_Integer)n_rows, (lua_Integer)n_columns);
    paro_lua_tensor *out = paro_lua_tensor_push(state, flat ? 1 : 2, n_rows, n_columns);
    memcpy(out->data, tensor->data, n * sizeof *out->data);
    return 1;
}

/* Arguments 2 and 3: the first and the last of n, both from 1. */
static void check_range(lua_State *state, size_t n, size_t *first, size_t *count)
{
    size_t from = paro_lua_tensor_index(state, 2, n);
    size_t last = lua_isnoneornil(state, 3) ? n - 1 : paro_lua_tensor_index(state, 3, n);
    if (last < from)
        luaL_error(state, "expected a range that is not empty, found %I to %I",
                   (lua_Integer)from + 1, (lua_Integer)last + 1);
    *first = from;
    *count = last - from + 1;
}

static void check_matrix(lua_State *state, const paro_lua_tensor *tensor, const char *function)
{
    if (tensor->rank != 2)
        luaL_error(state, "%s: expected a tensor of rank 2, found %s", function,
                   paro_lua_tensor_describe(state, tensor));
}

/* Copies n_rows by n_columns values between two rectangles of other strides. */
static void copy_rectangle(const float *from, size_t from_stride, size_t n_rows, size_t n_columns,
                           float *to, size_t to_stride)
{
    for (size_t row = 0; row < n_rows; row++)
        memcpy(to + row * to_stride, from + row * from_stride, n_columns * sizeof *to);
}

/* t:rows(first [, last]) */
static int tensor_rows(lua_State *state)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    size_t first = 0;
    size_t count = 0;
    check_matrix(state, tensor, "rows");
    check_range(state, tensor->n_rows, &first, &count);
    paro_lua_tensor *out = paro_lua_tensor_push(state, 2, count, tensor->n_columns);
    copy_rectangle(tensor->data + first * tensor->n_columns, tensor->n_columns, count,
                   tensor->n_columns, out->data, out->n_columns);
    return 1;
}

/* t:columns(first [, last]); of rank 1, its elements. */
static int tensor_columns(lua_State *state)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    size_t first = 0;
    size_t count = 0;
    check_range(state, tensor->n_columns, &first, &count);
    paro_lua_tensor *out = paro_lua_tensor_push(state, tensor->rank, tensor->n_rows, count);
    copy_rectangle(tensor->data + first, tensor->n_columns, tensor->n_rows, count, out->data,
                   count);
    return 1;
}

/* Argument 3 of set_rows and set_columns: it and what it replaces have these sizes. */
static const paro_lua_tensor *check_part(lua_State *state, const char *function, size_t n_rows,
                                         size_t n_columns, size_t most_rows, size_t most_columns)
{
    const paro_lua_tensor *part = paro_lua_tensor_check(state, 3);
    bool fits = (n_rows == 0 || part->n_rows == n_rows) &&
                (n_columns == 0 || part->n_columns == n_columns) && part->n_rows <= most_rows &&
                part->n_columns <= most_columns;
    if (!fits)
        luaL_error(state, "%s: expected a tensor of at most [%I, %I], found %s", function,
                   (lua_Integer)most_rows, (lua_Integer)most_columns,
                   paro_lua_tensor_describe(state, part));
    paro_sandbox_charge(state, paro_lua_tensor_count(part) / PARO_LUA_TENSOR_CHEAP);
    return part;
}

/* t:set_rows(first, u): the rows from `first` become u's. */
static int tensor_set_rows(lua_State *state)
{
    paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    check_matrix(state, tensor, "set_rows");
    size_t first = paro_lua_tensor_index(state, 2, tensor->n_rows);
    const paro_lua_tensor *part = check_part(state, "set_rows", 0, tensor->n_columns,
                                             tensor->n_rows - first, tensor->n_columns);
    memmove(tensor->data + first * tensor->n_columns, part->data,
            paro_lua_tensor_count(part) * sizeof *part->data);
    return 0;
}

/* t:set_columns(first, u) */
static int tensor_set_columns(lua_State *state)
{
    paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    size_t first = paro_lua_tensor_index(state, 2, tensor->n_columns);
    const paro_lua_tensor *part = check_part(state, "set_columns", tensor->n_rows, 0,
                                             tensor->n_rows, tensor->n_columns - first);
    if (part != tensor)
        copy_rectangle(part->data, part->n_columns, part->n_rows, part->n_columns,
                       tensor->data + first, tensor->n_columns);
    return 0;
}

static int tensor_transpose(lua_State *state)
{
    enum { TILE = 32 };
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    check_matrix(state, tensor, "transpose");
    size_t n_rows = tensor->n_rows;
    size_t n_columns = tensor->n_columns;
    paro_lua_tensor *out = paro_lua_tensor_push(state, 2, n_columns, n_rows);
    for (size_t first = 0; first < n_rows; first += TILE) {
        size_t end = first + TILE < n_rows ? first + TILE : n_rows;
        for (size_t column = 0; column < n_columns; column++) {
            for (size_t row = first; row < end; row++)
                out->data[column * n_rows + row] = tensor->data[row * n_columns + column];
        }
    }
    return 1;
}

const luaL_Reg paro_lua_tensor_access[] = {{"shape", tensor_shape},
                                           {"get", tensor_get},
                                           {"set", tensor_set},
                                           {"copy", tensor_copy},
                                           {"reshape", tensor_reshape},
                                           {"rows", tensor_rows},
                                           {"columns", tensor_columns},
                                           {"set_rows", tensor_set_rows},
                                           {"set_columns", tensor_set_columns},
                                           {"transpose", tensor_transpose},
                                           {NULL, NULL}};

int paro_sandbox_open_tensor(lua_State *state)
{
    static const luaL_Reg constructors[] = {{"zeros", tensor_zeros},
                                            {"full", tensor_full},
                                            {"of", tensor_of},
                                            {"random", tensor_random},
                                            {NULL, NULL}};
    static const luaL_Reg life[] = {{"__gc", free_tensor},
                                    {"__len", tensor_length},
                                    {"__tostring", tensor_to_string},
                                    {NULL, NULL}};
    luaL_newmetatable(state, PARO_LUA_TENSOR_NAME);
    luaL_setfuncs(state, life, 0);
    luaL_setfuncs(state, paro_lua_tensor_operators, 0);
    lua_createtable(state, 0, 48);
    luaL_setfuncs(state, paro_lua_tensor_access, 0);
    luaL_setfuncs(state, paro_lua_tensor_math, 0);
    luaL_setfuncs(state, paro_lua_tensor_reductions, 0);
    luaL_setfuncs(state, paro_lua_tensor_products, 0);
    lua_setfield(state, -2, "__index");
    lua_pop(state, 1);
    luaL_newlib(state, constructors);
    return 1;
}
