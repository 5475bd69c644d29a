/* SPDX-License-Identifier: MIT
 *
 * Reading what a command is given: whole files, and standard input as "-".
 */
#ifndef PARO_CLI_INPUT_H
#define PARO_CLI_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include <paro/status.h>
#include <paro/tokenizer.h>

/* Reads all of `path` ("-": standard input) and adds a zero byte that *n_bytes does not count. The
 * caller frees *text. PARO_STATUS_CANCELLED after Ctrl-C. */
paro_status paro_input_read(paro_error *err, const char *path, char **text, size_t *n_bytes);

/* Parses token ids in decimal, separated by white space or commas, all of which the tokenizer must
 * have (NULL: any). `name` is for the message. The caller frees *ids; it is not NULL on success. */
paro_status paro_input_ids(paro_error *err, const char *name, const char *text, size_t n_bytes,
                           const paro_tokenizer *tokenizer, int32_t **ids, size_t *n_ids);

/* What to call `path` in tables: itself, or "stdin". */
const char *paro_input_name(const char *path);

#endif
