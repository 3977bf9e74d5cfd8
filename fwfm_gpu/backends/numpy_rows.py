"""Rows: scores, loss gradients and row gradients (numerics 3 to 5).

Rows are lanes: the last axis l runs over some rows, so every sum of the contract is a sequence of elementwise
additions of whole lanes, in the contract's order. Rows of similar length share a chunk; a shorter row is padded at its
end, and a padded term is -0.0 in a score (adding it changes no number, not even -0.0) and 0 in a gradient (whose sums
start at +0).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu.backends.numpy_resident import Data
from fwfm_gpu.numerics import pair_starts
from fwfm_gpu.parameters import Array, Parameters

__all__ = ["Chunk", "ClassTheta", "Scored", "choose_lanes", "item_gradients", "make_chunk", "score_chunk"]
__all__ += ["group_by_length", "pair_gradients", "pair_slots", "score_rows"]

TABLE_ENTRIES = 1 << 20  # entries of a chunk's tables of pairs and factors, over all classes
MOST_LANES = 1024
FEW_LANES = 64  # below this, one accumulate call beats a call per term
PADDING = 8  # rows share a chunk while the longest is at most 1 + 1/8 of the shortest


@dataclass(frozen=True)
class ClassTheta:
    """The parameters of one class; R flat."""

    w0: Any
    w: Array  # (n,)
    V: Array  # (n, k)
    R: Array  # (F * F,)

    @classmethod
    def of(cls, parameters: Parameters, c: int) -> ClassTheta:
        return cls(parameters.w0[c], parameters.w[c], parameters.V[c], parameters.R[c].reshape(-1))


@dataclass(frozen=True)
class Chunk:
    """Some rows side by side."""

    feature_zl: Array  # (z, L); a padded entry names feature 0
    x_zl: Array  # (z, L) T; a padded entry is 0
    padded_zl: Array | None  # (z, L) bool, None when the rows are equally long
    slots_pl: Array  # (pairs, L) index into flat R, (pairs, 1) when all rows share a field pattern


def make_chunk(data: Data, rows: Array, parameters: Parameters) -> Chunk:
    """Lay out rows as lanes; the linear model has no pairs."""
    lengths = data.lengths[rows]
    z = int(lengths.max(initial=0))
    position_z = np.arange(z)[:, None]
    source_zl = data.indptr[rows] + position_z
    padded_zl = None
    if not np.all(lengths == z):
        padded_zl = position_z >= lengths
        source_zl[padded_zl] = 0
    feature_zl, x_zl = data.indices[source_zl], data.values[source_zl]
    if padded_zl is not None:
        feature_zl[padded_zl], x_zl[padded_zl] = 0, 0
    if parameters.n_factors == 0:
        return Chunk(feature_zl, x_zl, padded_zl, np.empty((0, 1), np.intp))
    fields_zl = data.fields[feature_zl] if data.pattern is None else data.pattern[:, None]
    return Chunk(feature_zl, x_zl, padded_zl, pair_slots(fields_zl, parameters.n_fields))


def pair_slots(fields_zl: Array, n_fields: int) -> Array:
    """Where ``r(a, b)`` stands in flat R, pair by pair (numerics 1), (pairs, L)."""
    z, lanes = fields_zl.shape
    starts = pair_starts(z)
    slots_pl = np.empty((starts[-1], lanes), np.intp)
    for a in range(z - 1):
        low, high = np.minimum(fields_zl[a], fields_zl[a + 1 :]), np.maximum(fields_zl[a], fields_zl[a + 1 :])
        np.multiply(low, n_fields, out=slots_pl[starts[a] : starts[a + 1]], dtype=np.intp)
        slots_pl[starts[a] : starts[a + 1]] += high
    return slots_pl


@dataclass(frozen=True)
class Scored:
    """Scores of one class, and what the gradient needs again."""

    s_l: Array  # (L,) T
    V_kzl: Array  # (k, z, L) factors of each row's features
    d_pl: Array  # (pairs, L) <v_a, v_b>
    r_pl: Array  # (pairs, L) or (pairs, 1)


def score_chunk(theta: ClassTheta, chunk: Chunk) -> Scored:
    """The score of each lane, in the contract's order (numerics 3)."""
    z, lanes = chunk.x_zl.shape
    s_l = np.full(lanes, theta.w0)
    linear_zl = theta.w[chunk.feature_zl] * chunk.x_zl
    if chunk.padded_zl is not None:
        linear_zl[chunk.padded_zl] = -0.0
    s_l = add_in_order(s_l, linear_zl)
    V_kzl, r_pl = gather_factors(theta.V, chunk), theta.R[chunk.slots_pl]
    d_pl = pair_dots(V_kzl)
    starts = pair_starts(z)
    for a in range(z - 1 if len(V_kzl) else 0):
        pairs = slice(starts[a], starts[a + 1])
        terms_bl = ((r_pl[pairs] * d_pl[pairs]) * chunk.x_zl[a]) * chunk.x_zl[a + 1 :]
        if chunk.padded_zl is not None:
            terms_bl[chunk.padded_zl[a + 1 :]] = -0.0
        s_l = add_in_order(s_l, terms_bl)
    return Scored(s_l, V_kzl, d_pl, r_pl)


