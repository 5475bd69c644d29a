/* SPDX-License-Identifier: MIT
 *
 * The device bodies of templates/lib on GPU 0 against their host bodies on the emulator, and both
 * against plain C where that is short. Each check runs twice: on the emulator against itself under
 * another schedule (so that the checks are tried on every machine), and on the GPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/dtype.h"
#include "base/rng.h"
#include "tests/places.h"

/* ---- values ------------------------------------------------------------------------------------
 */

/* Equal, or NaN both. */
static void assert_same_f32(float found, float expected)
{
    if (!(isnan(found) && isnan(expected)) && memcmp(&found, &expected, 4) != 0)
        fail_msg("found %a, expected %a", (double)found, (double)expected);
}

static float wide(uint16_t bits, bool is_bf16)
{
    return is_bf16 ? paro_f32_from_bf16(bits) : paro_f32_from_f16(bits);
}

static void assert_same_16(uint16_t found, uint16_t expected, bool is_bf16)
{
    if (!(isnan(wide(found, is_bf16)) && isnan(wide(expected, is_bf16))))
        assert_int_equal(found, expected);
}

static void assert_close(const float *found, const float *expected, size_t n, float tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(found[i] - expected[i]) <= tolerance))
            fail_msg("at %zu: found %a, expected %a", i, (double)found[i], (double)expected[i]);
}

/* Whole numbers from -8 to 8, or of a normal distribution. */
static void fill_f32(float *out, size_t n, bool is_whole, uint64_t seed)
{
    paro_rng rng;
    paro_rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++)
        out[i] = is_whole ? (float)paro_rng_below(&rng, 17) - 8 : paro_rng_normal(&rng);
}

static void fill_u32(uint32_t *out, size_t n, uint32_t below)
{
    paro_rng rng;
    paro_rng_seed(&rng, 11);
    for (size_t i = 0; i < n; i++)
        out[i] = (uint32_t)paro_rng_below(&rng, below);
}

/* ---- core.cuh ----------------------------------------------------------------------------------
 */

static void indices(void **state)
{
    const place *p = place_of(state, "indices", 0);
    enum { N = 3 * 4 * 5 * 96 };
    call c = {.source = "device",
              .kernel = "where",
              .grid = {3, 4, 5},
              .n_threads = 96,
              .n_operands = 1,
              .operands = {{4 * 10 * N, NULL, NULL, NULL}}};
    run(p, &c);
    assert_same_bytes(&c, 0);
    const uint32_t *found = c.operands[0].found;
    for (uint32_t i = 0; i < N; i++) {
        const uint32_t block = i / 96, thread = i % 96;
        const uint32_t expected[10] = {block % 3, block / 3 % 4, block / 12,  3,          4, 5,
                                       96,        thread,        thread / 32, thread % 32};
        assert_memory_equal(found + 10 * (size_t)i, expected, sizeof expected);
    }
    call_end(&c);
}

static void lanes(void **state)
{
    const place *p = place_of(state, "lanes", 0);
    const uint32_t words[4] = {1, 2, 3, 4}, zeros[3] = {0};
    call c = {.source = "core",
              .kernel = "lanes",
              .grid = {1},
              .n_threads = 32,
              .n_operands = 3,
              .operands = {
                  {320 * 4, NULL, NULL, NULL}, {12, zeros, NULL, NULL}, {16, words, NULL, NULL}}};
    run(p, &c);
    const float *found = c.operands[0].found, *expected = c.operands[0].expected;
    assert_memory_equal(found, expected, 288 * 4);
    for (size_t i = 288; i < 320; i++) /* a sum of functions */
        assert_true(fabsf(found[i] - expected[i]) <= 1e-6F * fabsf(expected[i]));
    assert_same_bytes(&c, 1);
    call_end(&c);
}

static void barriers(void **state)
{
    const place *p = place_of(state, "barriers", 0);
    static uint32_t x[7 * 96];
    fill_u32(x, 7 * 96, 1000);
    call c = {.source = "core",
              .kernel = "meet",
              .grid = {7},
              .n_threads = 96,
              .shared_bytes = 12,
              .n_operands = 2,
              .operands = {{sizeof x, x, NULL, NULL}, {sizeof x, NULL, NULL, NULL}}};
    run(p, &c);
    assert_same_bytes(&c, 1);
    call_end(&c);
}

