/* SPDX-License-Identifier: MIT
 *
 * The text of --help, from the tables of commands and options.
 */
#include "cli/command.h"

const char *const paro_output_table_names[] = {"table", "json", NULL};
const char *const paro_output_text_names[] = {"text", "json", NULL};

void paro_help_print(const paro_command *const *commands, FILE *stream)
{
    fputs("Usage: paro [OPTION]... COMMAND [ARGUMENT]...\n"
          "Quantise language models with pairwise rotations, measure them, run them.\n"
          "\n"
          "Commands:\n",
          stream);
    for (; *commands; commands++)
        if (!(*commands)->is_hidden)
            fprintf(stream, "  %-10s  %s\n", (*commands)->name, (*commands)->summary);
    fprintf(stream, "  %-10s  %s\n", "help", "print this help, or that of a command");
    fputs("\nOptions of every command:\n", stream);
    paro_options_print(paro_global_options, stream);
    fputs("\n"
          "Data goes to standard output; errors, logs and progress go to standard error.\n"
          "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 partly done, 130 interrupted.\n"
          "'paro help COMMAND' says more about a command.\n",
          stream);
}

void paro_help_print_command(const paro_command *command, FILE *stream)
{
    fprintf(stream, "Usage: paro %s %s\n", command->name, command->synopsis);
    fprintf(stream, "%c%s.\n\n", command->summary[0] - 'a' + 'A', command->summary + 1);
    paro_options_wrap(command->details, 0, 0, stream);
    fputs("\nOptions:\n", stream);
    paro_options_print(command->options, stream);
    fputs("\nOptions of every command:\n", stream);
    paro_options_print(paro_global_options, stream);
}
