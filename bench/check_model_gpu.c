/* SPDX-License-Identifier: MIT
 *
 * Models on a GPU against the same models on the CPU: logits of prompts, of decode steps, and
 * perplexity.
 *
 *     check_model_gpu [OPTION]... MODEL...
 *
 *     --device D      cuda:0 by default; "emulator" or "emulator:FOLDER" for a machine without GPU
 *     --text FILE     for the perplexity; none by default
 *     --tokens N      of it (4096)
 *     --context N     tokens of a window (512)
 *     --steps N       decode steps after each prompt (32)
 *     --cache FILE    of kernels; none by default
 *     --nvrtc FILE    NVRTC's library; searched by default
 *     --threads N     of the CPU; one per core by default
 *     --verbose       tells which kernels were chosen
 *
 * Prompts are those of MODEL/golden.safetensors ("promptN.ids"), else one of made-up tokens. The
 * CPU's likeliest token is fed to both after each step. `logits` is the largest relative L2 error
 * of a row (prompt or step); `top` counts the steps whose likeliest token is the same. Bars: logits
 * 5e-3, perplexity 0.1 %. Exits with 1 where a bar is missed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paro/eval.h>
#include <paro/model.h>
#include <paro/tokenizer.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/safetensors.h"

enum { MAX_PROMPTS = 8, MAX_MODELS = 32, MADE_UP_TOKENS = 40 };
static const double logits_bar = 5e-3, perplexity_bar = 1e-3;

typedef struct options {
    const char *device, *text, *cache, *nvrtc;
    size_t n_tokens, context, n_steps, n_threads;
    bool verbose;
} options;

typedef struct outcome {
    const char *dir;
    char device[64];
    double prompt_error, step_error; /* largest of a row */
    size_t n_prompt_tokens, n_steps, n_same;
    double gap; /* largest between the CPU's logits of two tokens where the choice differed */
    double cpu_perplexity, gpu_perplexity, kl_mean, same_top; /* 0: not measured */
    size_t n_text_tokens;
    double load_seconds, prefill_seconds, decode_seconds; /* of the GPU */
    bool failed;
    char why[PARO_ERROR_MESSAGE_BYTES];
} outcome;

static void log_line(void *context, paro_log_level level, const char *message)
{
    const options *o = context;
    if (level != PARO_LOG_LEVEL_DEBUG || o->verbose)
        fprintf(stderr, "%s\n", message);
}

static double relative_error(const float *found, const float *expected, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += pow((double)found[i] - (double)expected[i], 2);
        size += pow((double)expected[i], 2);
    }
    const double error = sqrt(difference / size);
    return isnan(error) ? INFINITY : error;
}

