/* SPDX-License-Identifier: MIT
 *
 * Tests of calib/block_pass*.c, attention_pass.c and smooth_l1.c: forward against sessions and
 * fp64, gradients against finite differences of the fp64 reference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/block_pass.h"
#include "cpu/ops.h"
#include "tests/small_model.h"

/* Everything of one forward and backward. */
typedef struct results {
    size_t n_samples, n_tokens, n; /* n values of x */
    float *x, *dy, *y, *dx;
    float *weights[PARO_SLOT_COUNT], *d_weights[PARO_SLOT_COUNT];
} results;

static paro_block_pass *pass_new(const paro_model *model, uint32_t layer, size_t max_samples,
                                 size_t n_tokens, bool backward)
{
    paro_error err;
    paro_block_pass *pass = NULL;
    const paro_block_pass_options options = {max_samples, n_tokens, backward};
    assert_ok(paro_block_pass_new(&err, model, layer, &options, &pass));
    return pass;
}

static void set_weights(const paro_model *model, uint32_t layer, paro_block_pass *pass,
                        float *weights[PARO_SLOT_COUNT])
{
    paro_error err;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        paro_linear *linear = &model->blocks[layer].linears[slot];
        weights[slot] = malloc((size_t)linear->n_in * linear->n_out * sizeof(float));
        assert_non_null(weights[slot]);
        assert_ok(paro_linear_weight(&err, linear, model->pool, weights[slot]));
        paro_block_pass_set_weight(pass, (paro_slot)slot, weights[slot]);
    }
}

/* Random x and dy by the seed; gradients are added to zeros. */
static results run_pass(const paro_model *model, size_t n_samples, size_t n_tokens)
{
    paro_error err;
    paro_rng rng;
    paro_rng_seed(&rng, 3);
    results r = {.n_samples = n_samples,
                 .n_tokens = n_tokens,
                 .n = n_samples * n_tokens * model->config.hidden};
    r.x = small_normals(&rng, r.n, 1);
    r.dy = small_normals(&rng, r.n, 1);
    r.y = small_normals(&rng, r.n, 1);
    r.dx = small_normals(&rng, r.n, 1);
    paro_block_pass *pass = pass_new(model, 0, n_samples + 1, n_tokens, true);
    set_weights(model, 0, pass, r.weights);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_linear *linear = &model->blocks[0].linears[slot];
        r.d_weights[slot] = calloc((size_t)linear->n_in * linear->n_out, sizeof(float));
        assert_non_null(r.d_weights[slot]);
    }
    assert_ok(paro_block_pass_forward(&err, pass, r.x, n_samples, r.y));
    assert_ok(paro_block_pass_backward(&err, pass, r.x, r.dy, r.d_weights, r.dx));
    paro_block_pass_free(pass);
    return r;
}

static void end_results(results *r)
{
    free(r->x);
    free(r->dy);
    free(r->y);
    free(r->dx);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        free(r->weights[slot]);
        free(r->d_weights[slot]);
    }
}

static double *widen(const float *values, size_t n)
{
    double *wide = malloc((n + 1) * sizeof *wide);
    assert_non_null(wide);
    for (size_t i = 0; i < n; i++)
        wide[i] = (double)values[i];
    return wide;
}

/* |found - expected| / |expected|; the latter is at least 1e-3, for gradients that are zero but for
 * what differences lose. */
typedef struct error_sum {
    double difference, size;
} error_sum;

static void count_error(error_sum *e, double found, double expected)
{
    e->difference += (found - expected) * (found - expected);
    e->size += expected * expected;
}

static double error_of(const error_sum *e)
{
    return sqrt(e->difference / (e->size + 1e-6));
}

