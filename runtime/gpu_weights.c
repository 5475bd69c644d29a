/* SPDX-License-Identifier: MIT
 *
 * See gpu_weights.h. Host memory in between is bounded: tensors are converted in pieces.
 */
#include "runtime/gpu_weights.h"

#include <stdlib.h>
#include <string.h>

#include "families/rotation_tables.h"

enum {
    PIECE_VALUES = 4 << 20, /* converted and uploaded at a time */
    TASK_VALUES = 64 << 10,
    STACK_VALUES = 1024,
    MAX_PARTS = 3
};

paro_status paro_gpu_model_alloc(paro_error *err, paro_gpu_model *device, uint64_t n_bytes,
                                 paro_gpu_ptr *out)
{
    if (device->n_memory == device->memory_capacity) {
        const size_t capacity = device->memory_capacity == 0 ? 256 : 2 * device->memory_capacity;
        paro_gpu_ptr *grown = realloc(device->memory, capacity * sizeof *grown);
        if (grown == NULL)
            return paro_fail_memory(err, capacity * sizeof *grown, "a list of weights");
        device->memory = grown;
        device->memory_capacity = capacity;
    }
    paro_gpu_ptr ptr = 0;
    paro_status status = paro_gpu_alloc(err, device->gpu, (size_t)n_bytes, &ptr);
    if (status != PARO_STATUS_OK)
        return status;
    device->memory[device->n_memory++] = ptr;
    device->n_weight_bytes += n_bytes;
    *out = ptr;
    return status;
}

/* ---- converting ---------------------------------------------------------------------------------
 */

typedef struct conversion {
    const unsigned char *from;
    unsigned char *to;
    paro_dtype from_dtype, to_dtype;
    size_t n;
} conversion;

/* A paro_task_fn. */
static void convert_task(void *context, size_t i, int worker)
{
    (void)worker;
    const conversion *c = context;
    float values[STACK_VALUES];
    const size_t end = (i + 1) * TASK_VALUES < c->n ? (i + 1) * TASK_VALUES : c->n;
    for (size_t at = i * TASK_VALUES; at < end; at += STACK_VALUES) {
        const size_t n = end - at < STACK_VALUES ? end - at : STACK_VALUES;
        paro_f32_from_array(values, c->from + at * paro_dtype_bytes(c->from_dtype), c->from_dtype,
                            n);
        paro_array_from_f32(c->to + at * paro_dtype_bytes(c->to_dtype), c->to_dtype, values, n);
    }
}

static paro_status upload_values(paro_error *err, paro_gpu_model *device, const void *data,
                                 paro_dtype from, size_t n_values, paro_dtype to_dtype,
                                 paro_gpu_ptr to)
{
    const unsigned char *bytes = data;
    const size_t to_bytes = paro_dtype_bytes(to_dtype);
    if (from == to_dtype)
        return paro_gpu_upload(err, device->gpu, to, data, n_values * to_bytes);
    const size_t n_piece = n_values < PIECE_VALUES ? n_values : PIECE_VALUES;
    unsigned char *piece = malloc(n_piece * to_bytes + 1);
    if (piece == NULL)
        return paro_fail_memory(err, n_piece * to_bytes, "weights to convert");
    paro_status status = PARO_STATUS_OK;
    for (size_t at = 0; at < n_values && status == PARO_STATUS_OK; at += n_piece) {
        conversion c = {bytes + at * paro_dtype_bytes(from), piece, from, to_dtype,
                        n_values - at < n_piece ? n_values - at : n_piece};
        paro_pool_run(device->model->pool, (c.n + TASK_VALUES - 1) / TASK_VALUES, convert_task, &c);
        status = paro_gpu_upload(err, device->gpu, to + at * to_bytes, piece, c.n * to_bytes);
    }
    free(piece);
    return status;
}

paro_status paro_gpu_upload_tensor(paro_error *err, paro_gpu_model *device,
                                   const paro_tensor *tensor, paro_dtype dtype, paro_gpu_ptr to)
{
    paro_status status = upload_values(err, device, tensor->data, tensor->dtype,
                                       (size_t)tensor->n_values, dtype, to);
    return status == PARO_STATUS_OK ? status : paro_fail_in(err, status, "%s", tensor->name);
}

