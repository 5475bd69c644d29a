/* SPDX-License-Identifier: MIT
 *
 * How fast a block's pass is, forward and backward: GFLOP/s, and the share of what the same threads
 * reach in plain products of its largest shape.
 *
 *     bench_block_pass MODEL [--threads N] [--rounds N] [--samples N] [--tokens N]
 *
 * Every round measures plain products, forward alone, and forward with backward (once with the
 * gradient of x, once without), so that what else the machine does falls on all; figures are
 * medians. GFLOP per second of the clock, and per second of processor time, which others on the
 * machine disturb less; the share is of the latter. Attention's operations are counted as causal:
 * half of all scores.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/rng.h"
#include "calib/block_pass.h"
#include "cpu/blas.h"

enum { MAX_ROUNDS = 99, N_CASES = 4, PRODUCT_ROWS = 256 };

typedef struct options {
    const char *model;
    size_t n_threads, n_rounds, n_samples, n_tokens;
} options;

typedef struct products {
    size_t n, k, n_rows;
    const float *x, *w;
    float *y;
} products;

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

static void need(paro_status status, const paro_error *err)
{
    if (status == PARO_STATUS_OK)
        return;
    fprintf(stderr, "bench_block_pass: %s\n", err->message);
    exit(1);
}

static float *floats(size_t n)
{
    float *values = malloc((n + 1) * sizeof *values);
    if (values == NULL) {
        fprintf(stderr, "bench_block_pass: out of memory\n");
        exit(1);
    }
    return values;
}

static float *normals(paro_rng *rng, size_t n, float size)
{
    float *values = floats(n);
    for (size_t i = 0; i < n; i++)
        values[i] = size * paro_rng_normal(rng);
    return values;
}

static void product_task(void *context, size_t i, int worker)
{
    (void)worker;
    const products *p = context;
    size_t first = i * PRODUCT_ROWS;
    size_t n = p->n_rows - first < PRODUCT_ROWS ? p->n_rows - first : PRODUCT_ROWS;
    paro_blas_product_transposed(n, p->n, p->k, 1, p->x + first * p->k, p->k, p->w, p->k, 0,
                                 p->y + first * p->n, p->n);
}

static options read_options(int argc, char **argv)
{
    options o = {.n_threads = 0, .n_rounds = 5, .n_samples = 16, .n_tokens = 512};
    const struct {
        const char *name;
        size_t *value;
    } numbers[] = {{"--threads", &o.n_threads},
                   {"--rounds", &o.n_rounds},
                   {"--samples", &o.n_samples},
                   {"--tokens", &o.n_tokens}};
    for (int i = 1; i < argc; i++) {
        size_t k = 0, n = sizeof numbers / sizeof *numbers;
        while (k < n && strcmp(argv[i], numbers[k].name) != 0)
            k++;
        if (k < n && i + 1 < argc)
            *numbers[k].value = strtoul(argv[++i], NULL, 10);
        else
            o.model = argv[i];
    }
    if (o.model == NULL || o.n_rounds == 0 || o.n_rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_block_pass MODEL [--threads N] [--rounds N] [--samples N] "
                        "[--tokens N]\n");
        exit(2);
    }
    return o;
}

/* Multiplications and additions of a forward. */
static double operations_of(const paro_config *config, const options *o)
{
    double rows = (double)(o->n_samples * o->n_tokens), weights = 0;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        uint32_t n_in, n_out;
        bool has_bias;
        paro_slot_sizes(config, (paro_slot)slot, &n_in, &n_out, &has_bias);
        weights += (double)n_in * n_out;
    }
    double scores = (double)o->n_tokens / 2 * config->n_heads * config->head_dim;
    return 2 * rows * (weights + 2 * scores);
}

int main(int argc, char **argv)
{
    const options o = read_options(argc, argv);
    paro_error err;
    paro_model *model = NULL;
    need(paro_model_open(&err, o.model, &(paro_model_options){.n_threads = (int)o.n_threads},
                         &model),
         &err);
    const paro_config *config = &model->config;
    paro_block_pass_options pass_options = {
        .max_samples = o.n_samples, .n_tokens = o.n_tokens, .backward = true};
    paro_block_pass *pass = NULL;
    need(paro_block_pass_new(&err, model, 0, &pass_options, &pass), &err);
    float *weights[PARO_SLOT_COUNT], *d_weights[PARO_SLOT_COUNT];
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_linear *linear = &model->blocks[0].linears[slot];
        size_t n = (size_t)linear->n_in * linear->n_out;
        weights[slot] = floats(n);
        d_weights[slot] = floats(n);
        memset(d_weights[slot], 0, n * sizeof(float));
        need(paro_linear_weight(&err, linear, model->pool, weights[slot]), &err);
        paro_block_pass_set_weight(pass, (paro_slot)slot, weights[slot]);
    }
    paro_rng rng;
    paro_rng_seed(&rng, 1);
    size_t n_rows = o.n_samples * o.n_tokens, n = n_rows * config->hidden;
    float *x = normals(&rng, n, 0.1f), *dy = normals(&rng, n, 1e-4f), *y = floats(n),
          *dx = floats(n);
    products plain = {.n = config->intermediate,
                      .k = config->hidden,
                      .n_rows = n_rows,
                      .x = x,
                      .w = weights[PARO_SLOT_UP],
                      .y = floats(n_rows * config->intermediate)};
    static double seconds[N_CASES][MAX_ROUNDS], busy[N_CASES][MAX_ROUNDS];
    for (size_t round = 0; round < o.n_rounds; round++)
        for (int c = 0; c < N_CASES; c++) {
            double start = paro_clock_seconds();
            clock_t busy_start = clock();
            if (c == 0)
                paro_pool_run(model->pool, (n_rows + PRODUCT_ROWS - 1) / PRODUCT_ROWS, product_task,
                              &plain);
            else
                need(paro_block_pass_forward(&err, pass, x, o.n_samples, y), &err);
            if (c >= 2)
                need(paro_block_pass_backward(&err, pass, x, dy, d_weights, c == 2 ? dx : NULL),
                     &err);
            busy[c][round] = (double)(clock() - busy_start) / CLOCKS_PER_SEC;
            seconds[c][round] = paro_clock_seconds() - start;
        }
    static const char *const names[N_CASES] = {"plain products", "forward", "forward, backward",
                                               "the same, no dx"};
    double forward = operations_of(config, &o);
    double qkv = 2 * (double)n_rows * config->hidden * config->head_dim *
                 (config->n_heads + 2 * config->n_kv_heads);
    const double operations[N_CASES] = {2 * (double)n_rows * plain.n * plain.k, forward,
                                        3 * forward, 3 * forward - qkv};
    double base = 0;
    printf("%s: %zu samples of %zu tokens, %d threads\n", o.model, o.n_samples, o.n_tokens,
           paro_pool_n_threads(model->pool));
    for (int c = 0; c < N_CASES; c++) {
        double s = median(seconds[c], o.n_rounds);
        double rate = operations[c] / median(busy[c], o.n_rounds) * 1e-9;
        base = c == 0 ? rate : base;
        printf("%-20s %8.1f ms %8.1f GFLOP/s %8.1f a core %6.1f %%\n", names[c], 1e3 * s,
               operations[c] / s * 1e-9, rate, 100 * rate / base);
    }
    return 0;
}
