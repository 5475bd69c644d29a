/* SPDX-License-Identifier: MIT
 *
 * runtime/config.c: what config.json may say, and what it may not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/config.h"
#include "tests/support.h"

/* A config with `extra` members put in; the smallest that is accepted. */
#define SMALL(extra)                                                                               \
    "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 2, \"hidden_size\": 64,"   \
    " \"intermediate_size\": 128, \"num_attention_heads\": 4, \"vocab_size\": 100" extra "}"

static paro_status parse(paro_error *err, const char *text, const char *generation,
                         paro_config *out)
{
    return paro_config_parse(err, "config.json", text, strlen(text), generation,
                             generation == NULL ? 0 : strlen(generation), out);
}

static void test_defaults(void **state)
{
    (void)state;
    paro_error err;
    paro_config c;
    assert_ok(parse(&err, SMALL(""), NULL, &c));
    assert_string_equal(c.architecture->name, "LlamaForCausalLM");
    assert_false(c.architecture->qk_norm);
    assert_int_equal(c.n_layers, 2);
    assert_int_equal(c.n_kv_heads, 4);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.max_context, 2048);
    assert_true(c.norm_epsilon == 1e-6);
    assert_true(c.rope.theta == 10000);
    assert_int_equal(c.rope.type, PARO_ROPE_TYPE_DEFAULT);
    assert_false(c.tied_embeddings);
    assert_int_equal(c.quant_method, PARO_QUANT_METHOD_NONE);
    assert_int_equal(c.bits, 0);
    assert_int_equal(c.n_eos_ids, 0);
}

static void test_everything(void **state)
{
    (void)state;
    paro_error err;
    paro_config c;
    assert_ok(parse(&err,
                    SMALL(", \"model_type\": \"qwen3\", \"num_key_value_heads\": 2,"
                          " \"head_dim\": 32, \"rms_norm_eps\": 1e-5, \"rope_theta\": 500000.0,"
                          " \"tie_word_embeddings\": true, \"attention_bias\": true,"
                          " \"mlp_bias\": true, \"max_position_embeddings\": 99,"
                          " \"eos_token_id\": [7, 8], \"rope_scaling\": null,"
                          " \"quantization_config\": {\"quant_method\": \"paroquant\","
                          " \"bits\": 4, \"group_size\": 64, \"krot\": 3}"),
                    "{\"eos_token_id\": 9}", &c));
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 32);
    assert_true(c.norm_epsilon == 1e-5);
    assert_true(c.rope.theta == 500000);
    assert_true(c.tied_embeddings && c.attention_bias && c.mlp_bias);
    assert_int_equal(c.max_context, 99);
    assert_int_equal(c.quant_method, PARO_QUANT_METHOD_PAROQUANT);
    assert_int_equal(c.group_size, 64);
    assert_int_equal(c.krot, 3);
    assert_int_equal(c.n_eos_ids, 1);
    assert_int_equal(c.eos_ids[0], 9);
}

static void test_architectures(void **state)
{
    (void)state;
    paro_error err;
    paro_config c;
    const char *qwen = "{\"architectures\": [\"Qwen3ForCausalLM\"], \"num_hidden_layers\": 1,"
                       " \"hidden_size\": 8, \"intermediate_size\": 8,"
                       " \"num_attention_heads\": 2, \"vocab_size\": 4}";
    assert_ok(parse(&err, qwen, NULL, &c));
    assert_true(c.architecture->qk_norm);
    const char *by_type = "{\"model_type\": \"qwen3\", \"num_hidden_layers\": 1,"
                          " \"hidden_size\": 8, \"intermediate_size\": 8,"
                          " \"num_attention_heads\": 2, \"vocab_size\": 4}";
    assert_ok(parse(&err, by_type, NULL, &c));
    assert_string_equal(c.architecture->name, "Qwen3ForCausalLM");
    assert_fails(parse(&err, "{\"architectures\": [\"GPT2LMHeadModel\"]}", NULL, &c),
                 PARO_STATUS_UNSUPPORTED,
                 "expected one of LlamaForCausalLM, Qwen3ForCausalLM, found GPT2LMHeadModel");
    assert_fails(parse(&err, "{}", NULL, &c), PARO_STATUS_UNSUPPORTED, "found none");
    assert_fails(parse(&err, "{\"architectures\": 3}", NULL, &c), PARO_STATUS_FORMAT,
                 "architectures: expected an array");
}

