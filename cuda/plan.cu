// Plan: integers only. Which items each touched feature sums, in which order (numerics 6).
//
// Items are the nonzeros of a batch in batch order. A stable sort by feature keeps that order inside each feature:
//
//     features of items   [7 2 | 2 7 | 7]      three rows
//     feature (sorted)    [2 2 7 7 7]
//     item                [1 2 0 3 4]          ascending inside a feature
//     segment_start       [0 2 5]              touched features 2 and 7
//
// The sort takes DIGIT_BITS of the key at a time, from the lowest. A tile of consecutive places belongs to one block, a
// run of SORT_RUN places to one thread, so counting and writing in place order is stable without any atomics:
// a place's new position is (smaller digits) + (same digit in earlier tiles) + (in earlier threads) + (earlier in the run).

#include "arguments.cuh"

constexpr int DIGIT_BITS = 5;
constexpr int DIGITS = 1 << DIGIT_BITS;
constexpr int SORT_RUN = 16;  // places of one thread
constexpr int SCAN_RUN = 4;   // entries of one thread

__device__ __forceinline__ int items_of(const Batch& batch, const Plan& plan) { return (int)plan.starts[batch.size]; }

// Exclusive sum over the threads of a block, in thread order. `total` is the sum over all. Uses blockDim.x entries.
__device__ __forceinline__ long long exclusive_sum(long long value, long long* shared, long long& total)
{
    const int lane = threadIdx.x, lanes = blockDim.x;
    shared[lane] = value;
    __syncthreads();
    for (int reach = 1; reach < lanes; reach *= 2) {
        const long long before = lane >= reach ? shared[lane - reach] : 0;
        __syncthreads();
        shared[lane] += before;
        __syncthreads();
    }
    total = shared[lanes - 1];
    const long long sum = shared[lane] - value;
    __syncthreads();
    return sum;
}

// row_lengths: one thread owns one entry of starts and pair_starts. Where all rows have `alike` nonzeros the entries are
// final; else (-1) they are lengths, which scan turns into starts. Grid: ceil((size + 1) / blockDim).
extern "C" __global__ void __launch_bounds__(256)
row_lengths(const Rows rows, const Batch batch, const Plan plan, const int ahead, const long long alike)
{
    const long long b = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (b == 0) plan.sizes[0] = plan.sizes[1] = 0;
    if (b > batch.size) return;  // guard
    const Span span = find_span(batch, ahead);
    const bool counts = alike >= 0;
    const long long before = b < span.rows ? b : span.rows;
    long long z = alike;
    if (!counts) {
        z = 0;
        if (b < span.rows) {
            const long long row = row_number(batch, span, b);
            z = rows.indptr[row + 1] - rows.indptr[row];
        }
    }
    plan.starts[b] = counts ? before * z : z;
    if (plan.pair_starts != nullptr) plan.pair_starts[b] = (counts ? before : 1) * (z * (z - 1) / 2);
}

// scan: exclusive sums of `length` entries, in place. One block walks them, tile by tile, carrying the sum.
extern "C" __global__ void __launch_bounds__(1024)
scan(long long* values, const long long length)
{
    FWFM_SHARED(memory);
    long long* shared = (long long*)memory;
    long long carried = 0;
    for (long long tile = 0; tile < length; tile += (long long)blockDim.x * SCAN_RUN) {
        const long long first = tile + (long long)threadIdx.x * SCAN_RUN;
        long long run[SCAN_RUN], sum = 0, total;
#pragma unroll
        for (int i = 0; i < SCAN_RUN; ++i) {
            run[i] = first + i < length ? values[first + i] : 0;
            sum += run[i];
        }
        long long before = carried + exclusive_sum(sum, shared, total);
#pragma unroll
        for (int i = 0; i < SCAN_RUN; ++i) {
            if (first + i < length) values[first + i] = before;
            before += run[i];
        }
        carried += total;
    }
}

// list_items: threadIdx.y owns a row, threadIdx.x strides over its items. Grid: ceil(size / blockDim.y).
extern "C" __global__ void __launch_bounds__(256)
list_items(const Rows rows, const Batch batch, const Plan plan, const int ahead, index_t* feature)
{
    const Span span = find_span(batch, ahead);
    const long long b = blockIdx.x * (long long)blockDim.y + threadIdx.y;
    if (b >= span.rows) return;  // guard
    const long long source = rows.indptr[row_number(batch, span, b)], start = plan.starts[b];
    const long long z = plan.starts[b + 1] - start;
    for (long long p = threadIdx.x; p < z; p += blockDim.x) {
        feature[start + p] = rows.indices[source + p];
        plan.item_row[start + p] = (int)b;
    }
}

__device__ __forceinline__ int digit_of(index_t key, int shift) { return (int)((key >> shift) & (DIGITS - 1)); }

