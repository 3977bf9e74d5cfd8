"""Device memory, in bytes, worked out beforehand: of a batch, of a model; and the largest batch that fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array, Parameters

__all__ = ["MOST_ITEMS", "Bounds", "Budget", "Shape", "Sizes", "batch_items", "largest_batch", "longest_row"]
__all__ += ["make_sizes", "model_bytes", "row_bytes", "work_bytes"]

MOST_STAGED = 64  # nonzeros of a row whose table of pairs is kept in shared memory
MOST_ITEMS = 2**31 - 1  # nonzeros of a batch, and rows: they are counted in int
MOST_BLOCKS = 65535  # row blocks of a group: a grid has no more along y
DIGITS = 32  # of a pass of the sort
SORT_TILE = 2048  # places of a thread block of the sort
HOT = 512  # items of a feature beyond which it is listed: a batch has one such feature for as many items at most


@dataclass(frozen=True)
class Budget:
    """Bounds on tables whose size would else grow with the batch: it is worked through in parts."""

    pairs: int = 1 << 29  # bytes of the list of pairs of a chunk of rows
    slots: int = 1 << 28  # bytes of the block sums of a group of row blocks


@dataclass(frozen=True)
class Shape:
    """A model's shape, and what of it is trained."""

    n_features: int
    n_fields: int
    n_factors: int
    n_classes: int
    real: str
    index: str
    sums_slots: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.real)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize


@dataclass(frozen=True)
class Bounds:
    """What the host knows of the batches of a run."""

    rows: int  # of a batch, at most
    items: int  # nonzeros of a batch, at most
    longest: int  # nonzeros of a row, at most
    alike: bool = False  # whether all rows have the same fields, each once


@dataclass(frozen=True)
class Sizes:
    """Lengths of the arrays that one batch works in."""

    rows: int  # of a batch, at most
    items: int  # nonzeros of a batch, at most
    pairs: int  # of a chunk, at most, per class; 0: no slots are summed
    blocks: int  # row blocks of a group, at most
    columns: int  # of the tables of slots
    pattern: bool  # whether a column is a pair of positions, and not a slot


def row_bytes(z: int, shape: Shape) -> int:
    """Shared memory that a row of z nonzeros takes: ``lay_table`` of rows.cu lays it out."""
    k = shape.n_factors
    zq, pairs = up_to_four(z), up_to_four(z * (z - 1) // 2 if k else 0)
    stride = (up_to_four(k) // 4 | 1) * 4
    reals = (z * stride if k else 0) + max(zq + pairs, z * zq if k else 0) + pairs + zq + 4
    return reals * shape.itemsize + zq * 4


def up_to_four(count: int) -> int:
    """The next multiple of 4."""
    return (count + 3) // 4 * 4


def longest_row(shape: Shape, longest: int, shared_bytes: int) -> int:
    """The longest row, up to ``longest``, whose tables fit into shared memory."""
    z = min(longest, MOST_STAGED)
    while z > 0 and row_bytes(z, shape) > shared_bytes:
        z -= 1
    return z


def batch_items(lengths: Array, order: Array | None, size: int) -> int:
    """The most nonzeros of any batch of ``size`` rows, in this order of rows."""
    if len(lengths) == 0:
        return 0
    if lengths.min() == lengths.max():
        return int(lengths[0]) * min(size, len(lengths) if order is None else len(order))
    visited = lengths if order is None else lengths[order]
    ends = np.cumsum(visited)[np.append(np.arange(size - 1, len(visited) - 1, size), len(visited) - 1)]
    return int(np.diff(ends, prepend=0).max())


def make_sizes(shape: Shape, budget: Budget, bounds: Bounds) -> Sizes:
    """Lengths for such batches; tables of slots stay within the budget, but for one row, or one row block."""
    row_pairs, bytes_each = bounds.longest * (bounds.longest - 1) // 2, shape.itemsize * shape.n_classes
    if not shape.sums_slots or row_pairs == 0:
        return Sizes(bounds.rows, bounds.items, 0, 0, 0, False)
    all_blocks, pairs = -(-bounds.rows // ROW_BLOCK), budget.pairs // bytes_each
    pattern = bounds.alike and pairs >= min(bounds.rows, ROW_BLOCK) * row_pairs
    columns = row_pairs if pattern else shape.n_fields**2
    blocks = min(all_blocks, budget.slots // (columns * bytes_each), MOST_BLOCKS)
    if pattern:  # a group is one chunk, of whole row blocks
        blocks = min(blocks, max(1, pairs // (ROW_BLOCK * row_pairs)))
        pairs = min(bounds.rows, max(1, blocks) * ROW_BLOCK) * row_pairs
    return Sizes(
        bounds.rows, bounds.items, max(row_pairs, min(bounds.rows * row_pairs, pairs)), max(1, blocks), columns, pattern
    )


def work_bytes(shape: Shape, sizes: Sizes) -> int:
    """What a batch works in: both plans, the sort's scratch, and ``Work`` and ``Slots`` of arguments.cuh."""
    k, C, T = shape.n_factors, shape.n_classes, shape.itemsize
    index, items = np.dtype(shape.index).itemsize, max(1, sizes.items)
    sums = -(-sizes.rows // ROW_BLOCK) + 1  # of the row blocks, and of the batch
    starts = 8 * (sizes.rows + 1) * (2 if sizes.pairs else 1)
    plan = starts + items * (4 + index + 4) + 4 * (items + 1) + index * items + 4 * (items // HOT + 1) + 4 * 2
    scratch = items * (index + 4) + 8 * DIGITS * -(-items // SORT_TILE)
    rows = sizes.rows * (2 * C * T + 8) + sums * (C * T + 8)
    gradients = 2 * items * C * (1 + k) * T
    slots = C * T * (sizes.pairs + sizes.blocks * sizes.columns + sizes.columns)
    slots += 4 * sizes.columns * (2 if sizes.pattern else 1)
    return 2 * plan + scratch + rows + gradients + slots


def model_bytes(shape: Shape | Parameters, moments: int, counts: bool) -> int:
    """Parameters and state of one model, given by its shape or by its parameters."""
    n, F, k, C = shape.n_features, shape.n_fields, shape.n_factors, shape.n_classes
    parameters = C * (1 + n * (1 + k) + F * F) * shape.dtype.itemsize
    return parameters * (1 + moments) + (8 * (1 + n + F * F) if counts else 0)


def largest_batch(shape: Shape, budget: Budget, bounds: Bounds, free: int) -> int:
    """The most rows of a batch whose work fits into so many bytes, up to those of ``bounds``, rows being as long on
    average; 0 when not even one does."""
    lo, hi = 0, bounds.rows
    while lo < hi:
        rows = (lo + hi + 1) // 2
        items = -(-bounds.items * rows // bounds.rows)
        sizes = make_sizes(shape, budget, replace(bounds, rows=rows, items=items))
        fits = max(rows, items) <= MOST_ITEMS and work_bytes(shape, sizes) <= free
        lo, hi = (rows, hi) if fits else (lo, rows - 1)
    return lo
