/* SPDX-License-Identifier: MIT
 *
 * paro quantize: a model and a recipe in, a checkpoint out.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/text.h"
#include "cli/texts.h"

typedef struct quantize_args {
    paro_global_args global;
    const char *recipe;
    const char *out;
    int format;
    paro_strings set;
    bool dry_run;
    const char *device;
    bool overwrite;
    bool allow_io;
    uint64_t max_shard_bytes;
    paro_strings texts, validation;
    const char *field;
    const char *work;
    uint64_t memory_bytes;
    int output;
} quantize_args;

static const quantize_args defaults = {.device = "cpu"};

/* A choice's index is the paro_format. */
static const char *const format_names[] = {[PARO_FORMAT_PAROQUANT] = "paroquant",
                                           [PARO_FORMAT_AWQ] = "awq",
                                           [PARO_FORMAT_PSEUDO] = "pseudo",
                                           NULL};

static const paro_option options[] = {
    {.name = "recipe",
     .letter = 'r',
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(quantize_args, recipe),
     .argument = "RECIPE",
     .help = "a Lua file, or the name of a recipe that comes with paro, such as rtn"},
    {.name = "out",
     .letter = 'o',
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(quantize_args, out),
     .argument = "OUT",
     .help = "the folder to write; it appears when all of it is on disk"},
    {.name = "format",
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(quantize_args, format),
     .argument = "paroquant|awq|pseudo",
     .choices = format_names,
     .help = "of the checkpoint: paroquant (default; 4 bits, groups of 64 or 128), awq (GEMM "
             "layout; 4 bits, groups of 32, 64 or 128), or pseudo (dequantised 16-bit weights, "
             "any number of bits)"},
    {.name = "set",
     .kind = PARO_OPTION_STRINGS,
     .offset = offsetof(quantize_args, set),
     .argument = "KEY=VALUE",
     .help = "hand a value to the recipe, for example bits=3; may be given again"},
    {.name = "dry-run",
     .letter = 'n',
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(quantize_args, dry_run),
     .help = "print what would be done to every linear, and write nothing"},
    {.name = "device",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(quantize_args, device),
     .argument = "cpu",
     .help = "where to compute; cpu is all there is so far"},
    {.name = "overwrite",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(quantize_args, overwrite),
     .help = "replace a checkpoint that is at OUT, in one step"},
    {.name = "allow-io",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(quantize_args, allow_io),
     .help = "let the recipe open files"},
    {.name = "max-shard-size",
     .kind = PARO_OPTION_BYTES,
     .offset = offsetof(quantize_args, max_shard_bytes),
     .argument = "SIZE",
     .min = 1,
     .max = 9007199254740992.0,
     .help = "the largest file of weights, for example 500MB (default 5GB)"},
    {.name = "text",
     .kind = PARO_OPTION_STRINGS,
     .offset = offsetof(quantize_args, texts),
     .argument = "FILE[@WEIGHT]",
     .help = "a text to calibrate with, for recipes that do: plain, or .jsonl; its share of the "
             "samples is in proportion to WEIGHT (default 1); may be given again; without one the "
             "model writes its own samples"},
    {.name = "validation",
     .kind = PARO_OPTION_STRINGS,
     .offset = offsetof(quantize_args, validation),
     .argument = "FILE[@WEIGHT]",
     .help = "a text for validation samples; without one they are held out of the others"},
    {.name = "text-field",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(quantize_args, field),
     .argument = "NAME",
     .help = "the member of a .jsonl file's objects that is the text (default text)"},
    {.name = "work",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(quantize_args, work),
     .argument = "DIR",
     .help = "where finished blocks are kept until the checkpoint is written, so that the same "
             "command goes on after them (default OUT.paro-work)"},
    {.name = "memory",
     .kind = PARO_OPTION_BYTES,
     .offset = offsetof(quantize_args, memory_bytes),
     .argument = "SIZE",
     .min = 1,
     .max = 9007199254740992.0,
     .help = "of calibration's activations; more lie in a file in DIR (default 16GB)"},
    {.name = "output",
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(quantize_args, output),
     .argument = "table|json",
     .choices = paro_output_table_names,
     .help = "how to print the report (default table); -o is --out here"},
    {0}};

