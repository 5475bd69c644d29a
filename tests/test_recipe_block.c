/* SPDX-License-Identifier: MIT
 *
 * lua/recipe_block.c and block_stages.c: block functions called by their plan, the stages they
 * call, and the shipped recipes that have one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/clock.h"
#include "calib/awq.h"
#include "calib/gptq.h"
#include "calib/optimise.h"
#include "calib/pairs.h"
#include "lua/recipe.h"
#include "tests/lua_block.h"

/* ---- what a plan has of it ---- */

static paro_plan *plan_of(const char *name, const paro_model *model, const char *const *set,
                          size_t n_set)
{
    paro_error err;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    const paro_recipe_options options = {.set = set, .n_set = n_set};
    assert_ok(paro_recipe_open(&err, name, &options, &recipe));
    assert_ok(paro_plan_make(&err, recipe, model, &plan));
    paro_recipe_free(recipe);
    return plan;
}

static void test_plan(void **state)
{
    (void)state;
    paro_error err;
    paro_plan_linear linear;
    paro_model *model = NULL;
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    const char *const set[] = {"samples=7", "tokens=4096", "seed=3", "keep=*.down_proj", "krot=4"};
    paro_plan *plan = plan_of("paroquant", model, set, 5);
    assert_int_equal(plan->krot, 4);
    assert_int_equal(plan->data.n_train, 7);
    assert_int_equal(plan->data.n_validation, 32);
    assert_int_equal(plan->data.n_tokens, 1024); /* no more than the model has places for */
    assert_int_equal(plan->data.seed, 3);
    assert_non_null(plan->block.run);
    paro_plan_get(plan, 0, &linear);
    assert_string_equal(linear.method, "block");
    paro_plan_get(plan, 6, &linear);
    assert_string_equal(linear.method, "keep");
    paro_plan_free(plan);

    plan = plan_of("rtn", model, NULL, 0);
    assert_true(plan->block.run == NULL && plan->krot == 0 && plan->data.n_tokens == 0);
    paro_plan_free(plan);
    paro_model_free(model);
}

static void test_table(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"return {block = 5}", "block: expected a function, found a number (5)"},
        {"return {krot = 8}", "krot: is for recipes with a function `block`, there is none"},
        {"return {data = {}}", "data: is for recipes with a function `block`"},
        {"return {block = print, krot = 65}", "krot: expected an integer from 0 to 64"},
        {"return {block = print, data = 5}", "data: expected a table, found a number (5)"},
        {"return {block = print, data = {sample = 5}}",
         "data: unknown key \"sample\" (nearest: samples"},
        {"return {block = print, data = {samples = 0}}", "data: samples: expected an integer from"},
        {"return {block = print, data = {tokens = 1}}", "data: tokens: expected an integer from 2"},
        {"return {block = print, data = {validation = -1}}", "data: validation: expected"},
        {"return {block = print, data = {seed = 0.5}}", "data: seed: expected an integer"},
    };
    paro_error err;
    paro_model *model = NULL;
    assert_ok(paro_model_open(&err, "models/demo", NULL, &model));
    paro_plan *plan = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        paro_recipe *recipe = open_text(rows[i].text, 0);
        assert_fails(paro_plan_make(&err, recipe, model, &plan), PARO_STATUS_RECIPE, rows[i].words);
        paro_recipe_free(recipe);
    }
    paro_recipe *recipe = open_text("return {block = print, group_size = 1 << 3, data = {}}", 0);
    assert_ok(paro_plan_make(&err, recipe, model, &plan));
    assert_int_equal(plan->data.n_train, 128);
    assert_int_equal(plan->data.n_validation, 16);
    assert_int_equal(plan->data.n_tokens, 512);
    assert_int_equal(plan->krot, 0);
    paro_plan_free(plan);
    paro_recipe_free(recipe);
    plan = NULL;
    recipe = open_text("return {block = print, linears = '*.down_proj', group_size = 3}", 0);
    assert_fails(paro_plan_make(&err, recipe, model, &plan), PARO_STATUS_INVALID_ARGUMENT,
                 "expected an even group_size");
    paro_recipe_free(recipe);
    /* A plan that is refused lets the recipe go. */
    recipe = open_text("return {block = print, linears = '*.q_prj'}", 0);
    assert_fails(paro_plan_make(&err, recipe, model, &plan), PARO_STATUS_NOT_FOUND, "q_prj");
    assert_int_equal(recipe->n_users, 1);
    paro_recipe_free(recipe);
    recipe = open_text("return {block = print, overrides = {{match = '*.q_proj', group_size = 1 << "
                       "8}}, group_size = 2}",
                       0);
    assert_ok(paro_plan_make(&err, recipe, model, &plan));
    assert_int_equal(recipe->n_users, 2);
    paro_plan_free(plan);
    assert_int_equal(recipe->n_users, 1);
    paro_recipe_free(recipe);
    paro_model_free(model);
}

