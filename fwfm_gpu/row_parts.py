"""Rows in parts: cut, joined, and cut anew into windows of one length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from fwfm_gpu.field_matrix import FieldMatrix, ones
from fwfm_gpu.matrix_reader import starts
from fwfm_gpu.parameters import Array

__all__ = ["Piece", "join_rows", "slice_rows", "windows"]


@dataclass(frozen=True, eq=False)
class Piece:
    """Some consecutive rows with all that belongs to them."""

    rows: FieldMatrix
    y: Array  # (rows,)
    weight: Array | None = None  # (rows,) float64
    group: Array | None = None  # (rows,)

    def __len__(self) -> int:
        return self.rows.n_rows

    def slice(self, begin: int, end: int) -> Piece:
        """The rows from begin to end, as views."""
        if begin == 0 and end >= len(self):
            return self
        own = slice(begin, end)
        weight = None if self.weight is None else self.weight[own]
        return Piece(
            slice_rows(self.rows, begin, end), self.y[own], weight, None if self.group is None else self.group[own]
        )


def slice_rows(rows: FieldMatrix, begin: int, end: int) -> FieldMatrix:
    """The rows from begin to end; indices and values are views."""
    indptr = rows.indptr[begin : end + 1]
    own = slice(int(indptr[0]), int(indptr[-1]))
    return replace(rows, indptr=indptr - indptr[0], indices=rows.indices[own], values=rows.values[own])


def join_rows(parts: list[FieldMatrix]) -> FieldMatrix:
    """Rows of the same columns, one part after another."""
    if len(parts) == 1:
        return parts[0]
    indptr = starts(np.concatenate([np.diff(part.indptr) for part in parts]))
    indices = np.concatenate([part.indices for part in parts])
    if all(part.all_ones for part in parts):
        values = ones(len(indices), np.result_type(*(part.values for part in parts)))
    else:
        values = np.concatenate([part.values for part in parts])
    return replace(parts[0], indptr=indptr, indices=indices, values=values)


def windows(pieces: Iterable[Piece], length: int) -> Iterator[Piece]:
    """The same rows, so many at a time, the last time those that are left.

    Nothing that was given out is held on to.
    """
    waiting, count = list[Piece](), 0
    for piece in pieces:
        begin = 0
        while count + len(piece) - begin >= length:
            end = begin + length - count
            waiting.append(piece.slice(begin, end))
            begin, count = end, 0
            yield joined(waiting)
        if begin < len(piece):
            waiting.append(piece.slice(begin, len(piece)))
            count += len(piece) - begin
    if waiting:
        yield joined(waiting)


def joined(waiting: list[Piece]) -> Piece:
    """All that waits as one piece; nothing waits after it."""
    pieces = waiting.copy()
    waiting.clear()
    if len(pieces) == 1:
        return pieces[0]
    y = np.concatenate([piece.y for piece in pieces])
    rows = join_rows([piece.rows for piece in pieces])
    return Piece(rows, y, joined_column([piece.weight for piece in pieces]), joined_column([p.group for p in pieces]))


def joined_column(parts: list[Array | None]) -> Array | None:
    """A column that is there in all pieces, or in none."""
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if there else None
