/* SPDX-License-Identifier: MIT
 *
 * Reading JSON from files nobody vouches for.
 */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { JSON_MAX_DEPTH = 128 };

/* jansson's own limit is 2048 levels; ours is checked first, on the text: brackets outside strings.
 */
static bool is_too_deep(const char *text, size_t n_bytes)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < n_bytes; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_MAX_DEPTH)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

paro_status paro_json_parse(paro_error *err, const char *where, const char *text, size_t n_bytes,
                            json_t **out)
{
    if (is_too_deep(text, n_bytes))
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: JSON nested more than %d levels deep", where,
                         JSON_MAX_DEPTH);
    if (n_bytes == 0)
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: not valid JSON: it is empty", where);
    json_error_t problem;
    json_t *root = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &problem);
    if (root == NULL) {
        /* jansson has words for everything but an allocation that failed. */
        if (json_error_code(&problem) == json_error_out_of_memory || problem.text[0] == 0)
            return paro_fail_memory(err, n_bytes, where);
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: not valid JSON at line %d, column %d: %s",
                         where, problem.line, problem.column, problem.text);
    }
    if (!json_is_object(root)) {
        paro_status status =
            paro_fail(err, PARO_STATUS_FORMAT, "%s: expected a JSON object at the top, found %s",
                      where, paro_json_type_name(root));
        json_decref(root);
        return status;
    }
    *out = root;
    return PARO_STATUS_OK;
}

paro_status paro_json_load(paro_error *err, const char *path, size_t max_bytes, json_t **out)
{
    char *text = NULL;
    size_t n_bytes = 0;
    paro_status status = paro_file_read(err, path, max_bytes, &text, &n_bytes);
    if (status == PARO_STATUS_OK)
        status = paro_json_parse(err, path, text, n_bytes, out);
    free(text);
    return status;
}

const char *paro_json_type_name(const json_t *value)
{
    if (value == NULL)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "something else";
}

static paro_status wrong_type(paro_error *err, const char *where, const char *key,
                              const char *expected, const json_t *found)
{
    return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: expected %s, found %s", where, key, expected,
                     paro_json_type_name(found));
}

/* The member, or NULL where it is missing or null. */
static json_t *member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

paro_status paro_json_get_u32(paro_error *err, const char *where, const json_t *object,
                              const char *key, uint32_t min, uint32_t max, uint32_t fallback,
                              uint32_t *out)
{
    const json_t *value = member(object, key);
    if (value == NULL) {
        *out = fallback;
        return PARO_STATUS_OK;
    }
    if (!json_is_integer(value))
        return wrong_type(err, where, key, "an integer", value);
    json_int_t n = json_integer_value(value);
    if (n < (json_int_t)min || n > (json_int_t)max)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s: expected %u to %u, found %" JSON_INTEGER_FORMAT, where, key, min,
                         max, n);
    *out = (uint32_t)n;
    return PARO_STATUS_OK;
}

paro_status paro_json_get_f64(paro_error *err, const char *where, const json_t *object,
                              const char *key, double min, double max, double fallback, double *out)
{
    const json_t *value = member(object, key);
    if (value == NULL) {
        *out = fallback;
        return PARO_STATUS_OK;
    }
    if (!json_is_number(value))
        return wrong_type(err, where, key, "a number", value);
    double x = json_number_value(value);
    if (!(x >= min && x <= max))
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: expected %g to %g, found %g", where, key,
                         min, max, x);
    *out = x;
    return PARO_STATUS_OK;
}

paro_status paro_json_get_bool(paro_error *err, const char *where, const json_t *object,
                               const char *key, bool fallback, bool *out)
{
    const json_t *value = member(object, key);
    if (value != NULL && !json_is_boolean(value))
        return wrong_type(err, where, key, "true or false", value);
    *out = value == NULL ? fallback : json_is_true(value);
    return PARO_STATUS_OK;
}

paro_status paro_json_get_string(paro_error *err, const char *where, const json_t *object,
                                 const char *key, const char *fallback, const char **out)
{
    const json_t *value = member(object, key);
    if (value != NULL && !json_is_string(value))
        return wrong_type(err, where, key, "a string", value);
    *out = value == NULL ? fallback : json_string_value(value);
    return PARO_STATUS_OK;
}

paro_status paro_json_get_container(paro_error *err, const char *where, const json_t *object,
                                    const char *key, json_type type, json_t **out)
{
    json_t *value = member(object, key);
    if (value != NULL && json_typeof(value) != type)
        return wrong_type(err, where, key, type == JSON_OBJECT ? "an object" : "an array", value);
    *out = value;
    return PARO_STATUS_OK;
}

paro_status paro_json_missing(paro_error *err, const char *where, const char *key,
                              const char *expected)
{
    return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: missing (expected %s)", where, key,
                     expected);
}
