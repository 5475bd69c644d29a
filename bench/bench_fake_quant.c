/* SPDX-License-Identifier: MIT
 *
 * How long fake quantisation of a weight takes, forward and backward, beside rounding it.
 *
 *     bench_fake_quant [--threads N] [--rounds N] [--rows N] [--columns N] [--group N] [--krot N]
 *
 * Medians over the rounds, and the processor time of all threads, which others on the machine
 * disturb less. "transform": gradients of angles and channel scales; "weight": of the weight and a
 * learned quantiser.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/rng.h"
#include "calib/fake_quant.h"
#include "calib/pairs.h"
#include "calib/weight_tile.h"

enum { MAX_ROUNDS = 99, N_CASES = 5 };

typedef struct options {
    size_t n_threads, n_rounds, n_rows, n_columns, group_size, krot;
} options;

static void need(paro_status status, const paro_error *err)
{
    if (status == PARO_STATUS_OK)
        return;
    fprintf(stderr, "bench_fake_quant: %s\n", err->message);
    exit(1);
}

static float *floats(size_t n)
{
    float *values = calloc(n + 1, sizeof *values);
    if (values == NULL) {
        fprintf(stderr, "bench_fake_quant: out of memory\n");
        exit(1);
    }
    return values;
}

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

static options read_options(int argc, char **argv)
{
    options o = {.n_threads = 0, .n_rounds = 9, .n_rows = 4096, .n_columns = 4096};
    o.group_size = 128;
    o.krot = 8;
    const struct {
        const char *name;
        size_t *value;
    } numbers[] = {{"--threads", &o.n_threads}, {"--rounds", &o.n_rounds},  {"--rows", &o.n_rows},
                   {"--columns", &o.n_columns}, {"--group", &o.group_size}, {"--krot", &o.krot}};
    bool ok = true;
    for (int i = 1; i < argc && ok; i += 2) {
        size_t k = 0, n = sizeof numbers / sizeof *numbers;
        while (k < n && strcmp(argv[i], numbers[k].name) != 0)
            k++;
        ok = k < n && i + 1 < argc;
        if (ok)
            *numbers[k].value = strtoul(argv[i + 1], NULL, 10);
    }
    if (!ok || o.n_rounds == 0 || o.n_rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_fake_quant [--threads N] [--rounds N] [--rows N] "
                        "[--columns N] [--group N] [--krot N]\n");
        exit(2);
    }
    return o;
}

int main(int argc, char **argv)
{
    const options o = read_options(argc, argv);
    paro_error err;
    paro_pool *pool = NULL;
    need(paro_pool_new(&err, (int)o.n_threads, &pool), &err);
    paro_train_linear linears[2]; /* quantised by ranges, and learned */
    size_t n = o.n_rows * o.n_columns;
    paro_rng rng;
    paro_rng_seed(&rng, 1);
    for (int k = 0; k < 2; k++) {
        linears[k] = (paro_train_linear){.name = "layer",
                                         .n_out = (uint32_t)o.n_rows,
                                         .n_in = (uint32_t)o.n_columns,
                                         .bits = 4,
                                         .group_size = (uint32_t)o.group_size,
                                         .krot = (uint32_t)o.krot};
        need(paro_train_linear_alloc(&err, &linears[k]), &err);
        for (size_t i = 0; i < n; i++)
            linears[k].w[i] = 0.1f * (float)(paro_rng_f64(&rng) - 0.5);
        need(paro_pairs_make(&err, pool, &linears[k], PARO_PAIRS_KIND_RANDOM, 1), &err);
        for (size_t i = 0; i < o.krot * (o.n_columns / 2); i++)
            linears[k].theta[i] = (float)paro_rng_f64(&rng);
    }
    need(paro_train_linear_start_quantiser(&err, pool, &linears[1]), &err);
    float *w_hat = floats(n), *d_w_hat = floats(n), *d_w = floats(n);
    for (size_t i = 0; i < n; i++)
        d_w_hat[i] = (float)(paro_rng_f64(&rng) - 0.5);
    const paro_fake_quant_gradients transform = {.theta = floats(o.krot * (o.n_columns / 2)),
                                                 .weight_channel_scales = floats(o.n_columns)};
    const paro_fake_quant_gradients weight = {
        .w = d_w, .step = floats(n / o.group_size), .zero = floats(n / o.group_size)};
    static const char *const names[N_CASES] = {"forward", "forward, learned", "backward, transform",
                                               "backward, weight", "round"};
    static double seconds[N_CASES][MAX_ROUNDS], busy[N_CASES][MAX_ROUNDS];
    for (size_t round = 0; round < o.n_rounds; round++)
        for (int c = 0; c < N_CASES; c++) {
            double start = paro_clock_seconds();
            clock_t busy_start = clock();
            if (c < 2)
                need(paro_fake_quant_forward(&err, &linears[c], pool, w_hat), &err);
            else if (c < 4)
                need(paro_fake_quant_backward(&err, &linears[c - 2], pool, d_w_hat, NULL,
                                              c == 2 ? &transform : &weight),
                     &err);
            else
                need(paro_train_linear_round(&err, pool, &linears[0]), &err);
            busy[c][round] = (double)(clock() - busy_start) / CLOCKS_PER_SEC;
            seconds[c][round] = paro_clock_seconds() - start;
            if (c == 4) { /* to be trained again: a rounded linear has no more to do */
                paro_quantised_release(&linears[0].codes);
                linears[0].is_rounded = false;
            }
        }
    printf("[%zu, %zu], groups of %zu, %zu rounds, %d threads, %s\n", o.n_rows, o.n_columns,
           o.group_size, o.krot, paro_pool_n_threads(pool), paro_tile_kernels_best()->name);
    for (int c = 0; c < N_CASES; c++)
        printf("%-20s %8.1f ms %8.1f ms of processors\n", names[c],
               1e3 * median(seconds[c], o.n_rounds), 1e3 * median(busy[c], o.n_rounds));
    return 0;
}
