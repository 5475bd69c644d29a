/* SPDX-License-Identifier: MIT
 *
 * What comes into a block's linears: the same rows whatever the batch, and by codes where a linear
 * is rounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "calib/linear_inputs.h"
#include "tests/block_fixture.h"

enum { N_SAMPLES = 5, N_TOKENS = 8, ROWS = N_SAMPLES * N_TOKENS, MAX_IN = 768 };

typedef struct copy {
    size_t n_in[PARO_SLOT_COUNT];
    size_t n_rows, n_calls, stop_at;
    float rows[PARO_SLOT_COUNT][ROWS * MAX_IN];
} copy;

static paro_status keep_rows(paro_error *err, void *context, const paro_linear_inputs *inputs)
{
    copy *to = context;
    if (++to->n_calls == to->stop_at)
        return paro_fail(err, PARO_STATUS_LIMIT, "stopped at %zu", to->n_calls);
    assert_int_equal(inputs->first_row, to->n_rows);
    to->n_rows += inputs->n_rows;
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        memcpy(to->rows[slot] + inputs->first_row * to->n_in[slot], inputs->rows[slot],
               inputs->n_rows * to->n_in[slot] * sizeof(float));
    return PARO_STATUS_OK;
}

static copy *copy_new(const paro_calib_block *block)
{
    copy *c = calloc(1, sizeof *c);
    assert_non_null(c);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        c->n_in[slot] = block->linears[slot].n_in;
    return c;
}

static void test_batches(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = block_fixture_new(N_SAMPLES, N_TOKENS, 4, 64, 2);
    paro_calib_block *block = block_of(&f);
    copy *three = copy_new(block), *all = copy_new(block);
    assert_ok(paro_linear_inputs_each(&err, block, N_SAMPLES, keep_rows, three));
    block->batch = 0; /* all */
    assert_ok(paro_linear_inputs_each(&err, block, SIZE_MAX, keep_rows, all));
    assert_int_equal(three->n_calls, 2);
    assert_int_equal(all->n_calls, 1);
    assert_int_equal(three->n_rows, ROWS);
    assert_int_equal(all->n_rows, ROWS);
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        for (size_t i = 0; i < ROWS * all->n_in[slot]; i++)
            assert_true(fabsf(all->rows[slot][i] - three->rows[slot][i]) < 1e-4F);
    assert_memory_equal(all->rows[PARO_SLOT_Q], all->rows[PARO_SLOT_V], sizeof all->rows[0]);
    assert_memory_equal(all->rows[PARO_SLOT_GATE], all->rows[PARO_SLOT_UP], sizeof all->rows[0]);

    copy *some = copy_new(block);
    assert_ok(paro_linear_inputs_each(&err, block, 2, keep_rows, some));
    assert_int_equal(some->n_rows, 2 * N_TOKENS);
    free(three);
    free(all);
    free(some);
    block_fixture_free(&f);
}

/* Rounding v changes what o sees, and nothing before. */
static void test_rounded(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = block_fixture_new(N_SAMPLES, N_TOKENS, 2, 64, 2);
    paro_calib_block *block = block_of(&f);
    copy *before = copy_new(block), *after = copy_new(block);
    assert_ok(paro_linear_inputs_each(&err, block, N_SAMPLES, keep_rows, before));
    assert_ok(paro_train_linear_round(&err, f.pool, &block->linears[PARO_SLOT_V]));
    assert_ok(paro_linear_inputs_each(&err, block, N_SAMPLES, keep_rows, after));
    assert_memory_equal(before->rows[PARO_SLOT_Q], after->rows[PARO_SLOT_Q],
                        sizeof before->rows[0]);
    assert_memory_not_equal(before->rows[PARO_SLOT_O], after->rows[PARO_SLOT_O],
                            ROWS * before->n_in[PARO_SLOT_O] * sizeof(float));
    free(before);
    free(after);
    block_fixture_free(&f);
}

static void test_ends(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = block_fixture_new(N_SAMPLES, N_TOKENS, 4, 64, 1);
    paro_calib_block *block = block_of(&f);
    copy *c = copy_new(block);
    c->stop_at = 2;
    assert_fails(paro_linear_inputs_each(&err, block, N_SAMPLES, keep_rows, c), PARO_STATUS_LIMIT,
                 "stopped at 2");
    assert_int_equal(c->n_calls, 2);
    assert_fails(paro_linear_inputs_each(&err, block, 0, keep_rows, c),
                 PARO_STATUS_INVALID_ARGUMENT,
                 "block 0: expected training samples to see its linears' inputs, found none");
    free(c);
    block_fixture_free(&f);
}

static bool say_no(void *context, const char *stage, uint64_t done, uint64_t total)
{
    assert_string_equal(stage, "block 0: inputs");
    assert_int_equal(total, N_SAMPLES);
    *(uint64_t *)context = done;
    return done < 3;
}

static void test_cancelled(void **state)
{
    (void)state;
    paro_error err;
    block_fixture f = block_fixture_new(N_SAMPLES, N_TOKENS, 4, 64, 1);
    paro_calib_block *block = block_of(&f);
    uint64_t done = 0;
    const paro_observer observer = {.context = &done, .progress = say_no};
    block->observer = &observer;
    copy *c = copy_new(block);
    assert_fails(paro_linear_inputs_each(&err, block, N_SAMPLES, keep_rows, c),
                 PARO_STATUS_CANCELLED, "block 0: inputs");
    assert_int_equal(c->n_calls, 1);
    assert_int_equal(done, 3);
    free(c);
    block_fixture_free(&f);
}

static void test_shared_inputs(void **state)
{
    (void)state;
    static const paro_slot first[PARO_SLOT_COUNT] = {PARO_SLOT_Q,   PARO_SLOT_Q,    PARO_SLOT_Q,
                                                     PARO_SLOT_O,   PARO_SLOT_GATE, PARO_SLOT_GATE,
                                                     PARO_SLOT_DOWN};
    for (int slot = 0; slot < PARO_SLOT_COUNT; slot++)
        assert_int_equal(paro_slot_first((paro_slot)slot), first[slot]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches),       cmocka_unit_test(test_rounded),
        cmocka_unit_test(test_ends),          cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_shared_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
