// The CUDA C that the kernels use, for g++: put before a joined source, with -DFWFM_HOST.
//
// Only what the kernels may use is here (no static shared memory, no warp intrinsics, no min of floats): anything else
// does not compile. Few headers are included, because a source may give its types any name, `index` too.
//
// A thread is a fiber that runs until its next barrier and is never interrupted (fibers.cpp), so that an atomic is a
// plain statement, and a sum that lacks its atomic is not found.
#pragma once

#include <math.h>

#include <cstddef>
#include <utility>

struct uint3 {
    unsigned x, y, z;
};

extern uint3 threadIdx, blockIdx, blockDim, gridDim;  // not const: they change at each barrier

namespace fwfm_host {

// One launch, as the caller describes it.
struct Launch {
    uint3 grid, block;
    unsigned long long shared_bytes;  // of dynamic shared memory
    unsigned long long seed;          // 0: launch order; else random orders drawn from it
};

extern unsigned char* shared;  // the running block's

void wait(const char* file, int line);
const char* launch(const Launch* launch, void (*thread)(void**), void** values, unsigned most_threads);

// Calls a kernel with the values that an array points to, as cuLaunchKernel takes them.
template <auto kernel> struct Thread;
template <class... P, void (*kernel)(P...)> struct Thread<kernel> {
    template <size_t... I> static void call(void** values, std::index_sequence<I...>)
    {
        kernel(*static_cast<P*>(values[I])...);
    }
    static void run(void** values) { call(values, std::index_sequence_for<P...>{}); }
};

// Whether a kernel's parameters have these sizes.
template <size_t... sizes, class... P> constexpr bool takes(void (*)(P...))
{
    if constexpr (sizeof...(sizes) == sizeof...(P))
        return ((sizes == sizeof(P)) && ...);
    else
        return false;
}

template <class To, class From> To cast_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}

template <class Number> Number exchange(Number* place, Number value)
{
    const Number former = *place;
    *place = value;
    return former;
}

}  // namespace fwfm_host

// What the loader appends for each kernel. Returns a message, or null.
#define FWFM_LAUNCHER(kernel, most_threads)                                                                            \
    extern "C" __attribute__((visibility("default"))) const char* launch_##kernel(                                     \
        const fwfm_host::Launch* launch, void** values)                                                                \
    {                                                                                                                  \
        return fwfm_host::launch(launch, fwfm_host::Thread<kernel>::run, values, most_threads);                        \
    }

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __syncthreads() fwfm_host::wait(__FILE__, __LINE__)
#define FWFM_SHARED(name) unsigned char* const name = fwfm_host::shared

inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline long long min(long long a, long long b) { return b < a ? b : a; }
inline long long max(long long a, long long b) { return a < b ? b : a; }

// Unsigned inside, because an atomic wraps where C++ leaves overflow undefined.
inline int atomicAdd(int* place, int add) { return fwfm_host::exchange(place, int(unsigned(*place) + unsigned(add))); }
inline unsigned atomicAdd(unsigned* place, unsigned add) { return fwfm_host::exchange(place, *place + add); }
inline unsigned long long atomicAdd(unsigned long long* place, unsigned long long add)
{
    return fwfm_host::exchange(place, *place + add);
}
inline int atomicMax(int* place, int other) { return fwfm_host::exchange(place, max(*place, other)); }
inline int atomicMin(int* place, int other) { return fwfm_host::exchange(place, min(*place, other)); }
inline long long atomicMin(long long* place, long long other)
{
    return fwfm_host::exchange(place, min(*place, other));
}

inline double __longlong_as_double(long long bits) { return fwfm_host::cast_bits<double>(bits); }
inline long long __double_as_longlong(double number) { return fwfm_host::cast_bits<long long>(number); }
inline int __float_as_int(float number) { return fwfm_host::cast_bits<int>(number); }
