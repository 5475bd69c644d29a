/* SPDX-License-Identifier: MIT
 *
 * calib/method.c: the table of methods, and the error of a quantised matrix.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/reference.h"
#include "base/rng.h"
#include "calib/method.h"
#include "tests/support.h"

static void test_table(void **state)
{
    (void)state;
    size_t n = 0;
    for (; paro_method_get(n) != NULL; n++)
        assert_ptr_equal(paro_method_find(paro_method_get(n)->name), paro_method_get(n));
    assert_int_equal(n, 2);
    assert_null(paro_method_find("keep")->quantise);
    assert_non_null(paro_method_find("rtn")->quantise);
    assert_null(paro_method_find("RTN"));
    assert_null(paro_method_find(""));
}

/* Against plain arithmetic in double, for shapes that leave rests in every loop. */
static void test_error(void **state)
{
    (void)state;
    static const uint32_t shapes[][3] = {{1, 2, 2}, {3, 96, 32}, {17, 64, 16}};
    paro_error err;
    paro_rng rng;
    paro_rng_seed(&rng, 3);
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        paro_quantised q = {
            .n_out = shapes[k][0], .n_in = shapes[k][1], .bits = 3, .group_size = shapes[k][2]};
        const size_t n = (size_t)q.n_out * q.n_in;
        float *w = malloc(n * sizeof *w), *back = malloc(n * sizeof *back);
        double *sums = malloc(2 * q.n_out * sizeof *sums);
        assert_true(w != NULL && back != NULL && sums != NULL);
        for (size_t i = 0; i < n; i++)
            w[i] = paro_rng_normal(&rng);
        assert_ok(paro_quantised_alloc(&err, &q));
        assert_ok(paro_rtn_quantise(&err, NULL, w, &q));
        paro_ref_dequantise_f32(q.codes, q.scales, q.zeros, q.n_out, q.n_in, q.group_size, back);
        double difference = 0, sum = 0;
        for (size_t i = 0; i < n; i++) {
            difference += pow((double)back[i] - (double)w[i], 2);
            sum += pow((double)w[i], 2);
        }
        const double found = paro_quantised_error(&q, NULL, w, sums);
        assert_true(fabs(found - sqrt(difference / sum)) < 1e-6);
        assert_true(found > 0);

        for (size_t i = 0; i < n; i++)
            w[i] = 0;
        assert_ok(paro_rtn_quantise(&err, NULL, w, &q));
        assert_true(paro_quantised_error(&q, NULL, w, sums) == 0);
        paro_quantised_release(&q);
        assert_null(q.codes);
        paro_quantised_release(&q);
        free(w), free(back), free(sums);
    }
    paro_quantised_release(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
