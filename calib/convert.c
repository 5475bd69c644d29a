/* SPDX-License-Identifier: MIT
 *
 * From a model and a plan to the tensors of a checkpoint.
 *
 * A source tensor is either owned by a linear of the blocks (or by a packed head) or stands alone.
 * What comes out, in this order, so that each tensor's offset in a file is a multiple of its
 * element size:
 *     1. tensors alone of other element types, 4 bytes and more, as they are
 *     2. packed linears
 *     3. kept linears, as F16 "P.weight"; what they are in the source is dequantised
 *     4. tensors alone of F32, F16, BF16: as F16
 *     5. the rest, 2 bytes then 1, as they are
 */
#include "calib/convert.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "calib/calibration.h"
#include "runtime/model.h"

typedef struct conversion {
    const paro_model *model;
    const paro_plan *plan;
    const paro_block_store *calibrated; /* NULL: the plan's methods quantise */
    const paro_format_row *format;
    uint32_t krot; /* of the format, for this plan */
    const paro_observer *observer;
    const paro_sink *sink;
    paro_map owned;   /* names of tensors that belong to linears */
    bool declaring;   /* the first pass: nothing is computed */
    float *w;         /* of the largest linear */
    float *effective; /* likewise; of calibrated plans */
    float *ones;      /* [its n_in] */
    double *row_sums; /* [2 * its n_out] */
    uint64_t n_done;  /* values */
    uint64_t n_total;
    double sum_errors;
    double max_error;
} conversion;

/* The n-th linear: those of the blocks, then the head where it is packed; NULL past the last. */
static paro_linear *linear_at(const paro_model *model, size_t n)
{
    size_t n_linears = paro_model_n_linears(model);
    if (n < n_linears)
        return paro_model_linear(model, n);
    bool packed_head = model->head->kind != PARO_LINEAR_KIND_DENSE;
    return n == n_linears && packed_head ? model->head : NULL;
}

/* Whether the plan quantises the n-th linear. */
static bool is_quantised(const paro_plan *plan, size_t n)
{
    return n < plan->n_linears && plan->linears[n].method->quantise != NULL;
}

/* Checks every linear and notes its tensors. */
static paro_status list_owned(paro_error *err, conversion *c)
{
    const paro_tensor *owned[PARO_LINEAR_MAX_TENSORS];
    paro_linear *linear = NULL;
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; status == PARO_STATUS_OK && (linear = linear_at(c->model, i)) != NULL; i++) {
        status = paro_linear_prepare(err, linear);
        const size_t n_owned = paro_linear_tensors(linear, owned);
        for (size_t k = 0; k < n_owned && status == PARO_STATUS_OK; k++) {
            if (!paro_map_put(&c->owned, owned[k]->name, strlen(owned[k]->name), 0, NULL))
                status = paro_fail_memory(err, sizeof *owned, "a table of tensors");
        }
    }
    return status;
}

static uint64_t count_values(const uint64_t *shape, uint32_t rank)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < rank; i++)
        n *= shape[i];
    return n;
}

static paro_status advance(paro_error *err, conversion *c, uint64_t n_values)
{
    if (c->declaring)
        return PARO_STATUS_OK;
    c->n_done += n_values;
    return paro_report(err, c->observer, "quantize", c->n_done, c->n_total);
}

static paro_status declare(paro_error *err, conversion *c, const paro_tensor *tensor)
{
    c->n_total += tensor->n_values;
    if (c->sink->declare == NULL)
        return PARO_STATUS_OK;
    return c->sink->declare(err, c->sink->context, tensor);
}

static paro_status pass(paro_error *err, conversion *c, const paro_tensor *source)
{
    if (c->declaring)
        return declare(err, c, source);
    paro_status status = PARO_STATUS_OK;
    if (c->sink->pass != NULL)
        status = c->sink->pass(err, c->sink->context, source);
    return status == PARO_STATUS_OK ? advance(err, c, source->n_values) : status;
}

enum { CHUNK = 4096 };

/* Whether F16 holds every value of the tensor exactly; *bad is the first value that is not finite,
 * or is too large for F16; n_values where there is none. */
