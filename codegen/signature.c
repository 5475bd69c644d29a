/* SPDX-License-Identifier: MIT
 *
 * Signatures of kernels: to JSON, from JSON nobody vouches for, and against a plan.
 *
 *     {"kernels": [{"name": "rotate", "params": [
 *         {"name": "x", "type": "const f16 *", "kind": "pointer", "const": true, "bytes": 2}, …]},
 * …]}
 */
#include <string.h>

#include "base/json.h"
#include "codegen/codegen.h"

/* More than any source has. */
enum { MAX_KERNELS = 256, MAX_PARAMS = 256, MAX_ELEMENT_BYTES = 1 << 16 };

static json_t *param_to_json(const paro_signature_param *param)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:I}", "name", param->name, "type", param->type, "kind",
                     param->kind == PARO_PARAM_POINTER ? "pointer" : "scalar", "const",
                     (int)param->is_const, "bytes", (json_int_t)param->element_bytes);
}

static json_t *kernel_to_json(const paro_signature_kernel *kernel)
{
    json_t *params = json_array();
    for (size_t i = 0; i < kernel->n_params; i++) {
        if (json_array_append_new(params, param_to_json(&kernel->params[i])) != 0) {
            json_decref(params);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o}", "name", kernel->name, "params", params);
}

paro_status paro_signature_print(paro_error *err, const paro_signature *signature, paro_buffer *out)
{
    bool fine = true;
    char *text = NULL;
    json_t *kernels = json_array();
    for (size_t i = 0; i < signature->n_kernels && fine; i++)
        fine = json_array_append_new(kernels, kernel_to_json(&signature->kernels[i])) == 0;
    json_t *root = json_pack("{s:O?}", "kernels", kernels);
    if (fine && root != NULL)
        text = json_dumps(root, JSON_INDENT(2));
    fine = text != NULL && paro_buffer_printf(out, "%s\n", text);
    free(text);
    json_decref(root);
    json_decref(kernels);
    return fine ? PARO_STATUS_OK : paro_fail_memory(err, out->n_bytes, "a signature");
}

static paro_status get_name(paro_error *err, const char *where, const json_t *object,
                            const char *key, paro_arena *arena, const char **out)
{
    const char *text = NULL;
    paro_status status = paro_json_get_string(err, where, object, key, NULL, &text);
    if (status != PARO_STATUS_OK)
        return status;
    if (text == NULL)
        return paro_json_missing(err, where, key, "a string");
    *out = paro_arena_strdup(arena, text);
    return *out != NULL ? PARO_STATUS_OK : paro_fail_memory(err, strlen(text), "a signature");
}

/* A member that is an array of objects, of at most `max`. */
static paro_status get_rows(paro_error *err, const char *where, const json_t *object,
                            const char *key, size_t max, json_t **out)
{
    json_t *rows = NULL;
    paro_status status = paro_json_get_container(err, where, object, key, JSON_ARRAY, &rows);
    if (status != PARO_STATUS_OK)
        return status;
    if (rows == NULL)
        return paro_json_missing(err, where, key, "an array");
    if (json_array_size(rows) > max)
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: expected at most %zu, found %zu", where,
                         key, max, json_array_size(rows));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        if (!json_is_object(json_array_get(rows, i)))
            return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s[%zu]: expected an object, found %s",
                             where, key, i, paro_json_type_name(json_array_get(rows, i)));
    }
    *out = rows;
    return PARO_STATUS_OK;
}

static paro_status param_from_json(paro_error *err, const char *where, const json_t *object,
                                   paro_arena *arena, paro_signature_param *out)
{
    const char *kind = NULL;
    paro_status status = get_name(err, where, object, "name", arena, &out->name);
    if (status == PARO_STATUS_OK)
        status = get_name(err, where, object, "type", arena, &out->type);
    if (status == PARO_STATUS_OK)
        status = get_name(err, where, object, "kind", arena, &kind);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_bool(err, where, object, "const", false, &out->is_const);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_u32(err, where, object, "bytes", 1, MAX_ELEMENT_BYTES, 0,
                                   &out->element_bytes);
    if (status != PARO_STATUS_OK)
        return status;
    if (out->element_bytes == 0)
        return paro_json_missing(err, where, "bytes", "a number");
    if (strcmp(kind, "pointer") != 0 && strcmp(kind, "scalar") != 0)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: kind: expected \"pointer\" or \"scalar\", found \"%s\"", where, kind);
    out->kind = kind[0] == 'p' ? PARO_PARAM_POINTER : PARO_PARAM_SCALAR;
    return PARO_STATUS_OK;
}

static paro_status kernel_from_json(paro_error *err, const char *where, const json_t *object,
                                    paro_arena *arena, paro_signature_kernel *out)
{
    json_t *rows = NULL;
    paro_status status = get_name(err, where, object, "name", arena, &out->name);
    if (status == PARO_STATUS_OK)
        status = get_rows(err, where, object, "params", MAX_PARAMS, &rows);
    if (status != PARO_STATUS_OK)
        return status;
    out->n_params = json_array_size(rows);
    out->params = paro_arena_array(arena, out->n_params, sizeof *out->params);
    if (out->params == NULL)
        return paro_fail_memory(err, out->n_params * sizeof *out->params, "a signature");
    for (size_t i = 0; i < out->n_params && status == PARO_STATUS_OK; i++)
        status = param_from_json(err, where, json_array_get(rows, i), arena, &out->params[i]);
    return status;
}

