/* SPDX-License-Identifier: MIT
 *
 * What the mathematics promises, on the emulator: rotations keep norms and can be undone, outputs
 * and tokens do not depend on one another, products are linear, merged linears equal separate ones,
 * sharded ones the whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "codegen/codegen.h"
#include "emulator/emulator.h"
#include "families/linear_w4.h"
#include "families/random.h"
#include "families/rotate.h"
#include "families/rotation_tables.h"
#include "families/w4_layout.h"
#include "gpu/plan.h"
#include "tests/kernel_problems.h"
#include "tests/support.h"

static paro_gpu *gpu;
static const paro_arch *arch;

static int open_emulator(void **state)
{
    paro_error err;
    (void)state;
    arch = paro_arch_find("sm_90");
    const paro_emulator_options options = {.arch = arch, .sanitize = TEST_KERNEL_SANITIZE};
    paro_status status = paro_gpu_open_emulator(&err, &options, &gpu);
    if (status != PARO_STATUS_UNSUPPORTED) /* else the tests are skipped */
        assert_ok(status);
    return 0;
}

static int close_emulator(void **state)
{
    (void)state;
    paro_gpu_free(gpu);
    return 0;
}

/* At the beginning of every test. */
static void need_emulator(void)
{
    if (gpu == NULL) {
        printf("SKIP test_properties: needs a C++ compiler\n");
        fflush(stdout);
        skip();
    }
}

/* Runs the case's kernels on its data; outputs and inouts are then in the case. */
static void run(paro_case *c)
{
    const paro_family *family = c->problem->family;
    const paro_variant variant = {c->problem, c->config, arch};
    paro_error err;
    paro_buffer source = {0};
    paro_gpu_module *module;
    paro_gpu_stream *stream;
    paro_gpu_function *functions[PARO_MAX_LAUNCHES];
    paro_gpu_value values[PARO_MAX_ARGS];
    paro_launch_plan plan;
    size_t n_bytes[PARO_MAX_ARGS] = {0};
    assert_ok(paro_render(&err, &variant, &source));
    const paro_gpu_image image = {source.data, source.n_bytes, false};
    assert_ok(paro_gpu_module_load(&err, gpu, &image, &module));
    assert_ok(paro_gpu_stream_new(&err, gpu, &stream));
    family->plan(c->problem, c->config, &plan);
    assert_ok(paro_launch_plan_functions(&err, module, &plan, functions));
    memset(values, 0, sizeof values);
    for (size_t arg = 0; arg < paro_family_n_args(family); arg++) {
        if (family->args[arg].role == PARO_ARG_SCALAR) {
            values[arg].scalar = c->scalars[arg];
        } else if (c->data[arg] != NULL) {
            n_bytes[arg] = (size_t)c->info[arg].n * paro_dtype_bytes(c->info[arg].dtype);
            assert_ok(paro_gpu_alloc(&err, gpu, n_bytes[arg], &values[arg].ptr));
            assert_ok(paro_gpu_upload(&err, gpu, values[arg].ptr, c->data[arg], n_bytes[arg]));
        }
    }
    assert_ok(paro_launch_plan_launch(&err, stream, &plan, functions, values));
    assert_ok(paro_gpu_stream_wait(&err, stream));
    for (size_t arg = 0; arg < paro_family_n_args(family); arg++) {
        if (n_bytes[arg] == 0)
            continue;
        assert_ok(paro_gpu_download(&err, gpu, c->data[arg], values[arg].ptr, n_bytes[arg]));
        paro_gpu_release(gpu, values[arg].ptr);
    }
    paro_gpu_stream_free(stream);
    paro_gpu_module_free(module);
    paro_buffer_free(&source);
}

/* A problem, a random config of its space, and a case. */
typedef struct variant {
    paro_problem problem;
    paro_kernel_config config;
    paro_case c;
} variant;

static variant *variant_new(paro_rng *rng, const paro_problem *problem)
{
    paro_error err;
    variant *v = calloc(1, sizeof *v);
    assert_non_null(v);
    v->problem = *problem;
    assert_true(test_draw_config(rng, problem, arch, &v->config));
    assert_ok(paro_case_new(&err, &v->problem, &v->config, paro_rng_u64(rng), NULL, &v->c));
    return v;
}

static void variant_free(variant *v)
{
    paro_case_release(&v->c);
    free(v);
}

