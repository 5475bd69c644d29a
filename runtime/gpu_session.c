/* SPDX-License-Identifier: MIT
 *
 * A session on a GPU: the forward pass as launches, the KV cache in device memory, and the decode
 * step as a graph.
 *
 * Invariants: 1. keys and values of the tokens 0 .. n_tokens - 1 are in the cache; what stands
 * behind them is scratch; 2. every layer's cache has `capacity` tokens, the table of rope too; 3.
 * the position and the ids that kernels see are uploaded before every chunk: nothing on the device
 * remembers how far a call came; 4. the graph belongs to the addresses it was recorded with: it
 * goes when a buffer is replaced; 5. reading waits for the device: what fails, fails there.
 */
#include "runtime/gpu_session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* Device buffers, by what they hold; grown with the chunks. dtype: the model's activations'. */
typedef enum buffer {
    BUFFER_CONTROL,   /* u32: the position; at IDS_AT the tokens' ids */
    BUFFER_RESIDUAL,  /* f32 [rows, hidden] */
    BUFFER_NORMED,    /* dtype [rows, hidden] */
    BUFFER_QKV,       /* dtype [rows, (n_heads + 2 n_kv_heads) * head_dim] */
    BUFFER_Q,         /* dtype [rows, n_heads * head_dim] */
    BUFFER_ATTENDED,  /* dtype [rows, n_heads * head_dim] */
    BUFFER_DELTA,     /* dtype [rows, hidden]: what is to be added to the residual stream */
    BUFFER_GATE_UP,   /* dtype [rows, 2 intermediate] */
    BUFFER_ACTIVATED, /* dtype [rows, intermediate] */
    BUFFER_PART,      /* dtype [rows, widest part]: one of several linears side by side */
    BUFFER_HEAD,      /* dtype [rows, hidden]: rows whose logits are wanted, where they must move */
    BUFFER_LOGITS,    /* f32 [logit rows, vocab] */
    BUFFER_BEST,      /* i32 [1] */
    BUFFER_SCRATCH,   /* what kernels want */
    BUFFER_COUNT
} buffer;

enum { IDS_AT = 256, ROW_ALIGNMENT = 16 };

typedef struct gpu_session {
    paro_session front;
    paro_gpu_model *device;
    paro_gpu_stream *stream;
    uint64_t sizes[BUFFER_COUNT];
    paro_gpu_ptr buffers[BUFFER_COUNT];
    uint32_t capacity;
    paro_gpu_ptr *keys;    /* [n_layers] of dtype [n_kv_heads][capacity][head_dim] */
    paro_gpu_ptr *values;  /* likewise */
    paro_gpu_ptr cossin;   /* f32 [capacity][head_dim / 2][2] */
    paro_gpu_graph *graph; /* one token, to its logits and the likeliest; NULL: not recorded */
    uint32_t n_chunk;      /* tokens of the chunk just read */
    bool has_logits;       /* the last row's are in BUFFER_LOGITS, and BUFFER_BEST is set */
} gpu_session;

static size_t element_bytes(const gpu_session *s)
{
    return paro_dtype_bytes(paro_kernel_dtype_storage(s->device->shape.dtype));
}

/* ---- memory -------------------------------------------------------------------------------------
 */

static void drop_graph(gpu_session *s)
{
    paro_gpu_graph_free(s->graph);
    s->graph = NULL;
}

static paro_status reserve(paro_error *err, gpu_session *s, buffer which, uint64_t n_bytes)
{
    paro_gpu_ptr ptr = 0;
    if (s->sizes[which] >= n_bytes)
        return PARO_STATUS_OK;
    drop_graph(s);
    paro_gpu_release(s->device->gpu, s->buffers[which]);
    s->buffers[which] = 0;
    s->sizes[which] = 0;
    paro_status status = paro_gpu_alloc(err, s->device->gpu, (size_t)n_bytes, &ptr);
    if (status == PARO_STATUS_OK) {
        s->buffers[which] = ptr;
        s->sizes[which] = n_bytes;
    }
    return status;
}

