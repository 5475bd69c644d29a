/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "calib/fake_quant.h"
#include "families/fake_quant_grad.h"
#include "tests/support.h"

#include "tests/family_fixture.h"

#include "tests/fake_quant_fixture.h"

enum {
    D_W_HAT = PARO_FAKE_QUANT_GRAD_ARG_D_W_HAT,
    D_W = PARO_FAKE_QUANT_GRAD_ARG_D_W,
    D_STEP = PARO_FAKE_QUANT_GRAD_ARG_D_STEP,
    D_ZERO = PARO_FAKE_QUANT_GRAD_ARG_D_ZERO,
    D_THETA = PARO_FAKE_QUANT_GRAD_ARG_D_THETA,
    D_CHANNEL_SCALES = PARO_FAKE_QUANT_GRAD_ARG_D_CHANNEL_SCALES
};

/* The reference is what calibration on the CPU computes. */
static void check_reference(const char *text)
{
    static const size_t outputs[] = {D_W, D_STEP, D_ZERO, D_THETA, D_CHANNEL_SCALES};
    paro_error err;
    paro_case c;
    paro_train_linear linear;
    const paro_problem problem = test_problem(text);
    const paro_kernel_config config = test_config(&problem, "");
    double *expected[PARO_MAX_ARGS] = {NULL};
    float *found[PARO_MAX_ARGS] = {NULL};
    assert_ok(paro_case_new(&err, &problem, &config, 5, NULL, &c));
    assert_ok(paro_case_expect(&err, &c, NULL, expected));
    test_train_linear(&problem, c.data, &linear);
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++)
        if (c.info[outputs[i]].n > 0)
            found[outputs[i]] = calloc((size_t)c.info[outputs[i]].n, sizeof(float));
    const paro_fake_quant_gradients gradients = {.w = found[D_W],
                                                 .theta = found[D_THETA],
                                                 .weight_channel_scales = found[D_CHANNEL_SCALES],
                                                 .step = found[D_STEP],
                                                 .zero = found[D_ZERO]};
    const paro_fake_quant_options options = {.reference_zero =
                                                 paro_problem_get(&problem, "reference_zero") != 0};
    assert_ok(paro_fake_quant_backward(&err, &linear, NULL, c.data[D_W_HAT], &options, &gradients));
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        const size_t arg = outputs[i];
        if (found[arg] == NULL)
            continue;
        double square = 0;
        for (size_t at = 0; at < c.info[arg].n; at++)
            square += expected[arg][at] * expected[arg][at];
        /* With reference_zero, zero has none. */
        const double error =
            square == 0 && found[arg][0] == 0
                ? 0
                : test_relative_error(found[arg], expected[arg], (size_t)c.info[arg].n);
        if (!(error < 1e-4))
            fail_msg("%s: %s: %g", text, problem.family->args[arg].name, error);
        free(found[arg]);
    }
    paro_train_linear_release(&linear);
    paro_case_expect_release(expected);
    paro_case_release(&c);
}

static void test_reference(void **state)
{
    (void)state;
    check_reference("fake_quant_grad:n=90,k=256,group=128,krot=8,learned=0,dtype=f32,angles=1,"
                    "scales=1,weight=1");
    check_reference("fake_quant_grad:n=90,k=128,group=64,krot=3,bits=3,learned=1,dtype=f32,"
                    "angles=1,scales=1,weight=1,quantizer=1");
    check_reference("fake_quant_grad:n=90,k=128,group=64,krot=3,bits=5,learned=1,dtype=f32,"
                    "angles=1,scales=1,weight=1,quantizer=1,reference_zero=1");
}

static void test_problems(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"n=8,k=100,group=64,krot=1,learned=0,dtype=f16,weight=1", "found group=64, k=100"},
        {"n=8,k=64,group=64,krot=1,learned=0,dtype=f16", "quantizer=1, found none"},
        {"n=8,k=64,group=64,krot=1,learned=0,dtype=f16,quantizer=1", "found learned=0"},
        {"n=8,k=64,group=64,krot=0,learned=0,dtype=f16,angles=1", "found krot=0"},
    };
    paro_error err;
    paro_problem problem;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[PARO_PROBLEM_TEXT_BYTES];
        snprintf(text, sizeof text, "fake_quant_grad:%s", rows[i].text);
        assert_fails(paro_problem_parse(&err, text, &problem), PARO_STATUS_INVALID_ARGUMENT,
                     rows[i].words);
    }
    test_default_everywhere("fake_quant_grad:n=4096,k=14336,group=128,krot=8,learned=0,dtype=f16,"
                            "angles=1,scales=1");
    test_default_everywhere("fake_quant_grad:n=1048576,k=32,group=32,krot=0,learned=1,dtype=f32,"
                            "quantizer=1");
    test_default_everywhere("fake_quant_grad:n=1,k=256,group=256,krot=16,learned=1,dtype=bf16,"
                            "angles=1,scales=1,weight=1,quantizer=1");
}

/* Everything that can be asked for; strips whose last rows are missing; every way a tile is used.
 */
static void test_kernels(void **state)
{
    (void)state;
    paro_gpu *gpu = test_emulator("test_fake_quant_grad_family");
    test_emulated(gpu,
                  "fake_quant_grad:n=70,k=256,group=128,krot=8,learned=0,dtype=f32,angles=1,"
                  "scales=1",
                  "rows=4,warps=2,strip=32", 0, 2);
    test_emulated(gpu,
                  "fake_quant_grad:n=33,k=256,group=256,krot=16,bits=3,learned=1,dtype=f32,"
                  "angles=1,scales=1,weight=1,quantizer=1",
                  "rows=2,warps=4,strip=64", 0, 2);
    test_emulated(gpu,
                  "fake_quant_grad:n=37,k=96,group=32,krot=3,bits=5,learned=1,dtype=f32,weight=1,"
                  "quantizer=1,reference_zero=1",
                  "rows=8,warps=1,strip=32", 0, 2);
    test_emulated(gpu,
                  "fake_quant_grad:n=5,k=128,group=64,krot=0,bits=2,learned=0,dtype=bf16,scales=1",
                  "rows=1,warps=8,strip=32", 0, 1);
    test_emulated(gpu, "fake_quant_grad:n=40,k=64,group=64,krot=4,learned=1,dtype=f16,quantizer=1",
                  "", 0, 1);
    paro_gpu_free(gpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
