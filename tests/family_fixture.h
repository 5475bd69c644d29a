/* SPDX-License-Identifier: MIT
 *
 * What the tests of families share: defaults that pass everywhere, and kernels on the emulator,
 * where a case is launched and its buffers come back, or a whole trial is run. Where there is no
 * C++ compiler, the test is skipped and says so. Include after support.h.
 */
#ifndef PARO_TESTS_FAMILY_FIXTURE_H
#define PARO_TESTS_FAMILY_FIXTURE_H

#include "codegen/codegen.h"
#include "emulator/emulator.h"
#include "gpu/plan.h"
#include "tuner/trial.h"

static inline paro_gpu *test_emulator(const char *test)
{
    paro_error err;
    paro_gpu *gpu = NULL;
    const paro_emulator_options options = {.seed = 1, .sanitize = TEST_KERNEL_SANITIZE};
    paro_status status = paro_gpu_open_emulator(&err, &options, &gpu);
    if (status == PARO_STATUS_UNSUPPORTED) {
        printf("SKIP %s: needs a C++ compiler\n", test);
        fflush(stdout);
        skip();
    }
    assert_int_equal(status, PARO_STATUS_OK);
    return gpu;
}

static inline paro_problem test_problem(const char *text)
{
    paro_error err;
    paro_problem problem;
    assert_ok(paro_problem_parse(&err, text, &problem));
    return problem;
}

/* The default on sm_90, changed by `text`; its constraint passes. */
static inline paro_kernel_config test_config(const paro_problem *problem, const char *text)
{
    paro_error err;
    paro_kernel_config config;
    const paro_arch *arch = paro_arch_find("sm_90");
    problem->family->default_config(problem, arch, &config);
    assert_ok(paro_kernel_config_parse(&err, problem->family, text, &config));
    assert_null(problem->family->constraint(problem, &config, arch));
    return config;
}

/* On every arch: the default passes, its plan is one that a device takes, and what the family says
 * of cost and time is a positive number. */
static inline void test_default_everywhere(const char *text)
{
    const paro_problem problem = test_problem(text);
    const paro_family *family = problem.family;
    const paro_arch *arch;
    for (size_t i = 0; (arch = paro_arch_get(i)) != NULL; i++) {
        paro_kernel_config config;
        paro_device_info device;
        paro_launch_plan plan;
        paro_cost cost;
        family->default_config(&problem, arch, &config);
        const char *why = family->constraint(&problem, &config, arch);
        if (why != NULL)
            fail_msg("%s on %s: the default: %s", text, arch->name, why);
        family->plan(&problem, &config, &plan);
        assert_in_range(plan.n_launches, 1, PARO_MAX_LAUNCHES);
        for (size_t at = 0; at < plan.n_launches; at++) {
            const paro_launch *launch = &plan.launches[at];
            assert_int_equal(launch->n_threads % 32, 0);
            assert_in_range(launch->n_threads, 32, 1024);
            assert_in_range(launch->shared_bytes, 0, arch->max_shared_bytes);
            assert_in_range(launch->grid[0], 1, 0x7fffffff);
            assert_in_range(launch->grid[1], 1, 65535);
            assert_in_range(launch->grid[2], 1, 65535);
        }
        paro_device_typical(arch, &device);
        double us = family->estimate_us(&problem, &config, &device);
        assert_true(us > 0 && us < 1e6);
        family->cost(&problem, &cost);
        assert_true(cost.bytes > 0 && cost.operations >= 0);
    }
}

static inline paro_buffer test_source(const paro_problem *problem, const paro_kernel_config *config)
{
    paro_error err;
    paro_buffer source = {0};
    const paro_variant variant = {problem, config, paro_arch_find("sm_90")};
    assert_ok(paro_render(&err, &variant, &source));
    return source;
}

/* Random data through the kernel made for `problem` with m tokens (0: its own), against the
 * reference, for each of n_seeds seeds. */
static inline void test_emulated(paro_gpu *gpu, const char *problem_text, const char *config_text,
                                 uint32_t m, uint64_t n_seeds)
{
    const paro_problem problem = test_problem(problem_text);
    const paro_kernel_config config = test_config(&problem, config_text);
    paro_buffer source = test_source(&problem, &config);
    const paro_gpu_image image = {.data = source.data, .n_bytes = source.n_bytes};
    for (uint64_t seed = 0; seed < n_seeds; seed++) {
        paro_error err;
        double error = 0;
        paro_status status =
            paro_trial_run_once(&err, gpu, &problem, m, &config, &image, seed, NULL, &error);
        if (status != PARO_STATUS_OK)
            fail_msg("%s %s m=%u seed=%u: %s", problem_text, config_text, m, (unsigned)seed,
                     err.message);
    }
    paro_buffer_free(&source);
}

/* Launches the case's plan on its buffers, whose contents are then the device's. */
static inline void test_launch_case(paro_gpu *gpu, paro_case *c)
{
    paro_error err;
    paro_gpu_stream *stream = NULL;
    paro_gpu_module *module = NULL;
    paro_gpu_function *functions[PARO_MAX_LAUNCHES];
    paro_gpu_value values[PARO_MAX_ARGS];
    memset(values, 0, sizeof values);
    paro_launch_plan plan;
    paro_buffer source = test_source(c->problem, c->config);
    const paro_gpu_image image = {.data = source.data, .n_bytes = source.n_bytes};
    const size_t n_args = paro_family_n_args(c->problem->family);
    for (size_t i = 0; i < n_args; i++) {
        values[i].scalar = c->scalars[i];
        if (c->data[i] == NULL)
            continue;
        size_t n_bytes = (size_t)c->info[i].n * paro_dtype_bytes(c->info[i].dtype);
        assert_ok(paro_gpu_alloc(&err, gpu, n_bytes, &values[i].ptr));
        assert_ok(paro_gpu_upload(&err, gpu, values[i].ptr, c->data[i], n_bytes));
    }
    assert_ok(paro_gpu_stream_new(&err, gpu, &stream));
    assert_ok(paro_gpu_module_load(&err, gpu, &image, &module));
    c->problem->family->plan(c->problem, c->config, &plan);
    assert_ok(paro_launch_plan_functions(&err, module, &plan, functions));
    assert_ok(paro_launch_plan_launch(&err, stream, &plan, functions, values));
    assert_ok(paro_gpu_stream_wait(&err, stream));
    for (size_t i = 0; i < n_args; i++) {
        if (c->data[i] == NULL)
            continue;
        assert_ok(paro_gpu_download(&err, gpu, c->data[i], values[i].ptr,
                                    (size_t)c->info[i].n * paro_dtype_bytes(c->info[i].dtype)));
        paro_gpu_release(gpu, values[i].ptr);
    }
    paro_gpu_module_free(module);
    paro_gpu_stream_free(stream);
    paro_buffer_free(&source);
}

#endif
