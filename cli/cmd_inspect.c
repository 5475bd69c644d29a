/* SPDX-License-Identifier: MIT
 *
 * paro inspect: what a model folder or a safetensors file holds.
 */
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/text.h"

typedef struct inspect_args {
    paro_global_args global;
    bool stats;
    bool check;
    const char *filter;
    int output;
} inspect_args;

static const paro_option options[] = {
    {.name = "stats",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(inspect_args, stats),
     .help = "read every tensor listed and show its smallest and largest value, mean, root mean "
             "square, and how many values are NaN, infinite or zero"},
    {.name = "check",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(inspect_args, check),
     .help =
         "of a model folder: check every tensor's presence, shape and type, and every quantised "
         "linear's pairs, angles and scales; exit code 1 where something is wrong"},
    {.name = "filter",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(inspect_args, filter),
     .argument = "GLOB",
     .help = "only tensors whose name matches, for example '*.q_proj.*'"},
    {.name = "output",
     .letter = 'o',
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(inspect_args, output),
     .argument = "table|json",
     .choices = paro_output_table_names,
     .help = "how to print it (default table)"},
    {0}};

enum { MAX_VALUE_COLUMNS = 64 };

/* What is being looked at: `model` is NULL where there is no config.json, or it cannot be used. */
typedef struct inspection {
    const inspect_args *args;
    const char *path;
    paro_model *model;
    paro_tensors *tensors;
    size_t n_listed;
    uint64_t n_listed_bytes;
    uint64_t n_bytes;
} inspection;

static bool is_listed(const inspection *in, const paro_tensor_info *tensor)
{
    return !in->args->filter || fnmatch(in->args->filter, tensor->name, 0) == 0;
}

static void print_model(const paro_model_info *m)
{
    char parameters[PARO_TEXT_NUMBER_BYTES], size[PARO_TEXT_NUMBER_BYTES];
    char *architecture = paro_text_clean(m->architecture, 0);

    printf("%s: %s parameters, %s of tensors\n", architecture ? architecture : "?",
           paro_text_count(parameters, (double)m->n_parameters),
           paro_text_size(size, m->n_weight_bytes));
    free(architecture);
    printf("  layers %u, hidden %u, intermediate %u, heads %u, KV heads %u, head_dim %u\n",
           m->n_layers, m->hidden, m->intermediate, m->n_heads, m->n_kv_heads, m->head_dim);
    printf("  vocabulary %u, context %u\n", m->vocab, m->max_context);
    if (strcmp(m->quant_method, "none") == 0)
        printf("  not quantised\n");
    else if (m->krot)
        printf("  quantised: %s, %u bits, groups of %u, %u rotation rounds\n", m->quant_method,
               m->bits, m->group_size, m->krot);
    else
        printf("  quantised: %s, %u bits, groups of %u\n", m->quant_method, m->bits, m->group_size);
}

static void report_model(paro_report_node *node, const paro_model_info *m)
{
    paro_report_text(node, "architecture", m->architecture);
    paro_report_text(node, "quant_method", m->quant_method);
    paro_report_integer(node, "n_layers", m->n_layers);
    paro_report_integer(node, "hidden", m->hidden);
    paro_report_integer(node, "intermediate", m->intermediate);
    paro_report_integer(node, "n_heads", m->n_heads);
    paro_report_integer(node, "n_kv_heads", m->n_kv_heads);
    paro_report_integer(node, "head_dim", m->head_dim);
    paro_report_integer(node, "vocab", m->vocab);
    paro_report_integer(node, "max_context", m->max_context);
    paro_report_integer(node, "bits", m->bits);
    paro_report_integer(node, "group_size", m->group_size);
    paro_report_integer(node, "krot", m->krot);
    paro_report_integer(node, "n_parameters", m->n_parameters);
    paro_report_integer(node, "n_weight_bytes", m->n_weight_bytes);
}

