"""One row on its own, compiled: a very long one, or one that is scored as it comes. Lanes are positions of the row.

The tables grow with the row's length z, not with its pairs::

    Vt  [factor, position]   factors of the row's features, transposed
    d   [position]           d(a, b) of one a and all b, then c(a, b) * d(a, b)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fwfm_gpu.backends.compiled_rows import K, Rows, Theta
from fwfm_gpu.backends.lanes import LANES, inlined, load, load_some, splat, store, store_some
from fwfm_gpu.parameters import Array

__all__ = ["Alone", "gather_alone", "gradients_alone", "lay_alone", "pairs_alone", "score_alone"]


class Alone(NamedTuple):
    """Tables of one row; each thread has its own. z is rounded up to whole lanes."""

    z: Array  # (1,) int64: nonzeros of the row
    feature: Array  # (z,) int64
    field: Array  # (z,) int64
    x: Array  # (z,) T
    w: Array  # (z,) T
    Vt: Array  # (k, z) T
    d: Array  # (z,) T
    q: Array  # (z,) T
    gV: Array  # (k + LANES,) T


def lay_alone(rows: Rows, row: int, alone: Alone) -> None:
    """Take a row of a matrix."""
    start = rows.indptr[row]
    z = rows.indptr[row + 1] - start
    alone.z[0] = z
    for p in range(z):
        feature = rows.indices[start + p]
        alone.feature[p], alone.field[p], alone.x[p] = (
            feature,
            rows.fields[feature],
            rows.values[(start + p) * rows.step],
        )


def gather_alone(theta: Theta, c: int, alone: Alone) -> None:
    """w and the factors of each item, of one class."""
    k, n = K if K else theta.n_factors, theta.w.shape[1]
    for p in range(alone.z[0]):
        feature = alone.feature[p]
        alone.w[p] = theta.w[c, feature]
        at = (c * n + feature) * k
        for t in range(k):
            alone.Vt[t, p] = theta.V[at + t]


def dot_position(k: int, a: int, alone: Alone) -> None:
    """d(a, b) of all b > a, factors ascending from +0 (numerics 3)."""
    Vt, d, row = alone.Vt, alone.d, alone.Vt.shape[1]
    nothing = splat(Vt.dtype.type(0))
    for b in range((a + 1) // LANES * LANES, alone.z[0], LANES):
        dots = nothing
        for t in range(k):
            dots = dots + splat(Vt[t, a]) * load(Vt, t * row + b)
        store(d, b, dots)


@inlined
def r_of(theta: Theta, c: int, f_a: int, f_b: int) -> Any:
    """r(a, b), by fields (numerics 1)."""
    F = theta.n_fields
    return theta.R[(c * F + min(f_a, f_b)) * F + max(f_a, f_b)]


def score_alone(theta: Theta, c: int, alone: Alone) -> Any:
    """The row's score, in the contract's order (numerics 3)."""
    k, z = K if K else theta.n_factors, alone.z[0]
    x, d, field = alone.x, alone.d, alone.field
    s = theta.w0[c]
    for p in range(z):
        s = s + alone.w[p] * x[p]
    for a in range(z - 1 if k else 0):
        dot_position(k, a, alone)
        x_a, f_a = x[a], field[a]
        for b in range(a + 1, z):
            s = s + ((r_of(theta, c, f_a, field[b]) * d[b]) * x_a) * x[b]
    return s


def pairs_alone(theta: Theta, a: int, g: Any, alone: Alone) -> None:
    """c(a, b) * d(a, b) of all b > a, in ``alone.d`` (numerics 5)."""
    dot_position(K if K else theta.n_factors, a, alone)
    gx_a = g * alone.x[a]
    for b in range(a + 1, alone.z[0]):
        alone.d[b] = (gx_a * alone.x[b]) * alone.d[b]


def gradients_alone(theta: Theta, c: int, a: int, g: Any, alone: Alone) -> None:
    """gV of position a, partners ascending from +0, into ``alone.gV`` (numerics 5)."""
    k, z = K if K else theta.n_factors, alone.z[0]
    x, q, field = alone.x, alone.q, alone.field
    x_a, f_a = x[a], field[a]
    for b in range(z):
        c_ab = (g * x_a) * x[b] if a < b else (g * x[b]) * x_a
        q[b] = c_ab * r_of(theta, c, f_a, field[b])
    n = theta.w.shape[1]
    for t in range(0, k, LANES):
        total = splat(x.dtype.type(0))
        for b in range(z):
            if b != a:
                at = (c * n + alone.feature[b]) * k + t
                total = total + splat(q[b]) * load_some(theta.V, at, k - t)
        store_some(alone.gV, t, total, k - t)
