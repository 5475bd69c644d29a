/* SPDX-License-Identifier: MIT
 *
 * Tensors reduced: sum, mean, largest, smallest, largest magnitude, norm; of all elements (a
 * number), along rows' direction (dimension 1: [m]) or columns' (dimension 2: [n, 1]). In fp64, in
 * an order that does not depend on threads.
 */
#include <math.h>

#include "lua/sandbox.h"
#include "lua/tensor.h"

typedef enum reduction { SUM, MEAN, MAX, MIN, ABSMAX, NORM } reduction;

enum { TASK_COLUMNS = 64 };

static double start(reduction kind)
{
    return kind == MAX ? -INFINITY : kind == MIN ? INFINITY : 0;
}

/* NaN stays, once there. */
static double larger(double a, double b)
{
    return b > a || isnan(b) ? b : a;
}

/* A further element. */
static double take(reduction kind, double sum, double x)
{
    switch (kind) {
    case MAX:
        return larger(sum, x);
    case MIN:
        return -larger(-sum, -x);
    case ABSMAX:
        return larger(sum, fabs(x));
    case NORM:
        return sum + x * x;
    case SUM:
    case MEAN:
        break;
    }
    return sum + x;
}

/* Two parts' results. */
static double join(reduction kind, double a, double b)
{
    return kind == NORM || kind == MEAN ? a + b : take(kind, a, b);
}

static double finish(reduction kind, double sum, size_t n)
{
    return kind == MEAN ? sum / (double)n : kind == NORM ? sqrt(sum) : sum;
}

typedef struct reduce_task {
    reduction kind;
    const paro_lua_tensor *tensor;
    double *parts; /* of chunks */
    float *out;    /* of rows or columns */
} reduce_task;

static void reduce_chunk(void *context, size_t i, int worker)
{
    (void)worker;
    const reduce_task *task = context;
    size_t end = paro_lua_tensor_count(task->tensor);
    size_t first = i * PARO_LUA_TENSOR_TASK;
    if (end - first > PARO_LUA_TENSOR_TASK)
        end = first + PARO_LUA_TENSOR_TASK;
    double sum = start(task->kind);
    for (size_t at = first; at < end; at++)
        sum = take(task->kind, sum, (double)task->tensor->data[at]);
    task->parts[i] = sum;
}

static void reduce_row(void *context, size_t row, int worker)
{
    (void)worker;
    const reduce_task *task = context;
    size_t n = task->tensor->n_columns;
    double sum = start(task->kind);
    for (size_t i = 0; i < n; i++)
        sum = take(task->kind, sum, (double)task->tensor->data[row * n + i]);
    task->out[row] = (float)finish(task->kind, sum, n);
}

static void reduce_columns(void *context, size_t i, int worker)
{
    (void)worker;
    const reduce_task *task = context;
    size_t n = task->tensor->n_columns;
    size_t first = i * TASK_COLUMNS;
    size_t count = n - first < TASK_COLUMNS ? n - first : TASK_COLUMNS;
    double sums[TASK_COLUMNS];
    for (size_t c = 0; c < count; c++)
        sums[c] = start(task->kind);
    for (size_t row = 0; row < task->tensor->n_rows; row++) {
        const float *x = task->tensor->data + row * n + first;
        for (size_t c = 0; c < count; c++)
            sums[c] = take(task->kind, sums[c], (double)x[c]);
    }
    for (size_t c = 0; c < count; c++)
        task->out[first + c] = (float)finish(task->kind, sums[c], task->tensor->n_rows);
}

static int reduce(lua_State *state, reduction kind)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    reduce_task task = {.kind = kind, .tensor = tensor};
    size_t n = paro_lua_tensor_count(tensor);
    paro_sandbox_charge(state, n / PARO_LUA_TENSOR_CHEAP);
    if (lua_isnoneornil(state, 2)) {
        size_t n_chunks = (n + PARO_LUA_TENSOR_TASK - 1) / PARO_LUA_TENSOR_TASK;
        task.parts = lua_newuserdatauv(state, n_chunks * sizeof *task.parts, 0);
        paro_lua_tensor_run(state, n_chunks, reduce_chunk, &task);
        double sum = start(kind);
        for (size_t i = 0; i < n_chunks; i++)
            sum = join(kind, sum, task.parts[i]);
        lua_pushnumber(state, finish(kind, sum, n));
        return 1;
    }
    size_t dimension = paro_lua_tensor_index(state, 2, 2) + 1;
    if (tensor->rank != 2)
        return luaL_error(state,
                          "expected a tensor of rank 2 to reduce along dimension %I, found %s",
                          (lua_Integer)dimension, paro_lua_tensor_describe(state, tensor));
    if (dimension == 1) {
        task.out = paro_lua_tensor_push(state, 1, 1, tensor->n_columns)->data;
        paro_lua_tensor_run(state, (tensor->n_columns + TASK_COLUMNS - 1) / TASK_COLUMNS,
                            reduce_columns, &task);
    } else {
        task.out = paro_lua_tensor_push(state, 2, tensor->n_rows, 1)->data;
        paro_lua_tensor_run(state, tensor->n_rows, reduce_row, &task);
    }
    return 1;
}

static int tensor_sum(lua_State *state)
{
    return reduce(state, SUM);
}

static int tensor_mean(lua_State *state)
{
    return reduce(state, MEAN);
}

static int tensor_max(lua_State *state)
{
    return reduce(state, MAX);
}

static int tensor_min(lua_State *state)
{
    return reduce(state, MIN);
}

static int tensor_absmax(lua_State *state)
{
    return reduce(state, ABSMAX);
}

static int tensor_norm(lua_State *state)
{
    return reduce(state, NORM);
}

const luaL_Reg paro_lua_tensor_reductions[] = {
    {"sum", tensor_sum},       {"mean", tensor_mean}, {"max", tensor_max}, {"min", tensor_min},
    {"absmax", tensor_absmax}, {"norm", tensor_norm}, {NULL, NULL}};
