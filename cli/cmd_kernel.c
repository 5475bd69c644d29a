/* SPDX-License-Identifier: MIT
 *
 * paro kernel: families listed, one kernel shown, all kernels of models checked. No GPU is needed.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/kernels.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/text.h"

typedef struct kernel_args {
    paro_global_args global;
    paro_kernel_sources sources;
    const char *config;
    paro_strings archs;
    int stage;
    bool emulate;
    int output;
} kernel_args;

static const char *const stages[] = {"source", "signature", "resources", "sass", NULL};

static const kernel_args defaults = {.stage = PARO_KERNEL_STAGE_SOURCE};

static const paro_option options[] = {
    PARO_KERNEL_SOURCE_OPTIONS(kernel_args, sources),
    {.name = "config",
     .letter = 'c',
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(kernel_args, config),
     .argument = "C",
     .help = "of show: PARAM=VALUE,...; what is left out keeps the default's value"},
    {.name = "arch",
     .letter = 'a',
     .kind = PARO_OPTION_STRINGS,
     .offset = offsetof(kernel_args, archs),
     .argument = "A[,A]...",
     .help = "architectures, for example sm_90,sm_120 (show: one, default sm_90; check: all)"},
    {.name = "stage",
     .letter = 's',
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(kernel_args, stage),
     .argument = "source|signature|resources|sass",
     .choices = stages,
     .help = "of show: the rendered source (default); the kernels' parameters as libclang reads "
             "them; registers, spills and instruction counts; the machine code"},
    {.name = "emulate",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(kernel_args, emulate),
     .help = "of check: also run every small problem's default on this machine's CPU, thread by "
             "thread, and compare with the reference (needs a C++ compiler)"},
    {.name = "output",
     .letter = 'o',
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(kernel_args, output),
     .argument = "table|json",
     .choices = paro_output_table_names,
     .help = "how to print list and check (default table)"},
    {0}};

/* ---- list ---- */

typedef bool row_fn(size_t family, size_t i, paro_family_row *out);

static void list_rows(const char *title, size_t family, row_fn *get, paro_table *table,
                      paro_report_node *node)
{
    paro_family_row row;
    paro_report_node *list = paro_report_array(node, title);

    for (size_t i = 0; get(family, i, &row); i++) {
        paro_report_node *object = paro_report_object(list, NULL);
        paro_report_text(object, "name", row.name);
        paro_report_text(object, "values", row.values);
        if (*row.fallback)
            paro_report_text(object, "default", row.fallback);
        paro_report_text(object, "help", row.help);
        if (!table)
            continue;
        paro_table_cell(table, "%s", i ? "" : title);
        paro_table_cell(table, "%s", row.name);
        paro_table_cell(table, "%s", row.values);
        paro_table_cell(table, "%s", row.fallback);
        paro_table_cell(table, "%s", row.help);
    }
}

/* One family in full. */
static paro_exit list_one(paro_console *console, const kernel_args *args, size_t family)
{
    static const paro_column columns[] = {
        {.title = ""}, {.title = "name"}, {.title = "values"}, {.title = "default"}, {.title = ""}};
    const bool json = args->output == PARO_OUTPUT_JSON;
    paro_report *report = json ? paro_report_new() : NULL;
    paro_table *table = json ? NULL : paro_table_new(columns, sizeof columns / sizeof columns[0]);
    paro_report_node *root = paro_report_root(report);
    paro_family_info info;
    paro_exit code = PARO_EXIT_DONE;

    paro_family_describe(family, &info);
    paro_report_text(root, "family", info.name);
    paro_report_text(root, "summary", info.summary);
    if (!json)
        printf("%s: %s\n\n", info.name, info.summary);
    list_rows("problem", family, paro_family_key, table, root);
    list_rows("config", family, paro_family_param, table, root);
    list_rows("arguments", family, paro_family_arg, table, root);
    if (json)
        return paro_console_report(console, report, code);
    if (!paro_table_print(table, stdout)) {
        paro_console_error(console, "out of memory for the table");
        code = PARO_EXIT_FAILED;
    }
    paro_table_free(table);
    return code;
}

