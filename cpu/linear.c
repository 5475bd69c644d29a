/* SPDX-License-Identifier: MIT
 *
 * The product of a linear layer: rotation of its input, then one of four ways through its weight.
 *
 * Few rows of x: the weight is read in its own type and multiplied in registers (cpu_kernels.h), at
 * the speed of memory. Many: a task expands a panel of outputs to fp32, a piece of the inputs at a
 * time, and multiplies with OpenBLAS. Panels and pieces are cut by shape alone.
 */
#include "cpu/linear.h"

#include <stdlib.h>
#include <string.h>

#include "base/pack.h"
#include "cpu/blas.h"
#include "cpu/linear_tables.h"

enum {
    DENSE_TASK_ROWS = 64,    /* rows of a dense weight a task, where x has few */
    WORDS_STEP = 32,         /* a packed task's words are a multiple of it ... */
    WORDS_MAX = 512,         /* ... and at most this, so that its sums stay in the cache */
    TASKS_PER_THREAD = 2,    /* at least, where there is enough work */
    PANEL_OUTPUTS = 256,     /* columns of a panel */
    PANEL_INPUTS = 1024,     /* rows of a piece: a panel's piece is 1 MiB */
    ROTATE_CHANNELS = 2048,  /* a task of the rotation, about */
    SMALL_PRODUCT = 1 << 18, /* multiplications that are done before other threads have woken, */
    SMALL_ROTATION = 1 << 15 /* and channels times rounds */
};

typedef struct product {
    const paro_linear *linear;
    const paro_linear_tables *tables;
    const paro_cpu_kernels *kernels;
    const float *x; /* [m, n_in]; rotated, where the weight is */
    size_t m;
    float *y;
    float *rotated;       /* what x will be */
    float *sums;          /* [m, n_groups] */
    size_t task_groups;   /* of one rotation task */
    size_t task_words;    /* of one packed product task */
    float *scratch;       /* of all workers */
    size_t scratch_count; /* of one worker */
} product;

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t pieces_of(size_t n, size_t piece)
{
    return n / piece + (n % piece != 0);
}

/* count * item_count floats; NULL where out of memory or over the address space. */
static float *floats_alloc(size_t count, size_t item_count)
{
    if (item_count != 0 && count > SIZE_MAX / sizeof(float) / item_count)
        return NULL;
    return malloc((count * item_count + 1) * sizeof(float));
}

static float *worker_scratch(const product *p, int worker)
{
    return p->scratch + (size_t)worker * p->scratch_count;
}

static paro_status scratch_alloc(paro_error *err, product *p, const paro_pool *pool,
                                 size_t count_each)
{
    p->scratch_count = count_each;
    p->scratch = floats_alloc((size_t)paro_pool_n_threads(pool), count_each);
    if (!p->scratch)
        return paro_fail_memory(err, count_each * sizeof(float), "a linear's scratch");
    return PARO_STATUS_OK;
}

/* y [m, n_outputs] from `first` on += bias. */
static void add_bias(const product *p, size_t first, size_t n_outputs)
{
    const paro_tensor *bias = p->linear->bias;
    if (!bias)
        return;
    float piece[256];
    const unsigned char *data = bias->data;
    size_t value_bytes = paro_dtype_bytes(bias->dtype);
    for (size_t done = 0; done < n_outputs; done += 256) {
        size_t n = min_size(256, n_outputs - done);
        paro_f32_from_array(piece, data + (first + done) * value_bytes, bias->dtype, n);
        for (size_t row = 0; row < p->m; row++) {
            float *y = p->y + row * p->linear->n_out + first + done;
            for (size_t i = 0; i < n; i++)
                y[i] += piece[i];
        }
    }
}

/* --- rotation ------------------------------------------------------------------------------- */

void paro_linear_rotate(const paro_linear *linear, const paro_linear_tables *tables, size_t group,
                        float *x)
{
    size_t n_turns = (size_t)linear->krot * (linear->group_size / 2);
    const paro_turn *turns = tables->turns + group * n_turns;
    for (size_t t = 0; t < n_turns; t++) {
        paro_turn turn = turns[t];
        float a = x[turn.i], b = x[turn.j];
        x[turn.i] = a * turn.cosine + b * turn.sine;
        x[turn.j] = b * turn.cosine - a * turn.sine;
    }
}

void paro_linear_unrotate(const paro_linear *linear, const paro_linear_tables *tables, size_t group,
                          float *x)
{
    size_t n_turns = (size_t)linear->krot * (linear->group_size / 2);
    const paro_turn *turns = tables->turns + group * n_turns;
    for (size_t t = n_turns; t-- > 0;) {
        paro_turn turn = turns[t];
        float a = x[turn.i], b = x[turn.j];
        x[turn.i] = a * turn.cosine - b * turn.sine;
        x[turn.j] = b * turn.cosine + a * turn.sine;
    }
}

