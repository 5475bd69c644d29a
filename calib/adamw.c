/* SPDX-License-Identifier: MIT
 *
 * AdamW's step, in chunks of values, and the learning rate's schedule.
 */
#include "calib/adamw.h"

#include <math.h>
#include <stdlib.h>

enum { CHUNK = 8192 };

paro_status paro_adamw_new(paro_error *err, size_t n, paro_adamw *out)
{
    paro_adamw adamw = {.n = n};
    adamw.first = calloc(n > 0 ? n : 1, sizeof *adamw.first);
    adamw.second = calloc(n > 0 ? n : 1, sizeof *adamw.second);
    if (adamw.first == NULL || adamw.second == NULL) {
        paro_adamw_release(&adamw);
        return paro_fail_memory(err, 2 * n * sizeof *adamw.first, "an optimiser's moments");
    }
    *out = adamw;
    return PARO_STATUS_OK;
}

void paro_adamw_release(paro_adamw *adamw)
{
    if (adamw == NULL)
        return;
    free(adamw->first);
    free(adamw->second);
    adamw->first = NULL;
    adamw->second = NULL;
}

typedef struct step_task {
    size_t n;
    float *first, *second, *parameter;
    const float *gradient;
    float beta1, beta2, keep; /* keep: 1 - lr decay */
    float rate;               /* of first / (sqrt(second) + epsilon): lr with its corrections */
    float epsilon;            /* with second's correction */
} step_task;

static void step_chunk(void *context, size_t chunk, int worker)
{
    (void)worker;
    const step_task t = *(const step_task *)context;
    size_t start = chunk * CHUNK;
    size_t end = t.n - start < CHUNK ? t.n : start + CHUNK;
    float *restrict first = t.first, *restrict second = t.second, *restrict p = t.parameter;
    for (size_t i = start; i < end; i++) {
        float g = t.gradient[i];
        float m = t.beta1 * first[i] + (1 - t.beta1) * g;
        float v = t.beta2 * second[i] + (1 - t.beta2) * g * g;
        first[i] = m;
        second[i] = v;
        p[i] = p[i] * t.keep - t.rate * (m / (sqrtf(v) + t.epsilon));
    }
}

/* m^ / (sqrt(v^) + e) with m^ = m / a and v^ = v / b is sqrt(b) / a * m / (sqrt(v) + sqrt(b) e). */
void paro_adamw_step(paro_adamw *adamw, paro_pool *pool, const paro_adamw_options *options,
                     double lr, uint64_t step, const float *gradient, float *parameter)
{
    double first = 1 - pow(options->beta1, (double)step);
    double second = sqrt(1 - pow(options->beta2, (double)step));
    step_task task = {
        .n = adamw->n,
        .first = adamw->first,
        .second = adamw->second,
        .parameter = parameter,
        .gradient = gradient,
        .beta1 = (float)options->beta1,
        .beta2 = (float)options->beta2,
        .keep = (float)(1 - lr * options->weight_decay),
        .rate = (float)(lr * second / first),
        .epsilon = (float)(second * options->epsilon),
    };
    paro_pool_run(pool, adamw->n / CHUNK + (adamw->n % CHUNK != 0), step_chunk, &task);
}

double paro_cosine_lr(double lr, double last, uint64_t step, uint64_t n_steps)
{
    const double pi = 3.141592653589793;
    if (n_steps < 2)
        return lr;
    double share = step < n_steps - 1 ? (double)step / (double)(n_steps - 1) : 1;
    return lr * (last + (1 - last) * 0.5 * (1 + cos(pi * share)));
}
