/* SPDX-License-Identifier: MIT
 *
 * tuner/trial.c, timer.c, compile.c and cupti.c on the emulator: right kernels pass, wrong ones and
 * ones that write where they should not fail; data that serve other configs; sets of arguments;
 * variants compiled on threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support.h"

#include "tests/family_fixture.h"
#include "tuner/compile.h"
#include "tuner/timer.h"
#include "tuner/trial.h"

static const char *const swiglu_text = "swiglu:n=64,m=4,dtype=f32";

static void render(const paro_problem *problem, const paro_kernel_config *config,
                   paro_buffer *source)
{
    paro_error err;
    const paro_variant variant = {problem, config, paro_arch_find("sm_90")};
    assert_ok(paro_render(&err, &variant, source));
}

static paro_gpu_image image_of(const paro_buffer *source)
{
    return (paro_gpu_image){source->data, source->n_bytes, false};
}

/* `with` in place of the first `what`; both as long. */
static void replace(paro_buffer *source, const char *what, const char *with)
{
    char *at = strstr(source->data, what);
    assert_non_null(at);
    assert_int_equal(strlen(what), strlen(with));
    memcpy(at, with, strlen(with));
}

static void test_right_and_wrong(void **state)
{
    (void)state;
    paro_error err;
    paro_gpu *gpu = test_emulator("test_trial");
    paro_problem problem = test_problem(swiglu_text);
    paro_kernel_config config = test_config(&problem, "");
    paro_buffer source = {0};
    double error = -1;
    render(&problem, &config, &source);
    paro_gpu_image image = image_of(&source);
    for (uint32_t m = 1; m <= 4; m++) {
        assert_ok(paro_trial_run_once(&err, gpu, &problem, m, &config, &image, m, NULL, &error));
        assert_true(error >= 0 && error < 1e-5);
    }
    /* Two names changed places. */
    char *at = strstr(source.data, "1.0f +");
    if (at == NULL)
        at = strstr(source.data, "1.0f+");
    assert_non_null(at);
    at[0] = '2';
    assert_fails(paro_trial_run_once(&err, gpu, &problem, 4, &config, &image, 1, NULL, &error),
                 PARO_STATUS_FORMAT, "swiglu: y: expected");
    at[0] = '1';
    replace(&source, "void", "vo1d");
    memset(&err, 0, sizeof err);
    assert_int_not_equal(
        paro_trial_run_once(&err, gpu, &problem, 4, &config, &image, 1, NULL, &error),
        PARO_STATUS_OK);
    assert_true(strlen(err.message) > 0);
    paro_buffer_free(&source);
    paro_gpu_free(gpu);
}

static void test_data_serve_other_configs(void **state)
{
    (void)state;
    paro_error err;
    paro_gpu *gpu = test_emulator("test_trial");
    paro_problem problem = test_problem("rotate:h=128,m=4,group=32,krot=2,dtype=f32");
    paro_kernel_config one = test_config(&problem, "tokens=1,warps=1");
    paro_kernel_config two = test_config(&problem, "tokens=2,warps=2");
    paro_trial *trial = NULL;
    paro_buffer source = {0}, other = {0};
    double error = 0;
    render(&problem, &one, &source);
    render(&problem, &two, &other);
    paro_gpu_image images[] = {image_of(&source), image_of(&other)};
    assert_ok(paro_trial_new(&err, gpu, &problem, 0, &one, 5, NULL, &trial));
    assert_true(paro_trial_fits(trial, &two));
    assert_ok(paro_trial_load(&err, trial, &images[0]));
    assert_ok(paro_trial_check(&err, trial, &error));
    assert_ok(paro_trial_set_config(&err, trial, &two));
    assert_ok(paro_trial_load(&err, trial, &images[1]));
    assert_ok(paro_trial_check(&err, trial, &error));
    assert_ok(paro_trial_check(&err, trial, &error)); /* again: inputs are as they were */

    /* Sets: as many as fill the bytes, at most so many. */
    uint64_t one_set = paro_trial_set_bytes(trial);
    assert_int_equal(paro_trial_n_sets(trial), 1);
    assert_ok(paro_trial_make_sets(&err, trial, 3 * one_set - 1, 16));
    assert_int_equal(paro_trial_n_sets(trial), 3);
    assert_ok(paro_trial_make_sets(&err, trial, 100 * one_set, 5));
    assert_int_equal(paro_trial_n_sets(trial), 5);
    paro_gpu_stream *stream = NULL;
    assert_ok(paro_gpu_stream_new(&err, gpu, &stream));
    for (size_t i = 0; i < 11; i++)
        assert_ok(paro_trial_launch(&err, trial, stream, i));
    assert_ok(paro_gpu_stream_wait(&err, stream));
    assert_ok(paro_trial_check(&err, trial, &error));
    paro_gpu_stream_free(stream);

    /* And timed by the host's clock. */
    paro_timer *timer = NULL;
    paro_measurement m = {0};
    assert_ok(paro_timer_new(&err, gpu, NULL, &timer));
    assert_string_equal(paro_timer_clock(timer), "host");
    assert_ok(paro_timer_run(&err, timer, trial, 7, &m));
    assert_int_equal(m.state, PARO_CANDIDATE_TIMED);
    assert_int_equal(m.n_samples, 7);
    assert_true(m.min_us > 0 && m.median_us >= m.min_us && m.spread_us >= 0);
    assert_string_equal(m.clock, "host");
    paro_timer_free(timer);
    paro_trial_free(trial);
    paro_buffer_free(&source);
    paro_buffer_free(&other);
    paro_gpu_free(gpu);
}