static void named_barriers(void **state)
{
    const place *p = place_of(state, "named_barriers", 0);
    uint32_t x[160], v[160], before[160];
    fill_u32(x, 160, 1000);
    call c = {.source = "device",
              .kernel = "teams",
              .grid = {1},
              .n_threads = 160,
              .shared_bytes = sizeof x,
              .n_operands = 2,
              .operands = {{sizeof x, x, NULL, NULL}, {sizeof x, NULL, NULL, NULL}}};
    run(p, &c);
    memcpy(v, x, sizeof v);
    for (uint32_t round = 0; round < 20; round++) {
        memcpy(before, v, sizeof v);
        for (uint32_t i = round < 10 ? 0 : 64; i < 160; i++) {
            const uint32_t first = i < 64 ? 0 : 64, n = i < 64 ? 64 : 96;
            v[i] = before[i] * 5 + before[first + (i - first + 33) % n];
        }
    }
    for (uint32_t distance = 1; distance < 32; distance *= 2) {
        memcpy(before, v, sizeof v);
        for (uint32_t i = 0; i < 160; i++)
            v[i] = before[i] * 3 + before[i ^ distance];
    }
    assert_memory_equal(c.operands[1].found, v, sizeof v);
    assert_same_bytes(&c, 1);
    call_end(&c);
}

static void fences_and_atomics(void **state)
{
    const place *p = place_of(state, "fences_and_atomics", 0);
    enum { N_BLOCKS = 300, N_THREADS = 64, N = N_BLOCKS * N_THREADS };
    static uint32_t x[N], zeros[2 * N];
    uint32_t sum = 0;
    fill_u32(x, N, 100);
    for (size_t i = 0; i < N; i++)
        sum += x[i];
    call c = {.source = "device",
              .kernel = "last_block",
              .grid = {N_BLOCKS},
              .n_threads = N_THREADS,
              .shared_bytes = 12,
              .n_operands = 4,
              .operands = {{sizeof x, x, NULL, NULL},
                           {4 * N_BLOCKS, NULL, NULL, NULL},
                           {4, zeros, NULL, NULL},
                           {8, zeros, NULL, NULL}}};
    run(p, &c);
    float total;
    memcpy(&total, (const char *)c.operands[3].found + 4, 4);
    assert_int_equal(*(const uint32_t *)c.operands[3].found, sum);
    assert_float_equal(total, (float)sum, 0); /* below 2^24: exact in any order */
    assert_same_bytes(&c, 1);
    assert_same_bytes(&c, 2);
    assert_same_bytes(&c, 3);
    call_end(&c);
    c = (call){.source = "device",
               .kernel = "draw",
               .grid = {N_BLOCKS},
               .n_threads = N_THREADS,
               .n_operands = 2,
               .operands = {{8, zeros, NULL, NULL}, {sizeof zeros, zeros, NULL, NULL}}};
    run(p, &c);
    assert_same_bytes(&c, 0);
    for (size_t i = 0; i < 2 * (size_t)N; i++)
        assert_int_equal(((const uint32_t *)c.operands[1].found)[i], 1);
    call_end(&c);
}

