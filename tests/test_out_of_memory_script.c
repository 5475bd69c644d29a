/* SPDX-License-Identifier: MIT
 *
 * As test_out_of_memory.c: scripts. Lua collects garbage and asks again, so that some failures are
 * none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <paro/script.h>

#include "tests/failing_memory.h"
#include "tests/support.h"

static paro_script *script; /* made before anything fails; errors are not its end */

static paro_status make_script(paro_error *err, const char *dir)
{
    const char *const arguments[] = {"a", "b"};
    const paro_model_options model = {.n_threads = 1};
    const paro_script_options options = {
        .name = dir, .arguments = arguments, .n_arguments = 2, .model = &model};
    paro_script *made = NULL;
    paro_status status = paro_script_new(err, &options, &made);
    if (status != PARO_STATUS_OK)
        assert_null(made);
    paro_script_free(made);
    return status;
}

static paro_status run(paro_error *err, const char *text)
{
    return paro_script_run_text(err, script, "test", text, strlen(text));
}

static paro_status open_model(paro_error *err, const char *dir)
{
    (void)dir;
    return run(err, "local m <close> = paro.open('models/demo', {device = 'cpu', threads = 1}) "
                    "m:weight('model.norm.weight')");
}

/* `m` was opened before, and has its tokenizer. */
static paro_status use_model(paro_error *err, const char *dir)
{
    (void)dir;
    return run(err,
               "paro.plan(m, 'rtn', {set = {bits = 3}}) "
               "paro.plan(m, function(model, o) return {bits = o.bits} end, {set = {bits = 2}}) "
               "m:tokens('Once upon a time') "
               "m:generate('Once', {tokens = 1, stop = {'x'}})");
}

static void test_every_allocation(void **state)
{
    (void)state;
    paro_error err;
    const paro_model_options model = {.n_threads = 1};
    const paro_script_options options = {.model = &model};
    assert_ok(paro_script_new(&err, &options, &script));
    assert_ok(
        run(&err, "m = paro.open('models/demo') m:tokens('a') m:generate('a', {tokens = 1})"));
    try_all("a script", make_script, true, "name");
    try_all("a model of a script", open_model, true, NULL);
    try_all("what a script does with a model", use_model, true, NULL);
    paro_script_free(script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