/* ---- limits and cancelling ---- */

static paro_status run_limited(paro_error *err, block_fixture *f, const char *text,
                               const paro_observer *observer, int n_times)
{
    paro_plan *plan = NULL;
    paro_recipe *recipe = open_text(text, 1000000);
    paro_status status = paro_plan_make(err, recipe, f->model, &plan);
    paro_recipe_free(recipe);
    f->block.observer = observer;
    for (int i = 0; i < n_times && status == PARO_STATUS_OK; i++)
        status = plan->block.run(err, plan->block.context, block_of(f));
    f->block.observer = NULL;
    paro_plan_free(plan);
    return status;
}

#define BLOCK(body) "return {group_size = 64, block = function(block) " body " end}"

static void test_limits(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = new_fixture(1);
    assert_fails(run_limited(&err, &f, BLOCK("while true do end"), NULL, 1), PARO_STATUS_LIMIT,
                 "block 0: ");
    assert_non_null(strstr(err.message, "1000000 instructions"));
    assert_fails(run_limited(&err, &f, BLOCK("while true do pcall(block.round) end"), NULL, 1),
                 PARO_STATUS_LIMIT, "instructions");
    assert_fails(run_limited(&err, &f,
                             BLOCK("local l = block.linears[1] while true do"
                                   " l:set_weight(l:weight()) end"),
                             NULL, 1),
                 PARO_STATUS_LIMIT, "instructions");
    assert_fails(run_limited(&err, &f, BLOCK("while true do local l = block.linears end"), NULL, 1),
                 PARO_STATUS_LIMIT, "instructions");
    assert_fails(run_limited(&err, &f, BLOCK("return tensor.zeros(1 << 30, 1 << 10)"), NULL, 1),
                 PARO_STATUS_LIMIT, "limit of");
    /* They are for each block: a thousand times 10,000 instructions are no million. */
    assert_ok(run_limited(&err, &f, BLOCK("for i = 1, 10000 do end"), NULL, 1000));
    /* What was done before stays. */
    assert_fails(run_limited(&err, &f, BLOCK("block:round() while true do end"), NULL, 1),
                 PARO_STATUS_LIMIT, "instructions");
    assert_true(f.block.linears[PARO_SLOT_Q].is_rounded);
    block_fixture_free(&f);
}

typedef struct stopping {
    const char *stage; /* the first report of it asks to stop */
    int n_after;       /* reports that came nevertheless */
    bool stopped;
} stopping;

static bool stop_stage(void *context, const char *stage, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    stopping *s = context;
    s->n_after += s->stopped;
    s->stopped = s->stopped || strstr(stage, s->stage) != NULL;
    return !s->stopped;
}

