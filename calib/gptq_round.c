/* SPDX-License-Identifier: MIT
 *
 * With H = A D A^T, A upper triangular with ones on its diagonal, the error of rounding w to q is
 *
 *     (q - w) H (q - w)^T = sum over k of D_k (q_k - t_k)^2,  t_k = w_k + sum_{i<k} (w_i - q_i)
 * A_ik
 *
 * so rounding each t_k in turn is what GPTQ does with the factor of the inverse, which is not
 * needed then. The weights as updated when the columns before g are done, of which a group's
 * range is made, are w + y with y A_GG = z, z_k = sum_{i<g} (w_i - q_i) A_ik for k in the group G:
 * of A only the group's own triangle takes part.
 *
 * Columns stand in the order they are rounded in. A task does a few rows from the first column to
 * the last, the columns of a panel (a group, where its range is found on the way) after a product
 * with all errors before it, and BLOCK of these after one with the panel's.
 */
#include "calib/gptq_round.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/reference.h"
#include "calib/cholesky.h"
#include "cpu/blas.h"

enum { ROWS = 32, BLOCK = 128 };

#define DEFAULT_DAMPING 0.01

typedef struct rounding {
    float *u; /* [n_out, n] */
    paro_quantised *out;
    size_t n;
    double *hessian;
    uint32_t *order; /* [n] the columns in the order they are rounded in */
    float *feed;     /* [n, n] A above the diagonal */
    bool has_ranges;
    size_t panel;     /* columns */
    float *scratch;   /* n_scratch a thread */
    size_t n_scratch; /* errors [ROWS, n], z [ROWS, panel], updated [group_size] */
    uint8_t *codes;   /* [n] a thread: of no interest */
} rounding;

/* What a task works on. */
typedef struct strip {
    size_t first, n_rows;
    float *errors;  /* [ROWS, n] w - q */
    float *z;       /* [ROWS, panel] sums so far of what errors add to the panel's columns */
    float *updated; /* [group_size] */
    uint8_t *codes;
} strip;

static float weight_at(const rounding *r, size_t row, size_t place)
{
    return r->u[row * r->n + r->order[place]];
}

/* Scale and zero of the group that begins at `first`, from its weights as updated by now; whether
 * F16 holds the scale. */
static bool find_range(const rounding *r, const strip *s, size_t row, size_t first)
{
    size_t size = r->out->group_size, n_groups = r->n / size;
    const float *z = s->z + row * r->panel;
    memcpy(s->updated, z, size * sizeof *z);
    for (size_t i = 0; i < size; i++) {
        const float *feed = r->feed + (first + i) * r->n + first;
        float y = s->updated[i];
        for (size_t k = i + 1; k < size; k++)
            s->updated[k] -= y * feed[k];
        s->updated[i] = y + weight_at(r, s->first + row, first + i);
    }
    size_t at = (s->first + row) * n_groups + first / size;
    paro_ref_quantise_f32(s->updated, 1, size, size, r->out->bits, paro_f32_through_f16, s->codes,
                          r->out->scales + at, r->out->zeros + at);
    return isfinite(r->out->scales[at]);
}

/* Columns first .. end - 1 of one row, each error carried to those after it; z [end - first]. */
static void round_columns(const rounding *r, const strip *s, size_t row, size_t first, size_t end,
                          float *z)
{
    const float top = (float)((1U << r->out->bits) - 1);
    size_t n_groups = r->n / r->out->group_size;
    for (size_t k = first; k < end; k++) {
        size_t column = r->order[k];
        size_t group = (s->first + row) * n_groups + column / r->out->group_size;
        float scale = r->out->scales[group], zero = (float)r->out->zeros[group];
        float w = weight_at(r, s->first + row, k);
        float code = fminf(fmaxf(rintf((w + z[k - first]) / scale) + zero, 0), top);
        float error = w - (code - zero) * scale;
        const float *feed = r->feed + k * r->n + first;
        for (size_t next = k - first + 1; next < end - first; next++)
            z[next] += error * feed[next];
        s->errors[row * r->n + k] = error;
        r->out->codes[(s->first + row) * r->n + column] = (uint8_t)code;
    }
}

static void round_strip(void *context, size_t part, int worker)
{
    const rounding *r = context;
    size_t first = part * ROWS;
    strip s = {first,
               r->out->n_out - first < ROWS ? r->out->n_out - first : ROWS,
               r->scratch + (size_t)worker * r->n_scratch,
               NULL,
               NULL,
               r->codes + (size_t)worker * r->n};
    s.z = s.errors + ROWS * r->n;
    s.updated = s.z + ROWS * r->panel;
    for (size_t panel = 0; panel < r->n; panel += r->panel) {
        size_t end = r->n - panel < r->panel ? r->n : panel + r->panel;
        memset(s.z, 0, ROWS * r->panel * sizeof *s.z);
        if (panel > 0)
            paro_blas_product(s.n_rows, end - panel, panel, 1, s.errors, r->n, r->feed + panel,
                              r->n, 0, s.z, r->panel);
        for (size_t row = 0; row < s.n_rows && !r->has_ranges; row++) {
            if (!find_range(r, &s, row, panel))
                return; /* paro_quantised_check_scales says so */
        }
        for (size_t block = panel; block < end; block += BLOCK) {
            size_t block_end = end - block < BLOCK ? end : block + BLOCK;
            if (block > panel)
                paro_blas_product(s.n_rows, block_end - block, block - panel, 1, s.errors + panel,
                                  r->n, r->feed + panel * r->n + block, r->n, 1,
                                  s.z + (block - panel), r->panel);
            for (size_t row = 0; row < s.n_rows; row++)
                round_columns(r, &s, row, block, block_end, s.z + row * r->panel + (block - panel));
        }
    }
}

