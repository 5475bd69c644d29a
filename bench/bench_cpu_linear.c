/* SPDX-License-Identifier: MIT
 *
 * How fast linears read their weights: GB/s and share of what the same threads read plainly.
 *
 *     bench_cpu_linear [--threads N] [--rounds N] [--gib N] [--rows N] [--isa NAME]
 *
 * The linears have the shapes of Llama 3 8B and are all distinct, so that each product reads
 * memory, not cache. Pages are 4 KiB, as those of a mapped file. Every round measures a plain read
 * and then each case, so that what else the machine does falls on both; figures are medians over
 * the rounds, shares medians of the share within a round.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/rng.h"
#include "cpu/linear_tables.h"

enum { GROUP_SIZE = 128, MAX_ROUNDS = 99, MAX_CASES = 16, MAX_IN = 14336, MAX_OUT = 28672 };

typedef struct options {
    size_t n_threads, n_rounds, n_gib, n_rows;
    const char *isa;
} options;

typedef struct layer {
    paro_linear linear;
    paro_tensor tensors[6]; /* weight or qweight, qzeros, scales, theta, pairs, channel_scales */
} layer;

typedef struct bench_case {
    const char *name;
    paro_linear_kind kind;
    paro_dtype dtype;
    uint32_t krot;
    const paro_cpu_kernels *kernels;
    layer *layers;
    size_t n_layers;
    double n_bytes;
    double n_operations;
    double gbs[MAX_ROUNDS], share[MAX_ROUNDS], seconds[MAX_ROUNDS];
} bench_case;

