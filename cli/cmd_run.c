/* SPDX-License-Identifier: MIT
 *
 * paro run: continues a prompt, streaming the text.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/device.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/report.h"
#include "cli/text.h"

typedef struct run_args {
    paro_global_args global;
    const char *prompt;
    const char *file;
    uint64_t n_tokens;
    double temperature;
    uint64_t top_k;
    double top_p;
    uint64_t seed;
    paro_strings stop;
    bool echo;
    bool ignore_eos;
    const char *device;
    int output;
} run_args;

static const run_args defaults = {.n_tokens = 128, .top_p = 1};

static const paro_option options[] = {
    {.name = "prompt",
     .letter = 'p',
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(run_args, prompt),
     .argument = "TEXT",
     .help = "the text to continue"},
    {.name = "file",
     .letter = 'f',
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(run_args, file),
     .argument = "FILE",
     .help = "a file with the text to continue; '-' is standard input, which is also read where "
             "neither -p nor -f is given and it is not a terminal"},
    {.name = "tokens",
     .letter = 'n',
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(run_args, n_tokens),
     .argument = "N",
     .min = 0,
     .max = 4294967295.0,
     .help = "at most so many new tokens (default 128); 0: as many as the model's context holds"},
    {.name = "temperature",
     .kind = PARO_OPTION_REAL,
     .offset = offsetof(run_args, temperature),
     .argument = "T",
     .min = 0,
     .max = 1000,
     .help = "0, the default, always takes the likeliest token; 1 samples from the model's "
             "distribution"},
    {.name = "top-k",
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(run_args, top_k),
     .argument = "K",
     .min = 0,
     .max = 4294967295.0,
     .help = "sample from the K likeliest tokens only; 0, the default: from all"},
    {.name = "top-p",
     .kind = PARO_OPTION_REAL,
     .offset = offsetof(run_args, top_p),
     .argument = "P",
     .min = 0,
     .max = 1,
     .help = "sample from the likeliest tokens that together reach probability P (default 1: from "
             "all)"},
    {.name = "seed",
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(run_args, seed),
     .argument = "S",
     .min = 0,
     .max = 18446744073709551615.0,
     .help = "the same seed gives the same text (default 0)"},
    {.name = "stop",
     .kind = PARO_OPTION_STRINGS,
     .offset = offsetof(run_args, stop),
     .argument = "TEXT",
     .help = "end before this text; may be given again"},
    {.name = "echo",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(run_args, echo),
     .help = "print the prompt before its continuation"},
    {.name = "ignore-eos",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(run_args, ignore_eos),
     .help = "go on after an end token"},
    {.name = "device",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(run_args, device),
     .argument = PARO_DEVICE_ARGUMENT,
     .help = PARO_DEVICE_HELP},
    {.name = "output",
     .letter = 'o',
     .kind = PARO_OPTION_CHOICE,
     .offset = offsetof(run_args, output),
     .argument = "text|json",
     .choices = paro_output_text_names,
     .help = "text as it comes, or one JSON document at the end (default text)"},
    {0}};

/* Where generated text goes. */
typedef struct sink {
    bool json;     /* keep it in `text`, print nothing */
    bool terminal; /* standard output is one: control characters are not sent to it */
    char *text;
    size_t n_bytes, n_allocated;
    char last; /* the last byte, for the final newline */
    bool out_of_memory;
} sink;

static bool sink_keep(sink *s, const char *text, size_t n_bytes)
{
    if (n_bytes > s->n_allocated - s->n_bytes) {
        size_t n = (s->n_bytes + n_bytes) * 2;
        char *bigger = realloc(s->text, n);
        if (!bigger) {
            s->out_of_memory = true;
            return false;
        }
        s->text = bigger;
        s->n_allocated = n;
    }
    memcpy(s->text + s->n_bytes, text, n_bytes);
    s->n_bytes += n_bytes;
    return true;
}

/* A paro_text_fn. */
static bool emit(void *context, const char *text, size_t n_bytes)
{
    sink *s = context;

    if (paro_interrupt_wanted())
        return false;
    if (n_bytes == 0)
        return true;
    if (s->json)
        return sink_keep(s, text, n_bytes);
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        bool control = (c < 32 && c != '\n' && c != '\t') || c == 127;
        if (s->terminal && control)
            fputs("\xef\xbf\xbd", stdout);
        else
            fputc(c, stdout);
    }
    s->last = text[n_bytes - 1];
    return fflush(stdout) == 0;
}

