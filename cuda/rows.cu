// Rows: scores, loss gradients and row gradients (numerics 3 to 5), from the parameters frozen at the start of the batch.
//
// One thread block owns one row and one class. A row of up to `most` nonzeros keeps its factors and its table of pairs
// in shared memory; a longer one reads factors through the caches and works through its pairs in tiles. Dots are shared
// out over the lanes; the score is summed by one lane, in the contract's order; each gradient of a factor has one lane.

#include "rows.cuh"
#include "long_rows.cuh"

// Blocks of rows that one multiprocessor shall hold: with a bound, the compiler uses the registers that this leaves.
constexpr int RESIDENT = sizeof(real) == 4 ? 7 : 4;

__device__ __forceinline__ int up_to_four(int count) { return (count + 3) / 4 * 4; }

// Entries from one row of factors in shared memory to the next: whole Fours, an odd number of them, so that the lanes
// that read neighbouring rows meet different banks.
__device__ __forceinline__ int factor_stride(int k) { return (up_to_four(k) / 4 | 1) * 4; }

// ---------------------------------------------------------------------------------------------- rows that fit

// A row's tables in shared memory. Python's cuda_memory.row_bytes counts the same.
struct Table {
    real* V;         // (z, stride)
    real* term;      // linear terms, then pair terms; later q as a symmetric table (z, zq) with 0 at a = b
    real* d;         // (pairs,) <v_a, v_b>
    real* x;         // (zq,)
    real* g;         // (4,): g at 0
    int* field;      // (zq,)
    int zq;          // z, up to whole Fours
    int stride;
};

__device__ __forceinline__ Table lay_table(unsigned char* memory, int z, int k)
{
    Table table;
    const int zq = up_to_four(z), pairs = up_to_four(k > 0 ? z * (z - 1) / 2 : 0);
    const int square = k > 0 ? z * zq : 0;
    table.zq = zq;
    table.stride = factor_stride(k);
    table.V = (real*)memory;
    table.term = table.V + (k > 0 ? z * table.stride : 0);
    table.d = table.term + (zq + pairs > square ? zq + pairs : square);
    table.x = table.d + pairs;
    table.g = table.x + zq;
    table.field = (int*)(table.g + 4);
    return table;
}

// Fetch the row: features, fields, values, linear terms, factors.
__device__ __forceinline__ void gather(const Rows& rows, const Model& model, const Theta& theta, const Row& row, int k,
                                       const Table& table)
{
    const int z = (int)row.z, lane = threadIdx.x, lanes = blockDim.x;
    for (int p = lane; p < z; p += lanes) {
        const index_t feature = rows.indices[row.start + p];
        const real x = value_at(rows, row.start + p);
        table.field[p] = rows.fields[feature];
        table.x[p] = x;
        table.term[p] = theta.w[feature] * x;
    }
    if (FWFM_K > 0 && FWFM_K % 4 == 0) {  // rows of V are aligned: whole Fours
        constexpr int fours = FWFM_K > 0 ? (FWFM_K + 3) / 4 : 1;
        for (int e = lane; e < z * fours; e += lanes) {
            const int p = e / fours, t = e % fours * 4;
            const real* v = theta.V + (long long)rows.indices[row.start + p] * k + t;
            *(Four*)(table.V + p * table.stride + t) = *(const Four*)v;
        }
    } else if (k > 0) {
        for (int e = lane; e < z * k; e += lanes) {
            const int p = e / k, t = e % k;
            table.V[p * table.stride + t] = theta.V[(long long)rows.indices[row.start + p] * k + t];
        }
    }
}

// d(a, b), factors ascending (numerics 3). Both rows lie in shared memory, aligned to Fours.
__device__ __forceinline__ void advance_dots(const real* u, const real* u2, const real* v, const real* v2, int t, real* d)
{
    const Four a = *(const Four*)(u + t), a2 = *(const Four*)(u2 + t);
    const Four b = *(const Four*)(v + t), b2 = *(const Four*)(v2 + t);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        d[0] = d[0] + a.x[i] * b.x[i];
        d[1] = d[1] + a.x[i] * b2.x[i];
        d[2] = d[2] + a2.x[i] * b.x[i];
        d[3] = d[3] + a2.x[i] * b2.x[i];
    }
}

