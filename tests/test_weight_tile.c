/* SPDX-License-Identifier: MIT
 *
 * Tiles of a weight: every instruction set that this machine has, operation by operation, against
 * what each says it does. (fake_quant's and train_linear's tests judge what is made of them.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reference.h"
#include "calib/weight_tile.h"
#include "tests/train_fixture.h"

enum { MAX_COLUMNS = 64, TILE = MAX_COLUMNS * PARO_TILE_ROWS };

static const char *const names[] = {"avx512", "avx2", "generic"};

static void fill(float *values, size_t n, uint64_t seed)
{
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++)
        values[i] = paro_rng_normal(&rng);
}

static void check_load_store(const paro_tile_kernels *kernels, size_t n_columns, size_t n_rows)
{
    enum { STRIDE = MAX_COLUMNS + 3 };
    _Alignas(64) float tile[TILE];
    float rows[PARO_TILE_ROWS * STRIDE], back[PARO_TILE_ROWS * STRIDE], scales[MAX_COLUMNS];
    fill(rows, sizeof rows / sizeof *rows, 1);
    fill(back, sizeof back / sizeof *back, 2);
    fill(scales, MAX_COLUMNS, 3);
    fill(tile, TILE, 4);
    float untouched = back[n_columns];
    kernels->load(rows, STRIDE, n_rows, n_columns, scales, tile);
    for (size_t c = 0; c < n_columns; c++)
        for (size_t l = 0; l < PARO_TILE_ROWS; l++)
            assert_true(tile[c * PARO_TILE_ROWS + l] ==
                        (l < n_rows ? rows[l * STRIDE + c] * scales[c] : 0));
    kernels->store(tile, n_columns, scales, back, STRIDE, n_rows);
    for (size_t l = 0; l < n_rows; l++)
        for (size_t c = 0; c < n_columns; c++)
            assert_true(back[l * STRIDE + c] == rows[l * STRIDE + c] * scales[c] * scales[c]);
    assert_true(back[n_columns] == untouched);
}

static void test_load_store(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const paro_tile_kernels *kernels = paro_tile_kernels_find(names[i]);
        if (kernels == NULL)
            continue;
        for (size_t n_rows = 1; n_rows <= PARO_TILE_ROWS; n_rows++)
            for (size_t n_columns = 1; n_columns <= MAX_COLUMNS; n_columns += 9)
                check_load_store(kernels, n_columns, n_rows);
        check_load_store(kernels, MAX_COLUMNS, PARO_TILE_ROWS);
    }
}

static void test_turns(void **state)
{
    (void)state;
    paro_error err;
    paro_train_linear linear = random_linear(PARO_TILE_ROWS, 2 * MAX_COLUMNS, 4, MAX_COLUMNS, 5, 9);
    double theta[5 * MAX_COLUMNS];
    for (size_t i = 0; i < 5 * (size_t)MAX_COLUMNS; i++)
        theta[i] = (double)linear.theta[i];
    const paro_rotation rotation = {.n = linear.n_in,
                                    .group_size = linear.group_size,
                                    .krot = linear.krot,
                                    .pairs = linear.pairs,
                                    .theta = theta};
    double expected[PARO_TILE_ROWS * 2 * MAX_COLUMNS];
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        expected[i] = (double)linear.w[i];
    paro_ref_rotate_f64(&rotation, expected, PARO_TILE_ROWS);
    float ones[MAX_COLUMNS];
    for (size_t c = 0; c < MAX_COLUMNS; c++)
        ones[c] = 1;
    paro_tile_turns turns;
    assert_ok(paro_tile_turns_new(&err, NULL, &linear, &turns));
    assert_int_equal(turns.n[0], 5 * (MAX_COLUMNS / 2 - 1)); /* one empty slot a round */
    for (size_t i = 0; i < 6; i++) {
        const paro_tile_kernels *kernels = paro_tile_kernels_find(names[i / 2]);
        size_t group = i % 2, first = group * MAX_COLUMNS;
        if (kernels == NULL)
            continue;
        _Alignas(64) float tile[TILE];
        const paro_tile_turn *of_group = turns.turns + group * turns.capacity;
        kernels->load(linear.w + first, linear.n_in, PARO_TILE_ROWS, MAX_COLUMNS, ones, tile);
        kernels->rotate(of_group, turns.n[group], tile);
        for (size_t at = 0; at < TILE; at++) {
            size_t row = at % PARO_TILE_ROWS, column = first + at / PARO_TILE_ROWS;
            assert_true(fabs((double)tile[at] - expected[row * linear.n_in + column]) < 1e-6);
        }
        kernels->unrotate(of_group, turns.n[group], tile);
        for (size_t at = 0; at < TILE; at++) {
            size_t row = at % PARO_TILE_ROWS, column = first + at / PARO_TILE_ROWS;
            assert_true(fabsf(tile[at] - linear.w[row * linear.n_in + column]) < 1e-6F);
        }
    }
    paro_tile_turns_release(&turns);
    paro_tile_turns_release(&turns);
    paro_tile_turns_release(NULL);
    paro_train_linear_release(&linear);
}

