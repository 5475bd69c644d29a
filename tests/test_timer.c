/* SPDX-License-Identifier: MIT
 *
 * tuner/timer.c: which clock times, on a device that runs nothing; the probe on the emulator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fake_gpu.h"
#include "tests/support.h"

#include "tests/family_fixture.h"
#include "tuner/timer.h"

/* Times a trial on the fake device; its clock's name is `expected`. */
static void time_fake(fake_gpu *fake, const char *expected)
{
    paro_error err;
    paro_timer *timer = NULL;
    paro_trial *trial = NULL;
    paro_measurement m = {0};
    const paro_problem problem = test_problem("swiglu:n=64,m=4,dtype=f32");
    const paro_kernel_config config = test_config(&problem, "");
    const paro_gpu_image image = {"code", 4, false};
    assert_ok(paro_trial_new(&err, &fake->gpu, &problem, 0, &config, 1, NULL, &trial));
    assert_ok(paro_trial_load(&err, trial, &image));
    assert_ok(paro_timer_new(&err, &fake->gpu, NULL, &timer));
    assert_string_equal(paro_timer_clock(timer), "graph");
    assert_ok(paro_timer_run(&err, timer, trial, 7, &m));
    assert_int_equal(m.state, PARO_CANDIDATE_TIMED);
    assert_int_equal(m.n_samples, 7);
    assert_string_equal(m.clock, expected);
    assert_string_equal(paro_timer_clock(timer), expected);
    /* Events see a launch, a replay many. */
    assert_true(strcmp(expected, "events") == 0 ? m.median_us == 8 : m.median_us < 8);
    paro_timer_free(timer);
    paro_trial_free(trial);
}

static void test_graphs_are_the_clock(void **state)
{
    (void)state;
    fake_gpu fake;
    fake_gpu_init(&fake, PARO_GPU_KIND_CUDA, 90);
    time_fake(&fake, "graph");
    assert_int_equal(fake.n_graph_launches, 7);
    assert_int_equal(fake.n_launches, 1);
    assert_int_equal(fake.n_allocated, 0);
}

static void test_events_where_no_graph_is_recorded(void **state)
{
    (void)state;
    fake_gpu fake;
    fake_gpu_init(&fake, PARO_GPU_KIND_CUDA, 90);
    fake.has_no_graphs = true;
    time_fake(&fake, "events");
    assert_int_equal(fake.n_graph_launches, 0);
    assert_int_equal(fake.n_launches, 8);
    assert_int_equal(fake.n_allocated, 0);
}

/* The family `read`, run: right on a device that works, and no other kernel passes for it. */
static void test_probe(void **state)
{
    (void)state;
    paro_error err;
    paro_gpu *gpu = test_emulator("test_timer");
    paro_timer *timer = NULL;
    paro_problem problem;
    paro_kernel_config config;
    paro_arch arch;
    bool wants_ptx;
    double read_gbs = -1;
    paro_buffer source = {0};
    const paro_device_info *info = paro_gpu_info(gpu);
    assert_ok(paro_device_arch(&err, info, &arch, &wants_ptx));
    assert_ok(paro_probe_variant(&err, info, &arch, &problem, &config));
    const paro_variant variant = {&problem, &config, &arch};
    assert_ok(paro_render(&err, &variant, &source));
    paro_gpu_image image = {source.data, source.n_bytes, false};
    assert_ok(paro_timer_new(&err, gpu, NULL, &timer));
    assert_ok(paro_timer_probe(&err, timer, &image, &read_gbs));
    assert_true(read_gbs == 0);
    assert_ok(paro_timer_probe(&err, timer, &image, &read_gbs)); /* again */
    paro_timer_free(timer);

    for (char *at = strstr(source.data, ".y ^"); at != NULL; at = strstr(at, ".y ^"))
        at[1] = 'x'; /* a word is read twice, another one not */
    assert_ok(paro_timer_new(&err, gpu, NULL, &timer));
    assert_fails(paro_timer_probe(&err, timer, &image, &read_gbs), PARO_STATUS_IO,
                 "does not compute right");
    paro_timer_free(timer);
    paro_buffer_free(&source);
    paro_gpu_free(gpu);
}

/* Bigger than any L2, and within the memory of a small device. */
static void test_probe_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; paro_arch_get(i) != NULL; i++) {
        paro_error err;
        paro_device_info info;
        paro_problem problem;
        paro_kernel_config config;
        paro_device_typical(paro_arch_get(i), &info);
        assert_ok(paro_probe_variant(&err, &info, paro_arch_get(i), &problem, &config));
        assert_true(problem.values[0] >= (int64_t)(2 * info.l2_bytes));
        info.memory_bytes = (uint64_t)1 << 30;
        assert_ok(paro_probe_variant(&err, &info, paro_arch_get(i), &problem, &config));
        assert_true(problem.values[0] <= (int64_t)1 << 27);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graphs_are_the_clock),
        cmocka_unit_test(test_events_where_no_graph_is_recorded),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_probe_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
