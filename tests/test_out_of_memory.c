/* SPDX-License-Identifier: MIT
 *
 * The n-th allocation fails, for every n: each call says so with PARO_STATUS_OUT_OF_MEMORY, leaves
 * its output alone, and loses nothing (under AddressSanitizer, which counts). What trains and
 * searches blocks has test_out_of_memory_calib.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/paro.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/hash.h"
#include "base/safetensors.h"
#include "base/safetensors_write.h"
#include "base/thread.h"
#include "cache/cache.h"
#include "calib/dataset.h"
#include "calib/plan.h"
#include "codegen/codegen.h"
#include "families/model_problems.h"
#include "tests/block_fixture.h"
#include "tests/failing_memory.h"
#include "tests/support.h"

static const uint64_t shape[2] = {2, 4};

static paro_status write_shards(paro_error *err, const char *dir)
{
    paro_staging staging = {.lock_fd = -1};
    paro_shard_writer *writer = NULL;
    char target[512];
    snprintf(target, sizeof target, "%s/written", dir);
    paro_status status = paro_staging_begin(err, target, true, &staging);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_shard_writer_new(err, staging.temporary, 40, &writer);
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_metadata(err, writer, "key", "value");
    char name[] = "tensor.a";
    for (int i = 0; i < 3 && status == PARO_STATUS_OK; i++, name[7]++)
        status = paro_shard_writer_declare(err, writer, name, PARO_DTYPE_F32, 2, shape);
    name[7] = 'a';
    for (int i = 0; i < 3 && status == PARO_STATUS_OK; i++, name[7]++)
        status = paro_shard_writer_write(err, writer, name, "0123456789abcdef0123456789abcdef", 32);
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_finish(err, writer, NULL, NULL);
    paro_shard_writer_free(writer);
    if (status == PARO_STATUS_OK)
        status = paro_staging_commit(err, &staging);
    paro_staging_abort(&staging);
    return status;
}

static paro_status read_shards(paro_error *err, const char *dir)
{
    char path[512];
    snprintf(path, sizeof path, "%s/written", dir);
    paro_tensor_set *set = NULL;
    paro_status status = paro_tensor_set_open(err, path, &set);
    assert_true((status == PARO_STATUS_OK) == (set != NULL));
    paro_tensor_set_free(set);
    return status;
}

static paro_status layer_tensors(paro_error *err, const char *dir)
{
    (void)dir;
    paro_tensor_set *set = NULL;
    paro_tensor tensor = {.name = "a", .dtype = PARO_DTYPE_U8, .rank = 1, .shape = {4}};
    paro_status status = paro_tensor_set_new(err, NULL, &set);
    if (status == PARO_STATUS_OK)
        status = paro_tensor_set_put(err, set, &tensor, __real_malloc(4)); /* the set's, always */
    if (status == PARO_STATUS_OK)
        status = paro_tensor_set_hide(err, set, "b");
    paro_tensor_set_free(set);
    return status;
}

static paro_status write_and_read_file(paro_error *err, const char *dir)
{
    char path[512], *data = NULL;
    size_t n_bytes;
    snprintf(path, sizeof path, "%s/file", dir);
    paro_status status = paro_file_write(err, path, "text", 4);
    if (status == PARO_STATUS_OK)
        status = paro_file_read(err, path, 100, &data, &n_bytes);
    assert_true((status == PARO_STATUS_OK) == (data != NULL));
    free(data);
    return status;
}

static paro_status make_pool(paro_error *err, const char *dir)
{
    (void)dir;
    paro_pool *pool = NULL;
    paro_status status = paro_pool_new(err, 3, &pool);
    assert_true((status == PARO_STATUS_OK) == (pool != NULL));
    paro_pool_free(pool);
    return status;
}

/* Memory, buffers and maps answer with NULL and false. */
static paro_status use_containers(paro_error *err, const char *dir)
{
    (void)dir;
    paro_arena arena = {0};
    paro_buffer buffer = {0};
    paro_map map = {0};
    bool ok = paro_arena_alloc(&arena, 100000) != NULL && paro_arena_strdup(&arena, "x") != NULL &&
              paro_arena_printf(&arena, "%d", 5) != NULL;
    for (int i = 0; i < 10 && ok; i++) {
        paro_buffer before = buffer;
        ok = paro_buffer_printf(&buffer, "%0100d", i);
        if (!ok)
            assert_memory_equal(&buffer, &before, sizeof buffer);
    }
    static const char keys[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t i = 0; i < sizeof keys - 1 && ok; i++)
        ok = paro_map_put(&map, keys + i, 1, (uint32_t)i, NULL);
    for (size_t i = 0; i < map.n_used; i++)
        assert_true(paro_map_get(&map, keys + i, 1, NULL));
    paro_arena_release(&arena);
    paro_buffer_free(&buffer);
    paro_map_free(&map);
    return ok ? PARO_STATUS_OK : paro_fail_memory(err, 1, "a container");
}