static int32_t likeliest(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

/* All rows of a prompt, kept. */
typedef struct rows {
    float *logits; /* [n_tokens, vocab] */
    size_t vocab;
} rows;

static paro_status keep_rows(paro_error *err, void *context, size_t first, size_t n_rows,
                             const float *logits)
{
    const rows *r = context;
    (void)err;
    memcpy(r->logits + first * r->vocab, logits, n_rows * r->vocab * sizeof *logits);
    return PARO_STATUS_OK;
}

typedef struct pair {
    const options *o;
    paro_model *cpu, *gpu;
    size_t vocab;
} pair;

static paro_status check_prompt(paro_error *err, const pair *p, const int32_t *ids, size_t n_ids,
                                outcome *out)
{
    paro_session *cpu = NULL, *gpu = NULL;
    rows a = {malloc(n_ids * p->vocab * sizeof(float)), p->vocab};
    rows b = {malloc(n_ids * p->vocab * sizeof(float)), p->vocab};
    paro_status status = a.logits == NULL || b.logits == NULL
                             ? PARO_STATUS_OUT_OF_MEMORY
                             : paro_session_new(err, p->cpu, NULL, &cpu);
    if (status == PARO_STATUS_OK)
        status = paro_session_new(err, p->gpu, NULL, &gpu);
    if (status == PARO_STATUS_OK)
        status = paro_session_append_all(err, cpu, ids, n_ids, keep_rows, &a);
    if (status == PARO_STATUS_OK) /* kernels of the bucket are made here, not in the timed call */
        status = paro_session_append_all(err, gpu, ids, n_ids, keep_rows, &b);
    for (size_t i = 0; i < n_ids && status == PARO_STATUS_OK; i++)
        out->prompt_error =
            fmax(out->prompt_error,
                 relative_error(b.logits + i * p->vocab, a.logits + i * p->vocab, p->vocab));
    float *x = a.logits + (n_ids - 1) * p->vocab, *y = b.logits + (n_ids - 1) * p->vocab;
    if (status == PARO_STATUS_OK) {
        paro_session_truncate(gpu, 0);
        const double start = paro_clock_seconds();
        status = paro_session_append(err, gpu, ids, n_ids, y);
        out->prefill_seconds += paro_clock_seconds() - start;
        out->n_prompt_tokens += n_ids;
    }
    for (size_t i = 0; i < p->o->n_steps && status == PARO_STATUS_OK; i++) {
        const int32_t best = likeliest(x, p->vocab), other = likeliest(y, p->vocab);
        out->n_same += best == other;
        out->gap = fmax(out->gap, (double)x[best] - (double)x[other]);
        status = paro_session_append(err, cpu, &best, 1, x);
        const double start = paro_clock_seconds();
        if (status == PARO_STATUS_OK)
            status = paro_session_append(err, gpu, &best, 1, y);
        out->decode_seconds += paro_clock_seconds() - start;
        out->step_error = fmax(out->step_error, relative_error(y, x, p->vocab));
        out->n_steps++;
    }
    paro_session_free(cpu);
    paro_session_free(gpu);
    free(a.logits);
    free(b.logits);
    return status;
}

static paro_status check_prompts(paro_error *err, const pair *p, outcome *out)
{
    char path[4096];
    paro_tensor_set *set = NULL;
    paro_status status = PARO_STATUS_OK;
    size_t n_prompts = 0;
    snprintf(path, sizeof path, "%s/golden.safetensors", out->dir);
    if (paro_path_exists(path))
        status = paro_tensor_set_open(err, path, &set);
    for (; set != NULL && n_prompts < MAX_PROMPTS && status == PARO_STATUS_OK; n_prompts++) {
        char name[32];
        snprintf(name, sizeof name, "prompt%zu.ids", n_prompts);
        const paro_tensor *tensor = paro_tensor_set_find(set, name);
        if (tensor == NULL)
            break;
        int32_t *ids = malloc(tensor->n_bytes);
        if (ids == NULL)
            break;
        memcpy(ids, tensor->data, tensor->n_bytes);
        status = check_prompt(err, p, ids, (size_t)tensor->n_values, out);
        free(ids);
    }
    if (n_prompts == 0 && status == PARO_STATUS_OK) {
        int32_t ids[MADE_UP_TOKENS];
        for (size_t i = 0; i < MADE_UP_TOKENS; i++)
            ids[i] = (int32_t)((i * 7919 + 13) % p->vocab);
        status = check_prompt(err, p, ids, MADE_UP_TOKENS, out);
    }
    paro_tensor_set_free(set);
    return status;
}

static paro_status check_perplexity(paro_error *err, const pair *p, outcome *out)
{
    paro_tokenizer *tokenizer = NULL;
    paro_eval_result result;
    char *text = NULL;
    size_t n_bytes = 0;
    const paro_eval_options eval = {.context = (uint32_t)p->o->context,
                                    .max_tokens = p->o->n_tokens};
    paro_status status = paro_file_read(err, p->o->text, (size_t)1 << 30, &text, &n_bytes);
    if (status == PARO_STATUS_OK)
        status = paro_tokenizer_open(err, out->dir, &tokenizer);
    if (status == PARO_STATUS_OK)
        status = paro_eval_text(err, p->gpu, tokenizer, text, n_bytes, p->cpu, &eval, &result);
    if (status == PARO_STATUS_OK) {
        out->gpu_perplexity = result.perplexity;
        out->cpu_perplexity = result.reference_perplexity;
        out->kl_mean = result.kl_mean;
        out->same_top = result.same_top;
        out->n_text_tokens = (size_t)result.n_tokens;
    }
    paro_tokenizer_free(tokenizer);
    free(text);
    return status;
}

static void check_model(options *o, outcome *out)
{
    paro_error err = {0};
    paro_model_info info;
    pair p = {.o = o};
    const paro_observer observer = {.context = o, .log = log_line};
    const paro_model_options cpu = {.n_threads = (int)o->n_threads};
    const paro_model_options gpu = {.n_threads = (int)o->n_threads,
                                    .device = o->device,
                                    .cache_path = o->cache,
                                    .nvrtc_library = o->nvrtc,
                                    .observer = &observer};
    paro_status status = paro_model_open(&err, out->dir, &cpu, &p.cpu);
    const double start = paro_clock_seconds();
    if (status == PARO_STATUS_OK)
        status = paro_model_open(&err, out->dir, &gpu, &p.gpu);
    out->load_seconds = paro_clock_seconds() - start;
    if (status == PARO_STATUS_OK) {
        paro_model_get_info(p.gpu, &info);
        p.vocab = info.vocab;
        snprintf(out->device, sizeof out->device, "%s", info.device);
        status = check_prompts(&err, &p, out);
    }
    if (status == PARO_STATUS_OK && o->text != NULL)
        status = check_perplexity(&err, &p, out);
    if (status != PARO_STATUS_OK) {
        out->failed = true;
        snprintf(out->why, sizeof out->why, "%s", err.message);
    }
    paro_model_free(p.gpu);
    paro_model_free(p.cpu);
}

static double difference(const outcome *r)
{
    return r->cpu_perplexity > 0 ? fabs(r->gpu_perplexity / r->cpu_perplexity - 1) : 0;
}

static bool is_good(const outcome *r)
{
    return !r->failed && r->prompt_error <= logits_bar && r->step_error <= logits_bar &&
           difference(r) <= perplexity_bar;
}

static void print_outcome(const outcome *r)
{
    printf("%s on %s: %s\n", r->dir, r->device[0] ? r->device : "?",
           is_good(r) ? "good" : "NOT GOOD");
    if (r->failed)
        printf("  failed: %s\n", r->why);
    printf("  logits: prompts %.2e, steps %.2e (bar %.0e); likeliest token the same in %zu of %zu "
           "steps, largest gap where not %.4f\n",
           r->prompt_error, r->step_error, logits_bar, r->n_same, r->n_steps, r->gap);
    if (r->cpu_perplexity > 0)
        printf("  perplexity: CPU %.5f, GPU %.5f: %.4f %% (bar %.1f %%); KL %.2e, same top %.2f "
               "%%; %zu tokens\n",
               r->cpu_perplexity, r->gpu_perplexity, 100 * difference(r), 100 * perplexity_bar,
               r->kl_mean, 100 * r->same_top, r->n_text_tokens);
    if (r->n_steps > 0)
        printf("  opened in %.2f s; prompts %.0f tokens/s, decode %.1f tokens/s\n", r->load_seconds,
               (double)r->n_prompt_tokens / r->prefill_seconds,
               (double)r->n_steps / r->decode_seconds);
}

static bool take_number(const char *text, size_t *out)
{
    char *end = NULL;
    const unsigned long long value = strtoull(text, &end, 10);
    *out = (size_t)value;
    return end != text && *end == 0;
}

static bool take_option(options *o, const char *name, const char *value)
{
    if (strcmp(name, "--device") == 0)
        o->device = value;
    else if (strcmp(name, "--text") == 0)
        o->text = value;
    else if (strcmp(name, "--cache") == 0)
        o->cache = value;
    else if (strcmp(name, "--nvrtc") == 0)
        o->nvrtc = value;
    else if (strcmp(name, "--tokens") == 0)
        return take_number(value, &o->n_tokens);
    else if (strcmp(name, "--context") == 0)
        return take_number(value, &o->context);
    else if (strcmp(name, "--steps") == 0)
        return take_number(value, &o->n_steps);
    else if (strcmp(name, "--threads") == 0)
        return take_number(value, &o->n_threads);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    options o = {.device = "cuda:0", .n_tokens = 4096, .context = 512, .n_steps = 32};
    static outcome outcomes[MAX_MODELS];
    size_t n = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            o.verbose = true;
        } else if (argv[i][0] != '-' && n < MAX_MODELS) {
            outcomes[n++].dir = argv[i];
        } else if (i + 1 >= argc || !take_option(&o, argv[i], argv[i + 1])) {
            fprintf(stderr, "%s: not understood; see the top of %s\n", argv[i], __FILE__);
            return 2;
        } else {
            i++;
        }
    }
    bool good = n > 0;
    for (size_t i = 0; i < n; i++) {
        fprintf(stderr, "%s\n", outcomes[i].dir);
        check_model(&o, &outcomes[i]);
        good = good && is_good(&outcomes[i]);
    }
    for (size_t i = 0; i < n; i++)
        print_outcome(&outcomes[i]);
    return good ? 0 : 1;
}
