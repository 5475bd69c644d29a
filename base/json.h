/* SPDX-License-Identifier: MIT
 *
 * Reading JSON (jansson) from files nobody vouches for: duplicate keys, deep nesting and wrong
 * types are errors that name file and key.
 */
#ifndef PARO_BASE_JSON_H
#define PARO_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Parses; `where` names the source in messages (a path). The root must be an object. At most 128
 * levels deep. The caller releases *out with json_decref. */
paro_status paro_json_parse(paro_error *err, const char *where, const char *text, size_t n_bytes,
                            json_t **out);

/* Reads the file (at most max_bytes) and parses it. */
paro_status paro_json_load(paro_error *err, const char *path, size_t max_bytes, json_t **out);

/* Members of `object`. A missing key, or null, gives `fallback`; a value of another type or outside
 * [min, max] is PARO_STATUS_FORMAT: "WHERE: KEY: expected …, found …". Strings live as long as
 * `object`. */
paro_status paro_json_get_u32(paro_error *err, const char *where, const json_t *object,
                              const char *key, uint32_t min, uint32_t max, uint32_t fallback,
                              uint32_t *out);
paro_status paro_json_get_f64(paro_error *err, const char *where, const json_t *object,
                              const char *key, double min, double max, double fallback,
                              double *out);
paro_status paro_json_get_bool(paro_error *err, const char *where, const json_t *object,
                               const char *key, bool fallback, bool *out);
paro_status paro_json_get_string(paro_error *err, const char *where, const json_t *object,
                                 const char *key, const char *fallback, const char **out);
/* object or array as asked (JSON_OBJECT, JSON_ARRAY); NULL where missing or null. */
paro_status paro_json_get_container(paro_error *err, const char *where, const json_t *object,
                                    const char *key, json_type type, json_t **out);

/* PARO_STATUS_FORMAT "WHERE: KEY: missing (expected …)"; for required members. */
paro_status paro_json_missing(paro_error *err, const char *where, const char *key,
                              const char *expected);

/* "an object", "a string", … for messages. */
const char *paro_json_type_name(const json_t *value);

#endif