/* ---- arguments ----------------------------------------------------------------------------------
 */

static void add_value(paro_gpu_linear *linear, const char *name, paro_gpu_ptr ptr)
{
    linear->values[linear->n_values].name = name;
    linear->values[linear->n_values].value.ptr = ptr;
    linear->n_values++;
}

/* What the kernel wants of an argument of this name; n is 0 where it has none. */
static paro_arg_info wanted(const paro_kernel *kernel, const char *name)
{
    const paro_family *family = kernel->problem.family;
    paro_arg_info info = {PARO_DTYPE_F32, 0};
    for (size_t i = 0; i < paro_family_n_args(family); i++)
        if (strcmp(family->args[i].name, name) == 0)
            family->arg_info(&kernel->problem, &kernel->config, i, &info);
    return info;
}

/* Memory for an argument, all of it. */
static paro_status alloc_arg(paro_error *err, paro_gpu_model *device, const paro_arg_info *info,
                             paro_gpu_ptr *out)
{
    return paro_gpu_model_alloc(err, device, info->n * paro_dtype_bytes(info->dtype), out);
}

/* Parts that have no bias where others have: zeros. */
static paro_status upload_bias(paro_error *err, paro_gpu_model *device, paro_gpu_stream *stream,
                               paro_linear *const *parts, size_t n_parts, const paro_kernel *kernel,
                               paro_gpu_linear *linear)
{
    const paro_arg_info info = wanted(kernel, "bias");
    const size_t bytes = paro_dtype_bytes(info.dtype);
    paro_gpu_ptr bias = 0;
    if (info.n == 0)
        return PARO_STATUS_OK;
    paro_status status = alloc_arg(err, device, &info, &bias);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_fill(err, device->gpu, stream, bias, 0, info.n * bytes);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, stream);
    size_t at = 0;
    for (size_t i = 0; i < n_parts && status == PARO_STATUS_OK; i++) {
        if (parts[i]->bias != NULL)
            status =
                paro_gpu_upload_tensor(err, device, parts[i]->bias, info.dtype, bias + at * bytes);
        at += parts[i]->n_out;
    }
    if (status == PARO_STATUS_OK)
        add_value(linear, "bias", bias);
    return status;
}

/* ---- 16 bits ------------------------------------------------------------------------------------
 */

/* A quantised head is multiplied with as what it stands for. */
static paro_status upload_effective(paro_error *err, paro_gpu_model *device, paro_linear *linear,
                                    paro_dtype dtype, paro_gpu_ptr to)
{
    const size_t n = (size_t)linear->n_out * linear->n_in;
    float *weight = malloc(n * sizeof *weight);
    if (weight == NULL)
        return paro_fail_memory(err, n * sizeof *weight, linear->name);
    paro_status status = paro_linear_weight(err, linear, device->model->pool, weight);
    if (status == PARO_STATUS_OK)
        status = upload_values(err, device, weight, PARO_DTYPE_F32, n, dtype, to);
    free(weight);
    return status;
}

static paro_status upload_dense(paro_error *err, paro_gpu_model *device, paro_linear *const *parts,
                                size_t n_parts, const paro_kernel *kernel, paro_gpu_linear *linear)
{
    const paro_arg_info info = wanted(kernel, "weight");
    const size_t bytes = paro_dtype_bytes(info.dtype);
    paro_gpu_ptr weight = 0;
    if (n_parts == 1 && parts[0]->weight == device->model->embedding && device->embedding != 0) {
        add_value(linear, "weight", device->embedding); /* tied */
        return PARO_STATUS_OK;
    }
    paro_status status = alloc_arg(err, device, &info, &weight);
    uint64_t at = 0;
    for (size_t i = 0; i < n_parts && status == PARO_STATUS_OK; i++) {
        const paro_gpu_ptr to = weight + at * bytes;
        status = parts[i]->weight == NULL
                     ? upload_effective(err, device, parts[i], info.dtype, to)
                     : paro_gpu_upload_tensor(err, device, parts[i]->weight, info.dtype, to);
        at += (uint64_t)parts[i]->n_out * parts[i]->n_in;
    }
    if (status == PARO_STATUS_OK)
        add_value(linear, "weight", weight);
    return status;
}

