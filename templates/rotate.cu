// SPDX-License-Identifier: MIT
//
// Scaled pairwise rotation, y = R(x * channel_scales), or its inverse, y = R^-1(x) /
// channel_scales.
//
// A warp owns TOKENS tokens of CHANNELS channels (whole groups): it loads and scales them into its
// part of shared memory as fp32, rotates, and stores them rounded once. Blocks are WARPS
// neighbouring pieces of the channels (x), tokens (y), outputs (z); no warp waits for another.
#include "lib/core.cuh"
#include "lib/rotate.cuh"

using scalar = f16;                // hole: dtype
constexpr u32 H = 4096;            // hole: h
constexpr int GROUP = 128;         // hole: group
constexpr int KROT = 8;            // hole: krot
constexpr bool INVERSE = false;    // hole: inverse
constexpr int TOKENS = 1;          // hole: tokens
constexpr int WARPS = 4;           // hole: warps
constexpr u32 SHARED_BYTES = 2048; // hole: shared_bytes

constexpr int CHANNELS = GROUP < 64 ? 64 : GROUP; // of a warp: a lane has two of every 64
constexpr int STEPS = CHANNELS / 64;
static_assert(SHARED_BYTES == WARPS * CHANNELS * TOKENS * sizeof(float),
              "the plan's shared memory");

// Two neighbouring channels as they are stored.
template <class T> struct channel_pair {
    u32 word;
    __device__ __forceinline__ f32x2 get() const
    {
        return unpack2<T>(word);
    }
    __device__ __forceinline__ void set(float lo, float hi)
    {
        word = pack2<T>(lo, hi);
    }
};
template <> struct channel_pair<float> {
    f32x2 word;
    __device__ __forceinline__ f32x2 get() const
    {
        return word;
    }
    __device__ __forceinline__ void set(float lo, float hi)
    {
        word = f32x2{lo, hi};
    }
};

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
    rotate(const scalar *__restrict__ x, const u8 *__restrict__ pairs,
           const float *__restrict__ cossin, const float *__restrict__ channel_scales,
           scalar *__restrict__ y, u32 m)
{
    const u32 lane = lane_index();
    const u32 first = (block_index_x() * WARPS + warp_index()) * CHANNELS;
    if (first >= H) // the whole warp
        return;
    const u32 n_channels = H - first < CHANNELS ? H - first : CHANNELS;
    const u32 token = block_index_y() * TOKENS, output = block_index_z();
    token_run<TOKENS> *tile = shared_memory<token_run<TOKENS>>() + warp_index() * CHANNELS;
    const channel_pair<scalar> *from =
        reinterpret_cast<const channel_pair<scalar> *>(x + (u64)token * H + first);
    channel_pair<scalar> *to =
        reinterpret_cast<channel_pair<scalar> *>(y + ((u64)output * m + token) * H + first);
    const f32x2 *scales = reinterpret_cast<const f32x2 *>(channel_scales + (u64)output * H + first);

#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        const u32 at = lane + 32 * s; // which two channels
        if (2 * at < n_channels) {
            const f32x2 scale = INVERSE ? f32x2{1, 1} : scales[at];
            token_run<TOKENS> low, high;
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                const f32x2 value = token + t < m ? from[t * (H / 2) + at].get() : f32x2{0, 0};
                low.of[t] = value.x * scale.x;
                high.of[t] = value.y * scale.y;
            }
            tile[2 * at] = low;
            tile[2 * at + 1] = high;
        }
    }

    rotate_by_warp<GROUP, KROT, CHANNELS, INVERSE>(tile, pairs + (u64)output * KROT * H,
                                                   cossin + (u64)output * KROT * H, H, first,
                                                   n_channels);

#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        const u32 at = lane + 32 * s;
        if (2 * at < n_channels) {
            const f32x2 scale = INVERSE ? scales[at] : f32x2{1, 1};
            const token_run<TOKENS> low = tile[2 * at], high = tile[2 * at + 1];
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                channel_pair<scalar> pair;
                if (INVERSE)
                    pair.set(low.of[t] / scale.x, high.of[t] / scale.y);
                else
                    pair.set(low.of[t], high.of[t]);
                if (token + t < m)
                    to[t * (H / 2) + at] = pair;
            }
        }
    }
}