static void shape_text(const paro_tensor_info *t, char *out, size_t n_out)
{
    size_t n = 0;

    snprintf(out, n_out, "scalar");
    for (uint32_t i = 0; i < t->rank && i < PARO_TENSOR_MAX_RANK && n < n_out; i++)
        n += (size_t)snprintf(out + n, n_out - n, "%s%llu", i ? " x " : "",
                              (unsigned long long)t->shape[i]);
}

static void add_row(paro_table *table, const paro_tensor_info *t, const paro_tensor_stats *s)
{
    char shape[PARO_TENSOR_MAX_RANK * 24], size[PARO_TEXT_NUMBER_BYTES];

    shape_text(t, shape, sizeof shape);
    paro_table_cell(table, "%s", t->name);
    paro_table_cell(table, "%s", t->dtype);
    paro_table_cell(table, "%s", shape);
    paro_table_cell(table, "%s", paro_text_size(size, t->n_bytes));
    if (!s)
        return;
    const double values[] = {s->min, s->max, s->mean, s->rms};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (isnan(values[i])) /* of packed codes */
            paro_table_cell(table, "-");
        else
            paro_table_cell(table, "%.5g", values[i]);
    paro_table_cell(table, "%llu", (unsigned long long)s->n_nan);
    paro_table_cell(table, "%llu", (unsigned long long)s->n_inf);
    paro_table_cell(table, "%llu", (unsigned long long)s->n_zero);
}

static void report_tensor(paro_report_node *list, const paro_tensor_info *t,
                          const paro_tensor_stats *s)
{
    paro_report_node *node = paro_report_object(list, NULL);

    paro_report_text(node, "name", t->name);
    paro_report_text(node, "dtype", t->dtype);
    paro_report_node *shape = paro_report_array(node, "shape");
    for (uint32_t i = 0; i < t->rank && i < PARO_TENSOR_MAX_RANK; i++)
        paro_report_integer(shape, NULL, t->shape[i]);
    paro_report_integer(node, "n_bytes", t->n_bytes);
    paro_report_text(node, "file", t->file);
    if (!s)
        return;
    paro_report_node *stats = paro_report_object(node, "stats");
    paro_report_integer(stats, "n_values", s->n_values);
    paro_report_integer(stats, "n_nan", s->n_nan);
    paro_report_integer(stats, "n_inf", s->n_inf);
    paro_report_integer(stats, "n_zero", s->n_zero);
    paro_report_real(stats, "min", s->min);
    paro_report_real(stats, "max", s->max);
    paro_report_real(stats, "mean", s->mean);
    paro_report_real(stats, "rms", s->rms);
}

/* Codes packed into words: of the words' values no more can be told than how many there are. */
static bool is_packed(const paro_tensor_info *t)
{
    static const char *const suffixes[] = {".qweight", ".qzeros"};
    size_t n = strlen(t->name);

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        size_t n_suffix = strlen(suffixes[i]);
        if (n >= n_suffix && strcmp(t->name + n - n_suffix, suffixes[i]) == 0)
            return strcmp(t->dtype, "I32") == 0;
    }
    return false;
}

/* Lists the tensors into `table` or `list`, whichever is not NULL. */
static paro_exit list_tensors(paro_console *console, inspection *in, paro_table *table,
                              paro_report_node *list)
{
    size_t n = paro_tensors_count(in->tensors);
    uint64_t n_done_bytes = 0;

    for (size_t i = 0; i < n; i++) {
        paro_tensor_info tensor;
        paro_tensor_stats stats = {0};
        paro_error err;
        paro_tensors_get(in->tensors, i, &tensor);
        if (!is_listed(in, &tensor))
            continue;
        if (in->args->stats) {
            if (!console->observer.progress(console, "stats", n_done_bytes, in->n_listed_bytes))
                return paro_console_interrupted(console);
            if (paro_tensors_stats(&err, in->tensors, i, &stats) != PARO_STATUS_OK)
                return paro_console_fail(console, &err);
            n_done_bytes += tensor.n_bytes;
            if (is_packed(&tensor))
                stats.min = stats.max = stats.mean = stats.rms = NAN;
        }
        if (table)
            add_row(table, &tensor, in->args->stats ? &stats : NULL);
        else
            report_tensor(list, &tensor, in->args->stats ? &stats : NULL);
    }
    if (in->args->stats)
        paro_progress_report(&console->progress, "stats", n_done_bytes, in->n_listed_bytes);
    return PARO_EXIT_DONE;
}