/* All values of 16 bits, the ties between neighbours (infinity's too), and what is next to ties. */
static void conversions(void **state)
{
    const place *p = place_of(state, "conversions", 0);
    enum { N = 65536 * 4 };
    static float x[N];
    static uint32_t bits[N / 2];
    for (uint32_t i = 0; i < N / 2; i++)
        bits[i] = i % 65536 | (i * 40503 % 65536) << 16;
    for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
        for (uint32_t i = 0; i < 65536; i++) {
            const float value = wide((uint16_t)i, is_bf16);
            uint32_t word;
            memcpy(&word, &value, 4);
            word += is_bf16 ? 0x8000 : 0x1000; /* half a step, of normal numbers */
            memcpy(&x[4 * i + 1], &word, 4);
            if (!is_bf16 && fabsf(value) < 0x1p-14F)
                x[4 * i + 1] = value + copysignf(0x1p-25F, value); /* of subnormal ones */
            x[4 * i] = value;
            x[4 * i + 2] = nextafterf(x[4 * i + 1], INFINITY);
            x[4 * i + 3] = nextafterf(x[4 * i + 1], -INFINITY);
        }
        call c = {.source = "core",
                  .kernel = is_bf16 ? "round_bf16" : "round_f16",
                  .grid = {1},
                  .n_threads = 1024,
                  .n_operands = 3,
                  .operands = {{4 * N, x, NULL, NULL},
                               {2 * N, NULL, NULL, NULL},
                               {4 * N, NULL, NULL, NULL}},
                  .n_scalars = 1,
                  .scalars = {N}};
        call pairs = {.source = "device",
                      .kernel = is_bf16 ? "pairs_bf16" : "pairs_f16",
                      .grid = {1},
                      .n_threads = 1024,
                      .n_operands = 4,
                      .operands = {{4 * N, x, NULL, NULL},
                                   {2 * N, bits, NULL, NULL},
                                   {2 * N, NULL, NULL, NULL},
                                   {4 * N, NULL, NULL, NULL}},
                      .n_scalars = 1,
                      .scalars = {N}};
        pairs.scalars[0] = N / 2;
        run(p, &c);
        run(p, &pairs);
        const uint16_t *one = c.operands[1].found, *of_pair = pairs.operands[2].found;
        const uint16_t *emulated = c.operands[1].expected, *patterns = (const uint16_t *)bits;
        const float *back = c.operands[2].found, *unpacked = pairs.operands[3].found;
        for (uint32_t i = 0; i < N; i++) {
            const uint16_t expected = is_bf16 ? paro_bf16_from_f32(x[i]) : paro_f16_from_f32(x[i]);
            assert_same_16(one[i], expected, is_bf16);
            assert_same_16(one[i], emulated[i], is_bf16);
            assert_same_16(of_pair[i], expected, is_bf16);
            assert_same_f32(back[i], wide(expected, is_bf16));
            assert_same_f32(unpacked[i], wide(patterns[i], is_bf16));
        }
        call_end(&c);
        call_end(&pairs);
    }
}

static void arithmetic(void **state)
{
    const place *p = place_of(state, "arithmetic", 0);
    enum { N = 8192 };
    static float x[N];
    static const float special[] = {0,         INFINITY,  -INFINITY,  NAN,     1,       -1,
                                    0x1p-149F, 0x1p-127F, -0x1p-140F, 3e38F,   -3e38F,  88.7F,
                                    -87.5F,    -103,      127.9F,     -126.5F, -148.5F, 0x1p-126F};
    paro_rng rng;
    paro_rng_seed(&rng, 4);
    for (size_t i = 0; i < N; i++)
        x[i] = i < sizeof special / sizeof special[0]
                   ? special[i]
                   : paro_rng_normal(&rng) * ldexpf(1, (int)paro_rng_below(&rng, 40) - 30);
    call c = {.source = "device",
              .kernel = "arithmetic",
              .grid = {1},
              .n_threads = 256,
              .n_operands = 3,
              .operands = {{4 * N, x, NULL, NULL},
                           {6 * 4 * N, NULL, NULL, NULL},
                           {4 * 4 * N, NULL, NULL, NULL}},
              .n_scalars = 1,
              .scalars = {N}};
    run(p, &c);
    const float *exact = c.operands[1].found, *close = c.operands[2].found;
    double worst[4] = {0};
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < 6; j++)
            assert_same_f32(exact[6 * i + j], ((const float *)c.operands[1].expected)[6 * i + j]);
        const double a = (double)x[i];
        const double expected[4] = {exp(a), exp2(a), log(a), 1 / sqrt(a)};
        for (size_t j = 0; j < 4; j++) {
            const float y = close[4 * i + j], rounded = (float)expected[j];
            if (!isfinite(rounded)) {
                assert_same_f32(fabsf(y), fabsf(rounded));
                continue;
            }
            const double error = fabs((double)y - expected[j]) /
                                 (fabs(expected[j]) + 0x1p-149 / 2.5e-7); /* subnormal: 1 step */
            worst[j] = fmax(worst[j], error);
            if (!(error <= 3e-7))
                fail_msg("function %zu of %a: found %a, expected %a", j, a, (double)y, expected[j]);
        }
    }
    print_message("relative errors: exp %.1e, exp2 %.1e, log %.1e, rsqrt %.1e\n", worst[0],
                  worst[1], worst[2], worst[3]);
    call_end(&c);
}

