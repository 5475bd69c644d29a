/* SPDX-License-Identifier: MIT
 *
 * The primitives of templates/lib on the emulator: that they compute what they say, and that the
 * mistakes it is there for are found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <time.h>

#include "base/dtype.h"
#include "base/rng.h"
#include "tests/kernel_source.h"

/* ---- right kernels -----------------------------------------------------------------------------
 */

static void shuffles_and_barriers_meet(void **state)
{
    const fixture *f = *state;
    paro_error err;
    enum { N_BLOCKS = 7, N_THREADS = 96 };
    paro_gpu_module *module = load(f->gpu, "core", NULL, NULL);
    paro_gpu_ptr x, out;
    uint32_t *x_host = buffer_of(f->gpu, 4 * N_BLOCKS * N_THREADS, &x);
    const uint32_t *found = buffer_of(f->gpu, 4 * N_BLOCKS * N_THREADS, &out);
    for (uint32_t i = 0; i < N_BLOCKS * N_THREADS; i++)
        x_host[i] = i * i % 1000;
    void *args[] = {&x, &out};
    paro_gpu_launch launch = launch_of(module, "meet", N_BLOCKS, N_THREADS, 12, args, 2);
    for (uint64_t seed = 0; seed < 10; seed++) {
        paro_emulator_set_seed(f->gpu, seed);
        assert_ok(paro_gpu_fill(&err, f->gpu, f->stream, out, 0xFF, 4 * N_BLOCKS * N_THREADS));
        assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
        for (uint32_t block = 0, sum; block < N_BLOCKS; block++) {
            sum = 0;
            for (uint32_t i = block * N_THREADS; i < (block + 1) * N_THREADS; i++) {
                assert_int_equal(found[i], sum);
                sum += x_host[i];
            }
        }
    }
    paro_gpu_release(f->gpu, x);
    paro_gpu_release(f->gpu, out);
    paro_gpu_module_free(module);
}

static void every_function_of_core(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_gpu_module *module = load(f->gpu, "core", NULL, NULL);
    paro_gpu_ptr out, count, words;
    const float *v = buffer_of(f->gpu, 320 * 4, &out);
    uint32_t *counts = buffer_of(f->gpu, 12, &count);
    uint32_t *word = buffer_of(f->gpu, 16, &words);
    for (uint32_t i = 0; i < 4; i++)
        word[i] = i + 1;
    memset(counts, 0, 12);
    void *args[] = {&out, &count, &words};
    paro_gpu_launch launch = launch_of(module, "lanes", 1, 32, 0, args, 3);
    assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
    float sum = 0;
    for (uint32_t i = 0; i < 32; i++)
        sum += (float)(i * i);
    for (uint32_t i = 0; i < 32; i++) {
        const float s = (float)(i * i), d = i < 29 ? (float)((i + 3) * (i + 3)) : s;
        assert_float_equal(v[i], (float)((31 - i) * (31 - i)), 0);
        assert_float_equal(v[32 + i], (float)((i ^ 5) * (i ^ 5)), 0);
        assert_float_equal(v[64 + i], d, 0);
        assert_float_equal(v[96 + i], sum, 0);
        assert_float_equal(v[128 + i], 0, 0);
        assert_float_equal(v[160 + i], (float)0x49249249U, 0);
        assert_float_equal(v[192 + i], 2 * s, 0);
        assert_float_equal(v[224 + i], 1, 0);
        assert_float_equal(v[256 + i], (float)(i < 31 ? i + 1 : i) - 40 + (float)(i ^ 1) + 7, 0);
        const float math = expf(s / 961) + exp2f(s / 961) + logf(s + 1) + 1 / sqrtf(s + 1) +
                           sqrtf(s) + fmaxf(s, 2) + fminf(s, 2) + s + (2 * s + 1);
        assert_true(fabsf(v[288 + i] - math) <= 1e-5F * math);
    }
    float float_sum;
    memcpy(&float_sum, &counts[1], 4);
    assert_int_equal(counts[0], 31 * 16);
    assert_float_equal(float_sum, sum, 0);
    assert_int_equal(counts[2], 10 + 3 + 1 + 3);
    paro_gpu_release(f->gpu, out);
    paro_gpu_release(f->gpu, count);
    paro_gpu_release(f->gpu, words);
    paro_gpu_module_free(module);
}

