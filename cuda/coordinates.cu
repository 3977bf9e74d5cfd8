// Coordinates: ordered batch sums, then one step of each touched coordinate (numerics 6 and 7).
//
// Nothing is scattered and nothing is added atomically: every sum has one owner, who adds its row gradients in batch order
// inside each row block, then the block sums in block order. A block sum that no row touched is +0, and adding it changes
// nothing. First all sums (block_sums), then all steps (apply): every step is looked at before any is written, so that a
// batch whose new parameters are not finite changes nothing.

#include "slots.cuh"

constexpr int HOT_BLOCKS = 1024;     // row blocks of a hot feature whose beginnings are kept in shared memory

// ---------------------------------------------------------------------------------------------- features

// What lane t of a feature adds up: factor t of gV, and on lane 0 gw as well, in the same walk. Null: not this lane's.
struct Columns {
    const real* gw;  // (items,)
    const real* gV;  // (items, k), from factor t
};

struct Sums {
    real w;
    real v;
};

__device__ __forceinline__ Columns columns_of(const Model& model, const Work& work, int c, int t)
{
    const int k = model.n_factors;
    return {t == 0 ? work.gw_ci + c * work.items : nullptr, t < k ? work.gV_cik + c * work.items * k + t : nullptr};
}

__device__ __forceinline__ void add_item(const Columns& columns, int item, int k, Sums& sum)
{
    if (columns.gw != nullptr) sum.w = sum.w + columns.gw[item];
    if (columns.gV != nullptr) sum.v = sum.v + columns.gV[item * (long long)k];
}

__device__ __forceinline__ void put_sums(const Model& model, const Work& work, int c, int u, int t, Sums sum)
{
    const int k = model.n_factors;
    if (t == 0) work.sum_w_cu[c * work.items + u] = sum.w;
    if (t < k) work.sum_V_cuk[(c * work.items + u) * k + t] = sum.v;
}

__device__ __forceinline__ int block_at(const Plan& plan, int place) { return plan.item_row[plan.item[place]] / ROW_BLOCK; }

// Items [lo, hi) of one feature: added inside each row block, then block by block (numerics 6).
__device__ __forceinline__ Sums sum_by_blocks(const Plan& plan, const Columns& columns, int k, int lo, int hi)
{
    Sums total = {0, 0}, sum = {0, 0};
    int open = -1;
#pragma unroll 8
    for (int place = lo; place < hi; ++place) {
        const int item = plan.item[place], block = plan.item_row[item] / ROW_BLOCK;
        if (block != open) {
            total = {total.w + sum.w, total.v + sum.v};
            sum = {0, 0};
            open = block;
        }
        add_item(columns, item, k, sum);
    }
    return {total.w + sum.w, total.v + sum.v};
}

// feature_sums: threadIdx.y owns a touched feature of few items, threadIdx.x strides over its factors; lane 0 takes w along.
// Grid: (any, classes).
extern "C" __global__ void __launch_bounds__(256, 4)
feature_sums(const Model model, const Batch batch, const Plan plan, const Work work, const int most)
{
    if (rows_to_sum(batch) == 0) return;  // guard
    const int touched = plan.sizes[0], c = blockIdx.y, k = model.n_factors;
    for (int u = blockIdx.x * blockDim.y + threadIdx.y; u < touched; u += gridDim.x * blockDim.y) {
        const int lo = plan.segment_start[u], hi = plan.segment_start[u + 1];
        if (hi - lo > most) continue;  // hot_feature_sums owns it
        for (int t = threadIdx.x; t == 0 || t < k; t += blockDim.x)
            put_sums(model, work, c, u, t, sum_by_blocks(plan, columns_of(model, work, c, t), k, lo, hi));
    }
}

