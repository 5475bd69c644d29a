/* SPDX-License-Identifier: MIT
 *
 * exp in fp32 without branches, so that compilers vectorise loops over it.
 *
 * Range reduction to |r| <= ln(2) / 2 with a two-part ln(2) (Cody and Waite 1980), then the Taylor
 * polynomial of degree 7, whose error there is below 4e-9: the result is within 2 ulp. Arguments
 * outside [-87, 88] are treated as the nearer bound; NaN stays NaN.
 */
#ifndef PARO_CPU_EXP_H
#define PARO_CPU_EXP_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline float paro_exp_f32(float x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float shifted = x * 1.44269504f + round;
    float n = shifted - round;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits; /* 2^n: the low bits of `shifted` are n + 0x4b400000 */
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4b400000u + 127u) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* sigmoids [n] <- 1 / (1 + exp(-x)) of x [n]; not the same memory, and only some hundreds at a
 * time. In two loops, and what is done with them belongs in a third: in one, gcc gives what lies
 * outside of the exponential's bounds an arm of its own and computes that for every lane, with a
 * sigmoid of 1e-38 and denormal products of it, which take several times as long. */
static inline void paro_sigmoids_f32(const float *x, size_t n, float *sigmoids)
{
    for (size_t i = 0; i < n; i++)
        sigmoids[i] = paro_exp_f32(-x[i]);
    for (size_t i = 0; i < n; i++)
        sigmoids[i] = 1 / (1 + sigmoids[i]);
}

#endif
