/* SPDX-License-Identifier: MIT
 *
 * Tensors multiplied, quantised and rotated.
 */
#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/reference.h"
#include "calib/plan.h"
#include "cpu/blas.h"
#include "lua/block.h"
#include "lua/options.h"
#include "lua/sandbox.h"
#include "lua/tensor.h"

/* ---- products ---- */

enum { TILE_ROWS = 64, TILE_COLUMNS = 512 };

/* Multiplications between two looks at the clock. */
static const uint64_t slice_products = (uint64_t)1 << 31;

typedef struct product_task {
    const float *a; /* [n_rows, n_inner] */
    const float *b; /* [n_inner, n_columns], or transposed */
    float *out;     /* [n_rows, n_columns] */
    size_t n_rows, n_inner, n_columns;
    bool transposed;
    size_t n_tile_columns; /* tiles side by side */
    size_t first;          /* tile of this run */
} product_task;

static void compute_tile(void *context, size_t i, int worker)
{
    (void)worker;
    const product_task *t = context;
    size_t row = (t->first + i) / t->n_tile_columns * TILE_ROWS;
    size_t column = (t->first + i) % t->n_tile_columns * TILE_COLUMNS;
    size_t n_rows = t->n_rows - row < TILE_ROWS ? t->n_rows - row : TILE_ROWS;
    size_t n_columns = t->n_columns - column < TILE_COLUMNS ? t->n_columns - column : TILE_COLUMNS;
    const float *a = t->a + row * t->n_inner;
    float *out = t->out + row * t->n_columns + column;
    if (t->transposed)
        paro_blas_product_transposed(n_rows, n_columns, t->n_inner, 1, a, t->n_inner,
                                     t->b + column * t->n_inner, t->n_inner, 0, out, t->n_columns);
    else
        paro_blas_product(n_rows, n_columns, t->n_inner, 1, a, t->n_inner, t->b + column,
                          t->n_columns, 0, out, t->n_columns);
}

static void multiply(lua_State *state, product_task *task)
{
    task->n_tile_columns = (task->n_columns + TILE_COLUMNS - 1) / TILE_COLUMNS;
    size_t n_tiles = (task->n_rows + TILE_ROWS - 1) / TILE_ROWS * task->n_tile_columns;
    uint64_t n_tile_rows = task->n_rows < TILE_ROWS ? task->n_rows : TILE_ROWS;
    uint64_t n_tile_columns = task->n_columns < TILE_COLUMNS ? task->n_columns : TILE_COLUMNS;
    uint64_t n_products = n_tile_rows * n_tile_columns * task->n_inner; /* of a tile, < 2^46 */
    size_t n_slice = n_products < slice_products ? slice_products / n_products : 1;
    for (task->first = 0; task->first < n_tiles; task->first += n_slice) {
        size_t n = n_tiles - task->first < n_slice ? n_tiles - task->first : n_slice;
        paro_sandbox_charge(state, n * n_products / PARO_LUA_TENSOR_MULTIPLIED + 1);
        paro_lua_tensor_run(state, n, compute_tile, task);
    }
}

static int fail_product(lua_State *state, const paro_lua_tensor *a, const paro_lua_tensor *b,
                        const char *inner)
{
    return luaL_error(state, "a product of %s and %s: expected %s",
                      paro_lua_tensor_describe(state, a), paro_lua_tensor_describe(state, b),
                      inner);
}

/* Of rank 1, the left operand is a row, the right one a column; the result then loses that
 * dimension, like NumPy's. */
static int product(lua_State *state, bool transposed)
{
    const paro_lua_tensor *a = paro_lua_tensor_check(state, 1);
    const paro_lua_tensor *b = paro_lua_tensor_check(state, 2);
    product_task task = {.a = a->data,
                         .b = b->data,
                         .n_rows = a->n_rows,
                         .n_inner = a->n_columns,
                         .n_columns = transposed ? b->n_rows : b->n_columns,
                         .transposed = transposed};
    if (b->rank == 1) { /* a column of n values lies in memory like the row [1, n] transposed */
        task.n_columns = 1;
        task.transposed = true;
    }
    size_t n_inner = b->rank == 1 || transposed ? b->n_columns : b->n_rows;
    if (n_inner != a->n_columns)
        return fail_product(state, a, b,
                            transposed ? "as many columns in both"
                                       : "as many columns in the first as rows in the second");
    bool matrix = a->rank == 2 && b->rank == 2;
    size_t n_out = matrix ? task.n_columns : task.n_rows * task.n_columns;
    task.out = paro_lua_tensor_push(state, matrix ? 2 : 1, matrix ? task.n_rows : 1, n_out)->data;
    multiply(state, &task);
    return 1;
}

static int tensor_matmul(lua_State *state)
{
    return product(state, false);
}

static int tensor_matmul_t(lua_State *state)
{
    return product(state, true);
}

/* ---- quantisation ---- */

typedef struct quantise_task {
    const paro_lua_tensor *tensor;
    size_t group_size;
    unsigned bits;
    float *scales;
    uint8_t *codes;
    uint8_t *zeros;
    float *out;
} quantise_task;

static float round_to_f16(float value)
{
    return paro_f32_from_f16(paro_f16_from_f32(value));
}

static void quantise_row(void *context, size_t row, int worker)
{
    (void)worker;
    const quantise_task *t = context;
    size_t n = t->tensor->n_columns;
    size_t n_groups = n / t->group_size;
    uint8_t *codes = t->codes + row * n;
    uint8_t *zeros = t->zeros + row * n_groups;
    float *scales = t->scales + row * n_groups;
    paro_ref_quantise_f32(t->tensor->data + row * n, 1, n, t->group_size, t->bits, round_to_f16,
                          codes, scales, zeros);
    paro_ref_dequantise_f32(codes, scales, zeros, 1, n, t->group_size, t->out + row * n);
}