static bool fits_f16(const paro_tensor *tensor, uint64_t *bad)
{
    const unsigned char *data = tensor->data;
    size_t item = paro_dtype_bytes(tensor->dtype);
    float values[CHUNK];
    bool exact = true;
    *bad = tensor->n_values;
    for (uint64_t first = 0; first < tensor->n_values; first += CHUNK) {
        uint64_t left = tensor->n_values - first;
        size_t n = left < CHUNK ? (size_t)left : CHUNK;
        paro_f32_from_array(values, data + first * item, tensor->dtype, n);
        for (size_t i = 0; i < n; i++) {
            float rounded = paro_f32_from_f16(paro_f16_from_f32(values[i]));
            exact = exact && rounded == values[i];
            if (!isfinite(rounded)) {
                *bad = first + i;
                return false;
            }
        }
    }
    return exact;
}

/* A tensor of the source, or what takes the place of one, as F16. */
static paro_status convert_alone(paro_error *err, conversion *c, const paro_tensor *source,
                                 bool pass_exact)
{
    if (!paro_dtype_is_weight(source->dtype))
        return pass(err, c, source);
    paro_tensor tensor = *source;
    tensor.dtype = PARO_DTYPE_F16;
    if (c->declaring)
        return declare(err, c, &tensor);

    uint64_t bad = 0;
    bool exact = fits_f16(source, &bad);
    if (bad < source->n_values) {
        float value = 0;
        paro_f32_from_array(
            &value, (const unsigned char *)source->data + bad * paro_dtype_bytes(source->dtype),
            source->dtype, 1);
        if (!isfinite(value))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: value %" PRIu64 " (in row-major order) is %g: expected "
                             "finite numbers",
                             source->file, source->name, bad, (double)value);
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "%s: %s: value %" PRIu64 " (in row-major order) is %g: expected at most "
                         "65504, which is F16's largest",
                         source->file, source->name, bad, (double)value);
    }
    if (source->dtype == PARO_DTYPE_F16 || (exact && pass_exact))
        return pass(err, c, source);
    if (source->n_values > SIZE_MAX / sizeof(uint16_t))
        return paro_fail_memory(err, SIZE_MAX, source->name);
    size_t n_bytes = (size_t)source->n_values * sizeof(uint16_t);
    unsigned char *data = malloc(n_bytes > 0 ? n_bytes : 1);
    if (data == NULL)
        return paro_fail_memory(err, n_bytes, source->name);
    float values[CHUNK];
    for (uint64_t first = 0; first < source->n_values; first += CHUNK) {
        uint64_t left = source->n_values - first;
        size_t n = left < CHUNK ? (size_t)left : CHUNK;
        paro_f32_from_array(
            values, (const unsigned char *)source->data + first * paro_dtype_bytes(source->dtype),
            source->dtype, n);
        paro_array_from_f32(data + first * sizeof(uint16_t), PARO_DTYPE_F16, values, n);
    }
    paro_status status = c->sink->put(err, c->sink->context, &tensor, data, n_bytes);
    return status == PARO_STATUS_OK ? advance(err, c, tensor.n_values) : status;
}

static bool has_suffix(const paro_format_tensor *tensors, size_t n_tensors, const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; i < n_tensors; i++) {
        if (dot != NULL && strcmp(tensors[i].suffix, dot + 1) == 0)
            return true;
    }
    return false;
}

/* Hides a linear's tensors, but for those that `tensors` replaces. */
static paro_status hide_linear(paro_error *err, conversion *c, const paro_linear *linear,
                               const paro_format_tensor *tensors, size_t n_tensors)
{
    const paro_tensor *owned[PARO_LINEAR_MAX_TENSORS];
    const size_t n_owned = paro_linear_tensors(linear, owned);
    paro_status status = PARO_STATUS_OK;
    for (size_t k = 0; k < n_owned && c->sink->hide != NULL && status == PARO_STATUS_OK; k++) {
        if (!has_suffix(tensors, n_tensors, owned[k]->name))
            status = c->sink->hide(err, c->sink->context, owned[k]);
    }
    return status;
}

/* "P.suffix" of a linear, into the scratch arena. */
static paro_status describe(paro_error *err, paro_arena *scratch, const char *linear,
                            const char *suffix, paro_dtype dtype, const uint64_t shape[2],
                            paro_tensor *out)
{
    paro_tensor tensor = {.dtype = dtype, .rank = 2};
    tensor.name = paro_arena_printf(scratch, "%s.%s", linear, suffix);
    if (tensor.name == NULL)
        return paro_fail_memory(err, strlen(linear), "a tensor name");
    memcpy(tensor.shape, shape, 2 * sizeof *shape);
    tensor.n_values = count_values(shape, 2);
    tensor.n_bytes = tensor.n_values * paro_dtype_bytes(dtype);
    *out = tensor;
    return PARO_STATUS_OK;
}

