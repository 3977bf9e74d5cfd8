"""Rows, compiled: scores and row gradients (numerics 3 and 5) of rows that go side by side. Lanes are rows.

Every sum of the contract is a chain of additions inside a lane, in the contract's order; no register is added across.
The tables of a group of rows, z its longest row::

    G   [position, factor, lane]     factors of each row's features
    D   [pair, lane]                 d(a, b), then c(a, b) * d(a, b)
    r   [pair, lane]                 r(a, b)
    Q   [position, position, lane]   q(a, b), symmetric, 0 at a = b

Behind a row's end nothing is added to its score; its q and c * d are 0 there, which changes no sum that began at +0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fwfm_gpu.backends.lanes import LANES, gather, inlined, load, prefetch, read_columns, splat, store, write_columns
from fwfm_gpu.numerics import choose
from fwfm_gpu.parameters import Array

__all__ = ["Group", "K", "Rows", "Theta", "factors_in_table", "fetch_ahead", "gather_parameters", "lay_out"]
__all__ += ["look_up_fields", "look_up_r", "pair_gradients", "pair_start", "position_gradients", "score_rows"]


# Bound when compiled.
K = 0  # factors; 0: as many as V has
KEEPS = True  # whether d of all pairs is kept, for gradients
SHARES_R = False  # whether r of a pair is the same for all rows, and looked up once for all

TOGETHER = 4  # positions whose gradients are made together


class Theta(NamedTuple):
    """Parameters of all classes."""

    w0: Array  # (C,)
    w: Array  # (C, n)
    V: Array  # (C * n * k,)
    R: Array  # (C * F * F,)
    n_factors: int
    n_fields: int


class Rows(NamedTuple):
    """Canonical CSR, and what belongs to each row."""

    indptr: Array  # (rows + 1,) int64
    indices: Array  # (nnz,) int32 or int64
    values: Array  # (nnz,) T, or (1,) with step 0: all the same
    fields: Array  # (n,) int32
    y: Array  # (rows,) float64
    weight: Array  # (rows,) float64, or (0,): all 1
    step: int  # from a value to the next


class Group(NamedTuple):
    """Tables of the rows that go side by side; each thread has its own."""

    length: Array  # (LANES,) int64, 0 where there is no row
    feature: Array  # (z, LANES) int64, 0 behind a row's end
    place: Array  # (z, LANES) int64: where the feature's factors start in V
    target: Array  # (z, LANES) int64: where the gradients of the item start, -1 behind a row's end
    field: Array  # (z, LANES) int64
    x: Array  # (z, LANES) T, 0 behind a row's end
    w: Array  # (z, LANES) T
    y: Array  # (LANES,) float64
    weight: Array  # (LANES,) float64, 0 where there is no row
    e: Array  # (C, LANES) float64
    s: Array  # (C, LANES) T
    g: Array  # (C, LANES) T
    G: Array  # (z * k * LANES,) T, k rounded up to a multiple of 4 with zeros
    gV: Array  # (TOGETHER * k * LANES,) T
    D: Array  # (pairs, LANES) T
    r: Array  # (pairs, LANES) T
    Q: Array  # (TOGETHER + z, 1 + z, LANES) T


def lay_out(rows: Rows, row_numbers: Array, first: int, count: int, group: Group) -> tuple[int, int]:
    """Put ``count`` rows side by side, from ``row_numbers[first]`` on. Returns the shortest and the longest length."""
    shortest, longest = 1 << 60, 0
    for lane in range(LANES):
        length = 0
        if lane < count:
            row = row_numbers[first + lane]
            length = rows.indptr[row + 1] - rows.indptr[row]
        group.length[lane] = length
        shortest, longest = min(shortest, length), max(longest, length)
    for lane in range(LANES):
        length = group.length[lane]
        start = rows.indptr[row_numbers[first + lane]] if length else 0
        for p in range(length):
            group.feature[p, lane] = rows.indices[start + p]
            group.x[p, lane] = rows.values[(start + p) * rows.step]
        for p in range(length, longest):
            group.feature[p, lane] = 0
            group.x[p, lane] = 0
    return shortest, longest


def fetch_ahead(rows: Rows, theta: Theta, row_numbers: Array, first: int, count: int) -> None:
    """Say which parameters will be gathered for the next rows."""
    k = K if K else theta.n_factors
    for i in range(first, first + count):
        row = row_numbers[i]
        for p in range(rows.indptr[row], rows.indptr[row + 1]):
            prefetch(theta.w, np.int64(rows.indices[p]))
            prefetch(theta.V, np.int64(rows.indices[p]) * k)


def look_up_fields(rows: Rows, z: int, group: Group) -> None:
    """The field of each item."""
    for p in range(z):
        for lane in range(LANES):
            group.field[p, lane] = rows.fields[group.feature[p, lane]]


@inlined
def factors_in_table(k: int) -> int:
    """k rounded up to a multiple of 4: gradients are made of four factors at a time."""
    return (k + 3) // 4 * 4


def gather_parameters(theta: Theta, c: int, z: int, group: Group) -> None:
    """w and the factors of each item, of one class."""
    k = K if K else theta.n_factors
    G = group.G
    for p in range(z):
        for lane in range(LANES):
            feature = group.feature[p, lane]
            group.w[p, lane] = theta.w[c, feature]
            group.place[p, lane] = (c * theta.w.shape[1] + feature) * k
        t, at = 0, p * factors_in_table(k) * LANES
        if LANES >= 16:
            while k - t >= 16:
                read_columns(group.G, at + t * LANES, theta.V, group.place[p], t, 16)
                t += 16
        while k - t >= 8:
            read_columns(group.G, at + t * LANES, theta.V, group.place[p], t, 8)
            t += 8
        while k - t >= 2:
            read_columns(group.G, at + t * LANES, theta.V, group.place[p], t, 2)
            t += 2
        for lane in range(LANES if t < k else 0):
            G[at + t * LANES + lane] = theta.V[group.place[p, lane] + t]
        for i in range(at + k * LANES, at + factors_in_table(k) * LANES):
            G[i] = 0


@inlined
def pair_start(a: int, z: int) -> int:
    """Where the pairs of position a start in pair order (numerics 3)."""
    return a * z - a * (a + 1) // 2


def look_up_r(theta: Theta, c: int, a: int, z: int, group: Group, at: int) -> None:
    """r(a, b) of all b > a, into ``group.r`` from the pair ``at`` on."""
    f_a = load(group.field, a * LANES)
    F = theta.n_fields
    for b in range(a + 1, z):
        f_b = load(group.field, b * LANES)
        low, high = choose(f_a < f_b, f_a, f_b), choose(f_a < f_b, f_b, f_a)
        store(group.r, (at + b - a - 1) * LANES, gather(theta.R, (low + c * F) * F + high))


def dot_pairs(k: int, a: int, z: int, group: Group, at: int) -> None:
    """d of the pairs of the positions a and a + 1, factors ascending from +0 (numerics 3).

    Into ``group.D``, in pair order from the pair ``at`` on. Two positions and four partners are taken at a time, so
    that a number that is loaded is used more than once.
    """
    G, D, k4 = group.G, group.D, factors_in_table(k)
    nothing, step = splat(G.dtype.type(0)), k4 * LANES
    at_a, to, b = a * step, at * LANES, a + 1
    if b < z:
        d = nothing
        for t in range(k):
            d = d + load(G, at_a + t * LANES) * load(G, at_a + step + t * LANES)
        store(D, to, d)
        b += 1
    to_next = to + (z - a - 1) * LANES  # where the pairs of a + 1 start
    to += LANES
    while b + 3 < z:
        at_b = b * step
        d_0, d_1, d_2, d_3 = nothing, nothing, nothing, nothing
        e_0, e_1, e_2, e_3 = nothing, nothing, nothing, nothing
        for t in range(k):
            i = t * LANES
            V_a, V_next = load(G, at_a + i), load(G, at_a + step + i)
            V_0, V_1 = load(G, at_b + i), load(G, at_b + step + i)
            V_2, V_3 = load(G, at_b + 2 * step + i), load(G, at_b + 3 * step + i)
            d_0, d_1, d_2, d_3 = d_0 + V_a * V_0, d_1 + V_a * V_1, d_2 + V_a * V_2, d_3 + V_a * V_3
            e_0, e_1, e_2, e_3 = e_0 + V_next * V_0, e_1 + V_next * V_1, e_2 + V_next * V_2, e_3 + V_next * V_3
        store_four(D, to, d_0, d_1, d_2, d_3)
        store_four(D, to_next, e_0, e_1, e_2, e_3)
        to, to_next, b = to + 4 * LANES, to_next + 4 * LANES, b + 4
    while b < z:
        d, e = nothing, nothing
        for t in range(k):
            V_b = load(G, b * step + t * LANES)
            d = d + load(G, at_a + t * LANES) * V_b
            e = e + load(G, at_a + step + t * LANES) * V_b
        store(D, to, d)
        store(D, to_next, e)
        to, to_next, b = to + LANES, to_next + LANES, b + 1


@inlined
def store_four(table: Array, at: int, one: Any, two: Any, three: Any, four: Any) -> None:
    """Write lanes that follow each other."""
    store(table, at, one)
    store(table, at + LANES, two)
    store(table, at + 2 * LANES, three)
    store(table, at + 3 * LANES, four)


@inlined
def r_of_pair(group: Group, pair: int) -> Any:
    """r(a, b) of each lane."""
    return splat(group.r[pair, 0]) if SHARES_R else load(group.r, pair * LANES)


def score_rows(theta: Theta, c: int, shape: tuple[int, int], group: Group) -> Any:
    """The score of each lane, in the contract's order (numerics 3); shape: the shortest and the longest row.

    Leaves d of all pairs in ``group.D``, or where KEEPS is False those of the last positions alone.
    """
    k = K if K else theta.n_factors
    shortest, z = shape
    x, D = group.x, group.D
    length = load(group.length, 0)
    s = splat(theta.w0[c])
    for p in range(z):
        term = load(group.w, p * LANES) * load(x, p * LANES)
        s = s + term if p < shortest else choose(length > p, s + term, s)
    for a in range(z - 1 if k else 0):
        first = pair_start(a - a % 2, z)  # of the two positions whose dots are made together
        at = pair_start(a, z) if KEEPS else pair_start(a, z) - first
        at_r = pair_start(a, z) if KEEPS or SHARES_R else at
        if not SHARES_R:
            look_up_r(theta, c, a, z, group, at_r)
        if a % 2 == 0:
            dot_pairs(k, a, z, group, at)
        x_a = load(x, a * LANES)
        for b in range(a + 1, z):
            pair = b - a - 1
            term = ((r_of_pair(group, at_r + pair) * load(D, (at + pair) * LANES)) * x_a) * load(x, b * LANES)
            s = s + term if b < shortest else choose(length > b, s + term, s)
    return s


def pair_gradients(shape: tuple[int, int], group: Group, g: Any) -> None:
    """q(a, b) into both halves of ``group.Q``, c(a, b) * d(a, b) in place of d(a, b) (numerics 5)."""
    shortest, z = shape
    x, D, Q = group.x, group.D, group.Q
    nothing, length, row = splat(x.dtype.type(0)), load(group.length, 0), Q.shape[1]
    pair = 0
    for a in range(z - 1):
        gx_a = g * load(x, a * LANES)
        for b in range(a + 1, z):
            c = gx_a * load(x, b * LANES)
            q, cd = c * r_of_pair(group, pair), c * load(D, pair * LANES)
            if b >= shortest:
                q, cd = choose(length > b, q, nothing), choose(length > b, cd, nothing)
            store(D, pair * LANES, cd)
            store(Q, (a * row + b) * LANES, q)
            store(Q, (b * row + a) * LANES, q)
            pair += 1


def position_gradients(k: int, a: int, z: int, group: Group) -> None:
    """gV of the positions a to a + 3, partners ascending from +0, into ``group.gV`` (numerics 5).

    At b = a the table q is 0, which adds nothing. Four factors are made at a time.
    """
    G, Q, gV = group.G, group.Q, group.gV
    row, step = Q.shape[1] * LANES, factors_in_table(k) * LANES
    nothing = splat(G.dtype.type(0))
    for t in range(0, step, 4 * LANES):
        u_0 = u_1 = u_2 = u_3 = v_0 = v_1 = v_2 = v_3 = nothing
        w_0 = w_1 = w_2 = w_3 = x_0 = x_1 = x_2 = x_3 = nothing
        for b in range(z):
            i, j = a * row + b * LANES, b * step + t
            V_0, V_1, V_2, V_3 = load(G, j), load(G, j + LANES), load(G, j + 2 * LANES), load(G, j + 3 * LANES)
            q = load(Q, i)
            u_0, u_1, u_2, u_3 = u_0 + q * V_0, u_1 + q * V_1, u_2 + q * V_2, u_3 + q * V_3
            q = load(Q, i + row)
            v_0, v_1, v_2, v_3 = v_0 + q * V_0, v_1 + q * V_1, v_2 + q * V_2, v_3 + q * V_3
            q = load(Q, i + 2 * row)
            w_0, w_1, w_2, w_3 = w_0 + q * V_0, w_1 + q * V_1, w_2 + q * V_2, w_3 + q * V_3
            q = load(Q, i + 3 * row)
            x_0, x_1, x_2, x_3 = x_0 + q * V_0, x_1 + q * V_1, x_2 + q * V_2, x_3 + q * V_3
        store_four(gV, t, u_0, u_1, u_2, u_3)
        store_four(gV, t + step, v_0, v_1, v_2, v_3)
        store_four(gV, t + 2 * step, w_0, w_1, w_2, w_3)
        store_four(gV, t + 3 * step, x_0, x_1, x_2, x_3)


def scatter_factors(k: int, which: int, places: Array, group: Group, gV: Array) -> None:
    """The gradients of one position, from lanes to items."""
    t, at = 0, which * factors_in_table(k) * LANES
    if LANES >= 16:
        while k - t >= 16:
            write_columns(gV, places, t, group.gV, at + t * LANES, 16)
            t += 16
    while k - t >= 8:
        write_columns(gV, places, t, group.gV, at + t * LANES, 8)
        t += 8
    while k - t >= 2:
        write_columns(gV, places, t, group.gV, at + t * LANES, 2)
        t += 2
    for lane in range(LANES if t < k else 0):
        if places[lane] >= 0:
            gV[places[lane] + t] = group.gV[at + t * LANES + lane]
