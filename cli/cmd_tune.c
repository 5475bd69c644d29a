/* SPDX-License-Identifier: MIT
 *
 * paro tune: every kernel of a model compiled, verified, timed, and the winners stored.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/kernels.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/text.h"

typedef struct tune_args {
    paro_global_args global;
    paro_kernel_sources sources;
    paro_strings archs;
    uint64_t device;
    bool compile_only;
    bool again;
    const char *strategy;
    double budget;
    uint64_t n_jobs;
    const char *shard;
    uint64_t seed;
    int output;
} tune_args;

static const paro_option options[] = {
    PARO_KERNEL_SOURCE_OPTIONS(tune_args, sources),
    {.name = "device",
     .letter = 'd',
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(tune_args, device),
     .argument = "N",
     .max = 1023,
     .help = "the CUDA device (default 0)"},
    {.name = "compile-only",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(tune_args, compile_only),
     .help = "without a GPU: compile every problem's default for every --arch and store it"},
    {.name = "arch",
     .letter = 'a',
     .kind = PARO_OPTION_STRINGS,
     .offset = offsetof(tune_args, archs),
     .argument = "A[,A]...",
     .help = "of --compile-only: architectures, for example sm_90,sm_120"},
    {.name = "strategy",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(tune_args, strategy),
     .argument = "S",
     .help = "how candidates are searched: default (pruned by estimates, then successive halving) "
             "or exhaustive"},
    {.name = "budget",
     .kind = PARO_OPTION_REAL,
     .offset = offsetof(tune_args, budget),
     .argument = "SECONDS",
     .max = 1e9,
     .help = "begin no further problem after so long"},
    {.name = "jobs",
     .letter = 'j',
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(tune_args, n_jobs),
     .argument = "N",
     .max = PARO_OPTIONS_MAX_THREADS,
     .help = "threads that compile (default: one per available core)"},
    {.name = "shard",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(tune_args, shard),
     .argument = "I/N",
     .help = "only every N-th problem from the I-th on, I from 1 to N: to share the work between "
             "GPUs or jobs; merge their caches with 'paro cache merge'"},
    {.name = "again",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(tune_args, again),
     .help = "also tune what the cache has a winner for"},
    {.name = "seed",
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(tune_args, seed),
     .argument = "N",
     .max = 9007199254740992.0,
     .help = "of the random data (default: drawn anew every time)"},
    {.name = "output",
     .letter = 'o',
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(tune_args, output),
     .argument = "table|json",
     .choices = paro_output_table_names,
     .help = "how to print it (default table)"},
    {0}};

typedef struct tuning {
    paro_console *console;
    paro_table *table;      /* NULL for JSON */
    paro_report_node *list; /* NULL for a table */
} tuning;

static void report_row(paro_report_node *node, const paro_tune_row *row)
{
    paro_report_text(node, "problem", row->problem);
    paro_report_text(node, "config", row->config);
    paro_report_text(node, "layout", row->layout);
    paro_report_text(node, "reason", row->reason);
    paro_report_real(node, "median_us", row->median_us);
    paro_report_real(node, "spread_us", row->spread_us);
    paro_report_real(node, "default_us", row->default_us);
    paro_report_real(node, "floor_us", row->floor_us);
    paro_report_real(node, "occupancy", row->occupancy);
    paro_report_integer(node, "n_candidates", row->n_candidates);
    paro_report_integer(node, "n_timed", row->n_timed);
    paro_report_integer(node, "n_wrong", row->n_wrong);
    paro_report_integer(node, "n_refused", row->n_refused);
    paro_report_integer(node, "n_crashed", row->n_crashed);
    paro_report_integer(node, "n_hung", row->n_hung);
    paro_report_integer(node, "n_pruned", row->n_pruned);
    paro_report_integer(node, "n_ties", row->n_ties);
    paro_report_text(node, "clock", row->clock);
    paro_report_real(node, "seconds", row->seconds);
    paro_report_bool(node, "from_cache", row->from_cache);
}

