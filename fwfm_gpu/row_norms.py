"""Rows of length 1: each divided by its length, before training and before every score (numerics 1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fwfm_gpu.device_matrix import DeviceMatrix
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.matrix_reader import starts
from fwfm_gpu.numerics import SMALLEST_SUM
from fwfm_gpu.parameters import Array

__all__ = ["NORMS", "normalize_row", "normalize_rows"]

NORMS = (None, "l2")
AT_ONCE = 1 << 20  # nonzeros


def normalize_rows(rows: FieldMatrix, normalize: str | None) -> FieldMatrix:
    """Rows of T, each divided by its length; what becomes zero is dropped.

    Parameters
    ----------
    rows : FieldMatrix
        Rounded to T. Rows on a GPU remember it: it is done there, as they are loaded. Rows of length 1 stay so.
    normalize : "l2", or None
        None: the rows as they are.
    """
    if normalize is None or rows.unit_rows:
        return rows
    if isinstance(rows, DeviceMatrix):
        return replace(rows, unit_rows=True)
    values, begin = np.empty(rows.nnz, rows.values.dtype), 0
    while begin < rows.n_rows:  # some whole rows, at least one
        most = int(np.searchsorted(rows.indptr, rows.indptr[begin] + AT_ONCE, side="right")) - 1
        end = min(max(most, begin + 1), rows.n_rows)
        part = slice(rows.indptr[begin], rows.indptr[end])
        values[part] = normalized(rows.values[part], np.diff(rows.indptr[begin : end + 1]))
        begin = end
    kept = values != 0
    if kept.all():
        return replace(rows, values=values, unit_rows=True)
    indptr, indices = starts(kept)[rows.indptr], rows.indices[kept]
    return replace(rows, indptr=indptr, indices=indices, values=values[kept], unit_rows=True)


def normalize_row(features: Array, x: Array) -> tuple[Array, Array]:
    """The same of one canonical row, (z,) features and (z,) T."""
    values = normalized(x, np.array([len(x)]))
    kept = values != 0
    return (features, values) if kept.all() else (features[kept], values[kept])


def normalized(values: Array, lengths: Array) -> Array:
    """Values of rows of these lengths, one row after the other; of T, also zeros."""
    row, x = np.repeat(np.arange(len(lengths)), lengths), values.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        sums = sum_squares(x, row, len(lengths))
        extreme = ~((sums >= SMALLEST_SUM) & (sums < np.inf)) & (lengths > 0)
        if extreme.any():
            largest = np.ones(len(lengths))
            largest[extreme] = 0
            np.maximum.at(largest, row[extreme[row]], np.abs(x[extreme[row]]))
            x = x / largest[row]
            sums[extreme] = sum_squares(x, row, len(lengths))[extreme]
        return (x / np.sqrt(sums)[row]).astype(values.dtype)


def sum_squares(x: Array, row: Array, n_rows: int) -> Array:
    """The sum of squares of each row; ``np.bincount`` adds one item after another."""
    return np.bincount(row, weights=x * x, minlength=n_rows)