/* ---- INT4 ---------------------------------------------------------------------------------------
 */

/* The checkpoint's tensor of one kind, part after part, in memory that the caller releases. */
static paro_status upload_parts(paro_error *err, paro_gpu_model *device, paro_linear *const *parts,
                                size_t n_parts, size_t kind, paro_gpu_ptr *out)
{
    const paro_tensor *tensors[MAX_PARTS];
    uint64_t n_bytes = 0, at = 0;
    paro_gpu_ptr ptr = 0;
    for (size_t i = 0; i < n_parts; i++) {
        tensors[i] = kind == 0   ? parts[i]->qweight
                     : kind == 1 ? parts[i]->qzeros
                                 : parts[i]->scales;
        n_bytes += tensors[i]->n_bytes;
    }
    paro_status status = paro_gpu_alloc(err, device->gpu, (size_t)n_bytes, &ptr);
    for (size_t i = 0; i < n_parts && status == PARO_STATUS_OK; i++) {
        status = paro_gpu_upload(err, device->gpu, ptr + at, tensors[i]->data,
                                 (size_t)tensors[i]->n_bytes);
        at += tensors[i]->n_bytes;
    }
    if (status != PARO_STATUS_OK) {
        paro_gpu_release(device->gpu, ptr);
        return status;
    }
    *out = ptr;
    return status;
}

/* Packs: the family's inputs are qweight, qzeros and scales, its outputs codes, zeros and scales,
 * both in this order. */
static paro_status upload_packed(paro_error *err, paro_gpu_model *device, paro_gpu_stream *stream,
                                 paro_linear *const *parts, size_t n_parts, const paro_kernel *pack,
                                 paro_gpu_linear *linear)
{
    static const char *const names[3] = {"codes", "zeros", "scales"};
    const paro_family *family = pack->problem.family;
    paro_gpu_ptr inputs[3] = {0}, outputs[3] = {0}, scratch = 0;
    paro_kernel_value values[6];
    size_t n_inputs = 0, n_outputs = 0, n_values = 0;
    paro_status status = PARO_STATUS_OK;
    if (pack->scratch_bytes > 0)
        status = paro_gpu_alloc(err, device->gpu, (size_t)pack->scratch_bytes, &scratch);
    for (size_t i = 0; i < paro_family_n_args(family) && status == PARO_STATUS_OK; i++) {
        const paro_arg *arg = &family->args[i];
        paro_arg_info info;
        family->arg_info(&pack->problem, &pack->config, i, &info);
        paro_gpu_ptr ptr = 0;
        if (arg->role == PARO_ARG_OUTPUT && n_outputs < 3) {
            status = alloc_arg(err, device, &info, &ptr);
            outputs[n_outputs++] = ptr;
        } else if ((arg->role == PARO_ARG_INPUT || arg->role == PARO_ARG_WEIGHT) && n_inputs < 3) {
            status = upload_parts(err, device, parts, n_parts, n_inputs, &ptr);
            inputs[n_inputs++] = ptr;
        } else {
            continue;
        }
        values[n_values].name = arg->name;
        values[n_values++].value.ptr = ptr;
    }
    if (status == PARO_STATUS_OK)
        status = paro_kernel_launch(err, pack, stream, 1, scratch, values, n_values);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, stream);
    for (size_t i = 0; i < 3 && status == PARO_STATUS_OK; i++)
        add_value(linear, names[i], outputs[i]);
    for (size_t i = 0; i < 3; i++)
        paro_gpu_release(device->gpu, inputs[i]);
    paro_gpu_release(device->gpu, scratch);
    return status;
}

/* Host memory for the tables of all parts. */
typedef struct tables {
    uint8_t *pairs;
    float *cossin;
    float *channel_scales;
    int16_t *source_pairs; /* of one part, aligned */
    unsigned char *theta;  /* zeros, for a linear that has channel scales and no rounds */
} tables;