static paro_status reserve_rows(paro_error *err, gpu_session *s, const paro_gpu_bucket *bucket)
{
    const paro_model_shape *shape = &s->device->shape;
    const uint64_t m = bucket->m, bytes = element_bytes(s), head_dim = shape->head_dim;
    const uint64_t q = shape->n_heads * head_dim, kv = shape->n_kv_heads * head_dim;
    const uint64_t part = q > shape->intermediate ? q : shape->intermediate;
    const uint64_t sizes[BUFFER_COUNT] = {
        [BUFFER_CONTROL] = IDS_AT + m * sizeof(int32_t),
        [BUFFER_RESIDUAL] = m * shape->hidden * sizeof(float),
        [BUFFER_NORMED] = m * shape->hidden * bytes,
        [BUFFER_QKV] = m * (q + 2 * kv) * bytes,
        [BUFFER_Q] = m * q * bytes,
        [BUFFER_ATTENDED] = m * q * bytes,
        [BUFFER_DELTA] = m * shape->hidden * bytes,
        [BUFFER_GATE_UP] = m * 2 * shape->intermediate * bytes,
        [BUFFER_ACTIVATED] = m * shape->intermediate * bytes,
        [BUFFER_PART] = m * part * bytes,
        [BUFFER_LOGITS] = shape->vocab * sizeof(float),
        [BUFFER_BEST] = sizeof(int32_t),
        [BUFFER_SCRATCH] = bucket->scratch_bytes,
    };
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < BUFFER_COUNT && status == PARO_STATUS_OK; i++)
        status = reserve(err, s, (buffer)i, sizes[i]);
    return status;
}

/* Rope's table: the rows from n_old on are computed, those before copied. Angles grow with the
 * position: they are computed in double, so that late positions stay exact. */
static paro_status grow_rope(paro_error *err, gpu_session *s, uint32_t n_old, uint32_t n_new,
                             paro_gpu_ptr to)
{
    const size_t half = s->device->shape.head_dim / 2, row_bytes = 2 * half * sizeof(float);
    const double *frequencies = s->device->model->rope_frequencies;
    const size_t n = n_new - n_old;
    float *rows = malloc(n * row_bytes);
    if (rows == NULL)
        return paro_fail_memory(err, n * row_bytes, "the table of rope");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < half; k++) {
            const double angle = (double)(n_old + i) * frequencies[k];
            rows[(i * half + k) * 2] = (float)cos(angle);
            rows[(i * half + k) * 2 + 1] = (float)sin(angle);
        }
    paro_status status =
        paro_gpu_upload(err, s->device->gpu, to + n_old * row_bytes, rows, n * row_bytes);
    if (status == PARO_STATUS_OK && n_old > 0)
        status = paro_gpu_copy(err, s->device->gpu, s->stream, to, s->cossin, n_old * row_bytes);
    free(rows);
    return status;
}

/* Copies the tokens read so far of one layer's keys or values. */
static paro_status move_cache(paro_error *err, gpu_session *s, paro_gpu_ptr to, uint32_t capacity,
                              paro_gpu_ptr from)
{
    const uint64_t row = s->device->shape.head_dim * element_bytes(s);
    paro_status status = PARO_STATUS_OK;
    for (uint64_t head = 0; head < s->device->shape.n_kv_heads && status == PARO_STATUS_OK; head++)
        status = paro_gpu_copy(err, s->device->gpu, s->stream, to + head * capacity * row,
                               from + head * s->capacity * row, s->front.n_tokens * row);
    return status;
}