static paro_status open_model(paro_error *err, const char *dir)
{
    (void)dir;
    static const int32_t tokens[3] = {5, 6, 7};
    const paro_model_options options = {.n_threads = 2};
    paro_model *model = NULL;
    paro_session *session = NULL;
    paro_status status = paro_model_open(err, "models/demo", &options, &model);
    if (status == PARO_STATUS_OK)
        status = paro_model_check(err, model);
    if (status == PARO_STATUS_OK)
        status = paro_session_new(err, model, NULL, &session);
    if (status == PARO_STATUS_OK)
        status = paro_session_append(err, session, tokens, 3, NULL);
    paro_session_free(session);
    paro_model_free(model);
    return status;
}

static paro_status plan_demo(paro_error *err, const paro_model *model, paro_plan **plan)
{
    static const char *const set[] = {"linears=*.layers.0.*.{q,down}_proj",
                                      "keep=*.layers.{1,2,3}.*"};
    const paro_recipe_options options = {.set = set, .n_set = 2};
    paro_recipe *recipe = NULL;
    paro_status status = paro_recipe_open(err, "lua/recipes/rtn.lua", &options, &recipe);
    assert_true((status == PARO_STATUS_OK) == (recipe != NULL));
    if (status == PARO_STATUS_OK)
        status = paro_plan_make(err, recipe, model, plan);
    assert_true((status == PARO_STATUS_OK) == (*plan != NULL));
    paro_recipe_free(recipe);
    return status;
}

static paro_model *demo; /* opened before anything fails */

static paro_status make_plan(paro_error *err, const char *dir)
{
    (void)dir;
    paro_plan *plan = NULL;
    paro_status status = plan_demo(err, demo, &plan);
    paro_plan_free(plan);
    return status;
}

static block_fixture demo_block; /* likewise; not touched but for what this recipe does */

static const char block_recipe[] =
    "return {group_size = 64, block = function(block)\n"
    "  local k, v = block.linears.k_proj, block:match('*.v_proj')[1]\n"
    "  local x = k:inputs{tokens = 2}\n"
    "  local y = x:quantise{group_size = 64}:matmul_t(k:effective()) * k:stats().weight.rms\n"
    "  k:set_step_zero(tensor.full(0.1, 128, 4), tensor.full(1, 128, 4))\n"
    "  block:pairs{krot = 1, match = '*.v_proj'}\n"
    "  return x:rotate(v):norm() + y:sum()\n"
    "end}\n";

static paro_status run_block(paro_error *err, const char *dir)
{
    paro_train_linear *k = &demo_block.block.linears[PARO_SLOT_K];
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    free(k->step);
    free(k->zero);
    k->step = k->zero = NULL;
    char *path = NULL;
    assert_true(asprintf(&path, "%s/block.lua", dir) > 0);
    paro_status status = paro_train_linear_set_krot(err, &demo_block.block.linears[PARO_SLOT_V], 0);
    if (status == PARO_STATUS_OK)
        status = paro_recipe_open(err, path, NULL, &recipe);
    if (status == PARO_STATUS_OK)
        status = paro_plan_make(err, recipe, demo_block.model, &plan);
    paro_recipe_free(recipe);
    if (status == PARO_STATUS_OK)
        status = plan->block.run(err, plan->block.context, block_of(&demo_block));
    paro_plan_free(plan);
    free(path);
    return status;
}

static paro_plan *demo_plan; /* likewise */

static paro_status quantise_in_memory(paro_error *err, const char *dir)
{
    (void)dir;
    paro_model *model = NULL;
    paro_status status = paro_quantize_in_memory(err, demo, demo_plan, NULL, &model);
    assert_true((status == PARO_STATUS_OK) == (model != NULL));
    paro_model_free(model);
    return status;
}