typedef struct column_key {
    double diagonal;
    uint32_t column;
} column_key;

static int compare_columns(const void *a, const void *b)
{
    const column_key *x = a, *y = b;
    if (x->diagonal != y->diagonal)
        return x->diagonal > y->diagonal ? -1 : 1;
    return x->column < y->column ? -1 : 1;
}

/* r->order by falling diagonal, and rows and columns of the Hessian in that order. */
static paro_status sort_columns(paro_error *err, const rounding *r)
{
    size_t n = r->n;
    column_key *keys = malloc(n * sizeof *keys);
    double *sorted = malloc(n * n * sizeof *sorted);
    paro_status status = PARO_STATUS_OK;
    if (keys == NULL || sorted == NULL) {
        status = paro_fail_memory(err, n * n * sizeof *sorted, "a Hessian in order");
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        keys[i] = (column_key){r->hessian[i * (n + 1)], (uint32_t)i};
    qsort(keys, n, sizeof *keys, compare_columns);
    for (size_t i = 0; i < n; i++)
        r->order[i] = keys[i].column;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++)
            sorted[i * n + j] = r->hessian[r->order[i] * n + r->order[j]];
    memcpy(r->hessian, sorted, n * n * sizeof *sorted);
done:
    free(keys);
    free(sorted);
    return status;
}

static void feed_row(void *context, size_t i, int worker)
{
    (void)worker;
    const rounding *r = context;
    for (size_t k = i; k < r->n; k++)
        r->feed[i * r->n + k] = (float)(r->hessian[i * r->n + k] / r->hessian[k * (r->n + 1)]);
}

/* Sets dead columns' weights to 0 and damps the Hessian; *mean is of its diagonal, of what lives.
 */
static void damp(const rounding *r, double damping, double *mean)
{
    double sum = 0;
    size_t n_live = 0;
    for (size_t k = 0; k < r->n; k++) {
        double diagonal = r->hessian[k * (r->n + 1)];
        sum += diagonal;
        n_live += diagonal != 0;
        for (size_t row = 0; diagonal == 0 && row < r->out->n_out; row++)
            r->u[row * r->n + k] = 0;
    }
    *mean = n_live > 0 ? sum / (double)n_live : 1;
    for (size_t k = 0; k < r->n; k++) {
        double *diagonal = r->hessian + k * (r->n + 1);
        *diagonal += *diagonal == 0 ? *mean : damping * *mean;
    }
}

/* Factors the damped Hessian into r->feed. */
static paro_status factor(paro_error *err, paro_pool *pool, rounding *r, double damping,
                          double mean)
{
    paro_error why;
    paro_status status = paro_cholesky_upper(&why, pool, r->hessian, r->n);
    if (status == PARO_STATUS_UNSUPPORTED)
        return paro_fail(err, status,
                         "expected a Hessian of the inputs that is positive definite once damped "
                         "by %g of its mean diagonal (%g), found otherwise (%s): raise damping or "
                         "take more tokens",
                         damping, mean, why.message);
    if (status != PARO_STATUS_OK)
        return paro_fail(err, status, "%s", why.message);
    paro_pool_run(pool, r->n, feed_row, r);
    return PARO_STATUS_OK;
}

paro_status paro_gptq_round(paro_error *err, paro_pool *pool, float *u, double *hessian,
                            const paro_gptq_options *options, bool has_ranges,
                            paro_quantised *quantised)
{
    size_t n = quantised->n_in, n_threads = (size_t)paro_pool_n_threads(pool);
    rounding r = {.u = u, .out = quantised, .n = n, .hessian = hessian};
    r.has_ranges = has_ranges || options->act_order;
    r.panel = r.has_ranges ? BLOCK : quantised->group_size;
    r.n_scratch = ROWS * (n + r.panel) + quantised->group_size;
    r.order = malloc(n * sizeof *r.order);
    r.codes = malloc(n_threads * n);
    r.scratch = malloc(n_threads * r.n_scratch * sizeof *r.scratch);
    r.feed = malloc(n * n * sizeof *r.feed);
    paro_status status = PARO_STATUS_OK;
    if (r.order == NULL || r.codes == NULL || r.scratch == NULL || r.feed == NULL) {
        status = paro_fail_memory(err, n * n * sizeof *r.feed, "the factor of a Hessian");
        goto done;
    }
    double damping = options->damping > 0 ? options->damping : DEFAULT_DAMPING, mean = 0;
    damp(&r, damping, &mean);
    if (!isfinite(mean)) {
        status =
            paro_fail(err, PARO_STATUS_UNSUPPORTED,
                      "expected finite inputs, found a Hessian whose mean diagonal is %g", mean);
        goto done;
    }
    for (size_t i = 0; !r.has_ranges && i < quantised->n_out * (n / quantised->group_size); i++)
        quantised->scales[i] = 0;
    if (options->act_order && !has_ranges)
        status = paro_rtn_quantise(err, pool, u, quantised);
    for (size_t k = 0; k < n; k++)
        r.order[k] = (uint32_t)k;
    if (options->act_order && status == PARO_STATUS_OK)
        status = sort_columns(err, &r);
    if (status == PARO_STATUS_OK)
        status = factor(err, pool, &r, damping, mean);
    if (status == PARO_STATUS_OK) {
        paro_pool_run(pool, (quantised->n_out + ROWS - 1) / ROWS, round_strip, &r);
        status = paro_quantised_check_scales(err, quantised);
    }
done:
    free(r.order);
    free(r.codes);
    free(r.scratch);
    free(r.feed);
    return status;
}