static paro_exit list(paro_console *console, const kernel_args *args, const char *name)
{
    static const paro_column columns[] = {
        {.title = "family"}, {.title = "what it computes"}, {.title = "a problem's keys"}};
    paro_family_info info;
    paro_family_row row;
    paro_report *report = NULL;
    paro_exit code = PARO_EXIT_DONE;

    if (name) {
        for (size_t i = 0; paro_family_describe(i, &info); i++)
            if (strcmp(info.name, name) == 0)
                return list_one(console, args, i);
        paro_console_error(console, "there is no kernel family '%.100s'", name);
        paro_console_hint(console, "'paro kernel list' lists them");
        return PARO_EXIT_USAGE;
    }
    if (args->output == PARO_OUTPUT_JSON)
        report = paro_report_new();
    paro_report_node *list = paro_report_array(paro_report_root(report), "families");
    paro_table *table = paro_table_new(columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; paro_family_describe(i, &info); i++) {
        char keys[256] = "";
        size_t n = 0;
        for (size_t k = 0; paro_family_key(i, k, &row) && n < sizeof keys; k++)
            n += (size_t)snprintf(keys + n, sizeof keys - n, "%s%s", k ? "," : "", row.name);
        paro_table_cell(table, "%s", info.name);
        paro_table_cell(table, "%s", info.summary);
        paro_table_cell(table, "%s", keys);
        paro_report_node *object = paro_report_object(list, NULL);
        paro_report_text(object, "name", info.name);
        paro_report_text(object, "summary", info.summary);
        paro_report_text(object, "keys", keys);
    }
    if (args->output == PARO_OUTPUT_JSON) {
        code = paro_console_report(console, report, code);
    } else if (!paro_table_print(table, stdout)) {
        paro_console_error(console, "out of memory for the table");
        code = PARO_EXIT_FAILED;
    }
    paro_table_free(table);
    return code;
}

/* ---- show ---- */

static paro_exit show(paro_console *console, const kernel_args *args, const paro_arch_names *archs,
                      const char *family)
{
    paro_error err;
    char *text = NULL, *problem = NULL;
    size_t n_bytes = 0;

    if (args->sources.problems.n_items != 1 || args->sources.models.n_items > 0 || archs->n > 1) {
        paro_console_error(console, "show takes one --problem and at most one --arch");
        return PARO_EXIT_USAGE;
    }
    const char *given = args->sources.problems.items[0];
    const size_t n_family = strcspn(given, ":");
    if (family && given[n_family] &&
        (strlen(family) != n_family || strncmp(given, family, n_family) != 0)) {
        paro_console_error(console, "show %.100s: expected a problem of it, found '%.200s'", family,
                           given);
        return PARO_EXIT_USAGE;
    }
    if (family && !given[n_family] && asprintf(&problem, "%s:%s", family, given) < 0)
        problem = NULL;
    const paro_kernel_options o = {.config = args->config,
                                   .arch = archs->n ? archs->names[0] : NULL,
                                   .nvrtc_library = console->environment.nvrtc};
    paro_status status = paro_kernel_show(&err, problem ? problem : given, &o,
                                          (paro_kernel_stage)args->stage, &text, &n_bytes);
    free(problem);
    if (status != PARO_STATUS_OK) {
        paro_exit code = paro_console_fail(console, &err);
        return status == PARO_STATUS_INVALID_ARGUMENT ? PARO_EXIT_USAGE : code;
    }
    fwrite(text, 1, n_bytes, stdout);
    free(text);
    return PARO_EXIT_DONE;
}

/* ---- check ---- */

static const char *const results[] = {"no path", "ok", "spills", "signature", "refused", "wrong"};

typedef struct check {
    const kernel_args *args;
    paro_table *table;
    paro_report_node *list;
    size_t n_bad;
} check;

/* The table has what is wrong only, JSON has all. */
static void check_row(void *context, const paro_kernel_check_row *row)
{
    check *c = context;
    const bool bad =
        row->result != PARO_KERNEL_CHECK_OK && row->result != PARO_KERNEL_CHECK_NO_PATH;
    paro_report_node *object = paro_report_object(c->list, NULL);

    paro_report_text(object, "problem", row->problem);
    paro_report_text(object, "config", row->config);
    paro_report_text(object, "arch", row->arch);
    paro_report_text(object, "result", results[row->result]);
    paro_report_text(object, "reason", row->reason);
    paro_report_integer(object, "n_registers", row->n_registers);
    paro_report_integer(object, "spill_bytes", row->spill_bytes);
    if (!row->arch)
        paro_report_real(object, "error", row->error);
    c->n_bad += bad;
    if (!bad || c->list)
        return;
    paro_table_cell(c->table, "%s", row->arch ? row->arch : "emulated");
    paro_table_cell(c->table, "%s", results[row->result]);
    paro_table_cell(c->table, "%s", row->problem);
    paro_table_cell(c->table, "%s", row->config);
    paro_table_cell(c->table, "%s", row->reason);
}

static void print_summary(const paro_kernel_check_summary *s, size_t n_problems)
{
    printf("%zu problems: %u kernels compiled, %u spilling; %u refused, %u without a path on their "
           "arch\n",
           n_problems, s->n_compiled, s->n_spilling, s->n_refused, s->n_no_path);
    if (s->has_checker)
        printf("signatures: %u not what the host passes\n", s->n_wrong_signature);
    else
        printf("signatures: not checked (no libclang)\n");
    if (s->n_emulated + s->n_not_emulated > 0)
        printf("emulated: %u, %u of them wrong; %u too large for it\n", s->n_emulated, s->n_wrong,
               s->n_not_emulated);
}

