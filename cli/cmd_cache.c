/* SPDX-License-Identifier: MIT
 *
 * paro cache: what the kernel cache holds, bundles of it, and its upkeep.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/command.h"
#include "cli/kernels.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/text.h"

typedef struct cache_args {
    paro_global_args global;
    paro_strings rest;
    paro_kernel_sources sources;
    paro_strings archs;
    const char *family;
    uint64_t device;
    bool timings;
    bool overwrite;
    int output;
} cache_args;

static const paro_option options[] = {
    PARO_KERNEL_SOURCE_OPTIONS(cache_args, sources),
    {.name = "arch",
     .letter = 'a',
     .kind = PARO_OPTION_STRINGS,
     .offset = offsetof(cache_args, archs),
     .argument = "A",
     .help = "of export: only kernels for this architecture; of explain: for a typical device of "
             "it instead of the one here"},
    {.name = "family",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(cache_args, family),
     .argument = "F",
     .help = "of list: only this kernel family"},
    {.name = "device",
     .letter = 'd',
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(cache_args, device),
     .argument = "N",
     .max = 1023,
     .help = "of explain: the CUDA device (default 0)"},
    {.name = "timings",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(cache_args, timings),
     .help = "of export: with every timing; of prune: timings of older templates go too"},
    {.name = "overwrite",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(cache_args, overwrite),
     .help = "of export: replace the file"},
    {.name = "output",
     .letter = 'o',
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(cache_args, output),
     .argument = "table|json",
     .choices = paro_output_table_names,
     .help = "how to print it (default table)"},
    {0}};

/* One call of the command: the open cache, the report (JSON only) and its root. */
typedef struct cache_call {
    paro_console *console;
    const cache_args *args;
    const char *path;
    paro_cache *cache;
    paro_report *report;    /* NULL for tables */
    paro_report_node *root; /* NULL for tables */
} cache_call;

static paro_exit info_of(cache_call *call, const paro_cache_info *info, bool verified)
{
    char size[PARO_TEXT_NUMBER_BYTES], kernels[PARO_TEXT_NUMBER_BYTES];

    paro_report_text(call->root, "path", call->path);
    paro_report_text(call->root, "system_path", call->console->environment.system_cache);
    paro_report_integer(call->root, "schema", info->schema);
    paro_report_integer(call->root, "n_winners", info->n_winners);
    paro_report_integer(call->root, "n_kernels", info->n_kernels);
    paro_report_integer(call->root, "n_timings", info->n_timings);
    paro_report_integer(call->root, "n_kernel_bytes", info->n_kernel_bytes);
    paro_report_integer(call->root, "n_file_bytes", info->n_file_bytes);
    if (verified)
        paro_report_integer(call->root, "n_damaged", info->n_damaged);
    if (!call->report) {
        printf("file     %s, %s, schema %u\n", call->path, paro_text_size(size, info->n_file_bytes),
               info->schema);
        if (call->console->environment.system_cache)
            printf("system   %s\n", call->console->environment.system_cache);
        printf("winners  %llu\nkernels  %llu, %s\ntimings  %llu\n",
               (unsigned long long)info->n_winners, (unsigned long long)info->n_kernels,
               paro_text_size(kernels, info->n_kernel_bytes), (unsigned long long)info->n_timings);
        if (verified)
            printf("damaged  %llu\n", (unsigned long long)info->n_damaged);
    }
    return verified && info->n_damaged ? PARO_EXIT_FAILED : PARO_EXIT_DONE;
}

static paro_exit run_info(cache_call *call, paro_error *err)
{
    paro_cache_info info;

    return paro_cache_get_info(err, call->cache, &info) == PARO_STATUS_OK
               ? info_of(call, &info, false)
               : paro_console_fail(call->console, err);
}

static paro_exit run_verify(cache_call *call, paro_error *err)
{
    paro_cache_info info;

    return paro_cache_verify(err, call->cache, &info) == PARO_STATUS_OK
               ? info_of(call, &info, true)
               : paro_console_fail(call->console, err);
}

/* ---- list ---- */

