// Data: rows that lay on the device before, looked at and made over (numerics 1). Each runs once, as rows are loaded.
//
// A check leaves the first place, counted over all nonzeros, where something stands; what it finds there before is
// NOWHERE. The smallest of some integers is the same in any order, so each thread lowers it once, by an atomic minimum.

#include "arguments.cuh"

constexpr long long NOWHERE = 0x7fffffffffffffffLL;

__device__ __forceinline__ void lower(long long* first, long long place)
{
    if (place != NOWHERE) atomicMin(first, place);
}

// check_columns: threadIdx.y takes rows, threadIdx.x strides over their columns. first[0]: a column that the matrix does
// not have; first[1]: one that is not above the column before it in its row. Grid: any.
extern "C" __global__ void __launch_bounds__(256)
check_columns(const Rows rows, const long long n_rows, const long long n_features, long long* first)
{
    long long outside = NOWHERE, falling = NOWHERE;
    for (long long b = blockIdx.x * (long long)blockDim.y + threadIdx.y; b < n_rows;
         b += (long long)gridDim.x * blockDim.y) {
        const long long start = rows.indptr[b], end = rows.indptr[b + 1];
        for (long long p = start + threadIdx.x; p < end; p += blockDim.x) {
            const long long column = rows.indices[p];
            if (column < 0 || column >= n_features) outside = min(outside, p);
            if (p > start && column <= (long long)rows.indices[p - 1]) falling = min(falling, p);
        }
    }
    lower(&first[0], outside);
    lower(&first[1], falling);
}

// check_values: one thread takes values all over. first[0]: one that is not finite; first[1]: a zero, also -0;
// first[2]: one that is not 1. Grid: any.
extern "C" __global__ void __launch_bounds__(256)
check_values(const real* values, const long long nnz, long long* first)
{
    long long not_finite = NOWHERE, zero = NOWHERE, not_one = NOWHERE;
    for (long long p = blockIdx.x * (long long)blockDim.x + threadIdx.x; p < nnz;
         p += (long long)gridDim.x * blockDim.x) {
        const real x = values[p];
        if (!is_finite(x)) not_finite = min(not_finite, p);
        if (x == real(0)) zero = min(zero, p);
        if (x != real(1)) not_one = min(not_one, p);
    }
    lower(&first[0], not_finite);
    lower(&first[1], zero);
    lower(&first[2], not_one);
}

// round_values: values to the other type of the two, once (numerics 1); `narrow` or `wide` is null. Grid: any.
extern "C" __global__ void __launch_bounds__(256)
round_values(const real* values, const long long nnz, float* narrow, double* wide)
{
    for (long long p = blockIdx.x * (long long)blockDim.x + threadIdx.x; p < nnz;
         p += (long long)gridDim.x * blockDim.x) {
        if (narrow != nullptr) narrow[p] = (float)values[p];
        if (wide != nullptr) wide[p] = (double)values[p];
    }
}

// The sum of a row's squares, each value divided by a number first.
__device__ __forceinline__ double sum_squares(const Rows& rows, long long start, long long end, double largest)
{
    double sum = 0.0;
#pragma unroll 1
    for (long long p = start; p < end; ++p) {
        const double x = (double)value_at(rows, p) / largest;
        sum = sum + x * x;
    }
    return sum;
}

// normalize_rows: one thread takes rows all over: it adds their squares in order, then divides by their length (numerics 1).
// Grid: any.
extern "C" __global__ void __launch_bounds__(256)
normalize_rows(const Rows rows, const long long n_rows, real* values)
{
#pragma unroll 1
    for (long long b = blockIdx.x * (long long)blockDim.x + threadIdx.x; b < n_rows;
         b += (long long)gridDim.x * blockDim.x) {
        const long long start = rows.indptr[b], end = rows.indptr[b + 1];
        double largest = 1.0, sum = sum_squares(rows, start, end, largest);
        if (start < end && !(sum >= SMALLEST_SUM && is_finite(sum))) {
            largest = 0.0;
#pragma unroll 1
            for (long long p = start; p < end; ++p) largest = fmax(largest, fabs((double)value_at(rows, p)));
            sum = sum_squares(rows, start, end, largest);
        }
        const double length = root(sum);
#pragma unroll 1
        for (long long p = start; p < end; ++p) values[p] = (real)(((double)value_at(rows, p) / largest) / length);
    }
}

// gather_rows: threadIdx.y takes rows of the result, threadIdx.x strides over their nonzeros. Row b is row order[b] and
// begins at starts[b]. Grid: any.
extern "C" __global__ void __launch_bounds__(256)
gather_rows(const Rows rows, const long long* order, const long long n_rows, const long long* starts, index_t* indices,
            real* values)
{
    for (long long b = blockIdx.x * (long long)blockDim.y + threadIdx.y; b < n_rows;
         b += (long long)gridDim.x * blockDim.y) {
        const long long source = rows.indptr[order[b]], start = starts[b], z = starts[b + 1] - start;
        for (long long p = threadIdx.x; p < z; p += blockDim.x) {
            indices[start + p] = rows.indices[source + p];
            if (values != nullptr) values[start + p] = rows.values[source + p];
        }
    }
}
