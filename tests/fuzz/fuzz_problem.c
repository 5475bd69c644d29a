/* SPDX-License-Identifier: MIT
 *
 * Fuzzing families/problem.c: a problem's text, then, after a zero byte, a config's. What is
 * accepted prints as text that is read as the same, and makes a plan.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "families/family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fuzz_problem: %s\n", what);
        abort();
    }
}

static void try_config(const paro_problem *problem, const char *text)
{
    const paro_family *family = problem->family;
    for (size_t i = 0; paro_arch_get(i) != NULL; i++) {
        const paro_arch *arch = paro_arch_get(i);
        char printed[PARO_KERNEL_CONFIG_TEXT_BYTES];
        paro_error err = {.status = PARO_STATUS_OK};
        paro_kernel_config config = {{0}}, again;
        paro_launch_plan plan;
        paro_cost cost;
        family->default_config(problem, arch, &config);
        if (paro_kernel_config_parse(&err, family, text, &config) != PARO_STATUS_OK) {
            require(strstr(err.message, family->name) != NULL, "an error that names no family");
            return;
        }
        paro_kernel_config_print(family, &config, printed);
        again = config;
        require(paro_kernel_config_parse(&err, family, printed, &again) == PARO_STATUS_OK &&
                    memcmp(&again, &config, sizeof config) == 0,
                "a config that reads as another");
        family->cost(problem, &cost);
        require(cost.bytes > 0, "a kernel that moves nothing");
        if (family->constraint(problem, &config, arch) != NULL)
            continue;
        family->plan(problem, &config, &plan);
        require(plan.n_launches > 0 && plan.n_launches <= PARO_MAX_LAUNCHES, "an empty plan");
        for (size_t l = 0; l < plan.n_launches; l++) {
            const paro_launch *launch = &plan.launches[l];
            require(launch->grid[0] > 0 && launch->grid[0] <= INT32_MAX, "an impossible grid");
            require(launch->grid[1] > 0 && launch->grid[1] <= 65535, "an impossible grid");
            require(launch->grid[2] > 0 && launch->grid[2] <= 65535, "an impossible grid");
            require(launch->n_threads > 0 && launch->n_threads <= 1024, "impossible threads");
            require(launch->shared_bytes <= arch->max_shared_bytes, "too much shared memory");
        }
        for (size_t arg = 0; arg < paro_family_n_args(family); arg++) {
            paro_arg_info info;
            family->arg_info(problem, &config, arg, &info);
            require(info.n < (uint64_t)1 << 56, "a size that overflowed");
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    char *text = malloc(n_bytes + 2);
    if (text == NULL)
        return 0;
    memcpy(text, data, n_bytes);
    text[n_bytes] = text[n_bytes + 1] = '\0';

    paro_error err = {.status = PARO_STATUS_OK};
    paro_problem problem, again;
    paro_status status = paro_problem_parse(&err, text, &problem);
    if (status != PARO_STATUS_OK) {
        require(err.status == status && strlen(err.message) > 0, "an error without words");
    } else {
        char printed[PARO_PROBLEM_TEXT_BYTES];
        paro_problem_print(&problem, printed);
        require(strlen(printed) < sizeof printed - 1, "a text that was cut");
        require(paro_problem_parse(&err, printed, &again) == PARO_STATUS_OK &&
                    paro_problem_equal(&problem, &again),
                "a problem that reads as another");
        try_config(&problem, strlen(text) < n_bytes ? text + strlen(text) + 1 : "");
    }
    free(text);
    return 0;
}