/* In Lua and in a stage, which pcall does not catch either. */
static void test_cancel(void **state)
{
    (void)state;
    static const struct {
        const char *stage, *text;
    } rows[] = {
        {"recipe", BLOCK("local t = tensor.zeros(9) while true do t = t:exp() end")},
        {"inputs", BLOCK("pcall(block.linears[2].inputs, block.linears[2]) while true do end")},
        {"gptq", BLOCK("pcall(block.gptq, block) while true do end")},
        {"awq", BLOCK("coroutine.wrap(function() pcall(block.awq, block) end)()"
                      " while true do end")},
    };
    paro_error err;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        block_fixture f = new_fixture(1);
        stopping s = {.stage = rows[i].stage};
        const paro_observer observer = {.context = &s, .progress = stop_stage};
        paro_plan *plan = NULL;
        paro_recipe *recipe = open_text(rows[i].text, UINT64_MAX / 2);
        assert_ok(paro_plan_make(&err, recipe, f.model, &plan));
        f.block.observer = &observer;
        double from = paro_clock_seconds();
        assert_fails(plan->block.run(&err, plan->block.context, block_of(&f)),
                     PARO_STATUS_CANCELLED, "stopped");
        assert_true(paro_clock_seconds() - from < (TEST_SANITIZED ? 60 : 10));
        assert_true(s.stopped && s.n_after == 0);
        paro_plan_free(plan);
        paro_recipe_free(recipe);
        block_fixture_free(&f);
    }
}

/* The recipe's observer may be gone; the block's is asked. */
static void test_observer(void **state)
{
    (void)state;
    paro_error err;
    log_text log = {.text = ""};
    block_fixture f = new_fixture(1);
    const paro_observer observer = {.context = &log, .log = remember_log};
    assert_ok(run_limited(&err, &f, BLOCK("print('block', block.layer)"), &observer, 2));
    assert_string_equal(log.text, "block 0|block 0|");
    assert_ok(run_limited(&err, &f, BLOCK("print('unheard')"), NULL, 1));
    block_fixture_free(&f);
}

/* ---- stages do what the functions of C do ---- */

static void assert_same_linears(const block_fixture *a, const block_fixture *b)
{
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *l = &a->block.linears[slot];
        const paro_train_linear *m = &b->block.linears[slot];
        size_t n = (size_t)l->n_out * l->n_in;
        size_t n_groups = n / l->group_size;
        assert_int_equal(l->krot, m->krot);
        assert_int_equal(l->is_rounded, m->is_rounded);
        assert_int_equal(l->step != NULL, m->step != NULL);
        assert_memory_equal(l->w, m->w, n * sizeof *l->w);
        assert_memory_equal(l->weight_channel_scales, m->weight_channel_scales,
                            l->n_in * sizeof(float));
        if (l->krot > 0) {
            assert_memory_equal(l->pairs, m->pairs, l->krot * l->n_in * sizeof *l->pairs);
            assert_memory_equal(l->theta, m->theta, l->krot * l->n_in / 2 * sizeof *l->theta);
        }
        if (l->step != NULL) {
            assert_memory_equal(l->step, m->step, n_groups * sizeof *l->step);
            assert_memory_equal(l->zero, m->zero, n_groups * sizeof *l->zero);
        }
        if (l->is_rounded)
            assert_memory_equal(l->codes.codes, m->codes.codes, n);
    }
}

static paro_status do_pairs(paro_error *err, paro_calib_block *block)
{
    static const paro_slot slots[] = {PARO_SLOT_GATE, PARO_SLOT_UP};
    for (int i = 0; i < 2; i++) {
        paro_train_linear *linear = &block->linears[slots[i]];
        paro_status status = paro_train_linear_set_krot(err, linear, 3);
        if (status == PARO_STATUS_OK)
            status = paro_pairs_make(err, block->pool, linear, PARO_PAIRS_KIND_RANDOM, 5);
        if (status != PARO_STATUS_OK)
            return status;
    }
    return PARO_STATUS_OK;
}

static paro_status do_awq(paro_error *err, paro_calib_block *block)
{
    const paro_awq_options options = {
        .n_grid = 7, .no_scales = true, .max_shrink = 0.3, .max_tokens = 50};
    return paro_awq(err, block, &options);
}