static paro_status reserve_cache(paro_error *err, gpu_session *s, uint32_t n_tokens)
{
    const paro_model_shape *shape = &s->device->shape;
    paro_gpu *gpu = s->device->gpu;
    if (n_tokens <= s->capacity)
        return PARO_STATUS_OK;
    const uint32_t capacity = paro_session_grown_capacity(&s->front, s->capacity, n_tokens);
    const uint64_t row = shape->head_dim * element_bytes(s);
    const size_t n_layers = shape->n_layers, n_arrays = 2 * n_layers + 1;
    /* Every layer has one capacity: new memory replaces the old only when all is there. */
    paro_gpu_ptr *grown = calloc(n_arrays, sizeof *grown);
    paro_status status =
        grown == NULL ? paro_fail_memory(err, n_arrays * sizeof *grown, "caches") : PARO_STATUS_OK;
    for (size_t i = 0; i < 2 * n_layers && status == PARO_STATUS_OK; i++) {
        status = paro_gpu_alloc(err, gpu, (size_t)(row * shape->n_kv_heads * capacity), &grown[i]);
        const paro_gpu_ptr from = i < n_layers ? s->keys[i] : s->values[i - n_layers];
        if (status == PARO_STATUS_OK && s->front.n_tokens > 0)
            status = move_cache(err, s, grown[i], capacity, from);
    }
    if (status == PARO_STATUS_OK)
        status = paro_gpu_alloc(err, gpu, (size_t)capacity * shape->head_dim * sizeof(float),
                                &grown[2 * n_layers]);
    if (status == PARO_STATUS_OK)
        status = grow_rope(err, s, s->capacity, capacity, grown[2 * n_layers]);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, s->stream);
    for (size_t i = 0; i < n_arrays && grown != NULL; i++) {
        paro_gpu_ptr *kept = i < n_layers       ? &s->keys[i]
                             : i < 2 * n_layers ? &s->values[i - n_layers]
                                                : &s->cossin;
        paro_gpu_release(gpu, status == PARO_STATUS_OK ? *kept : grown[i]);
        if (status == PARO_STATUS_OK)
            *kept = grown[i];
    }
    free(grown);
    if (status != PARO_STATUS_OK)
        return paro_fail_in(err, status, "the KV cache of %u tokens", capacity);
    drop_graph(s);
    s->capacity = capacity;
    return status;
}

/* ---- launches -----------------------------------------------------------------------------------
 */

/* What the launches of one chunk share; the first failure ends them. */
typedef struct pass {
    gpu_session *s;
    const paro_gpu_bucket *bucket;
    uint32_t m;
    size_t layer;
    paro_error *err;
    paro_status status;
} pass;

static paro_kernel_value pointer(const char *name, paro_gpu_ptr ptr)
{
    return (paro_kernel_value){.name = name, .value.ptr = ptr};
}

static paro_kernel_value number(const char *name, uint32_t value)
{
    return (paro_kernel_value){.name = name, .value.scalar.u32 = value};
}

static paro_kernel_value real(const char *name, float value)
{
    return (paro_kernel_value){.name = name, .value.scalar.f32 = value};
}

static void launch(pass *p, paro_step step, const paro_kernel_value *values, size_t n_values)
{
    const paro_kernel *kernel = paro_gpu_bucket_kernel(p->bucket, p->layer, step);
    if (p->status == PARO_STATUS_OK)
        p->status = paro_kernel_launch(p->err, kernel, p->s->stream, p->m,
                                       p->s->buffers[BUFFER_SCRATCH], values, n_values);
}

#define LAUNCH(p, step, ...)                                                                       \
    launch(p, step, (const paro_kernel_value[]){__VA_ARGS__},                                      \
           sizeof((const paro_kernel_value[]){__VA_ARGS__}) / sizeof(paro_kernel_value))

static bool has_step(const pass *p, paro_step step)
{
    return paro_gpu_bucket_kernel(p->bucket, p->layer, step) != NULL;
}

/* y [m, n] = x W^T. */
static void multiply(pass *p, paro_step step, const paro_gpu_linear *linear, paro_gpu_ptr x,
                     paro_gpu_ptr y)
{
    paro_kernel_value values[PARO_GPU_LINEAR_MAX_VALUES + 2];
    memcpy(values, linear->values, linear->n_values * sizeof *values);
    values[linear->n_values] = pointer("x", x);
    values[linear->n_values + 1] = pointer("y", y);
    launch(p, step, values, linear->n_values + 2);
}