static void print_metadata(const paro_tensors *tensors)
{
    const char *key, *value = NULL;

    for (size_t i = 0; (key = paro_tensors_metadata(tensors, i, &value)); i++) {
        char *name = paro_text_clean(key, MAX_VALUE_COLUMNS);
        char *text = paro_text_clean(value, MAX_VALUE_COLUMNS);
        printf("%s  %s: %s", i ? "" : "\nMetadata:\n", name ? name : "?", text ? text : "?");
        if (paro_text_columns(value) > MAX_VALUE_COLUMNS)
            printf(" (%zu bytes; -o json prints all)", strlen(value));
        printf("\n");
        free(name);
        free(text);
    }
}

static paro_exit print_table(paro_console *console, inspection *in)
{
    static const paro_column columns[] = {{.title = "tensor"},
                                          {.title = "dtype"},
                                          {.title = "shape"},
                                          {.title = "size", .right = true},
                                          {.title = "min", .right = true},
                                          {.title = "max", .right = true},
                                          {.title = "mean", .right = true},
                                          {.title = "rms", .right = true},
                                          {.title = "nan", .right = true},
                                          {.title = "inf", .right = true},
                                          {.title = "zero", .right = true}};
    paro_table *table = paro_table_new(columns, in->args->stats ? 11 : 4);
    paro_exit code = list_tensors(console, in, table, NULL);
    char size[PARO_TEXT_NUMBER_BYTES];
    size_t n = paro_tensors_count(in->tensors);

    if (code != PARO_EXIT_DONE)
        goto done;
    paro_console_pause(console);
    if (in->model) {
        paro_model_info info;
        paro_model_get_info(in->model, &info);
        print_model(&info);
        printf("%s\n", in->args->check ? "  checked: tensors are there with their shapes and "
                                         "types, quantised ones keep the format\n"
                                       : "");
    }
    if (!paro_table_print(table, stdout)) {
        paro_console_error(console, "out of memory for the table");
        code = PARO_EXIT_FAILED;
        goto done;
    }
    if (in->n_listed < n)
        printf("\n%zu of %zu tensors, %s", in->n_listed, n,
               paro_text_size(size, in->n_listed_bytes));
    else
        printf("\n%zu tensors, %s", n, paro_text_size(size, in->n_bytes));
    printf("\n");
    print_metadata(in->tensors);
done:
    paro_table_free(table);
    return code;
}

static paro_exit print_json(paro_console *console, inspection *in)
{
    paro_report *report = paro_report_new();
    paro_report_node *root = paro_report_root(report);
    const char *key, *value = NULL;

    paro_report_text(root, "path", in->path);
    if (in->model) {
        paro_model_info info;
        paro_model_get_info(in->model, &info);
        report_model(paro_report_object(root, "model"), &info);
    } else {
        paro_report_null(root, "model");
    }
    paro_report_bool(root, "checked", in->args->check);
    paro_report_integer(root, "n_tensors", paro_tensors_count(in->tensors));
    paro_report_integer(root, "n_bytes", in->n_bytes);
    paro_report_node *metadata = paro_report_object(root, "metadata");
    for (size_t i = 0; (key = paro_tensors_metadata(in->tensors, i, &value)); i++)
        paro_report_text(metadata, key, value);
    paro_exit code = list_tensors(console, in, NULL, paro_report_array(root, "tensors"));
    if (code != PARO_EXIT_DONE) {
        paro_report_free(report);
        return code;
    }
    return paro_console_report(console, report, code);
}