static const char *finish_text(paro_finish finish)
{
    switch (finish) {
    case PARO_FINISH_LENGTH:
        return "length";
    case PARO_FINISH_EOS:
        return "eos";
    case PARO_FINISH_STOP:
        return "stop";
    case PARO_FINISH_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

static double rate(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

/* The first new token comes out of the prefill. */
static double decode_rate(const paro_generate_result *r)
{
    return r->n_generated > 1 ? rate(r->n_generated - 1, r->decode_seconds) : 0;
}

/* "7 tokens, 12.3 tokens/s"; of a single token there is no rate to tell. */
static const char *tokens_text(char *out, size_t n_out, uint32_t n, double per_second)
{
    if (n == 1 || per_second <= 0)
        snprintf(out, n_out, "%u token%s", n, n == 1 ? "" : "s");
    else
        snprintf(out, n_out, "%u tokens, %.1f tokens/s", n, per_second);
    return out;
}

static void print_summary(paro_console *console, const paro_generate_result *r)
{
    char prompt[96], new[96];

    paro_console_info(
        console, "prompt: %s; new: %s; finished by: %s",
        tokens_text(prompt, sizeof prompt, r->n_prompt, rate(r->n_prompt, r->prefill_seconds)),
        tokens_text(new, sizeof new, r->n_generated, decode_rate(r)), finish_text(r->finish));
}

static paro_exit print_json(paro_console *console, const run_args *a, const char *model,
                            const char *device, const char *prompt, size_t n_prompt, const sink *s,
                            const paro_generate_result *r)
{
    paro_report *report = paro_report_new();
    paro_report_node *root = paro_report_root(report);

    paro_report_text(root, "model", model);
    paro_report_text(root, "device", device);
    paro_report_bytes(root, "prompt", prompt, n_prompt);
    paro_report_bytes(root, "text", s->text ? s->text : "", s->n_bytes);
    paro_report_text(root, "finish", finish_text(r->finish));
    paro_report_integer(root, "n_prompt", r->n_prompt);
    paro_report_integer(root, "n_generated", r->n_generated);
    paro_report_real(root, "prefill_seconds", r->prefill_seconds);
    paro_report_real(root, "decode_seconds", r->decode_seconds);
    paro_report_real(root, "prefill_tokens_per_second", rate(r->n_prompt, r->prefill_seconds));
    paro_report_real(root, "decode_tokens_per_second", decode_rate(r));
    paro_report_real(root, "temperature", a->temperature);
    paro_report_integer(root, "top_k", a->top_k);
    paro_report_real(root, "top_p", a->top_p);
    paro_report_integer(root, "seed", a->seed);
    return paro_console_report(console, report, PARO_EXIT_DONE);
}

static paro_exit check_args(paro_console *console, const run_args *a)
{
    for (size_t i = 0; i < a->stop.n_items; i++)
        if (!*a->stop.items[i]) {
            paro_console_error(console, "option '--stop': expected a text, found ''");
            return PARO_EXIT_USAGE;
        }
    const struct {
        bool given;
        const char *name;
    } samplers[] = {
        {a->top_k != 0, "--top-k"}, {a->top_p != 1, "--top-p"}, {a->seed != 0, "--seed"}};
    for (size_t i = 0; i < sizeof samplers / sizeof samplers[0]; i++)
        if (samplers[i].given && a->temperature == 0)
            paro_console_warn(
                console, "%s has no effect without --temperature: the likeliest token is taken",
                samplers[i].name);
    return PARO_EXIT_DONE;
}

/* The prompt's text, from the option, a file or standard input. */
static paro_exit read_prompt(paro_console *console, const run_args *a, char **text, size_t *n_bytes)
{
    paro_error err;

    if (a->prompt && a->file) {
        paro_console_error(console, "--prompt and --file cannot both be given");
        return PARO_EXIT_USAGE;
    }
    if (!a->prompt && !a->file && isatty(STDIN_FILENO)) {
        paro_console_error(console, "run needs a text to continue");
        paro_console_hint(console, "give one with -p TEXT or -f FILE, or pipe it in");
        return PARO_EXIT_USAGE;
    }
    if (a->prompt) {
        *text = strdup(a->prompt);
        *n_bytes = strlen(a->prompt);
        if (*text)
            return PARO_EXIT_DONE;
        paro_console_error(console, "out of memory for the prompt");
        return PARO_EXIT_FAILED;
    }
    if (paro_input_read(&err, a->file ? a->file : "-", text, n_bytes) != PARO_STATUS_OK)
        return paro_console_fail(console, &err);
    return PARO_EXIT_DONE;
}

/* Whether the model can read these ids at all, before it begins to. */
static bool check_prompt(paro_console *console, const paro_model *model,
                         const paro_tokenizer *tokenizer, const int32_t *ids, size_t n_ids)
{
    paro_model_info info;

    paro_model_get_info(model, &info);
    if (n_ids == 0) {
        paro_console_error(console, "the prompt is empty, and this model's tokenizer adds no begin "
                                    "token: there is nothing to continue");
        return false;
    }
    if (n_ids > info.max_context) {
        paro_console_error(console, "the prompt is %zu tokens, the model holds %u; shorten it",
                           n_ids, info.max_context);
        return false;
    }
    for (size_t i = 0; i < n_ids; i++)
        if ((uint32_t)ids[i] >= info.vocab) {
            paro_console_error(console,
                               "%s: the prompt has the token %d, but the tokenizer has %zu ids and "
                               "the model %u: they do not belong together",
                               info.dir, (int)ids[i], (size_t)paro_tokenizer_vocab(tokenizer),
                               info.vocab);
            return false;
        }
    return true;
}

static paro_exit generate(paro_console *console, const run_args *a, const paro_model *model,
                          const paro_tokenizer *tokenizer, paro_session *session,
                          const char *prompt, size_t n_bytes, sink *s, paro_generate_result *result)
{
    const paro_encode_options encode = {.add_special_tokens = true};
    const paro_generate_options o = {.n_tokens = (uint32_t)a->n_tokens,
                                     .temperature = (float)a->temperature,
                                     .top_k = (uint32_t)a->top_k,
                                     .top_p = (float)a->top_p,
                                     .seed = a->seed,
                                     .stop = a->stop.items,
                                     .n_stop = a->stop.n_items,
                                     .ignore_eos = a->ignore_eos};
    int32_t *ids = NULL;
    size_t n_ids = 0;
    paro_error err;
    paro_exit code = PARO_EXIT_DONE;

    if (paro_tokenizer_encode(&err, tokenizer, prompt, n_bytes, &encode, &ids, &n_ids) !=
        PARO_STATUS_OK)
        return paro_console_fail(console, &err);
    if (!check_prompt(console, model, tokenizer, ids, n_ids)) {
        free(ids);
        return PARO_EXIT_FAILED;
    }
    if (a->echo && !s->json)
        emit(s, prompt, n_bytes);
    if (paro_generate(&err, session, tokenizer, ids, n_ids, &o, emit, s, NULL, result) !=
        PARO_STATUS_OK)
        code = paro_console_fail(console, &err);
    free(ids);
    return code;
}

/* After the last piece: the newline, figures, and what went wrong. */
static paro_exit conclude(paro_console *console, const sink *s, const paro_generate_result *r)
{
    if (ferror(stdout)) /* main says why */
        return PARO_EXIT_FAILED;
    if (s->out_of_memory) {
        paro_console_error(console, "out of memory for the text");
        return PARO_EXIT_FAILED;
    }
    if (!s->json && s->last != '\n') {
        fputc('\n', stdout);
        fflush(stdout); /* main says so where it could not be written */
    }
    print_summary(console, r);
    return PARO_EXIT_DONE;
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    const run_args *a = args;
    const paro_model_options o = paro_console_model_options(console, a->device);
    const paro_session_options so = {.observer = &console->observer};
    const char *dir = positional->items[0];
    sink s = {.json = a->output == PARO_OUTPUT_JSON, .terminal = isatty(STDOUT_FILENO)};
    paro_generate_result result = {0};
    paro_tokenizer *tokenizer = NULL;
    paro_session *session = NULL;
    paro_model *model = NULL;
    char *prompt = NULL;
    size_t n_bytes = 0;
    paro_error err;

    paro_exit code = check_args(console, a);
    if (code == PARO_EXIT_DONE)
        code = read_prompt(console, a, &prompt, &n_bytes);
    if (code != PARO_EXIT_DONE)
        return code;
    if (paro_model_open(&err, dir, &o, &model) != PARO_STATUS_OK ||
        paro_tokenizer_open(&err, dir, &tokenizer) != PARO_STATUS_OK ||
        paro_session_new(&err, model, &so, &session) != PARO_STATUS_OK) {
        code = paro_console_fail(console, &err);
        goto done;
    }
    code = generate(console, a, model, tokenizer, session, prompt, n_bytes, &s, &result);
    if (code != PARO_EXIT_DONE)
        goto done;
    code = conclude(console, &s, &result);
    if (code == PARO_EXIT_DONE && s.json) {
        paro_model_info info;
        paro_model_get_info(model, &info);
        code = print_json(console, a, dir, info.device, prompt, n_bytes, &s, &result);
    }
    if (code == PARO_EXIT_DONE && result.finish == PARO_FINISH_CANCELLED)
        code = paro_console_interrupted(console);
done:
    free(s.text);
    free(prompt);
    paro_session_free(session);
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    return code;
}

const paro_command paro_command_run = {
    .name = "run",
    .synopsis = "[OPTION]... MODEL [-p TEXT | -f FILE]",
    .summary = "continue a text",
    .details = "Reads a prompt and streams its continuation to standard output; a newline ends it "
               "where the text has none. Then the tokens a second of reading and of writing, and "
               "why it ended, go to standard error. The tokenizer adds a begin token where the "
               "model wants one.",
    .options = options,
    .args_bytes = sizeof(run_args),
    .defaults = &defaults,
    .min_positional = 1,
    .max_positional = 1,
    .missing = "run needs the path of a model folder",
    .run = run};
