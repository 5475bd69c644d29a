/* SPDX-License-Identifier: MIT
 *
 * Fuzzes recipes: any text as the recipe, on the demo model's shape, with low limits.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <paro/quantize.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Opened once; it lives as long as the process. */
static paro_model *model;
static char path[64];

static void prepare(void)
{
    paro_error err;
    const paro_model_options options = {.n_threads = 1};
    if (paro_model_open(&err, "models/demo", &options, &model) != PARO_STATUS_OK) {
        fprintf(stderr, "run it in the project's root: %s\n", err.message);
        abort();
    }
    snprintf(path, sizeof path, "/tmp/paro-fuzz-recipe-%ld", (long)getpid());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (model == NULL)
        prepare();
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, n_bytes, file) != n_bytes || fclose(file) != 0)
        abort();

    static const char *const set[] = {"bits=3", "linears=*.q_proj"};
    const paro_recipe_options options = {.memory_bytes = 8 << 20,
                                         .n_instructions = 1000000,
                                         .tensor_bytes = 8 << 20,
                                         .set = set,
                                         .n_set = n_bytes % 2 == 0 ? 0 : 2};
    paro_error err;
    paro_recipe *recipe = NULL;
    paro_plan *plan = NULL;
    if (paro_recipe_open(&err, path, &options, &recipe) == PARO_STATUS_OK &&
        paro_plan_make(&err, recipe, model, &plan) == PARO_STATUS_OK) {
        for (size_t i = 0; i < paro_plan_n_linears(plan); i++) {
            paro_plan_linear linear;
            paro_plan_get(plan, i, &linear);
            if (linear.bits < 2 || linear.bits > 16)
                abort();
        }
    }
    paro_plan_free(plan);
    paro_recipe_free(recipe);
    unlink(path);
    return 0;
}