static paro_status quantise_into_folder(paro_error *err, const char *dir)
{
    char out[512], partial[540];
    snprintf(out, sizeof out, "%s/quantised", dir);
    snprintf(partial, sizeof partial, "%s.paro-partial", out);
    const paro_quantize_options options = {.format = PARO_FORMAT_AWQ, .overwrite = true};
    paro_status status = paro_quantize(err, demo, demo_plan, out, &options, NULL);
    /* It may be there and not yet known to be on disk. */
    assert_true(status != PARO_STATUS_OK || paro_path_exists(out));
    /* Not removed where that took memory that was not there; the next run does it. */
    assert_true(!paro_path_exists(partial) || atomic_load(&has_failed));
    return status;
}

static paro_tokenizer *demo_tokenizer; /* likewise */

static paro_status draw_samples(paro_error *err, const char *dir)
{
    static const char line[] = "{\"text\": \"The text of a line, and of samples.\"}\n";
    char path[512];
    paro_dataset set = {0};
    snprintf(path, sizeof path, "%s/lines.jsonl", dir);
    if (!paro_path_exists(path))
        test_file_write(dir, "lines.jsonl", line, sizeof line - 1);
    const paro_text_source sources[] = {{.path = path}, {.path = "tests/goldens/text.txt"}};
    const paro_dataset_options options = {
        .sources = sources, .n_sources = 2, .n_train = 3, .n_validation = 1, .n_tokens = 3};
    paro_status status = paro_dataset_from_texts(err, demo, demo_tokenizer, &options, &set);
    assert_true((status == PARO_STATUS_OK) == (set.ids != NULL));
    paro_dataset_release(&set);
    return status;
}

static paro_status generate_samples(paro_error *err, const char *dir)
{
    (void)dir;
    paro_dataset set = {0};
    const paro_dataset_options options = {.n_train = 2, .n_tokens = 3};
    paro_status status = paro_dataset_generate(err, demo, demo_tokenizer, &options, &set);
    assert_true((status == PARO_STATUS_OK) == (set.ids != NULL));
    paro_dataset_release(&set);
    return status;
}

static paro_status list_problems(paro_error *err, const char *dir)
{
    const paro_linear_shape linear = {.n = 64, .k = 64, .quantised = true, .group_size = 32};
    const paro_layer_shape layer = {linear, linear, linear, linear, linear, linear, linear};
    const paro_model_shape model = {.hidden = 64,
                                    .intermediate = 64,
                                    .n_heads = 2,
                                    .n_kv_heads = 2,
                                    .head_dim = 32,
                                    .vocab = 64,
                                    .layers = &layer,
                                    .n_layers = 1,
                                    .head = {.n = 64, .k = 64}};
    paro_problem *problems = NULL;
    size_t n = 0;
    (void)dir;
    paro_status status = paro_model_problems(err, &model, NULL, 0, &problems, &n);
    assert_int_equal(status == PARO_STATUS_OK, problems != NULL);
    free(problems);
    return status;
}

/* A problem's source, its case, and the case's own outputs judged: wrong, unless memory was short.
 */
static paro_status use_problem(paro_error *err, const char *dir)
{
    const paro_arch *arch = paro_arch_get(0);
    paro_problem problem;
    paro_kernel_config config;
    paro_case c;
    paro_buffer source = {0};
    double error;
    (void)dir;
    paro_status status =
        paro_problem_parse(err, "rotate:h=64,m=2,group=32,krot=2,dtype=f16", &problem);
    if (status != PARO_STATUS_OK)
        return status;
    problem.family->default_config(&problem, arch, &config);
    const paro_variant variant = {&problem, &config, arch};
    status = paro_render(err, &variant, &source);
    paro_buffer_free(&source);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_case_new(err, &problem, &config, 1, NULL, &c);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_case_check(err, &c, c.data, NULL, &error);
    paro_case_release(&c);
    return status == PARO_STATUS_FORMAT ? PARO_STATUS_OK : status;
}

