/* SPDX-License-Identifier: MIT
 *
 * paro version: the version, and this machine as paro sees it.
 */
#include "cli/command.h"
#include "cli/report.h"

typedef struct version_args {
    paro_global_args global;
    int output;
} version_args;

static const paro_option options[] = {{.name = "output",
                                       .letter = 'o',
                                       .kind = PARO_OPTION_CHOICE,
                                       .offset = offsetof(version_args, output),
                                       .argument = "text|json",
                                       .choices = paro_output_text_names,
                                       .help = "how to print it (default text)"},
                                      {0}};

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    const version_args *a = args;

    (void)positional;
    if (a->output == PARO_OUTPUT_TABLE) {
        printf("paro %s\n%s\n", paro_version(), paro_build_summary());
        return PARO_EXIT_DONE;
    }
    paro_report *report = paro_report_new();
    paro_report_text(paro_report_root(report), "version", paro_version());
    paro_report_text(paro_report_root(report), "build", paro_build_summary());
    return paro_console_report(console, report, PARO_EXIT_DONE);
}

const paro_command paro_command_version = {
    .name = "version",
    .synopsis = "[OPTION]...",
    .summary = "the version, and this machine as paro sees it",
    .details = "Prints paro's version, then one line with the instruction set of the CPU kernels, "
               "the threads and the BLAS library.",
    .options = options,
    .args_bytes = sizeof(version_args),
    .run = run};
