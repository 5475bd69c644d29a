/* SPDX-License-Identifier: MIT
 *
 * calib/calibration.c: what flows from block to block, and that work goes on where it ended.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/wait.h>

#include "base/rng.h"
#include "calib/calibration.h"
#include "tests/quantise.h"

enum { TRAIN = 3, VALIDATION = 2, TOKENS = 24, LAYERS = 4, SLOTS = PARO_SLOT_COUNT };

/* What a block function sees and does in these tests. */
typedef struct script {
    int n_calls;
    double plain[LAYERS]; /* the unquantised block's loss */
    int kill_at;          /* the call that ends the process; -1: none */
    int fail_at;
    bool scale; /* scales channels, differently for every block */
} script;

static paro_status run_block(paro_error *err, void *context, paro_calib_block *block)
{
    script *s = context;
    assert_int_equal(block->n_train, TRAIN);
    assert_int_equal(block->n_validation, VALIDATION);
    assert_int_equal(block->x->n_samples, TRAIN + VALIDATION);
    if (s->n_calls == s->kill_at)
        kill(getpid(), SIGKILL);
    if (s->n_calls == s->fail_at)
        return paro_fail(err, PARO_STATUS_RECIPE, "the recipe has had enough");
    s->n_calls++;
    for (int slot = 0; slot < SLOTS && s->scale; slot++) {
        paro_train_linear *l = &block->linears[slot];
        for (uint32_t i = 0; l->bits > 0 && i < l->n_in; i++)
            l->weight_channel_scales[i] = 1 + 0.03F * (float)((i + block->layer) % 7);
    }
    return paro_calib_block_loss(err, block, 0, TRAIN + VALIDATION, false, &s->plain[block->layer]);
}

static void make_data(paro_dataset *out)
{
    paro_rng rng;
    const size_t n = (size_t)(TRAIN + VALIDATION) * TOKENS;
    *out = (paro_dataset){.n_train = TRAIN, .n_validation = VALIDATION, .n_tokens = TOKENS};
    out->ids = malloc(n * sizeof *out->ids);
    assert_non_null(out->ids);
    paro_rng_seed(&rng, 7);
    for (size_t i = 0; i < n; i++)
        out->ids[i] = (int32_t)paro_rng_below(&rng, 2048);
    memset(out->sha256, 'a', sizeof out->sha256 - 1);
    out->sha256[sizeof out->sha256 - 1] = '\0';
}

static paro_plan *scripted_plan(const paro_model *model, script *s, const char *keep)
{
    char *option = NULL;
    assert_true(asprintf(&option, "keep=%s", keep) > 0);
    const char *const set[] = {option};
    paro_plan *plan = make_plan(model, set, keep[0] != '\0');
    plan->block = (paro_plan_block){.run = run_block, .context = s};
    plan->data = (paro_plan_data){TRAIN, VALIDATION, TOKENS, 0};
    free(option);
    return plan;
}

static paro_block_store *calibrate(const paro_model *model, const paro_plan *plan,
                                   const paro_dataset *data, const char *work)
{
    paro_error err;
    paro_block_store *store = NULL;
    const paro_calibration_options options = {.work_dir = work};
    assert_ok(paro_calibrate(&err, model, plan, data, &options, &store));
    assert_int_equal(paro_block_store_count(store), LAYERS);
    return store;
}

/* A block function that does nothing is round to nearest. */
static void test_nothing_done_is_rtn(void **state)
{
    (void)state;
    paro_error err;
    paro_dataset data;
    script s = {.kill_at = -1, .fail_at = -1};
    paro_model *model = open_model(demo);
    paro_plan *plan = scripted_plan(model, &s, "*.1.mlp.down_proj");
    make_data(&data);
    paro_block_store *store = calibrate(model, plan, &data, NULL);
    assert_int_equal(s.n_calls, LAYERS);

    /* Nothing is lost before the first block; each then stands on the ones before it. */
    assert_true(s.plain[0] < 1e-12);
    for (int layer = 1; layer < LAYERS; layer++)
        assert_true(s.plain[layer] > 1e-9);

    for (size_t n = 0; n < plan->n_linears; n++) {
        const paro_plan_linear *planned = &plan->linears[n].linear;
        paro_linear *linear = paro_model_linear(model, n);
        if (plan->linears[n].method->quantise == NULL)
            continue;
        float *w = malloc((size_t)planned->n_out * planned->n_in * sizeof *w);
        assert_non_null(w);
        assert_ok(paro_linear_weight(&err, linear, model->pool, w));
        paro_quantised q = {.n_out = planned->n_out,
                            .n_in = planned->n_in,
                            .bits = planned->bits,
                            .group_size = planned->group_size};
        assert_ok(paro_quantised_alloc(&err, &q));
        assert_ok(paro_rtn_quantise(&err, model->pool, w, &q));
        paro_train_linear found;
        assert_ok(paro_calibrated_get(&err, store, plan, n, &found));
        assert_memory_equal(found.codes.codes, q.codes, (size_t)q.n_out * q.n_in);
        assert_memory_equal(found.codes.scales, q.scales,
                            sizeof(float) * q.n_out * (q.n_in / q.group_size));
        paro_train_linear_release(&found);
        paro_quantised_release(&q);
        free(w);
    }
    paro_block_store_free(store);
    paro_dataset_release(&data);
    paro_plan_free(plan);
    paro_model_free(model);
}

