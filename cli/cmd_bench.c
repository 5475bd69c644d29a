/* SPDX-License-Identifier: MIT
 *
 * paro bench kernels: problems timed as the runtime would run them, beside a pure read of their
 * bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/kernels.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/text.h"

typedef struct bench_args {
    paro_global_args global;
    paro_kernel_sources sources;
    uint64_t device;
    uint64_t n_samples;
    bool library;
    uint64_t seed;
    int output;
} bench_args;

static const paro_option options[] = {
    PARO_KERNEL_SOURCE_OPTIONS(bench_args, sources),
    {.name = "device",
     .letter = 'd',
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(bench_args, device),
     .argument = "N",
     .max = 1023,
     .help = "the CUDA device (default 0)"},
    {.name = "samples",
     .letter = 'n',
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(bench_args, n_samples),
     .argument = "N",
     .min = 1,
     .max = 1e6,
     .help = "replays measured (default 50)"},
    {.name = "library",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(bench_args, library),
     .help = "of linears: also cuBLASLt's product of the same shape with 16-bit weights"},
    {.name = "seed",
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(bench_args, seed),
     .argument = "N",
     .max = 9007199254740992.0,
     .help = "of the random data, made even (default 0)"},
    {.name = "output",
     .letter = 'o',
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(bench_args, output),
     .argument = "table|json",
     .choices = paro_output_table_names,
     .help = "how to print it (default table)"},
    {0}};

typedef struct bench {
    const bench_args *args;
    paro_table *table;
    paro_report_node *list;
} bench;

static void measured(void *context, const paro_bench_row *row)
{
    bench *b = context;
    paro_report_node *node = paro_report_object(b->list, NULL);

    paro_report_text(node, "problem", row->problem);
    paro_report_text(node, "config", row->config);
    paro_report_text(node, "grade", row->grade);
    paro_report_real(node, "median_us", row->median_us);
    paro_report_real(node, "spread_us", row->spread_us);
    paro_report_real(node, "read_us", row->read_us);
    paro_report_real(node, "bytes", row->bytes);
    paro_report_real(node, "operations", row->operations);
    paro_report_real(node, "error", row->error);
    paro_report_real(node, "library_us", row->library_us);
    if (b->list)
        return;
    paro_table_cell(b->table, "%s", row->problem);
    paro_table_cell(b->table, "%.2f", row->median_us);
    paro_table_cell(b->table, "%.2f", row->spread_us);
    paro_table_cell(b->table, "%.2f", row->read_us);
    paro_table_cell(b->table, "%.0f %%",
                    row->median_us > 0 ? 100 * row->read_us / row->median_us : 0);
    paro_table_cell(b->table, "%.0f", row->median_us > 0 ? row->bytes / row->median_us / 1e3 : 0);
    paro_table_cell(b->table, "%.1e", row->error);
    if (b->args->library && row->library_us > 0)
        paro_table_cell(b->table, "%.2f", row->library_us);
    else if (b->args->library)
        paro_table_cell(b->table, "-");
    paro_table_cell(b->table, "%s", row->grade);
    paro_table_cell(b->table, "%s", row->config);
}

static paro_table *make_table(bool library)
{
    static const paro_column with[] = {{.title = "problem"},
                                       {.title = "us", .right = true},
                                       {.title = "spread", .right = true},
                                       {.title = "read", .right = true},
                                       {.title = "share", .right = true},
                                       {.title = "GB/s", .right = true},
                                       {.title = "error", .right = true},
                                       {.title = "cuBLASLt", .right = true},
                                       {.title = "grade"},
                                       {.title = "config"}};
    paro_column columns[10];
    size_t n = 0;

    for (size_t i = 0; i < 10; i++)
        if (library || i != 7)
            columns[n++] = with[i];
    return paro_table_new(columns, n);
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    bench b = {.args = args};
    const paro_cache_options cache_options = {.path = console->environment.cache,
                                              .system_path = console->environment.system_cache,
                                              .read_only = true,
                                              .observer = &console->observer};
    const paro_bench_options o = {.device = (int)b.args->device,
                                  .n_samples = (uint32_t)b.args->n_samples,
                                  .library = b.args->library,
                                  .seed = b.args->seed,
                                  .nvrtc_library = console->environment.nvrtc,
                                  .observer = &console->observer,
                                  .row = measured,
                                  .row_context = &b};
    paro_problems *problems = NULL;
    paro_cache *cache = NULL;
    paro_report *report = NULL;
    paro_error err;

    if (strcmp(positional->items[0], "kernels") != 0) {
        paro_console_error(console, "bench: expected kernels, found '%.100s'",
                           positional->items[0]);
        return PARO_EXIT_USAGE;
    }
    paro_exit code = paro_kernel_sources_read(console, &b.args->sources, &problems);
    if (code != PARO_EXIT_DONE)
        return code;
    if (cache_options.path && paro_cache_open(&err, &cache_options, &cache) != PARO_STATUS_OK) {
        code = paro_console_fail(console, &err);
        goto done;
    }
    if (b.args->output == PARO_OUTPUT_JSON) {
        report = paro_report_new();
        b.list = paro_report_array(paro_report_root(report), "kernels");
    } else {
        b.table = make_table(b.args->library);
    }
    if (paro_bench_kernels(&err, cache, problems, &o) != PARO_STATUS_OK) {
        code = paro_console_fail(console, &err);
        paro_report_free(report);
    } else if (report) {
        code = paro_console_report(console, report, code);
    } else {
        paro_console_pause(console);
        if (!paro_table_print(b.table, stdout)) {
            paro_console_error(console, "out of memory for the table");
            code = PARO_EXIT_FAILED;
        }
    }
done:
    paro_table_free(b.table);
    paro_cache_free(cache);
    paro_problems_free(problems);
    return code;
}

const paro_command paro_command_bench = {
    .name = "bench",
    .synopsis = "kernels [--model DIR | --problem P]... [OPTION]...",
    .summary = "time kernels on this GPU beside a pure read of the same bytes",
    .details =
        "Every problem runs as the runtime would run it, from the cache or with its default, in "
        "replays of a plain graph whose inputs are not in the L2 cache, launch gaps included. "
        "share "
        "is the time that a kernel which only reads the same number of bytes takes in the same "
        "harness, over the problem's.",
    .options = options,
    .args_bytes = sizeof(bench_args),
    .min_positional = 1,
    .max_positional = 1,
    .missing = "bench needs what to measure: kernels",
    .run = run};