// One pair's d and score term, into the tables.
template <bool keeps_d>
__device__ __forceinline__ void put_pair(const Theta& theta, const Table& table, int z, int n_fields, int i, int j, real d)
{
    if (i >= z || j >= z) return;
    const int a = i < j ? i : j, b = i < j ? j : i, p = pair_number(z, a, b);
    const real r = theta.R[slot_of(n_fields, table.field[a], table.field[b])];
    table.term[table.zq + p] = ((r * d) * table.x[a]) * table.x[b];
    if (keeps_d) table.d[p] = d;
}

// All dots of the row. With h = ceil(z / 2), a lane takes positions u <= v < h and the four pairs of {u, u + h} with
// {v, v + h} (the one pair u, u + h where u = v): each factor that it loads serves two pairs, and neighbouring lanes read
// neighbouring rows.
template <bool keeps_d>
__device__ __forceinline__ void dot_pairs(const Theta& theta, const Table& table, int z, int k, int n_fields)
{
    const int h = (z + 1) / 2, last = z - 1;
    int u = 0, v = threadIdx.x;
    for (;;) {
        while (u < h && v >= h) v += ++u - h;  // past the end of u's run: the next begins at u itself
        if (u >= h) return;
        const int u2 = u + h <= last ? u + h : last, v2 = v + h <= last ? v + h : last;
        const real* V = table.V;
        const real *row_u = V + u * table.stride, *row_u2 = V + u2 * table.stride;
        const real *row_v = V + v * table.stride, *row_v2 = V + v2 * table.stride;
        real d[4] = {0, 0, 0, 0};
        int t = 0;
#pragma unroll 4
        for (; t + 4 <= k; t += 4) advance_dots(row_u, row_u2, row_v, row_v2, t, d);
        for (; t < k; ++t) {
            d[0] = d[0] + row_u[t] * row_v[t];
            d[1] = d[1] + row_u[t] * row_v2[t];
            d[2] = d[2] + row_u2[t] * row_v[t];
            d[3] = d[3] + row_u2[t] * row_v2[t];
        }
        if (u == v) {
            put_pair<keeps_d>(theta, table, z, n_fields, u, u + h, d[1]);
        } else {
            put_pair<keeps_d>(theta, table, z, n_fields, u, v, d[0]);
            put_pair<keeps_d>(theta, table, z, n_fields, u, v + h, d[1]);
            put_pair<keeps_d>(theta, table, z, n_fields, u + h, v, d[2]);
            put_pair<keeps_d>(theta, table, z, n_fields, u + h, v + h, d[3]);
        }
        v += blockDim.x;
    }
}

// score_rows: a block owns row lo + blockIdx.x of the batch and class blockIdx.y, if it has at most `most` nonzeros.
extern "C" __global__ void __launch_bounds__(128, RESIDENT)
score_rows(const Rows rows, const Model model, const Batch batch, const Work work, const long long lo, const int most)
{
    FWFM_SHARED(memory);
    const Span span = find_span(batch, 0);
    if (lo + blockIdx.x >= span.rows) return;  // guard
    const Row row = find_row(rows, batch, span, lo + blockIdx.x);
    if (row.z > most) return;  // long_score_rows owns it
    const int z = (int)row.z, k = factors_of(model);
    const Theta theta = theta_of(model, row.c);
    const Table table = lay_table(memory, z, k);
    gather(rows, model, theta, row, k, table);
    __syncthreads();
    if (k > 0) dot_pairs<false>(theta, table, z, k, model.n_fields);
    __syncthreads();
    if (threadIdx.x > 0) return;
    real s = add_in_order(theta.w0, table.term, z);
    if (k > 0) s = add_in_order(s, table.term + table.zq, z * (z - 1) / 2);
    keep_score(model, batch, work, row, s);
}

// c(a, b) * d(a, b) of each pair, out to memory, and q as a symmetric table that is 0 at a = b (numerics 5).
__device__ __forceinline__ void put_q(const Theta& theta, const Table& table, int z, int n_fields, real g, real* pair_p)
{
    real* q = table.term;  // the terms have been summed
    for (int i = threadIdx.x; i < z; i += blockDim.x) {
        q[i * table.zq + i] = real(0);
        for (int j = z; j < table.zq; ++j) q[i * table.zq + j] = real(0);
    }
    for (Walk<int> walk = begin_walk(z); walk.p < z * (z - 1) / 2; next(walk, z)) {
        const int a = walk.a, b = walk.b;
        const real c = (g * table.x[a]) * table.x[b];
        const real value = c * theta.R[slot_of(n_fields, table.field[a], table.field[b])];
        q[a * table.zq + b] = value;
        q[b * table.zq + a] = value;
        if (pair_p != nullptr) pair_p[walk.p] = c * table.d[walk.p];
    }
}