/* The tensor that messages about a linear's weights name. */
static const paro_tensor *named_tensor(const paro_linear *linear)
{
    return linear->weight != NULL ? linear->weight : linear->qweight;
}

/* The effective weight into c->w, all finite. */
static paro_status load_weight(paro_error *err, conversion *c, paro_linear *linear)
{
    paro_status status = paro_linear_weight(err, linear, c->model->pool, c->w);
    if (status != PARO_STATUS_OK)
        return status;
    size_t n = (size_t)linear->n_out * linear->n_in;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(c->w[i]))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: the weight at [%zu, %zu] is %g: expected finite numbers",
                             named_tensor(linear)->file, named_tensor(linear)->name,
                             i / linear->n_in, i % linear->n_in, (double)c->w[i]);
    }
    return PARO_STATUS_OK;
}

/* |W' - W| / |W| (Frobenius) of two matrices [n_out, n_in], row by row. */
typedef struct difference_task {
    const float *a, *b;
    size_t n_in;
    double *sums; /* [n_out][2] */
} difference_task;

static void sum_row(void *context, size_t row, int worker)
{
    (void)worker;
    const difference_task *t = context;
    double difference = 0, size = 0;
    for (size_t i = row * t->n_in; i < (row + 1) * t->n_in; i++) {
        const double d = (double)t->a[i] - (double)t->b[i];
        difference += d * d;
        size += (double)t->b[i] * (double)t->b[i];
    }
    t->sums[2 * row] = difference;
    t->sums[2 * row + 1] = size;
}

static paro_status relative_error(paro_error *err, conversion *c, const paro_train_linear *linear,
                                  double *out)
{
    double difference = 0, size = 0;
    if (c->calibrated == NULL) {
        *out = paro_quantised_error(&linear->codes, c->model->pool, c->w, c->row_sums);
        return PARO_STATUS_OK;
    }
    paro_status status = paro_train_linear_effective(err, linear, c->model->pool, c->effective);
    if (status != PARO_STATUS_OK)
        return status;
    difference_task task = {c->effective, c->w, linear->n_in, c->row_sums};
    paro_pool_run(c->model->pool, linear->n_out, sum_row, &task);
    for (size_t row = 0; row < linear->n_out; row++) {
        difference += c->row_sums[2 * row];
        size += c->row_sums[2 * row + 1];
    }
    *out = size > 0 ? sqrt(difference / size) : 0;
    return PARO_STATUS_OK;
}

/* By the plan's method: codes, and a transform that does nothing (its scales are c->ones). */
static paro_status quantise_by_method(paro_error *err, conversion *c, const paro_planned *planned,
                                      paro_train_linear *out)
{
    out->codes = (paro_quantised){
        .n_out = out->n_out, .n_in = out->n_in, .bits = out->bits, .group_size = out->group_size};
    out->weight_channel_scales = c->ones;
    out->is_rounded = true;
    paro_status status = paro_quantised_alloc(err, &out->codes);
    return status == PARO_STATUS_OK
               ? planned->method->quantise(err, c->model->pool, c->w, &out->codes)
               : status;
}

static void release_quantised(const conversion *c, paro_train_linear *linear)
{
    if (linear->weight_channel_scales == c->ones)
        linear->weight_channel_scales = NULL;
    paro_train_linear_release(linear);
}

/* The n-th linear quantised; `out` has its name and sizes. */
static paro_status quantise_linear(paro_error *err, conversion *c, size_t n, paro_train_linear *out)
{
    const paro_planned *planned = &c->plan->linears[n];
    paro_linear *linear = paro_model_linear(c->model, n);
    paro_status status = load_weight(err, c, linear);
    if (status == PARO_STATUS_OK) {
        status = c->calibrated != NULL ? paro_calibrated_get(err, c->calibrated, c->plan, n, out)
                                       : quantise_by_method(err, c, planned, out);
        if (status != PARO_STATUS_OK)
            status = paro_fail_in(err, status, "%s: %s", named_tensor(linear)->file,
                                  named_tensor(linear)->name);
    }
    if (status == PARO_STATUS_OK)
        status = paro_format_check_linear(err, c->format, c->krot, out);
    double error = 0;
    if (status == PARO_STATUS_OK)
        status = relative_error(err, c, out, &error);
    if (status == PARO_STATUS_OK) {
        c->sum_errors += error;
        c->max_error = error > c->max_error ? error : c->max_error;
        status = hide_linear(err, c, linear, c->format->tensors, c->format->n_tensors);
    }
    return status;
}