/* ‖a - b‖ / ‖b‖ */
static double difference(const double *a, const double *b, size_t n)
{
    double away = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        away += (a[i] - b[i]) * (a[i] - b[i]);
        square += b[i] * b[i];
    }
    return sqrt(away / square);
}

/* ---- rotations ------------------------------------------------------------------------------ */

static paro_problem draw_rotation(paro_rng *rng, int64_t outputs)
{
    for (;;) {
        paro_problem problem = test_draw_problem(rng, &paro_family_rotate);
        if (paro_problem_get(&problem, "dtype") == PARO_KERNEL_DTYPE_F32 &&
            paro_problem_get(&problem, "inverse") == 0 &&
            paro_problem_get(&problem, "outputs") == outputs)
            return problem;
    }
}

static paro_problem with(const paro_problem *problem, const char *key, int64_t value)
{
    paro_problem changed = *problem;
    for (size_t i = 0; problem->family->keys[i].name != NULL; i++)
        if (strcmp(problem->family->keys[i].name, key) == 0)
            changed.values[i] = value;
    return changed;
}

static float *floats(const variant *v, size_t arg)
{
    return v->c.data[arg];
}

static double norm_of(const float *row, size_t n)
{
    double square = 0;
    for (size_t i = 0; i < n; i++)
        square += (double)row[i] * (double)row[i];
    return sqrt(square);
}

static void test_rotation_keeps_norms(void **state)
{
    paro_rng rng;
    (void)state;
    need_emulator();
    paro_rng_seed(&rng, 11);
    for (int i = 0; i < 6; i++) {
        const paro_problem problem = draw_rotation(&rng, 1 + i % 2);
        const size_t h = (size_t)paro_problem_get(&problem, "h");
        const size_t m = (size_t)paro_problem_get(&problem, "m");
        variant *v = variant_new(&rng, &problem);
        for (size_t c = 0; c < v->c.info[PARO_ROTATE_ARG_CHANNEL_SCALES].n; c++)
            floats(v, PARO_ROTATE_ARG_CHANNEL_SCALES)[c] = 1;
        run(&v->c);
        for (size_t row = 0; row < v->c.info[PARO_ROTATE_ARG_Y].n / h; row++) {
            double before = norm_of(floats(v, PARO_ROTATE_ARG_X) + row % m * h, h);
            double after = norm_of(floats(v, PARO_ROTATE_ARG_Y) + row * h, h);
            assert_true(fabs(after / before - 1) < 2e-6);
        }
        variant_free(v);
    }
}

static void test_inverse_restores(void **state)
{
    paro_rng rng;
    (void)state;
    need_emulator();
    paro_rng_seed(&rng, 12);
    for (int i = 0; i < 6; i++) {
        const paro_problem problem = draw_rotation(&rng, 1);
        const paro_problem back = with(&problem, "inverse", 1);
        variant *v = variant_new(&rng, &problem), *b = variant_new(&rng, &back);
        run(&v->c);
        for (size_t arg = PARO_ROTATE_ARG_PAIRS; arg <= PARO_ROTATE_ARG_CHANNEL_SCALES; arg++)
            if (b->c.data[arg] != NULL)
                memcpy(b->c.data[arg], v->c.data[arg],
                       (size_t)b->c.info[arg].n * paro_dtype_bytes(b->c.info[arg].dtype));
        const size_t n = (size_t)v->c.info[PARO_ROTATE_ARG_X].n;
        memcpy(floats(b, PARO_ROTATE_ARG_X), floats(v, PARO_ROTATE_ARG_Y), n * sizeof(float));
        run(&b->c);
        double away = 0, square = 0;
        for (size_t e = 0; e < n; e++) {
            double x = (double)floats(v, PARO_ROTATE_ARG_X)[e];
            away += pow((double)floats(b, PARO_ROTATE_ARG_Y)[e] - x, 2);
            square += x * x;
        }
        assert_true(sqrt(away / square) < 4e-6);
        variant_free(v);
        variant_free(b);
    }
}

