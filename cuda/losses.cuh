// The three losses: gradient in float64 from the score (numerics 4), value for reports. The twin is fwfm_gpu/losses.py.
//
// Conventions: s, the scores of one row as float64; y, its target, a class number for softmax; eps, label smoothing.

#include "numerics.cuh"

enum { LOGISTIC = 0, SQUARED = 1, SOFTMAX = 2 };  // the order of losses.LOSSES

__device__ __forceinline__ double smoothed(double y, double eps) { return y * (1.0 - eps) + 0.5 * eps; }

__device__ __forceinline__ double squared_gradient(double s, double y) { return s - y; }
__device__ __forceinline__ double squared_value(double s, double y) { return (s - y) * (s - y) / 2.0; }

__device__ __forceinline__ double logistic_gradient(double s, double y, double eps)
{
    return sigmoid64(s) - smoothed(y, eps);
}

__device__ __forceinline__ double logistic_value(double s, double y, double eps)
{
    return fmax(s, 0.0) + log1p64(exp64(-fmin(fabs(s), EXP_LIMIT))) - smoothed(y, eps) * s;
}

__device__ __forceinline__ double softmax_target(int c, double y, double eps, int n_classes)
{
    return c == (int)y ? 1.0 - eps : eps / (n_classes - 1);
}

// top = max_c s_c and total = sum of e_c over c ascending.
struct Softmax {
    double top;
    double total;
};

__device__ __forceinline__ double softmax_term(double s, double top) { return exp64(fmax(s - top, -EXP_LIMIT)); }

__device__ __forceinline__ Softmax softmax_sums(const real* s_c, int n_classes)
{
    Softmax sums = {s_c[0], 0.0};
    for (int c = 1; c < n_classes; ++c) sums.top = fmax(sums.top, (double)s_c[c]);
    for (int c = 0; c < n_classes; ++c) sums.total = sums.total + softmax_term(s_c[c], sums.top);
    return sums;
}

__device__ __forceinline__ double softmax_gradient(Softmax sums, double s, double target)
{
    return softmax_term(s, sums.top) / sums.total - target;
}

// log(sum_c exp(s_c)) - sum_c target_c * s_c.
__device__ __forceinline__ double softmax_value(Softmax sums, const real* s_c, double y, double eps, int n_classes)
{
    double value = sums.top + log64(sums.total);
    for (int c = 0; c < n_classes; ++c) value -= softmax_target(c, y, eps, n_classes) * s_c[c];
    return value;
}
