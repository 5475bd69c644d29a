/* SPDX-License-Identifier: MIT
 *
 * paro eval: perplexity of texts, and the distance to a reference model.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/device.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/text.h"

typedef struct eval_args {
    paro_global_args global;
    paro_strings texts;
    uint64_t context;
    uint64_t max_tokens;
    const char *against;
    const char *device;
    int output;
} eval_args;

static const eval_args defaults = {.context = 512};

static const paro_option options[] = {
    {.name = "text",
     .letter = 't',
     .kind = PARO_OPTION_STRINGS,
     .offset = offsetof(eval_args, texts),
     .argument = "FILE",
     .help = "a text to measure on; '-' is standard input. May be given again, and further FILEs "
             "may follow"},
    {.name = "context",
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(eval_args, context),
     .argument = "N",
     .min = 2,
     .max = 4294967295.0,
     .help = "tokens a window (default 512)"},
    {.name = "max-tokens",
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(eval_args, max_tokens),
     .argument = "N",
     .min = 1,
     .max = 1e15,
     .help = "use only the first N tokens of every text"},
    {.name = "against",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(eval_args, against),
     .argument = "MODEL",
     .help = "a reference model with the same vocabulary: adds its perplexity, the KL divergence "
             "from it in nats (mean, percentiles, largest), and the share of positions where both "
             "find the same token likeliest"},
    {.name = "device",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(eval_args, device),
     .argument = PARO_DEVICE_ARGUMENT,
     .help = PARO_DEVICE_HELP},
    {.name = "output",
     .letter = 'o',
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(eval_args, output),
     .argument = "table|json",
     .choices = paro_output_table_names,
     .help = "how to print it (default table)"},
    {0}};

typedef struct evaluation {
    const eval_args *args;
    paro_model *model;
    paro_model *reference; /* NULL without --against */
    paro_tokenizer *tokenizer;
    paro_table *table;      /* NULL for JSON */
    paro_report_node *list; /* NULL for a table */
    uint64_t n_tokens;
    double seconds;
    bool is_broken; /* a model failed, whatever the text: the others would fail likewise */
} evaluation;

static paro_table *make_table(const evaluation *ev)
{
    paro_column columns[] = {{.title = "text"},
                             {.title = "tokens", .right = true, .width = 8},
                             {.title = "perplexity", .right = true},
                             {.title = "reference", .right = true, .width = 10},
                             {.title = "KL mean", .right = true, .width = 9},
                             {.title = "KL p50", .right = true, .width = 9},
                             {.title = "KL p90", .right = true, .width = 9},
                             {.title = "KL p99", .right = true, .width = 9},
                             {.title = "KL max", .right = true, .width = 9},
                             {.title = "same top", .right = true}};

    /* Rows are printed as they come: the names' width must be known before. */
    for (size_t i = 0; i < ev->args->texts.n_items; i++) {
        unsigned width = paro_text_columns(paro_input_name(ev->args->texts.items[i]));
        if (width > columns[0].width)
            columns[0].width = width;
    }
    return paro_table_new(columns, ev->reference ? 10 : 3);
}

static void add_row(const evaluation *ev, const char *name, const paro_eval_result *r)
{
    paro_table_cell(ev->table, "%s", name);
    paro_table_cell(ev->table, "%llu", (unsigned long long)r->n_tokens);
    paro_table_cell(ev->table, "%.4f", r->perplexity);
    if (!ev->reference)
        return;
    paro_table_cell(ev->table, "%.4f", r->reference_perplexity);
    paro_table_cell(ev->table, "%.6f", r->kl_mean);
    paro_table_cell(ev->table, "%.6f", r->kl_p50);
    paro_table_cell(ev->table, "%.6f", r->kl_p90);
    paro_table_cell(ev->table, "%.6f", r->kl_p99);
    paro_table_cell(ev->table, "%.6f", r->kl_max);
    paro_table_cell(ev->table, "%.2f %%", 100 * r->same_top);
}