static void assert_same_results(const paro_plan *plan, const paro_block_store *a,
                                const paro_block_store *b)
{
    paro_error err;
    for (size_t n = 0; n < plan->n_linears; n++) {
        paro_train_linear x, y;
        assert_ok(paro_calibrated_get(&err, a, plan, n, &x));
        assert_ok(paro_calibrated_get(&err, b, plan, n, &y));
        assert_memory_equal(x.codes.codes, y.codes.codes, (size_t)x.n_out * x.n_in);
        assert_memory_equal(x.weight_channel_scales, y.weight_channel_scales,
                            sizeof(float) * x.n_in);
        paro_train_linear_release(&x);
        paro_train_linear_release(&y);
    }
}

/* Killed in the third block, then failing in it, then to the end: as if nothing had happened. */
static void test_goes_on(void **state)
{
    (void)state;
    paro_error err;
    paro_dataset data;
    script whole = {.kill_at = -1, .fail_at = -1, .scale = true}, s = whole;
    char *dir = test_dir_new(), *work = test_path(dir, "work");
    paro_model *model = open_model(demo);
    paro_plan *plan = scripted_plan(model, &whole, "");
    make_data(&data);
    paro_block_store *expected = calibrate(model, plan, &data, NULL), *store = NULL;

    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* its own model: a pool's threads do not come along */
        s.kill_at = 2;
        paro_model *own = open_model(demo);
        paro_plan *its = scripted_plan(own, &s, "");
        calibrate(own, its, &data, work);
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);

    s = (script){.kill_at = -1, .fail_at = 0, .scale = true};
    plan->block.context = &s;
    const paro_calibration_options options = {.work_dir = work};
    assert_fails(paro_calibrate(&err, model, plan, &data, &options, &store), PARO_STATUS_RECIPE,
                 "the recipe has had enough");

    s = (script){.kill_at = -1, .fail_at = -1, .scale = true};
    store = calibrate(model, plan, &data, work);
    assert_int_equal(s.n_calls, 2);
    assert_true(s.plain[2] == whole.plain[2] && s.plain[3] == whole.plain[3]);
    assert_same_results(plan, expected, store);
    paro_block_store_free(store);

    /* Other data are another job. */
    data.sha256[0] = 'b';
    assert_fails(paro_calibrate(&err, model, plan, &data, &options, &store), PARO_STATUS_EXISTS,
                 "another job");
    paro_block_store_free(expected);
    paro_dataset_release(&data);
    paro_plan_free(plan);
    paro_model_free(model);
    free(work);
    test_dir_remove(dir);
}

static bool stop_at_once(void *context, const char *stage, uint64_t done, uint64_t total)
{
    (void)context;
    (void)total;
    return strcmp(stage, "calibrate") != 0 || done < 1;
}

static void test_refusals(void **state)
{
    (void)state;
    paro_error err;
    paro_dataset data;
    paro_block_store *store = NULL;
    script s = {.kill_at = -1, .fail_at = -1};
    paro_model *model = open_model(demo);
    paro_plan *plan = scripted_plan(model, &s, "");
    make_data(&data);
    const paro_observer observer = {.progress = stop_at_once};
    const paro_calibration_options stopped = {.observer = &observer};
    assert_fails(paro_calibrate(&err, model, plan, &data, &stopped, &store), PARO_STATUS_CANCELLED,
                 "calibrate");
    assert_int_equal(s.n_calls, 1);
    data.ids[5] = 2048;
    assert_fails(paro_calibrate(&err, model, plan, &data, NULL, &store),
                 PARO_STATUS_INVALID_ARGUMENT, "token 2048");
    plan->block.run = NULL;
    assert_fails(paro_calibrate(&err, model, plan, &data, NULL, &store),
                 PARO_STATUS_INVALID_ARGUMENT, "a block function");
    paro_dataset_release(&data);
    paro_plan_free(plan);
    paro_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_done_is_rtn),
                                       cmocka_unit_test(test_goes_on),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
