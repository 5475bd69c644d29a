/* SPDX-License-Identifier: MIT
 *
 * Every operation, plainly; the bodies are in reference_body.h, once for fp32 and once for fp64.
 */
#include "base/reference.h"

#include <math.h>

void paro_ref_rope_frequencies(const paro_rope *rope, size_t head_dim, double *frequencies)
{
    const double two_pi = 6.283185307179586476925;
    for (size_t i = 0; i < head_dim / 2; i++) {
        double f = pow(rope->theta, -2.0 * (double)i / (double)head_dim);
        if (rope->type == PARO_ROPE_TYPE_LINEAR) {
            f /= rope->factor;
        } else if (rope->type == PARO_ROPE_TYPE_LLAMA3) {
            double turns = rope->original_context * f / two_pi; /* in the original context */
            double low = rope->low_freq_factor, high = rope->high_freq_factor;
            if (turns < low)
                f /= rope->factor;
            else if (turns <= high)
                f *= ((turns - low) + (high - turns) / rope->factor) / (high - low);
        }
        frequencies[i] = f;
    }
}

#define real       float
#define REF(name)  paro_ref_##name##_f32
#define MATH(name) name##f
#include "base/reference_body.h"
#undef real
#undef REF
#undef MATH

#define real       double
#define REF(name)  paro_ref_##name##_f64
#define MATH(name) name
#include "base/reference_body.h"