static void report_result(const evaluation *ev, const char *name, const paro_eval_result *r)
{
    paro_report_node *node = paro_report_object(ev->list, NULL);

    paro_report_text(node, "text", name);
    paro_report_integer(node, "n_tokens", r->n_tokens);
    paro_report_integer(node, "n_windows", r->n_windows);
    paro_report_integer(node, "n_predicted", r->n_predicted);
    paro_report_real(node, "nll", r->nll);
    paro_report_real(node, "perplexity", r->perplexity);
    paro_report_real(node, "seconds", r->seconds);
    if (!ev->reference)
        return;
    paro_report_real(node, "reference_perplexity", r->reference_perplexity);
    paro_report_real(node, "kl_mean", r->kl_mean);
    paro_report_real(node, "kl_p50", r->kl_p50);
    paro_report_real(node, "kl_p90", r->kl_p90);
    paro_report_real(node, "kl_p99", r->kl_p99);
    paro_report_real(node, "kl_max", r->kl_max);
    paro_report_real(node, "same_top", r->same_top);
}

/* Whether paro_eval_text failed for something in a model's files: another text changes nothing. */
static bool is_of_the_model(paro_status status)
{
    return status == PARO_STATUS_FORMAT || status == PARO_STATUS_UNSUPPORTED ||
           status == PARO_STATUS_NOT_FOUND || status == PARO_STATUS_IO;
}

static paro_exit eval_text(paro_console *console, evaluation *ev, const char *path)
{
    const char *name = paro_input_name(path);
    char *text = NULL, *stage = NULL;
    size_t n_bytes = 0;
    paro_exit code = PARO_EXIT_DONE;
    paro_eval_result result = {0};
    paro_error err;

    if (asprintf(&stage, "eval %s", name) < 0)
        stage = NULL;
    const paro_eval_options o = {.context = (uint32_t)ev->args->context,
                                 .max_tokens = ev->args->max_tokens,
                                 .stage = stage,
                                 .observer = &console->observer};
    paro_status status = paro_input_read(&err, path, &text, &n_bytes);
    bool was_read = status == PARO_STATUS_OK;
    if (was_read)
        status = paro_eval_text(&err, ev->model, ev->tokenizer, text, n_bytes, ev->reference, &o,
                                &result);
    if (status == PARO_STATUS_CANCELLED) {
        code = PARO_EXIT_INTERRUPTED; /* said once, at the end */
        goto done;
    }
    if (was_read && is_of_the_model(status)) {
        code = paro_console_fail(console, &err);
        ev->is_broken = true;
        goto done;
    }
    if (status != PARO_STATUS_OK) {
        paro_console_error(console, "%s%s%s", was_read ? name : "", was_read ? ": " : "",
                           err.message);
        paro_report_node *node = paro_report_object(ev->list, NULL);
        paro_report_text(node, "text", name);
        paro_report_text(node, "error", err.message);
        code = PARO_EXIT_FAILED;
        goto done;
    }
    paro_console_pause(console);
    ev->n_tokens += result.n_tokens;
    ev->seconds += result.seconds;
    if (ev->list) {
        report_result(ev, name, &result);
        goto done;
    }
    add_row(ev, name, &result);
    if (!paro_table_print(ev->table, stdout)) {
        paro_console_error(console, "out of memory for the table");
        code = PARO_EXIT_FAILED;
    }
    fflush(stdout); /* main says so where it could not be written */
done:
    free(stage);
    free(text);
    return code;
}

static paro_exit eval_all(paro_console *console, evaluation *ev)
{
    size_t n_failed = 0, n_done = 0, n = ev->args->texts.n_items;

    for (size_t i = 0; i < n && !ferror(stdout) && !ev->is_broken; i++) {
        paro_exit code = eval_text(console, ev, ev->args->texts.items[i]);
        if (code == PARO_EXIT_INTERRUPTED)
            return code;
        n_failed += code != PARO_EXIT_DONE;
        n_done += code == PARO_EXIT_DONE;
    }
    return n_failed == 0 ? PARO_EXIT_DONE : n_done == 0 ? PARO_EXIT_FAILED : PARO_EXIT_PARTLY;
}

static bool open_models(evaluation *ev, paro_console *console, const char *path, paro_error *err)
{
    const paro_model_options o = paro_console_model_options(console, ev->args->device);

    return paro_model_open(err, path, &o, &ev->model) == PARO_STATUS_OK &&
           paro_tokenizer_open(err, path, &ev->tokenizer) == PARO_STATUS_OK &&
           (!ev->args->against ||
            paro_model_open(err, ev->args->against, &o, &ev->reference) == PARO_STATUS_OK);
}

