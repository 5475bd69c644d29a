/* SPDX-License-Identifier: MIT
 *
 * What the families share: element types as text, how many pieces, widths of accesses; and an
 * estimate for kernels that only move memory.
 */
#ifndef PARO_FAMILIES_ELEMENTWISE_H
#define PARO_FAMILIES_ELEMENTWISE_H

#include "families/family.h"

/* The type of an element in templates. */
static inline const char *paro_scalar_text(int64_t dtype)
{
    static const char *const names[] = {"f16", "bf16", "float"};
    return names[dtype];
}

static inline uint32_t paro_divide_up(uint64_t n, uint64_t by)
{
    return (uint32_t)((n + by - 1) / by);
}

/* Elements of an access: the most, of at most 16 bytes, that divide n. */
static inline uint32_t paro_vector_of(uint32_t n, int64_t dtype)
{
    uint32_t size =
        16 / (uint32_t)paro_dtype_bytes(paro_kernel_dtype_storage((paro_kernel_dtype)dtype));
    while (n % size != 0)
        size /= 2;
    return size;
}

/* Microseconds to start a kernel and see it end; and the latency of device memory. */
static const double paro_launch_us = 2.0, paro_latency_us = 0.8;

/* Moving `bytes` with so many threads in all, each with thread_bytes under way at a time: limited
 * by the memory's bandwidth, or by how much is under way within one latency. */
static inline double paro_estimate_stream_us(const paro_device_info *device, double bytes,
                                             double n_threads, double thread_bytes)
{
    double resident = 1024.0 * device->n_sms; /* with room for what each keeps in registers */
    double at_a_time = (n_threads < resident ? n_threads : resident) * thread_bytes;
    double rate = 1e3 * device->bandwidth_gbs, most = at_a_time / paro_latency_us;
    return paro_launch_us + paro_latency_us + bytes / (rate < most ? rate : most);
}

#endif
