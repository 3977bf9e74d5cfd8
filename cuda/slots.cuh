// Slots of R: ordered batch sums, then a step of each touched one (numerics 5 to 7).

#include "optimizers.cuh"
#include "pairs.cuh"

constexpr int STAGED_FIELDS = 1024;  // fields of a row that are kept in shared memory

__device__ __forceinline__ long long blocks_of(long long rows) { return (rows + ROW_BLOCK - 1) / ROW_BLOCK; }

// pattern_slot_sums: all rows have the same distinct fields, so that a pair is a slot. One thread owns one pair of one row
// block and walks its rows. Grid: (ceil(pairs / blockDim), row blocks of the chunk, classes).
extern "C" __global__ void __launch_bounds__(128, 8)
pattern_slot_sums(const Batch batch, const Work work, const Slots slots, const long long lo, const long long hi)
{
    const int p = blockIdx.x * blockDim.x + threadIdx.x, c = blockIdx.z;
    const long long rows = rows_to_sum(batch), end = hi < rows ? hi : rows;
    const long long first = lo + blockIdx.y * (long long)ROW_BLOCK;
    if (p >= slots.columns || first >= end) return;  // guard
    const real* pair_b = work.pair_cp + c * work.pairs + (first - lo) * slots.columns + p;
    const int count = (int)(end - first < ROW_BLOCK ? end - first : ROW_BLOCK);
    real sum = 0;
#pragma unroll 8
    for (int b = 0; b < count; ++b) sum = sum + pair_b[b * (long long)slots.columns];
    work.block_slots[(c * work.blocks + blockIdx.y) * slots.columns + p] = sum;
    work.slot_touched[p] = 1;
}

// Where a row lies, and the field of each position.
struct Fields {
    const Rows& rows;
    const int* staged;  // null where the row is too long
    long long start;
    long long z;

    __device__ __forceinline__ int at(long long p) const
    {
        return staged != nullptr ? staged[p] : rows.fields[rows.indices[start + p]];
    }
};

// The pairs of one row, each in a slot of its own: added to the open block sums.
__device__ __forceinline__ void add_distinct(const Fields& fields, int n_fields, const real* pair_p, real* slot_s, int* touched)
{
    for (Walk<long long> walk = begin_walk(fields.z); walk.p < fields.z * (fields.z - 1) / 2; next(walk, fields.z)) {
        const int column = slot_of(n_fields, fields.at(walk.a), fields.at(walk.b));
        slot_s[column] = slot_s[column] + pair_p[walk.p];
        touched[column] = 1;
    }
}

// The end of the run of positions, in field order, that share the field at `rank`.
__device__ __forceinline__ long long run_end(const Fields& fields, const int* order, long long rank)
{
    const int field = fields.at(order[rank]);
    while (rank < fields.z && fields.at(order[rank]) == field) ++rank;
    return rank;
}

__device__ __forceinline__ bool begins_run(const Fields& fields, const int* order, long long rank)
{
    return rank == 0 || fields.at(order[rank]) != fields.at(order[rank - 1]);
}

// The sum, in pair order, over the pairs of the fields whose runs are [i, i_end) and [j, j_end); one run with itself where
// i = j (numerics 5). Walks both runs together by position: each a, then every b > a of the other run.
__device__ __forceinline__ real sum_shared_slot(const int* order, long long z, long long i, long long i_end, long long j,
                                                long long j_end, const real* pair_p)
{
    real sum = 0;
    const bool same = i == j;
    while (i < i_end && j < j_end) {
        const bool first_leads = same || order[i] < order[j];
        const long long a = first_leads ? order[i] : order[j];
        const long long from = first_leads ? (same ? i + 1 : j) : i, to = first_leads ? j_end : i_end;
        for (long long rank = from; rank < to; ++rank) sum = sum + pair_p[pair_number(z, a, (long long)order[rank])];
        if (first_leads) ++i;
        if (!first_leads) ++j;
    }
    return sum;
}

// A row in which fields recur: each slot's pairs are summed inside the row first. A lane owns a pair of runs.
__device__ __forceinline__ void add_shared(const Fields& fields, const int* order, int n_fields, const real* pair_p,
                                           real* slot_s, int* touched)
{
    const long long z = fields.z;
    long long i = 0, j = threadIdx.x;  // ranks, i <= j: every pair of them, the diagonal included
    for (;;) {
        while (i < z && j >= z) {
            ++i;
            j += i - z;
        }
        if (i >= z) return;
        if (begins_run(fields, order, i) && begins_run(fields, order, j)) {
            const long long i_end = run_end(fields, order, i), j_end = run_end(fields, order, j);
            if (i != j || i_end - i > 1) {
                const int column = slot_of(n_fields, fields.at(order[i]), fields.at(order[j]));
                slot_s[column] = slot_s[column] + sum_shared_slot(order, z, i, i_end, j, j_end, pair_p);
                touched[column] = 1;
            }
        }
        j += blockDim.x;
    }
}

