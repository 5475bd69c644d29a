/* SPDX-License-Identifier: MIT
 *
 * paro tokenize: text to token ids, and back.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/report.h"

typedef struct tokenize_args {
    paro_global_args global;
    bool decode;
    bool special;
    bool plain;
    bool pieces;
    int output;
    paro_strings files;
} tokenize_args;

static const paro_option options[] = {
    {.name = "decode",
     .letter = 'd',
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(tokenize_args, decode),
     .help = "read token ids, separated by white space or commas, and print their text"},
    {.name = "special",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(tokenize_args, special),
     .help = "add the tokens that the tokenizer puts around a text, such as a begin token; with "
             "--decode: print special tokens, which are left out else"},
    {.name = "plain",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(tokenize_args, plain),
     .help = "treat the spelling of special tokens in the text as ordinary text"},
    {.name = "pieces",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(tokenize_args, pieces),
     .help = "one token a line: its id, a tab, and its text with \\n, \\t, \\r and \\\\ for what "
             "would break the line"},
    {.name = "output",
     .letter = 'o',
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(tokenize_args, output),
     .argument = "text|json",
     .choices = paro_output_text_names,
     .help = "how to print it (default text)"},
    {0}};

typedef struct tokenization {
    const tokenize_args *args;
    const paro_tokenizer *tokenizer;
    paro_report_node *list; /* NULL for text */
} tokenization;

