/* SPDX-License-Identifier: MIT
 *
 * How long finding all winners of a model takes: the cache opened, every problem of Llama 3 8B for
 * six buckets looked up, the cache closed. Prints the best and the median of a number of runs for a
 * filled cache, for one that knows only near problems, and for one that knows nothing.
 *
 *     bench_cache [RUNS (200)]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cache/cache.h"
#include "families/model_problems.h"

enum { MAX_RUNS = 10000 };

typedef struct bench {
    char dir[64], path[96];
    paro_problem *problems;
    size_t n;
    const paro_arch *arch;
    paro_device_info device;
    char device_class[PARO_DEVICE_CLASS_BYTES];
    int n_runs;
} bench;

static void require(paro_status status, const paro_error *err)
{
    if (status == PARO_STATUS_OK)
        return;
    fprintf(stderr, "bench_cache: %s\n", err->message);
    exit(1);
}

/* Llama 3 8B in INT4 with rotations: every layer the same. */
static void make_problems(bench *b)
{
    enum { N_LAYERS = 32 };
    static paro_layer_shape layers[N_LAYERS];
    static const uint32_t buckets[] = {1, 2, 4, 8, 16, 32};
    const paro_linear_shape base = {
        .n = 4096, .k = 4096, .quantised = true, .group_size = 128, .krot = 8};
    paro_error err;
    for (size_t i = 0; i < N_LAYERS; i++) {
        paro_layer_shape *l = &layers[i];
        l->q = l->k = l->v = l->o = l->gate = l->up = l->down = base;
        l->k.n = l->v.n = 1024;
        l->gate.n = l->up.n = l->down.k = 14336;
    }
    const paro_model_shape shape = {.hidden = 4096,
                                    .intermediate = 14336,
                                    .n_heads = 32,
                                    .n_kv_heads = 8,
                                    .head_dim = 128,
                                    .vocab = 128256,
                                    .layers = layers,
                                    .n_layers = N_LAYERS,
                                    .head = {.n = 128256, .k = 4096}};
    require(paro_model_problems(&err, &shape, buckets, 6, &b->problems, &b->n), &err);
}

