// Rows that do not fit into shared memory: factors are read through the caches, pairs worked through in tiles.

#include "rows.cuh"

constexpr int TILE = 1024;    // terms, or entries of q, that a long row keeps at once
constexpr int LONG_ROWS = 16; // positions of a long row whose gradients advance together
constexpr int LONG_COLUMNS = TILE / LONG_ROWS;

// A position of a long row.
struct Item {
    const real* v;  // (k,)
    real x;
    int field;
};

__device__ __forceinline__ Item item_at(const Rows& rows, const Theta& theta, const Row& row, int k, long long p)
{
    const long long feature = rows.indices[row.start + p];
    return {theta.V + feature * k, value_at(rows, row.start + p), rows.fields[feature]};
}

// The score of a long row, on lane 0; d of each pair goes to pair_p, if that is there. The running score is carried from
// tile to tile.
__device__ __forceinline__ real long_score(const Rows& rows, const Model& model, const Theta& theta, const Row& row, int k,
                                           real* tile, real* pair_p)
{
    const long long z = row.z, pairs = k > 0 ? z * (z - 1) / 2 : 0;
    real s = theta.w0;
    for (long long lo = 0; lo < z; lo += TILE) {
        const int count = (int)(z - lo < TILE ? z - lo : TILE);
        for (int p = threadIdx.x; p < count; p += blockDim.x)
            tile[p] = theta.w[rows.indices[row.start + lo + p]] * value_at(rows, row.start + lo + p);
        __syncthreads();
        if (threadIdx.x == 0) s = add_in_order(s, tile, count);
        __syncthreads();
    }
    Walk<long long> walk = begin_walk(z);
    for (long long lo = 0; lo < pairs; lo += TILE) {
        const int count = (int)(pairs - lo < TILE ? pairs - lo : TILE);
        for (; walk.p < lo + count; next(walk, z)) {
            const Item a = item_at(rows, theta, row, k, walk.a), b = item_at(rows, theta, row, k, walk.b);
            real d = 0;
            for (int t = 0; t < k; ++t) d = d + a.v[t] * b.v[t];
            const real r = theta.R[slot_of(model.n_fields, a.field, b.field)];
            tile[walk.p - lo] = ((r * d) * a.x) * b.x;
            if (pair_p != nullptr) pair_p[walk.p] = d;
        }
        __syncthreads();
        if (threadIdx.x == 0) s = add_in_order(s, tile, count);
        __syncthreads();
    }
    return s;
}

// long_score_rows: as score_rows, for rows of more than `most` nonzeros.
extern "C" __global__ void __launch_bounds__(256, 1)
long_score_rows(const Rows rows, const Model model, const Batch batch, const Work work, const long long lo, const int most)
{
    FWFM_SHARED(memory);
    const Span span = find_span(batch, 0);
    if (lo + blockIdx.x >= span.rows) return;  // guard
    const Row row = find_row(rows, batch, span, lo + blockIdx.x);
    if (row.z <= most) return;  // score_rows owns it
    const Theta theta = theta_of(model, row.c);
    const real s = long_score(rows, model, theta, row, factors_of(model), (real*)memory, nullptr);
    if (threadIdx.x == 0) keep_score(model, batch, work, row, s);
}

// q(a, b) of a long row, 0 at a = b and outside the row.
__device__ __forceinline__ real q_at(const Rows& rows, const Model& model, const Theta& theta, const Row& row, real g,
                                     long long i, long long j)
{
    if (i == j || i >= row.z || j >= row.z) return real(0);
    const Item a = item_at(rows, theta, row, 0, i < j ? i : j), b = item_at(rows, theta, row, 0, i < j ? j : i);
    return ((g * a.x) * b.x) * theta.R[slot_of(model.n_fields, a.field, b.field)];
}

// gV of a long row: a few positions a advance together through b ascending, q in tiles (numerics 5).
__device__ __forceinline__ void sum_long_factors(const Rows& rows, const Model& model, const Theta& theta, const Row& row,
                                                 int k, real g, real* q, real* gV_ik)
{
    const int lane = threadIdx.x, lanes = blockDim.x;
    const int together = lanes / k < 1 ? 1 : (lanes / k < LONG_ROWS ? lanes / k : LONG_ROWS);
    for (long long first = 0; first < row.z; first += together) {
        for (int t0 = 0; t0 < k; t0 += lanes) {
            const long long a = first + lane / k;
            const int t = together > 1 ? lane % k : t0 + lane;
            const bool owns = (together > 1 ? lane / k < together : t < k) && a < row.z;
            real sum = 0;
            for (long long lo = 0; lo < row.z; lo += LONG_COLUMNS) {
                for (int e = lane; e < together * LONG_COLUMNS; e += lanes)
                    q[e] = q_at(rows, model, theta, row, g, first + e / LONG_COLUMNS, lo + e % LONG_COLUMNS);
                __syncthreads();
                for (int j = 0; owns && j < LONG_COLUMNS && lo + j < row.z; ++j)
                    sum = sum + q[(a - first) * LONG_COLUMNS + j] * item_at(rows, theta, row, k, lo + j).v[t];
                __syncthreads();
            }
            if (owns) gV_ik[a * k + t] = sum;
        }
    }
}

// long_row_gradients: as row_gradients, for rows of more than `most` nonzeros. Their d, then c * d, are kept in the list of
// pairs.
extern "C" __global__ void __launch_bounds__(256, 1)
long_row_gradients(const Rows rows, const Model model, const Recipe recipe, const Batch batch, const Plan plan,
                   const Work work, const long long lo, const int most)
{
    FWFM_SHARED(memory);
    real *tile = (real*)memory, *shared_g = tile + TILE;
    const Span span = find_span(batch, 0);
    if (lo + blockIdx.x >= span.rows) return;  // guard
    const Row row = find_row(rows, batch, span, lo + blockIdx.x);
    if (row.z <= most) return;  // row_gradients owns it
    const int k = factors_of(model);
    const long long z = row.z;
    const Theta theta = theta_of(model, row.c);
    real* pair_p = pairs_of(plan, work, row, lo);
    if (model.n_classes == 1 || pair_p != nullptr) {
        const real s = long_score(rows, model, theta, row, k, tile, pair_p);
        if (threadIdx.x == 0 && model.n_classes == 1) {
            keep_score(model, batch, work, row, s);
            one_class_gradient(rows, recipe, work, row, s);
        }
    }
    if (threadIdx.x == 0) shared_g[0] = work.g_bc[row.b * model.n_classes + row.c];
    __syncthreads();
    const real g = shared_g[0];
    const long long item = row.c * work.items + plan.starts[row.b];
    for (long long p = threadIdx.x; p < z; p += blockDim.x) work.gw_ci[item + p] = g * value_at(rows, row.start + p);
    if (k == 0) return;
    if (pair_p != nullptr) {
        for (Walk<long long> walk = begin_walk(z); walk.p < z * (z - 1) / 2; next(walk, z)) {
            const real c = (g * value_at(rows, row.start + walk.a)) * value_at(rows, row.start + walk.b);
            pair_p[walk.p] = c * pair_p[walk.p];
        }
    }
    sum_long_factors(rows, model, theta, row, k, g, tile, work.gV_cik + item * k);
}
