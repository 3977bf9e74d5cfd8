// Types, and what every engine shares to the bit: the row-block length, exp, sigmoid (numerics 2, 4 and 6).
// The Python twin is fwfm_gpu/numerics.py: same names, same order of operations.
//
// Compiled with --fmad=false --ftz=false --prec-div=true --prec-sqrt=true: each operation below is one rounding.
// An unsuffixed literal is a double: products of T never meet one.

typedef long long long_long;
typedef FWFM_REAL real;      // T, the dtype of parameters, state, row gradients and batch sums
typedef FWFM_INDEX index_t;  // of features: int, or long long beyond 2^31 - 1 of them

#ifndef FWFM_SHARED  // all shared memory is dynamic: a block has as much as its launch asked for
#define FWFM_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

constexpr int ROW_BLOCK = 64;  // rows per block of the batch sum (numerics 6)
constexpr double SMALLEST_SUM = 1e-270;  // of a row's squares: below it, or at infinity, it is divided by its largest value

constexpr double LOG2_E = 1.4426950408889634;
constexpr double LN2_HIGH = 6.93147180369123816490e-01;
constexpr double LN2_LOW = 1.90821492927058770002e-10;
constexpr double EXP_LIMIT = 700.0;

// 1/j!, rounded once: the literals are the float64 nearest to each.
__device__ constexpr double TAYLOR[14] = {
    1.0, 1.0, 1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0, 1.0 / 40320.0, 1.0 / 362880.0,
    1.0 / 3628800.0, 1.0 / 39916800.0, 1.0 / 479001600.0, 1.0 / 6227020800.0};

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

// Neither infinite nor NaN.
template <typename Number>
__device__ __forceinline__ bool is_finite(Number x) { return x - x == Number(0); }

// exp(x) for -700 <= x <= 700, within 1.2 ulp (numerics 4).
__device__ __forceinline__ double exp64(double x)
{
    const double n = rint(x * LOG2_E);
    const double r = (x - n * LN2_HIGH) - n * LN2_LOW;
    double p = TAYLOR[13];
#pragma unroll
    for (int j = 12; j >= 0; --j) p = p * r + TAYLOR[j];
    return p * __longlong_as_double(((long long)n + 1023) << 52);  // a power of two: exact
}

// 1 / (1 + exp(-s)) in float64 (numerics 4).
__device__ __forceinline__ double sigmoid64(double s)
{
    const double e = exp64(-fmin(fabs(s), EXP_LIMIT));
    return s >= 0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
}

// log(1 + e) for 0 <= e <= 1, as 2 atanh(e / (2 + e)). For reported losses alone: it steers nothing (numerics 4). The
// library's own log fuses multiplications with additions, which nothing in this folder does.
__device__ __forceinline__ double log1p64(double e)
{
    const double f = e / (2.0 + e), f2 = f * f;
    double series = 0.0;
    for (int j = 35; j >= 1; j -= 2) series = series * f2 + 1.0 / j;
    return 2.0 * f * series;
}

// log(x) for x >= 1, for reported losses alone.
__device__ __forceinline__ double log64(double x)
{
    double halvings = 0.0;
    for (; x > 2.0; x = x * 0.5) halvings += 1.0;
    return halvings * 0.6931471805599453 + log1p64(x - 1.0);
}