/* `m_filter`: rows for problems of this m only; 0: all, and a kernel for each. */
static void fill(bench *b, int64_t m_filter)
{
    paro_error err;
    paro_cache *cache = NULL;
    paro_cache_options options = {.path = b->path};
    static unsigned char binary[30000];
    (void)unlink(b->path);
    require(paro_cache_open(&err, &options, &cache), &err);
    require(paro_cache_begin(&err, cache), &err);
    for (size_t i = 0; i < b->n; i++) {
        char text[PARO_PROBLEM_TEXT_BYTES], config[PARO_KERNEL_CONFIG_TEXT_BYTES];
        paro_kernel_config values = {{0}};
        const paro_problem *p = &b->problems[i];
        if (m_filter != 0 && paro_problem_get(p, "m") != m_filter)
            continue;
        paro_problem_print(p, text);
        p->family->default_config(p, b->arch, &values);
        paro_kernel_config_print(p->family, &values, config);
        paro_cache_winner winner = {
            .problem = text,
            .device_class = b->device_class,
            .layout = p->family->layout != NULL ? p->family->layout(p, &values) : "",
            .config = config,
            .median_us = 10,
            .spread_us = 1,
            .default_us = 12,
            .n_samples = 100,
            .clock = "cupti",
            .device = b->device.name,
            .driver = "580.65",
            .strategy = "default"};
        paro_cache_kernel kernel = {.family = p->family->name,
                                    .arch = b->arch->name,
                                    .nvrtc = "13.0",
                                    .signature = "[]",
                                    .resources = "[]",
                                    .binary = binary,
                                    .n_bytes = sizeof binary};
        paro_sha256_hex("template", 8, winner.template_hash);
        paro_sha256_hex(text, strlen(text), winner.kernel);
        memcpy(kernel.key, winner.kernel, sizeof kernel.key);
        memcpy(kernel.source_hash, winner.kernel, sizeof kernel.source_hash);
        require(paro_cache_put_winner(&err, cache, &winner), &err);
        require(paro_cache_put_kernel(&err, cache, &kernel), &err);
    }
    require(paro_cache_commit(&err, cache), &err);
    paro_cache_free(cache);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Milliseconds of one run; read_kernels: their binaries, too. */
static double run_once(const bench *b, bool read_kernels, size_t *n_of_grade)
{
    char hash[PARO_SHA256_HEX_BYTES];
    paro_error err;
    paro_arena arena = {0};
    paro_cache *cache = NULL;
    paro_cache_options options = {.path = b->path, .read_only = true};
    paro_sha256_hex("template", 8, hash);
    double start = paro_clock_seconds();
    require(paro_cache_open(&err, &options, &cache), &err);
    paro_lookup_request *requests = paro_arena_array(&arena, b->n, sizeof *requests);
    paro_lookup *found = paro_arena_array(&arena, b->n, sizeof *found);
    if (requests == NULL || found == NULL)
        exit(1);
    for (size_t i = 0; i < b->n; i++)
        requests[i] = (paro_lookup_request){&b->problems[i], hash, NULL, false};
    require(paro_cache_lookup_all(&err, cache, requests, b->n, b->arch, &b->device, &arena, found),
            &err);
    for (size_t i = 0; i < b->n; i++) {
        paro_cache_kernel kernel;
        n_of_grade[found[i].grade]++;
        if (read_kernels && found[i].has_kernel)
            require(paro_cache_get_kernel(&err, cache, found[i].key, &arena, &kernel), &err);
    }
    paro_cache_free(cache);
    double took = (paro_clock_seconds() - start) * 1e3;
    paro_arena_release(&arena);
    return took;
}

static void measure(const bench *b, const char *what, bool read_kernels)
{
    static double times[MAX_RUNS];
    size_t n_of_grade[PARO_GRADE_DEFAULT + 1] = {0};
    for (int i = 0; i < b->n_runs; i++) {
        memset(n_of_grade, 0, sizeof n_of_grade);
        times[i] = run_once(b, read_kernels, n_of_grade);
    }
    qsort(times, (size_t)b->n_runs, sizeof times[0], by_value);
    printf("%-36s %8.2f %8.2f    ", what, times[0], times[b->n_runs / 2]);
    for (int g = 0; g <= PARO_GRADE_DEFAULT; g++)
        if (n_of_grade[g] > 0)
            printf(" %zu %s", n_of_grade[g], paro_grade_name((paro_grade)g));
    printf("\n");
}

int main(int argc, char **argv)
{
    bench b = {.dir = "/tmp/paro-bench-XXXXXX", .n_runs = argc > 1 ? atoi(argv[1]) : 200};
    if (b.n_runs < 1 || b.n_runs > MAX_RUNS || mkdtemp(b.dir) == NULL) {
        fprintf(stderr, "bench_cache: expected a number of runs from 1 to %d\n", MAX_RUNS);
        return 1;
    }
    snprintf(b.path, sizeof b.path, "%s/cache.db", b.dir);
    b.arch = paro_arch_find("sm_90");
    paro_device_typical(b.arch, &b.device);
    paro_device_class(&b.device, b.device_class);
    make_problems(&b);
    printf("%zu problems, %d runs; opening and closing included\n", b.n, b.n_runs);
    printf("%-36s %8s %8s\n", "", "best ms", "median");
    fill(&b, 0);
    measure(&b, "all winners", false);
    measure(&b, "all winners, kernels read", true);
    fill(&b, 8);
    measure(&b, "winners of m = 8 only", false);
    fill(&b, INT64_MAX); /* no such m */
    measure(&b, "an empty cache", false);
    free(b.problems);
    (void)paro_remove_tree(NULL, b.dir);
    return 0;
}
