/* SPDX-License-Identifier: MIT
 *
 * Tensors element by element: operators with broadcasting, and functions.
 *
 * Broadcasting: dimensions are equal, or one of them is 1; of rank 1, [n] counts as [1, n]. A
 * number counts as [1].
 */
#include <math.h>

#include "base/dtype.h"
#include "lua/sandbox.h"
#include "lua/tensor.h"

/* ---- two operands ---- */

/* n values; a step is 0 where the operand is the same for all of them. */
typedef void binary_fn(const float *a, size_t a_step, const float *b, size_t b_step, size_t n,
                       float *out);

#define DEFINE_BINARY(name, expression)                                                            \
    static void name(const float *a, size_t a_step, const float *b, size_t b_step, size_t n,       \
                     float *out)                                                                   \
    {                                                                                              \
        if (a_step == 1 && b_step == 1) {                                                          \
            for (size_t i = 0; i < n; i++) {                                                       \
                const float x = a[i], y = b[i];                                                    \
                out[i] = (expression);                                                             \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
        for (size_t i = 0; i < n; i++) {                                                           \
            const float x = a[i * a_step], y = b[i * b_step];                                      \
            out[i] = (expression);                                                                 \
        }                                                                                          \
    }

DEFINE_BINARY(add_row, x + y)
DEFINE_BINARY(subtract_row, x - y)
DEFINE_BINARY(multiply_row, x *y)
DEFINE_BINARY(divide_row, x / y)
DEFINE_BINARY(power_row, powf(x, y))
/* NaN, where one of them is. */
DEFINE_BINARY(maximum_row, x > y || isnan(x) ? x : y)
DEFINE_BINARY(minimum_row, x < y || isnan(x) ? x : y)

typedef struct operand {
    const float *data;
    size_t n_rows, n_columns;
    int rank;
    float number; /* what data points to, for a number */
} operand;

typedef struct binary_task {
    binary_fn *fn;
    operand a, b;
    paro_lua_tensor *out;
    size_t n_task_rows;
} binary_task;

static void compute_rows(void *context, size_t i, int worker)
{
    (void)worker;
    const binary_task *task = context;
    const operand *a = &task->a;
    const operand *b = &task->b;
    paro_lua_tensor *out = task->out;
    size_t first = i * task->n_task_rows;
    size_t end = first + task->n_task_rows < out->n_rows ? first + task->n_task_rows : out->n_rows;
    for (size_t row = first; row < end; row++)
        task->fn(a->data + (a->n_rows > 1 ? row * a->n_columns : 0), a->n_columns > 1,
                 b->data + (b->n_rows > 1 ? row * b->n_columns : 0), b->n_columns > 1,
                 out->n_columns, out->data + row * out->n_columns);
}

static void read_operand(lua_State *state, int index, operand *out)
{
    if (lua_type(state, index) == LUA_TNUMBER) {
        *out = (operand){.data = &out->number,
                         .n_rows = 1,
                         .n_columns = 1,
                         .rank = 1,
                         .number = (float)lua_tonumber(state, index)};
        return;
    }
    const paro_lua_tensor *tensor = luaL_testudata(state, index, PARO_LUA_TENSOR_NAME);
    if (tensor == NULL)
        luaL_typeerror(state, index, "tensor or number");
    *out = (operand){.data = tensor->data,
                     .n_rows = tensor->n_rows,
                     .n_columns = tensor->n_columns,
                     .rank = tensor->rank};
}

static bool broadcast(size_t a, size_t b, size_t *out)
{
    *out = a > b ? a : b;
    return a == b || a == 1 || b == 1;
}

static int binary(lua_State *state, binary_fn *fn, unsigned n_per_instruction)
{
    binary_task task = {.fn = fn};
    size_t n_rows = 0;
    size_t n_columns = 0;
    read_operand(state, 1, &task.a);
    read_operand(state, 2, &task.b);
    int rank = task.a.rank > task.b.rank ? task.a.rank : task.b.rank;
    if (!broadcast(task.a.n_rows, task.b.n_rows, &n_rows) ||
        !broadcast(task.a.n_columns, task.b.n_columns, &n_columns))
        return luaL_error(
            state,
            "shapes do not go together: %s and %s (dimensions must be equal, or one of them 1)",
            paro_lua_tensor_describe(state, paro_lua_tensor_check(state, 1)),
            paro_lua_tensor_describe(state, paro_lua_tensor_check(state, 2)));
    task.out = paro_lua_tensor_push(state, rank, n_rows, n_columns);
    paro_sandbox_charge(state, (uint64_t)n_rows * n_columns / n_per_instruction);
    task.n_task_rows = PARO_LUA_TENSOR_TASK / n_columns + 1;
    paro_lua_tensor_run(state, (n_rows + task.n_task_rows - 1) / task.n_task_rows, compute_rows,
                        &task);
    return 1;
}

static int tensor_add(lua_State *state)
{
    return binary(state, add_row, PARO_LUA_TENSOR_CHEAP);
}

static int tensor_subtract(lua_State *state)
{
    return binary(state, subtract_row, PARO_LUA_TENSOR_CHEAP);
}

static int tensor_multiply(lua_State *state)
{
    return binary(state, multiply_row, PARO_LUA_TENSOR_CHEAP);
}

static int tensor_divide(lua_State *state)
{
    return binary(state, divide_row, PARO_LUA_TENSOR_CHEAP);
}

static int tensor_power(lua_State *state)
{
    return binary(state, power_row, PARO_LUA_TENSOR_DEAR);
}

static int tensor_maximum(lua_State *state)
{
    return binary(state, maximum_row, PARO_LUA_TENSOR_CHEAP);
}

static int tensor_minimum(lua_State *state)
{
    return binary(state, minimum_row, PARO_LUA_TENSOR_CHEAP);
}

/* ---- one operand ---- */

typedef void unary_fn(const float *x, size_t n, const float parameters[2], float *out);

#define DEFINE_UNARY(name, expression)                                                             \
    static void name(const float *x, size_t n, const float parameters[2], float *out)              \
    {                                                                                              \
        (void)parameters;                                                                          \
        for (size_t i = 0; i < n; i++) {                                                           \
            const float v = x[i];                                                                  \
            out[i] = (expression);                                                                 \
        }                                                                                          \
    }

DEFINE_UNARY(negate_values, -v)
DEFINE_UNARY(abs_values, fabsf(v))
DEFINE_UNARY(sqrt_values, sqrtf(v))
DEFINE_UNARY(exp_values, expf(v))
DEFINE_UNARY(log_values, logf(v))
DEFINE_UNARY(round_values, nearbyintf(v))
DEFINE_UNARY(f16_values, paro_f32_from_f16(paro_f16_from_f32(v)))
DEFINE_UNARY(clamp_values, v<parameters[0] ? parameters[0] : v> parameters[1] ? parameters[1] : v)

typedef struct unary_task {
    unary_fn *fn;
    const float *x;
    size_t n;
    float parameters[2];
    float *out;
} unary_task;

static void compute_chunk(void *context, size_t i, int worker)
{
    (void)worker;
    const unary_task *task = context;
    size_t first = i * PARO_LUA_TENSOR_TASK;
    size_t n = task->n - first < PARO_LUA_TENSOR_TASK ? task->n - first : PARO_LUA_TENSOR_TASK;
    task->fn(task->x + first, n, task->parameters, task->out + first);
}

static int unary(lua_State *state, unary_fn *fn, unsigned n_per_instruction, float low, float high)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    unary_task task = {
        .fn = fn, .x = tensor->data, .n = paro_lua_tensor_count(tensor), .parameters = {low, high}};
    task.out = paro_lua_tensor_push_like(state, tensor)->data;
    paro_sandbox_charge(state, task.n / n_per_instruction);
    paro_lua_tensor_run(state, (task.n + PARO_LUA_TENSOR_TASK - 1) / PARO_LUA_TENSOR_TASK,
                        compute_chunk, &task);
    return 1;
}

static int tensor_negate(lua_State *state)
{
    return unary(state, negate_values, PARO_LUA_TENSOR_CHEAP, 0, 0);
}

static int tensor_abs(lua_State *state)
{
    return unary(state, abs_values, PARO_LUA_TENSOR_CHEAP, 0, 0);
}

static int tensor_sqrt(lua_State *state)
{
    return unary(state, sqrt_values, PARO_LUA_TENSOR_CHEAP, 0, 0);
}

static int tensor_exp(lua_State *state)
{
    return unary(state, exp_values, PARO_LUA_TENSOR_DEAR, 0, 0);
}

static int tensor_log(lua_State *state)
{
    return unary(state, log_values, PARO_LUA_TENSOR_DEAR, 0, 0);
}

static int tensor_round(lua_State *state)
{
    return unary(state, round_values, PARO_LUA_TENSOR_CHEAP, 0, 0);
}

/* What F16 holds of it. */
static int tensor_to_f16(lua_State *state)
{
    return unary(state, f16_values, PARO_LUA_TENSOR_DEAR, 0, 0);
}

static int tensor_clamp(lua_State *state)
{
    float low = (float)luaL_checknumber(state, 2);
    float high = (float)luaL_checknumber(state, 3);
    if (!(low <= high))
        return luaL_error(state, "clamp: expected bounds in order, found %f and %f",
                          (lua_Number)low, (lua_Number)high);
    return unary(state, clamp_values, PARO_LUA_TENSOR_CHEAP, low, high);
}

const luaL_Reg paro_lua_tensor_math[] = {{"abs", tensor_abs},
                                         {"sqrt", tensor_sqrt},
                                         {"exp", tensor_exp},
                                         {"log", tensor_log},
                                         {"pow", tensor_power},
                                         {"round", tensor_round},
                                         {"to_f16", tensor_to_f16},
                                         {"clamp", tensor_clamp},
                                         {"maximum", tensor_maximum},
                                         {"minimum", tensor_minimum},
                                         {NULL, NULL}};

const luaL_Reg paro_lua_tensor_operators[] = {{"__add", tensor_add},
                                              {"__sub", tensor_subtract},
                                              {"__mul", tensor_multiply},
                                              {"__div", tensor_divide},
                                              {"__pow", tensor_power},
                                              {"__unm", tensor_negate},
                                              {NULL, NULL}};