/* Through the kernel: what base/dtype.h says, for every value of 16 bits and where rounding ends.
 */
static void conversions_agree_with_base(void **state)
{
    const fixture *f = *state;
    paro_error err;
    enum { N = 65536 * 4 };
    paro_gpu_module *module = load(f->gpu, "core", NULL, NULL);
    paro_gpu_ptr x, y, z;
    float *x_host = buffer_of(f->gpu, 4 * (size_t)N, &x);
    const uint16_t *narrow = buffer_of(f->gpu, 2 * (size_t)N, &y);
    const float *wide = buffer_of(f->gpu, 4 * (size_t)N, &z);
    uint32_t n = N;
    void *args[] = {&x, &y, &z, &n};
    for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
        for (uint32_t i = 0; i < 65536; i++) {
            const float value =
                is_bf16 ? paro_f32_from_bf16((uint16_t)i) : paro_f32_from_f16((uint16_t)i);
            const float next = is_bf16 ? paro_f32_from_bf16((uint16_t)(i + 1))
                                       : paro_f32_from_f16((uint16_t)(i + 1));
            const float half = value + (next - value) / 2; /* a tie, where both are finite */
            x_host[4 * i] = value;
            x_host[4 * i + 1] = half;
            x_host[4 * i + 2] = nextafterf(half, INFINITY);
            x_host[4 * i + 3] = nextafterf(half, -INFINITY);
        }
        paro_gpu_launch launch =
            launch_of(module, is_bf16 ? "round_bf16" : "round_f16", 1, 1024, 0, args, 4);
        assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
        for (uint32_t i = 0; i < N; i++) {
            const uint16_t bits =
                is_bf16 ? paro_bf16_from_f32(x_host[i]) : paro_f16_from_f32(x_host[i]);
            const float back = is_bf16 ? paro_f32_from_bf16(bits) : paro_f32_from_f16(bits);
            if (isnan(x_host[i])) {
                assert_true(isnan(wide[i]));
                continue;
            }
            assert_int_equal(narrow[i], bits);
            assert_memory_equal(&wide[i], &back, 4);
        }
    }
    paro_gpu_release(f->gpu, x);
    paro_gpu_release(f->gpu, y);
    paro_gpu_release(f->gpu, z);
    paro_gpu_module_free(module);
}

static void mma_is_a_product(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_rng rng;
    paro_rng_seed(&rng, 3);
    paro_gpu_ptr a, b, d;
    uint16_t *a_host = buffer_of(f->gpu, 512, &a), *b_host = buffer_of(f->gpu, 256, &b);
    float *d_host = buffer_of(f->gpu, 512, &d);
    void *args[] = {&a, &b, &d};
    for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
        const paro_dtype dtype = is_bf16 ? PARO_DTYPE_BF16 : PARO_DTYPE_F16;
        float a32[16][16], b32[16][8], expected[16][8];
        paro_gpu_module *module = load(f->gpu, "mma", "dtype", is_bf16 ? "bf16" : "f16");
        for (uint32_t i = 0; i < 256; i++)
            a32[i / 16][i % 16] = paro_rng_normal(&rng);
        for (uint32_t i = 0; i < 128; i++)
            b32[i / 8][i % 8] = paro_rng_normal(&rng);
        a32[3][4] = 0x1p-20F; /* subnormal in f16 */
        paro_array_from_f32(a_host, dtype, &a32[0][0], 256);
        paro_array_from_f32(b_host, dtype, &b32[0][0], 128);
        paro_f32_from_array(&a32[0][0], a_host, dtype, 256);
        paro_f32_from_array(&b32[0][0], b_host, dtype, 128);
        for (uint32_t i = 0; i < 16; i++)
            for (uint32_t j = 0; j < 8; j++) {
                d_host[i * 8 + j] = expected[i][j] = (float)i - (float)j;
                for (uint32_t k = 0; k < 16; k++)
                    expected[i][j] += a32[i][k] * b32[k][j];
            }
        paro_gpu_launch launch = launch_of(module, "product", 1, 32, 0, args, 3);
        assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
        for (uint32_t i = 0; i < 128; i++)
            assert_float_equal(d_host[i], expected[i / 8][i % 8], 1e-5);
        paro_gpu_module_free(module);
    }
    paro_gpu_release(f->gpu, a);
    paro_gpu_release(f->gpu, b);
    paro_gpu_release(f->gpu, d);
}

