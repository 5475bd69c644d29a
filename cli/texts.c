/* SPDX-License-Identifier: MIT
 *
 * FILE[@WEIGHT], read.
 */
#include "cli/texts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Cuts "@WEIGHT" off `path` (in place); false where it is a number that is no weight. */
static bool cut_weight(char *path, double *weight)
{
    char *at = strrchr(path, '@'), *end = NULL;

    *weight = 1;
    if (!at || at == path || !at[1])
        return true;
    double number = strtod(at + 1, &end);
    if (*end)
        return true;
    *at = '\0';
    *weight = number;
    return isfinite(number) && number > 0;
}

static paro_exit add(paro_console *console, const paro_strings *words, bool validation,
                     const char *field, paro_texts *texts)
{
    for (size_t i = 0; i < words->n_items; i++) {
        const size_t n = texts->n_sources;
        char *path = strdup(words->items[i]);

        if (!path) {
            paro_console_error(console, "out of memory for the texts' names");
            return PARO_EXIT_FAILED;
        }
        texts->paths[n] = path;
        texts->n_sources++;
        texts->sources[n] =
            (paro_text_source){.path = path, .field = field, .validation = validation};
        if (!cut_weight(path, &texts->sources[n].weight)) {
            paro_console_error(
                console,
                "option '--%s': expected FILE or FILE@WEIGHT with a weight above 0, found '%s'",
                validation ? "validation" : "text", words->items[i]);
            return PARO_EXIT_USAGE;
        }
    }
    return PARO_EXIT_DONE;
}

paro_exit paro_texts_parse(paro_console *console, const paro_strings *training,
                           const paro_strings *validation, const char *field, paro_texts *out)
{
    const size_t n = training->n_items + validation->n_items;
    paro_texts texts = {.sources = calloc(n + 1, sizeof *texts.sources),
                        .paths = calloc(n + 1, sizeof *texts.paths)};
    paro_exit code = PARO_EXIT_FAILED;

    if (texts.sources && texts.paths)
        code = add(console, training, false, field, &texts);
    else
        paro_console_error(console, "out of memory for %zu texts", n);
    if (code == PARO_EXIT_DONE)
        code = add(console, validation, true, field, &texts);
    if (code != PARO_EXIT_DONE) {
        paro_texts_free(&texts);
        return code;
    }
    *out = texts;
    return PARO_EXIT_DONE;
}

void paro_texts_free(paro_texts *texts)
{
    for (size_t i = 0; i < texts->n_sources; i++)
        free(texts->paths[i]);
    free(texts->paths);
    free(texts->sources);
    *texts = (paro_texts){0};
}
