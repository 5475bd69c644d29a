/* SPDX-License-Identifier: MIT
 *
 * Plans: rules resolved for the linears of a model.
 */
#include "calib/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "runtime/model.h"

enum { NEAREST_TEXT_BYTES = 512 };

static const char *linear_name(const void *context, size_t i)
{
    return paro_model_linear(context, i)->name;
}

/* Every rule must match something: one that does not is a misspelt name. */
static paro_status check_rules_match(paro_error *err, const paro_plan_spec *spec,
                                     const paro_model *model)
{
    size_t n_linears = paro_model_n_linears(model);
    for (size_t r = 0; r < spec->n_rules; r++) {
        const paro_plan_rule *rule = &spec->rules[r];
        bool matched = false;
        for (size_t i = 0; i < n_linears && !matched; i++)
            matched = paro_glob_match(&rule->glob, linear_name(model, i));
        if (matched)
            continue;
        char nearest[NEAREST_TEXT_BYTES];
        const char *closest = rule->glob.alternatives[0];
        paro_nearest(nearest, sizeof nearest, closest, n_linears, linear_name, model);
        return paro_fail(err, PARO_STATUS_NOT_FOUND,
                         "%s: %s: pattern \"%s\" matches no linear of %s; the nearest are %s",
                         spec->recipe, rule->where, rule->glob.text, model->dir, nearest);
    }
    return PARO_STATUS_OK;
}

static paro_status plan_linear(paro_error *err, const paro_plan_spec *spec, paro_plan *plan,
                               const paro_linear *linear, paro_planned *out)
{
    const paro_plan_rule *rule = NULL;
    for (size_t r = spec->n_rules; r > 0 && rule == NULL; r--) {
        if (paro_glob_match(&spec->rules[r - 1].glob, linear->name))
            rule = &spec->rules[r - 1];
    }
    uint64_t n_values = (uint64_t)linear->n_out * linear->n_in;
    paro_planned planned = {
        .method = paro_method_find("keep"),
        .linear = {.name = paro_arena_strdup(&plan->arena, linear->name),
                   .method = "keep",
                   .rule = "",
                   .n_out = linear->n_out,
                   .n_in = linear->n_in,
                   .bits = PARO_PLAN_KEEP_BITS,
                   .n_bytes_before = paro_linear_bytes(linear),
                   .n_bytes_after = 2 * n_values},
    };
    if (planned.linear.name == NULL)
        return paro_fail_memory(err, strlen(linear->name), "a plan");
    if (rule != NULL && rule->method->quantise != NULL) {
        if (rule->group_size == 0 || linear->n_in % rule->group_size != 0)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "%s: %s: group_size %" PRIu32 " does not divide the %" PRIu32
                             " input channels of %s; choose another or keep that linear",
                             spec->recipe, rule->where, rule->group_size, linear->n_in,
                             linear->name);
        if (spec->block.run != NULL && rule->group_size % 2 != 0)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "%s: %s: expected an even group_size where there is a block function "
                             "(channels are rotated in pairs), found %" PRIu32,
                             spec->recipe, rule->where, rule->group_size);
        uint64_t n_groups = n_values / rule->group_size;
        planned.method = rule->method;
        planned.linear.method = spec->block.run != NULL ? "block" : rule->method->name;
        planned.linear.rule = paro_arena_strdup(&plan->arena, rule->glob.text);
        planned.linear.bits = rule->bits;
        planned.linear.group_size = rule->group_size;
        planned.linear.n_bytes_after =
            (n_values * rule->bits + 7) / 8 + 2 * n_groups + (n_groups * rule->bits + 7) / 8;
        if (planned.linear.rule == NULL)
            return paro_fail_memory(err, strlen(rule->glob.text), "a plan");
        plan->n_quantised++;
    }
    *out = planned;
    return PARO_STATUS_OK;
}

paro_status paro_plan_resolve(paro_error *err, const paro_plan_spec *spec, const paro_model *model,
                              paro_plan **out)
{
    paro_status status = check_rules_match(err, spec, model);
    if (status != PARO_STATUS_OK)
        return status;
    paro_plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return paro_fail_memory(err, sizeof *plan, "a plan");
    plan->model = model;
    plan->n_linears = paro_model_n_linears(model);
    plan->linears = paro_arena_array(&plan->arena, plan->n_linears, sizeof *plan->linears);
    plan->recipe_text = paro_arena_strndup(&plan->arena, spec->text, spec->n_text_bytes);
    plan->recipe_options = paro_arena_strdup(&plan->arena, spec->options);
    if (plan->linears == NULL || plan->recipe_text == NULL || plan->recipe_options == NULL) {
        status = paro_fail_memory(err, spec->n_text_bytes, "a plan");
        goto done;
    }
    memcpy(plan->recipe_sha256, spec->sha256, sizeof plan->recipe_sha256);
    plan->krot = spec->krot;
    plan->data = spec->data;
    for (size_t i = 0; i < plan->n_linears && status == PARO_STATUS_OK; i++)
        status = plan_linear(err, spec, plan, paro_model_linear(model, i), &plan->linears[i]);

done:
    if (status != PARO_STATUS_OK) {
        paro_plan_free(plan);
        return status;
    }
    plan->block = spec->block;
    *out = plan;
    return PARO_STATUS_OK;
}

void paro_plan_free(paro_plan *plan)
{
    if (plan == NULL)
        return;
    if (plan->block.release != NULL)
        plan->block.release(plan->block.context);
    paro_arena_release(&plan->arena);
    free(plan);
}

size_t paro_plan_n_linears(const paro_plan *plan)
{
    return plan->n_linears;
}

void paro_plan_get(const paro_plan *plan, size_t n, paro_plan_linear *out)
{
    *out = plan->linears[n].linear;
}

const char *paro_plan_recipe_sha256(const paro_plan *plan)
{
    return plan->recipe_sha256;
}

bool paro_plan_calibrates(const paro_plan *plan)
{
    return plan->block.run != NULL;
}
