/* SPDX-License-Identifier: MIT
 *
 * Models of any small shape with random weights, written to a temporary folder and opened; and what
 * their first block computes, in fp64. Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_SMALL_MODEL_H
#define PARO_TESTS_SMALL_MODEL_H

#include <math.h>

#include "base/reference.h"
#include "base/rng.h"
#include "base/safetensors_write.h"
#include "runtime/model.h"
#include "tests/support.h"

typedef struct small_shape {
    uint32_t hidden, intermediate, n_heads, n_kv_heads, head_dim;
    bool qk_norm, biases;
} small_shape;

enum { SMALL_VOCAB = 16 };

static inline float *small_normals(paro_rng *rng, size_t n, double size)
{
    float *values = malloc((n + 1) * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)size * paro_rng_normal(rng);
    return values;
}

typedef struct small_tensor {
    const char *name;
    uint32_t n_rows, n_columns; /* n_rows 0: a vector */
    double mean, size;
} small_tensor;

static inline size_t small_tensors(const small_shape *s, small_tensor out[24])
{
    uint32_t q = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim;
    const small_tensor all[] = {
        {"model.embed_tokens.weight", SMALL_VOCAB, s->hidden, 0, 1},
        {"model.norm.weight", 0, s->hidden, 1, 0.2},
        {"model.layers.0.input_layernorm.weight", 0, s->hidden, 1, 0.2},
        {"model.layers.0.post_attention_layernorm.weight", 0, s->hidden, 1, 0.2},
        {"model.layers.0.self_attn.q_proj.weight", q, s->hidden, 0, 1 / sqrt(s->hidden)},
        {"model.layers.0.self_attn.k_proj.weight", kv, s->hidden, 0, 1 / sqrt(s->hidden)},
        {"model.layers.0.self_attn.v_proj.weight", kv, s->hidden, 0, 1 / sqrt(s->hidden)},
        {"model.layers.0.self_attn.o_proj.weight", s->hidden, q, 0, 1 / sqrt(q)},
        {"model.layers.0.mlp.gate_proj.weight", s->intermediate, s->hidden, 0, 1 / sqrt(s->hidden)},
        {"model.layers.0.mlp.up_proj.weight", s->intermediate, s->hidden, 0, 1 / sqrt(s->hidden)},
        {"model.layers.0.mlp.down_proj.weight", s->hidden, s->intermediate, 0,
         1 / sqrt(s->intermediate)},
        {"model.layers.0.self_attn.q_norm.weight", 0, s->head_dim, 1, 0.2},
        {"model.layers.0.self_attn.k_norm.weight", 0, s->head_dim, 1, 0.2},
        {"model.layers.0.self_attn.q_proj.bias", 0, q, 0, 0.3},
        {"model.layers.0.self_attn.k_proj.bias", 0, kv, 0, 0.3},
        {"model.layers.0.self_attn.v_proj.bias", 0, kv, 0, 0.3},
        {"model.layers.0.self_attn.o_proj.bias", 0, s->hidden, 0, 0.3},
        {"model.layers.0.mlp.gate_proj.bias", 0, s->intermediate, 0, 0.3},
        {"model.layers.0.mlp.up_proj.bias", 0, s->intermediate, 0, 0.3},
        {"model.layers.0.mlp.down_proj.bias", 0, s->hidden, 0, 0.3},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool is_bias = strstr(all[i].name, ".bias") != NULL;
        bool is_qk_norm = strstr(all[i].name, "q_norm") || strstr(all[i].name, "k_norm");
        if ((!is_bias || s->biases) && (!is_qk_norm || s->qk_norm))
            out[n++] = all[i];
    }
    return n;
}