def add_in_order(s_l: Array, terms_zl: Array) -> Array:
    """s + terms[0] + terms[1] + ..., lane by lane, left to right (numerics 2)."""
    if len(s_l) < FEW_LANES:
        summed: Array = np.add.accumulate(np.concatenate((s_l[None], terms_zl)), axis=0)[-1]
        return summed
    for term_l in terms_zl:
        s_l = np.add(s_l, term_l, out=s_l)
    return s_l


def gather_factors(V: Array, chunk: Chunk) -> Array:
    """The factors of each row's features, (k, z, L); 0 where padded."""
    z, lanes = chunk.feature_zl.shape
    V_kzl = np.empty((V.shape[1], z, lanes), V.dtype)
    for a in range(z):
        V_kzl[:, a] = V[chunk.feature_zl[a]].T
    if chunk.padded_zl is not None:
        V_kzl[:, chunk.padded_zl] = 0
    return V_kzl


def pair_dots(V_kzl: Array) -> Array:
    """d(a, b), factors ascending from +0, in pair order, (pairs, L) (numerics 3)."""
    k, z, lanes = V_kzl.shape
    starts = pair_starts(z if k else 0)
    d_pl = np.zeros((starts[-1], lanes), V_kzl.dtype)
    product_zl = np.empty((z, lanes), V_kzl.dtype)
    for a in range(len(starts) - 2):
        d_bl, product_bl = d_pl[starts[a] : starts[a + 1]], product_zl[a + 1 :]
        for t in range(k):
            np.multiply(V_kzl[t, a + 1 :], V_kzl[t, a], out=product_bl)
            d_bl += product_bl
    return d_pl


def pair_gradients(chunk: Chunk, scored: Scored, g_l: Array) -> tuple[Array, Array]:
    """c(a, b) * d(a, b) in pair order, (pairs, L), and q as a symmetric table, (z, z, L), 0 at a = b (numerics 5)."""
    z, lanes = chunk.x_zl.shape
    starts = pair_starts(z)
    cd_pl = scored.d_pl  # done with: overwritten
    q_zzl = np.zeros((z, z, lanes), g_l.dtype)
    for a in range(z - 1):
        pairs = slice(starts[a], starts[a + 1])
        c_bl = (g_l * chunk.x_zl[a]) * chunk.x_zl[a + 1 :]
        np.multiply(c_bl, scored.r_pl[pairs], out=q_zzl[a, a + 1 :])
        q_zzl[a + 1 :, a] = q_zzl[a, a + 1 :]
        cd_pl[pairs] *= c_bl
    return cd_pl, q_zzl


def item_gradients(chunk: Chunk, V_kzl: Array, q_zzl: Array, g_l: Array) -> Array:
    """gw, then gV of each factor, per position and lane, (1 + k, z, L) (numerics 5).

    All positions a advance together through b ascending. Where b = a the table q is 0, which adds nothing.
    """
    k, z, lanes = V_kzl.shape
    gradient_jzl = np.zeros((1 + k, z, lanes), g_l.dtype)
    np.multiply(chunk.x_zl, g_l, out=gradient_jzl[0])
    product_zl = np.empty((z, lanes), g_l.dtype)
    for t in range(k):
        gV_zl = gradient_jzl[1 + t]
        for b in range(z):
            np.multiply(q_zzl[b], V_kzl[t, b], out=product_zl)
            gV_zl += product_zl
    return gradient_jzl


def choose_lanes(z: int, k: int, n_classes: int) -> int:
    """How many rows of z nonzeros go side by side: many, within bounded tables."""
    entries = n_classes * max(z * (z - 1) // 2 if k else z, z * k, 1)
    return max(1, min(MOST_LANES, TABLE_ENTRIES // entries))


def group_by_length(lengths: Array, k: int, n_classes: int) -> Iterator[Array]:
    """Positions of rows that share a chunk: in order when all are equally long, else sorted by length."""
    if len(lengths) == 0:
        return
    if lengths.min() == lengths.max():
        lanes = choose_lanes(int(lengths[0]), k, n_classes)
        for lo in range(0, len(lengths), lanes):
            yield np.arange(lo, min(lo + lanes, len(lengths)))
        return
    by_length = np.argsort(lengths, kind="stable")
    ascending, lo = lengths[by_length], 0
    while lo < len(lengths):
        longest = int(ascending[lo]) + int(ascending[lo]) // PADDING
        hi = int(np.searchsorted(ascending, longest, side="right"))
        hi = min(hi, lo + choose_lanes(longest, k, n_classes))
        yield by_length[lo:hi]
        lo = hi


def score_rows(parameters: Parameters, data: Data, rows: Array) -> Array:
    """Raw scores of some rows, (rows, C) of T."""
    s_bc = np.empty((len(rows), parameters.n_classes), parameters.dtype)
    thetas = [ClassTheta.of(parameters, c) for c in range(parameters.n_classes)]
    for chosen in group_by_length(data.lengths[rows], parameters.n_factors, 1):
        chunk = make_chunk(data, rows[chosen], parameters)
        for c, theta in enumerate(thetas):
            s_bc[chosen, c] = score_chunk(theta, chunk).s_l
    return s_bc
