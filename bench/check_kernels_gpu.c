/* SPDX-License-Identifier: MIT
 *
 * Every config of the problems given (or, with -d, the default only), on CUDA device 0: compiled,
 * launched once on random data, compared with the reference. For runs under compute-sanitizer, and
 * to look at a template by itself. Prints a line for what is wrong and a summary; exit code 1 where
 * anything is.
 *
 *     check_kernels_gpu [-d] [-n MAX_CONFIGS] [-m TOKENS] PROBLEM...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "codegen/codegen.h"
#include "tuner/trial.h"

typedef struct run {
    paro_gpu *gpu;
    paro_nvrtc *nvrtc;
    paro_pool *pool;
    const paro_arch *arch;
    const paro_problem *problem;
    bool default_only;
    size_t max_configs;
    uint32_t m;
    size_t n_right, n_wrong;
    double worst;
    const paro_kernel_config *only; /* the default, where default_only */
} run;

static bool check_config(void *context, const paro_kernel_config *config)
{
    run *r = context;
    paro_error err;
    paro_buffer source = {0};
    paro_binary binary = {0};
    double error = 0;
    const paro_variant variant = {r->problem, config, r->arch};
    if (r->n_right + r->n_wrong >= r->max_configs)
        return false;
    paro_status status = paro_render(&err, &variant, &source);
    if (status == PARO_STATUS_OK)
        status = paro_nvrtc_compile(&err, r->nvrtc, source.data,
                                    paro_target_of(source.data, r->arch), &binary);
    const paro_gpu_image image = {binary.data, binary.n_bytes, binary.is_ptx};
    if (status == PARO_STATUS_OK)
        status = paro_trial_run_once(&err, r->gpu, r->problem, r->m, config, &image,
                                     r->n_right + r->n_wrong + 1, r->pool, &error);
    paro_binary_release(&binary);
    paro_buffer_free(&source);
    if (status == PARO_STATUS_OK) {
        r->n_right++;
        r->worst = error > r->worst ? error : r->worst;
        return true;
    }
    char text[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_kernel_config_print(r->problem->family, config, text);
    printf("  WRONG %s: %s\n", text, err.message);
    r->n_wrong++;
    return !paro_gpu_is_lost(r->gpu);
}

static int check_problem(run *r, const char *text)
{
    paro_error err;
    paro_problem problem;
    paro_kernel_config config = {0};
    char canonical[PARO_PROBLEM_TEXT_BYTES];
    const double started = paro_clock_seconds();
    if (paro_problem_parse(&err, text, &problem) != PARO_STATUS_OK) {
        printf("%s\n", err.message);
        return 1;
    }
    paro_problem_print(&problem, canonical);
    r->problem = &problem;
    r->n_right = r->n_wrong = 0;
    r->worst = 0;
    if (r->default_only) {
        problem.family->default_config(&problem, r->arch, &config);
        check_config(r, &config);
    } else {
        paro_space_enumerate(&problem, r->arch, check_config, r);
    }
    printf("%s: %zu configs right, %zu wrong, largest error %.1e, %.1f s\n", canonical, r->n_right,
           r->n_wrong, r->worst, paro_clock_seconds() - started);
    fflush(stdout);
    return r->n_wrong > 0 || r->n_right == 0;
}

int main(int argc, char **argv)
{
    paro_error err;
    run r = {.max_configs = SIZE_MAX};
    int n_bad = 0;
    bool exact = false;
    if (paro_gpu_open_cuda(&err, 0, &r.gpu) != PARO_STATUS_OK ||
        paro_nvrtc_new(&err, NULL, &r.nvrtc) != PARO_STATUS_OK ||
        paro_pool_new(&err, 0, &r.pool) != PARO_STATUS_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    r.arch = paro_arch_for_capability(paro_gpu_info(r.gpu)->capability, &exact);
    if (r.arch == NULL) {
        fprintf(stderr, "%s: no arch for it\n", paro_gpu_info(r.gpu)->name);
        return 1;
    }
    printf("%s, %s, driver %s\n", paro_gpu_info(r.gpu)->name, r.arch->name,
           paro_gpu_driver_version(r.gpu));
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-d") == 0)
            r.default_only = true;
        else if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
            r.max_configs = strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "-m") == 0 && i + 1 < argc)
            r.m = (uint32_t)strtoul(argv[++i], NULL, 10);
        else
            n_bad += check_problem(&r, argv[i]);
    }
    paro_pool_free(r.pool);
    paro_nvrtc_free(r.nvrtc);
    paro_gpu_free(r.gpu);
    return n_bad > 0;
}
