"""The terms of scores, gathered by field and by field pair; each term is the number that the score adds (numerics 3).

Conventions: b row, z nonzeros of a row, k factors, F fields, m columns of pairs. Rows with equally many nonzeros are
worked on side by side, with the rows on the last axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.field_pairs import pair_strengths
from fwfm_gpu.parameters import Array, Parameters

__all__ = ["Pieces", "Plan", "fill", "plan_columns"]

AT_ONCE = 2**18  # factors of rows side by side: what a processor's own memory holds
COUNTED_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class Plan:
    """Which field pairs have a column of their own; all others share the last one."""

    pairs: Array  # (m, 2) int64, the smaller number first
    column: Array  # (F, F) int64, upper triangle: the column of a pair, m for the rest
    has_rest: bool

    @classmethod
    def of(cls, pairs: Array, F: int, has_rest: bool) -> Plan:
        """Columns in the order of the pairs."""
        column = np.full((F, F), len(pairs))
        column[pairs[:, 0], pairs[:, 1]] = np.arange(len(pairs))
        return cls(pairs, column, has_rest)


@dataclass(frozen=True, eq=False)
class Pieces:
    """Where the terms go, all of T."""

    linear: Array  # (rows, C, F)
    pairs: Array  # (rows, C, m)
    rest: Array  # (rows, C)
    scores: Array  # (rows, C)

    @classmethod
    def zeros(cls, n_rows: int, parameters: Parameters, m: int) -> Pieces:
        """Room for so many rows and columns of pairs."""
        C, F, T = parameters.n_classes, parameters.n_fields, parameters.dtype
        shapes = (n_rows, C, F), (n_rows, C, m), (n_rows, C), (n_rows, C)
        return cls(*(np.zeros(shape, T) for shape in shapes))


def plan_columns(parameters: Parameters, rows: FieldMatrix, most: int | None) -> Plan:
    """A column for each pair of fields that rows may hold, or for the ``most`` strongest of a sample of rows."""
    F = rows.n_fields
    if most is not None:
        strength, _ = pair_strengths(parameters, rows, np.ones(rows.n_rows))
        p, q = np.triu_indices(F)
        order = np.argsort(-np.nan_to_num(strength[p, q], nan=-1), kind="stable")[:most]
        order = order[np.isfinite(strength[p, q][order])]
        return Plan.of(np.stack((p[order], q[order]), axis=1), F, has_rest=True)
    held, several = held_fields(rows)
    possible = np.triu(held[:, None] & held, 1) | np.diag(several)
    return Plan.of(np.argwhere(possible), F, has_rest=False)


def held_fields(rows: FieldMatrix) -> tuple[Array, Array]:
    """The fields that some row holds a feature of, and those that some row holds several of, (F,) bool each."""
    F = rows.n_fields
    held, several = np.zeros(F, bool), np.zeros(F, bool)
    step = max(1, COUNTED_AT_ONCE // F)
    for start in range(0, rows.n_rows, step):
        starts = rows.indptr[start : start + step + 1]
        b = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        slot = b * F + rows.fields[rows.indices[starts[0] : starts[-1]]]
        counts = np.bincount(slot, minlength=F * (len(starts) - 1)).reshape(-1, F)
        most = np.max(counts, axis=0)
        held |= most > 0
        several |= most > 1
    return held, several


def fill(pieces: Pieces, parameters: Parameters, rows: FieldMatrix, plan: Plan) -> None:
    """Calculate all terms."""
    T = parameters.dtype
    for b, place_zb in side_by_side(rows, parameters.n_factors):
        feature_zb = rows.indices[place_zb]
        field_zb = rows.fields[feature_zb].astype(np.int64)
        x_zb = None if rows.all_ones else rows.values[place_zb].astype(T, copy=False)
        for c in range(parameters.n_classes):
            fill_rows(pieces, (parameters, c, plan), b, (feature_zb, field_zb, x_zb))


def side_by_side(rows: FieldMatrix, k: int) -> Iterator[tuple[Array, Array]]:
    """A few rows with equally many nonzeros, and where these lie, (z, rows)."""
    lengths = np.diff(rows.indptr)
    for z in np.unique(lengths).tolist():
        alike = np.flatnonzero(lengths == z)
        step = max(1, AT_ONCE // max(1, z * (k + 2)))
        for start in range(0, len(alike), step):
            b = alike[start : start + step]
            yield b, rows.indptr[b] + np.arange(z)[:, None]


def fill_rows(
    pieces: Pieces,
    what: tuple[Parameters, int, Plan],
    b: Array,
    nonzeros: tuple[Array, Array, Array | None],
) -> None:
    """The terms of one class for rows with equally many nonzeros: features, fields and values, (z, rows) each."""
    (parameters, c, plan), (feature_zb, field_zb, x_zb) = what, nonzeros
    F, m, T = parameters.n_fields, len(plan.pairs), parameters.dtype
    linear_zb = parameters.w[c][feature_zb]
    if x_zb is not None:
        linear_zb *= x_zb
    score_b = np.full(len(b), parameters.w0[c])
    for term_b in linear_zb:
        score_b += term_b  # numerics 3
    alike = bool(np.all(field_zb == field_zb[:, :1]))
    slots = field_zb[:, :1] if alike else field_zb  # one column for all rows, or one for each
    ascending = np.sort(slots, axis=0)
    single = bool(np.all(ascending[1:] != ascending[:-1]))  # no row holds two features of a field
    linear, pairs = Sums(F, len(b), T, single), Sums(m + 1, len(b), T, single)
    linear.add(slots, linear_zb)
    rest_b = np.zeros(len(b))
    for slot, term_ab in pair_terms(parameters, c, (feature_zb, slots, x_zb)):
        column = plan.column.ravel().take(slot)
        for term_b in term_ab:
            score_b += term_b
        pairs.add(column, term_ab)
        if plan.has_rest:
            for shared, term_b in zip(column == m, term_ab, strict=True):
                if shared.all():
                    rest_b += term_b
                elif shared.any():
                    rest_b += np.where(shared, term_b, 0)
    pieces.linear[b, c] = linear.sums.T
    pieces.pairs[b, c] = pairs.sums[:-1].T
    pieces.rest[b, c] = rest_b
    pieces.scores[b, c] = score_b


class Sums:
    """Terms by column and row, (columns, rows): of T where no two terms meet, else added up in float64."""

    def __init__(self, columns: int, n_rows: int, T: np.dtype[Any], single: bool) -> None:
        self.sums = np.zeros((columns, n_rows), T if single else np.float64)
        self.single, self.b = single, np.arange(n_rows)

    def add(self, column: Array, terms: Array) -> None:
        """Terms (parts, rows) to these columns, (parts, 1) or (parts, rows)."""
        if not self.single:
            np.add.at(self.sums, (np.broadcast_to(column, terms.shape), self.b), terms)
        elif column.shape[1] == 1:
            self.sums[column[:, 0]] = terms
        else:
            self.sums.ravel()[column * len(self.b) + self.b] = terms


def pair_terms(
    parameters: Parameters, c: int, nonzeros: tuple[Array, Array, Array | None]
) -> Iterator[tuple[Array, Array]]:
    """For each nonzero a, in order, its pairs with those behind it: the entry of R, (parts, rows or 1), and terms."""
    feature_zb, field_zb, x_zb = nonzeros
    z, k, F = len(feature_zb), parameters.n_factors, parameters.n_fields
    if k == 0 or z < 2:
        return
    V_kzb = np.ascontiguousarray(parameters.V[c][feature_zb].transpose(2, 0, 1))
    d, product = (np.empty(V_kzb.shape[1:], V_kzb.dtype) for _ in range(2))
    r = parameters.R[c].ravel()
    for a in range(z - 1):
        d_ab, product_ab = d[a + 1 :], product[a + 1 :]
        d_ab[...] = 0
        for V_zb in V_kzb:
            np.multiply(V_zb[a], V_zb[a + 1 :], out=product_ab)
            d_ab += product_ab
        slot = np.minimum(field_zb[a], field_zb[a + 1 :]) * F + np.maximum(field_zb[a], field_zb[a + 1 :])
        d_ab *= r.take(slot)
        if x_zb is not None:
            d_ab *= x_zb[a]
            d_ab *= x_zb[a + 1 :]
        yield slot, d_ab