static void check_finite(lua_State *state, const paro_lua_tensor *tensor, const char *function)
{
    size_t n = paro_lua_tensor_count(tensor);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(tensor->data[i]))
            luaL_error(state, "%s: expected finite values, found %f at place %I", function,
                       (lua_Number)tensor->data[i], (lua_Integer)i + 1);
    }
}

/* t:quantise{bits=, group_size=}: what rounding to nearest makes of it, as the method rtn does. */
static int tensor_quantise(lua_State *state)
{
    static const char *const keys[] = {"bits", "group_size"};
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    paro_lua_options o =
        paro_lua_options_read(state, 2, "quantise", keys, sizeof keys / sizeof *keys);
    quantise_task task = {.tensor = tensor};
    task.bits =
        (unsigned)paro_lua_options_integer(&o, "bits", PARO_PLAN_MIN_BITS, PARO_PLAN_MAX_BITS, 4);
    task.group_size =
        (size_t)paro_lua_options_integer(&o, "group_size", 1, PARO_LUA_TENSOR_MAX, 128);
    if (tensor->n_columns % task.group_size != 0)
        return luaL_error(state, "quantise: group_size %I does not divide the %I columns",
                          (lua_Integer)task.group_size, (lua_Integer)tensor->n_columns);
    size_t n = paro_lua_tensor_count(tensor);
    size_t n_groups = n / task.group_size;
    paro_sandbox_charge(state, n / PARO_LUA_TENSOR_DEAR);
    check_finite(state, tensor, "quantise");
    task.out = paro_lua_tensor_push_like(state, tensor)->data;
    task.scales = paro_sandbox_data_alloc(state, n_groups * (sizeof *task.scales + 1) + n);
    task.zeros = (uint8_t *)(task.scales + n_groups);
    task.codes = task.zeros + n_groups;
    paro_lua_tensor_run(state, tensor->n_rows, quantise_row, &task);
    paro_sandbox_data_free(state, task.scales);
    return 1;
}

/* ---- rotation ---- */

typedef struct rotate_task {
    const paro_train_linear *linear;
    const float *turns; /* [krot * n_in / 2][2]: cosine and sine of every angle */
    bool backwards;
    float *x; /* [rows, n_in] */
} rotate_task;

static void rotate_row(void *context, size_t row, int worker)
{
    (void)worker;
    const rotate_task *t = context;
    size_t n = t->linear->n_in;
    size_t half_group = t->linear->group_size / 2;
    float *x = t->x + row * n;
    for (size_t k = 0; k < t->linear->krot; k++) {
        size_t round = t->backwards ? t->linear->krot - 1 - k : k;
        const int16_t *pairs = t->linear->pairs + round * n;
        const float *turns = t->turns + round * n;
        for (size_t slot = 0; slot < n / 2; slot++) {
            size_t first = slot / half_group * t->linear->group_size;
            float *a = &x[first + (size_t)pairs[2 * slot]];
            float *b = &x[first + (size_t)pairs[2 * slot + 1]];
            if (a == b)
                continue;
            float cosine = turns[2 * slot];
            float sine = t->backwards ? -turns[2 * slot + 1] : turns[2 * slot + 1];
            float before = *a;
            *a = before * cosine + *b * sine;
            *b = *b * cosine - before * sine;
        }
    }
}

static int rotate(lua_State *state, bool backwards)
{
    const paro_lua_tensor *tensor = paro_lua_tensor_check(state, 1);
    const paro_train_linear *linear = paro_lua_check_linear(state, 2);
    if (tensor->n_columns != linear->n_in)
        return luaL_error(state, "expected as many columns as %s has inputs, %I, found %s",
                          linear->name, (lua_Integer)linear->n_in,
                          paro_lua_tensor_describe(state, tensor));
    size_t n_theta = (size_t)linear->krot * linear->n_in / 2;
    paro_sandbox_charge(state, paro_lua_tensor_count(tensor) / PARO_LUA_TENSOR_DEAR *
                                   (1 + (uint64_t)linear->krot));
    paro_lua_tensor *out = paro_lua_tensor_push_like(state, tensor);
    memcpy(out->data, tensor->data, paro_lua_tensor_count(tensor) * sizeof *out->data);
    if (linear->krot == 0)
        return 1;
    float *turns = paro_sandbox_data_alloc(state, 2 * n_theta * sizeof *turns);
    for (size_t i = 0; i < n_theta; i++) {
        turns[2 * i] = (float)cos((double)linear->theta[i]);
        turns[2 * i + 1] = (float)sin((double)linear->theta[i]);
    }
    rotate_task task = {linear, turns, backwards, out->data};
    paro_lua_tensor_run(state, tensor->n_rows, rotate_row, &task);
    paro_sandbox_data_free(state, turns);
    return 1;
}

static int tensor_rotate(lua_State *state)
{
    return rotate(state, false);
}

static int tensor_unrotate(lua_State *state)
{
    return rotate(state, true);
}

const luaL_Reg paro_lua_tensor_products[] = {
    {"matmul", tensor_matmul}, {"matmul_t", tensor_matmul_t}, {"quantise", tensor_quantise},
    {"rotate", tensor_rotate}, {"unrotate", tensor_unrotate}, {NULL, NULL}};
