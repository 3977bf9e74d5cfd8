"""Clicks and impressions in place of labels and weights: what rows they stand for (numerics 4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.labels import as_float64, read_column
from fwfm_gpu.parameters import Array

__all__ = ["expand", "expand_counts", "named_columns", "take_chosen"]


def expand_counts(counts: Any, rows: int, first: int = 0) -> tuple[Array, Array, Array]:
    """The rows that counts stand for.

    Parameters
    ----------
    counts : (clicks, impressions), each (rows,) array-like of numbers
        Fractions are allowed, as of counts that decay.
    rows : int
        How many rows X has.
    first : int
        What a message calls the first of them.

    Returns
    -------
    chosen : (m,) int64
        Row numbers of X: each once or twice, next to each other, in the order of X.
    y : (m,) int64
        1 where the row stands for clicks, else 0.
    weight : (m,) float64
        How many. None is 0.

    Raises
    ------
    InputTypeError, InputError
        No pair, another length, no numbers; or a row with clicks below 0 or above its impressions.
    """
    if not isinstance(counts, tuple | list) or len(counts) != 2:
        raise InputTypeError(f"counts must be (clicks, impressions), one number of each per row; got {counts!r:.80}.")
    clicks, impressions = (
        as_float64(read_column(column, what, "number"), what, "Pass numbers.")
        for column, what in zip(counts, ("clicks", "impressions"), strict=True)
    )
    for column, what in ((clicks, "clicks"), (impressions, "impressions")):
        if len(column) != rows:
            raise InputError(f"{what} of counts must hold one number per row: expected {rows}, got {len(column)}.")
    wrong = ~((clicks >= 0) & (clicks <= impressions))
    if np.any(wrong):
        row = int(np.argmax(wrong))
        raise InputError(
            f"clicks must be 0 or above and at most the impressions: got {clicks[row]} of {impressions[row]} at row "
            f"{first + row}. Correct such rows, or leave them out."
        )
    weight = np.stack((clicks, impressions - clicks), axis=1).reshape(-1)
    kept = np.flatnonzero(weight)
    return kept // 2, (1 - kept % 2).astype(np.int64), weight[kept]


def expand(rows: FieldMatrix, counts: Any) -> tuple[FieldMatrix, Array, Array]:
    """The rows themselves, their labels and their weights.

    Raises
    ------
    InputError
        There is no impression; or what `expand_counts` refuses.
    """
    chosen, y, weight = expand_counts(counts, rows.n_rows)
    if not len(chosen):
        raise InputError(f"counts must hold an impression: those of all {rows.n_rows} rows are 0.")
    return take_chosen(rows, chosen), y, weight


def take_chosen(rows: FieldMatrix, chosen: Array | None) -> FieldMatrix:
    """The rows of these numbers; nothing is copied where that is each row once."""
    same = chosen is None or np.array_equal(chosen, np.arange(rows.n_rows))
    return rows if same else rows.take(chosen)


def named_columns(counts: Any) -> tuple[str, str] | None:
    """The names of two columns of a table, where counts are such."""
    if isinstance(counts, tuple | list) and len(counts) == 2 and all(isinstance(name, str) for name in counts):
        return counts[0], counts[1]
    return None
