/* SPDX-License-Identifier: MIT
 *
 * Fuzzing cache/. The input is a whole file; or, where it begins with "ROWS", lines of rows that
 * are put into a cache: sound rows with strange contents. What opens is read, verified, looked up,
 * exported and imported: a bundle holds exactly what was served.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cache/cache.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* In memory where there is such a folder: syncing costs nothing there. */
static char folder[64];
static char input[96], bundle[96], merged[96];

static const char problem_text[] = "rotate:h=4096,m=16,group=128,krot=8,dtype=f16";
static char template_hash[PARO_SHA256_HEX_BYTES];

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fuzz_cache: %s\n", what);
        abort();
    }
}

static void remove_folder(void)
{
    (void)paro_remove_tree(NULL, folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    snprintf(folder, sizeof folder, "/dev/shm/paro-fuzz-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        snprintf(folder, sizeof folder, "/tmp/paro-fuzz-XXXXXX");
        require(mkdtemp(folder) != NULL, "cannot create a folder");
    }
    atexit(remove_folder);
    snprintf(input, sizeof input, "%s/input.db", folder);
    snprintf(bundle, sizeof bundle, "%s/bundle.db", folder);
    snprintf(merged, sizeof merged, "%s/merged.db", folder);
    paro_sha256_hex("template 0", 10, template_hash);
    return 0;
}

/* ---- reading -----------------------------------------------------------------------------------
 */

typedef struct counts {
    uint64_t n_winners, n_kernels, n_timings, sum;
} counts;

static bool see_winner(void *context, const paro_cache_winner *w)
{
    counts *c = context;
    c->n_winners++;
    c->sum += strlen(w->problem) + strlen(w->device_class) + strlen(w->layout) + strlen(w->config) +
              strlen(w->clock) + strlen(w->device) + strlen(w->driver) + strlen(w->strategy);
    require(strlen(w->template_hash) == 64, "a hash of another length");
    return true;
}

static bool see_kernel(void *context, const paro_cache_kernel *k)
{
    counts *c = context;
    const unsigned char *bytes = k->binary;
    c->n_kernels++;
    for (size_t i = 0; i < k->n_bytes; i++)
        c->sum += bytes[i];
    c->sum += strlen(k->family) + strlen(k->arch) + strlen(k->nvrtc) + strlen(k->signature) +
              strlen(k->resources);
    require(strlen(k->key) == 64 && k->n_bytes > 0, "a kernel without key or code");
    return true;
}

static bool see_timing(void *context, const paro_cache_timing *t)
{
    counts *c = context;
    c->n_timings++;
    c->sum += strlen(t->problem) + strlen(t->config) + strlen(t->state) + strlen(t->reason);
    return true;
}

/* False where the file's damage ended a walk. */
static bool walk(paro_cache *cache, counts *c)
{
    *c = (counts){0};
    return paro_cache_each_winner(NULL, cache, NULL, NULL, see_winner, c) == PARO_STATUS_OK &&
           paro_cache_each_kernel(NULL, cache, NULL, see_kernel, c) == PARO_STATUS_OK &&
           paro_cache_each_timing(NULL, cache, NULL, NULL, see_timing, c) == PARO_STATUS_OK;
}

static void look_up(paro_cache *cache)
{
    paro_error err = {.status = PARO_STATUS_OK};
    paro_problem problem;
    paro_device_info device;
    require(paro_problem_parse(&err, problem_text, &problem) == PARO_STATUS_OK, err.message);
    for (size_t i = 0; paro_arch_get(i) != NULL; i += 3) {
        const paro_arch *arch = paro_arch_get(i);
        paro_arena arena = {0};
        paro_lookup found;
        paro_cache_kernel kernel;
        const char *layout = NULL;
        paro_device_typical(arch, &device);
        paro_status status = paro_cache_lookup(&err, cache, &problem, arch, &device, template_hash,
                                               NULL, &arena, &found);
        require(status == PARO_STATUS_OK, err.message);
        require(problem.family->constraint(&problem, &found.config, arch) == NULL,
                "a config that does not pass");
        require(found.why != NULL && found.has_kernel == (found.key[0] != 0), "half an answer");
        if (found.has_kernel &&
            paro_cache_get_kernel(&err, cache, found.key, &arena, &kernel) == PARO_STATUS_OK)
            require(strcmp(kernel.key, found.key) == 0, "another kernel");
        require(paro_cache_choose_layout(&err, cache, &problem, 1, arch, &device, template_hash,
                                         &arena, &layout) == PARO_STATUS_OK &&
                    layout[0] == 0,
                "no layout");
        paro_arena_release(&arena);
    }
}

/* Everything that only reads; then what was served, through a bundle into a new cache. */
static void use(paro_cache *cache)
{
    paro_error err = {.status = PARO_STATUS_OK};
    paro_cache_info info;
    counts served, again;
    paro_merge_result result;
    look_up(cache);
    (void)paro_cache_verify(&err, cache, &info);
    bool is_whole = walk(cache, &served);
    if (paro_cache_export(&err, cache, bundle, NULL, true, NULL) != PARO_STATUS_OK) {
        require(!is_whole, err.message);
        return;
    }
    paro_cache *other = NULL;
    paro_cache_options options = {.path = merged};
    (void)unlink(merged);
    require(paro_cache_open(&err, &options, &other) == PARO_STATUS_OK, err.message);
    require(paro_cache_import(&err, other, bundle, NULL, &result) == PARO_STATUS_OK, err.message);
    require(walk(other, &again) && paro_cache_verify(&err, other, &info) == PARO_STATUS_OK &&
                info.n_damaged == 0 && result.n_damaged == 0,
            "a bundle that is not sound");
    if (is_whole)
        require(again.n_winners == served.n_winners && again.n_kernels == served.n_kernels &&
                    again.n_timings == served.n_timings && again.sum == served.sum,
                "a bundle that holds something else");
    paro_cache_free(other);
}

/* ---- rows --------------------------------------------------------------------------------------
 */

enum { N_WORDS = 10 };

/* "W", "K" or "T", then words, all separated by '|'; absent ones are empty. */
static void put_line(paro_cache *cache, char *line)
{
    char *words[N_WORDS];
    for (int i = 0; i < N_WORDS; i++) {
        words[i] = line;
        char *end = strchr(line, '|');
        if (end != NULL) {
            *end = 0;
            line = end + 1;
        } else {
            line += strlen(line);
        }
    }
    if (words[0][0] == 'W') {
        paro_cache_winner w = {.problem = words[1],
                               .device_class = words[2],
                               .layout = words[3],
                               .config = words[4],
                               .median_us = strtod(words[5], NULL),
                               .n_samples = (uint32_t)strtoul(words[6], NULL, 10),
                               .driver = words[7]};
        memcpy(w.template_hash, template_hash, sizeof w.template_hash);
        paro_sha256_hex(words[8], strlen(words[8]), w.kernel);
        (void)paro_cache_put_winner(NULL, cache, &w);
    } else if (words[0][0] == 'K') {
        paro_cache_kernel k = {.family = words[1],
                               .arch = words[2],
                               .nvrtc = words[3],
                               .signature = words[4],
                               .resources = words[5],
                               .binary = words[6],
                               .n_bytes = strlen(words[6]),
                               .is_ptx = words[7][0] == '1'};
        paro_sha256_hex(words[8], strlen(words[8]), k.key);
        paro_sha256_hex(words[6], strlen(words[6]), k.source_hash);
        (void)paro_cache_put_kernel(NULL, cache, &k);
    } else {
        paro_cache_timing t = {.problem = words[1],
                               .device_class = words[2],
                               .config = words[3],
                               .state = words[4],
                               .reason = words[5],
                               .error = strtod(words[6], NULL),
                               .measured_at = strtoll(words[7], NULL, 10)};
        memcpy(t.template_hash, template_hash, sizeof t.template_hash);
        (void)paro_cache_put_timing(NULL, cache, &t);
    }
}

static void put_rows(char *text)
{
    paro_error err = {.status = PARO_STATUS_OK};
    paro_cache *cache = NULL;
    paro_cache_options options = {.path = input};
    (void)unlink(input);
    require(paro_cache_open(&err, &options, &cache) == PARO_STATUS_OK, err.message);
    require(paro_cache_begin(&err, cache) == PARO_STATUS_OK, err.message);
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save))
        put_line(cache, line);
    require(paro_cache_commit(&err, cache) == PARO_STATUS_OK, err.message);
    use(cache);
    paro_cache_free(cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes >= 4 && memcmp(data, "ROWS", 4) == 0) {
        char *text = malloc(n_bytes - 3);
        require(text != NULL, "no memory");
        memcpy(text, data + 4, n_bytes - 4);
        text[n_bytes - 4] = 0;
        put_rows(text);
        free(text);
        return 0;
    }
    FILE *file = fopen(input, "wb");
    require(file != NULL, "cannot write the input");
    require(fwrite(data, 1, n_bytes, file) == n_bytes, "cannot write the input");
    require(fclose(file) == 0, "cannot write the input");
    /* Read only, as the system's, for writing: one of them, by what is in it. */
    const unsigned mode = (unsigned)(paro_hash_bytes(data, n_bytes) % 3);
    paro_error err = {.status = PARO_STATUS_OK};
    paro_cache *cache = NULL;
    paro_cache_options options = {.path = input, .read_only = mode == 0};
    if (mode == 1)
        options = (paro_cache_options){.system_path = input};
    paro_status status = paro_cache_open(&err, &options, &cache);
    if (status == PARO_STATUS_OK)
        use(cache);
    else
        require(cache == NULL && err.status == status && strstr(err.message, input) != NULL,
                "an error that does not name the file, or an output touched on failure");
    paro_cache_free(cache);
    return 0;
}