/* ring of async.cu on an arch with cp.async and on one without. */
static void async_copies_land_at_the_wait(void **state)
{
    const fixture *f = *state;
    paro_error err;
    enum { N_TILES = 5, N = 2100 };
    const char *const archs[] = {"sm_75", "sm_80"};
    for (size_t which = 0; which < 2; which++) {
        paro_gpu *gpu = open_device(f, archs[which]);
        paro_gpu_stream *stream = NULL;
        assert_ok(paro_gpu_stream_new(&err, gpu, &stream));
        paro_gpu_module *module = load(gpu, "async", NULL, NULL);
        paro_gpu_ptr x, out;
        float *x_host = buffer_of(gpu, sizeof(float) * N, &x);
        const float *found = buffer_of(gpu, sizeof(float) * 128, &out);
        uint32_t n_tiles = N_TILES, n = N;
        for (uint32_t i = 0; i < N; i++)
            x_host[i] = (float)(i % 17);
        void *args[] = {&x, &out, &n_tiles, &n};
        paro_gpu_launch launch = launch_of(module, "ring", 1, 128, 4096, args, 4);
        for (uint64_t seed = 0; seed < 5; seed++) {
            paro_emulator_set_seed(gpu, seed);
            assert_ok(paro_gpu_launch_kernel(&err, stream, &launch));
            for (uint32_t i = 0; i < 128; i++) {
                float sum = 0;
                for (uint32_t tile = 0; tile < N_TILES; tile++)
                    for (uint32_t j = 0; j < 4; j++) {
                        const uint32_t at = 512 * tile + (4 * i + 128) % 512 + j;
                        sum += at < N ? x_host[at] : 0;
                    }
                assert_float_equal(found[i], sum, 0);
            }
        }
        paro_gpu_release(gpu, x);
        paro_gpu_release(gpu, out);
        paro_gpu_module_free(module);
        paro_gpu_stream_free(stream);
        paro_gpu_free(gpu);
    }
}

static void bulk_copies_count_their_bytes(void **state)
{
    const fixture *f = *state;
    paro_error err;
    enum { N_TILES = 20, TILE = 256 };
    paro_gpu_module *module = load(f->gpu, "bulk", NULL, NULL);
    paro_gpu_ptr x, out;
    float *x_host = buffer_of(f->gpu, sizeof(float) * N_TILES * TILE, &x);
    const float *found = buffer_of(f->gpu, sizeof(float) * 128, &out);
    uint32_t n_tiles = N_TILES;
    for (uint32_t i = 0; i < N_TILES * TILE; i++)
        x_host[i] = (float)(i % 31);
    void *args[] = {&x, &out, &n_tiles};
    paro_gpu_launch launch = launch_of(module, "ring", 1, 160, 128 + 3 * 4 * TILE, args, 3);
    for (uint64_t seed = 0; seed < 20; seed++) {
        paro_emulator_set_seed(f->gpu, seed);
        assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
        for (uint32_t i = 0; i < 128; i++) {
            float sum = 0;
            for (uint32_t tile = 0; tile < N_TILES; tile++)
                sum += x_host[tile * TILE + 2 * i] + x_host[tile * TILE + 2 * i + 1];
            assert_float_equal(found[i], sum, 0);
        }
    }
    paro_gpu_release(f->gpu, x);
    paro_gpu_release(f->gpu, out);
    paro_gpu_module_free(module);
}

