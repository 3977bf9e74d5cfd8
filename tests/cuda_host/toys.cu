// Toy kernels: each proves one thing of the runner (test_shim.py).

typedef FWFM_REAL real;
typedef int index;

constexpr int MOST = 64;  // threads of a block

struct Inner {
    int rows;
    const index* places;  // (rows,)
};

struct Outer {
    real scale;
    Inner inner;
    long long offset;
    double shift;
    const real* values;  // (offset + rows,)
};

// Every kind of argument, with padding between the members.
extern "C" __global__ void __launch_bounds__(MOST)
arguments(const Outer outer, real* out, const int* absent, int n, long long big, real r, double d)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= min(n, outer.inner.rows) || absent) return;
    const long long place = outer.offset + outer.inner.places[i];
    out[i] = (real)(outer.scale * outer.values[place] + outer.shift + big + r + d);
}

extern "C" __global__ void places(unsigned* out)
{
    const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * threads + thread] = block * 1000 + threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z;
    __syncthreads();
    out[block * threads + thread] += 1000000 * threadIdx.z;  // the index is another thread's unless it is restored
}

// The sum of a block's values by halves, towards the last thread. Without `wait` the barriers are missing: launch order
// hides it, because whom a thread adds has gone before.
extern "C" __global__ void reduce(const int* values, int* sums, int wait)
{
    FWFM_SHARED(buffer);
    int* const partial = (int*)buffer;
    partial[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
    for (unsigned width = blockDim.x / 2; width > 0; width /= 2) {
        if (wait) __syncthreads();
        if (threadIdx.x >= blockDim.x - width) partial[threadIdx.x] += partial[threadIdx.x - width];
    }
    if (threadIdx.x == blockDim.x - 1) sums[blockIdx.x] = partial[threadIdx.x];
}

extern "C" __global__ void reverse(int* out)
{
    FWFM_SHARED(buffer);
    int* const row = (int*)buffer;
    for (unsigned turn = 0; turn < 3; ++turn) {
        row[threadIdx.x] = turn * 10000 + threadIdx.x;
        __syncthreads();
        out[turn * blockDim.x + threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
        __syncthreads();
    }
}

// The order in which threads arrive, before and after a barrier.
extern "C" __global__ void arrive(int* count, int* order)
{
    order[atomicAdd(count, 1)] = blockIdx.x * blockDim.x + threadIdx.x;
    __syncthreads();
    order[atomicAdd(count, 1)] = blockIdx.x * blockDim.x + threadIdx.x;
}

extern "C" __global__ void count(int* i, unsigned* u, unsigned long long* l, int* top, int* bottom, long long* low)
{
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(i, -1);
    atomicAdd(u, 2u);
    atomicAdd(l, 1ull << 40);
    atomicMax(top, thread);
    atomicMin(bottom, -thread);
    atomicMin(low, -thread * (1ll << 40));
}

// Copies what a block finds in its shared memory and leaves zeros.
extern "C" __global__ void copy_shared(unsigned char* out, int n)
{
    FWFM_SHARED(buffer);
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        out[blockIdx.x * n + i] = buffer[i];
        buffer[i] = 0;
    }
}

extern "C" __global__ void part(int leavers, int* out)
{
    if (threadIdx.x < leavers) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}

extern "C" __global__ void meet_apart()
{
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
}

extern "C" __global__ void bits(const double* d, const float* f, long long* out)
{
#pragma unroll
    for (int i = 0; i < 2; ++i) out[i] = __double_as_longlong(sqrt(fabs(rint(d[i]))));
    out[2] = __float_as_int(sqrtf(fabsf(f[0])));
    out[3] = isfinite(f[0]) && !isfinite(f[1]) && isfinite(d[0]);
    out[4] = max(out[0], 7ll) == out[0] && max(2u, 1u) == 2u && __longlong_as_double(out[0]) == 2;
}

extern "C" __global__ void read_global(const real* values, real* out, int i) { out[0] = values[i]; }

extern "C" __global__ void write_shared(int i)
{
    FWFM_SHARED(buffer);
    __syncthreads();
    buffer[i + threadIdx.x] = 1;
}

extern "C" __global__ void add_int(int* sum, int more) { sum[0] += more; }
