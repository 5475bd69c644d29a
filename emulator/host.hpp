// SPDX-License-Identifier: MIT
//
// What stands in front of a rendered source when it is compiled for the host, by the emulator
// (device.c) and by libclang (codegen's check) alike: this text, then the source, as one C++17 file
// (or with -include). Nothing else is needed: no CUDA header, no standard header. PARO_HOST is
// defined here and chooses the host bodies of templates/lib. The emulator appends EMULATOR_MODULE and
// one EMULATOR_KERNEL for each __global__ function. Under clang, a __global__ function carries
// the attribute annotate("global").
//
// The structs are shared with emulator/run.h, which has them for C.
#define PARO_HOST 1

#ifdef __clang__
#define __global__ __attribute__((annotate("global")))
#else
#define __global__
#endif
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct emulator_block {
    unsigned n_threads;
    unsigned index[3];
    unsigned grid[3];
    unsigned cluster_rank;
    unsigned cluster_size;
    unsigned shared_bytes;
    void *shared;
};

struct emulator_calls;
struct emulator_thread {
    unsigned thread; // index in the block
    const emulator_block *block;
    const emulator_calls *calls;
};

// What a thread asks of the emulator: run.c, collective.c, copies.c,
// wgmma.c.
struct emulator_calls {
    void (*block_barrier)(const emulator_thread *);
    void (*warp_barrier)(const emulator_thread *);
    void (*named_barrier)(const emulator_thread *, unsigned id, unsigned n_threads);
    void (*cluster_barrier)(const emulator_thread *);
    unsigned (*shuffle)(const emulator_thread *, unsigned v, unsigned lane);
    unsigned (*ballot)(const emulator_thread *, bool predicate);
    void (*mma_16x8x16)(const emulator_thread *, int is_bf16, float *d, const unsigned *a,
                        const unsigned *b);
    void (*copy_async16)(const emulator_thread *, void *shared, const void *global, bool valid);
    void (*copy_async_commit)(const emulator_thread *);
    void (*copy_async_wait)(const emulator_thread *, unsigned n_groups);
    void (*barrier_init)(const emulator_thread *, unsigned long long *barrier, unsigned count);
    void (*barrier_arrive)(const emulator_thread *, unsigned long long *barrier, unsigned bytes);
    void (*barrier_wait)(const emulator_thread *, unsigned long long *barrier, unsigned parity);
    void (*bulk_load)(const emulator_thread *, void *shared, const void *global, unsigned bytes,
                      unsigned long long *barrier);
    void *(*cluster_shared)(const emulator_thread *, void *mine, unsigned rank);
    void (*wgmma)(const emulator_thread *, int is_bf16, unsigned n, float *d, const unsigned *a,
                  const void *a_tile, const void *b_tile, unsigned k16);
    void (*wgmma_commit)(const emulator_thread *);
    void (*wgmma_wait)(const emulator_thread *, unsigned n_groups);
};

// The running thread: the emulator sets it at every switch. A thread stays on one thread of the host.
static thread_local const emulator_thread *emulator_self = nullptr;

// EMULATE(shuffle, v, lane): a call of the table.
#define EMULATE(name, ...) (emulator_self->calls->name(emulator_self, ##__VA_ARGS__))

inline float emulator_f32_from_f16(unsigned short bits)
{
    // Exponent and mantissa in fp32's places are 2^-112 times the value, also for subnormals.
    unsigned magnitude = (bits & 0x7fffU) << 13;
    float scaled;
    __builtin_memcpy(&scaled, &magnitude, 4);
    scaled *= 0x1p112F;
    unsigned out;
    __builtin_memcpy(&out, &scaled, 4);
    if ((bits & 0x7c00U) == 0x7c00U)
        out = magnitude | 0x7f800000U;
    out |= (bits & 0x8000U) << 16;
    __builtin_memcpy(&scaled, &out, 4);
    return scaled;
}

inline unsigned short emulator_f16_from_f32(float value)
{
    unsigned bits;
    __builtin_memcpy(&bits, &value, 4);
    unsigned sign = bits >> 16 & 0x8000U, magnitude = bits & 0x7fffffffU;
    unsigned kept, dropped, half;
    if (magnitude > 0x7f800000U)
        return (unsigned short)(sign | 0x7e00U);
    if (magnitude >= (127U + 16) << 23)
        return (unsigned short)(sign | 0x7c00U);
    if (magnitude < (127U - 25) << 23)
        return (unsigned short)sign;
    if (magnitude >= (127U - 14) << 23) { // a carry out of the mantissa raises the exponent rightly
        magnitude -= (127U - 15) << 23;
        half = 1U << 12;
    } else { // subnormal: in units of 2^-24
        half = 1U << (125 - (magnitude >> 23));
        magnitude = (magnitude & 0x7fffffU) | 0x800000U;
    }
    kept = magnitude / (2 * half);
    dropped = magnitude & (2 * half - 1);
    kept += dropped > half || (dropped == half && (kept & 1));
    return (unsigned short)(sign | kept);
}

inline float emulator_atomic_add(float *p, float v)
{
    float before, after;
    __atomic_load(p, &before, __ATOMIC_SEQ_CST);
    do {
        after = before + v;
    } while (!__atomic_compare_exchange(p, &before, &after, true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST));
    return before;
}

// A kernel's entry: the sizes of its parameters, and a call with pointers to their values.
template <class... P> struct emulator_list {};
template <class Kernel> struct emulator_entry;
template <class... P> struct emulator_entry<void (*)(P...)> {
    static constexpr unsigned n_params = sizeof...(P);
    static unsigned size(unsigned i)
    {
        const unsigned sizes[] = {sizeof(P)..., 0};
        return sizes[i];
    }
    static void run(void (*kernel)(P...), void *const *args)
    {
        call(kernel, args, emulator_list<P...>());
    }

private:
    template <class Kernel, class First, class... Rest, class... Done>
    static void call(Kernel kernel, void *const *args, emulator_list<First, Rest...>,
                     const Done &...done)
    {
        call(kernel, args + 1, emulator_list<Rest...>(), done..., *static_cast<First *>(*args));
    }
    template <class Kernel, class... Done>
    static void call(Kernel kernel, void *const *, emulator_list<>, const Done &...done)
    {
        kernel(done...);
    }
};

// The first of what stands in __launch_bounds__: threads of a block at most.
constexpr unsigned emulator_bounds(unsigned max_threads, unsigned = 0, unsigned = 0)
{
    return max_threads;
}

#define EMULATOR_EXPORT extern "C" __attribute__((visibility("default")))
#define EMULATOR_KERNEL(name, max_threads)                                                         \
    EMULATOR_EXPORT unsigned emulator_threads_##name() { return (unsigned)(max_threads); }         \
    EMULATOR_EXPORT unsigned emulator_size_##name(unsigned i)                                      \
    {                                                                                              \
        using entry = emulator_entry<decltype(&name)>;                                             \
        return i < entry::n_params ? entry::size(i) : 0;                                           \
    }                                                                                              \
    EMULATOR_EXPORT void emulator_run_##name(void *const *args)                                    \
    {                                                                                              \
        emulator_entry<decltype(&name)>::run(&name, args);                                         \
    }
#define EMULATOR_MODULE                                                                            \
    EMULATOR_EXPORT const emulator_thread **emulator_self_at() { return &emulator_self; }