static void blocks_of_a_cluster_share_memory(void **state)
{
    const fixture *f = *state;
    paro_error err;
    enum { N_BLOCKS = 12, N_THREADS = 64, N = N_BLOCKS * N_THREADS };
    paro_gpu_module *module = load(f->gpu, "cluster", NULL, NULL);
    paro_gpu_ptr x, out;
    uint32_t *x_host = buffer_of(f->gpu, 4 * N, &x);
    const uint32_t *found = buffer_of(f->gpu, 4 * N, &out);
    uint32_t meet_at_end = 1;
    for (uint32_t i = 0; i < N; i++)
        x_host[i] = i;
    void *args[] = {&x, &out, &meet_at_end};
    paro_gpu_launch launch =
        launch_of(module, "all_sum", N_BLOCKS, N_THREADS, 4 * (N_THREADS + 1), args, 3);
    launch.cluster = 4;
    assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
    for (uint32_t i = 0; i < N; i++) {
        const uint32_t block = i / N_THREADS;
        uint32_t sum = 0;
        for (uint32_t rank = 0; rank < 4; rank++)
            sum += (block / 4 * 4 + rank) * N_THREADS + i % N_THREADS;
        assert_int_equal(found[i], 100 * sum + block % 4);
    }
    /* A block's end before others' last look at it: seen under some seed. */
    meet_at_end = 0;
    bool was_seen = false;
    for (uint64_t seed = 0; seed < 50 && !was_seen; seed++) {
        paro_emulator_set_seed(f->gpu, seed);
        if (paro_gpu_launch_kernel(&err, f->stream, &launch) != PARO_STATUS_OK) {
            assert_non_null(strstr(err.message, "cluster has ended: meet once more"));
            was_seen = true;
        }
    }
    assert_true(was_seen);
    paro_gpu_release(f->gpu, x);
    paro_gpu_release(f->gpu, out);
    paro_gpu_module_free(module);
}

static void wgmma_is_a_product_after_its_wait(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_rng rng;
    enum { N = 24 };
    paro_rng_seed(&rng, 5);
    paro_gpu_ptr a, b, d, e;
    uint16_t *a_host = buffer_of(f->gpu, 64 * 64 * 2, &a);
    uint16_t *b_host = buffer_of(f->gpu, 64 * N * 2, &b);
    const float *found[2] = {buffer_of(f->gpu, 64 * N * 4, &d), buffer_of(f->gpu, 64 * N * 4, &e)};
    for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
        const paro_dtype dtype = is_bf16 ? PARO_DTYPE_BF16 : PARO_DTYPE_F16;
        static float a32[64][64], b32[64][N];
        for (uint32_t i = 0; i < 64 * 64; i++)
            a32[i / 64][i % 64] = paro_rng_normal(&rng);
        for (uint32_t i = 0; i < 64 * N; i++)
            b32[i / N][i % N] = paro_rng_normal(&rng);
        paro_array_from_f32(a_host, dtype, &a32[0][0], 64 * 64);
        paro_array_from_f32(b_host, dtype, &b32[0][0], 64 * N);
        paro_f32_from_array(&a32[0][0], a_host, dtype, 64 * 64);
        paro_f32_from_array(&b32[0][0], b_host, dtype, 64 * N);
        paro_gpu_module *module = load(f->gpu, "wgmma", "dtype", is_bf16 ? "bf16" : "f16");
        for (uint32_t wait = 0; wait < 2; wait++) {
            void *args[] = {&a, &b, &d, &e, &wait};
            paro_gpu_launch launch =
                launch_of(module, "products", 1, 128, 64 * 128 + N * 128, args, 5);
            assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
            for (uint32_t i = 0; i < 64 * N; i++) {
                float expected = 0;
                for (uint32_t k = 0; k < 64; k++)
                    expected += a32[i / N][k] * b32[k][i % N];
                if (wait == 0)
                    assert_true(isnan(found[1][i]));
                else
                    for (int which = 0; which < 2; which++)
                        assert_float_equal(found[which][i], expected, 1e-4);
            }
        }
        paro_gpu_module_free(module);
    }
    paro_gpu_release(f->gpu, a);
    paro_gpu_release(f->gpu, b);
    paro_gpu_release(f->gpu, d);
    paro_gpu_release(f->gpu, e);
}

/* ---- wrong kernels -----------------------------------------------------------------------------
 */