/* Each output alone, each with another config: the same bits. */
static void test_outputs_are_independent(void **state)
{
    paro_rng rng;
    (void)state;
    need_emulator();
    paro_rng_seed(&rng, 13);
    for (int i = 0; i < 4; i++) {
        const paro_problem problem = draw_rotation(&rng, 3), single = with(&problem, "outputs", 1);
        variant *v = variant_new(&rng, &problem);
        run(&v->c);
        for (size_t output = 0; output < 3; output++) {
            variant *s = variant_new(&rng, &single);
            for (size_t arg = 0; arg < PARO_ROTATE_ARG_Y; arg++) {
                size_t n_bytes = (size_t)s->c.info[arg].n * paro_dtype_bytes(s->c.info[arg].dtype);
                if (n_bytes > 0)
                    memcpy(s->c.data[arg],
                           (const char *)v->c.data[arg] +
                               (arg == PARO_ROTATE_ARG_X ? 0 : output * n_bytes),
                           n_bytes);
            }
            run(&s->c);
            size_t n = (size_t)s->c.info[PARO_ROTATE_ARG_Y].n;
            assert_memory_equal(floats(s, PARO_ROTATE_ARG_Y),
                                floats(v, PARO_ROTATE_ARG_Y) + output * n, n * sizeof(float));
            variant_free(s);
        }
        variant_free(v);
    }
}

static void test_tokens_are_independent(void **state)
{
    paro_rng rng;
    (void)state;
    need_emulator();
    paro_rng_seed(&rng, 14);
    const paro_problem drawn = draw_rotation(&rng, 1);
    const paro_problem problem = paro_problem_with_m(&drawn, 7);
    const paro_problem single = paro_problem_with_m(&problem, 1);
    const size_t h = (size_t)paro_problem_get(&problem, "h");
    variant *v = variant_new(&rng, &problem);
    run(&v->c);
    for (size_t token = 0; token < 7; token += 3) {
        variant *s = variant_new(&rng, &single);
        for (size_t arg = PARO_ROTATE_ARG_PAIRS; arg <= PARO_ROTATE_ARG_CHANNEL_SCALES; arg++)
            if (s->c.data[arg] != NULL)
                memcpy(s->c.data[arg], v->c.data[arg],
                       (size_t)s->c.info[arg].n * paro_dtype_bytes(s->c.info[arg].dtype));
        memcpy(floats(s, PARO_ROTATE_ARG_X), floats(v, PARO_ROTATE_ARG_X) + token * h,
               h * sizeof(float));
        run(&s->c);
        assert_memory_equal(floats(s, PARO_ROTATE_ARG_Y), floats(v, PARO_ROTATE_ARG_Y) + token * h,
                            h * sizeof(float));
        variant_free(s);
    }
    variant_free(v);
}

/* ---- INT4 products ---------------------------------------------------------------------------
 */

/* A weight of merged parts before it is packed, and each part's rotation. */
typedef struct weight {
    uint32_t n, k, group, krot, n_parts;
    uint32_t parts[3];
    uint8_t *codes;   /* [n][k] */
    uint8_t *zeros;   /* [n][k / group] */
    uint16_t *scales; /* [n][k / group] f16 */
    uint8_t *pairs;   /* [n_parts][krot][k] */
    float *cossin;    /* [n_parts][krot][k] */
    float *channels;  /* [n_parts][k] */
} weight;

static void *array(size_t n, size_t element)
{
    void *data = calloc(n + 1, element);
    assert_non_null(data);
    return data;
}

static weight *weight_new(paro_rng *rng, uint32_t group, uint32_t krot)
{
    weight *w = array(1, sizeof *w);
    *w = (weight){.k = 512, .group = group, .krot = krot, .n_parts = 3, .parts = {40, 16, 24}};
    w->n = w->parts[0] + w->parts[1] + w->parts[2];
    const size_t n_scales = (size_t)w->n * w->k / group;
    const size_t n_slots = (size_t)w->n_parts * krot * w->k;
    w->codes = array((size_t)w->n * w->k, 1);
    w->zeros = array(n_scales, 1);
    w->scales = array(n_scales, 2);
    w->pairs = array(n_slots, 1);
    w->cossin = array(n_slots, sizeof(float));
    w->channels = array((size_t)w->n_parts * w->k, sizeof(float));
    for (size_t i = 0; i < (size_t)w->n * w->k; i++)
        w->codes[i] = (uint8_t)paro_rng_below(rng, 16);
    for (size_t i = 0; i < n_scales; i++) {
        w->zeros[i] = (uint8_t)paro_rng_below(rng, 16);
        w->scales[i] = paro_f16_from_f32(0.01f + 0.01f * (float)paro_rng_f64(rng));
    }
    for (uint32_t p = 0; p < w->n_parts; p++)
        paro_rotation_tables_random(
            paro_rng_u64(rng), w->k, group, krot, w->pairs + (size_t)p * krot * w->k,
            w->cossin + (size_t)p * krot * w->k, w->channels + (size_t)p * w->k);
    return w;
}