/* vector.cuh and load_stream: every pattern of 16 bits, and some of 32, is unchanged. */
static void vectors(void **state)
{
    const place *p = place_of(state, "vectors", 0);
    static const char *const kernels[] = {"vectors_f16", "vectors_bf16", "vectors_f32"};
    static uint16_t x[2 * 65536];
    for (uint32_t i = 0; i < 2 * 65536; i++)
        x[i] = (uint16_t)(i * 25117 + (i >> 16));
    for (uint32_t which = 0; which < 3; which++) {
        const uint32_t size = which == 2 ? 4 : 2, n = 65536;
        call c = {.source = "device",
                  .kernel = kernels[which],
                  .grid = {1},
                  .n_threads = 256,
                  .n_operands = 2,
                  .operands = {{(size_t)size * n, x, NULL, NULL},
                               {(size_t)11 * size * n, NULL, NULL, NULL}},
                  .n_scalars = 1,
                  .scalars = {n}};
        run(p, &c);
        const char *y = c.operands[1].found;
        for (size_t part = 0; part < 11; part++, y += (size_t)size * n) {
            if (size == 4 || part >= 5) { /* copies */
                assert_memory_equal(y, x, (size_t)size * n);
                continue;
            }
            for (uint32_t i = 0; i < n; i++) /* a NaN may become another on the way */
                assert_same_16(((const uint16_t *)(const void *)y)[i], x[i], which == 1);
        }
        call_end(&c);
    }
}

static void sums_of_blocks(void **state)
{
    const place *p = place_of(state, "sums_of_blocks", 0);
    enum { N_BLOCKS = 40, N = N_BLOCKS * 128 };
    static float x[N];
    for (int is_whole = 0; is_whole < 2; is_whole++) {
        fill_f32(x, N, is_whole, 8);
        call c = {.source = "device",
                  .kernel = "block_sums",
                  .grid = {N_BLOCKS},
                  .n_threads = 128,
                  .shared_bytes = 16,
                  .n_operands = 2,
                  .operands = {{sizeof x, x, NULL, NULL}, {sizeof x, NULL, NULL, NULL}}};
        run(p, &c);
        assert_same_bytes(&c, 1); /* one order of addition on both */
        call_end(&c);
    }
}

/* ---- products ----------------------------------------------------------------------------------
 */

/* a [n_rows][k] and b [k][n] of dtype, in fp32 and as stored; their product plus d. */
static void product_of(paro_dtype dtype, bool is_whole, uint32_t n_rows, uint32_t n, uint32_t k,
                       uint16_t *a, uint16_t *b, float *d)
{
    float *a32 = malloc(sizeof *a32 * n_rows * k), *b32 = malloc(sizeof *b32 * k * n);
    assert_true(a32 != NULL && b32 != NULL);
    fill_f32(a32, (size_t)n_rows * k, is_whole, 6);
    fill_f32(b32, (size_t)k * n, is_whole, 7);
    if (!is_whole)
        a32[3] = 0x1p-20F; /* subnormal in f16 */
    paro_array_from_f32(a, dtype, a32, (size_t)n_rows * k);
    paro_array_from_f32(b, dtype, b32, (size_t)k * n);
    paro_f32_from_array(a32, a, dtype, (size_t)n_rows * k);
    paro_f32_from_array(b32, b, dtype, (size_t)k * n);
    for (uint32_t i = 0; i < n_rows * n; i++)
        for (uint32_t j = 0; j < k; j++)
            d[i] += a32[i / n * k + j] * b32[j * n + i % n];
    free(a32);
    free(b32);
}