/* sum(dy * y) over all samples in fp64; *error (may be NULL) counts y. */
static double objective(const small_reference *reference, const results *r, const double *x,
                        error_sum *error)
{
    size_t n = r->n / r->n_samples;
    double sum = 0, *y = malloc(n * sizeof *y);
    assert_non_null(y);
    for (size_t sample = 0; sample < r->n_samples; sample++) {
        small_reference_forward(reference, x + sample * n, y);
        for (size_t i = 0; i < n; i++) {
            sum += y[i] * (double)r->dy[sample * n + i];
            if (error != NULL)
                count_error(error, (double)r->y[sample * n + i], y[i]);
        }
    }
    free(y);
    return sum;
}

/* Gradient `found` [n] of what `at` holds, in about n_looks evenly spaced places. */
static double gradient_error(const small_reference *reference, const results *r, const double *x,
                             double *at, const float *found, size_t n, size_t n_looks)
{
    const double h = 1e-5;
    error_sum error = {0};
    size_t step = n / n_looks + 1;
    for (size_t i = step / 2; i < n; i += step) {
        double kept = at[i];
        at[i] = kept + h;
        double above = objective(reference, r, x, NULL);
        at[i] = kept - h;
        double below = objective(reference, r, x, NULL);
        at[i] = kept;
        count_error(&error, (double)found[i], (above - below) / (2 * h));
    }
    return error_of(&error);
}

static void check_gradients(const small_shape *shape, size_t n_samples, size_t n_tokens,
                            size_t n_looks)
{
    char *dir = small_model_write(shape, 7);
    paro_model *model = small_model_open(dir, 2);
    results r = run_pass(model, n_samples, n_tokens);
    small_reference reference = small_reference_new(model, 0, n_tokens);
    double *x = widen(r.x, r.n);
    error_sum forward = {0};
    (void)objective(&reference, &r, x, &forward);
    print_message("y: %.1e", error_of(&forward));
    assert_true(error_of(&forward) < 1e-6);
    double error = gradient_error(&reference, &r, x, x, r.dx, r.n, n_looks);
    print_message(", dx: %.1e, weights:", error);
    assert_true(error < 1e-5);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        error = gradient_error(&reference, &r, x, reference.weights[slot], r.d_weights[slot],
                               reference.n_weights[slot], n_looks);
        print_message(" %.1e", error);
        assert_true(error < 1e-5);
    }
    print_message("\n");
    free(x);
    small_reference_end(&reference);
    end_results(&r);
    paro_model_free(model);
    test_dir_remove(dir);
}

/* Every value of every gradient. */
static void small_gradients(void **state)
{
    (void)state;
    static const small_shape shapes[] = {
        {10, 14, 4, 2, 6, false, false}, {10, 14, 4, 2, 6, true, true},
        {7, 5, 3, 1, 2, true, false},    {9, 21, 3, 3, 10, false, true},
        {3, 1, 1, 1, 2, false, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_gradients(&shapes[i], 2, 5, SIZE_MAX);
    check_gradients(&shapes[0], 3, 1, SIZE_MAX); /* attention of one token is its value */
}

/* Over the borders of blocks of rows, queries and weights. */
static const small_shape larger = {12, 390, 4, 2, 8, true, true};

static void larger_gradients(void **state)
{
    (void)state;
    check_gradients(&larger, 2, 131, 10);
}

static void threads(void **state)
{
    (void)state;
    char *dir = small_model_write(&larger, 7);
    results first = {0};
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        paro_model *model = small_model_open(dir, n_threads);
        results r = run_pass(model, 3, 200);
        if (n_threads == 1) {
            first = r;
        } else {
            assert_memory_equal(r.y, first.y, r.n * sizeof *r.y);
            assert_memory_equal(r.dx, first.dx, r.n * sizeof *r.dx);
            for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
                const paro_linear *linear = &model->blocks[0].linears[slot];
                assert_memory_equal(r.d_weights[slot], first.d_weights[slot],
                                    (size_t)linear->n_in * linear->n_out * sizeof(float));
            }
            end_results(&r);
        }
        paro_model_free(model);
    }
    end_results(&first);
    test_dir_remove(dir);
}

/* Gradients are added to what is there, those not asked for are left out, and neither changes the
 * others; a batch may be smaller than the largest. */