/* Writes the folder; for test_dir_remove. */
static inline char *small_model_write(const small_shape *s, uint64_t seed)
{
    paro_error err;
    char *dir = test_dir_new(), *config = NULL;
    const char *biases = s->biases ? "true" : "false";
    int n_bytes = asprintf(
        &config,
        "{\"architectures\": [\"%s\"], \"model_type\": \"%s\", \"num_hidden_layers\": 1, "
        "\"hidden_size\": %u, \"intermediate_size\": %u, \"num_attention_heads\": %u, "
        "\"num_key_value_heads\": %u, \"head_dim\": %u, \"vocab_size\": %d, "
        "\"max_position_embeddings\": 4096, \"rms_norm_eps\": 1e-5, \"rope_theta\": 100.0, "
        "\"tie_word_embeddings\": true, \"hidden_act\": \"silu\", \"attention_bias\": %s, "
        "\"mlp_bias\": %s}",
        s->qk_norm ? "Qwen3ForCausalLM" : "LlamaForCausalLM", s->qk_norm ? "qwen3" : "llama",
        s->hidden, s->intermediate, s->n_heads, s->n_kv_heads, s->head_dim, SMALL_VOCAB, biases,
        biases);
    assert_true(n_bytes > 0);
    test_file_write(dir, "config.json", config, (size_t)n_bytes);
    free(config);

    small_tensor tensors[24];
    size_t n = small_tensors(s, tensors);
    paro_shard_writer *writer = NULL;
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    assert_ok(paro_shard_writer_new(&err, dir, 0, &writer));
    for (size_t i = 0; i < n; i++) {
        const uint64_t matrix[] = {tensors[i].n_rows, tensors[i].n_columns};
        bool is_vector = tensors[i].n_rows == 0;
        assert_ok(paro_shard_writer_declare(&err, writer, tensors[i].name, PARO_DTYPE_F32,
                                            is_vector ? 1 : 2, is_vector ? matrix + 1 : matrix));
    }
    for (size_t i = 0; i < n; i++) {
        size_t n_rows = tensors[i].n_rows == 0 ? 1 : tensors[i].n_rows;
        size_t n_values = n_rows * tensors[i].n_columns;
        float *values = small_normals(&rng, n_values, tensors[i].size);
        for (size_t k = 0; k < n_values; k++)
            values[k] += (float)tensors[i].mean;
        assert_ok(paro_shard_writer_write(&err, writer, tensors[i].name, values, 4 * n_values));
        free(values);
    }
    assert_ok(paro_shard_writer_finish(&err, writer, NULL, NULL));
    paro_shard_writer_free(writer);
    return dir;
}

static inline paro_model *small_model_open(const char *dir, int n_threads)
{
    paro_error err;
    paro_model *model = NULL;
    assert_ok(paro_model_open(&err, dir, &(paro_model_options){.n_threads = n_threads}, &model));
    return model;
}

/* A tensor's values in fp64; NULL for NULL. */
static inline double *small_values(const paro_tensor *tensor)
{
    if (tensor == NULL)
        return NULL;
    size_t n = (size_t)tensor->n_values;
    float *narrow = malloc(n * sizeof *narrow);
    double *wide = malloc(n * sizeof *wide);
    assert_true(narrow != NULL && wide != NULL);
    paro_f32_from_array(narrow, tensor->data, tensor->dtype, n);
    for (size_t i = 0; i < n; i++)
        wide[i] = (double)narrow[i];
    free(narrow);
    return wide;
}

/* A block in fp64, by the operations of base/reference.h. */
typedef struct small_reference {
    const paro_config *config;
    const double *frequencies;
    double *input_norm, *post_attention_norm, *q_norm, *k_norm;
    double *weights[PARO_SLOT_COUNT], *biases[PARO_SLOT_COUNT];
    size_t n_weights[PARO_SLOT_COUNT];
    double *work; /* of one sample */
    size_t n_tokens;
} small_reference;