static paro_status convert_quantised(paro_error *err, conversion *c, size_t n)
{
    const paro_plan_linear *plan = &c->plan->linears[n].linear;
    paro_arena scratch = {0};
    paro_train_linear quantised = {.name = plan->name,
                                   .n_out = plan->n_out,
                                   .n_in = plan->n_in,
                                   .bits = plan->bits,
                                   .group_size = plan->group_size};
    paro_status status = PARO_STATUS_OK;
    if (!c->declaring)
        status = quantise_linear(err, c, n, &quantised);
    for (size_t k = 0; k < c->format->n_tensors && status == PARO_STATUS_OK; k++) {
        const paro_format_tensor *row = &c->format->tensors[k];
        uint64_t shape[2];
        paro_tensor tensor;
        row->shape(plan, c->krot, shape);
        status = describe(err, &scratch, plan->name, row->suffix, row->dtype, shape, &tensor);
        if (status != PARO_STATUS_OK)
            break;
        if (c->declaring) {
            status = declare(err, c, &tensor);
            continue;
        }
        void *data = malloc((size_t)tensor.n_bytes);
        if (data == NULL) {
            status = paro_fail_memory(err, (size_t)tensor.n_bytes, tensor.name);
            break;
        }
        status = row->encode(err, c->model->pool, &quantised, c->krot, data);
        if (status != PARO_STATUS_OK) {
            status = paro_fail_in(err, status, "%s", tensor.name);
            free(data);
            break;
        }
        status = c->sink->put(err, c->sink->context, &tensor, data, (size_t)tensor.n_bytes);
        if (status == PARO_STATUS_OK)
            status = advance(err, c, tensor.n_values);
    }
    release_quantised(c, &quantised);
    paro_arena_release(&scratch);
    return status;
}

static paro_status convert_kept(paro_error *err, conversion *c, paro_linear *linear)
{
    if (linear->kind == PARO_LINEAR_KIND_DENSE)
        return convert_alone(err, c, linear->weight, c->sink->pass_exact);
    const uint64_t shape[2] = {linear->n_out, linear->n_in};
    paro_arena scratch = {0};
    paro_tensor weight;
    paro_status status =
        describe(err, &scratch, linear->name, "weight", PARO_DTYPE_F32, shape, &weight);
    if (status == PARO_STATUS_OK && !c->declaring) {
        status = load_weight(err, c, linear);
        if (status == PARO_STATUS_OK)
            status = hide_linear(err, c, linear, NULL, 0);
        weight.data = c->w;
        weight.file = c->model->dir;
    }
    if (status == PARO_STATUS_OK)
        status = convert_alone(err, c, &weight, false);
    paro_arena_release(&scratch);
    return status;
}

static paro_status convert_linears(paro_error *err, conversion *c, bool packed)
{
    paro_status status = PARO_STATUS_OK;
    paro_linear *linear = NULL;
    for (size_t i = 0; status == PARO_STATUS_OK && (linear = linear_at(c->model, i)) != NULL; i++) {
        if (is_quantised(c->plan, i) != packed)
            continue;
        status = packed ? convert_quantised(err, c, i) : convert_kept(err, c, linear);
    }
    return status;
}

typedef enum alone_class {
    ALONE_WIDE,   /* other types, 4 bytes and more */
    ALONE_WEIGHT, /* F32, F16, BF16 */
    ALONE_SHORT,  /* other types, 2 bytes */
    ALONE_BYTE
} alone_class;

static alone_class class_of(paro_dtype dtype)
{
    if (paro_dtype_is_weight(dtype))
        return ALONE_WEIGHT;
    size_t n_bytes = paro_dtype_bytes(dtype);
    return n_bytes >= 4 ? ALONE_WIDE : n_bytes == 2 ? ALONE_SHORT : ALONE_BYTE;
}

