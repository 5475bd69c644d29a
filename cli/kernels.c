/* SPDX-License-Identifier: MIT
 *
 * Which problems and archs a command about kernels is for.
 */
#include "cli/kernels.h"

#include <stdlib.h>
#include <string.h>

static const char SEPARATORS[] = ",";

/* --buckets as numbers; false with an error said. */
static bool read_buckets(paro_console *console, const paro_strings *given, uint32_t **out,
                         size_t *n_out)
{
    uint32_t *buckets = NULL;
    size_t n = 0;

    for (size_t i = 0; i < given->n_items; i++) {
        const char *text = given->items[i];
        while (*text) {
            const size_t length = strcspn(text, SEPARATORS);
            char word[16];
            uint64_t value = 0;
            snprintf(word, sizeof word, "%.*s", (int)(length < 15 ? length : 15), text);
            uint32_t *grown = realloc(buckets, (n + 1) * sizeof *buckets);
            if (grown)
                buckets = grown;
            if (!grown || !paro_options_number(word, &value) || value == 0 || value > 512) {
                paro_console_error(console,
                                   "option '--buckets': expected numbers of tokens out of "
                                   "1,2,4,8,...,512, found '%.100s'",
                                   given->items[i]);
                free(buckets);
                return false;
            }
            buckets[n++] = (uint32_t)value;
            text += length;
            text += strspn(text, SEPARATORS);
        }
    }
    *out = buckets;
    *n_out = n;
    return true;
}

paro_exit paro_kernel_sources_read(paro_console *console, const paro_kernel_sources *sources,
                                   paro_problems **out)
{
    paro_problems *problems = NULL;
    uint32_t *buckets = NULL;
    size_t n_buckets = 0;
    paro_error err;

    if (sources->models.n_items + sources->problems.n_items == 0) {
        paro_console_error(console, "nothing to do: expected --model DIR or --problem P");
        return PARO_EXIT_USAGE;
    }
    if (!read_buckets(console, &sources->buckets, &buckets, &n_buckets))
        return PARO_EXIT_USAGE;
    paro_status status = paro_problems_new(&err, &problems);
    for (size_t i = 0; i < sources->problems.n_items && status == PARO_STATUS_OK; i++)
        status = paro_problems_add(&err, problems, sources->problems.items[i]);
    for (size_t i = 0; i < sources->models.n_items && status == PARO_STATUS_OK; i++)
        status =
            paro_problems_add_model(&err, problems, sources->models.items[i], buckets, n_buckets);
    free(buckets);
    if (status != PARO_STATUS_OK) {
        paro_problems_free(problems);
        paro_exit code = paro_console_fail(console, &err);
        return status == PARO_STATUS_INVALID_ARGUMENT ? PARO_EXIT_USAGE : code;
    }
    *out = problems;
    return PARO_EXIT_DONE;
}

static bool is_arch(const char *name)
{
    const char *known;

    for (size_t i = 0; (known = paro_arch_name(i)); i++)
        if (strcmp(known, name) == 0)
            return true;
    return false;
}

static void say_archs(paro_console *console)
{
    char names[256] = "";
    const char *known;
    size_t n = 0;

    for (size_t i = 0; (known = paro_arch_name(i)) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", known);
    paro_console_hint(console, "archs are %s", names);
}

paro_exit paro_arch_names_read(paro_console *console, const paro_strings *given,
                               paro_arch_names *out)
{
    paro_arch_names archs = {0};

    for (size_t i = 0; i < given->n_items; i++) {
        char *copy = strdup(given->items[i]), *rest = NULL;
        for (char *word = copy ? strtok_r(copy, SEPARATORS, &rest) : NULL; word;
             word = strtok_r(NULL, SEPARATORS, &rest)) {
            const char **grown = realloc(archs.names, (archs.n + 1) * sizeof *archs.names);
            char *name = strdup(word);
            if (grown)
                archs.names = grown;
            if (grown && name && is_arch(name)) {
                archs.names[archs.n++] = name;
                continue;
            }
            paro_console_error(console, "option '--arch': there is no arch '%.100s'", word);
            say_archs(console);
            free(name);
            free(copy);
            paro_arch_names_release(&archs);
            return PARO_EXIT_USAGE;
        }
        free(copy);
    }
    *out = archs;
    return PARO_EXIT_DONE;
}

void paro_arch_names_release(paro_arch_names *archs)
{
    for (size_t i = 0; i < archs->n; i++)
        free((char *)(uintptr_t)archs->names[i]);
    free(archs->names);
    *archs = (paro_arch_names){0};
}