// walked_slot_sums: a thread block owns one row block of the group that starts at row `group` and walks its rows that lie in
// the chunk [lo, hi), in batch order; the open sums stay in block_slots from chunk to chunk.
// Grid: (row blocks of the chunk, classes).
extern "C" __global__ void __launch_bounds__(256, 1)
walked_slot_sums(const Rows rows, const Model model, const Batch batch, const Plan plan, const Work work,
                 const Slots slots, const long long group, const long long lo, const long long hi)
{
    FWFM_SHARED(memory);
    int* staged = (int*)memory;
    const Span span = find_span(batch, 0);
    const long long summed = rows_to_sum(batch), end = hi < summed ? hi : summed;
    const long long block = lo / ROW_BLOCK + blockIdx.x, first = block * ROW_BLOCK;
    const int c = blockIdx.y;
    if (first >= end) return;  // guard
    real* slot_s = work.block_slots + (c * work.blocks + block - group / ROW_BLOCK) * slots.columns;
    if (first >= lo) {  // the chunk holds the block's first row
        for (long long column = threadIdx.x; column < slots.columns; column += blockDim.x) slot_s[column] = real(0);
    }
    const long long last = first + ROW_BLOCK < end ? first + ROW_BLOCK : end;
    for (long long b = first < lo ? lo : first; b < last; ++b) {
        const long long start = rows.indptr[row_number(batch, span, b)], z = plan.starts[b + 1] - plan.starts[b];
        const real* pair_p = work.pair_cp + c * work.pairs + (plan.pair_starts[b] - plan.pair_starts[lo]);
        __syncthreads();  // the sums of the row before are there, and its fields are done with
        for (long long p = threadIdx.x; p < z && z <= STAGED_FIELDS; p += blockDim.x)
            staged[p] = rows.fields[rows.indices[start + p]];
        __syncthreads();
        const Fields fields = {rows, z <= STAGED_FIELDS ? staged : nullptr, start, z};
        if (rows.field_order == nullptr) {
            add_distinct(fields, model.n_fields, pair_p, slot_s, work.slot_touched);
        } else {
            add_shared(fields, rows.field_order + start, model.n_fields, pair_p, slot_s, work.slot_touched);
        }
    }
}

// slot_totals: one thread owns one column and adds the block sums of a group in block order.
// Grid: (ceil(columns / blockDim), classes).
extern "C" __global__ void __launch_bounds__(128)
slot_totals(const Batch batch, const Work work, const Slots slots, const long long group, const long long end)
{
    const long long column = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    const long long rows = rows_to_sum(batch), last = end < rows ? end : rows;
    const int c = blockIdx.y;
    if (column >= slots.columns || group >= last || !work.slot_touched[column]) return;  // guard
    const real* block_s = work.block_slots + c * work.blocks * slots.columns + column;
    real sum = work.slot_sums[c * (long long)slots.columns + column];
#pragma unroll 8
    for (long long block = 0; block < blocks_of(last - group); ++block) sum = sum + block_s[block * slots.columns];
    work.slot_sums[c * (long long)slots.columns + column] = sum;
}

// slot_update: one thread owns one touched slot of R: its step in every class. With `writes` it leaves sum and mark as they
// were before the batch. Grid: ceil(columns / blockDim).
extern "C" __global__ void __launch_bounds__(128)
slot_update(const Model model, const Recipe recipe, const Batch batch, const Work work, const Slots slots, const int writes)
{
    const long long column = blockIdx.x * (long long)blockDim.x + threadIdx.x, rows = rows_to_sum(batch);
    if (column >= slots.columns || rows == 0 || !work.slot_touched[column]) return;  // guard
    const long long slot = slots.slot == nullptr ? column : slots.slot[column];
    const long long all = model.n_fields * (long long)model.n_fields;
    Corrections corrections = {real(1), real(1)};
    if (model.counts.slot != nullptr) corrections = find_corrections(recipe, model.counts.slot[slot] + 1);
    for (int c = 0; c < model.n_classes; ++c) {
        real* sum = work.slot_sums + c * (long long)slots.columns + column;
        const bool finite = update(recipe, model.theta.R, model.first.R, model.second.R, c * all + slot, *sum / (real)rows,
                                   {recipe.l1_factors, recipe.l2_factors}, corrections, writes);
        if (!finite) stop(batch);
        if (writes) *sum = real(0);
    }
    if (!writes) return;
    if (model.counts.slot != nullptr) model.counts.slot[slot] += 1;
    work.slot_touched[column] = 0;
}