typedef struct memory {
    unsigned char *weights; /* random bits; no 16-bit value is infinite or NaN */
    size_t n_bytes;
    unsigned char *scales; /* F16, all sound; as many as the largest linear has */
    unsigned char *pairs;
    unsigned char *theta;
} memory;

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(const double *values, size_t n)
{
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static void *need(void *pointer)
{
    if (!pointer) {
        fprintf(stderr, "bench_cpu_linear: out of memory\n");
        exit(1);
    }
    return pointer;
}

static unsigned char *random_pages(size_t n_bytes)
{
    void *data = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(data == MAP_FAILED ? NULL : data);
#if defined(MADV_NOHUGEPAGE)
    madvise(data, n_bytes, MADV_NOHUGEPAGE);
#endif
    paro_rng rng;
    paro_rng_seed(&rng, 1);
    uint64_t *words = data;
    for (size_t i = 0; i < n_bytes / 8; i++)
        words[i] = paro_rng_u64(&rng) & UINT64_C(0xBFFFBFFFBFFFBFFF);
    return data;
}

static void memory_make(memory *m, size_t n_bytes)
{
    enum { KROT = 8 };
    m->n_bytes = n_bytes;
    m->weights = random_pages(n_bytes);
    size_t n_scales = (size_t)MAX_IN / GROUP_SIZE * MAX_OUT;
    m->scales = need(malloc(2 * n_scales));
    for (size_t i = 0; i < n_scales; i++) {
        uint16_t bits = paro_f16_from_f32(0.01f + 1e-6f * (float)(i % 1000));
        memcpy(m->scales + 2 * i, &bits, 2);
    }
    m->pairs = need(malloc((size_t)2 * KROT * MAX_IN));
    m->theta = need(malloc((size_t)KROT * MAX_IN));
    for (size_t i = 0; i < (size_t)KROT * MAX_IN; i++) {
        size_t round = i / MAX_IN; /* another pairing in every round: a multiplier prime to 128 */
        uint16_t channel = (uint16_t)((i * (2 * round + 3) + round) % GROUP_SIZE);
        memcpy(m->pairs + 2 * i, &channel, 2);
    }
    for (size_t i = 0; i < (size_t)KROT * MAX_IN / 2; i++) {
        uint16_t bits = paro_f16_from_f32(0.001f * (float)(i % 1000));
        memcpy(m->theta + 2 * i, &bits, 2);
    }
}

static const paro_tensor *tensor_make(paro_tensor *tensor, const char *name, const void *data,
                                      paro_dtype dtype, uint64_t n_rows, uint64_t n_columns)
{
    *tensor = (paro_tensor){.name = name,
                            .file = "(random)",
                            .data = data,
                            .dtype = dtype,
                            .rank = 2,
                            .shape = {n_rows, n_columns},
                            .n_values = n_rows * n_columns,
                            .n_bytes = n_rows * n_columns * paro_dtype_bytes(dtype)};
    return tensor;
}

/* Fills one layer from `at` in the weights; returns the bytes of them it took. */
static size_t layer_make(const bench_case *c, layer *l, const memory *m, size_t at, uint32_t n_in,
                         uint32_t n_out)
{
    paro_linear *linear = &l->linear;
    memset(l, 0, sizeof *l);
    linear->name = "linear";
    linear->kind = c->kind;
    linear->n_in = n_in;
    linear->n_out = n_out;
    paro_tensor *t = l->tensors;
    if (c->kind == PARO_LINEAR_KIND_DENSE) {
        linear->weight = tensor_make(t, "weight", m->weights + at, c->dtype, n_out, n_in);
        return t->n_bytes;
    }
    linear->group_size = GROUP_SIZE;
    linear->krot = c->krot;
    uint32_t n_groups = n_in / GROUP_SIZE;
    linear->qweight =
        tensor_make(&t[0], "qweight", m->weights + at, PARO_DTYPE_I32, n_in, n_out / 8);
    linear->qzeros = tensor_make(&t[1], "qzeros", m->weights + at + t[0].n_bytes, PARO_DTYPE_I32,
                                 n_groups, n_out / 8);
    linear->scales = tensor_make(&t[2], "scales", m->scales, PARO_DTYPE_F16, n_groups, n_out);
    if (c->krot > 0) {
        linear->theta = tensor_make(&t[3], "theta", m->theta, PARO_DTYPE_F16, c->krot, n_in / 2);
        linear->pairs = tensor_make(&t[4], "pairs", m->pairs, PARO_DTYPE_I16, c->krot, n_in);
        linear->channel_scales =
            tensor_make(&t[5], "channel_scales", m->scales, PARO_DTYPE_F16, 1, n_in);
    }
    return t[0].n_bytes + t[1].n_bytes;
}

/* As many linears, in turn of these shapes, as the weights have room for. */
static void case_make(bench_case *c, const memory *m)
{
    static const uint32_t shapes[][2] = {{4096, 6144}, {4096, 4096}, {4096, 28672}, {14336, 4096}};
    size_t at = 0;
    c->layers = need(calloc(m->n_bytes >> 22, sizeof *c->layers));
    for (size_t s = 0;; s++) {
        uint32_t n_in = shapes[s % 4][0], n_out = shapes[s % 4][1];
        size_t n_values = (size_t)n_in * n_out;
        size_t n_most = c->kind == PARO_LINEAR_KIND_DENSE ? n_values * paro_dtype_bytes(c->dtype)
                                                          : n_values / 2 + n_values / GROUP_SIZE;
        if (at + n_most > m->n_bytes)
            break;
        layer *l = &c->layers[c->n_layers++];
        at += layer_make(c, l, m, at, n_in, n_out);
        c->n_operations += 2.0 * (double)n_values;
        for (size_t t = 0; t < 6; t++)
            c->n_bytes += (double)l->tensors[t].n_bytes;
    }
}

typedef struct reader {
    const unsigned char *data;
    size_t n_bytes;
    uint64_t *sums; /* of each worker */
} reader;

enum { READ_BYTES = 1 << 22 };

static void read_task(void *context, size_t i, int worker)
{
    const reader *r = context;
    const uint64_t *words = (const uint64_t *)(const void *)(r->data + i * READ_BYTES);
    uint64_t sums[16] = {0};
    for (size_t at = 0; at < READ_BYTES / 8; at += 16)
        for (size_t lane = 0; lane < 16; lane++)
            sums[lane] ^= words[at + lane];
    for (size_t lane = 0; lane < 16; lane++)
        r->sums[(size_t)worker * 8] ^= sums[lane];
}

static double read_gbs(const memory *m, paro_pool *pool)
{
    size_t n_tasks = m->n_bytes / READ_BYTES;
    reader r = {.data = m->weights, .n_bytes = m->n_bytes};
    r.sums = need(calloc((size_t)paro_pool_n_threads(pool), 64));
    double start = paro_clock_seconds();
    paro_pool_run(pool, n_tasks, read_task, &r);
    double seconds = paro_clock_seconds() - start;
    static volatile uint64_t sink;
    sink = r.sums[0];
    (void)sink;
    free(r.sums);
    return (double)n_tasks * READ_BYTES / seconds * 1e-9;
}

static double case_seconds(bench_case *c, paro_pool *pool, size_t n_rows, const float *x, float *y)
{
    double start = paro_clock_seconds();
    for (size_t i = 0; i < c->n_layers; i++) {
        paro_error err;
        if (paro_linear_forward_with(&err, &c->layers[i].linear, pool, c->kernels, x, n_rows, y) !=
            PARO_STATUS_OK) {
            fprintf(stderr, "bench_cpu_linear: %s\n", err.message);
            exit(1);
        }
    }
    return paro_clock_seconds() - start;
}

static size_t add_cases(bench_case *cases, const memory *m, const char *isa)
{
    static const bench_case kinds[] = {
        {.name = "W4, K = 8", .kind = PARO_LINEAR_KIND_W4, .krot = 8},
        {.name = "W4, K = 0", .kind = PARO_LINEAR_KIND_W4, .krot = 0},
        {.name = "F16", .kind = PARO_LINEAR_KIND_DENSE, .dtype = PARO_DTYPE_F16},
        {.name = "BF16", .kind = PARO_LINEAR_KIND_DENSE, .dtype = PARO_DTYPE_BF16},
    };
    size_t n_cases = 0;
    const paro_cpu_kernels *kernels;
    for (size_t n = 0; (kernels = paro_cpu_kernels_get(n)); n++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds && n_cases < MAX_CASES; k++) {
            if (isa && strcmp(isa, kernels->name) != 0)
                continue;
            cases[n_cases] = kinds[k];
            cases[n_cases].kernels = kernels;
            case_make(&cases[n_cases++], m);
        }
    return n_cases;
}

static void parse(int argc, char **argv, options *o)
{
    *o = (options){.n_threads = 0, .n_rounds = 7, .n_gib = 1, .n_rows = 1};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) {
            fprintf(stderr, "bench_cpu_linear: %s: expected an option and its value\n", argv[i]);
            exit(2);
        }
        size_t value = strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--threads") == 0)
            o->n_threads = value;
        else if (strcmp(argv[i], "--rounds") == 0 && value >= 1 && value <= MAX_ROUNDS)
            o->n_rounds = value;
        else if (strcmp(argv[i], "--gib") == 0 && value >= 1)
            o->n_gib = value;
        else if (strcmp(argv[i], "--rows") == 0 && value >= 1)
            o->n_rows = value;
        else if (strcmp(argv[i], "--isa") == 0)
            o->isa = argv[i + 1];
        else {
            fprintf(stderr, "bench_cpu_linear: what is %s %s?\n", argv[i], argv[i + 1]);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    options o;
    parse(argc, argv, &o);
    paro_pool *pool = NULL;
    if (paro_pool_new(NULL, (int)o.n_threads, &pool) != PARO_STATUS_OK)
        return 1;
    memory m;
    memory_make(&m, (o.n_gib << 30) + ((size_t)128 << 20));
    float *x = need(malloc(o.n_rows * MAX_IN * sizeof *x));
    float *y = need(malloc(o.n_rows * MAX_OUT * sizeof *y));
    for (size_t i = 0; i < o.n_rows * MAX_IN; i++)
        x[i] = (float)(i % 17) / 8 - 1;

    static bench_case cases[MAX_CASES];
    size_t n_cases = add_cases(cases, &m, o.isa);
    double read[MAX_ROUNDS];
    for (size_t c = 0; c < n_cases; c++) /* prepares, and wakes everything */
        case_seconds(&cases[c], pool, o.n_rows, x, y);
    for (size_t round = 0; round < o.n_rounds; round++) {
        double before = read_gbs(&m, pool);
        read[round] = before;
        for (size_t c = 0; c < n_cases; c++) {
            cases[c].seconds[round] = case_seconds(&cases[c], pool, o.n_rows, x, y);
            cases[c].gbs[round] = cases[c].n_bytes / cases[c].seconds[round] * 1e-9;
            double after = read_gbs(&m, pool);
            cases[c].share[round] = cases[c].gbs[round] / ((before + after) / 2);
            before = after;
        }
    }
    double load[3] = {0};
    if (getloadavg(load, 3) < 1)
        load[0] = -1;
    printf("%d threads, %zu rows of x, medians of %zu rounds, load average %.1f\n",
           paro_pool_n_threads(pool), o.n_rows, o.n_rounds, load[0]);
    printf("plain read of %.2f GB: %.1f GB/s\n\n", (double)m.n_bytes * 1e-9,
           median(read, o.n_rounds));
    printf("| weights | kernels | GB | GB/s | share of read | GFLOP/s |\n");
    printf("| --- | --- | --- | --- | --- | --- |\n");
    for (size_t c = 0; c < n_cases; c++)
        printf("| %s | %s | %.2f | %.1f | %.0f %% | %.0f |\n", cases[c].name,
               cases[c].kernels->name, cases[c].n_bytes * 1e-9, median(cases[c].gbs, o.n_rounds),
               100 * median(cases[c].share, o.n_rounds),
               cases[c].n_operations * (double)o.n_rows / median(cases[c].seconds, o.n_rounds) *
                   1e-9);
    return 0;
}
