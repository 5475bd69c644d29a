/* SPDX-License-Identifier: MIT
 *
 * Recipes with a block function, run on the demo model's first block. Include after <cmocka.h>.
 */
#ifndef PARO_TESTS_LUA_BLOCK_H
#define PARO_TESTS_LUA_BLOCK_H

#include <paro/quantize.h>

#include "calib/plan.h"
#include "tests/block_fixture.h"

enum { N_SAMPLES = 6, N_TOKENS = 32, GROUP_SIZE = 64 };

typedef struct log_text {
    char text[4000];
} log_text;

static inline void remember_log(void *context, paro_log_level level, const char *message)
{
    log_text *log = context;
    if (level == PARO_LOG_LEVEL_DEBUG)
        return;
    strncat(log->text, message, sizeof log->text - strlen(log->text) - 2);
    strcat(log->text, "|");
}

/* Four samples to train on, two held out; `down_proj` is kept. */
static inline block_fixture new_fixture(int n_threads)
{
    block_fixture f = block_fixture_new(N_SAMPLES, N_TOKENS, 4, GROUP_SIZE, n_threads);
    f.block.n_train = 4;
    f.block.n_validation = 2;
    return f;
}

static inline void keep(block_fixture *f, paro_slot slot)
{
    f->block.linears[slot].bits = 0;
}

static inline paro_recipe *open_text(const char *text, uint64_t n_instructions)
{
    paro_error err;
    char *dir = test_dir_new();
    test_file_write(dir, "recipe.lua", text, strlen(text));
    char *path = test_path(dir, "recipe.lua");
    const paro_recipe_options options = {.n_instructions = n_instructions};
    paro_recipe *recipe = NULL;
    assert_ok(paro_recipe_open(&err, path, &options, &recipe));
    free(path);
    test_dir_remove(dir);
    return recipe;
}

/* Runs the block function of a recipe of this text, as its plan does, on the fixture's block; `log`
 * gets what it prints. */
static inline paro_status run_recipe(paro_error *err, block_fixture *f, const char *text,
                                     log_text *log)
{
    paro_plan *plan = NULL;
    paro_recipe *recipe = open_text(text, 0);
    const paro_observer observer = {.context = log, .log = remember_log};
    paro_status status = paro_plan_make(err, recipe, f->model, &plan);
    paro_recipe_free(recipe); /* the plan keeps it alive */
    if (status == PARO_STATUS_OK) {
        *log = (log_text){.text = ""};
        f->block.observer = &observer;
        status = plan->block.run(err, plan->block.context, block_of(f));
        f->block.observer = NULL;
    }
    paro_plan_free(plan);
    return status;
}

/* The same for a recipe whose block function has this body. */
static inline paro_status run_body(paro_error *err, block_fixture *f, const char *body,
                                   log_text *log)
{
    char *text = NULL;
    assert_true(asprintf(&text, "return {group_size = 64, block = function(block) %s end}", body) >
                0);
    paro_status status = run_recipe(err, f, text, log);
    free(text);
    return status;
}

static inline void prints(block_fixture *f, const char *body, const char *expected)
{
    paro_error err;
    log_text log;
    assert_ok(run_body(&err, f, body, &log));
    assert_string_equal(log.text, expected);
}

static inline void raises(block_fixture *f, const char *body, const char *words)
{
    paro_error err;
    log_text log;
    assert_fails(run_body(&err, f, body, &log), PARO_STATUS_RECIPE, words);
    assert_non_null(strstr(err.message, "block 0: "));
    assert_non_null(strstr(err.message, "recipe.lua"));
}

#endif
