// SPDX-License-Identifier: MIT
//
// Gradients of fake quantisation from that of w_hat: of the weight, of step and zero, of the angles
// and of the channel scales, of each what is asked for. What is summed over rows is left by every
// block in sums of its own; fake_quant_grad_sum adds them up in their order.
//
// Grid: x groups of channels, y strips of STRIP rows. A warp computes u and q^ of ROWS rows and
// their gradients du and dq, all in the rotated frame, then undoes the rounds on all four: an
// angle's gradient is (du_i u_j - du_j u_i) - (dq_i q_j - dq_j q_i) in the frame behind its turn, a
// scale's is du u - dq q^ in the weight's own frame.
#include "lib/core.cuh"
#include "lib/fake_quant.cuh"

using scalar = f16;                   // hole: dtype
constexpr u32 N = 4096;               // hole: n
constexpr u32 K = 4096;               // hole: k
constexpr int GROUP = 128;            // hole: group
constexpr int KROT = 8;               // hole: krot
constexpr float TOP = 15;             // hole: top
constexpr bool LEARNED = false;       // hole: learned
constexpr bool ANGLES = true;         // hole: angles
constexpr bool SCALES = true;         // hole: scales
constexpr bool WEIGHT = false;        // hole: weight
constexpr bool QUANTIZER = false;     // hole: quantizer
constexpr bool REFERENCE_ZERO = true; // hole: reference_zero
constexpr int ROWS = 2;               // hole: rows
constexpr u32 WARPS = 4;              // hole: warps
constexpr u32 STRIP = 128;            // hole: strip
constexpr u32 SHARED = 29696;         // hole: shared_bytes

constexpr u32 N_STRIPS = (N + STRIP - 1) / STRIP;
constexpr int CHANNELS = GROUP / 32; // of a lane
constexpr bool SUMS = ANGLES || SCALES;
constexpr u32 SUM_THREADS = 256;

// Shared memory: the turns; tiles of every warp; the warps' sums of angles.
using turns_type = group_turns<GROUP, KROT>;
constexpr u32 TURNS_BYTES = (sizeof(turns_type) + 15) / 16 * 16;
constexpr u32 TILES = SUMS ? 4 : 2;
constexpr u32 TILES_BYTES = WARPS * TILES * GROUP * ROWS * sizeof(float);
constexpr u32 ANGLE_SLOTS = ANGLES ? KROT * GROUP / 2 : 0;
static_assert(SHARED == TURNS_BYTES + TILES_BYTES + WARPS * ANGLE_SLOTS * sizeof(float) &&
                  K % GROUP == 0 && (LEARNED || !QUANTIZER) && (KROT > 0 || !ANGLES),
              "as families/fake_quant_grad.c plans");

using run = token_run<ROWS>;

// A warp's rows of a group, in the rotated frame; q and dq are kept where sums are wanted.
struct tiles {
    run *u, *du, *q, *dq;
};

// Turns two channels back; returns them as they were.
__device__ __forceinline__ void unwind_channels(run *tile, rotation_pair pair, f32x2 turn, run &a,
                                                run &b)
{
    a = tile[pair.i];
    b = tile[pair.j];
    run c, d;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        c.of[r] = a.of[r] * turn.x - b.of[r] * turn.y;
        d.of[r] = b.of[r] * turn.x + a.of[r] * turn.y;
    }
    tile[pair.i] = c;
    tile[pair.j] = d;
}

// Undoes all rounds on all four tiles; sums [KROT][GROUP / 2], of which a lane has its slots, +=
// what the rows add to the angles' gradients.
__device__ __forceinline__ void unwind(const turns_type &turns, const tiles &mine, float *sums)
{
    for (int round = KROT - 1; round >= 0; round--) {
        warp_barrier();
#pragma unroll
        for (u32 slot = lane_index(); slot < GROUP / 2; slot += 32) {
            const rotation_pair pair = turns.pair[round][slot];
            const f32x2 turn = turns.turn[round][slot];
            run u[2], du[2], q[2], dq[2];
            unwind_channels(mine.u, pair, turn, u[0], u[1]);
            unwind_channels(mine.du, pair, turn, du[0], du[1]);
            unwind_channels(mine.q, pair, turn, q[0], q[1]);
            unwind_channels(mine.dq, pair, turn, dq[0], dq[1]);
            if constexpr (ANGLES) {
                float sum = 0;
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    sum += (du[0].of[r] * u[1].of[r] - du[1].of[r] * u[0].of[r]) -
                           (dq[0].of[r] * q[1].of[r] - dq[1].of[r] * q[0].of[r]);
                if (pair.i != pair.j)
                    sums[round * (GROUP / 2) + slot] += sum;
            }
        }
    }
    warp_barrier();
}