/* Sums over a plan's linears. */
typedef struct totals {
    size_t n_quantized, n_kept;
    uint64_t n_weights; /* of the quantised ones */
    uint64_t n_bytes_before, n_bytes_after;
    uint64_t n_quantized_bytes;  /* after */
    uint32_t min_bits, max_bits; /* of the quantised ones; 0 where there are none */
    uint32_t min_group, max_group;
} totals;

typedef struct quantization {
    const quantize_args *args;
    const char *dir;
    paro_model *model;
    paro_plan *plan;
    totals sums;
    paro_plan_estimate cost; /* of a dry run */
    bool was_written;
    paro_quantize_result result; /* once it was */
} quantization;

static bool is_kept(const paro_plan_linear *linear)
{
    return strcmp(linear->method, "keep") == 0;
}

static totals sum_up(const paro_plan *plan)
{
    totals sums = {0};

    for (size_t i = 0; i < paro_plan_n_linears(plan); i++) {
        paro_plan_linear l;
        paro_plan_get(plan, i, &l);
        sums.n_bytes_before += l.n_bytes_before;
        sums.n_bytes_after += l.n_bytes_after;
        if (is_kept(&l)) {
            sums.n_kept++;
            continue;
        }
        bool first = sums.n_quantized++ == 0;
        sums.n_weights += (uint64_t)l.n_out * l.n_in;
        sums.n_quantized_bytes += l.n_bytes_after;
        sums.min_bits = first || l.bits < sums.min_bits ? l.bits : sums.min_bits;
        sums.max_bits = l.bits > sums.max_bits ? l.bits : sums.max_bits;
        sums.min_group = first || l.group_size < sums.min_group ? l.group_size : sums.min_group;
        sums.max_group = l.group_size > sums.max_group ? l.group_size : sums.max_group;
    }
    return sums;
}

/* Not finite where nothing is quantised. */
static double bits_per_weight(const totals *sums)
{
    return sums->n_weights ? 8.0 * (double)sums->n_quantized_bytes / (double)sums->n_weights : NAN;
}

static const char *range_text(char out[PARO_TEXT_NUMBER_BYTES], uint32_t least, uint32_t most)
{
    if (least == most)
        snprintf(out, PARO_TEXT_NUMBER_BYTES, "%u", least);
    else
        snprintf(out, PARO_TEXT_NUMBER_BYTES, "%u to %u", least, most);
    return out;
}

static bool print_plan(const quantization *q)
{
    static const paro_column columns[] = {{.title = "linear"},
                                          {.title = "method"},
                                          {.title = "bits", .right = true},
                                          {.title = "group", .right = true},
                                          {.title = "out", .right = true},
                                          {.title = "in", .right = true},
                                          {.title = "before", .right = true},
                                          {.title = "after", .right = true},
                                          {.title = "rule"}};
    paro_table *table = paro_table_new(columns, sizeof columns / sizeof columns[0]);
    char before[PARO_TEXT_NUMBER_BYTES], after[PARO_TEXT_NUMBER_BYTES], bits[32] = "-";

    for (size_t i = 0; i < paro_plan_n_linears(q->plan); i++) {
        paro_plan_linear l;
        paro_plan_get(q->plan, i, &l);
        paro_table_cell(table, "%s", l.name);
        paro_table_cell(table, "%s", l.method);
        paro_table_cell(table, "%u", l.bits);
        if (l.group_size)
            paro_table_cell(table, "%u", l.group_size);
        else
            paro_table_cell(table, "-");
        paro_table_cell(table, "%u", l.n_out);
        paro_table_cell(table, "%u", l.n_in);
        paro_table_cell(table, "%s", paro_text_size(before, l.n_bytes_before));
        paro_table_cell(table, "%s", paro_text_size(after, l.n_bytes_after));
        paro_table_cell(table, "%s", *l.rule ? l.rule : "-");
    }
    bool ok = paro_table_print(table, stdout);
    paro_table_free(table);
    if (q->sums.n_weights)
        snprintf(bits, sizeof bits, "%.3f", bits_per_weight(&q->sums));
    printf("\n%zu linears to quantise, %zu to keep; linears %s before, %s after; %s bits a "
           "weight with scales and zero points\n",
           q->sums.n_quantized, q->sums.n_kept, paro_text_size(before, q->sums.n_bytes_before),
           paro_text_size(after, q->sums.n_bytes_after), bits);
    if (paro_plan_calibrates(q->plan))
        printf("every block: %s; about %s in all, %s of memory, %s on disk meanwhile\n",
               q->cost.steps, paro_text_duration(bits, q->cost.seconds),
               paro_text_size(before, q->cost.memory_bytes),
               paro_text_size(after, q->cost.disk_bytes));
    printf("recipe SHA-256 %s\n", paro_plan_recipe_sha256(q->plan));
    return ok;
}