// gV: a lane owns one factor t of four positions and walks b upwards. Where b = a, q is 0 and adds nothing to a sum that
// began at +0 (numerics 5).
__device__ __forceinline__ void sum_factors(const Table& table, int z, int k, real* gV_ik)
{
    const real* q = table.term;
    for (int e = threadIdx.x; e < table.zq / 4 * k; e += blockDim.x) {
        const int a = e / k * 4, t = e % k;
        real gV[4] = {0, 0, 0, 0};
#pragma unroll 4
        for (int b = 0; b < z; ++b) {
            const Four four = *(const Four*)(q + b * table.zq + a);
            const real v = table.V[b * table.stride + t];
#pragma unroll
            for (int i = 0; i < 4; ++i) gV[i] = gV[i] + four.x[i] * v;
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (a + i < z) gV_ik[(long long)(a + i) * k + t] = gV[i];
        }
    }
}

// row_gradients: a block owns row lo + blockIdx.x of the batch and class blockIdx.y, if it has at most `most` nonzeros. One
// class is scored here; with more, scores and g are there already, since g needs them all.
extern "C" __global__ void __launch_bounds__(128, RESIDENT)
row_gradients(const Rows rows, const Model model, const Recipe recipe, const Batch batch, const Plan plan,
              const Work work, const long long lo, const int most)
{
    FWFM_SHARED(memory);
    const Span span = find_span(batch, 0);
    if (lo + blockIdx.x >= span.rows) return;  // guard
    const Row row = find_row(rows, batch, span, lo + blockIdx.x);
    if (row.z > most) return;  // long_row_gradients owns it
    const int z = (int)row.z, k = factors_of(model);
    const Theta theta = theta_of(model, row.c);
    const Table table = lay_table(memory, z, k);
    gather(rows, model, theta, row, k, table);
    __syncthreads();
    if (k > 0) dot_pairs<true>(theta, table, z, k, model.n_fields);
    __syncthreads();
    if (threadIdx.x == 0) {
        if (model.n_classes == 1) {
            real s = add_in_order(theta.w0, table.term, z);
            if (k > 0) s = add_in_order(s, table.term + table.zq, z * (z - 1) / 2);
            keep_score(model, batch, work, row, s);
            table.g[0] = one_class_gradient(rows, recipe, work, row, s);
        } else {
            table.g[0] = work.g_bc[row.b * model.n_classes + row.c];
        }
    }
    __syncthreads();
    const real g = table.g[0];
    const long long item = row.c * work.items + plan.starts[row.b];
    for (int p = threadIdx.x; p < z; p += blockDim.x) work.gw_ci[item + p] = g * table.x[p];
    if (k == 0) return;
    put_q(theta, table, z, model.n_fields, g, pairs_of(plan, work, row, lo));
    __syncthreads();
    sum_factors(table, z, k, work.gV_cik + item * k);
}

// ---------------------------------------------------------------------------------------------- several classes

// class_gradients: one thread owns one row: g of every class from all its scores (numerics 4). Grid: ceil(size / blockDim).
extern "C" __global__ void __launch_bounds__(128)
class_gradients(const Rows rows, const Model model, const Recipe recipe, const Batch batch, const Work work)
{
    const Span span = find_span(batch, 0);
    const long long b = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (b >= span.rows) return;  // guard
    const long long number = row_number(batch, span, b);
    const int n_classes = model.n_classes;
    const double y = rows.y[number], weight = rows.weight == nullptr ? 1.0 : rows.weight[number];
    const double eps = recipe.label_smoothing;
    const real* s_c = work.s_bc + b * n_classes;
    const Softmax sums = softmax_sums(s_c, n_classes);
    for (int c = 0; c < n_classes; ++c) {
        const double gradient = softmax_gradient(sums, s_c[c], softmax_target(c, y, eps, n_classes));
        work.g_bc[b * n_classes + c] = (real)(weight * gradient);
    }
    work.loss_b[b] = weight * softmax_value(sums, s_c, y, eps, n_classes);
}