/* One of several linears whose outputs stand side by side in rows of `width`, at column `at`. */
static void multiply_part(pass *p, paro_step step, paro_gpu_ptr x, paro_gpu_ptr y, uint32_t at,
                          uint32_t width)
{
    gpu_session *s = p->s;
    const paro_gpu_linear *linear = &s->device->blocks[p->layer].linears[step];
    const uint64_t bytes = element_bytes(s);
    if (p->m == 1 && at * bytes % ROW_ALIGNMENT == 0) {
        multiply(p, step, linear, x, y + at * bytes);
        return;
    }
    multiply(p, step, linear, x, s->buffers[BUFFER_PART]);
    for (uint64_t i = 0; i < p->m && p->status == PARO_STATUS_OK; i++)
        p->status =
            paro_gpu_copy(p->err, s->device->gpu, s->stream, y + (i * width + at) * bytes,
                          s->buffers[BUFFER_PART] + i * linear->n * bytes, linear->n * bytes);
}

static void normalise(pass *p, paro_gpu_ptr weight, bool is_first)
{
    const paro_gpu_ptr *buffers = p->s->buffers;
    const float epsilon = (float)p->s->device->model->config.norm_epsilon;
    if (is_first)
        LAUNCH(p, PARO_STEP_NORM_FIRST, pointer("residual", buffers[BUFFER_RESIDUAL]),
               pointer("weight", weight), real("epsilon", epsilon),
               pointer("y", buffers[BUFFER_NORMED]));
    else
        LAUNCH(p, PARO_STEP_NORM, pointer("residual", buffers[BUFFER_RESIDUAL]),
               pointer("delta", buffers[BUFFER_DELTA]), pointer("weight", weight),
               real("epsilon", epsilon), pointer("y", buffers[BUFFER_NORMED]));
}

static void run_attention(pass *p)
{
    gpu_session *s = p->s;
    const paro_model_shape *shape = &s->device->shape;
    const paro_gpu_block *block = &s->device->blocks[p->layer];
    const paro_gpu_ptr *buffers = s->buffers;
    const uint32_t q = shape->n_heads * shape->head_dim, kv = shape->n_kv_heads * shape->head_dim;

    normalise(p, block->input_norm, p->layer == 0);
    if (has_step(p, PARO_STEP_QKV)) {
        multiply(p, PARO_STEP_QKV, &block->linears[PARO_STEP_QKV], buffers[BUFFER_NORMED],
                 buffers[BUFFER_QKV]);
    } else {
        const paro_gpu_ptr x = buffers[BUFFER_NORMED], y = buffers[BUFFER_QKV];
        multiply_part(p, PARO_STEP_Q, x, y, 0, q + 2 * kv);
        multiply_part(p, PARO_STEP_K, x, y, q, q + 2 * kv);
        multiply_part(p, PARO_STEP_V, x, y, q + kv, q + 2 * kv);
    }
    LAUNCH(p, PARO_STEP_ROPE, pointer("qkv", buffers[BUFFER_QKV]), pointer("q_norm", block->q_norm),
           pointer("k_norm", block->k_norm),
           real("epsilon", (float)s->device->model->config.norm_epsilon),
           pointer("cossin", s->cossin), pointer("state", buffers[BUFFER_CONTROL]),
           number("capacity", s->capacity), pointer("q", buffers[BUFFER_Q]),
           pointer("keys", s->keys[p->layer]), pointer("values", s->values[p->layer]));
    LAUNCH(p, PARO_STEP_ATTENTION, pointer("q", buffers[BUFFER_Q]),
           pointer("keys", s->keys[p->layer]), pointer("values", s->values[p->layer]),
           pointer("state", buffers[BUFFER_CONTROL]), number("capacity", s->capacity),
           pointer("y", buffers[BUFFER_ATTENDED]));
    multiply(p, PARO_STEP_O, &block->linears[PARO_STEP_O], buffers[BUFFER_ATTENDED],
             buffers[BUFFER_DELTA]);
}