static void chosen_gradients(void **state)
{
    (void)state;
    enum { ALL = (1 << PARO_SLOT_COUNT) - 1 };
    static const struct {
        int slots;
        bool dx;
    } choices[] = {{0, false},
                   {0, true},
                   {1 << PARO_SLOT_DOWN, false},
                   {1 << PARO_SLOT_UP, false},
                   {1 << PARO_SLOT_O | 1 << PARO_SLOT_DOWN, false},
                   {1 << PARO_SLOT_K, false},
                   {ALL, false}};
    const small_shape shape = {10, 14, 4, 2, 6, true, true};
    paro_error err;
    char *dir = small_model_write(&shape, 7);
    paro_model *model = small_model_open(dir, 1);
    results r = run_pass(model, 2, 9);
    paro_block_pass *pass = pass_new(model, 0, 5, 9, true);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_block_pass_set_weight(pass, (paro_slot)slot, r.weights[slot]);
    for (size_t c = 0; c < sizeof choices / sizeof *choices; c++) {
        float *d_weights[PARO_SLOT_COUNT] = {0}, *dx = calloc(r.n, sizeof *dx);
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
            size_t n = (size_t)model->blocks[0].linears[slot].weight->n_values;
            if ((choices[c].slots >> slot & 1) == 0)
                continue;
            d_weights[slot] = malloc(n * sizeof(float));
            for (size_t i = 0; i < n; i++)
                d_weights[slot][i] = 4;
        }
        assert_ok(paro_block_pass_forward(&err, pass, r.x, 2, r.y));
        assert_ok(
            paro_block_pass_backward(&err, pass, r.x, r.dy, d_weights, choices[c].dx ? dx : NULL));
        if (choices[c].dx)
            assert_memory_equal(dx, r.dx, r.n * sizeof *dx);
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
            size_t n = (size_t)model->blocks[0].linears[slot].weight->n_values;
            for (size_t i = 0; i < n && d_weights[slot] != NULL; i++)
                assert_true(fabsf(d_weights[slot][i] - 4 - r.d_weights[slot][i]) < 1e-5f);
            free(d_weights[slot]);
        }
        free(dx);
    }
    paro_block_pass_free(pass);
    end_results(&r);
    paro_model_free(model);
    test_dir_remove(dir);
}

/* --- against sessions ----------------------------------------------------------------------- */

enum { SAMPLES = 2, TOKENS = 150, VOCAB = 2048 };

typedef struct all_logits {
    float *logits; /* [TOKENS, VOCAB] */
} all_logits;

static paro_status keep_logits(paro_error *err, void *context, size_t first, size_t n_rows,
                               const float *logits)
{
    (void)err;
    all_logits *all = context;
    memcpy(all->logits + first * VOCAB, logits, n_rows * VOCAB * sizeof *logits);
    return PARO_STATUS_OK;
}

