/* SPDX-License-Identifier: MIT
 *
 * Regular expressions as tokenizer.json writes them (Oniguruma, Ruby syntax, UTF-8), rewritten so
 * that PCRE2 means the same by them.
 */
#ifndef PARO_TOKENIZER_REGEX_H
#define PARO_TOKENIZER_REGEX_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

/* Appends the rewritten pattern, to be compiled with PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE and
 * line feed as the only newline. It has no capturing groups. PARO_STATUS_UNSUPPORTED names a
 * construct that is not handled; what is plainly wrong may be left for PCRE2 to find. `where` for
 * messages. */
paro_status paro_regex_rewrite(paro_error *err, const char *where, const char *pattern,
                               size_t n_bytes, paro_buffer *out);

/* The same for a text that is to be found as it is. */
paro_status paro_regex_quote(paro_error *err, const char *text, size_t n_bytes, paro_buffer *out);

#endif