static void weight_free(weight *w)
{
    free(w->codes);
    free(w->zeros);
    free(w->scales);
    free(w->pairs);
    free(w->cossin);
    free(w->channels);
    free(w);
}

/* Columns first .. first + n of [rows][columns], side by side. */
static void *cut(const void *data, size_t rows, size_t columns, size_t first, size_t n,
                 size_t element)
{
    char *out = array(rows * n, element);
    for (size_t row = 0; row < rows; row++)
        memcpy(out + row * n * element, (const char *)data + (row * columns + first) * element,
               n * element);
    return out;
}

/* Which part of the weight a product is of. */
typedef struct shard {
    uint32_t first_part, n_parts;
    uint32_t column, k;
} shard;

static void put(paro_case *c, size_t arg, void *data)
{
    if (c->info[arg].n > 0)
        memcpy(c->data[arg], data, (size_t)c->info[arg].n * paro_dtype_bytes(c->info[arg].dtype));
    free(data);
}

static void put_weight(paro_case *c, const weight *w, const shard *s, uint32_t row)
{
    const size_t n = (size_t)paro_problem_get(c->problem, "n"), tables = s->n_parts * w->krot;
    const size_t first_table = (size_t)s->first_part * w->krot * w->k;
    const char *name = paro_family_linear_w4.layout(c->problem, c->config);
    const paro_w4_layout layout =
        strcmp(name, "awq") == 0 ? PARO_W4_LAYOUT_AWQ : PARO_W4_LAYOUT_MMA16;
    const size_t groups = w->k / w->group;
    paro_w4_shape shape;
    paro_w4_shape_of(c->problem, &shape);
    uint8_t *codes = cut(w->codes + (size_t)row * w->k, n, w->k, s->column, s->k, 1);
    uint8_t *zeros =
        cut(w->zeros + row * groups, n, groups, s->column / w->group, s->k / w->group, 1);
    uint16_t *scales =
        cut(w->scales + row * groups, n, groups, s->column / w->group, s->k / w->group, 2);
    paro_w4_pack(&shape, layout, codes, zeros, scales, c->data[PARO_LINEAR_W4_ARG_CODES],
                 c->data[PARO_LINEAR_W4_ARG_ZEROS], c->data[PARO_LINEAR_W4_ARG_SCALES]);
    free(codes);
    free(zeros);
    free(scales);
    put(c, PARO_LINEAR_W4_ARG_PAIRS, cut(w->pairs + first_table, tables, w->k, s->column, s->k, 1));
    put(c, PARO_LINEAR_W4_ARG_COSSIN,
        cut(w->cossin + first_table, tables, w->k, s->column, s->k, sizeof(float)));
    put(c, PARO_LINEAR_W4_ARG_CHANNEL_SCALES,
        cut(w->channels + (size_t)s->first_part * w->k, s->n_parts, w->k, s->column, s->k,
            sizeof(float)));
}

/* y [m][rows of the shard] of x [m][k of the whole]; a random config. malloc'd. */
static double *product(paro_rng *rng, const weight *w, const shard *s, const float *x, uint32_t m)
{
    char text[PARO_PROBLEM_TEXT_BYTES], parts[64] = "";
    paro_error err;
    paro_problem problem;
    uint32_t n = 0, row = 0;
    for (uint32_t p = 0; p < s->first_part + s->n_parts; p++) {
        if (p < s->first_part) {
            row += w->parts[p];
            continue;
        }
        snprintf(parts + strlen(parts), sizeof parts - strlen(parts), "%s%u",
                 p > s->first_part ? "+" : "", w->parts[p]);
        n += w->parts[p];
    }
    snprintf(text, sizeof text, "linear_w4:n=%u,k=%u,m=%u,group=%u,krot=%u,dtype=f16,parts=%s", n,
             s->k, m, w->group, w->krot, parts);
    assert_ok(paro_problem_parse(&err, text, &problem));
    variant *v = variant_new(rng, &problem);
    put_weight(&v->c, w, s, row);
    float *columns = cut(x, m, w->k, s->column, s->k, sizeof(float));
    paro_array_from_f32(v->c.data[PARO_LINEAR_W4_ARG_X], PARO_DTYPE_F16, columns, (size_t)m * s->k);
    free(columns);
    run(&v->c);
    double *y = array((size_t)m * n, sizeof *y);
    for (size_t i = 0; i < (size_t)m * n; i++)
        y[i] = paro_element_get(v->c.data[PARO_LINEAR_W4_ARG_Y], PARO_DTYPE_F16, i);
    variant_free(v);
    return y;
}