/* The first of equals; the 0 where a row is of one sign; NaN is no extreme. */
static void test_range(void **state)
{
    (void)state;
    _Alignas(64) float u[TILE];
    fill(u, TILE, 5);
    for (size_t c = 0; c < MAX_COLUMNS; c++) {
        u[c * PARO_TILE_ROWS] = fabsf(u[c * PARO_TILE_ROWS]);
        u[c * PARO_TILE_ROWS + 1] = -fabsf(u[c * PARO_TILE_ROWS + 1]);
        u[c * PARO_TILE_ROWS + 2] = c % 9 == 4 ? 7 : c % 9 == 5 ? -8 : 0;
    }
    for (size_t i = 0; i < 3; i++) {
        const paro_tile_kernels *kernels = paro_tile_kernels_find(names[i]);
        if (kernels == NULL)
            continue;
        paro_tile_range range;
        kernels->range(u, MAX_COLUMNS, &range);
        assert_true(range.low[0] == 0 && range.low_at[0] == -1 && range.high_at[0] >= 0);
        assert_true(range.high[1] == 0 && range.high_at[1] == -1 && range.low_at[1] >= 0);
        assert_true(range.low[2] == -8 && range.low_at[2] == 5);
        assert_true(range.high[2] == 7 && range.high_at[2] == 4);
        for (size_t at = 0; at < TILE; at++) {
            size_t l = at % PARO_TILE_ROWS;
            assert_true(u[at] >= range.low[l] && u[at] <= range.high[l]);
        }
        for (size_t l = 3; l < PARO_TILE_ROWS; l++) {
            assert_true(u[(size_t)range.low_at[l] * PARO_TILE_ROWS + l] == range.low[l]);
            assert_true(u[(size_t)range.high_at[l] * PARO_TILE_ROWS + l] == range.high[l]);
        }
    }
}