// The first place in [lo, hi) whose row block is `block` or a later one.
__device__ __forceinline__ int find_block(const Plan& plan, int lo, int hi, long long block)
{
    while (lo < hi) {
        const int middle = lo + (hi - lo) / 2;
        if (block_at(plan, middle) < block) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

// hot_feature_sums: a thread block owns a feature of many items. It first finds where each row block begins among them; then
// each threadIdx.y sums a row block of its own, threadIdx.x a factor, and the block sums are added in order.
// Grid: (any, classes).
extern "C" __global__ void __launch_bounds__(1024, 1)
hot_feature_sums(const Model model, const Batch batch, const Plan plan, const Work work)
{
    FWFM_SHARED(memory);
    real* block_v = (real*)memory;                      // (blockDim.y, blockDim.x)
    real* block_w = block_v + blockDim.x * blockDim.y;  // (blockDim.y,)
    int* begin = (int*)(block_w + blockDim.y);          // (HOT_BLOCKS + 1,) places
    const long long blocks = blocks_of(rows_to_sum(batch));
    const int c = blockIdx.y, lane = threadIdx.y * blockDim.x + threadIdx.x, lanes = blockDim.x * blockDim.y;
    const int k = model.n_factors;
    for (int h = blockIdx.x; h < plan.sizes[1] && blocks > 0; h += gridDim.x) {
        const int u = plan.hot[h], lo = plan.segment_start[u], hi = plan.segment_start[u + 1];
        for (int t0 = 0; t0 == 0 || t0 < k; t0 += blockDim.x) {
            const int t = t0 + threadIdx.x;
            const Columns columns = columns_of(model, work, c, t);
            Sums total = {0, 0};
            for (long long tile = 0; tile < blocks; tile += HOT_BLOCKS) {
                const int count = (int)(blocks - tile < HOT_BLOCKS ? blocks - tile : HOT_BLOCKS);
                if (t0 == 0 || blocks > HOT_BLOCKS) {  // else they are those of the factors before
                    for (int i = lane; i <= count; i += lanes) begin[i] = find_block(plan, lo, hi, tile + i);
                }
                __syncthreads();
                for (int first = 0; first < count; first += blockDim.y) {
                    const int block = first + threadIdx.y, end = block < count ? begin[block + 1] : 0;
                    Sums sum = {0, 0};
#pragma unroll 8
                    for (int place = block < count ? begin[block] : 0; place < end; ++place)
                        add_item(columns, plan.item[place], k, sum);
                    block_v[lane] = sum.v;
                    if (threadIdx.x == 0) block_w[threadIdx.y] = sum.w;
                    __syncthreads();
#pragma unroll 8
                    for (int y = 0; y < (int)blockDim.y && threadIdx.y == 0; ++y)
                        total = {total.w + block_w[y], total.v + block_v[y * blockDim.x + threadIdx.x]};
                    __syncthreads();
                }
            }
            if (threadIdx.y == 0) put_sums(model, work, c, u, t, total);
        }
    }
}

// feature_update: threadIdx.y owns a touched feature, threadIdx.x strides over its 1 + k coordinates. Grid: (any, classes).
extern "C" __global__ void __launch_bounds__(256, 4)
feature_update(const Model model, const Recipe recipe, const Batch batch, const Plan plan, const Work work,
               const int writes)
{
    const long long rows = rows_to_sum(batch);
    if (rows == 0) return;  // guard
    const int touched = plan.sizes[0], c = blockIdx.y, k = model.n_factors;
    for (int u = blockIdx.x * blockDim.y + threadIdx.y; u < touched; u += gridDim.x * blockDim.y) {
        const long long feature = plan.segment_feature[u], place = c * model.n_features + feature;
        Corrections corrections = {real(1), real(1)};
        if (model.counts.feature != nullptr) corrections = find_corrections(recipe, model.counts.feature[feature] + 1);
        bool finite = true;
        for (int j = threadIdx.x; j <= k; j += blockDim.x) {
            if (j == 0) {
                const real mean = work.sum_w_cu[c * work.items + u] / (real)rows;
                finite &= update(recipe, model.theta.w, model.first.w, model.second.w, place, mean,
                                 {recipe.l1_linear, recipe.l2_linear}, corrections, writes);
            } else {
                const real mean = work.sum_V_cuk[(c * work.items + u) * k + (j - 1)] / (real)rows;
                finite &= update(recipe, model.theta.V, model.first.V, model.second.V, place * k + (j - 1), mean,
                                 {recipe.l1_factors, recipe.l2_factors}, corrections, writes);
            }
        }
        if (!finite) stop(batch);
    }
}

// count_touches: Adam's count of each touched feature, which w and V of every class share: after
// all of them have read it. Grid: any.
extern "C" __global__ void __launch_bounds__(256)
count_touches(const Model model, const Batch batch, const Plan plan)
{
    if (rows_to_sum(batch) == 0) return;  // guard
    const int touched = plan.sizes[0];
    for (long long u = blockIdx.x * (long long)blockDim.x + threadIdx.x; u < touched;
         u += (long long)gridDim.x * blockDim.x)
        model.counts.feature[plan.segment_feature[u]] += 1;
}

// ---------------------------------------------------------------------------------------------- bias

// bias_block_sums: a thread block of ROW_BLOCK lanes owns one row block: lane 0 adds g of each class, lane 1 the losses.
// Grid: row blocks.
extern "C" __global__ void __launch_bounds__(64)
bias_block_sums(const Model model, const Batch batch, const Work work)
{
    FWFM_SHARED(memory);
    double* loss = (double*)memory;
    real* g = (real*)(loss + ROW_BLOCK);
    const long long rows = rows_to_sum(batch), first = blockIdx.x * (long long)ROW_BLOCK;
    if (first >= rows) return;  // guard
    const int count = (int)(rows - first < ROW_BLOCK ? rows - first : ROW_BLOCK), lane = threadIdx.x;
    if (lane < count) loss[lane] = work.loss_b[first + lane];
    for (int c = 0; c < model.n_classes; ++c) {
        if (lane < count) g[lane] = work.g_bc[(first + lane) * model.n_classes + c];
        __syncthreads();
        if (lane == 0) {
            real sum = 0;
            for (int b = 0; b < count; ++b) sum = sum + g[b];
            work.block_bias[blockIdx.x * (long long)model.n_classes + c] = sum;
        }
        if (lane == 1 && c == 0) {
            double sum = 0;
            for (int b = 0; b < count; ++b) sum = sum + loss[b];
            work.block_loss[blockIdx.x] = sum;
        }
        __syncthreads();
    }
}

// The sum of block sums, in block order, on lane 0. One thread block; `tile` has blockDim.x entries.
template <typename Number>
__device__ __forceinline__ Number sum_blocks(const Number* block_sum, long long blocks, int stride, Number* tile)
{
    Number sum = 0;
    for (long long first = 0; first < blocks; first += blockDim.x) {
        if (first + threadIdx.x < blocks) tile[threadIdx.x] = block_sum[(first + threadIdx.x) * stride];
        __syncthreads();
        for (int i = 0; threadIdx.x == 0 && i < (int)blockDim.x && first + i < blocks; ++i) sum = sum + tile[i];
        __syncthreads();
    }
    return sum;
}

// w0 of class c: its step, looked at or written.
__device__ __forceinline__ bool update_bias(const Model& model, const Recipe& recipe, const Work& work, long long rows,
                                            int c, bool writes)
{
    Corrections corrections = {real(1), real(1)};
    if (model.counts.bias != nullptr) corrections = find_corrections(recipe, model.counts.bias[0] + 1);
    return update(recipe, model.theta.w0, model.first.w0, model.second.w0, c, work.sum_bias_c[c] / (real)rows,
                  {real(0), real(0)}, corrections, writes);
}

// bias_totals: one thread block adds the block sums of the bias and of the loss, and looks at the step of w0.
extern "C" __global__ void __launch_bounds__(256)
bias_totals(const Model model, const Recipe recipe, const Batch batch, const Work work)
{
    FWFM_SHARED(memory);
    const long long rows = rows_to_sum(batch), blocks = blocks_of(rows);
    const bool leads = threadIdx.x == 0;
    const double loss = sum_blocks(work.block_loss, blocks, 1, (double*)memory);
    if (leads) work.sum_loss[0] = loss;
    for (int c = 0; c < model.n_classes; ++c) {
        const real sum = sum_blocks(work.block_bias + c, blocks, model.n_classes, (real*)memory);
        if (!leads || rows == 0) continue;
        work.sum_bias_c[c] = sum;
        if (!update_bias(model, recipe, work, rows, c, false)) stop(batch);
    }
}

// finish_batch: one thread closes the batch. Either w0 takes its step, the loss counts and the cursor moves on, or the batch
// is recorded as not finite.
extern "C" __global__ void __launch_bounds__(32)
finish_batch(const Model model, const Recipe recipe, const Batch batch, const Work work)
{
    const long long rows = rows_to_sum(batch);
    if (threadIdx.x > 0) return;  // guard
    if (batch.cursor[2]) {
        batch.cursor[1] = batch.cursor[0];
        batch.cursor[2] = 0;
    } else if (rows > 0) {
        for (int c = 0; c < model.n_classes; ++c) update_bias(model, recipe, work, rows, c, true);
        if (model.counts.bias != nullptr) model.counts.bias[0] += 1;
        batch.loss[0] += work.sum_loss[0];
        batch.cursor[0] += 1;
    }
}