/* Multiples of 1/16: sums of a few are exact in fp16. */
static float *draw_input(paro_rng *rng, const weight *w, uint32_t m)
{
    float *x = array((size_t)m * w->k, sizeof *x);
    for (size_t i = 0; i < (size_t)m * w->k; i++)
        x[i] = (float)((int)paro_rng_below(rng, 65) - 32) / 16;
    return x;
}

enum { N_WEIGHTS = 3 };
static const uint32_t weight_groups[N_WEIGHTS] = {128, 64, 256};
static const uint32_t weight_rounds[N_WEIGHTS] = {8, 3, 0};
static const uint32_t weight_tokens[N_WEIGHTS] = {1, 5, 17};
static const double f16_tolerance = 2e-3;

static void test_products_are_linear(void **state)
{
    paro_rng rng;
    (void)state;
    need_emulator();
    paro_rng_seed(&rng, 15);
    for (int i = 0; i < N_WEIGHTS; i++) {
        const uint32_t m = weight_tokens[i];
        weight *w = weight_new(&rng, weight_groups[i], weight_rounds[i]);
        const shard all = {0, w->n_parts, 0, w->k};
        float *a = draw_input(&rng, w, m), *b = draw_input(&rng, w, m);
        double *of_a = product(&rng, w, &all, a, m), *of_b = product(&rng, w, &all, b, m);
        for (size_t e = 0; e < (size_t)m * w->k; e++)
            a[e] = 2 * a[e] - b[e];
        double *of_sum = product(&rng, w, &all, a, m);
        for (size_t e = 0; e < (size_t)m * w->n; e++)
            of_a[e] = 2 * of_a[e] - of_b[e];
        assert_true(difference(of_a, of_sum, (size_t)m * w->n) < f16_tolerance);
        free(a), free(b), free(of_a), free(of_b), free(of_sum);
        weight_free(w);
    }
}

static void test_merged_equals_separate(void **state)
{
    paro_rng rng;
    (void)state;
    need_emulator();
    paro_rng_seed(&rng, 16);
    for (int i = 0; i < N_WEIGHTS; i++) {
        const uint32_t m = weight_tokens[i];
        weight *w = weight_new(&rng, weight_groups[i], weight_rounds[i]);
        const shard all = {0, w->n_parts, 0, w->k};
        float *x = draw_input(&rng, w, m);
        double *merged = product(&rng, w, &all, x, m);
        for (uint32_t p = 0, row = 0; p < w->n_parts; row += w->parts[p++]) {
            const shard one = {p, 1, 0, w->k};
            double *separate = product(&rng, w, &one, x, m);
            double *same = cut(merged, m, w->n, row, w->parts[p], sizeof(double));
            assert_true(difference(separate, same, (size_t)m * w->parts[p]) < f16_tolerance);
            free(separate), free(same);
        }
        free(x), free(merged);
        weight_free(w);
    }
}

/* Columns on several devices: the products' sum. */
static void test_sharded_equals_whole(void **state)
{
    paro_rng rng;
    (void)state;
    need_emulator();
    paro_rng_seed(&rng, 17);
    for (int i = 0; i < N_WEIGHTS; i++) {
        const uint32_t m = weight_tokens[i];
        weight *w = weight_new(&rng, weight_groups[i], weight_rounds[i]);
        const shard all = {0, w->n_parts, 0, w->k}, left = {0, w->n_parts, 0, 256},
                    right = {0, w->n_parts, 256, 256};
        float *x = draw_input(&rng, w, m);
        double *whole = product(&rng, w, &all, x, m), *a = product(&rng, w, &left, x, m),
               *b = product(&rng, w, &right, x, m);
        for (size_t e = 0; e < (size_t)m * w->n; e++)
            a[e] += b[e];
        assert_true(difference(a, whole, (size_t)m * w->n) < f16_tolerance);
        free(x), free(whole), free(a), free(b);
        weight_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotation_keeps_norms),
        cmocka_unit_test(test_inverse_restores),
        cmocka_unit_test(test_outputs_are_independent),
        cmocka_unit_test(test_tokens_are_independent),
        cmocka_unit_test(test_products_are_linear),
        cmocka_unit_test(test_merged_equals_separate),
        cmocka_unit_test(test_sharded_equals_whole),
    };
    return cmocka_run_group_tests(tests, open_emulator, close_emulator);
}