/* All blocks of the demo model, one after another, give a session's logits. */
static void demo_logits(void **state)
{
    (void)state;
    paro_error err;
    paro_model *model = small_model_open("models/demo", 2);
    const paro_config *config = &model->config;
    size_t hidden = config->hidden, n = (size_t)SAMPLES * TOKENS * hidden;
    int32_t tokens[SAMPLES * TOKENS];
    paro_rng rng;
    paro_rng_seed(&rng, 5);
    float *x = small_normals(&rng, n, 1), *y = small_normals(&rng, n, 1);
    for (size_t i = 0; i < (size_t)SAMPLES * TOKENS; i++) {
        tokens[i] = (int32_t)paro_rng_below(&rng, VOCAB);
        const unsigned char *table = model->embedding->data;
        size_t row_bytes = hidden * paro_dtype_bytes(model->embedding->dtype);
        paro_f32_from_array(x + i * hidden, table + (size_t)tokens[i] * row_bytes,
                            model->embedding->dtype, hidden);
    }
    for (uint32_t layer = 0; layer < config->n_layers; layer++) {
        float *weights[PARO_SLOT_COUNT];
        paro_block_pass *pass = pass_new(model, layer, SAMPLES, TOKENS, false);
        set_weights(model, layer, pass, weights);
        assert_ok(paro_block_pass_forward(&err, pass, x, SAMPLES, y));
        memcpy(x, y, n * sizeof *x);
        paro_block_pass_free(pass);
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
            free(weights[slot]);
    }
    double *norm = small_values(model->norm);
    float *weight = malloc(hidden * sizeof *weight);
    float *found = malloc((size_t)SAMPLES * TOKENS * VOCAB * sizeof *found);
    all_logits expected = {malloc((size_t)TOKENS * VOCAB * sizeof(float))};
    for (size_t i = 0; i < hidden; i++)
        weight[i] = (float)norm[i];
    paro_ops_norm(x, weight, (size_t)SAMPLES * TOKENS, hidden, config->norm_epsilon, x);
    assert_ok(
        paro_linear_forward(&err, model->head, model->pool, x, (size_t)SAMPLES * TOKENS, found));
    for (size_t sample = 0; sample < SAMPLES; sample++) {
        paro_session *session = NULL;
        assert_ok(paro_session_new(&err, model, NULL, &session));
        assert_ok(paro_session_append_all(&err, session, tokens + sample * TOKENS, TOKENS,
                                          keep_logits, &expected));
        error_sum error = {0};
        for (size_t i = 0; i < (size_t)TOKENS * VOCAB; i++)
            count_error(&error, (double)found[sample * TOKENS * VOCAB + i],
                        (double)expected.logits[i]);
        print_message("logits: %.1e\n", error_of(&error));
        assert_true(error_of(&error) < 1e-5);
        paro_session_free(session);
    }
    free(x);
    free(y);
    free(norm);
    free(weight);
    free(found);
    free(expected.logits);
    paro_model_free(model);
}

/* --- inputs, memory, refusals --------------------------------------------------------------- */

/* y = x + o(attended) + down(gated), and mlp_normed is what the reference calls so: the inputs
 * given are those the linears had. With and without backward they are the same. */
static void inputs(void **state)
{
    (void)state;
    const small_shape shape = {10, 14, 4, 2, 6, false, false};
    const size_t m = 2 * 9;
    paro_error err;
    char *dir = small_model_write(&shape, 7);
    paro_model *model = small_model_open(dir, 1);
    results r = run_pass(model, 2, 9);
    for (int backward = 0; backward < 2; backward++) {
        paro_block_pass *pass = pass_new(model, 0, 2, 9, backward != 0);
        for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
            paro_block_pass_set_weight(pass, (paro_slot)slot, r.weights[slot]);
        float *y = malloc(r.n * sizeof *y), *o = malloc(r.n * sizeof *o),
              *down = malloc(r.n * sizeof *down);
        assert_ok(paro_block_pass_forward(&err, pass, r.x, 2, y));
        assert_memory_equal(y, r.y, r.n * sizeof *y);
        paro_ref_linear_f32(paro_block_pass_input(pass, PARO_SLOT_O), r.weights[PARO_SLOT_O], NULL,
                            m, 24, 10, o);
        paro_ref_linear_f32(paro_block_pass_input(pass, PARO_SLOT_DOWN), r.weights[PARO_SLOT_DOWN],
                            NULL, m, 14, 10, down);
        double *gate = NULL, *up = NULL;
        float gates[2][18 * 14];
        for (int i = 0; i < 2; i++)
            paro_ref_linear_f32(paro_block_pass_input(pass, i == 0 ? PARO_SLOT_GATE : PARO_SLOT_UP),
                                r.weights[i == 0 ? PARO_SLOT_GATE : PARO_SLOT_UP], NULL, m, 10, 14,
                                gates[i]);
        gate = widen(gates[0], m * 14);
        up = widen(gates[1], m * 14);
        paro_ref_swiglu_f64(gate, up, m * 14, gate);
        for (size_t i = 0; i < m * 14; i++)
            assert_true(fabs(gate[i] - (double)paro_block_pass_input(pass, PARO_SLOT_DOWN)[i]) <
                        1e-5);
        for (size_t i = 0; i < r.n; i++)
            assert_true(fabsf(r.x[i] + o[i] + down[i] - y[i]) < 1e-5f);
        const float *q = paro_block_pass_input(pass, PARO_SLOT_Q);
        assert_ptr_equal(q, paro_block_pass_input(pass, PARO_SLOT_K));
        assert_ptr_equal(q, paro_block_pass_input(pass, PARO_SLOT_V));
        double *norm = small_values(model->blocks[0].input_norm), *x = widen(r.x, r.n);
        paro_ref_norm_f64(x, norm, m, 10, 1e-5, x);
        for (size_t i = 0; i < r.n; i++)
            assert_true(fabs(x[i] - (double)q[i]) < 1e-5);
        free(norm);
        free(x);
        free(gate);
        free(up);
        free(y);
        free(o);
        free(down);
        paro_block_pass_free(pass);
    }
    end_results(&r);
    paro_model_free(model);
    test_dir_remove(dir);
}

