"""What the row stage works with: the rows of a batch, the tables of one row block, and what is made of it."""

from __future__ import annotations

from typing import NamedTuple

from fwfm_gpu.backends.compiled_alone import Alone
from fwfm_gpu.backends.compiled_rows import Group, Rows, Theta
from fwfm_gpu.backends.lanes import inlined
from fwfm_gpu.parameters import Array

__all__ = [
    "ALONE",
    "LISTED",
    "LONGEST",
    "PATTERNED",
    "Block",
    "BlockSums",
    "Side",
    "Task",
    "Work",
    "length_of",
    "on_shelf",
    "row_at",
]

# Bound when compiled.
LISTED = True  # whether sums of R are listed by slot, not kept by pair: rows differ, or pairs of a row share a slot
PATTERNED = False  # whether all rows have the same fields in the same places
ALONE = True  # whether there are rows of more than LONGEST nonzeros

LONGEST = 128  # nonzeros of a row that goes side by side with others


class Task(NamedTuple):
    """What decides the way that rows are worked through."""

    pattern: Array  # (z,) int32: the fields of every row's items where all rows agree and are not long, else (0,)
    shares: bool  # pairs of a row may share a slot
    learns_R: bool
    smoothing: float


class BlockSums(NamedTuple):
    """What the row stage hands to the coordinate stage: the sums over one row block (numerics 6).

    Many lie side by side, each on its shelf: then every array has one axis more, in front.
    """

    g: Array  # (C, ROW_BLOCK) T, row by row
    owned: Array  # (owners + 1,) int64: how many features belong to earlier owners, at last: to all
    feature: Array  # (items,) int64: the features, owner after owner
    w: Array  # (C, items) T: the sums of gw
    V: Array  # (C, items * k) T: the sums of gV
    by_pair: Array  # (C, pairs) T: the sums of gR, where each pair has a slot of its own
    listed: Array  # (1,) int64: how many slots are touched, where they are listed
    slot: Array  # (slots,) int64: which
    by_slot: Array  # (C, slots) T: the sums of gR


class Block(NamedTuple):
    """Tables of one row block; each thread has its own. An item is a nonzero of the block, counted in row order."""

    order: Array  # (ROW_BLOCK,) int64: positions in the block, shortest row first
    picked: Array  # (ROW_BLOCK,) int64: row numbers in that order
    starts: Array  # (ROW_BLOCK + 1,) int64: where the items of each row start
    gw: Array  # (C, items) T
    gV: Array  # (C, items * k) T
    local: Array  # (items,) int32: which of the block's features each item has
    met: Array  # (items + 1,) int64: the block's features in the order in which they were met
    moved: Array  # (items,) int32: where each of them stands by owner
    ends: Array  # (owners,) int64: where the features of each owner end, as they are put in their places
    hashed: Array  # (a power of 2,) int32: where features stand among those met, by hash
    cd: Array  # (ROW_BLOCK, pairs) T: c(a, b) * d(a, b), row by row
    longest: Array  # (ROW_BLOCK,) int64: the longest of the rows beside a row, which numbers its pairs
    row_sum: Array  # (F * F,) T: sums of one row by slot
    row_seen: Array  # (F * F,) int64: 1 + the row of the block that is summed, else 0
    entry: Array  # (F * F,) int64: where a slot is listed, -1: not yet


class Work(NamedTuple):
    """All that the row stage works with."""

    theta: Theta
    rows: Rows
    task: Task
    numbers: Array  # (B,) int64: row numbers of the batch
    s: Array  # (B, C) T: its scores
    block: Block
    group: Group
    alone: Alone
    sums: BlockSums


class Side(NamedTuple):
    """Rows of a block that go side by side."""

    first: int  # position in the batch of the block's first row
    at: int  # place in ``Block.order`` of the first of them
    shortest: int
    longest: int


@inlined
def on_shelf(sums: BlockSums, shelf: int) -> BlockSums:
    """One of many."""
    return BlockSums(
        sums.g[shelf],
        sums.owned[shelf],
        sums.feature[shelf],
        sums.w[shelf],
        sums.V[shelf],
        sums.by_pair[shelf],
        sums.listed[shelf],
        sums.slot[shelf],
        sums.by_slot[shelf],
    )


@inlined
def row_at(work: Work, position: int) -> int:
    """The number of the row at a position of the batch."""
    return work.numbers[position]


@inlined
def length_of(rows: Rows, row: int) -> int:
    """Nonzeros of a row."""
    return rows.indptr[row + 1] - rows.indptr[row]
