"""Field pairs: how strongly a model uses each of them, and how much each tells of the label.

Conventions: b row, p and q fields, F fields, C classes. Results are symmetric, (F, F) or (m, m) for m chosen fields,
and NaN where no row holds a pair of features of those two fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.parameters import Array, Parameters

__all__ = ["correlation", "deciles", "mutual_information", "pair_strengths", "pair_weights"]

MOST_ROWS = 20_000  # for strengths: a mean needs no more
MOST_PRODUCTS = 200_000_000  # factor products for strengths
MOST_COMBINATIONS = 30_000_000  # feature combinations for mutual information
AT_ONCE = 2**22  # factors that are gathered at once


def pair_weights(parameters: Parameters) -> Array:
    """R as the score reads it, (F, F) float64, symmetric; for several classes the mean of |R| over them."""
    R = parameters.R.astype(np.float64)
    R = R[0] if len(R) == 1 else np.mean(np.abs(R), axis=0)
    symmetric: Array = np.triu(R) + np.triu(R, 1).T
    return symmetric


def pair_strengths(parameters: Parameters, rows: FieldMatrix, weight_b: Array) -> tuple[Array, int]:
    """The mean over rows of ``|R_pq <v_i, v_j> x_i x_j|``, summed over a row's feature pairs of the two fields.

    R alone is no strength, for small factors undo a large R. Several classes are averaged.

    Parameters
    ----------
    parameters : Parameters
    rows : FieldMatrix
    weight_b : (rows,) float64
        What each row counts; not all 0.

    Returns
    -------
    strengths : (F, F) float64
    sampled : int
        Rows that were looked at: all, or a fixed random sample.
    """
    lengths_b = np.diff(rows.indptr)
    cost_b = lengths_b * (lengths_b - 1) // 2 * (parameters.n_factors + 4) * parameters.n_classes
    sampled_b = sample(weight_b, cost_b, MOST_PRODUCTS)[:MOST_ROWS]
    F = rows.n_fields
    total, seen = np.zeros(F * F), np.zeros(F * F, bool)
    R, V = np.abs(parameters.R), parameters.V
    for b, place_bz in equally_long(rows, sampled_b, parameters.n_classes * max(1, parameters.n_factors)):
        feature_bz, x_bz = rows.indices[place_bz], rows.values[place_bz].astype(np.float64)
        field_bz = rows.fields[feature_bz].astype(np.int64)
        Vx = V[:, feature_bz] * x_bz[..., None]  # (C, rows, z, k)
        for lag in range(1, place_bz.shape[1]):
            d = np.abs(np.einsum("cbzk,cbzk->cbz", Vx[:, :, :-lag], Vx[:, :, lag:]))
            low, high = np.sort((field_bz[:, :-lag], field_bz[:, lag:]), axis=0)
            slot = low * F + high
            np.add.at(total, slot, np.mean(R[:, low, high] * d, axis=0) * weight_b[b, None])
            seen[slot] = True
    strength = np.where(seen, total / np.sum(weight_b[sampled_b]), np.nan).reshape(F, F)
    return np.where(np.tri(F, k=-1, dtype=bool), strength.T, strength), len(sampled_b)


def sample(weight_b: Array, cost_b: Array, most: int) -> Array:
    """Rows that count, in a fixed random order, as many as ``most`` pays for, at least one: (m,) int64."""
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(weight_b > 0))
    return drawn[: max(1, np.count_nonzero(np.cumsum(cost_b[drawn]) <= most))]


def equally_long(rows: FieldMatrix, sampled_b: Array, factors: int) -> Iterator[tuple[Array, Array]]:
    """Rows with the same number z of nonzeros, a few at a time, and where these lie, (rows, z)."""
    lengths = np.diff(rows.indptr)[sampled_b]
    for z in np.unique(lengths[lengths > 1]).tolist():
        alike = sampled_b[lengths == z]
        step = max(1, AT_ONCE // (z * factors))
        for start in range(0, len(alike), step):
            b = alike[start : start + step]
            yield b, rows.indptr[b][:, None] + np.arange(z)


def deciles(group: Array, value: Array) -> Array:
    """The decile of each value among those of its group, (entries,) int64, 0 to 9; equal values share one."""
    order = np.lexsort((value, group))
    group, value = group[order], value[order]
    place = np.arange(len(order))
    opens = np.concatenate(([True], group[1:] != group[:-1]))[: len(order)]
    start = np.maximum.accumulate(np.where(opens, place, 0))
    first = np.maximum.accumulate(np.where(opens | (value != np.roll(value, 1)), place, 0))
    size = np.diff(np.append(np.flatnonzero(opens), len(order)))[np.cumsum(opens) - 1]
    decile = np.empty(len(order), np.int64)
    decile[order] = (first - start) * 10 // size
    return decile


class States(NamedTuple):
    """What a field holds in each row: the states of row b are ``code[start[b] : start[b + 1]]``, at least one."""

    start: Array  # (rows + 1,) int64
    code: Array  # (entries,) int64, ascending in a row; 0: the row holds nothing of the field


def mutual_information(rows: FieldMatrix, label_b: Array, fields: Array, weight_b: Array) -> tuple[Array, int]:
    """Mutual information of (feature of field p, feature of field q) and the label, in nats (Pan et al., WWW 2018).

    From the shares that were counted; nothing is corrected for few rows, which make pairs of large fields look better
    than they are. A row counts by its weight, in equal parts for its combinations; holding nothing of a field is a
    state too. Values other than 1 are cut at the deciles of their feature.

    Parameters
    ----------
    rows : FieldMatrix
    label_b : (rows,) int64
        From 0.
    fields : (m,) int64
    weight_b : (rows,) float64
        Not all 0.

    Returns
    -------
    information : (m, m) float64
    counted : int
        Rows that were counted: all, or a fixed random sample.
    """
    chosen = np.isin(rows.fields, fields)[rows.indices]
    chosen_b = np.diff(np.concatenate(([0], np.cumsum(chosen)))[rows.indptr])
    states_b = np.maximum(chosen_b, len(fields))  # about so many in a row
    drawn = np.sort(sample(weight_b, states_b**2 // 2, MOST_COMBINATIONS))
    rows, label_b, weight_b = rows.take(drawn), label_b[drawn], weight_b[drawn]
    states, m = field_states(rows, fields), len(fields)
    information = np.full((m, m), np.nan)
    for p in range(m):
        for q in range(p, m):
            b, joint = pairs_inside(states[p]) if p == q else combinations(states[p], states[q])
            if joint.any():
                information[p, q] = information[q, p] = told(b, joint, label_b, weight_b)
    return information, len(drawn)


def field_states(rows: FieldMatrix, fields: Array) -> list[States]:
    """The states of some fields."""
    code = rows.indices.astype(np.int64)
    if not rows.all_ones:
        code = code * 10 + deciles(code, rows.values)
    b = np.repeat(np.arange(rows.n_rows), np.diff(rows.indptr))
    field = rows.fields[rows.indices]
    states = []
    for p in fields.tolist():
        own = np.flatnonzero(field == p)
        without = np.flatnonzero(np.bincount(b[own], minlength=rows.n_rows) == 0)
        order = np.argsort(np.concatenate((b[own], without)), kind="stable")
        counts = np.bincount(np.concatenate((b[own], without)), minlength=rows.n_rows)
        codes = np.concatenate((code[own] + 1, np.zeros(len(without), np.int64)))[order]
        states.append(States(np.concatenate(([0], np.cumsum(counts))), codes))
    return states


def joined(left: States, right: States) -> tuple[Array, Array, Array]:
    """Every state of one field with every state of the other, row by row: row, code and code of each combination."""
    lefts, rights = np.diff(left.start), np.diff(right.start)
    b = np.repeat(np.arange(len(lefts)), lefts)
    repeats = rights[b]
    offset = np.arange(np.sum(repeats)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    b_joined = np.repeat(b, repeats)
    return b_joined, np.repeat(left.code, repeats), right.code[right.start[b_joined] + offset]


def combinations(left: States, right: States) -> tuple[Array, Array]:
    """Row and number of each combination of two fields; all numbers are 0 when no row holds both."""
    b, one, other = joined(left, right)
    if not np.any((one > 0) & (other > 0)):
        return b, np.zeros(len(b), np.int64)
    return b, 1 + np.unique(one * (1 + np.max(other)) + other, return_inverse=True)[1]


def pairs_inside(states: States) -> tuple[Array, Array]:
    """Row and number of each pair of features inside a field; a row without one has the number 0."""
    b, one, other = joined(states, states)
    kept = (one < other) & (one > 0)
    b, one, other = b[kept], one[kept], other[kept]
    rows = len(states.start) - 1
    without = np.flatnonzero(np.bincount(b, minlength=rows) == 0)
    pair = 1 + np.unique(one * (1 + np.max(other, initial=0)) + other, return_inverse=True)[1]
    return np.concatenate((b, without)), np.concatenate((pair, np.zeros(len(without), np.int64)))


def told(b: Array, joint: Array, label_b: Array, weight_b: Array) -> float:
    """Mutual information: entropy of the combinations, plus that of the labels, less that of both together."""
    label, weight = label_b[b], (weight_b / np.bincount(b, minlength=len(weight_b)))[b]
    both = np.unique(joint * (1 + np.max(label)) + label, return_inverse=True)[1]
    return max(0.0, entropy(joint, weight) + entropy(label, weight) - entropy(both, weight))


def entropy(number: Array, weight: Array) -> float:
    """In nats, of the weights summed by number."""
    from scipy.special import entr  # slow to import, and models import this module

    return float(np.sum(entr(np.bincount(number, weight) / np.sum(weight))))


def correlation(one: Array, other: Array) -> float:
    """Pearson's, over the pairs of two different fields that both arrays know; NaN for fewer than three, or no spread.

    one, other : (m, m) float64
    """
    upper = np.triu(np.isfinite(one) & np.isfinite(other), 1)
    first, second = one[upper], other[upper]
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