static void test_rope(void **state)
{
    (void)state;
    paro_error err;
    paro_config c;
    assert_ok(parse(&err, SMALL(", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}"),
                    NULL, &c));
    assert_int_equal(c.rope.type, PARO_ROPE_TYPE_LINEAR);
    assert_true(c.rope.factor == 4);
    assert_ok(parse(&err,
                    SMALL(", \"rope_theta\": 500000, \"rope_scaling\": {\"rope_type\": \"llama3\","
                          " \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,"
                          " \"original_max_position_embeddings\": 8192}"),
                    NULL, &c));
    assert_int_equal(c.rope.type, PARO_ROPE_TYPE_LLAMA3);
    assert_true(c.rope.theta == 500000 && c.rope.original_context == 8192);
    /* transformers 5 writes rope_parameters, with the base inside. */
    assert_ok(parse(&err,
                    SMALL(", \"rope_parameters\": {\"rope_type\": \"default\","
                          " \"rope_theta\": 1000000.0}"),
                    NULL, &c));
    assert_true(c.rope.theta == 1000000);
    /* Nothing is scaled by a number that is not there. */
    assert_fails(parse(&err, SMALL(", \"rope_scaling\": {\"type\": \"linear\"}"), NULL, &c),
                 PARO_STATUS_FORMAT, "factor: missing");
    assert_fails(parse(&err,
                       SMALL(", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8,"
                             " \"low_freq_factor\": 1, \"high_freq_factor\": 4}"),
                       NULL, &c),
                 PARO_STATUS_FORMAT, "original_max_position_embeddings: missing");
    assert_fails(
        parse(&err, SMALL(", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0}"), NULL, &c),
        PARO_STATUS_UNSUPPORTED, "expected default, linear or llama3, found yarn");
    assert_fails(parse(&err,
                       SMALL(", \"rope_scaling\": {\"type\": \"llama3\", \"factor\": 2,"
                             " \"original_max_position_embeddings\": 64, \"low_freq_factor\": 4, "
                             "\"high_freq_factor\": 4}"),
                       NULL, &c),
                 PARO_STATUS_FORMAT, "high_freq_factor above low_freq_factor");
}

static void test_quantization(void **state)
{
    (void)state;
    paro_error err;
    paro_config c;
#define QUANT(body) SMALL(", \"quantization_config\": {" body "}")
    assert_ok(parse(&err,
                    QUANT("\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 128,"
                          " \"version\": \"GEMM\", \"zero_point\": true"),
                    NULL, &c));
    assert_int_equal(c.quant_method, PARO_QUANT_METHOD_AWQ);
    assert_int_equal(c.krot, 0);
    assert_string_equal(paro_quant_method_name(c.quant_method), "awq");
    assert_fails(parse(&err, QUANT("\"quant_method\": \"awq\", \"version\": \"gemv\""), NULL, &c),
                 PARO_STATUS_UNSUPPORTED, "awq gemv");
    assert_fails(parse(&err, QUANT("\"quant_method\": \"gptq\""), NULL, &c),
                 PARO_STATUS_UNSUPPORTED, "found gptq");
    assert_fails(parse(&err, QUANT("\"quant_method\": \"paroquant\", \"bits\": 3"), NULL, &c),
                 PARO_STATUS_UNSUPPORTED, "bits: expected 4, found 3");
    assert_fails(
        parse(&err, QUANT("\"quant_method\": \"paroquant\", \"group_size\": 33"), NULL, &c),
        PARO_STATUS_FORMAT, "group_size");
    assert_fails(parse(&err, QUANT("\"quant_method\": \"paroquant\", \"krot\": -1"), NULL, &c),
                 PARO_STATUS_FORMAT, "krot");
}

static void test_refused(void **state)
{
    (void)state;
    paro_error err;
    paro_config c;
    static const struct {
        const char *text, *words;
        paro_status status;
    } rows[] = {
        {SMALL(", \"hidden_act\": \"gelu\""), "hidden_act: expected silu", PARO_STATUS_UNSUPPORTED},
        {SMALL(", \"use_sliding_window\": true"), "use_sliding_window", PARO_STATUS_UNSUPPORTED},
        {SMALL(", \"num_key_value_heads\": 3"), "not a multiple", PARO_STATUS_FORMAT},
        {SMALL(", \"head_dim\": 15"), "head_dim", PARO_STATUS_FORMAT},
        {SMALL(", \"head_dim\": 16000000"), "head_dim", PARO_STATUS_FORMAT},
        {SMALL(", \"rms_norm_eps\": \"small\""), "rms_norm_eps", PARO_STATUS_FORMAT},
        {SMALL(", \"max_position_embeddings\": 0"), "max_position", PARO_STATUS_FORMAT},
        {SMALL(", \"eos_token_id\": \"x\""), "eos_token_id", PARO_STATUS_FORMAT},
        {SMALL(", \"eos_token_id\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"), "at most 16",
         PARO_STATUS_FORMAT},
        {SMALL(", \"vocab_size\": 3"), "duplicate", PARO_STATUS_FORMAT},
        {"{\"architectures\": [\"LlamaForCausalLM\"]}", "num_hidden_layers: missing",
         PARO_STATUS_FORMAT},
        {"{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 9999999}",
         "num_hidden_layers: expected 1 to", PARO_STATUS_FORMAT},
        {"[]", "expected a JSON object", PARO_STATUS_FORMAT},
        {"", "not valid JSON: it is empty", PARO_STATUS_FORMAT},
        {"{", "not valid JSON", PARO_STATUS_FORMAT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_fails(parse(&err, rows[i].text, NULL, &c), rows[i].status, rows[i].words);
    assert_fails(parse(&err, SMALL(""), "{", &c), PARO_STATUS_FORMAT, "generation_config.json");
}

static void test_load(void **state)
{
    (void)state;
    paro_error err;
    paro_config c;
    assert_ok(paro_config_load(&err, "models/demo", &c));
    assert_int_equal(c.hidden, 256);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.n_eos_ids, 1);
    assert_int_equal(c.eos_ids[0], 2047);
    assert_fails(paro_config_load(&err, "models", &c), PARO_STATUS_NOT_FOUND, "models/config.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_everything),
        cmocka_unit_test(test_architectures), cmocka_unit_test(test_rope),
        cmocka_unit_test(test_quantization),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