static paro_exit run_check(paro_console *console, const kernel_args *args,
                           const paro_arch_names *archs)
{
    static const paro_column columns[] = {{.title = "arch"},
                                          {.title = "result"},
                                          {.title = "problem"},
                                          {.title = "config"},
                                          {.title = "reason"}};
    check c = {.args = args};
    paro_kernel_check_summary summary = {0};
    paro_problems *problems = NULL;
    paro_report *report = NULL;
    paro_error err;
    paro_exit code = paro_kernel_sources_read(console, &args->sources, &problems);

    if (code != PARO_EXIT_DONE)
        return code;
    if (args->output == PARO_OUTPUT_JSON) {
        report = paro_report_new();
        c.list = paro_report_array(paro_report_root(report), "kernels");
    } else {
        c.table = paro_table_new(columns, sizeof columns / sizeof columns[0]);
    }
    const paro_kernel_check_options o = {.archs = archs->names,
                                         .n_archs = archs->n,
                                         .emulate = args->emulate,
                                         .cache = console->environment.cache,
                                         .n_jobs = console->n_threads,
                                         .nvrtc_library = console->environment.nvrtc,
                                         .observer = &console->observer,
                                         .row = check_row,
                                         .row_context = &c};
    const size_t n_problems = paro_problems_count(problems);
    if (paro_kernels_check(&err, problems, &o, &summary) != PARO_STATUS_OK) {
        code = paro_console_fail(console, &err);
        paro_report_free(report);
        goto done;
    }
    paro_console_pause(console);
    code = c.n_bad ? PARO_EXIT_FAILED : PARO_EXIT_DONE;
    if (args->output == PARO_OUTPUT_JSON) {
        paro_report_node *root = paro_report_root(report);
        paro_report_integer(root, "n_problems", n_problems);
        paro_report_integer(root, "n_compiled", summary.n_compiled);
        paro_report_integer(root, "n_no_path", summary.n_no_path);
        paro_report_integer(root, "n_refused", summary.n_refused);
        paro_report_integer(root, "n_spilling", summary.n_spilling);
        paro_report_integer(root, "n_wrong_signature", summary.n_wrong_signature);
        paro_report_integer(root, "n_emulated", summary.n_emulated);
        paro_report_integer(root, "n_wrong", summary.n_wrong);
        paro_report_integer(root, "n_not_emulated", summary.n_not_emulated);
        paro_report_bool(root, "signatures_checked", summary.has_checker);
        paro_report_real(root, "seconds", summary.seconds);
        code = paro_console_report(console, report, code);
    } else {
        if (c.n_bad && !paro_table_print(c.table, stdout))
            paro_console_error(console, "out of memory for the table");
        print_summary(&summary, n_problems);
    }
done:
    paro_table_free(c.table);
    paro_problems_free(problems);
    return code;
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    const kernel_args *a = args;
    const char *verb = positional->items[0];
    const char *family = positional->n_items > 1 ? positional->items[1] : NULL;
    paro_arch_names archs = {0};
    paro_exit code = paro_arch_names_read(console, &a->archs, &archs);

    if (code != PARO_EXIT_DONE)
        return code;
    if (strcmp(verb, "list") == 0) {
        code = list(console, a, family);
    } else if (strcmp(verb, "show") == 0) {
        code = show(console, a, &archs, family);
    } else if (strcmp(verb, "check") == 0 && !family) {
        code = run_check(console, a, &archs);
    } else {
        paro_console_error(console, "kernel: expected list, show or check, found '%.100s%s%.100s'",
                           verb, family ? " " : "", family ? family : "");
        paro_console_hint(console, "'paro help kernel' says what each does");
        code = PARO_EXIT_USAGE;
    }
    paro_arch_names_release(&archs);
    return code;
}

const paro_command paro_command_kernel = {
    .name = "kernel",
    .synopsis = "list [FAMILY] | show [FAMILY] --problem P | check [OPTION]...",
    .summary = "kernel families, one kernel's source and code, checks of all",
    .details =
        "list names the families, or the keys, params and arguments of one. show prints a stage "
        "of one kernel: the config's on the problem. check compiles the default, and what the "
        "cache has as winner, of every problem for every arch, and says which spill registers, "
        "which the compiler refuses, and whose parameters are not what the host passes; exit code "
        "1 "
        "where there is any. None of it needs a GPU.",
    .options = options,
    .args_bytes = sizeof(kernel_args),
    .defaults = &defaults,
    .min_positional = 1,
    .max_positional = 2,
    .missing = "kernel needs list, show or check",
    .run = run};
