/* SPDX-License-Identifier: MIT
 *
 * A subcommand: its words in --help, its options, and the function that runs it.
 */
#ifndef PARO_CLI_COMMAND_H
#define PARO_CLI_COMMAND_H

#include "cli/console.h"
#include "cli/options.h"

typedef struct paro_command {
    const char *name;
    const char *synopsis; /* what comes after "paro NAME" */
    const char *summary;  /* one line, no full stop */
    const char *details;  /* paragraphs for --help */
    const paro_option *options;
    size_t args_bytes;    /* size of the argument struct, whose first member is paro_global_args */
    const void *defaults; /* [args_bytes], or NULL for all zero */
    size_t min_positional;
    size_t max_positional;
    const char *missing; /* what to say where there are fewer positional arguments than that */
    bool has_rest;       /* further positional arguments go to the list at rest_offset */
    size_t rest_offset;
    bool options_first; /* options end at the first positional argument */
    bool is_hidden;     /* not in the list of commands: for paro itself */
    paro_exit (*run)(paro_console *console, const void *args, const paro_strings *positional);
} paro_command;

extern const paro_command paro_command_inspect;
extern const paro_command paro_command_quantize;
extern const paro_command paro_command_eval;
extern const paro_command paro_command_run;
extern const paro_command paro_command_tokenize;
extern const paro_command paro_command_tune;
extern const paro_command paro_command_kernel;
extern const paro_command paro_command_cache;
extern const paro_command paro_command_lua;
extern const paro_command paro_command_bench;
extern const paro_command paro_command_version;
extern const paro_command paro_command_tune_worker;

/* Choices of --output. */
typedef enum paro_output {
    PARO_OUTPUT_TABLE, /* or plain text */
    PARO_OUTPUT_JSON
} paro_output;
extern const char *const paro_output_table_names[]; /* "table", "json" */
extern const char *const paro_output_text_names[];  /* "text", "json" */

/* Help: `commands` ends with a NULL. */
void paro_help_print(const paro_command *const *commands, FILE *stream);
void paro_help_print_command(const paro_command *command, FILE *stream);

#endif
