"""What rows have in common: the same fields in the same places, or fields that recur in a row. Integers only.

Written for any array module, so that rows are looked at where they lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fwfm_gpu.parameters import Array

__all__ = ["any_shared_field", "find_pattern", "look_at_fields", "order_fields"]

LOOK_ROWS = 1 << 16  # rows looked at in one go


def look_at_fields(xp: Any, indices: Array, fields: Array, lengths: Array) -> tuple[Any, bool]:
    """The pattern of fields, and whether some row has two features of one field. Parameters as in `find_pattern`."""
    pattern = find_pattern(xp, indices, fields, lengths)
    if pattern is None:
        return None, any_shared_field(xp, indices, fields, lengths)
    return pattern, len(xp.unique(pattern)) < len(pattern)


def find_pattern(xp: Any, indices: Array, fields: Array, lengths: Array) -> Any:
    """The fields of each row's nonzeros, (z,) int32, if they are the same for every row, else None.

    Parameters
    ----------
    xp : the array module of indices and fields
    indices : (nnz,) integers
    fields : (n,) int32
    lengths : (rows,) int64, on the host
    """
    if len(lengths) == 0 or lengths.min() != lengths.max():
        return None
    indices_bz = indices.reshape(len(lengths), int(lengths[0]))
    pattern, stretch = fields[indices_bz[0]], find_stretches(xp, fields)
    for lo in range(0, len(lengths), LOOK_ROWS):
        part = indices_bz[lo : lo + LOOK_ROWS]
        # Features between two of one stretch are of its field: no look at each of them.
        ends = stretch[xp.stack((part.min(axis=0), part.max(axis=0)))]
        if xp.any(ends != stretch[indices_bz[0]]) and xp.any(fields[part] != pattern):
            return None
    return pattern


def find_stretches(xp: Any, fields: Array) -> Any:
    """The number of each feature's stretch of neighbours of one field: fields ``[1 1 0 1]`` give ``[0 0 1 2]``."""
    stretch = xp.zeros(len(fields), xp.int32)
    stretch[1:] = xp.cumsum(fields[1:] != fields[:-1])
    return stretch


def any_shared_field(xp: Any, indices: Array, fields: Array, lengths: Array) -> bool:
    """Whether some row has two features of one field. Parameters as in `find_pattern`."""
    for _, key in row_and_field(xp, indices, fields, lengths):
        key.sort()
        if xp.any(key[1:] == key[:-1]):
            return True
    return False


def order_fields(xp: Any, indices: Array, fields: Array, lengths: Array) -> Any:
    """The positions of each row by (field, position), (nnz,) int32. Parameters as in `find_pattern`.

    Fields ``[1 0 1]`` of a row give ``[1 0 2]``.
    """
    order = xp.empty(len(indices), xp.int32)
    longest = int(lengths.max(initial=1))
    for items, key in row_and_field(xp, indices, fields, lengths):
        part = lengths[items[0] : items[1]]
        starts = xp.asarray(part.cumsum() - part)
        position = xp.arange(len(key)) - starts[find_rows(xp, part)]
        composite = key * longest + position  # no two are equal: any sort is a stable one
        composite.sort()
        order[items[2] : items[3]] = composite % longest
    return order


def row_and_field(xp: Any, indices: Array, fields: Array, lengths: Array) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Some rows at a time: first and last row, first and last item; and per item a key that ascends by (row, field)."""
    n_fields, done = int(fields.max()) + 1 if len(fields) else 1, 0
    for lo in range(0, len(lengths), LOOK_ROWS):
        part = lengths[lo : lo + LOOK_ROWS]
        count = int(part.sum())  # integers
        key = find_rows(xp, part) * n_fields + fields[indices[done : done + count]]
        yield (lo, lo + len(part), done, done + count), key
        done += count


def find_rows(xp: Any, lengths: Array) -> Any:
    """The row of each item: lengths ``[2 0 1]`` give ``[0 0 2]``. CuPy's ``repeat`` would launch a kernel per row."""
    ends = lengths.cumsum()
    return xp.searchsorted(xp.asarray(ends), xp.arange(int(ends[-1]) if len(ends) else 0), side="right")