static void test_code_for_another_plan(void **state)
{
    (void)state;
    paro_error err;
    paro_gpu *gpu = test_emulator("test_trial");
    paro_problem problem = test_problem(swiglu_text);
    paro_problem other = test_problem("rotate:h=128,m=4,group=32,krot=2,dtype=f32");
    paro_kernel_config config = test_config(&problem, ""), theirs = test_config(&other, "");
    paro_buffer source = {0};
    double error;
    render(&other, &theirs, &source);
    paro_gpu_image image = image_of(&source);
    memset(&err, 0, sizeof err);
    assert_int_not_equal(
        paro_trial_run_once(&err, gpu, &problem, 4, &config, &image, 1, NULL, &error),
        PARO_STATUS_OK);
    assert_non_null(strstr(err.message, "swiglu"));
    paro_buffer_free(&source);
    paro_gpu_free(gpu);
}

static void test_compiling_on_threads(void **state)
{
    (void)state;
    paro_error err;
    paro_compiler *compiler = NULL;
    enum { N = 40 };
    paro_compile_job *jobs[N];
    paro_problem problem = test_problem(swiglu_text);
    paro_kernel_config config = test_config(&problem, "");
    paro_buffer expected = {0};
    render(&problem, &config, &expected);
    assert_ok(paro_compiler_new(&err, NULL, 3, &compiler));
    for (size_t i = 0; i < N; i++)
        assert_ok(paro_compiler_submit(&err, compiler, &problem, &config, paro_arch_find("sm_90"),
                                       false, &jobs[i]));
    paro_compiler_release(compiler, jobs[N - 1]); /* waiting, running or done: taken back */
    paro_compiler_release(compiler, jobs[N / 2]);
    for (size_t i = 0; i < N - 1; i++) {
        if (i == N / 2)
            continue;
        paro_compiler_wait(compiler, jobs[i]);
        assert_int_equal(jobs[i]->status, PARO_STATUS_OK);
        assert_string_equal(jobs[i]->source.data, expected.data);
        assert_false(jobs[i]->has_binary);
        paro_gpu_image image = paro_compile_job_image(jobs[i]);
        assert_ptr_equal(image.data, jobs[i]->source.data);
        paro_compiler_release(compiler, jobs[i]);
    }
    paro_compiler_release(compiler, NULL);
    paro_compiler_free(compiler);
    paro_compiler_free(NULL);
    paro_buffer_free(&expected);
}

/* There may be a CUPTI; without a driver it records nothing, and says so or not at all. */
static void test_cupti_may_be_absent(void **state)
{
    (void)state;
    paro_error err = {0};
    paro_cupti *cupti = NULL, *second = NULL;
    paro_status status = paro_cupti_new(&err, &cupti);
    if (status == PARO_STATUS_OK) {
        assert_fails(paro_cupti_new(&err, &second), PARO_STATUS_UNSUPPORTED, "in use");
        paro_cupti_free(cupti);
    } else {
        assert_int_equal(status, PARO_STATUS_UNSUPPORTED);
        assert_non_null(strstr(err.message, "CUPTI"));
    }
    paro_cupti_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_and_wrong),
        cmocka_unit_test(test_data_serve_other_configs),
        cmocka_unit_test(test_code_for_another_plan),
        cmocka_unit_test(test_compiling_on_threads),
        cmocka_unit_test(test_cupti_may_be_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
