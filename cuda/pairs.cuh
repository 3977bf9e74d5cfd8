// Pairs of positions of a row, numbered in the contract's order: a ascending, then b > a ascending (numerics 3). Integer is
// int for rows that fit into shared memory, long long for any.

// The number of the pair a < b.
template <typename Integer>
__device__ __forceinline__ Integer pair_number(Integer z, Integer a, Integer b)
{
    return a * z - a * (a + 1) / 2 + b - a - 1;
}

// r(a, b) of fields f and g stands here in flat R (numerics 1), which has at most 2^28 entries.
__device__ __forceinline__ int slot_of(int n_fields, int f, int g) { return f < g ? f * n_fields + g : g * n_fields + f; }

// A lane's walk over the pairs of a row, blockDim.x at a time, without a square root.
template <typename Integer>
struct Walk {
    Integer p;
    Integer a;
    Integer b;
};

template <typename Integer>
__device__ __forceinline__ void settle(Walk<Integer>& walk, Integer z)
{
    while (walk.a < z - 1 && walk.b >= z) {
        walk.b += walk.a + 2 - z;
        ++walk.a;
    }
}

template <typename Integer>
__device__ __forceinline__ Walk<Integer> begin_walk(Integer z)
{
    Walk<Integer> walk = {(Integer)threadIdx.x, 0, (Integer)threadIdx.x + 1};
    settle(walk, z);
    return walk;
}

template <typename Integer>
__device__ __forceinline__ void next(Walk<Integer>& walk, Integer z)
{
    walk.p += (Integer)blockDim.x;
    walk.b += (Integer)blockDim.x;
    settle(walk, z);
}