static void count_tensors(inspection *in)
{
    for (size_t i = 0; i < paro_tensors_count(in->tensors); i++) {
        paro_tensor_info tensor;
        paro_tensors_get(in->tensors, i, &tensor);
        in->n_bytes += tensor.n_bytes;
        if (is_listed(in, &tensor)) {
            in->n_listed++;
            in->n_listed_bytes += tensor.n_bytes;
        }
    }
}

static bool has_config(const char *path)
{
    char *file = NULL;
    struct stat info;
    bool found = asprintf(&file, "%s/config.json", path) >= 0 && stat(file, &info) == 0;

    free(file);
    return found;
}

/* With --check: the model must open and hold what it promises. */
static paro_exit check_model(paro_console *console, const inspection *in)
{
    paro_error err;

    if (!in->model) {
        paro_console_error(console, "%s: no config.json: --check needs a model folder", in->path);
        return PARO_EXIT_FAILED;
    }
    return paro_model_check(&err, in->model) == PARO_STATUS_OK ? PARO_EXIT_DONE
                                                               : paro_console_fail(console, &err);
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    inspection in = {.args = args, .path = positional->items[0]};
    paro_exit code = PARO_EXIT_DONE, listed;
    paro_error err;

    if (paro_tensors_open(&err, in.path, &in.tensors) != PARO_STATUS_OK)
        return paro_console_fail(console, &err);
    count_tensors(&in);
    if (in.args->filter && in.n_listed == 0) {
        paro_console_error(console, "%s: no tensor's name matches '%s'", in.path, in.args->filter);
        const char *filter = in.args->filter;
        const char *before = *filter == '*' ? "" : "*";
        const char *after = *filter && filter[strlen(filter) - 1] == '*' ? "" : "*";
        if (*before || *after)
            paro_console_hint(console, "the whole name must match; '*' is any text: '%s%s%s'",
                              before, filter, after);
        else
            paro_console_hint(console, "without --filter every name is listed");
        code = PARO_EXIT_FAILED;
        goto done;
    }
    if (has_config(in.path)) {
        const paro_model_options model = {.n_threads = console->n_threads};
        if (paro_model_open(&err, in.path, &model, &in.model) != PARO_STATUS_OK) {
            code = paro_console_fail(console, &err);
            if (code == PARO_EXIT_INTERRUPTED || in.args->check)
                goto done;
            paro_console_hint(console, "the tensors are listed all the same");
            code = PARO_EXIT_PARTLY;
        }
    }
    if (in.args->check) {
        code = check_model(console, &in);
        if (code != PARO_EXIT_DONE)
            goto done;
    }
    listed =
        in.args->output == PARO_OUTPUT_JSON ? print_json(console, &in) : print_table(console, &in);
    if (listed != PARO_EXIT_DONE)
        code = listed;
done:
    paro_model_free(in.model);
    paro_tensors_free(in.tensors);
    return code;
}

const paro_command paro_command_inspect = {
    .name = "inspect",
    .synopsis = "[OPTION]... PATH",
    .summary = "what a model folder or a safetensors file holds",
    .details = "PATH is a folder as Hugging Face lays it out, or one safetensors file. Prints the "
               "model's architecture (of a folder with config.json), every tensor's name, type, "
               "shape and size, and the files' metadata; long metadata is shortened in the table "
               "and whole in JSON. Where config.json cannot be used the tensors are listed all the "
               "same, and the exit code is 3.",
    .options = options,
    .args_bytes = sizeof(inspect_args),
    .min_positional = 1,
    .max_positional = 1,
    .missing = "inspect needs the path of a model folder or of a safetensors file",
    .run = run};