static void run_mlp(pass *p)
{
    gpu_session *s = p->s;
    const paro_gpu_block *block = &s->device->blocks[p->layer];
    const paro_gpu_ptr *buffers = s->buffers;
    const uint32_t n = s->device->shape.intermediate;

    normalise(p, block->post_attention_norm, false);
    if (has_step(p, PARO_STEP_GATE_UP)) {
        multiply(p, PARO_STEP_GATE_UP, &block->linears[PARO_STEP_GATE_UP], buffers[BUFFER_NORMED],
                 buffers[BUFFER_GATE_UP]);
    } else {
        const paro_gpu_ptr x = buffers[BUFFER_NORMED], y = buffers[BUFFER_GATE_UP];
        multiply_part(p, PARO_STEP_GATE, x, y, 0, 2 * n);
        multiply_part(p, PARO_STEP_UP, x, y, n, 2 * n);
    }
    LAUNCH(p, PARO_STEP_SWIGLU, pointer("gate_up", buffers[BUFFER_GATE_UP]),
           pointer("y", buffers[BUFFER_ACTIVATED]));
    multiply(p, PARO_STEP_DOWN, &block->linears[PARO_STEP_DOWN], buffers[BUFFER_ACTIVATED],
             buffers[BUFFER_DELTA]);
}

/* Ids to normed rows: everything but the head. */
static void run_layers(pass *p)
{
    gpu_session *s = p->s;
    LAUNCH(p, PARO_STEP_EMBED, pointer("ids", s->buffers[BUFFER_CONTROL] + IDS_AT),
           pointer("table", s->device->embedding),
           pointer("residual", s->buffers[BUFFER_RESIDUAL]));
    for (p->layer = 0; p->layer < s->device->shape.n_layers; p->layer++) {
        run_attention(p);
        run_mlp(p);
    }
    p->layer = 0;
    normalise(p, s->device->norm, false);
}

/* Logits of p->m rows at x. */
static void run_head(pass *p, paro_gpu_ptr x)
{
    multiply(p, PARO_STEP_HEAD, &p->s->device->head, x, p->s->buffers[BUFFER_LOGITS]);
}

/* The likeliest token of the first row of logits. */
static void run_sample(pass *p)
{
    LAUNCH(p, PARO_STEP_SAMPLE, pointer("logits", p->s->buffers[BUFFER_LOGITS]),
           pointer("ids", p->s->buffers[BUFFER_BEST]));
}

/* ---- reading ------------------------------------------------------------------------------------
 */

/* Position and ids, in the stream's order. The host's copy may go when this returns. */
static paro_status upload_control(paro_error *err, gpu_session *s, const int32_t *tokens,
                                  uint32_t m)
{
    paro_status status =
        paro_gpu_upload_async(err, s->device->gpu, s->stream, s->buffers[BUFFER_CONTROL],
                              &s->front.n_tokens, sizeof s->front.n_tokens);
    if (status == PARO_STATUS_OK)
        status =
            paro_gpu_upload_async(err, s->device->gpu, s->stream,
                                  s->buffers[BUFFER_CONTROL] + IDS_AT, tokens, m * sizeof *tokens);
    return status;
}

/* One token's pass as a graph: recorded once for a capacity, then only launched. */
static paro_status record_graph(paro_error *err, gpu_session *s, const paro_gpu_bucket *bucket)
{
    pass p = {.s = s, .bucket = bucket, .m = 1, .err = err};
    paro_gpu_graph *graph = NULL;
    p.status = paro_gpu_graph_begin(err, s->stream);
    if (p.status != PARO_STATUS_OK)
        return p.status;
    run_layers(&p);
    run_head(&p, s->buffers[BUFFER_NORMED]);
    run_sample(&p);
    /* A failed recording is ended all the same; the first error is what is told. */
    paro_status status =
        paro_gpu_graph_end(p.status == PARO_STATUS_OK ? err : NULL, s->stream, &graph);
    if (p.status == PARO_STATUS_OK)
        p.status = status;
    if (p.status != PARO_STATUS_OK)
        paro_gpu_graph_free(graph);
    else
        s->graph = graph;
    return p.status;
}

