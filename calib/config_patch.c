/* SPDX-License-Identifier: MIT
 *
 * Changing members of a JSON object without rewriting the others. (A parser's dump would turn
 * 1e-05 into 1.0000000000000001e-05 and lay everything out anew.)
 *
 * The text has passed a real parser first, so that the scanner below may take its syntax for
 * granted: it only finds where values end.
 */
#include "calib/config_patch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_space(const char *s)
{
    return s + strspn(s, " \t\r\n");
}

/* s at the opening quote. */
static const char *skip_string(const char *s)
{
    for (s++; *s != '"' && *s != '\0'; s++) {
        if (*s == '\\' && s[1] != '\0')
            s++;
    }
    return *s == '"' ? s + 1 : s;
}

static const char *skip_value(const char *s)
{
    int depth = 0;
    while (*s != '\0') {
        if (*s == '"') {
            s = skip_string(s);
        } else if (*s == '{' || *s == '[') {
            depth++;
            s++;
        } else if (*s == '}' || *s == ']') {
            if (depth == 0)
                break;
            depth--;
            s++;
        } else if (depth == 0 && strchr(", \t\r\n", *s) != NULL) {
            break;
        } else {
            s++;
            continue;
        }
        if (depth == 0)
            break;
    }
    return s;
}

static bool is_key(const char *from, const char *to, const char *key)
{
    return (size_t)(to - from) == strlen(key) + 2 && memcmp(from + 1, key, strlen(key)) == 0;
}

static bool add_member(paro_buffer *out, bool *first, const char *key, size_t n_key,
                       const char *value, size_t n_value)
{
    bool fine = paro_buffer_append_text(out, *first ? "\n  " : ",\n  ") &&
                paro_buffer_append(out, key, n_key) && paro_buffer_append_text(out, ": ") &&
                paro_buffer_append(out, value, n_value);
    *first = false;
    return fine;
}

/* The members of a dumped object, a level deeper. */
static bool add_quantization(paro_buffer *out, bool *first, const json_t *quantization)
{
    static const char key[] = "\"quantization_config\"";
    char *dump = json_dumps(quantization, JSON_INDENT(2));
    bool fine = dump != NULL && add_member(out, first, key, sizeof key - 1, "", 0);
    for (const char *line = dump; fine && line != NULL;) {
        const char *end = strchr(line, '\n');
        size_t n = end != NULL ? (size_t)(end - line) + 1 : strlen(line);
        fine =
            paro_buffer_append(out, line, n) && (end == NULL || paro_buffer_append_text(out, "  "));
        line = end != NULL ? end + 1 : NULL;
    }
    free(dump);
    return fine;
}

static bool patch(const char *text, const json_t *quantization, paro_buffer *out)
{
    static const char float16[] = "\"float16\"";
    bool first = true;
    bool has_dtype = false;
    bool fine = paro_buffer_append_text(out, "{");
    const char *s = skip_space(skip_space(text) + 1);
    while (fine && *s == '"') {
        const char *key = s;
        const char *key_end = skip_string(key);
        const char *value = skip_space(skip_space(key_end) + 1); /* past the colon */
        const char *value_end = skip_value(value);
        size_t n_key = (size_t)(key_end - key);
        if (is_key(key, key_end, "dtype") || is_key(key, key_end, "torch_dtype")) {
            has_dtype = true;
            fine = add_member(out, &first, key, n_key, float16, sizeof float16 - 1);
        } else if (!is_key(key, key_end, "quantization_config")) {
            fine = add_member(out, &first, key, n_key, value, (size_t)(value_end - value));
        }
        s = skip_space(value_end);
        if (*s == ',')
            s = skip_space(s + 1);
    }
    if (fine && !has_dtype)
        fine = add_member(out, &first, "\"torch_dtype\"", sizeof "\"torch_dtype\"" - 1, float16,
                          sizeof float16 - 1);
    if (fine && quantization != NULL)
        fine = add_quantization(out, &first, quantization);
    return fine && paro_buffer_append_text(out, "\n}\n");
}

paro_status paro_config_patch(paro_error *err, const char *where, const char *text, size_t n_bytes,
                              const json_t *quantization, paro_buffer *out)
{
    json_t *parsed = NULL;
    paro_status status = paro_json_parse(err, where, text, n_bytes, &parsed);
    if (status != PARO_STATUS_OK)
        return status;
    json_decref(parsed);
    char *copy = strndup(text, n_bytes);
    if (copy == NULL || !patch(copy, quantization, out))
        status = paro_fail_memory(err, n_bytes, "config.json");
    free(copy);
    return status;
}