static void print_summary(const quantization *q)
{
    char a[PARO_TEXT_NUMBER_BYTES], b[PARO_TEXT_NUMBER_BYTES];
    const paro_quantize_result *r = &q->result;
    paro_model_info info;

    paro_model_get_info(q->model, &info);
    printf("linears         %u quantised, %u kept\n", r->n_quantized, r->n_kept);
    if (q->sums.n_quantized) {
        printf("bits            %s, groups of %s; %.3f a weight with scales and zero points\n",
               range_text(a, q->sums.min_bits, q->sums.max_bits),
               range_text(b, q->sums.min_group, q->sums.max_group), bits_per_weight(&q->sums));
        printf("relative error  %.4f mean, %.4f largest\n", r->mean_relative_error,
               r->max_relative_error);
    }
    printf("tensors         %s before, ", paro_text_size(a, info.n_weight_bytes));
    printf("%s after, in %u file%s\n", paro_text_size(a, r->n_bytes), r->n_shards,
           r->n_shards == 1 ? "" : "s");
    printf("format          %s\n", paro_format_name((paro_format)q->args->format));
    printf("recipe          %s, SHA-256 %.16s…\n", q->args->recipe,
           paro_plan_recipe_sha256(q->plan));
    printf("time            %.2f s\n", r->seconds);
}

static void report_linears(const quantization *q, paro_report_node *list)
{
    for (size_t i = 0; i < paro_plan_n_linears(q->plan); i++) {
        paro_report_node *node = paro_report_object(list, NULL);
        paro_plan_linear l;
        paro_plan_get(q->plan, i, &l);
        paro_report_text(node, "name", l.name);
        paro_report_text(node, "method", l.method);
        paro_report_text(node, "rule", l.rule);
        paro_report_integer(node, "n_out", l.n_out);
        paro_report_integer(node, "n_in", l.n_in);
        paro_report_integer(node, "bits", l.bits);
        paro_report_integer(node, "group_size", l.group_size);
        paro_report_integer(node, "n_bytes_before", l.n_bytes_before);
        paro_report_integer(node, "n_bytes_after", l.n_bytes_after);
    }
}

static paro_report *make_report(const quantization *q)
{
    paro_report *report = paro_report_new();
    paro_report_node *root = paro_report_root(report);
    const paro_quantize_result *r = &q->result;
    paro_model_info info;

    paro_model_get_info(q->model, &info);
    paro_report_text(root, "model", q->dir);
    paro_report_text(root, "out", q->was_written ? q->args->out : NULL);
    paro_report_text(root, "format", paro_format_name((paro_format)q->args->format));
    paro_report_bool(root, "dry_run", q->args->dry_run);
    paro_report_node *recipe = paro_report_object(root, "recipe");
    paro_report_text(recipe, "path", q->args->recipe);
    paro_report_text(recipe, "sha256", paro_plan_recipe_sha256(q->plan));
    if (q->args->dry_run && paro_plan_calibrates(q->plan)) {
        paro_report_node *cost = paro_report_object(root, "estimate");
        paro_report_text(cost, "steps", q->cost.steps);
        paro_report_real(cost, "seconds", q->cost.seconds);
        paro_report_integer(cost, "memory_bytes", q->cost.memory_bytes);
        paro_report_integer(cost, "disk_bytes", q->cost.disk_bytes);
    }
    paro_report_node *sums = paro_report_object(root, "totals");
    paro_report_integer(sums, "n_quantized", q->sums.n_quantized);
    paro_report_integer(sums, "n_kept", q->sums.n_kept);
    paro_report_integer(sums, "n_bytes_before", q->sums.n_bytes_before);
    paro_report_integer(sums, "n_bytes_after", q->sums.n_bytes_after);
    paro_report_real(sums, "bits_per_weight", bits_per_weight(&q->sums));
    if (q->was_written) {
        paro_report_node *result = paro_report_object(root, "result");
        paro_report_integer(result, "n_weight_bytes_before", info.n_weight_bytes);
        paro_report_integer(result, "n_weight_bytes_after", r->n_bytes);
        paro_report_integer(result, "n_shards", r->n_shards);
        paro_report_real(result, "mean_relative_error", r->mean_relative_error);
        paro_report_real(result, "max_relative_error", r->max_relative_error);
        paro_report_real(result, "seconds", r->seconds);
    } else {
        paro_report_null(root, "result");
    }
    report_linears(q, paro_report_array(root, "linears"));
    return report;
}