static paro_status read_one(paro_error *err, gpu_session *s, const paro_gpu_bucket *bucket,
                            const int32_t *token)
{
    paro_status status = PARO_STATUS_OK;
    if (s->graph == NULL)
        status = record_graph(err, s, bucket);
    if (status == PARO_STATUS_OK)
        status = upload_control(err, s, token, 1);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_graph_launch(err, s->stream, s->graph);
    if (status == PARO_STATUS_OK)
        status = paro_gpu_stream_wait(err, s->stream);
    s->has_logits = status == PARO_STATUS_OK;
    return status;
}

static paro_status read_many(paro_error *err, gpu_session *s, const paro_gpu_bucket *bucket,
                             const int32_t *tokens, uint32_t m)
{
    pass p = {.s = s, .bucket = bucket, .m = m, .err = err};
    p.status = upload_control(err, s, tokens, m);
    run_layers(&p);
    if (p.status == PARO_STATUS_OK)
        p.status = paro_gpu_stream_wait(err, s->stream);
    return p.status;
}

static paro_status read_chunk(paro_error *err, paro_session *front, const int32_t *tokens,
                              size_t n_tokens, size_t at, size_t n_total, size_t *n_read)
{
    gpu_session *s = (gpu_session *)front;
    const paro_gpu_bucket *bucket = NULL;
    uint32_t m = n_tokens < PARO_BUCKET_MAX ? (uint32_t)n_tokens : PARO_BUCKET_MAX;
    s->has_logits = false;
    s->n_chunk = 0;
    paro_status status = paro_gpu_model_bucket(err, s->device, m, &bucket);
    if (status != PARO_STATUS_OK)
        return status;
    if (m > bucket->m)
        m = bucket->m;
    status = reserve_rows(err, s, bucket);
    if (status == PARO_STATUS_OK)
        status = reserve_cache(err, s, front->n_tokens + m);
    if (status == PARO_STATUS_OK)
        status = m == 1 ? read_one(err, s, bucket, tokens) : read_many(err, s, bucket, tokens, m);
    if (status == PARO_STATUS_OK && n_total > 1)
        status = paro_report(err, front->observer, "read", at + m, n_total);
    if (status == PARO_STATUS_OK) {
        s->n_chunk = m;
        *n_read = m;
    }
    return status;
}

/* ---- logits -------------------------------------------------------------------------------------
 */

/* Rows of the chunk through the head, at most as many at a time as there is a bucket for. */
static paro_status head_rows(paro_error *err, gpu_session *s, uint32_t first, uint32_t n_rows,
                             const paro_gpu_bucket *bucket)
{
    const paro_model_shape *shape = &s->device->shape;
    const uint64_t row = shape->hidden * element_bytes(s);
    paro_gpu_ptr x = s->buffers[BUFFER_NORMED] + first * row;
    paro_status status =
        reserve(err, s, BUFFER_LOGITS, (uint64_t)n_rows * shape->vocab * sizeof(float));
    if (status == PARO_STATUS_OK)
        status = reserve(err, s, BUFFER_SCRATCH, bucket->scratch_bytes);
    if (status == PARO_STATUS_OK && first * row % ROW_ALIGNMENT != 0) {
        status = reserve(err, s, BUFFER_HEAD, n_rows * row);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_copy(err, s->device->gpu, s->stream, s->buffers[BUFFER_HEAD], x,
                                   n_rows * row);
        x = s->buffers[BUFFER_HEAD];
    }
    if (status != PARO_STATUS_OK)
        return status;
    pass p = {.s = s, .bucket = bucket, .m = n_rows, .err = err};
    run_head(&p, x);
    return p.status;
}