static paro_status do_gptq(paro_error *err, paro_calib_block *block)
{
    const paro_gptq_options options = {
        .damping = 0.05, .act_order = true, .true_sequential = true, .max_tokens = 100};
    return paro_gptq(err, block, &options);
}

static paro_status do_optimise(paro_error *err, paro_calib_block *block)
{
    paro_optimise_report report;
    const paro_optimise_options options = {
        .lr = {[PARO_TRAINABLE_CHANNEL_SCALES] = 0.02, [PARO_TRAINABLE_WEIGHT] = 1e-4},
        .epochs = 2,
        .batch = 2,
        .accumulate = 2,
        .last_lr = 0.5,
        .reference_zero = true,
        .adamw = {0.8, 0.9, 1e-8, 0.02},
        .seed = 4};
    return paro_optimise(err, block, &options, &report);
}

static void test_stages(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        paro_status (*same)(paro_error *err, paro_calib_block *block);
    } rows[] = {
        {"block:pairs{kind = 'random', krot = 3, seed = 5, match = '*.{up,gate}_proj'}", do_pairs},
        {"block:awq{grid = 7, scales = false, max_shrink = 0.3, tokens = 50}", do_awq},
        {"block:gptq{damping = 0.05, act_order = true, true_sequential = true, tokens = 100}",
         do_gptq},
        {"block:optimise{channel_scales = 0.02, weight = 1e-4, epochs = 2, batch = 2,"
         " accumulate = 2, last_lr = 0.5, reference_zero = true, beta1 = 0.8, beta2 = 0.9,"
         " epsilon = 1e-8, weight_decay = 0.02, seed = 4}",
         do_optimise},
        {"block:round()", paro_calib_block_round},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        paro_error err;
        log_text log;
        block_fixture a = new_fixture(2);
        block_fixture b = new_fixture(1);
        assert_ok(run_body(&err, &a, rows[i].body, &log));
        assert_ok(rows[i].same(&err, block_of(&b)));
        assert_same_linears(&a, &b);
        block_fixture_free(&a);
        block_fixture_free(&b);
    }
}

static void test_loss_and_report(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = new_fixture(2);
    double train = 0;
    double validation = 0;
    assert_ok(paro_calib_block_loss(&err, block_of(&f), 0, 4, true, &train));
    assert_ok(paro_calib_block_loss(&err, block_of(&f), 4, 2, true, &validation));
    assert_true(train > 0 && validation > 0 && train != validation);
    char *body = NULL;
    assert_true(asprintf(&body,
                         "assert(block:loss() == %a and block:loss{samples = 'train'} == %a)"
                         " assert(block:loss{quantised = false} < 1e-9)"
                         " local r = block:optimise{channel_scales = 0.01, epochs = 2, batch = 2}"
                         " assert(r.ending == 'done' and r.diagnosis == '' and r.epochs == 2)"
                         " assert(r.first_loss == %a and r.best_loss <= r.first_loss)"
                         " assert(r.best_loss == block:loss() and r.seconds >= 0)"
                         " assert(math.type(r.best_epoch) == 'integer' and r.last_loss > 0)"
                         " block:round() print(block.linears.up_proj.is_rounded,"
                         " block:loss() < 2 * r.best_loss)",
                         validation, train, validation) > 0);
    prints(&f, body, "true true|");
    free(body);
    block_fixture_free(&f);
}

/* What C refuses is a Lua error, that a recipe may catch. */
static void test_failures_of_stages(void **state)
{
    (void)state;
    block_fixture f = new_fixture(1);
    prints(&f,
           "local l = block.linears.q_proj l:set_weight(l:weight() * 1e9)"
           " local ok, message = pcall(block.round, block)"
           " print(ok, message:find('F16') ~= nil, message:find('q_proj') ~= nil, l.is_rounded)",
           "false true true false|");
    block_fixture_free(&f);
}

/* ---- the shipped recipes ---- */