static paro_status convert_all_alone(paro_error *err, conversion *c, alone_class which)
{
    paro_status status = PARO_STATUS_OK;
    size_t n = paro_tensor_set_count(c->model->tensors);
    /* Of the wide ones those of 8 bytes come first. */
    for (size_t n_bytes = which == ALONE_WIDE ? 8 : 0;; n_bytes = 4) {
        for (size_t i = 0; i < n && status == PARO_STATUS_OK; i++) {
            const paro_tensor *tensor = paro_tensor_set_get(c->model->tensors, i);
            if (class_of(tensor->dtype) == which &&
                (which != ALONE_WIDE || paro_dtype_bytes(tensor->dtype) == n_bytes) &&
                !paro_map_get(&c->owned, tensor->name, strlen(tensor->name), NULL))
                status = convert_alone(err, c, tensor, c->sink->pass_exact);
        }
        if (n_bytes != 8 || status != PARO_STATUS_OK)
            return status;
    }
}

static paro_status convert_everything(paro_error *err, conversion *c)
{
    paro_status status = convert_all_alone(err, c, ALONE_WIDE);
    if (status == PARO_STATUS_OK)
        status = convert_linears(err, c, true);
    if (status == PARO_STATUS_OK)
        status = convert_linears(err, c, false);
    if (status == PARO_STATUS_OK)
        status = convert_all_alone(err, c, ALONE_WEIGHT);
    if (status == PARO_STATUS_OK)
        status = convert_all_alone(err, c, ALONE_SHORT);
    if (status == PARO_STATUS_OK)
        status = convert_all_alone(err, c, ALONE_BYTE);
    return status;
}

/* Scratch memory for the largest linear. */
static paro_status allocate_scratch(paro_error *err, conversion *c)
{
    size_t n_values = 0, n_rows = 0, n_columns = 0;
    const paro_linear *linear = NULL;
    for (size_t i = 0; (linear = linear_at(c->model, i)) != NULL; i++) {
        size_t n = (size_t)linear->n_out * linear->n_in;
        n_values = n > n_values ? n : n_values;
        n_rows = linear->n_out > n_rows ? linear->n_out : n_rows;
        n_columns = linear->n_in > n_columns ? linear->n_in : n_columns;
    }
    c->w = malloc(n_values * sizeof *c->w);
    c->row_sums = malloc(2 * n_rows * sizeof *c->row_sums);
    c->ones = malloc(n_columns * sizeof *c->ones);
    if (c->calibrated != NULL)
        c->effective = malloc(n_values * sizeof *c->effective);
    if (c->w == NULL || c->row_sums == NULL || c->ones == NULL ||
        (c->calibrated != NULL && c->effective == NULL))
        return paro_fail_memory(err, n_values * sizeof *c->w, "the weights of a linear");
    for (size_t i = 0; i < n_columns; i++)
        c->ones[i] = 1;
    return PARO_STATUS_OK;
}

static paro_status check_source(paro_error *err, const paro_model *model, const paro_plan *plan)
{
    if (plan->model != model)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "the plan was made for the model %s, not for this one (%s)",
                         plan->model->dir, model->dir);
    /* A set that lies over another lists its own tensors only. */
    for (size_t i = 0; i < paro_tensor_set_count(model->tensors); i++) {
        if (paro_tensor_set_get(model->tensors, i) == model->embedding)
            return PARO_STATUS_OK;
    }
    return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                     "%s: was quantised in memory: expected a model opened from a folder",
                     model->dir);
}

paro_status paro_convert(paro_error *err, const paro_model *model, const paro_plan *plan,
                         const paro_block_store *calibrated, const paro_format_row *format,
                         const paro_observer *observer, const paro_sink *sink,
                         paro_quantize_result *result)
{
    conversion c = {.model = model,
                    .plan = plan,
                    .calibrated = calibrated,
                    .format = format,
                    .krot = paro_format_krot(format, plan),
                    .observer = observer,
                    .sink = sink,
                    .declaring = true};
    paro_status status = check_source(err, model, plan);
    if (status == PARO_STATUS_OK)
        status = list_owned(err, &c);
    if (status == PARO_STATUS_OK)
        status = allocate_scratch(err, &c);
    if (status == PARO_STATUS_OK)
        status = convert_everything(err, &c);
    c.declaring = false;
    if (status == PARO_STATUS_OK)
        status = convert_everything(err, &c);
    if (status == PARO_STATUS_OK) {
        result->n_quantized = (uint32_t)plan->n_quantised;
        result->n_kept = (uint32_t)(plan->n_linears - plan->n_quantised);
        result->max_relative_error = c.max_error;
        result->mean_relative_error =
            plan->n_quantised > 0 ? c.sum_errors / (double)plan->n_quantised : 0;
    }
    free(c.w);
    free(c.effective);
    free(c.ones);
    free(c.row_sums);
    paro_map_free(&c.owned);
    return status;
}
