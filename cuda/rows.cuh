// What rows share, whether they fit into shared memory or not: where a row lies, its class's parameters, its score.

#include "arguments.cuh"
#include "losses.cuh"
#include "pairs.cuh"

struct __align__(16) Four {
    real x[4];
};

// A row and its place.
struct Row {
    long long b;       // in the batch
    long long number;  // in the data
    long long start;   // first nonzero
    long long z;
    int c;             // class
};

__device__ __forceinline__ Row find_row(const Rows& rows, const Batch& batch, const Span& span, long long b)
{
    const long long number = row_number(batch, span, b), start = rows.indptr[number];
    return {b, number, start, rows.indptr[number + 1] - start, (int)blockIdx.y};
}

// One class's parameters.
struct Theta {
    real w0;
    const real* w;  // (n,)
    const real* V;  // (n, k)
    const real* R;  // (F, F)
};

__device__ __forceinline__ Theta theta_of(const Model& model, int c)
{
    const long long n = model.n_features, F = model.n_fields;
    return {model.theta.w0[c], model.theta.w + c * n, model.theta.V + c * n * model.n_factors, model.theta.R + c * F * F};
}

__device__ __forceinline__ int factors_of(const Model& model) { return FWFM_K >= 0 ? FWFM_K : model.n_factors; }

// What one lane does once the score of a row and class is known: keep it, and see that it is finite.
__device__ __forceinline__ void keep_score(const Model& model, const Batch& batch, const Work& work, const Row& row, real s)
{
    work.s_bc[row.b * model.n_classes + row.c] = s;
    if (!is_finite(s)) stop(batch);
}

// g of a row with one class: float64 from the score, times the weight, rounded to T once (numerics 4).
__device__ __forceinline__ real one_class_gradient(const Rows& rows, const Recipe& recipe, const Work& work, const Row& row,
                                                   real score)
{
    const double s = score, y = rows.y[row.number], eps = recipe.label_smoothing;
    const double weight = rows.weight == nullptr ? 1.0 : rows.weight[row.number];
    const bool squared = recipe.loss == SQUARED;
    const double gradient = squared ? squared_gradient(s, y) : logistic_gradient(s, y, eps);
    work.loss_b[row.b] = weight * (squared ? squared_value(s, y) : logistic_value(s, y, eps));
    return work.g_bc[row.b] = (real)(weight * gradient);
}

// s + term[0] + term[1] + ..., left to right. The terms begin at a Four.
__device__ __forceinline__ real add_in_order(real s, const real* term, int count)
{
    int p = 0;
    for (; p + 4 <= count; p += 4) {
        const Four four = *(const Four*)(term + p);
        s = s + four.x[0];
        s = s + four.x[1];
        s = s + four.x[2];
        s = s + four.x[3];
    }
    for (; p < count; ++p) s = s + term[p];
    return s;
}

// Where a row's pairs begin in the list of a chunk that starts at row lo; null when no slot is summed.
__device__ __forceinline__ real* pairs_of(const Plan& plan, const Work& work, const Row& row, long long lo)
{
    if (plan.pair_starts == nullptr) return nullptr;
    return work.pair_cp + row.c * work.pairs + (plan.pair_starts[row.b] - plan.pair_starts[lo]);
}