typedef struct list_context {
    paro_table *table;
    paro_report_node *list;
} list_context;

static bool list_winner(void *context, const paro_cache_winner *w)
{
    list_context *list = context;
    paro_report_node *object = paro_report_object(list->list, NULL);

    paro_report_text(object, "problem", w->problem);
    paro_report_text(object, "device_class", w->device_class);
    paro_report_text(object, "layout", w->layout);
    paro_report_text(object, "config", w->config);
    paro_report_text(object, "template_hash", w->template_hash);
    paro_report_text(object, "kernel", w->kernel);
    paro_report_real(object, "median_us", w->median_us);
    paro_report_real(object, "spread_us", w->spread_us);
    paro_report_real(object, "default_us", w->default_us);
    paro_report_integer(object, "n_samples", w->n_samples);
    paro_report_integer(object, "n_candidates", w->n_candidates);
    paro_report_integer(object, "n_ties", w->n_ties);
    paro_report_integer(object, "clock_mhz", w->clock_mhz);
    paro_report_text(object, "clock", w->clock);
    paro_report_text(object, "device", w->device);
    paro_report_text(object, "driver", w->driver);
    paro_report_text(object, "strategy", w->strategy);
    paro_report_signed(object, "tuned_at", w->tuned_at);
    paro_table_cell(list->table, "%s", w->problem);
    paro_table_cell(list->table, "%s", w->device_class);
    if (w->median_us > 0)
        paro_table_cell(list->table, "%.2f", w->median_us);
    else
        paro_table_cell(list->table, "not timed");
    if (w->median_us > 0 && w->default_us > 0)
        paro_table_cell(list->table, "%.2f", w->default_us / w->median_us);
    else
        paro_table_cell(list->table, "-");
    paro_table_cell(list->table, "%s", w->config);
    return true;
}

static paro_exit run_list(cache_call *call, paro_error *err)
{
    static const paro_column columns[] = {{.title = "problem"},
                                          {.title = "device class"},
                                          {.title = "us", .right = true},
                                          {.title = "gain", .right = true},
                                          {.title = "config"}};
    list_context list = {.list = paro_report_array(call->root, "winners")};
    paro_exit code = PARO_EXIT_DONE;

    if (!call->report)
        list.table = paro_table_new(columns, sizeof columns / sizeof columns[0]);
    if (paro_cache_each_winner(err, call->cache, call->args->family, NULL, list_winner, &list) !=
        PARO_STATUS_OK) {
        code = paro_console_fail(call->console, err);
    } else if (!call->report && !paro_table_print(list.table, stdout)) {
        paro_console_error(call->console, "out of memory for the table");
        code = PARO_EXIT_FAILED;
    }
    paro_table_free(list.table);
    return code;
}

/* ---- explain ---- */

static paro_exit run_explain(cache_call *call, paro_error *err)
{
    paro_cache_explanation e;
    const char *problem = call->args->rest.items[0];
    const char *arch = call->args->archs.n_items ? call->args->archs.items[0] : NULL;

    paro_status status =
        paro_cache_explain(err, call->cache, problem, arch, (int)call->args->device, &e);
    if (status != PARO_STATUS_OK) {
        paro_exit code = paro_console_fail(call->console, err);
        return status == PARO_STATUS_INVALID_ARGUMENT ? PARO_EXIT_USAGE : code;
    }
    paro_report_text(call->root, "problem", problem);
    paro_report_text(call->root, "grade", paro_grade_name(e.grade));
    paro_report_text(call->root, "config", e.config);
    paro_report_text(call->root, "device_class", e.device_class);
    paro_report_text(call->root, "kernel", e.has_kernel ? e.kernel : NULL);
    paro_report_text(call->root, "why", e.why);
    paro_report_real(call->root, "median_us", e.median_us);
    if (call->report)
        return PARO_EXIT_DONE;
    printf("problem  %s\ndevice   %s\ngrade    %s\nconfig   %s\nkernel   %s\nwhy      %s\n",
           problem, e.device_class, paro_grade_name(e.grade), e.config,
           e.has_kernel ? e.kernel : "not in the cache: to be compiled", e.why);
    if (e.median_us > 0)
        printf("time     %.2f us\n", e.median_us);
    return PARO_EXIT_DONE;
}