static void test_quantise(void **state)
{
    (void)state;
    _Alignas(64) float u[TILE], q[TILE], dq[TILE], du[TILE];
    fill(u, TILE, 6);
    fill(dq, TILE, 7);
    u[0] = 1e9F; /* far outside */
    u[PARO_TILE_ROWS] = -1e9F;
    paro_tile_quantiser quantiser = {.top = 7};
    for (size_t l = 0; l < PARO_TILE_ROWS; l++) {
        quantiser.step[l] = 0.25F + 0.01F * (float)l;
        quantiser.zero[l] = (float)(l % 8);
    }
    for (size_t i = 0; i < 6; i++) {
        const paro_tile_kernels *kernels = paro_tile_kernels_find(names[i / 2]);
        if (kernels == NULL)
            continue;
        quantiser.clamp_passes = i % 2 == 1;
        paro_tile_quantiser_gradient gradient;
        double step[PARO_TILE_ROWS] = {0}, zero[PARO_TILE_ROWS] = {0};
        kernels->quantise(&quantiser, u, MAX_COLUMNS, q);
        kernels->quantise_back(&quantiser, u, dq, MAX_COLUMNS, du, &gradient);
        for (size_t at = 0; at < TILE; at++) {
            size_t l = at % PARO_TILE_ROWS;
            float d = quantiser.step[l], z = quantiser.zero[l];
            float code = rintf(u[at] / d) + z, bound = fminf(fmaxf(code, 0), 7);
            bool inside = code == bound || quantiser.clamp_passes;
            assert_true(q[at] == (bound - z) * d);
            assert_true(du[at] == (inside ? dq[at] : 0));
            step[l] += (double)(dq[at] * (bound - z - (inside ? u[at] / d : 0)));
            zero[l] -= inside ? 0 : (double)(dq[at] * d);
        }
        for (size_t l = 0; l < PARO_TILE_ROWS; l++) {
            assert_true(fabs((double)gradient.step[l] - step[l]) < 1e-5 * (1 + fabs(step[l])));
            assert_true(fabs((double)gradient.zero[l] - zero[l]) < 1e-5);
        }
    }
}

/* What it does to each of the four is R^-1, and its sums are those of the formula. */
static void test_unwind(void **state)
{
    (void)state;
    paro_error err;
    paro_train_linear linear = random_linear(PARO_TILE_ROWS, MAX_COLUMNS, 4, MAX_COLUMNS, 2, 11);
    paro_tile_turns turns;
    assert_ok(paro_tile_turns_new(&err, NULL, &linear, &turns));
    for (size_t i = 0; i < 3; i++) {
        const paro_tile_kernels *kernels = paro_tile_kernels_find(names[i]);
        if (kernels == NULL)
            continue;
        _Alignas(64) float tiles[4][TILE], expected[4][TILE], sums[2 * TILE] = {0};
        for (size_t k = 0; k < 4; k++) {
            fill(tiles[k], TILE, 20 + k);
            memcpy(expected[k], tiles[k], sizeof tiles[k]);
        }
        const paro_tile_set set = {tiles[0], tiles[1], tiles[2], tiles[3]};
        kernels->unwind(turns.turns, turns.n[0], &set, sums);
        for (size_t n = turns.n[0]; n-- > 0;) {
            const paro_tile_turn *t = &turns.turns[n];
            for (size_t l = 0; l < PARO_TILE_ROWS; l++) {
                size_t a = (size_t)t->i * PARO_TILE_ROWS + l, b = (size_t)t->j * PARO_TILE_ROWS + l;
                float sum = expected[1][a] * expected[0][b] - expected[1][b] * expected[0][a] -
                            expected[3][a] * expected[2][b] + expected[3][b] * expected[2][a];
                assert_true(fabsf(sums[n * PARO_TILE_ROWS + l] - sum) < 1e-4F);
            }
            for (size_t k = 0; k < 4; k++)
                kernels->unrotate(t, 1, expected[k]);
        }
        for (size_t k = 0; k < 4; k++)
            for (size_t at = 0; at < TILE; at++)
                assert_true(fabsf(tiles[k][at] - expected[k][at]) < 1e-5F);
        float products[TILE] = {0};
        kernels->add_products(&set, MAX_COLUMNS, products);
        for (size_t at = 0; at < TILE; at++)
            assert_true(fabsf(products[at] -
                              (tiles[1][at] * tiles[0][at] - tiles[3][at] * tiles[2][at])) < 1e-4F);
    }
    paro_tile_turns_release(&turns);
    paro_train_linear_release(&linear);
}

static void test_tables(void **state)
{
    (void)state;
    assert_non_null(paro_tile_kernels_best());
    assert_non_null(paro_tile_kernels_find("generic"));
    assert_null(paro_tile_kernels_find("abacus"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_store), cmocka_unit_test(test_turns),
        cmocka_unit_test(test_range),      cmocka_unit_test(test_quantise),
        cmocka_unit_test(test_unwind),     cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
