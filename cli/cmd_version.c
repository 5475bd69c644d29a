/* SPDX-License-Identifier: MIT
 *
 * paro version: the version, and this machine as paro sees it.
 */
#include <sched.h>

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

/* What 0, one thread per available core, comes to. */
static int available_threads(void)
{
    cpu_set_t cores;
    int n = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;

    return n < PARO_OPTIONS_MAX_THREADS ? n : PARO_OPTIONS_MAX_THREADS;
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    const version_args *a = args;
    const int n_threads = console->n_threads ? console->n_threads : available_threads();

    paro_tools tools;

    (void)positional;
    paro_tools_find(console->environment.nvrtc, &tools);
    if (a->output == PARO_OUTPUT_TABLE) {
        printf("paro %s\n%s\nCPU threads: %d\nGPU: %s\nNVRTC: %s\nlibclang: %s\nkernel cache: %s\n",
               paro_version(), paro_build_summary(), n_threads, tools.gpu, tools.nvrtc,
               tools.libclang, console->environment.cache ? console->environment.cache : "none");
        return PARO_EXIT_DONE;
    }
    paro_report *report = paro_report_new();
    paro_report_text(paro_report_root(report), "version", paro_version());
    paro_report_text(paro_report_root(report), "build", paro_build_summary());
    paro_report_integer(paro_report_root(report), "threads", (uint64_t)n_threads);
    paro_report_bool(paro_report_root(report), "has_gpu", tools.has_gpu);
    paro_report_text(paro_report_root(report), "gpu", tools.gpu);
    paro_report_bool(paro_report_root(report), "has_nvrtc", tools.has_nvrtc);
    paro_report_text(paro_report_root(report), "nvrtc", tools.nvrtc);
    paro_report_bool(paro_report_root(report), "has_libclang", tools.has_libclang);
    paro_report_text(paro_report_root(report), "libclang", tools.libclang);
    paro_report_text(paro_report_root(report), "cache", console->environment.cache);
    return paro_console_report(console, report, PARO_EXIT_DONE);
}

const paro_command paro_command_version = {
    .name = "version",
    .synopsis = "[OPTION]...",
    .summary = "the version, and this machine as paro sees it",
    .details = "Prints paro's version, the instruction set of the CPU kernels and the BLAS library "
               "that large products go to, the number of CPU threads that models would use here, "
               "the GPU, the libraries that compile and check kernels (or why there is none), and "
               "where the kernel cache is.",
    .options = options,
    .args_bytes = sizeof(version_args),
    .run = run};