static paro_exit check_args(paro_console *console, const quantize_args *a)
{
    const char *wrong = NULL;

    if (!a->recipe)
        wrong = "quantize needs a recipe: --recipe RECIPE";
    else if (!a->out && !a->dry_run)
        wrong = "quantize needs a folder to write: --out OUT (or --dry-run)";
    else if (a->out && !*a->out)
        wrong = "--out: the folder's name is empty";
    if (wrong) {
        paro_console_error(console, "%s", wrong);
        paro_console_hint(console, "'paro help quantize' lists what quantize takes");
        return PARO_EXIT_USAGE;
    }
    if (strcmp(a->device, "cpu") != 0) {
        paro_console_error(console,
                           "device '%s' is not there: this version quantises on the CPU "
                           "only (--device cpu)",
                           a->device);
        return PARO_EXIT_USAGE;
    }
    for (size_t i = 0; i < a->set.n_items; i++)
        if (!strchr(a->set.items[i], '=') || a->set.items[i][0] == '=') {
            paro_console_error(console, "option '--set': expected KEY=VALUE, found '%s'",
                               a->set.items[i]);
            return PARO_EXIT_USAGE;
        }
    return PARO_EXIT_DONE;
}

static void hint_recipes(paro_console *console)
{
    char names[256] = "";
    size_t n = 0;

    for (size_t i = 0; paro_recipe_shipped(i) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "",
                              paro_recipe_shipped(i));
    paro_console_hint(console, "recipes that come with paro: %s", names);
}

static paro_exit make_plan(paro_console *console, quantization *q)
{
    const paro_recipe_options r = {.allow_io = q->args->allow_io,
                                   .set = q->args->set.items,
                                   .n_set = q->args->set.n_items,
                                   .observer = &console->observer};
    const paro_model_options m = {.n_threads = console->n_threads};
    paro_recipe *recipe = NULL;
    paro_error err;
    paro_exit code = PARO_EXIT_DONE;

    if (paro_recipe_open(&err, q->args->recipe, &r, &recipe) != PARO_STATUS_OK) {
        code = paro_console_fail(console, &err);
        if (err.status == PARO_STATUS_NOT_FOUND)
            hint_recipes(console);
    } else if (paro_model_open(&err, q->dir, &m, &q->model) != PARO_STATUS_OK ||
               paro_plan_make(&err, recipe, q->model, &q->plan) != PARO_STATUS_OK ||
               paro_format_check_plan(&err, q->plan, (paro_format)q->args->format) !=
                   PARO_STATUS_OK) {
        code = paro_console_fail(console, &err);
    } else {
        q->sums = sum_up(q->plan);
    }
    paro_recipe_free(recipe);
    return code;
}

static bool is_checkpoint(const char *dir)
{
    struct stat info;
    char *config = NULL;
    bool found = asprintf(&config, "%s/config.json", dir) >= 0 && stat(config, &info) == 0;

    free(config);
    return found;
}