static inline small_reference small_reference_new(const paro_model *model, uint32_t layer,
                                                  size_t n_tokens)
{
    const paro_block *block = &model->blocks[layer];
    const paro_config *config = &model->config;
    small_reference r = {
        .config = config,
        .frequencies = model->rope_frequencies,
        .input_norm = small_values(block->input_norm),
        .post_attention_norm = small_values(block->post_attention_norm),
        .q_norm = small_values(block->q_norm),
        .k_norm = small_values(block->k_norm),
        .n_tokens = n_tokens,
    };
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        r.weights[slot] = small_values(block->linears[slot].weight);
        r.biases[slot] = small_values(block->linears[slot].bias);
        r.n_weights[slot] = (size_t)block->linears[slot].weight->n_values;
    }
    size_t width = 3 * (size_t)config->hidden + 2 * (size_t)config->intermediate +
                   2 * (size_t)(config->n_heads + config->n_kv_heads) * config->head_dim;
    r.work = malloc(n_tokens * width * sizeof *r.work);
    assert_non_null(r.work);
    return r;
}

static inline void small_reference_end(small_reference *r)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        free(r->weights[slot]);
        free(r->biases[slot]);
    }
    free(r->input_norm);
    free(r->post_attention_norm);
    free(r->q_norm);
    free(r->k_norm);
    free(r->work);
}

static inline void small_reference_linear(const small_reference *r, paro_slot slot, const double *x,
                                          double *y)
{
    uint32_t n_in, n_out;
    bool has_bias;
    paro_slot_sizes(r->config, slot, &n_in, &n_out, &has_bias);
    paro_ref_linear_f64(x, r->weights[slot], r->biases[slot], r->n_tokens, n_in, n_out, y);
}

/* y [n_tokens, hidden] of one sample x. */
static inline void small_reference_forward(const small_reference *r, const double *x, double *y)
{
    const paro_config *c = r->config;
    size_t m = r->n_tokens, hidden = c->hidden, intermediate = c->intermediate;
    size_t n_q = c->n_heads * c->head_dim, n_kv = c->n_kv_heads * c->head_dim;
    double *normed = r->work, *residual = normed + m * hidden, *part = residual + m * hidden;
    double *gate = part + m * hidden, *up = gate + m * intermediate;
    double *q = up + m * intermediate, *attended = q + m * n_q, *k = attended + m * n_q,
           *v = k + m * n_kv;
    paro_ref_norm_f64(x, r->input_norm, m, hidden, c->norm_epsilon, normed);
    small_reference_linear(r, PARO_SLOT_Q, normed, q);
    small_reference_linear(r, PARO_SLOT_K, normed, k);
    small_reference_linear(r, PARO_SLOT_V, normed, v);
    if (r->q_norm != NULL) {
        paro_ref_norm_f64(q, r->q_norm, m * c->n_heads, c->head_dim, c->norm_epsilon, q);
        paro_ref_norm_f64(k, r->k_norm, m * c->n_kv_heads, c->head_dim, c->norm_epsilon, k);
    }
    for (size_t i = 0; i < m; i++) {
        paro_ref_rope_f64(q + i * n_q, c->n_heads, c->head_dim, r->frequencies, i);
        paro_ref_rope_f64(k + i * n_kv, c->n_kv_heads, c->head_dim, r->frequencies, i);
    }
    paro_ref_attention_f64(q, k, v, m, m, c->n_heads, c->n_kv_heads, c->head_dim, attended);
    small_reference_linear(r, PARO_SLOT_O, attended, part);
    for (size_t i = 0; i < m * hidden; i++)
        residual[i] = x[i] + part[i];
    paro_ref_norm_f64(residual, r->post_attention_norm, m, hidden, c->norm_epsilon, normed);
    small_reference_linear(r, PARO_SLOT_GATE, normed, gate);
    small_reference_linear(r, PARO_SLOT_UP, normed, up);
    paro_ref_swiglu_f64(gate, up, m * intermediate, gate);
    small_reference_linear(r, PARO_SLOT_DOWN, gate, part);
    for (size_t i = 0; i < m * hidden; i++)
        y[i] = residual[i] + part[i];
}

#endif
