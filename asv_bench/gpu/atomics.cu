// What the ordered sums of coordinates.cu are measured against: the same sums with atomics. No part of the engine: their
// bits depend on the order in which threads come.
//
// The engine's row stage comes before. Then every gradient is added to the dense sum of its coordinate, wherever threads
// stand, and each touched feature is listed once; the steps come last, and leave every sum 0. One class, float32, and rows
// of the same distinct fields: a pair of positions is a slot, row r begins at item r * z, and every slot is touched.

#include "optimizers.cuh"

struct Sums {  // 0 between batches
    real* w;           // (n,)
    real* V;           // (n, k)
    real* R;           // (columns,)
    real* bias;        // (1,)
    double* loss;      // (1,)
    int* mark;         // (n,) number of the last batch that held the feature, from 1: never cleared
    index_t* touched;  // (items,) features of the batch, in any order
    int* count;        // (1,): of those
};

// Factors that one lane adds: as many as the alignment of V's rows allows, up to 16 bytes.
constexpr int WIDTH = FWFM_K % 4 == 0 ? 4 : (FWFM_K % 2 == 0 ? 2 : 1);

struct __align__(4 * WIDTH) Part {
    real x[WIDTH];
};

// In one request where the card has such.
__device__ __forceinline__ void add_part(real* sum, const Part& part)
{
#if __CUDA_ARCH__ >= 900
    if (WIDTH == 4) atomicAdd((float4*)sum, *(const float4*)&part);
    if (WIDTH == 2) atomicAdd((float2*)sum, *(const float2*)&part);
    if (WIDTH == 1) atomicAdd(sum, part.x[0]);
#else
    for (int t = 0; t < WIDTH; ++t) atomicAdd(sum + t, part.x[t]);
#endif
}

// add_items: threadIdx.y owns an item and threadIdx.x parts of its factors; lane 0 adds to w, and lists a feature that the
// batch has not met. A block's new features go to the list together. Grid: ceil(items / blockDim.y).
extern "C" __global__ void __launch_bounds__(256)
add_items(const Rows rows, const Model model, const Batch batch, const Work work, const Sums sums, const int z)
{
    FWFM_SHARED(memory);
    int* listed = (int*)memory;  // (2,): how many the block lists, and where in the list they begin
    const int k = FWFM_K > 0 ? FWFM_K : model.n_factors, number = (int)batch.cursor[0] + 1;
    const Span span = find_span(batch, 0);
    const unsigned item = blockIdx.x * blockDim.y + threadIdx.y, b = item / (unsigned)z;
    const bool owns = b < span.rows, first = threadIdx.x + threadIdx.y == 0;
    const index_t feature = owns ? rows.indices[row_number(batch, span, b) * z + (item - b * z)] : 0;
    for (int t = threadIdx.x * WIDTH; owns && t < k; t += blockDim.x * WIDTH)
        add_part(sums.V + feature * (long long)k + t, *(const Part*)(work.gV_cik + item * (long long)k + t));
    if (first) listed[0] = 0;
    __syncthreads();
    int place = -1;
    if (owns && threadIdx.x == 0) {
        atomicAdd(sums.w + feature, work.gw_ci[item]);
        // A look comes first: most items are of a feature that is listed already.
        if (sums.mark[feature] != number && atomicExch(sums.mark + feature, number) != number) {
            place = atomicAdd(listed, 1);
            if (model.counts.feature != nullptr) model.counts.feature[feature] += 1;
        }
    }
    __syncthreads();
    if (first && listed[0] > 0) listed[1] = atomicAdd(sums.count, listed[0]);
    __syncthreads();
    if (place >= 0) sums.touched[listed[1] + place] = feature;
}

// add_pairs: a thread sums one pair of a row block on its own, then adds that: row by row, all would wait for a few slots.
// Grid: (ceil(pairs / blockDim), row blocks of the chunk).
extern "C" __global__ void __launch_bounds__(128, 8)
add_pairs(const Batch batch, const Work work, const Sums sums, const Slots slots, const long long lo, const long long hi)
{
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    const long long rows = find_span(batch, 0).rows, end = hi < rows ? hi : rows;
    const long long first = lo + blockIdx.y * (long long)ROW_BLOCK;
    if (p >= slots.columns || first >= end) return;  // guard
    const real* pair_b = work.pair_cp + (first - lo) * slots.columns + p;
    const int count = (int)(end - first < ROW_BLOCK ? end - first : ROW_BLOCK);
    real sum = 0;
#pragma unroll 8
    for (int b = 0; b < count; ++b) sum = sum + pair_b[b * (long long)slots.columns];
    atomicAdd(sums.R + p, sum);
}