/* What holds for every text, once, before any is read. */
static paro_exit check_models(paro_console *console, const evaluation *ev)
{
    const paro_model *models[] = {ev->model, ev->reference};
    paro_model_info first, info;

    paro_model_get_info(ev->model, &first);
    for (size_t i = 0; i < 2 && models[i]; i++) {
        paro_model_get_info(models[i], &info);
        if (ev->args->context > info.max_context) {
            paro_console_error(console,
                               "option '--context': expected a whole number from 2 to %u, as many "
                               "tokens as %s holds, found %llu",
                               info.max_context, info.dir, (unsigned long long)ev->args->context);
            return PARO_EXIT_USAGE;
        }
        if (info.vocab != first.vocab) {
            paro_console_error(console,
                               "%s: cannot be compared with %s: its vocabulary is %u, not %u",
                               info.dir, first.dir, info.vocab, first.vocab);
            return PARO_EXIT_FAILED;
        }
    }
    return PARO_EXIT_DONE;
}

static paro_exit check_texts(paro_console *console, const paro_strings *texts)
{
    size_t n_stdin = 0;

    for (size_t i = 0; i < texts->n_items; i++)
        n_stdin += strcmp(texts->items[i], "-") == 0;
    if (texts->n_items > 0 && n_stdin <= 1)
        return PARO_EXIT_DONE;
    paro_console_error(console, n_stdin > 1 ? "standard input ('-') can be read only once"
                                            : "eval needs a text: --text FILE");
    paro_console_hint(console, "'paro help eval' lists what eval takes");
    return PARO_EXIT_USAGE;
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    evaluation ev = {.args = args};
    paro_report *report = NULL;
    paro_error err;
    paro_exit code = check_texts(console, &ev.args->texts);

    if (code != PARO_EXIT_DONE)
        return code;
    if (!open_models(&ev, console, positional->items[0], &err)) {
        code = paro_console_fail(console, &err);
        goto done;
    }
    code = check_models(console, &ev);
    if (code != PARO_EXIT_DONE)
        goto done;
    if (ev.args->output == PARO_OUTPUT_JSON) {
        report = paro_report_new();
        paro_report_node *root = paro_report_root(report);
        paro_report_text(root, "model", positional->items[0]);
        paro_report_text(root, "reference", ev.args->against);
        paro_report_integer(root, "context", ev.args->context);
        if (ev.args->max_tokens)
            paro_report_integer(root, "max_tokens", ev.args->max_tokens);
        else
            paro_report_null(root, "max_tokens");
        ev.list = paro_report_array(root, "texts");
    } else {
        ev.table = make_table(&ev);
    }
    code = eval_all(console, &ev);
    if (ev.args->output == PARO_OUTPUT_JSON) {
        paro_report_bool(paro_report_root(report), "complete", code == PARO_EXIT_DONE);
        code = paro_console_report(console, report, code);
    }
    if (code == PARO_EXIT_INTERRUPTED)
        paro_console_interrupted(console);
    else if (ev.seconds > 0)
        paro_console_info(console, "%llu tokens in %.2f s: %.0f tokens/s%s",
                          (unsigned long long)ev.n_tokens, ev.seconds,
                          (double)ev.n_tokens / ev.seconds,
                          ev.reference ? " through both models" : "");
done:
    paro_table_free(ev.table);
    paro_tokenizer_free(ev.tokenizer);
    paro_model_free(ev.reference);
    paro_model_free(ev.model);
    return code;
}

const paro_command paro_command_eval = {
    .name = "eval",
    .synopsis = "[OPTION]... MODEL --text FILE...",
    .summary = "perplexity of texts, and the distance to a reference model",
    .details = "Every text is encoded without a begin token and cut into consecutive windows, the "
               "rest dropped; every token of a window but its first is predicted. A text's row is "
               "printed as soon as it is measured. Where some texts fail the others are measured "
               "all the same, and the exit code is 3; what is wrong with a model ends it at once.",
    .options = options,
    .args_bytes = sizeof(eval_args),
    .defaults = &defaults,
    .min_positional = 1,
    .max_positional = 1,
    .missing = "eval needs the path of a model folder",
    .has_rest = true,
    .rest_offset = offsetof(eval_args, texts),
    .run = run};