static paro_exit write_checkpoint(paro_console *console, quantization *q)
{
    const quantize_args *a = q->args;
    paro_texts texts = {0};
    paro_tokenizer *tokenizer = NULL;
    paro_error err;
    paro_exit code = paro_texts_parse(console, &a->texts, &a->validation, a->field, &texts);

    if (code != PARO_EXIT_DONE)
        return code;
    paro_quantize_options o = {.format = (paro_format)a->format,
                               .overwrite = a->overwrite,
                               .max_shard_bytes = a->max_shard_bytes,
                               .observer = &console->observer,
                               .texts = texts.sources,
                               .n_texts = texts.n_sources,
                               .work_dir = a->work,
                               .memory_bytes = a->memory_bytes};
    paro_status status = PARO_STATUS_OK;
    if (paro_plan_calibrates(q->plan))
        status = paro_tokenizer_open(&err, q->dir, &tokenizer);
    o.tokenizer = tokenizer;
    if (status == PARO_STATUS_OK)
        status = paro_quantize(&err, q->model, q->plan, a->out, &o, &q->result);
    paro_tokenizer_free(tokenizer);
    paro_texts_free(&texts);
    if (status == PARO_STATUS_OK) {
        q->was_written = true;
        return PARO_EXIT_DONE;
    }
    code = paro_console_fail(console, &err);
    if (err.status == PARO_STATUS_EXISTS && !q->args->overwrite && is_checkpoint(q->args->out))
        paro_console_hint(console, "--overwrite replaces the checkpoint that is there already");
    return code;
}

static paro_exit estimate_cost(paro_console *console, quantization *q)
{
    const paro_quantize_options o = {.memory_bytes = q->args->memory_bytes};
    paro_error err;

    if (paro_plan_estimate_cost(&err, q->model, q->plan, &o, &q->cost) == PARO_STATUS_OK)
        return PARO_EXIT_DONE;
    return paro_console_fail(console, &err);
}

/* `text` for a shell: as it is, or in quotes. */
static char *quoted(const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./+:@%=";
    size_t n = 0;
    char *out = malloc(strlen(text) * 4 + 3);

    if (!out || (*text && !text[strspn(text, plain)]))
        return out ? strcpy(out, text) : NULL;
    out[n++] = '\'';
    for (; *text; text++)
        if (*text == '\'') {
            memcpy(out + n, "'\\''", 4);
            n += 4;
        } else {
            out[n++] = *text;
        }
    out[n++] = '\'';
    out[n] = '\0';
    return out;
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    quantization q = {.args = args, .dir = positional->items[0]};
    paro_exit code = check_args(console, q.args);

    if (code != PARO_EXIT_DONE)
        return code;
    code = make_plan(console, &q);
    if (code == PARO_EXIT_DONE)
        code = q.args->dry_run ? estimate_cost(console, &q) : write_checkpoint(console, &q);
    if (code != PARO_EXIT_DONE)
        goto done;
    paro_console_pause(console);
    if (q.args->output == PARO_OUTPUT_JSON) {
        code = paro_console_report(console, make_report(&q), code);
    } else if (!q.args->dry_run) {
        print_summary(&q);
    } else if (!print_plan(&q)) {
        paro_console_error(console, "out of memory for the table");
        code = PARO_EXIT_FAILED;
    }
    if (q.was_written) {
        char *out = quoted(q.args->out);
        fflush(stdout);
        paro_console_info(console, "run it: paro run %s%s -p 'Once upon a time'",
                          *q.args->out == '-' ? "./" : "", out ? out : "OUT");
        free(out);
    }
done:
    paro_plan_free(q.plan);
    paro_model_free(q.model);
    return code;
}

const paro_command paro_command_quantize = {
    .name = "quantize",
    .synopsis = "[OPTION]... MODEL --recipe RECIPE --out OUT",
    .summary = "quantise a model by a recipe and write a checkpoint",
    .details = "Runs the recipe, resolves it for every linear of MODEL, and writes a complete "
               "checkpoint folder: OUT holds nothing or everything, whenever the process dies. "
               "Prints a summary, or with --dry-run the plan.",
    .options = options,
    .args_bytes = sizeof(quantize_args),
    .defaults = &defaults,
    .min_positional = 1,
    .max_positional = 1,
    .missing = "quantize needs the path of a model folder",
    .run = run};
