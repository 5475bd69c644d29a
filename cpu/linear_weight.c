/* SPDX-License-Identifier: MIT
 *
 * The effective weight of a linear layer in fp32.
 */
#include <stdlib.h>

#include "base/pack.h"
#include "cpu/linear_tables.h"

enum { TASK_WORDS = 16, TASK_COLUMNS = TASK_WORDS * PARO_CODES_PER_WORD, STRIP_ROWS = 32 };

typedef struct expansion {
    const paro_linear *linear;
    const paro_linear_tables *tables;
    const paro_cpu_kernels *kernels;
    float *w;
} expansion;

static void dense_task(void *context, size_t row, int worker)
{
    (void)worker;
    const expansion *e = context;
    const paro_tensor *weight = e->linear->weight;
    size_t n_in = e->linear->n_in;
    const unsigned char *data = weight->data;
    e->kernels->convert(e->w + row * n_in, data + row * n_in * paro_dtype_bytes(weight->dtype),
                        weight->dtype, n_in);
}

/* The weight acts on R(x * channel_scales); R is orthogonal, so on x it is R^-1 of its rows, then
 * scaled. */
static void turn_back(const expansion *e, float *row)
{
    size_t group_size = e->linear->group_size;
    const float *scales = e->tables->channel_scales;
    for (size_t group = 0; group < e->linear->n_in / group_size; group++) {
        float *part = row + group * group_size;
        if (e->tables->turns)
            paro_linear_unrotate(e->linear, e->tables, group, part);
        for (size_t c = 0; scales && c < group_size; c++)
            part[c] *= scales[group * group_size + c];
    }
}

static void w4_task(void *context, size_t i, int worker)
{
    (void)worker;
    const expansion *e = context;
    size_t n_in = e->linear->n_in;
    size_t first_word = i * TASK_WORDS;
    size_t n_words = e->linear->n_out / PARO_CODES_PER_WORD - first_word;
    if (n_words > TASK_WORDS)
        n_words = TASK_WORDS;
    size_t padded = paro_cpu_padded_columns(e->kernels, n_words); /* at most TASK_COLUMNS */
    size_t n_columns = n_words * PARO_CODES_PER_WORD;
    float *rows = e->w + first_word * PARO_CODES_PER_WORD * n_in;
    float lanes[STRIP_ROWS * TASK_COLUMNS];
    float columns[TASK_COLUMNS];
    for (size_t k = 0; k < n_in; k += STRIP_ROWS) {
        size_t n_rows = n_in - k < STRIP_ROWS ? n_in - k : STRIP_ROWS;
        e->kernels->w4_panel(&e->tables->w4, first_word, n_words, k, n_rows, lanes);
        for (size_t row = 0; row < n_rows; row++) {
            e->kernels->w4_columns(lanes + row * padded, n_words, columns);
            for (size_t column = 0; column < n_columns; column++)
                rows[column * n_in + k + row] = columns[column];
        }
    }
    for (size_t column = 0; column < n_columns; column++)
        turn_back(e, rows + column * n_in);
}

paro_status paro_linear_weight(paro_error *err, paro_linear *linear, paro_pool *pool, float *w)
{
    paro_status status = paro_linear_prepare(err, linear);
    if (status != PARO_STATUS_OK)
        return status;
    expansion e = {
        .linear = linear,
        .tables = atomic_load_explicit(&linear->tables, memory_order_acquire),
        .kernels = paro_cpu_kernels_best(),
        .w = w,
    };
    size_t n_words = linear->n_out / PARO_CODES_PER_WORD;
    if (linear->kind == PARO_LINEAR_KIND_DENSE)
        paro_pool_run(pool, linear->n_out, dense_task, &e);
    else
        paro_pool_run(pool, n_words / TASK_WORDS + (n_words % TASK_WORDS != 0), w4_task, &e);
    return PARO_STATUS_OK;
}

size_t paro_linear_tensors(const paro_linear *linear,
                           const paro_tensor *out[PARO_LINEAR_MAX_TENSORS])
{
    const paro_tensor *all[PARO_LINEAR_MAX_TENSORS] = {
        linear->weight, linear->qweight, linear->qzeros,        linear->scales,
        linear->theta,  linear->pairs,   linear->channel_scales};
    size_t n = 0;
    for (size_t i = 0; i < PARO_LINEAR_MAX_TENSORS; i++)
        if (all[i] != NULL)
            out[n++] = all[i];
    return n;
}

uint64_t paro_linear_bytes(const paro_linear *linear)
{
    const paro_tensor *tensors[PARO_LINEAR_MAX_TENSORS];
    const size_t n = paro_linear_tensors(linear, tensors);
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        n_bytes += tensors[i]->n_bytes;
    return n_bytes;
}