// The digits of each thread's run, counted: counts[digit][thread], padded against bank conflicts.
__device__ __forceinline__ int* count_runs(const index_t* feature, int items, int shift, int* counts)
{
    const int stride = blockDim.x + 1;
    const long long first = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * SORT_RUN;
    for (int digit = 0; digit < DIGITS; ++digit) counts[digit * stride + threadIdx.x] = 0;
    for (int i = 0; i < SORT_RUN; ++i) {
        if (first + i < items) counts[digit_of(feature[first + i], shift) * stride + threadIdx.x] += 1;
    }
    __syncthreads();
    return counts;
}

// count_digits: a block owns a tile and writes how often each digit stands in it, histogram[digit][tile].
extern "C" __global__ void __launch_bounds__(128)
count_digits(const Batch batch, const Plan plan, const index_t* feature, const int shift, long long* histogram)
{
    FWFM_SHARED(memory);
    const int* counts = count_runs(feature, items_of(batch, plan), shift, (int*)memory);
    for (int digit = threadIdx.x; digit < DIGITS; digit += blockDim.x) {
        int sum = 0;
        for (int lane = 0; lane < (int)blockDim.x; ++lane) sum += counts[digit * (blockDim.x + 1) + lane];
        histogram[digit * (long long)gridDim.x + blockIdx.x] = sum;
    }
}

// scatter_digits: the same block moves its tile's places to where the scanned histogram says, in place order: stable.
// Without `item`, the item at a place is the place itself.
extern "C" __global__ void __launch_bounds__(128)
scatter_digits(const Batch batch, const Plan plan, const index_t* feature, const int* item, const int shift,
               const long long* histogram, index_t* feature_out, int* item_out)
{
    FWFM_SHARED(memory);
    const int items = items_of(batch, plan), stride = blockDim.x + 1;
    int* position = count_runs(feature, items, shift, (int*)memory);
    for (int digit = threadIdx.x; digit < DIGITS; digit += blockDim.x) {
        int before = (int)histogram[digit * (long long)gridDim.x + blockIdx.x];
        for (int lane = 0; lane < (int)blockDim.x; ++lane) {
            const int count = position[digit * stride + lane];
            position[digit * stride + lane] = before;
            before += count;
        }
    }
    __syncthreads();
    const long long first = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * SORT_RUN;
    for (int i = 0; i < SORT_RUN; ++i) {
        const long long place = first + i;
        if (place >= items) return;  // guard
        const index_t key = feature[place];
        const int to = position[digit_of(key, shift) * stride + threadIdx.x]++;
        feature_out[to] = key;
        item_out[to] = item == nullptr ? (int)place : item[place];
    }
}

__device__ __forceinline__ bool is_head(const index_t* feature, long long place)
{
    return place == 0 || feature[place] != feature[place - 1];
}

__device__ __forceinline__ int count_heads_of_run(const index_t* feature, int items, long long first)
{
    int heads = 0;
    for (long long place = first; place < first + SORT_RUN && place < items; ++place) heads += is_head(feature, place);
    return heads;
}

// count_heads: a block owns a tile and counts the places where a new feature begins.
extern "C" __global__ void __launch_bounds__(128)
count_heads(const Batch batch, const Plan plan, long long* heads)
{
    FWFM_SHARED(memory);
    const long long first = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * SORT_RUN;
    long long total;
    exclusive_sum(count_heads_of_run(plan.feature, items_of(batch, plan), first), (long long*)memory, total);
    if (threadIdx.x == 0) heads[blockIdx.x] = total;
}

// write_segments: the same block writes the segments that begin in its tile, from the scanned counts. The owner of the
// last place also writes where the last segment ends and how many there are.
extern "C" __global__ void __launch_bounds__(128)
write_segments(const Batch batch, const Plan plan, const long long* heads)
{
    FWFM_SHARED(memory);
    const int items = items_of(batch, plan);
    const long long first = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * SORT_RUN;
    long long total;
    const int own = count_heads_of_run(plan.feature, items, first);
    long long u = heads[blockIdx.x] + exclusive_sum(own, (long long*)memory, total);
    for (long long place = first; place < first + SORT_RUN && place < items; ++place) {
        if (is_head(plan.feature, place)) {
            plan.segment_start[u] = (int)place;
            plan.segment_feature[u] = plan.feature[place];
            ++u;
        }
        if (place == items - 1) {
            plan.segment_start[u] = items;
            plan.sizes[0] = (int)u;
        }
    }
}

// list_hot: one thread looks at some touched features and lists those with more than `most` items. The list's order is
// free: each of its features has one owner whatever its place. Grid: any.
extern "C" __global__ void __launch_bounds__(256)
list_hot(const Plan plan, const int most)
{
    const int touched = plan.sizes[0];
    for (long long u = blockIdx.x * (long long)blockDim.x + threadIdx.x; u < touched;
         u += (long long)gridDim.x * blockDim.x) {
        if (plan.segment_start[u + 1] - plan.segment_start[u] > most) plan.hot[atomicAdd(&plan.sizes[1], 1)] = (int)u;
    }
}