static void endless_waits_are_told(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_gpu_module *module = load(f->gpu, "broken", NULL, NULL);
    paro_gpu_ptr out;
    (void)buffer_of(f->gpu, 4 * 64, &out);
    void *args[] = {&out};
    paro_gpu_launch launch = launch_of(module, "half_barrier", 3, 64, 0, args, 1);
    for (uint64_t seed = 0; seed < 4; seed++) {
        paro_emulator_set_seed(f->gpu, seed);
        assert_fails(paro_gpu_launch_kernel(&err, f->stream, &launch), PARO_STATUS_FORMAT,
                     "threads wait for ever: threads 0-31 wait at block_barrier, 32-63 wait at "
                     "named_barrier 2");
        assert_non_null(strstr(err.message, "kernel half_barrier, block ("));
    }
    launch = launch_of(module, "missing_lane", 1, 32, 0, args, 1);
    assert_fails(paro_gpu_launch_kernel(&err, f->stream, &launch), PARO_STATUS_FORMAT,
                 "threads 0-4 wait at shuffle, 5 have ended, 6-31 wait at shuffle");
    launch = launch_of(module, "divergent", 1, 32, 0, args, 1);
    assert_fails(paro_gpu_launch_kernel(&err, f->stream, &launch), PARO_STATUS_FORMAT,
                 "the lanes of a warp part");
    uint32_t id = 16, n_threads = 64;
    void *named[] = {&id, &n_threads};
    launch = launch_of(module, "wrong_named", 1, 64, 0, named, 2);
    assert_fails(paro_gpu_launch_kernel(&err, f->stream, &launch), PARO_STATUS_FORMAT,
                 "expected an id of 1 to 15");
    id = 1, n_threads = 32;
    bool was_seen = false;
    for (uint64_t seed = 0; seed < 20 && !was_seen; seed++) {
        paro_emulator_set_seed(f->gpu, seed);
        was_seen = paro_gpu_launch_kernel(&err, f->stream, &launch) != PARO_STATUS_OK;
    }
    assert_true(was_seen);
    paro_gpu_release(f->gpu, out);
    paro_gpu_module_free(module);
}

/* True where some seed makes the kernel's output differ from thread i's neighbour at `distance`. */
static bool race_is_seen(const fixture *f, paro_gpu_module *module, const char *kernel,
                         uint32_t n_threads, bool is_lane)
{
    paro_error err;
    paro_gpu_ptr out;
    const uint32_t *found = buffer_of(f->gpu, 4 * n_threads, &out);
    void *args[] = {&out};
    paro_gpu_launch launch = launch_of(module, kernel, 1, n_threads, 4 * n_threads, args, 1);
    bool was_seen = false;
    for (uint64_t seed = 0; seed < 20 && !was_seen; seed++) {
        paro_emulator_set_seed(f->gpu, seed);
        assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
        for (uint32_t i = 0; i < n_threads; i++)
            was_seen |= found[i] != (is_lane ? i ^ 1 : (i + 32) % n_threads);
    }
    paro_gpu_release(f->gpu, out);
    return was_seen;
}

static void races_are_seen_under_some_seed(void **state)
{
    const fixture *f = *state;
    paro_gpu_module *module = load(f->gpu, "broken", NULL, NULL);
    assert_true(race_is_seen(f, module, "race", 256, false));
    assert_true(race_is_seen(f, module, "lane_race", 32, true));
    paro_gpu_module_free(module);
}

static void seeds_repeat_and_differ(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_gpu_module *module = load(f->gpu, "broken", NULL, NULL);
    paro_gpu_ptr out;
    const uint32_t *found = buffer_of(f->gpu, 4 * 1024, &out);
    uint32_t first[1024];
    void *args[] = {&out};
    paro_gpu_launch launch = launch_of(module, "race", 1, 1024, 4 * 1024, args, 1);
    bool differs = false;
    for (uint64_t seed = 0; seed < 5; seed++)
        for (int round = 0; round < 2; round++) {
            paro_emulator_set_seed(f->gpu, seed);
            assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
            if (round == 1)
                assert_memory_equal(found, first, sizeof first);
            differs |= seed > 0 && round == 0 && memcmp(found, first, sizeof first) != 0;
            memcpy(first, found, sizeof first);
        }
    assert_true(differs);
    paro_gpu_release(f->gpu, out);
    paro_gpu_module_free(module);
}

static void a_missing_wait_reads_poison(void **state)
{
    const fixture *f = *state;
    paro_error err;
    paro_gpu_module *module = load(f->gpu, "broken", NULL, NULL);
    paro_gpu_ptr x, out;
    float *x_host = buffer_of(f->gpu, 512, &x);
    const float *found = buffer_of(f->gpu, 512, &out);
    for (uint32_t i = 0; i < 128; i++)
        x_host[i] = (float)i;
    for (uint32_t wait = 0; wait < 3; wait++) {
        void *args[] = {&x, &out, &wait};
        paro_gpu_launch launch = launch_of(module, "no_wait", 1, 32, 512, args, 3);
        assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
        for (uint32_t i = 0; i < 128; i++)
            if (wait < 2)
                assert_true(isnan(found[i]));
            else
                assert_float_equal(found[i], x_host[i], 0);
    }
    void *args[] = {&x, &out, &(uint32_t){2}};
    paro_gpu_launch launch = launch_of(module, "no_wait", 1, 32, 496, args, 3);
    assert_fails(paro_gpu_launch_kernel(&err, f->stream, &launch), PARO_STATUS_FORMAT,
                 "16 bytes at offset 496 of shared memory, which has 496");
    paro_gpu_release(f->gpu, x);
    paro_gpu_release(f->gpu, out);
    paro_gpu_module_free(module);
}

