// The four update rules, each a small pure function of one touched coordinate (numerics 7). The twin is
// fwfm_gpu/optimizers.py.

#include "arguments.cuh"

enum { SGD = 0, ADAGRAD = 1, ADAM = 2, FTRL = 3 };  // the order of optimizers.RULES

struct Coordinate {
    real theta;
    real first;   // acc, m or z
    real second;  // v or n
};

struct Penalty {
    real l1;
    real l2;
};

struct Corrections {  // Adam's 1 - beta_1**t and 1 - beta_2**t
    real first;
    real second;
};

__device__ __forceinline__ Coordinate sgd_step(const Recipe& h, Coordinate at, real mean, Penalty penalty)
{
    const real g = mean + penalty.l2 * at.theta;
    at.theta = at.theta - h.learning_rate * g;
    return at;
}

__device__ __forceinline__ Coordinate adagrad_step(const Recipe& h, Coordinate at, real mean, Penalty penalty)
{
    const real g = mean + penalty.l2 * at.theta;
    at.first = at.first + g * g;
    at.theta = at.theta - (h.learning_rate * g) / root(at.first + h.adagrad_epsilon);
    return at;
}

__device__ __forceinline__ Coordinate adam_step(
    const Recipe& h, Coordinate at, real mean, Penalty penalty, Corrections corrections)
{
    const real g = mean + penalty.l2 * at.theta;
    at.first = h.beta_1 * at.first + h.one_minus_beta_1 * g;
    at.second = h.beta_2 * at.second + (h.one_minus_beta_2 * g) * g;
    const real step = h.learning_rate * (at.first / corrections.first);
    at.theta = at.theta - step / (root(at.second / corrections.second) + h.epsilon);
    return at;
}

__device__ __forceinline__ Coordinate ftrl_step(const Recipe& h, Coordinate at, real mean, Penalty penalty)
{
    const real g = mean, n = at.second;
    const real grown = n + g * g;
    const real z = at.first + (g - ((root(grown) - root(n)) / h.learning_rate) * at.theta);
    const real sign = z < real(0) ? real(-1) : real(1);
    const real scale = (h.ftrl_beta + root(grown)) / h.learning_rate + penalty.l2;
    const bool small = (z < real(0) ? -z : z) <= penalty.l1;
    return {small ? real(0) : -(z - sign * penalty.l1) / scale, z, grown};
}

__device__ __forceinline__ Coordinate step(
    const Recipe& h, Coordinate at, real mean, Penalty penalty, Corrections corrections)
{
    switch (h.rule) {
    case SGD: return sgd_step(h, at, mean, penalty);
    case ADAGRAD: return adagrad_step(h, at, mean, penalty);
    case ADAM: return adam_step(h, at, mean, penalty, corrections);
    default: return ftrl_step(h, at, mean, penalty);
    }
}

// A mean gradient held between -bound and bound, where there is one; one that is not finite stays so, and is found.
__device__ __forceinline__ real clip(real mean, real bound)
{
    if (bound == real(0) || !is_finite(mean)) return mean;
    return mean < -bound ? -bound : (mean > bound ? bound : mean);
}

// Adam's corrections for the count after this step.
__device__ __forceinline__ Corrections find_corrections(const Recipe& h, long long t)
{
    if (h.rule != ADAM) return {real(1), real(1)};
    return {h.first_corrections[t < h.first_last ? t : h.first_last],
            h.second_corrections[t < h.second_last ? t : h.second_last]};
}

// One step of the coordinate at `place` of one group of parameters: looked at, or written. False when it is not finite.
__device__ __forceinline__ bool update(const Recipe& h, real* theta, real* first, real* second, long long place,
                                       real mean, Penalty penalty, Corrections corrections, bool writes)
{
    Coordinate at = {theta[place], first == nullptr ? real(0) : first[place], second == nullptr ? real(0) : second[place]};
    at = step(h, at, clip(mean, h.gradient_clip), penalty, corrections);
    if (writes) {
        theta[place] = at.theta;
        if (first != nullptr) first[place] = at.first;
        if (second != nullptr) second[place] = at.second;
    }
    return is_finite(at.theta);
}