/* Task i: some groups of one row of x: scaled, rotated, summed. */
static void rotate_task(void *context, size_t i, int worker)
{
    (void)worker;
    const product *p = context;
    size_t n_in = p->linear->n_in, group_size = p->linear->group_size;
    size_t n_groups = n_in / group_size;
    size_t tasks_per_row = pieces_of(n_groups, p->task_groups);
    size_t row = i / tasks_per_row;
    size_t first = i % tasks_per_row * p->task_groups;
    size_t end = min_size(first + p->task_groups, n_groups);
    for (size_t group = first; group < end; group++) {
        const float *x = p->x + row * n_in + group * group_size;
        const float *scales = p->tables->channel_scales;
        if (p->rotated) {
            float *out = p->rotated + row * n_in + group * group_size;
            for (size_t c = 0; c < group_size; c++)
                out[c] = scales ? x[c] * scales[group * group_size + c] : x[c];
            if (p->tables->turns)
                paro_linear_rotate(p->linear, p->tables, group, out);
            x = out;
        }
        double sum = 0;
        for (size_t c = 0; c < group_size; c++)
            sum += (double)x[c];
        p->sums[row * n_groups + group] = (float)sum;
    }
}

static paro_status rotate(paro_error *err, product *p, paro_pool *pool)
{
    size_t n_in = p->linear->n_in, n_groups = n_in / p->linear->group_size;
    if (p->tables->turns || p->tables->channel_scales) {
        p->rotated = floats_alloc(p->m, n_in);
        if (!p->rotated)
            return paro_fail_memory(err, p->m * n_in * sizeof(float), "a rotated input");
    }
    p->sums = floats_alloc(p->m, n_groups);
    if (!p->sums)
        return paro_fail_memory(err, p->m * n_groups * sizeof(float), "sums of an input");
    p->task_groups = ROTATE_CHANNELS / p->linear->group_size;
    if (p->task_groups == 0)
        p->task_groups = 1;
    if (n_in * (1 + (size_t)p->linear->krot) <= SMALL_ROTATION / p->m)
        pool = NULL;
    paro_pool_run(pool, p->m * pieces_of(n_groups, p->task_groups), rotate_task, p);
    if (p->rotated)
        p->x = p->rotated;
    return PARO_STATUS_OK;
}

/* --- dense ---------------------------------------------------------------------------------- */

static void dense_dot_task(void *context, size_t i, int worker)
{
    (void)worker;
    const product *p = context;
    const paro_tensor *weight = p->linear->weight;
    size_t n_in = p->linear->n_in, n_out = p->linear->n_out;
    size_t first = i * DENSE_TASK_ROWS;
    size_t n_rows = min_size(DENSE_TASK_ROWS, n_out - first);
    size_t row_bytes = n_in * paro_dtype_bytes(weight->dtype);
    p->kernels->dot((const unsigned char *)weight->data + first * row_bytes, weight->dtype, n_rows,
                    n_in, p->x, p->m, p->y + first, n_out);
    add_bias(p, first, n_rows);
}

static void dense_panel_task(void *context, size_t i, int worker)
{
    const product *p = context;
    const paro_tensor *weight = p->linear->weight;
    float *panel = worker_scratch(p, worker);
    size_t n_in = p->linear->n_in, n_out = p->linear->n_out;
    size_t first = i * PANEL_OUTPUTS;
    size_t n_outputs = min_size(PANEL_OUTPUTS, n_out - first);
    size_t value_bytes = paro_dtype_bytes(weight->dtype);
    const unsigned char *rows = (const unsigned char *)weight->data + first * n_in * value_bytes;
    for (size_t k = 0; k < n_in; k += PANEL_INPUTS) {
        size_t n_inputs = min_size(PANEL_INPUTS, n_in - k);
        for (size_t row = 0; row < n_outputs; row++)
            p->kernels->convert(panel + row * n_inputs, rows + (row * n_in + k) * value_bytes,
                                weight->dtype, n_inputs);
        paro_blas_product_transposed(p->m, n_outputs, n_inputs, 1, p->x + k, n_in, panel, n_inputs,
                                     k == 0 ? 0 : 1, p->y + first, n_out);
    }
    add_bias(p, first, n_outputs);
}

static paro_status forward_dense(paro_error *err, product *p, paro_pool *pool)
{
    size_t n_out = p->linear->n_out;
    if (p->m <= p->kernels->few_rows) {
        paro_pool_run(pool, pieces_of(n_out, DENSE_TASK_ROWS), dense_dot_task, p);
        return PARO_STATUS_OK;
    }
    paro_status status = scratch_alloc(err, p, pool, (size_t)PANEL_OUTPUTS * PANEL_INPUTS);
    if (status == PARO_STATUS_OK)
        paro_pool_run(pool, pieces_of(n_out, PANEL_OUTPUTS), dense_panel_task, p);
    return status;
}