static void tuned(void *context, const paro_tune_row *row)
{
    tuning *t = context;

    if (t->list) {
        report_row(paro_report_object(t->list, NULL), row);
        return;
    }
    paro_table_cell(t->table, "%s", row->problem);
    if (!row->config) {
        for (int i = 0; i < 8; i++)
            paro_table_cell(t->table, "-");
        paro_table_cell(t->table, "none: %s", row->reason ? row->reason : "?");
    } else {
        paro_table_cell(t->table, "%.2f", row->median_us);
        paro_table_cell(t->table, "%.2f", row->spread_us);
        paro_table_cell(t->table, "%.0f %%",
                        row->median_us > 0 ? 100 * row->floor_us / row->median_us : 0);
        if (row->from_cache)
            paro_table_cell(t->table, "-");
        else
            paro_table_cell(t->table, "%.0f %%", 100 * row->occupancy);
        paro_table_cell(t->table, "%.2f",
                        row->median_us > 0 ? row->default_us / row->median_us : 0);
        if (row->from_cache)
            paro_table_cell(t->table, "-/%u", row->n_candidates);
        else
            paro_table_cell(t->table, "%u/%u", row->n_timed, row->n_candidates);
        paro_table_cell(t->table, "%u", row->n_ties);
        if (row->from_cache)
            paro_table_cell(t->table, "-");
        else
            paro_table_cell(t->table, "%u", row->n_wrong + row->n_crashed + row->n_hung);
        paro_table_cell(t->table, "%s%s", row->config, row->from_cache ? " (cached)" : "");
    }
    paro_console_pause(t->console);
    paro_table_print(t->table, stdout);
    fflush(stdout);
}

static paro_table *make_table(const paro_problems *problems)
{
    paro_column columns[] = {{.title = "problem"},
                             {.title = "us", .right = true, .width = 7},
                             {.title = "spread", .right = true},
                             {.title = "floor", .right = true},
                             {.title = "occup", .right = true},
                             {.title = "gain", .right = true},
                             {.title = "timed", .right = true, .width = 6},
                             {.title = "ties", .right = true},
                             {.title = "bad", .right = true},
                             {.title = "winner"}};

    /* Rows are printed as they come: the problems' width must be known before. */
    for (size_t i = 0; i < paro_problems_count(problems); i++) {
        unsigned width = (unsigned)strlen(paro_problems_get(problems, i));
        if (width > columns[0].width)
            columns[0].width = width;
    }
    return paro_table_new(columns, sizeof columns / sizeof columns[0]);
}

/* "I/N" to a shard from 0; false where it is not that. */
static bool read_shard(const char *text, uint32_t *shard, uint32_t *n_shards)
{
    const char *slash = strchr(text, '/');
    char first[16];
    uint64_t i = 0, n = 0;

    if (!slash || slash - text > 9)
        return false;
    snprintf(first, sizeof first, "%.*s", (int)(slash - text), text);
    if (!paro_options_number(first, &i) || !paro_options_number(slash + 1, &n) || i < 1 || n < i ||
        n > 1000000)
        return false;
    *shard = (uint32_t)(i - 1);
    *n_shards = (uint32_t)n;
    return true;
}