/* A cache filled, looked up, written to a bundle and read back. */
static paro_status use_cache(paro_error *err, const char *dir)
{
    static const char config[] = "tokens=2,warps=4";
    static const char text[] = "rotate:h=64,m=16,group=32,krot=2,dtype=f16,outputs=1,inverse=0";
    char path[512], bundle[520], device_class[PARO_DEVICE_CLASS_BYTES];
    const paro_arch *arch = paro_arch_find("sm_90");
    paro_device_info device;
    paro_problem problem;
    paro_arena arena = {0};
    paro_cache *cache = NULL;
    paro_cache_kernel kernel = {.family = "rotate", .arch = "sm_90", .binary = "x", .n_bytes = 1};
    paro_cache_winner winner = {.problem = text, .config = config, .median_us = 1, .n_samples = 1};
    paro_cache_timing timing = {.problem = text, .config = config, .state = "timed"};
    paro_cache_info info;
    paro_merge_result merged;
    paro_lookup found;
    const char *layout;
    uint64_t n_removed;
    snprintf(path, sizeof path, "%s/cache.db", dir);
    snprintf(bundle, sizeof bundle, "%s.bundle", path);
    paro_device_typical(arch, &device);
    paro_device_class(&device, device_class);
    winner.device_class = timing.device_class = device_class;
    paro_sha256_hex("kernel", 6, kernel.key);
    memcpy(kernel.source_hash, kernel.key, sizeof kernel.key);
    memcpy(winner.kernel, kernel.key, sizeof kernel.key);
    memcpy(winner.template_hash, kernel.key, sizeof kernel.key);
    memcpy(timing.template_hash, kernel.key, sizeof kernel.key);
    const paro_cache_options options = {.path = path};
    paro_status status = paro_cache_open(err, &options, &cache);
    if (status == PARO_STATUS_OK)
        status = paro_cache_begin(err, cache);
    if (status == PARO_STATUS_OK)
        status = paro_cache_put_kernel(err, cache, &kernel);
    if (status == PARO_STATUS_OK)
        status = paro_cache_put_winner(err, cache, &winner);
    if (status == PARO_STATUS_OK)
        status = paro_cache_put_timing(err, cache, &timing);
    if (status == PARO_STATUS_OK)
        status = paro_cache_commit(err, cache);
    if (status == PARO_STATUS_OK)
        status = paro_problem_parse(err, text, &problem);
    if (status == PARO_STATUS_OK)
        status = paro_cache_lookup(err, cache, &problem, arch, &device, winner.template_hash, NULL,
                                   &arena, &found);
    if (status == PARO_STATUS_OK) {
        problem = paro_problem_with_m(&problem, 32); /* near */
        status = paro_cache_lookup(err, cache, &problem, arch, &device, winner.template_hash, NULL,
                                   &arena, &found);
    }
    if (status == PARO_STATUS_OK)
        status = paro_cache_choose_layout(err, cache, &problem, 1, arch, &device,
                                          winner.template_hash, &arena, &layout);
    if (status == PARO_STATUS_OK)
        status = paro_cache_get_kernel(err, cache, kernel.key, &arena, &kernel);
    if (status == PARO_STATUS_OK)
        status = paro_cache_export(err, cache, bundle, NULL, true, NULL);
    if (status == PARO_STATUS_OK)
        status = paro_cache_import(err, cache, bundle, NULL, &merged);
    if (status == PARO_STATUS_OK)
        status = paro_cache_verify(err, cache, &info);
    if (status == PARO_STATUS_OK)
        status = paro_cache_prune(err, cache, NULL, 0, true, &n_removed);
    paro_cache_free(cache);
    paro_arena_release(&arena);
    return status;
}

static void test_every_allocation(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        attempt_fn *attempt;
        bool may_recover;
    } rows[] = {
        {"containers", use_containers, false},
        {"a file", write_and_read_file, false},
        {"writing shards", write_shards, false},
        {"reading shards", read_shards, false},
        {"tensors in memory", layer_tensors, false},
        {"a pool", make_pool, false},
        {"a model and a session", open_model, false},
        {"a model's problems", list_problems, false},
        {"a problem's source and case", use_problem, false},
        {"a cache and a bundle", use_cache, false},
        {"a recipe and its plan", make_plan, true},
        {"a recipe's block function", run_block, true},
        {"samples of texts", draw_samples, false},
        {"samples of a model", generate_samples, false},
        {"quantising in memory", quantise_in_memory, false},
        {"quantising into a folder", quantise_into_folder, false},
    };
    paro_error err;
    char *dir = test_dir_new();
    assert_ok(paro_model_open(&err, "models/demo", NULL, &demo));
    assert_ok(plan_demo(&err, demo, &demo_plan));
    demo_block = block_fixture_new(1, 4, 4, 64, 1);
    test_file_write(dir, "block.lua", block_recipe, sizeof block_recipe - 1);
    assert_ok(paro_tokenizer_open(&err, "models/demo", &demo_tokenizer));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        try_all(rows[i].what, rows[i].attempt, rows[i].may_recover, dir);
    paro_tokenizer_free(demo_tokenizer);
    paro_plan_free(demo_plan);
    block_fixture_free(&demo_block);
    paro_model_free(demo);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