static void print_piece(int32_t id, const char *text, size_t n_bytes)
{
    printf("%" PRId32 "\t", id);
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n' || c == '\t' || c == '\r' || c == '\\')
            printf("\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : '\\');
        else if (c < 32 || c == 127)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('\n');
}

static paro_status print_pieces(paro_error *err, const tokenization *t, const int32_t *ids,
                                size_t n_ids, paro_report_node *pieces)
{
    for (size_t i = 0; i < n_ids; i++) {
        char *text = NULL;
        size_t n_bytes = 0;
        paro_status status =
            paro_tokenizer_decode(err, t->tokenizer, ids + i, 1, false, &text, &n_bytes);
        if (status != PARO_STATUS_OK)
            return status;
        if (pieces)
            paro_report_bytes(pieces, NULL, text, n_bytes);
        else if (!t->list)
            print_piece(ids[i], text, n_bytes);
        free(text);
    }
    return PARO_STATUS_OK;
}

static paro_status encode(paro_error *err, const tokenization *t, const char *name,
                          const char *text, size_t n_bytes)
{
    const paro_encode_options o = {.add_special_tokens = t->args->special,
                                   .plain_text = t->args->plain};
    int32_t *ids = NULL;
    size_t n_ids = 0;
    paro_status status = paro_tokenizer_encode(err, t->tokenizer, text, n_bytes, &o, &ids, &n_ids);

    if (status != PARO_STATUS_OK)
        return status;
    if (t->list) {
        paro_report_node *node = paro_report_object(t->list, NULL);
        paro_report_text(node, "text", name);
        paro_report_integer(node, "n_bytes", n_bytes);
        paro_report_integer(node, "n_tokens", n_ids);
        paro_report_node *list = paro_report_array(node, "ids");
        for (size_t i = 0; i < n_ids; i++)
            paro_report_signed(list, NULL, ids[i]);
        if (t->args->pieces)
            status = print_pieces(err, t, ids, n_ids, paro_report_array(node, "pieces"));
    } else if (t->args->pieces) {
        status = print_pieces(err, t, ids, n_ids, NULL);
    } else {
        for (size_t i = 0; i < n_ids; i++)
            printf("%s%" PRId32, i ? " " : "", ids[i]);
        putchar('\n');
    }
    free(ids);
    return status;
}

static paro_status decode(paro_error *err, const tokenization *t, const char *name,
                          const char *text, size_t n_bytes)
{
    int32_t *ids = NULL;
    char *decoded = NULL;
    size_t n_ids = 0, n_decoded = 0;
    paro_status status = paro_input_ids(err, name, text, n_bytes, t->tokenizer, &ids, &n_ids);

    if (status == PARO_STATUS_OK && t->args->pieces && !t->list)
        status = print_pieces(err, t, ids, n_ids, NULL);
    else if (status == PARO_STATUS_OK)
        status = paro_tokenizer_decode(err, t->tokenizer, ids, n_ids, !t->args->special, &decoded,
                                       &n_decoded);
    if (status == PARO_STATUS_OK && t->list) {
        paro_report_node *node = paro_report_object(t->list, NULL);
        paro_report_text(node, "text", name);
        paro_report_integer(node, "n_tokens", n_ids);
        paro_report_bytes(node, "decoded", decoded, n_decoded);
        if (t->args->pieces)
            status = print_pieces(err, t, ids, n_ids, paro_report_array(node, "pieces"));
    } else if (status == PARO_STATUS_OK && decoded) {
        fwrite(decoded, 1, n_decoded, stdout);
        if (isatty(STDOUT_FILENO) && n_decoded && decoded[n_decoded - 1] != '\n')
            putchar('\n');
    }
    free(decoded);
    free(ids);
    return status;
}

static paro_exit tokenize_files(paro_console *console, const tokenization *t)
{
    static const char *const standard_input[] = {"-"};
    size_t n = t->args->files.n_items ? t->args->files.n_items : 1, n_failed = 0;

    for (size_t i = 0; i < n && !ferror(stdout); i++) {
        const char *path = t->args->files.n_items ? t->args->files.items[i] : standard_input[0];
        char *text = NULL;
        size_t n_bytes = 0;
        paro_error err;
        paro_status status = paro_input_read(&err, path, &text, &n_bytes);
        if (status == PARO_STATUS_OK)
            status =
                (t->args->decode ? decode : encode)(&err, t, paro_input_name(path), text, n_bytes);
        free(text);
        if (status == PARO_STATUS_OK)
            continue;
        if (paro_console_fail(console, &err) == PARO_EXIT_INTERRUPTED)
            return PARO_EXIT_INTERRUPTED;
        n_failed++;
        paro_report_node *node = paro_report_object(t->list, NULL);
        paro_report_text(node, "text", paro_input_name(path));
        paro_report_text(node, "error", err.message);
    }
    return n_failed == 0 ? PARO_EXIT_DONE : n_failed == n ? PARO_EXIT_FAILED : PARO_EXIT_PARTLY;
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    tokenization t = {.args = args};
    paro_tokenizer *tokenizer = NULL;
    paro_report *report = NULL;
    paro_error err;

    if (t.args->decode && t.args->plain) {
        paro_console_error(console, "--plain has no meaning with --decode");
        return PARO_EXIT_USAGE;
    }
    if (paro_tokenizer_open(&err, positional->items[0], &tokenizer) != PARO_STATUS_OK)
        return paro_console_fail(console, &err);
    t.tokenizer = tokenizer;
    bool json = t.args->output == PARO_OUTPUT_JSON;
    if (json) {
        report = paro_report_new();
        paro_report_node *root = paro_report_root(report);
        paro_report_text(root, "model", positional->items[0]);
        paro_report_integer(root, "vocab", paro_tokenizer_vocab(tokenizer));
        t.list = paro_report_array(root, "texts");
    }
    paro_exit code = json && !t.list ? PARO_EXIT_FAILED : tokenize_files(console, &t);
    if (json && code != PARO_EXIT_INTERRUPTED)
        code = paro_console_report(console, report, code);
    else
        paro_report_free(report);
    paro_tokenizer_free(tokenizer);
    return code;
}

const paro_command paro_command_tokenize = {
    .name = "tokenize",
    .synopsis = "[OPTION]... MODEL [FILE]...",
    .summary = "text to token ids, and back",
    .details = "MODEL is a model folder or a tokenizer.json. Every FILE ('-', or no FILE: standard "
               "input) is one text, line ends and all: its ids are printed on one line, separated "
               "by spaces. With --decode the FILEs hold ids, and their text is printed with "
               "nothing added to it.",
    .options = options,
    .args_bytes = sizeof(tokenize_args),
    .min_positional = 1,
    .max_positional = 1,
    .missing = "tokenize needs the path of a model folder or of a tokenizer.json",
    .has_rest = true,
    .rest_offset = offsetof(tokenize_args, files),
    .run = run};