/* Operands from global memory, and from tiles in shared memory. */
static void mma(void **state, const char *test, bool is_bf16)
{
    static const char *const kernels[][2] = {
        {"mma", "product"}, {"fragments", "rows"}, {"fragments", "columns"}};
    const place *p = place_of(state, test, is_bf16 ? PARO_ARCH_MMA_BF16 : PARO_ARCH_MMA_F16);
    for (size_t i = 0; i < 6; i++) {
        const int is_whole = (int)(i % 2);
        uint16_t a[256], b[128];
        float from[128], expected[128];
        fill_f32(from, 128, is_whole, 9);
        memcpy(expected, from, sizeof from);
        product_of(is_bf16 ? PARO_DTYPE_BF16 : PARO_DTYPE_F16, is_whole, 16, 8, 16, a, b, expected);
        call c = {.source = kernels[i / 2][0],
                  .kernel = kernels[i / 2][1],
                  .dtype = is_bf16 ? "bf16" : "f16",
                  .grid = {1},
                  .n_threads = 32,
                  .shared_bytes = 32 * 24 * 2,
                  .n_operands = 3,
                  .operands = {{sizeof a, a, NULL, NULL},
                               {sizeof b, b, NULL, NULL},
                               {sizeof from, from, NULL, NULL}}};
        run(p, &c);
        assert_close(c.operands[2].found, expected, 128, is_whole ? 0 : 1e-5F);
        assert_close(c.operands[2].found, c.operands[2].expected, 128, is_whole ? 0 : 1e-5F);
        call_end(&c);
    }
}

static void mma_f16(void **state)
{
    mma(state, "mma_f16", false);
}

static void mma_bf16(void **state)
{
    mma(state, "mma_bf16", true);
}