/* ---- bundles ---- */

static paro_exit run_export(cache_call *call, paro_error *err)
{
    const cache_args *args = call->args;
    paro_problems *problems = NULL;
    const char **texts = NULL;
    size_t n = 0;
    paro_exit code = PARO_EXIT_DONE;

    if (args->sources.models.n_items + args->sources.problems.n_items > 0) {
        code = paro_kernel_sources_read(call->console, &args->sources, &problems);
        if (code != PARO_EXIT_DONE)
            return code;
        n = paro_problems_count(problems);
        texts = calloc(n + 1, sizeof *texts);
        for (size_t i = 0; i < n && texts; i++)
            texts[i] = paro_problems_get(problems, i);
        if (!texts) {
            paro_console_error(call->console, "out of memory");
            paro_problems_free(problems);
            return PARO_EXIT_FAILED;
        }
    }
    const paro_cache_filter filter = {.problems = texts,
                                      .n_problems = n,
                                      .arch = args->archs.n_items ? args->archs.items[0] : NULL,
                                      .with_timings = args->timings};
    if (paro_cache_export(err, call->cache, args->rest.items[0], &filter, args->overwrite,
                          &call->console->observer) != PARO_STATUS_OK)
        code = paro_console_fail(call->console, err);
    paro_report_text(call->root, "file", args->rest.items[0]);
    if (code == PARO_EXIT_DONE)
        paro_console_info(call->console, "written: %s", args->rest.items[0]);
    free(texts);
    paro_problems_free(problems);
    return code;
}

/* import and merge: files in, one after the other, each whole or not at all. */
static paro_exit run_import(cache_call *call, paro_error *err)
{
    const paro_strings *files = &call->args->rest;
    paro_report_node *list = paro_report_array(call->root, "files");
    size_t n_failed = 0;

    for (size_t i = 0; i < files->n_items; i++) {
        paro_merge_result r = {0};
        paro_status status =
            paro_cache_import(err, call->cache, files->items[i], &call->console->observer, &r);
        paro_report_node *object = paro_report_object(list, NULL);
        paro_report_text(object, "file", files->items[i]);
        if (status == PARO_STATUS_CANCELLED)
            return paro_console_interrupted(call->console);
        if (status != PARO_STATUS_OK) {
            paro_console_fail(call->console, err);
            paro_report_text(object, "error", err->message);
            n_failed++;
            continue;
        }
        paro_report_integer(object, "n_winners_added", r.n_winners_added);
        paro_report_integer(object, "n_winners_replaced", r.n_winners_replaced);
        paro_report_integer(object, "n_winners_kept", r.n_winners_kept);
        paro_report_integer(object, "n_kernels_added", r.n_kernels_added);
        paro_report_integer(object, "n_timings_added", r.n_timings_added);
        paro_report_integer(object, "n_damaged", r.n_damaged);
        if (!call->report)
            printf("%s: %llu winners added, %llu replaced, %llu kept; %llu kernels and %llu "
                   "timings added; %llu damaged rows left out\n",
                   files->items[i], (unsigned long long)r.n_winners_added,
                   (unsigned long long)r.n_winners_replaced, (unsigned long long)r.n_winners_kept,
                   (unsigned long long)r.n_kernels_added, (unsigned long long)r.n_timings_added,
                   (unsigned long long)r.n_damaged);
    }
    return n_failed == 0                ? PARO_EXIT_DONE
           : n_failed == files->n_items ? PARO_EXIT_FAILED
                                        : PARO_EXIT_PARTLY;
}

static paro_exit run_prune(cache_call *call, paro_error *err)
{
    uint64_t n_removed = 0;

    if (paro_cache_prune_old(err, call->cache, call->args->timings, &n_removed) != PARO_STATUS_OK)
        return paro_console_fail(call->console, err);
    paro_report_integer(call->root, "n_removed", n_removed);
    if (!call->report)
        printf("%llu rows removed\n", (unsigned long long)n_removed);
    return PARO_EXIT_DONE;
}