/* --- packed --------------------------------------------------------------------------------- */

static void w4_dot_task(void *context, size_t i, int worker)
{
    const product *p = context;
    size_t first = i * p->task_words;
    size_t n_words = min_size(p->task_words, p->linear->n_out / PARO_CODES_PER_WORD - first);
    p->kernels->w4_dot(&p->tables->w4, first, n_words, p->x, p->m, p->sums,
                       worker_scratch(p, worker), p->y);
    add_bias(p, first * PARO_CODES_PER_WORD, n_words * PARO_CODES_PER_WORD);
}

static void w4_panel_task(void *context, size_t i, int worker)
{
    const product *p = context;
    size_t n_in = p->linear->n_in, n_out = p->linear->n_out;
    size_t first = i * p->task_words;
    size_t n_words = min_size(p->task_words, n_out / PARO_CODES_PER_WORD - first);
    size_t padded = paro_cpu_padded_columns(p->kernels, n_words);
    float *panel = worker_scratch(p, worker);
    float *lanes = panel + padded * PANEL_INPUTS; /* y [m, padded] in lane order */
    for (size_t k = 0; k < n_in; k += PANEL_INPUTS) {
        size_t n_inputs = min_size(PANEL_INPUTS, n_in - k);
        p->kernels->w4_panel(&p->tables->w4, first, n_words, k, n_inputs, panel);
        paro_blas_product(p->m, padded, n_inputs, 1, p->x + k, n_in, panel, padded, k == 0 ? 0 : 1,
                          lanes, padded);
    }
    for (size_t row = 0; row < p->m; row++)
        p->kernels->w4_columns(lanes + row * padded, n_words,
                               p->y + row * n_out + first * PARO_CODES_PER_WORD);
    add_bias(p, first * PARO_CODES_PER_WORD, n_words * PARO_CODES_PER_WORD);
}

static paro_status forward_w4(paro_error *err, product *p, paro_pool *pool)
{
    paro_status status = rotate(err, p, pool);
    if (status != PARO_STATUS_OK)
        return status;
    size_t n_words = p->linear->n_out / PARO_CODES_PER_WORD;
    if (p->m <= p->kernels->few_rows) {
        size_t n_tasks = TASKS_PER_THREAD * (size_t)paro_pool_n_threads(pool);
        p->task_words = pieces_of(pieces_of(n_words, n_tasks), WORDS_STEP) * WORDS_STEP;
        p->task_words = min_size(p->task_words, WORDS_MAX);
        size_t padded = paro_cpu_padded_columns(p->kernels, p->task_words);
        status = scratch_alloc(err, p, pool, 2 * p->m * padded);
        if (status == PARO_STATUS_OK)
            paro_pool_run(pool, pieces_of(n_words, p->task_words), w4_dot_task, p);
        return status;
    }
    p->task_words = PANEL_OUTPUTS / PARO_CODES_PER_WORD;
    size_t padded = paro_cpu_padded_columns(p->kernels, p->task_words);
    if (p->m > SIZE_MAX / sizeof(float) / padded - PANEL_INPUTS)
        return paro_fail_memory(err, SIZE_MAX, "a linear's scratch");
    status = scratch_alloc(err, p, pool, (PANEL_INPUTS + p->m) * padded);
    if (status == PARO_STATUS_OK)
        paro_pool_run(pool, pieces_of(n_words, p->task_words), w4_panel_task, p);
    return status;
}

paro_status paro_linear_forward_with(paro_error *err, paro_linear *linear, paro_pool *pool,
                                     const paro_cpu_kernels *kernels, const float *x, size_t m,
                                     float *y)
{
    paro_status status = paro_linear_prepare(err, linear);
    if (status != PARO_STATUS_OK || m == 0)
        return status;
    product p = {
        .linear = linear,
        .tables = atomic_load_explicit(&linear->tables, memory_order_acquire),
        .kernels = kernels,
        .x = x,
        .m = m,
        .y = y,
    };
    if ((uint64_t)linear->n_in * linear->n_out <= SMALL_PRODUCT / m)
        pool = NULL;
    status = linear->kind == PARO_LINEAR_KIND_DENSE ? forward_dense(err, &p, pool)
                                                    : forward_w4(err, &p, pool);
    free(p.rotated);
    free(p.sums);
    free(p.scratch);
    return status;
}

paro_status paro_linear_forward(paro_error *err, paro_linear *linear, paro_pool *pool,
                                const float *x, size_t m, float *y)
{
    return paro_linear_forward_with(err, linear, pool, paro_cpu_kernels_best(), x, m, y);
}