static paro_exit compile_only(paro_console *console, const tune_args *args, paro_cache *cache,
                              const paro_problems *problems, const paro_tune_options *o)
{
    paro_compile_summary s;
    paro_arch_names archs = {0};
    paro_error err;
    paro_exit code = paro_arch_names_read(console, &args->archs, &archs);

    if (code != PARO_EXIT_DONE)
        return code;
    if (archs.n == 0) {
        paro_console_error(console, "--compile-only needs --arch, for example --arch sm_90");
        return PARO_EXIT_USAGE;
    }
    paro_status status = paro_tune_compile(&err, cache, problems, archs.names, archs.n, o, &s);
    paro_arch_names_release(&archs);
    if (status != PARO_STATUS_OK)
        return paro_console_fail(console, &err);
    paro_console_pause(console);
    if (args->output == PARO_OUTPUT_JSON) {
        paro_report *report = paro_report_new();
        paro_report_node *root = paro_report_root(report);
        paro_report_text(root, "cache", console->environment.cache);
        paro_report_integer(root, "n_problems", paro_problems_count(problems));
        paro_report_integer(root, "n_kernels", s.n_kernels);
        paro_report_integer(root, "n_from_cache", s.n_from_cache);
        paro_report_integer(root, "n_no_path", s.n_no_path);
        paro_report_integer(root, "n_failed", s.n_failed);
        paro_report_integer(root, "n_spilling", s.n_spilling);
        paro_report_real(root, "seconds", s.seconds);
        code = paro_console_report(console, report, code);
    } else {
        printf("%zu problems: %u kernels compiled, %u there already, %u without a path on their "
               "arch, %u refused, %u spilling; %.1f s; in %s\n",
               paro_problems_count(problems), s.n_kernels, s.n_from_cache, s.n_no_path, s.n_failed,
               s.n_spilling, s.seconds, console->environment.cache);
    }
    if (s.n_failed == 0)
        return code;
    return s.n_kernels + s.n_from_cache > 0 ? PARO_EXIT_PARTLY : PARO_EXIT_FAILED;
}

static paro_exit tune(paro_console *console, const tune_args *args, paro_cache *cache,
                      const paro_problems *problems, paro_tune_options *o)
{
    tuning t = {.console = console};
    paro_tune_summary s;
    paro_report *report = NULL;
    paro_error err;
    paro_exit code = PARO_EXIT_DONE;

    if (args->output == PARO_OUTPUT_JSON) {
        report = paro_report_new();
        t.list = paro_report_array(paro_report_root(report), "problems");
    } else {
        t.table = make_table(problems);
    }
    o->row = tuned;
    o->row_context = &t;
    paro_status status = paro_tune(&err, cache, problems, o, &s);
    paro_console_pause(console);
    paro_table_free(t.table);
    if (status != PARO_STATUS_OK) {
        paro_report_free(report);
        return paro_console_fail(console, &err);
    }
    if (s.n_failed > 0)
        code = s.n_failed < s.n_problems ? PARO_EXIT_PARTLY : PARO_EXIT_FAILED;
    if (report) {
        paro_report_node *root = paro_report_root(report);
        paro_report_text(root, "cache", console->environment.cache);
        paro_report_text(root, "device", s.device_name);
        paro_report_text(root, "device_class", s.device_class);
        paro_report_text(root, "clock", s.clock);
        paro_report_real(root, "read_gbs", s.read_gbs);
        paro_report_integer(root, "n_problems", s.n_problems);
        paro_report_integer(root, "n_tuned", s.n_tuned);
        paro_report_integer(root, "n_from_cache", s.n_from_cache);
        paro_report_integer(root, "n_failed", s.n_failed);
        paro_report_integer(root, "n_workers_lost", s.n_workers_lost);
        paro_report_real(root, "seconds", s.seconds);
        return paro_console_report(console, report, code);
    }
    printf("%s (%s): %u of %u problems tuned, %u were, %u without a winner; %.1f s, clock %s\n",
           s.device_name, s.device_class, s.n_tuned, s.n_problems, s.n_from_cache, s.n_failed,
           s.seconds, s.clock);
    if (s.n_workers_lost)
        paro_console_warn(console, "%u worker processes died with their candidate",
                          s.n_workers_lost);
    return code;
}

