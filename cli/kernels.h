/* SPDX-License-Identifier: MIT
 *
 * What the commands about kernels share: which problems (--model, --problem, --buckets), which
 * archs.
 */
#ifndef PARO_CLI_KERNELS_H
#define PARO_CLI_KERNELS_H

#include "cli/console.h"
#include "cli/options.h"

typedef struct paro_kernel_sources {
    paro_strings models;
    paro_strings problems;
    paro_strings buckets;
} paro_kernel_sources;

/* Rows of an option table for the member `member` of the argument struct `type`. */
#define PARO_KERNEL_SOURCE_OPTIONS(type, member)                                                   \
    {.name = "model",                                                                              \
     .letter = 'm',                                                                                \
     .kind = PARO_OPTION_STRINGS,                                                                  \
     .offset = offsetof(type, member.models),                                                      \
     .argument = "DIR",                                                                            \
     .help = "every problem of a model folder (config.json is enough); may be given again"},       \
        {.name = "problem",                                                                        \
         .letter = 'p',                                                                            \
         .kind = PARO_OPTION_STRINGS,                                                              \
         .offset = offsetof(type, member.problems),                                                \
         .argument = "P",                                                                          \
         .help = "a problem, FAMILY:KEY=VALUE,...; may be given again ('paro kernel list FAMILY' " \
                 "has the keys)"},                                                                 \
    {                                                                                              \
        .name = "buckets", .kind = PARO_OPTION_STRINGS, .offset = offsetof(type, member.buckets),  \
        .argument = "N[,N]...",                                                                    \
        .help = "of --model: numbers of tokens at a time, out of 1,2,4,8,...,512 (default: all)"   \
    }

/* The problems asked for; the caller frees *out. Says what is wrong itself. */
paro_exit paro_kernel_sources_read(paro_console *console, const paro_kernel_sources *sources,
                                   paro_problems **out);

/* Names of archs, separated by commas or given one by one. */
typedef struct paro_arch_names {
    const char **names;
    size_t n;
} paro_arch_names;
paro_exit paro_arch_names_read(paro_console *console, const paro_strings *given,
                               paro_arch_names *out);
void paro_arch_names_release(paro_arch_names *archs);

#endif
