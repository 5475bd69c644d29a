/* SPDX-License-Identifier: MIT
 *
 * Texts to calibrate with, from the words of the command line: FILE or FILE@WEIGHT.
 */
#ifndef PARO_CLI_TEXTS_H
#define PARO_CLI_TEXTS_H

#include <paro/quantize.h>

#include "cli/command.h"

typedef struct paro_texts {
    paro_text_source *sources;
    size_t n_sources;
    char **paths; /* [n_sources], what the sources point to */
} paro_texts;

/* PARO_EXIT_USAGE, having said why, where a weight is not above 0. An @ that no number follows is
 * part of the name. The caller frees *out; `field` outlives it. */
paro_exit paro_texts_parse(paro_console *console, const paro_strings *training,
                           const paro_strings *validation, const char *field, paro_texts *out);
void paro_texts_free(paro_texts *texts);

#endif
