/* SPDX-License-Identifier: MIT
 *
 * What quantising a plan would take: the first block rehearsed (estimate.h), the rest counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "calib/calibration.h"
#include "calib/estimate.h"
#include "cpu/blas.h"

enum {
    TOKENS = 16, /* of a sample that is rehearsed with */
    TRAIN = 2,
    VALIDATION = 2,
    SIDE = 512, /* of the matrices that tell how fast products are */
    TRIES = 10  /* the fastest counts: others may be at work */
};

/* What of the time products take in training, seen on Llama-shaped blocks; the rest is element by
 * element. */
static const double product_share = 0.6;

typedef struct products {
    const float *a, *b;
    float *c; /* [n_threads, SIDE, SIDE] */
} products;

static void multiply(void *context, size_t i, int worker)
{
    const products *p = context;
    (void)i;
    paro_blas_product(SIDE, SIDE, SIDE, 1, p->a, SIDE, p->b, SIDE, 0,
                      p->c + (size_t)worker * SIDE * SIDE, SIDE);
}

/* Floating-point operations a second of large products on all threads, at best. */
static paro_status measure_products(paro_error *err, paro_pool *pool, double *out)
{
    const size_t n = (size_t)SIDE * SIDE, n_threads = (size_t)paro_pool_n_threads(pool);
    paro_rng rng;
    float *data = malloc((2 + n_threads) * n * sizeof *data);
    if (data == NULL)
        return paro_fail_memory(err, (2 + n_threads) * n * sizeof *data, "a measurement");
    paro_rng_seed(&rng, 1);
    for (size_t i = 0; i < 2 * n; i++)
        data[i] = paro_rng_normal(&rng);
    products p = {data, data + n, data + 2 * n};
    double fastest = 1e9;
    for (int i = 0; i < TRIES; i++) {
        const double start = paro_clock_seconds();
        paro_pool_run(pool, n_threads, multiply, &p);
        const double seconds = paro_clock_seconds() - start;
        fastest = seconds > 0 && seconds < fastest ? seconds : fastest;
    }
    *out = 2.0 * SIDE * SIDE * SIDE * (double)n_threads / fastest;
    free(data);
    return PARO_STATUS_OK;
}

/* The first block on a few random tokens, its stages as if on the plan's data. */
static paro_status rehearse(paro_error *err, const paro_model *model, const paro_plan *plan,
                            paro_calib_estimate *estimate)
{
    int32_t ids[(TRAIN + VALIDATION) * TOKENS];
    paro_rng rng;
    paro_block_store *store = NULL;
    paro_dataset data = {.n_train = TRAIN, .n_validation = VALIDATION, .n_tokens = TOKENS};
    data.ids = ids;
    paro_rng_seed(&rng, 1);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        ids[i] = (int32_t)paro_rng_below(&rng, model->config.vocab);
    const paro_calibration_options options = {.estimate = estimate};
    paro_status status = paro_calibrate(err, model, plan, &data, &options, &store);
    paro_block_store_free(store);
    return status;
}

static void count(const paro_model *model, const paro_plan *plan,
                  const paro_quantize_options *options, const paro_calib_estimate *e, double rate,
                  paro_plan_estimate *out)
{
    const double n_layers = model->config.n_layers;
    const double n_samples = (double)(e->n_train + e->n_validation);
    const uint64_t memory_bytes =
        options->memory_bytes > 0 ? options->memory_bytes : 2 * PARO_CALIBRATION_MEMORY_BYTES;
    const uint64_t activations =
        2 * (uint64_t)(n_samples * (double)e->n_tokens) * model->config.hidden * sizeof(float);
    double weights = 0, codes = 0;
    for (size_t i = 0; i < plan->n_linears; i++) {
        const paro_plan_linear *l = &plan->linears[i].linear;
        if (i < PARO_SLOT_COUNT)
            weights += (double)l->n_out * l->n_in;
        codes += (double)l->n_out * l->n_in;
    }
    /* Every sample also goes through the block twice: as it was, and as it has become. */
    const double passes = 2 * n_samples * (double)e->n_tokens * 2 * weights;
    const bool spills = activations > memory_bytes;
    out->seconds = n_layers * (e->operations + passes) / (rate * product_share);
    out->memory_bytes =
        (spills ? 0 : activations) + e->memory_bytes + (uint64_t)(3 * weights * sizeof(float));
    out->disk_bytes = (spills ? activations : 0) + (uint64_t)codes;
    snprintf(out->steps, sizeof out->steps, "%s",
             e->steps.n_bytes > 0 ? e->steps.data : "what the recipe does by itself");
}

paro_status paro_plan_estimate_cost(paro_error *err, const paro_model *model, const paro_plan *plan,
                                    const paro_quantize_options *options, paro_plan_estimate *out)
{
    static const paro_quantize_options defaults = {0};
    options = options == NULL ? &defaults : options;
    paro_plan_estimate found = {0};
    paro_calib_estimate e = {.n_train = plan->data.n_train,
                             .n_validation = plan->data.n_validation,
                             .n_tokens = plan->data.n_tokens};
    double rate = 0;
    paro_status status = PARO_STATUS_OK;
    if (plan->block.run != NULL) {
        status = measure_products(err, model->pool, &rate);
        if (status == PARO_STATUS_OK)
            status = rehearse(err, model, plan, &e);
        if (status == PARO_STATUS_OK)
            count(model, plan, options, &e, rate, &found);
        paro_buffer_free(&e.steps);
    }
    if (status == PARO_STATUS_OK)
        *out = found;
    return status;
}