// From d and z on to the extremes that they came from: to the first channel that has them.
__device__ __forceinline__ void range_back(const tiles &mine, const float (&low)[ROWS],
                                           const float (&high)[ROWS],
                                           const row_quantiser (&quantiser)[ROWS],
                                           const float (&d_step)[ROWS], const float (&d_zero)[ROWS])
{
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const float step = quantiser[r].step;
        float d_low = -d_zero[r] / step, d_high = 0;
        if ((high[r] - low[r]) / TOP >= STEP_MIN) {
            d_high = (d_step[r] + d_zero[r] * low[r] / (step * step)) / TOP;
            d_low -= d_high;
        }
        bool low_done = !(low[r] < 0), high_done = !(high[r] > 0);
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            const u32 channel = lane_index() + 32 * i;
            const float u = mine.u[channel].of[r];
            const u32 lows = ballot(u == low[r]), highs = ballot(u == high[r]);
            const u32 before = (1U << lane_index()) - 1; // lanes of channels that come first
            if (!low_done && u == low[r] && (lows & before) == 0)
                mine.du[channel].of[r] += d_low;
            if (!high_done && u == high[r] && (highs & before) == 0)
                mine.du[channel].of[r] += d_high;
            low_done |= lows != 0;
            high_done |= highs != 0;
        }
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
fake_quant_grad(const float *__restrict__ w, const u8 *__restrict__ pairs,
                const float *__restrict__ theta, const float *__restrict__ channel_scales,
                const float *__restrict__ step, const float *__restrict__ zero,
                const scalar *__restrict__ d_w_hat, float *__restrict__ d_w,
                float *__restrict__ d_step, float *__restrict__ d_zero,
                float *__restrict__ angle_sums, float *__restrict__ scale_sums)
{
    turns_type &turns = *shared_memory<turns_type>();
    run *all_tiles = reinterpret_cast<run *>(shared_memory<u8>() + TURNS_BYTES);
    float *all_angles = reinterpret_cast<float *>(shared_memory<u8>() + TURNS_BYTES + TILES_BYTES);
    run *first_tile = all_tiles + warp_index() * TILES * GROUP;
    float *my_angles = all_angles + warp_index() * ANGLE_SLOTS;
    const tiles mine = {first_tile, first_tile + GROUP, SUMS ? first_tile + 2 * GROUP : nullptr,
                        SUMS ? first_tile + 3 * GROUP : nullptr};
    const u32 group = block_index_x(), strip = block_index_y();
    const u32 lane = lane_index(), first = group * GROUP + lane;
    float scale[CHANNELS], scale_sum[CHANNELS];
#pragma unroll
    for (int i = 0; i < CHANNELS; i++) {
        scale[i] = channel_scales[first + 32 * i];
        scale_sum[i] = 0;
    }
    if constexpr (ANGLES)
        for (int round = 0; round < KROT; round++)
            for (u32 slot = lane; slot < GROUP / 2; slot += 32)
                my_angles[round * (GROUP / 2) + slot] = 0;
    load_turns(pairs, theta, K, group, turns);
    block_barrier();

    const u32 begin = strip * STRIP;
    const u32 end = N - begin < STRIP ? N : begin + STRIP;
    for (u32 row = begin + warp_index() * ROWS; row < end; row += WARPS * ROWS) {
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            run u, dq;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const u64 at = (u64)(row + r) * K + first + 32 * i;
                u.of[r] = row + r < end ? w[at] * scale[i] : 0.0f;
                dq.of[r] = row + r < end ? to_f32(d_w_hat[at]) / scale[i] : 0.0f;
            }
            mine.u[lane + 32 * i] = u;
            (SUMS ? mine.dq : mine.du)[lane + 32 * i] = dq;
        }
        turn_tile<false>(turns, mine.u);
        turn_tile<false>(turns, SUMS ? mine.dq : mine.du);

        row_quantiser quantiser[ROWS];
        float low[ROWS], high[ROWS], step_sum[ROWS], zero_sum[ROWS];
        if constexpr (!LEARNED)
            tile_range<GROUP>(mine.u, low, high);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const u64 at = (u64)(row + r < end ? row + r : row) * (K / GROUP) + group;
            quantiser[r] = LEARNED ? learned_quantiser(step[at], zero[at], TOP)
                                   : range_quantiser(low[r], high[r], TOP);
            step_sum[r] = zero_sum[r] = 0;
        }
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            const run u = mine.u[lane + 32 * i];
            const run dq = (SUMS ? mine.dq : mine.du)[lane + 32 * i];
            run q, du;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const quantised v = quantise(u.of[r], quantiser[r], TOP);
                const bool passes = v.inside || REFERENCE_ZERO;
                q.of[r] = v.code * quantiser[r].step;
                du.of[r] = passes ? dq.of[r] : 0.0f;
                step_sum[r] += dq.of[r] * (v.code - (passes ? v.ratio : 0.0f));
                zero_sum[r] -= passes ? 0.0f : dq.of[r] * quantiser[r].step;
            }
            mine.du[lane + 32 * i] = du;
            if constexpr (SUMS)
                mine.q[lane + 32 * i] = q;
        }
        if constexpr (QUANTIZER || !LEARNED) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                step_sum[r] = warp_sum(step_sum[r]);
                zero_sum[r] = warp_sum(zero_sum[r]);
            }
        }
        if constexpr (!LEARNED)
            range_back(mine, low, high, quantiser, step_sum, zero_sum);
        if constexpr (QUANTIZER) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                if (lane == 0 && row + r < end) {
                    d_step[(u64)(row + r) * (K / GROUP) + group] = step_sum[r];
                    d_zero[(u64)(row + r) * (K / GROUP) + group] = zero_sum[r];
                }
            }
        }

        if constexpr (SUMS)
            unwind(turns, mine, my_angles);
        else if constexpr (WEIGHT)
            turn_tile<true>(turns, mine.du);
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            const run du = mine.du[lane + 32 * i];
            if constexpr (SCALES) {
                const run u = mine.u[lane + 32 * i], q = mine.q[lane + 32 * i];
                const run dq = mine.dq[lane + 32 * i];
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    scale_sum[i] += du.of[r] * u.of[r] - dq.of[r] * q.of[r];
            }
            if constexpr (WEIGHT) {
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    if (row + r < end)
                        d_w[(u64)(row + r) * K + first + 32 * i] = du.of[r] * scale[i];
            }
        }
    }

    if constexpr (SUMS) {
        float *all_scales = reinterpret_cast<float *>(all_tiles); // [WARPS][GROUP]
        block_barrier();
#pragma unroll
        for (int i = 0; i < CHANNELS; i++)
            all_scales[warp_index() * GROUP + lane + 32 * i] = scale_sum[i];
        block_barrier();
        for (u32 i = thread_index(); i < ANGLE_SLOTS; i += 32 * WARPS) {
            float sum = 0;
            for (u32 warp = 0; warp < WARPS; warp++)
                sum += all_angles[warp * ANGLE_SLOTS + i];
            const u32 round = i / (GROUP / 2), slot = i % (GROUP / 2);
            angle_sums[((u64)strip * KROT + round) * (K / 2) + group * (GROUP / 2) + slot] = sum;
        }
        if constexpr (SCALES) {
            for (u32 i = thread_index(); i < GROUP; i += 32 * WARPS) {
                float sum = 0;
                for (u32 warp = 0; warp < WARPS; warp++)
                    sum += all_scales[warp * GROUP + i];
                scale_sums[(u64)strip * K + group * GROUP + i] = sum;
            }
        }
    }
}

// One thread an angle or a channel, over the strips.
extern "C" __global__ void __launch_bounds__(SUM_THREADS, 1)
fake_quant_grad_sum(const float *__restrict__ angle_sums, const float *__restrict__ scale_sums,
                    const float *__restrict__ channel_scales, float *__restrict__ d_theta,
                    float *__restrict__ d_channel_scales)
{
    constexpr u32 N_ANGLES = ANGLES ? KROT * (K / 2) : 0, N_SCALES = SCALES ? K : 0;
    const u32 i = block_index_x() * SUM_THREADS + thread_index();
    float sum = 0;
    if (i < N_ANGLES) {
        for (u32 strip = 0; strip < N_STRIPS; strip++)
            sum += angle_sums[(u64)strip * N_ANGLES + i];
        d_theta[i] = sum;
    } else if (i - N_ANGLES < N_SCALES) {
        const u32 channel = i - N_ANGLES;
        for (u32 strip = 0; strip < N_STRIPS; strip++)
            sum += scale_sums[(u64)strip * K + channel];
        d_channel_scales[channel] = sum / channel_scales[channel];
    }
}