static void misused_bulk_barriers_are_told(void **state)
{
    const fixture *f = *state;
    paro_error err;
    static const char *const words[] = {NULL,
                                        "has had no barrier_init",
                                        "0-31 wait at barrier_wait",
                                        "0-31 wait at barrier_wait",
                                        "more arrivals in a phase",
                                        "multiples of 16",
                                        "8 bytes, expected a multiple of 16",
                                        "1 bulk copies are under way",
                                        "0-31 wait at barrier_wait"};
    paro_gpu_module *module = load(f->gpu, "broken", NULL, NULL);
    paro_gpu_ptr x, out;
    (void)buffer_of(f->gpu, 128, &x);
    (void)buffer_of(f->gpu, 128, &out);
    for (uint32_t mistake = 0; mistake < 9; mistake++) {
        void *args[] = {&x, &out, &mistake};
        paro_gpu_launch launch = launch_of(module, "wrong_bulk", 1, 32, 64, args, 3);
        if (mistake == 0)
            assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
        else
            assert_fails(paro_gpu_launch_kernel(&err, f->stream, &launch), PARO_STATUS_FORMAT,
                         words[mistake]);
    }
    paro_gpu_release(f->gpu, x);
    paro_gpu_release(f->gpu, out);
    paro_gpu_module_free(module);
}

/* ---- speed -------------------------------------------------------------------------------------
 */

static void a_shuffle_of_a_warp_is_cheap(void **state)
{
    const fixture *f = *state;
    paro_error err;
    enum { N_BLOCKS = 100, N_THREADS = 96 };
    paro_gpu_module *module = load(f->gpu, "core", NULL, NULL);
    paro_gpu_ptr x, out;
    uint32_t *x_host = buffer_of(f->gpu, 4 * N_BLOCKS * N_THREADS, &x);
    (void)buffer_of(f->gpu, 4 * N_BLOCKS * N_THREADS, &out);
    memset(x_host, 0, 4 * N_BLOCKS * N_THREADS);
    void *args[] = {&x, &out};
    paro_gpu_launch launch = launch_of(module, "meet", N_BLOCKS, N_THREADS, 12, args, 2);
    struct timespec from, to;
    double best = INFINITY;
    for (int round = 0; round < 5; round++) {
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        assert_ok(paro_gpu_launch_kernel(&err, f->stream, &launch));
        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        const double us =
            (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) * 1e-3;
        best = fmin(best, us / (N_BLOCKS * 3 * 32));
    }
    print_message("a shuffle of a warp: %.3f us\n", best);
#if defined(__x86_64__) || defined(__aarch64__)
    if (!TEST_SANITIZED)
        assert_true(best < 4);
#endif
    paro_gpu_release(f->gpu, x);
    paro_gpu_release(f->gpu, out);
    paro_gpu_module_free(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffles_and_barriers_meet),
        cmocka_unit_test(every_function_of_core),
        cmocka_unit_test(conversions_agree_with_base),
        cmocka_unit_test(mma_is_a_product),
        cmocka_unit_test(async_copies_land_at_the_wait),
        cmocka_unit_test(bulk_copies_count_their_bytes),
        cmocka_unit_test(blocks_of_a_cluster_share_memory),
        cmocka_unit_test(wgmma_is_a_product_after_its_wait),
        cmocka_unit_test(endless_waits_are_told),
        cmocka_unit_test(races_are_seen_under_some_seed),
        cmocka_unit_test(seeds_repeat_and_differ),
        cmocka_unit_test(a_missing_wait_reads_poison),
        cmocka_unit_test(misused_bulk_barriers_are_told),
        cmocka_unit_test(a_shuffle_of_a_warp_is_cheap),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