static void wgmma(void **state, const char *test, const char *dtype)
{
    const place *p = place_of(state, test, PARO_ARCH_WGMMA);
    static const struct {
        const char *kernel;
        uint32_t n;
    } rows[] = {{"products", 24},       {"shared_8", 8},      {"registers_8", 8},
                {"shared_64", 64},      {"registers_64", 64}, {"shared_136", 136},
                {"registers_136", 136}, {"shared_256", 256},  {"registers_256", 256}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (int is_whole = 0; is_whole < 2; is_whole++) {
            static uint16_t a[64 * 64], b[64 * 256];
            static float expected[64 * 256];
            const uint32_t n = rows[r].n;
            const size_t d_bytes = (size_t)64 * n * 4;
            memset(expected, 0, sizeof expected);
            product_of(strcmp(dtype, "f16") == 0 ? PARO_DTYPE_F16 : PARO_DTYPE_BF16, is_whole, 64,
                       n, 64, a, b, expected);
            call c = {.source = "wgmma",
                      .kernel = rows[r].kernel,
                      .dtype = dtype,
                      .grid = {1},
                      .n_threads = 128,
                      .shared_bytes = 64 * 128 + n * 128,
                      .n_operands = r == 0 ? 4 : 3,
                      .operands = {{sizeof a, a, NULL, NULL},
                                   {(size_t)128 * n, b, NULL, NULL},
                                   {d_bytes, NULL, NULL, NULL},
                                   {d_bytes, NULL, NULL, NULL}},
                      .n_scalars = r == 0 ? 1 : 0,
                      .scalars = {1}};
            run(p, &c);
            for (size_t i = 2; i < c.n_operands; i++) {
                const float tolerance = is_whole ? 0 : 1e-4F;
                const size_t n_sums = (size_t)64 * n;
                assert_close(c.operands[i].found, expected, n_sums, tolerance);
                assert_close(c.operands[i].found, c.operands[i].expected, n_sums, tolerance);
            }
            call_end(&c);
        }
}

static void wgmma_f16(void **state)
{
    wgmma(state, "wgmma_f16", "f16");
}

static void wgmma_bf16(void **state)
{
    wgmma(state, "wgmma_bf16", "bf16");
}

/* ---- copies and clusters -----------------------------------------------------------------------
 */

/* Below sm_80 too: plain copies. The last tile has a tail of zeros. */
static void copies(void **state)
{
    const place *p = place_of(state, "copies", 0);
    static float x[2100];
    for (uint32_t i = 0; i < 2100; i++)
        x[i] = (float)(i % 17);
    call c = {.source = "async",
              .kernel = "ring",
              .grid = {1},
              .n_threads = 128,
              .shared_bytes = 4096,
              .n_operands = 2,
              .operands = {{sizeof x, x, NULL, NULL}, {512, NULL, NULL, NULL}},
              .n_scalars = 2,
              .scalars = {5, 2100}};
    run(p, &c);
    assert_same_bytes(&c, 1);
    call_end(&c);
    c = (call){.source = "async",
               .kernel = "groups",
               .grid = {1},
               .n_threads = 128,
               .shared_bytes = 8192,
               .n_operands = 2,
               .operands = {{8192, x, NULL, NULL}, {2048, NULL, NULL, NULL}}};
    run(p, &c);
    assert_same_bytes(&c, 1);
    for (uint32_t i = 0; i < 512; i++) {
        float sum = 0;
        for (uint32_t j = 4 * i; j < 4 * i + 4; j++)
            sum = 8 * sum + x[j];
        assert_float_equal(((const float *)c.operands[1].found)[i], sum, 0);
    }
    call_end(&c);
}

static void bulk_copies(void **state)
{
    const place *p = place_of(state, "bulk_copies", PARO_ARCH_BULK);
    enum { TILE = 256 };
    static float x[1000 * TILE];
    for (uint32_t i = 0; i < 1000 * TILE; i++)
        x[i] = (float)(i % 31);
    for (uint32_t n_tiles = 1; n_tiles <= 1000; n_tiles *= 10) {
        call c = {.source = "bulk",
                  .kernel = "ring",
                  .grid = {1},
                  .n_threads = 160,
                  .shared_bytes = 128 + 3 * 4 * TILE,
                  .n_operands = 2,
                  .operands = {{sizeof x, x, NULL, NULL}, {512, NULL, NULL, NULL}},
                  .n_scalars = 1,
                  .scalars = {n_tiles}};
        run(p, &c);
        assert_same_bytes(&c, 1);
        call_end(&c);
    }
}

static void clusters(void **state)
{
    const place *p = place_of(state, "clusters", PARO_ARCH_CLUSTER);
    enum { N_BLOCKS = 64, N_THREADS = 64, N = N_BLOCKS * N_THREADS };
    static uint32_t x[N];
    fill_u32(x, N, 1 << 20);
    for (uint32_t size = 1; size <= 8; size *= 2) {
        call c = {.source = "cluster",
                  .kernel = "all_sum",
                  .grid = {N_BLOCKS},
                  .n_threads = N_THREADS,
                  .cluster = size,
                  .shared_bytes = 4 * (N_THREADS + 1),
                  .n_operands = 2,
                  .operands = {{sizeof x, x, NULL, NULL}, {sizeof x, NULL, NULL, NULL}},
                  .n_scalars = 1,
                  .scalars = {1}};
        run(p, &c);
        const uint32_t *found = c.operands[1].found;
        for (uint32_t i = 0; i < N; i++) {
            const uint32_t block = i / N_THREADS, first = block / size * size;
            uint32_t sum = 0;
            for (uint32_t rank = 0; rank < size; rank++)
                sum += x[(first + rank) * N_THREADS + i % N_THREADS];
            assert_int_equal(found[i], 100 * sum + block % size);
        }
        assert_same_bytes(&c, 1);
        call_end(&c);
    }
}

int main(void)
{
#define BOTH(check)                                                                                \
    {#check " on the emulator", check, NULL, NULL, &on_emulator},                                  \
    {                                                                                              \
#check " on the GPU", check, NULL, NULL, &on_gpu                                           \
    }
    const struct CMUnitTest tests[] = {
        BOTH(indices),     BOTH(lanes),    BOTH(barriers),       BOTH(named_barriers),
        BOTH(conversions), BOTH(vectors),  BOTH(sums_of_blocks), BOTH(fences_and_atomics),
        BOTH(arithmetic),  BOTH(mma_f16),  BOTH(mma_bf16),       BOTH(copies),
        BOTH(bulk_copies), BOTH(clusters), BOTH(wgmma_f16),      BOTH(wgmma_bf16),
    };
    return cmocka_run_group_tests(tests, set_up_places, tear_down_places);
}