// add_bias: a block sums g and losses of blockDim rows, a power of two, as a tree, then adds both. Grid: ceil(size / blockDim).
extern "C" __global__ void __launch_bounds__(256)
add_bias(const Batch batch, const Work work, const Sums sums)
{
    FWFM_SHARED(memory);
    double* loss = (double*)memory;
    real* g = (real*)(loss + blockDim.x);
    const int lane = threadIdx.x;
    const long long b = blockIdx.x * (long long)blockDim.x + lane, rows = find_span(batch, 0).rows;
    if (b - lane >= rows) return;  // guard
    loss[lane] = b < rows ? work.loss_b[b] : 0.0;
    g[lane] = b < rows ? work.g_bc[b] : real(0);
    for (int reach = blockDim.x / 2; reach > 0; reach /= 2) {
        __syncthreads();
        if (lane < reach) {
            loss[lane] += loss[lane + reach];
            g[lane] += g[lane + reach];
        }
    }
    if (lane > 0) return;
    atomicAdd(sums.loss, loss[0]);
    atomicAdd(sums.bias, g[0]);
}

// The mean of a sum, which is 0 again.
__device__ __forceinline__ real take_mean(real* sum, long long rows)
{
    const real mean = *sum / (real)rows;
    *sum = real(0);
    return mean;
}

__device__ __forceinline__ Corrections corrections_at(const Recipe& recipe, const long long* counts, long long place)
{
    return find_corrections(recipe, counts == nullptr ? 0 : counts[place]);
}

// update_touched: each thread takes the steps of some slots; then threadIdx.y owns a listed feature and threadIdx.x strides
// over its 1 + k coordinates. Grid: any.
extern "C" __global__ void __launch_bounds__(256, 4)
update_touched(const Model model, const Recipe recipe, const Batch batch, const Sums sums, const Slots slots)
{
    const long long rows = find_span(batch, 0).rows;
    if (rows == 0) return;  // guard
    const Penalty linear = {recipe.l1_linear, recipe.l2_linear}, factors = {recipe.l1_factors, recipe.l2_factors};
    const int k = model.n_factors, lanes = blockDim.x * blockDim.y;
    bool finite = true;
    for (int p = blockIdx.x * lanes + threadIdx.y * blockDim.x + threadIdx.x; p < slots.columns; p += gridDim.x * lanes) {
        const int slot = slots.slot[p];
        if (model.counts.slot != nullptr) model.counts.slot[slot] += 1;
        finite &= update(recipe, model.theta.R, model.first.R, model.second.R, slot, take_mean(sums.R + p, rows), factors,
                         corrections_at(recipe, model.counts.slot, slot), true);
    }
    for (int u = blockIdx.x * blockDim.y + threadIdx.y; u < sums.count[0]; u += gridDim.x * blockDim.y) {
        const long long feature = sums.touched[u], V = feature * k - 1;
        const Corrections corrections = corrections_at(recipe, model.counts.feature, feature);
        for (int j = threadIdx.x; j <= k; j += blockDim.x) {
            if (j == 0) {
                finite &= update(recipe, model.theta.w, model.first.w, model.second.w, feature,
                                 take_mean(sums.w + feature, rows), linear, corrections, true);
            } else {
                finite &= update(recipe, model.theta.V, model.first.V, model.second.V, V + j,
                                 take_mean(sums.V + V + j, rows), factors, corrections, true);
            }
        }
    }
    if (!finite) stop(batch);
}

// close_batch: one thread takes the step of w0, adds the loss and moves the cursor on, or records a batch that was not finite.
extern "C" __global__ void __launch_bounds__(32)
close_batch(const Model model, const Recipe recipe, const Batch batch, const Sums sums)
{
    const long long rows = find_span(batch, 0).rows;
    if (threadIdx.x > 0 || rows == 0) return;  // guard
    if (model.counts.bias != nullptr) model.counts.bias[0] += 1;
    const bool finite = update(recipe, model.theta.w0, model.first.w0, model.second.w0, 0, take_mean(sums.bias, rows),
                               {real(0), real(0)}, corrections_at(recipe, model.counts.bias, 0), true);
    batch.loss[0] += sums.loss[0];
    sums.loss[0] = 0.0;
    sums.count[0] = 0;
    if (batch.cursor[2] || !finite) {
        batch.cursor[1] = batch.cursor[0];
    } else {
        batch.cursor[0] += 1;
    }
}
