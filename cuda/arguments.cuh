// What kernels are given, by value. Python reads these structs from this very text and checks every launch against them.
//
// Axis letters: b row of the batch, i item (nonzero of a row of the batch, in batch order), u touched feature,
// c class, k factor, f field; T is real.

#include "numerics.cuh"

struct Rows {  // canonical CSR rows, resident
    const long long* indptr;    // (rows + 1,)
    const index_t* indices;     // (nnz,)
    const real* values;         // (nnz,), null when every value is 1
    const int* fields;          // (n,)
    const int* field_order;     // (nnz,) positions of each row by (field, position); null unless a row shares a field
    const double* y;            // (rows,)
    const double* weight;       // (rows,), null when every weight is 1
};

struct Arrays {  // parameters, or one array of state for each
    real* w0;  // (C,)
    real* w;   // (C, n)
    real* V;   // (C, n, k)
    real* R;   // (C, F, F)
};

struct Counts {  // batches that touched a coordinate
    long long* bias;     // (1,)
    long long* feature;  // (n,)
    long long* slot;     // (F, F)
};

struct Model {
    Arrays theta;
    Arrays first;   // acc, m or z
    Arrays second;  // v or n
    Counts counts;
    long long n_features;
    int n_factors;
    int n_fields;
    int n_classes;
};

struct Recipe {  // hyper-parameters, rounded to T once on the host
    int loss;
    int rule;
    double label_smoothing;
    real learning_rate;
    real beta_1;
    real beta_2;
    real one_minus_beta_1;
    real one_minus_beta_2;
    real epsilon;
    real ftrl_beta;
    real adagrad_epsilon;
    real gradient_clip;  // 0: none
    real l1_linear;
    real l2_linear;
    real l1_factors;
    real l2_factors;
    const real* first_corrections;   // Adam's 1 - beta_1**t at t
    const real* second_corrections;  // Adam's 1 - beta_2**t at t
    long long first_last;            // last index of each table: a larger t means that entry
    long long second_last;
};

struct Batch {  // which rows a step takes
    const long long* order;  // (visits,) row numbers; null: every row, in order
    long long visits;
    long long before;        // batches of the run that came before these visits
    long long size;          // rows of a batch; the last may be shorter
    long long* cursor;       // (3,): batches done; the first that was not finite, or -1; 1 when the current one is not
    double* loss;            // (1,): of the batches done
};

struct Plan {  // who sums what, in which order: integers only
    long long* starts;         // (size + 1,) first item of each row; entries after the last row hold the number of items
    long long* pair_starts;    // (size + 1,) first pair of each row, likewise; null when no slot is summed
    int* item_row;             // (items,) the row, counted in the batch, of each item
    index_t* feature;          // (items,) sorted, stable
    int* item;                 // (items,) the item at each place of the sorted list
    int* segment_start;        // (touched + 1,) where each touched feature's items start in the sorted list
    index_t* segment_feature;  // (touched,) ascending
    int* hot;                  // (hot,) touched features with many items, in no particular order
    int* sizes;                // (2,): touched, hot
};

struct Work {  // what one batch passes from kernel to kernel
    real* s_bc;         // (size, C) scores
    real* g_bc;         // (size, C) loss gradients
    double* loss_b;     // (size,) weighted losses
    real* gw_ci;        // (C, items)
    real* gV_cik;       // (C, items, k)
    real* pair_cp;      // (C, pairs of a chunk of rows) c(a, b) * d(a, b)
    real* block_slots;  // (C, row blocks of a group, columns) block sums
    real* slot_sums;    // (C, columns) batch sums
    int* slot_touched;  // (columns,)
    real* sum_w_cu;     // (C, touched) batch sums
    real* sum_V_cuk;    // (C, touched, k) batch sums
    real* block_bias;   // (row blocks, C) block sums
    double* block_loss; // (row blocks,)
    real* sum_bias_c;   // (C,) batch sums
    double* sum_loss;   // (1,)
    long long items;    // length of the axis i: as many as any batch has
    long long pairs;    // length of the axis p of pairs
    long long blocks;   // length of the axis of row blocks
};

struct Slots {  // columns of the tables of slots
    const int* slot;  // (columns,) index into flat R: one column per pair of a row, when all rows have the same distinct
                      // fields; null: a column per entry of flat R
    int columns;
};

// The rows of the batch that lies `ahead` batches before the cursor's; none past the end, or once a batch was not finite.
struct Span {
    long long first;
    long long rows;
};

__device__ __forceinline__ Span find_span(const Batch& batch, int ahead)
{
    const long long first = (batch.cursor[0] + ahead - batch.before) * batch.size;
    const long long left = batch.visits - first;
    const bool none = batch.cursor[1] >= 0 || left <= 0;
    return {first, none ? 0 : (left < batch.size ? left : batch.size)};
}

// How many rows the coordinate stage takes: none when one of them was not finite. The row stage itself must not look at
// that mark: it is set while its blocks run, and the threads of a block would part.
__device__ __forceinline__ long long rows_to_sum(const Batch& batch)
{
    return batch.cursor[2] ? 0 : find_span(batch, 0).rows;
}

__device__ __forceinline__ long long row_number(const Batch& batch, const Span& span, long long b)
{
    return batch.order == nullptr ? span.first + b : batch.order[span.first + b];
}

// Mark the current batch as not finite. Threads that do so at the same time write the same number.
__device__ __forceinline__ void stop(const Batch& batch) { batch.cursor[2] = 1; }

__device__ __forceinline__ real value_at(const Rows& rows, long long p)
{
    return rows.values == nullptr ? real(1) : rows.values[p];
}