static bool is_strategy(paro_console *console, const char *name)
{
    const char *known;

    for (size_t i = 0; (known = paro_tune_strategy(i, NULL)); i++)
        if (!name || strcmp(known, name) == 0)
            return true;
    paro_console_error(console, "option '--strategy': there is no strategy '%.100s'", name);
    paro_console_hint(console, "strategies are default and exhaustive");
    return false;
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    static const char *const worker_args[] = {"tune-worker", NULL};
    const tune_args *a = args;
    const paro_cache_options cache_options = {.path = console->environment.cache,
                                              .system_path = console->environment.system_cache,
                                              .observer = &console->observer};
    paro_tune_options o = {.device = (int)a->device,
                           .strategy = a->strategy,
                           .budget_seconds = a->budget,
                           .n_jobs = a->n_jobs ? (int)a->n_jobs : console->n_threads,
                           .again = a->again,
                           .seed = a->seed,
                           .worker = console->environment.program,
                           .worker_args = worker_args,
                           .nvrtc_library = console->environment.nvrtc,
                           .observer = &console->observer};
    paro_problems *problems = NULL;
    paro_cache *cache = NULL;
    paro_error err;

    (void)positional;
    if (!is_strategy(console, a->strategy))
        return PARO_EXIT_USAGE;
    if (a->shard && !read_shard(a->shard, &o.shard, &o.n_shards)) {
        paro_console_error(console,
                           "option '--shard': expected I/N with I from 1 to N, found "
                           "'%.100s'",
                           a->shard);
        return PARO_EXIT_USAGE;
    }
    if (a->archs.n_items && !a->compile_only) {
        paro_console_error(console, "--arch is of --compile-only: a GPU is tuned as what it is");
        return PARO_EXIT_USAGE;
    }
    if (!cache_options.path) {
        paro_console_error(console, "there is no place for a kernel cache: none of PARO_CACHE, "
                                    "XDG_CACHE_HOME and HOME is set");
        return PARO_EXIT_FAILED;
    }
    paro_exit code = paro_kernel_sources_read(console, &a->sources, &problems);
    if (code != PARO_EXIT_DONE)
        return code;
    if (paro_cache_open(&err, &cache_options, &cache) != PARO_STATUS_OK)
        code = paro_console_fail(console, &err);
    else
        code = a->compile_only ? compile_only(console, a, cache, problems, &o)
                               : tune(console, a, cache, problems, &o);
    paro_cache_free(cache);
    paro_problems_free(problems);
    return code;
}

const paro_command paro_command_tune = {
    .name = "tune",
    .synopsis = "[--model DIR | --problem P]... [OPTION]...",
    .summary = "find, verify and store the fastest kernels for this GPU",
    .details =
        "For every problem: candidates are compiled on all cores, each is verified on fresh random "
        "data and timed in a worker process, cold, by the GPU's own kernel records; the winner, "
        "its "
        "machine code and every timing go into the cache at once, so that work that is stopped "
        "goes "
        "on where it was. Columns: the winner's median time and spread (90th - 10th percentile); "
        "the "
        "floor's share of it (what moving its bytes takes at the bandwidth measured here; its "
        "arithmetic is not counted); occupancy of its longest kernel; the default's time over the "
        "winner's; "
        "candidates timed, of all; others that were as fast; candidates that were wrong, crashed "
        "or hung.",
    .options = options,
    .args_bytes = sizeof(tune_args),
    .run = run};

/* ---- the worker: not for people ---- */

static const paro_option worker_options[] = {{0}};

static paro_exit run_worker(paro_console *console, const void *args, const paro_strings *positional)
{
    paro_error err;

    (void)args;
    (void)positional;
    return paro_tune_worker(&err, 0, 1) == PARO_STATUS_OK ? PARO_EXIT_DONE
                                                          : paro_console_fail(console, &err);
}

const paro_command paro_command_tune_worker = {
    .name = "tune-worker",
    .synopsis = "",
    .summary = "the process that paro tune runs candidates in; reads requests, answers",
    .details = "Not for people: speaks a binary protocol on standard input and output.",
    .options = worker_options,
    .args_bytes = sizeof(paro_global_args),
    .is_hidden = true,
    .run = run_worker};