static void refusals(void **state)
{
    (void)state;
    paro_error err;
    paro_model *model = small_model_open("models/demo", 1);
    paro_block_pass *pass = NULL;
    static float x[2 * 3 * 256], y[2 * 3 * 256];
    float *none[PARO_SLOT_COUNT] = {0}, *weights[PARO_SLOT_COUNT];
    const paro_status bad = PARO_STATUS_INVALID_ARGUMENT;
    paro_block_pass_options options = {2, 3, true};
    assert_fails(paro_block_pass_new(&err, model, 4, &options, &pass), bad,
                 "expected a layer from 0 to 3, found 4");
    options.max_samples = 0;
    assert_fails(paro_block_pass_new(&err, model, 0, &options, &pass), bad, "found 0 of 3");
    options = (paro_block_pass_options){2, 0, true};
    assert_fails(paro_block_pass_new(&err, model, 0, &options, &pass), bad, "found 2 of 0");
    options = (paro_block_pass_options){SIZE_MAX / 2, 512, true};
    assert_fails(paro_block_pass_new(&err, model, 0, &options, &pass), PARO_STATUS_OUT_OF_MEMORY,
                 "fewer samples at a time");
    assert_true(paro_block_pass_bytes(&model->config, 1, &options) == UINT64_MAX);
    options = (paro_block_pass_options){1 << 20, 1 << 20, false};
    if (!TEST_SANITIZED) /* whose malloc would end the program */
        assert_fails(paro_block_pass_new(&err, model, 0, &options, &pass),
                     PARO_STATUS_OUT_OF_MEMORY, "shorter ones");
    assert_null(pass);

    pass = pass_new(model, 1, 2, 3, true);
    assert_fails(paro_block_pass_forward(&err, pass, x, 2, y), bad,
                 "model.layers.1.self_attn.q_proj: expected a weight");
    set_weights(model, 1, pass, weights);
    assert_fails(paro_block_pass_forward(&err, pass, x, 3, y), bad, "1 to 2 samples, found 3");
    assert_fails(paro_block_pass_forward(&err, pass, x, 0, y), bad, "1 to 2 samples, found 0");
    assert_fails(paro_block_pass_backward(&err, pass, x, y, none, NULL), bad,
                 "a forward before each backward");
    assert_ok(paro_block_pass_forward(&err, pass, x, 2, y));
    assert_ok(paro_block_pass_backward(&err, pass, x, y, none, NULL));
    assert_fails(paro_block_pass_backward(&err, pass, x, y, none, NULL), bad,
                 "a forward before each backward");
    paro_block_pass_free(pass);
    pass = pass_new(model, 1, 2, 3, false);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        paro_block_pass_set_weight(pass, (paro_slot)slot, weights[slot]);
    assert_ok(paro_block_pass_forward(&err, pass, x, 2, y));
    assert_fails(paro_block_pass_backward(&err, pass, x, y, none, NULL), bad, "forward only");
    paro_block_pass_free(pass);
    paro_block_pass_free(NULL);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        free(weights[slot]);
    paro_model_free(model);
}

