"""The feature pairs that rows hold, and in how many rows each is found."""

from __future__ import annotations

import numpy as np

from fwfm_gpu.contributions import side_by_side
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.parameters import Array

__all__ = ["count_pairs"]

AT_ONCE = 2**22  # pairs that are gathered before they are counted


def count_pairs(rows: FieldMatrix, least: int = 1) -> tuple[Array, Array, Array]:
    """Every pair of features that so many rows hold, once.

    Parameters
    ----------
    rows : FieldMatrix
    least : int

    Returns
    -------
    i, j : (pairs,) int64
        i < j, ascending.
    counts : (pairs,) int64
        Rows that hold both.
    """
    n = rows.n_features
    counted = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]  # each twice as long as the next, or more
    gathered: list[Array] = []
    for _, place_zb in side_by_side(rows, 0):
        feature_zb = rows.indices[place_zb].astype(np.int64)
        for a in range(len(feature_zb) - 1):
            gathered.append((feature_zb[a] * n + feature_zb[a + 1 :]).ravel())
            if sum(map(len, gathered)) >= AT_ONCE:
                add(counted, gathered)
                gathered = []
    add(counted, gathered)
    while len(counted) > 1:
        merge(counted)
    keys, counts = counted.pop()
    keys, counts = keys[counts >= least], counts[counts >= least]
    return keys // n, keys % n, counts


def add(counted: list[tuple[Array, Array]], gathered: list[Array]) -> None:
    """Count what was gathered, and merge parts of like length."""
    if gathered:
        keys, counts = np.unique(np.concatenate(gathered), return_counts=True)
        counted.append((keys, counts.astype(np.int64)))
        while len(counted) > 1 and len(counted[-2][0]) < 2 * len(counted[-1][0]):
            merge(counted)


def merge(counted: list[tuple[Array, Array]]) -> None:
    """The last two parts become one."""
    (one, one_counts), (other, other_counts) = counted.pop(), counted.pop()
    keys = np.concatenate((one, other))
    order = np.argsort(keys, kind="stable")  # two runs that ascend: one pass
    keys = keys[order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    counted.append((keys[first], np.add.reduceat(np.concatenate((one_counts, other_counts))[order], first)))