static paro_status download_logits(paro_error *err, gpu_session *s, uint32_t n_rows, float *logits)
{
    return paro_gpu_download(err, s->device->gpu, logits, s->buffers[BUFFER_LOGITS],
                             (size_t)n_rows * s->device->shape.vocab * sizeof *logits);
}

static paro_status compute_logits(paro_error *err, paro_session *front, size_t first, size_t n_rows,
                                  float *logits)
{
    gpu_session *s = (gpu_session *)front;
    const size_t vocab = s->device->shape.vocab;
    paro_status status = PARO_STATUS_OK;
    if (s->has_logits)
        return download_logits(err, s, 1, logits);
    for (size_t done = 0; done < n_rows && status == PARO_STATUS_OK;) {
        const paro_gpu_bucket *bucket = NULL;
        uint32_t n = (uint32_t)(n_rows - done);
        status = paro_gpu_model_bucket(err, s->device, n, &bucket);
        if (status != PARO_STATUS_OK)
            break;
        if (n > bucket->m)
            n = bucket->m;
        status = head_rows(err, s, (uint32_t)(first + done), n, bucket);
        if (status == PARO_STATUS_OK)
            status = paro_gpu_stream_wait(err, s->stream);
        if (status == PARO_STATUS_OK)
            status = download_logits(err, s, n, logits + done * vocab);
        done += n;
    }
    return status;
}

static paro_status find_best(paro_error *err, paro_session *front, int32_t *id)
{
    gpu_session *s = (gpu_session *)front;
    const paro_gpu_bucket *bucket = NULL;
    paro_status status = PARO_STATUS_OK;
    if (!s->has_logits) {
        status = paro_gpu_model_bucket(err, s->device, 1, &bucket);
        if (status == PARO_STATUS_OK)
            status = head_rows(err, s, s->n_chunk - 1, 1, bucket);
        if (status == PARO_STATUS_OK) {
            pass p = {.s = s, .bucket = bucket, .m = 1, .err = err};
            run_sample(&p);
            status = p.status;
        }
        if (status == PARO_STATUS_OK)
            status = paro_gpu_stream_wait(err, s->stream);
    }
    if (status == PARO_STATUS_OK)
        status = paro_gpu_download(err, s->device->gpu, id, s->buffers[BUFFER_BEST], sizeof *id);
    return status;
}

/* ---- the session --------------------------------------------------------------------------------
 */

static void free_session(paro_session *front)
{
    gpu_session *s = (gpu_session *)front;
    paro_gpu *gpu = s->device->gpu;
    drop_graph(s);
    paro_gpu_stream_free(s->stream);
    for (size_t i = 0; i < BUFFER_COUNT; i++)
        paro_gpu_release(gpu, s->buffers[i]);
    for (size_t i = 0; i < s->device->shape.n_layers; i++) {
        if (s->keys != NULL)
            paro_gpu_release(gpu, s->keys[i]);
        if (s->values != NULL)
            paro_gpu_release(gpu, s->values[i]);
    }
    paro_gpu_release(gpu, s->cossin);
    free(s->keys);
    free(s->values);
    free(s);
}

static const paro_session_backend gpu_backend = {
    .read = read_chunk, .logits = compute_logits, .best = find_best, .free = free_session};

paro_status paro_session_new_gpu(paro_error *err, paro_gpu_model *device, paro_session **out)
{
    const size_t n_layers = device->shape.n_layers;
    gpu_session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return paro_fail_memory(err, sizeof *s, "a session");
    s->front = (paro_session){.backend = &gpu_backend, .model = device->model};
    s->device = device;
    s->keys = calloc(n_layers, sizeof *s->keys);
    s->values = calloc(n_layers, sizeof *s->values);
    paro_status status = PARO_STATUS_OK;
    if (s->keys == NULL || s->values == NULL)
        status = paro_fail_memory(err, n_layers * sizeof *s->keys, "a session");
    else
        status = paro_gpu_stream_new(err, device->gpu, &s->stream);
    if (status != PARO_STATUS_OK) {
        free_session(&s->front);
        return status;
    }
    *out = &s->front;
    return status;
}