static void run_shipped(block_fixture *f, const char *name, const char *const *set, size_t n_set,
                        log_text *log)
{
    paro_error err;
    paro_plan *plan = plan_of(name, f->model, set, n_set);
    const paro_observer observer = {.context = log, .log = remember_log};
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        assert_ok(paro_train_linear_set_krot(&err, &f->block.linears[slot], plan->krot));
    *log = (log_text){.text = ""};
    f->block.observer = &observer;
    assert_ok(plan->block.run(&err, plan->block.context, block_of(f)));
    f->block.observer = NULL;
    paro_plan_free(plan);
}

/* AWQ in Lua finds what AWQ in C does. */
static void test_awq_lua(void **state)
{
    (void)state;
    static const char *const set[] = {"group_size=64", "grid=10"};
    paro_error err;
    log_text log;
    block_fixture c = new_fixture(2);
    block_fixture lua = new_fixture(2);
    block_fixture one = new_fixture(1);
    const paro_awq_options options = {.n_grid = 10, .no_clip = true};
    assert_ok(paro_awq(&err, block_of(&c), &options));
    run_shipped(&lua, "awq_lua", set, 2, &log);
    run_shipped(&one, "awq_lua", set, 2, &log);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++) {
        const paro_train_linear *l = &c.block.linears[slot];
        const paro_train_linear *m = &lua.block.linears[slot];
        bool all_one = true;
        for (size_t i = 0; i < l->n_in; i++) {
            double s = (double)l->weight_channel_scales[i];
            assert_true(fabs((double)m->weight_channel_scales[i] / s - 1) < 1e-4);
            all_one = all_one && s == 1;
        }
        assert_false(all_one); /* an exponent other than 0 was chosen */
    }
    assert_same_linears(&lua, &one); /* threads change nothing */
    double loss_c = 0;
    double loss_lua = 0;
    assert_ok(paro_calib_block_loss(&err, block_of(&c), 0, N_SAMPLES, true, &loss_c));
    assert_ok(paro_calib_block_loss(&err, block_of(&lua), 0, N_SAMPLES, true, &loss_lua));
    assert_true(loss_c > 0 && fabs(loss_lua / loss_c - 1) < 0.01);
    assert_non_null(strstr(log.text, "q_proj: exponent "));
    block_fixture_free(&c);
    block_fixture_free(&lua);
    block_fixture_free(&one);
}

/* Each leaves a block that is better than rounding to nearest. */
static void test_shipped(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *set[4];
        size_t n_set;
    } rows[] = {
        {"awq", {"group_size=64"}, 1},
        {"gptq", {"group_size=64", "damping=0.1"}, 2},
        {"paroquant", {"group_size=64", "epochs=2", "batch=2", "krot=2"}, 4},
        {"paroquant_butterfly", {"group_size=64", "epochs=2", "batch=2", "krot=2"}, 4},
        {"paroquant_fast", {"group_size=64", "epochs=2", "batch=2", "krot=2"}, 4},
    };
    paro_error err;
    double rtn = 0;
    block_fixture f = new_fixture(2);
    assert_ok(paro_calib_block_round(&err, block_of(&f)));
    assert_ok(paro_calib_block_loss(&err, block_of(&f), 0, N_SAMPLES, true, &rtn));
    block_fixture_free(&f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double loss = 0;
        log_text log;
        f = new_fixture(2);
        run_shipped(&f, rows[i].name, rows[i].set, rows[i].n_set, &log);
        assert_ok(paro_calib_block_round(&err, block_of(&f)));
        assert_ok(paro_calib_block_loss(&err, block_of(&f), 0, N_SAMPLES, true, &loss));
        if (!(loss < rtn))
            fail_msg("%s: loss %g, round to nearest %g", rows[i].name, loss, rtn);
        block_fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_observer),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_loss_and_report),
        cmocka_unit_test(test_failures_of_stages),
        cmocka_unit_test(test_awq_lua),
        cmocka_unit_test(test_shipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