static paro_status make_part(paro_error *err, const paro_linear *linear, uint32_t krot, size_t part,
                             const tables *t)
{
    const size_t k = linear->n_in, n = (size_t)krot * k;
    paro_rotation_source source = {
        .k = linear->n_in,
        .group = linear->group_size,
        .krot = krot,
        .pairs = t->source_pairs,
        .theta = linear->krot == 0 ? t->theta : linear->theta->data,
        .theta_dtype = linear->krot == 0 ? PARO_DTYPE_F16 : linear->theta->dtype,
        .channel_scales = linear->channel_scales == NULL ? NULL : linear->channel_scales->data,
        .scales_dtype =
            linear->channel_scales == NULL ? PARO_DTYPE_F16 : linear->channel_scales->dtype};
    if (linear->krot == 0)
        memset(t->source_pairs, 0, n * sizeof *t->source_pairs); /* all slots are empty */
    else
        memcpy(t->source_pairs, linear->pairs->data, n * sizeof *t->source_pairs);
    return paro_rotation_tables_make(err, linear->name, &source, t->pairs + part * n,
                                     t->cossin + part * n, t->channel_scales + part * k);
}

static paro_status upload_rotations(paro_error *err, paro_gpu_model *device,
                                    paro_linear *const *parts, size_t n_parts, uint32_t krot,
                                    paro_gpu_linear *linear)
{
    const size_t k = parts[0]->n_in, n = (size_t)krot * k;
    const size_t bytes[3] = {n_parts * n, n_parts * n * sizeof(float), n_parts * k * sizeof(float)};
    static const char *const names[3] = {"pairs", "cossin", "channel_scales"};
    tables t = {.pairs = malloc(bytes[0]),
                .cossin = malloc(bytes[1]),
                .channel_scales = malloc(bytes[2]),
                .source_pairs = malloc(n * sizeof(int16_t)),
                .theta = calloc(n / 2 + 1, 2)};
    paro_status status = PARO_STATUS_OK;
    if (t.pairs == NULL || t.cossin == NULL || t.channel_scales == NULL || t.source_pairs == NULL ||
        t.theta == NULL)
        status = paro_fail_memory(err, bytes[0] + bytes[1] + bytes[2], "tables of rotations");
    for (size_t i = 0; i < n_parts && status == PARO_STATUS_OK; i++)
        status = make_part(err, parts[i], krot, i, &t);
    const void *data[3] = {t.pairs, t.cossin, t.channel_scales};
    for (size_t i = 0; i < 3 && status == PARO_STATUS_OK; i++) {
        paro_gpu_ptr ptr = 0;
        status = paro_gpu_model_alloc(err, device, bytes[i], &ptr);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_upload(err, device->gpu, ptr, data[i], bytes[i]);
        if (status == PARO_STATUS_OK)
            add_value(linear, names[i], ptr);
    }
    free(t.pairs);
    free(t.cossin);
    free(t.channel_scales);
    free(t.source_pairs);
    free(t.theta);
    return status;
}

paro_status paro_gpu_linear_upload(paro_error *err, paro_gpu_model *device, paro_gpu_stream *stream,
                                   paro_linear *const *parts, size_t n_parts,
                                   const paro_kernel *kernel, const paro_kernel *pack,
                                   paro_gpu_linear *out)
{
    paro_gpu_linear linear = {.layout = pack == NULL ? NULL : kernel->layout};
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n_parts; i++)
        linear.n += parts[i]->n_out;
    if (pack == NULL) {
        status = upload_dense(err, device, parts, n_parts, kernel, &linear);
    } else {
        const int64_t krot = paro_problem_get(&kernel->problem, "krot");
        status = upload_packed(err, device, stream, parts, n_parts, pack, &linear);
        if (status == PARO_STATUS_OK && krot > 0)
            status = upload_rotations(err, device, parts, n_parts, (uint32_t)krot, &linear);
    }
    if (status == PARO_STATUS_OK)
        status = upload_bias(err, device, stream, parts, n_parts, kernel, &linear);
    if (status == PARO_STATUS_OK)
        *out = linear;
    return status == PARO_STATUS_OK ? status : paro_fail_in(err, status, "%s", parts[0]->name);
}