static void bytes(void **state)
{
    (void)state;
    paro_model *model = small_model_open("models/demo", 1);
    const paro_config *config = &model->config;
    paro_block_pass_options options = {4, 100, false};
    /* normed, residual, mlp_normed; q, attended, k, v; gate, up */
    uint64_t row = 4 * (3 * 256 + 2 * 256 + 2 * 128 + 2 * 768);
    uint64_t forward = paro_block_pass_bytes(config, 1, &options);
    options.max_samples = 5;
    assert_int_equal(paro_block_pass_bytes(config, 1, &options) - forward, 100 * row);
    assert_true(forward > 400 * row && forward < 500 * row);
    options.max_samples = 4;
    options.backward = true;
    uint64_t backward = paro_block_pass_bytes(config, 1, &options);
    assert_true(backward > forward + 400 * 4 * (768 + 256)); /* gated, d_attended */
    assert_true(paro_block_pass_bytes(config, 2, &options) > backward);
    paro_model_free(model);
}

/* --- the loss ------------------------------------------------------------------------------- */

static void loss(void **state)
{
    (void)state;
    paro_error err;
    paro_pool *pool = NULL;
    assert_ok(paro_pool_new(&err, 2, &pool));
    const float y[] = {1, 2.5f, 0, 3, -4, 0.25f}, target[] = {1, 2, 1, 1, -1, 1.5f};
    float dy[6];
    /* differences 0, 0.5, -1, 2, -3, -1.25 */
    assert_true(fabs(paro_smooth_l1(pool, y, target, 6, 12, dy) -
                     (0 + 0.125 + 0.5 + 1.5 + 2.5 + 0.75) / 6) < 1e-7);
    const float gradients[] = {0, 1, -2, 2, -2, -2};
    for (int i = 0; i < 6; i++)
        assert_true(fabsf(dy[i] - gradients[i]) < 1e-6f);
    const float below = 0.9999f, above = 1.0001f, zero = 0;
    assert_true(fabs(paro_smooth_l1(NULL, &below, &zero, 1, 1, dy) - 0.49990001) < 1e-6);
    assert_true(fabsf(dy[0] - 0.9999f) < 1e-6f);
    assert_true(fabs(paro_smooth_l1(NULL, &above, &zero, 1, 1, dy) - 0.5001) < 1e-6);
    assert_true(dy[0] == 1);
    const float broken = NAN;
    assert_true(isnan(paro_smooth_l1(NULL, &broken, &zero, 1, 1, NULL)));

    const size_t n = 1500007; /* more values than parts of the least size hold */
    paro_rng rng;
    paro_rng_seed(&rng, 2);
    float *a = small_normals(&rng, n, 1), *b = small_normals(&rng, n, 1);
    float *da = malloc(n * sizeof *da);
    double expected = 0, found = paro_smooth_l1(pool, a, b, n, 1, da);
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        expected += fabs(d) < 1 ? 0.5 * d * d : fabs(d) - 0.5;
        d = (d > 1 ? 1 : d < -1 ? -1 : d) / (double)n;
        assert_true(fabs((double)da[i] - d) <= 1e-6 * fabs(d) + 1e-13);
    }
    assert_true(fabs(found - expected / (double)n) < 1e-7 * found);
    assert_true(found == paro_smooth_l1(NULL, a, b, n, 1, NULL));
    free(a);
    free(b);
    free(da);
    paro_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_gradients),
        cmocka_unit_test(larger_gradients),
        cmocka_unit_test(threads),
        cmocka_unit_test(chosen_gradients),
        cmocka_unit_test(demo_logits),
        cmocka_unit_test(inputs),
        cmocka_unit_test(refusals),
        cmocka_unit_test(bytes),
        cmocka_unit_test(loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