paro_status paro_signature_parse(paro_error *err, const char *where, const char *text,
                                 size_t n_bytes, paro_arena *arena, paro_signature *out)
{
    json_t *root = NULL, *rows = NULL;
    paro_signature signature = {0};
    paro_status status = paro_json_parse(err, where, text, n_bytes, &root);
    if (status != PARO_STATUS_OK)
        return status;
    status = get_rows(err, where, root, "kernels", MAX_KERNELS, &rows);
    if (status != PARO_STATUS_OK)
        goto done;
    signature.n_kernels = json_array_size(rows);
    signature.kernels = paro_arena_array(arena, signature.n_kernels, sizeof *signature.kernels);
    if (signature.kernels == NULL) {
        status =
            paro_fail_memory(err, signature.n_kernels * sizeof *signature.kernels, "a signature");
        goto done;
    }
    for (size_t i = 0; i < signature.n_kernels && status == PARO_STATUS_OK; i++)
        status =
            kernel_from_json(err, where, json_array_get(rows, i), arena, &signature.kernels[i]);
    if (status == PARO_STATUS_OK)
        *out = signature;
done:
    json_decref(root);
    return status;
}

static const paro_signature_kernel *find_kernel(const paro_signature *signature, const char *name)
{
    for (size_t i = 0; i < signature->n_kernels; i++) {
        if (strcmp(signature->kernels[i].name, name) == 0)
            return &signature->kernels[i];
    }
    return NULL;
}

/* What the host gives: in words, for messages. */
static const char *expected_kind(paro_arg_role role)
{
    switch (role) {
    case PARO_ARG_SCALAR:
        return "a scalar";
    case PARO_ARG_INPUT:
    case PARO_ARG_WEIGHT:
        return "a pointer to const";
    case PARO_ARG_OUTPUT:
    case PARO_ARG_INOUT:
        return "a pointer to what is not const";
    case PARO_ARG_SCRATCH:
        return "a pointer";
    }
    return "";
}

static bool kind_agrees(paro_arg_role role, const paro_signature_param *param)
{
    switch (role) {
    case PARO_ARG_SCALAR:
        return param->kind == PARO_PARAM_SCALAR;
    case PARO_ARG_INPUT:
    case PARO_ARG_WEIGHT:
        return param->kind == PARO_PARAM_POINTER && param->is_const;
    case PARO_ARG_OUTPUT:
    case PARO_ARG_INOUT:
        return param->kind == PARO_PARAM_POINTER && !param->is_const;
    case PARO_ARG_SCRATCH:
        return param->kind == PARO_PARAM_POINTER;
    }
    return false;
}

static paro_status check_launch(paro_error *err, const paro_signature *signature,
                                const paro_problem *problem, const paro_kernel_config *config,
                                const paro_launch *launch)
{
    const paro_family *family = problem->family;
    const paro_signature_kernel *kernel = find_kernel(signature, launch->kernel);
    if (kernel == NULL)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: expected a __global__ function '%s', which %s's plan launches; found "
                         "none",
                         family->template_name, launch->kernel, family->name);
    if (kernel->n_params != launch->n_args)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s: expected %zu parameters, as many as the plan's arguments, found "
                         "%zu",
                         family->template_name, kernel->name, launch->n_args, kernel->n_params);
    for (size_t i = 0; i < launch->n_args; i++) {
        const paro_arg *arg = &family->args[launch->args[i]];
        const paro_signature_param *param = &kernel->params[i];
        paro_arg_info info = {0};
        family->arg_info(problem, config, launch->args[i], &info);
        size_t n_bytes = paro_dtype_bytes(info.dtype);
        if (strcmp(arg->name, param->name) != 0)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: parameter %zu: expected '%s', found '%s'",
                             family->template_name, kernel->name, i, arg->name, param->name);
        if (!kind_agrees(arg->role, param))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: parameter '%s': expected %s, found '%s'",
                             family->template_name, kernel->name, param->name,
                             expected_kind(arg->role), param->type);
        if (info.n > 0 && n_bytes != param->element_bytes)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: parameter '%s': expected elements of %zu bytes (%s), found "
                             "'%s' of %u",
                             family->template_name, kernel->name, param->name, n_bytes,
                             paro_dtype_name(info.dtype), param->type,
                             (unsigned)param->element_bytes);
    }
    return PARO_STATUS_OK;
}

paro_status paro_signature_check(paro_error *err, const paro_signature *signature,
                                 const paro_problem *problem, const paro_kernel_config *config)
{
    paro_launch_plan plan = {0};
    problem->family->plan(problem, config, &plan);
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < plan.n_launches && status == PARO_STATUS_OK; i++)
        status = check_launch(err, signature, problem, config, &plan.launches[i]);
    return status;
}