/* ---- verbs ---- */

typedef struct verb {
    const char *name;
    size_t min_rest, max_rest;
    const char *takes;
    bool writes;
    paro_exit (*run)(cache_call *call, paro_error *err);
} verb;

static const verb verbs[] = {{"info", 0, 0, "nothing", false, run_info},
                             {"list", 0, 0, "nothing", false, run_list},
                             {"explain", 1, 1, "a problem", false, run_explain},
                             {"export", 1, 1, "a file to write", false, run_export},
                             {"import", 1, 1, "a file to read", true, run_import},
                             {"merge", 1, SIZE_MAX, "files to read", true, run_import},
                             {"verify", 0, 0, "nothing", false, run_verify},
                             {"prune", 0, 0, "nothing", true, run_prune}};

static paro_exit call_verb(paro_console *console, const cache_args *args, const verb *v)
{
    cache_call call = {.console = console, .args = args, .path = console->environment.cache};
    const paro_cache_options o = {.path = call.path,
                                  .system_path = console->environment.system_cache,
                                  .read_only = !v->writes,
                                  .observer = &console->observer};
    paro_error err;

    if (!call.path) {
        paro_console_error(console, "there is no place for a kernel cache: none of PARO_CACHE, "
                                    "XDG_CACHE_HOME and HOME is set");
        return PARO_EXIT_FAILED;
    }
    if (paro_cache_open(&err, &o, &call.cache) != PARO_STATUS_OK)
        return paro_console_fail(console, &err);
    if (args->output == PARO_OUTPUT_JSON) {
        call.report = paro_report_new();
        call.root = paro_report_root(call.report);
    }
    paro_exit code = v->run(&call, &err);
    paro_console_pause(console);
    if (call.report && (code == PARO_EXIT_DONE || code == PARO_EXIT_PARTLY))
        code = paro_console_report(console, call.report, code);
    else
        paro_report_free(call.report);
    paro_cache_free(call.cache);
    return code;
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    const cache_args *a = args;
    const char *name = positional->items[0];

    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, name) != 0)
            continue;
        if (a->archs.n_items > 1) {
            paro_console_error(console, "cache %s takes one --arch, found %zu", name,
                               a->archs.n_items);
            return PARO_EXIT_USAGE;
        }
        if (a->rest.n_items >= verbs[i].min_rest && a->rest.n_items <= verbs[i].max_rest)
            return call_verb(console, a, &verbs[i]);
        paro_console_error(console, "cache %s takes %s", name, verbs[i].takes);
        return PARO_EXIT_USAGE;
    }
    paro_console_error(console,
                       "cache: expected info, list, explain, export, import, merge, verify or "
                       "prune, found '%.100s'",
                       name);
    paro_console_hint(console, "'paro help cache' says what each does");
    return PARO_EXIT_USAGE;
}

const paro_command paro_command_cache = {
    .name = "cache",
    .synopsis = "info | list | explain P | export F | import F | merge F... | verify | prune",
    .summary = "winners, compiled kernels and timings: look, share, keep in order",
    .details =
        "The cache is the file PARO_CACHE, else XDG_CACHE_HOME/paro/cache.db, else "
        "~/.cache/paro/cache.db, over share/paro/cache.db of the installation. explain says which "
        "config the runtime takes for a problem, how good the match is (exact, near problem, near "
        "device, default) and why. export writes a bundle, all of it or what --model, --problem "
        "and "
        "--arch choose; import and merge take bundles over: where both have a winner, timed beats "
        "not timed, then more samples, then the faster. verify reads every row; prune removes what "
        "this paro can no longer use.",
    .options = options,
    .args_bytes = sizeof(cache_args),
    .min_positional = 1,
    .max_positional = 1,
    .missing = "cache needs a verb: info, list, explain, export, import, merge, verify, prune",
    .has_rest = true,
    .rest_offset = offsetof(cache_args, rest),
    .run = run};
