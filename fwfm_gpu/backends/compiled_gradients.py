"""Row gradients of whole row blocks, compiled: the row stage, put together (numerics 3 to 6).

Rows of one row block that are of similar length go side by side. Very long ones go alone (compiled_alone.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fwfm_gpu.backends.compiled_alone import Alone, gather_alone, gradients_alone, lay_alone, pairs_alone, score_alone
from fwfm_gpu.backends.compiled_rows import (
    Group,
    K,
    Rows,
    Theta,
    fetch_ahead,
    gather_parameters,
    lay_out,
    look_up_fields,
    look_up_r,
    pair_gradients,
    pair_start,
    position_gradients,
    scatter_factors,
    score_rows,
)
from fwfm_gpu.backends.lanes import LANES, inlined, load, prefetch, store, sum_lanes, write_columns
from fwfm_gpu.losses import logistic_slope
from fwfm_gpu.numerics import EXP_LIMIT, ROW_BLOCK, exp64
from fwfm_gpu.parameters import Array

__all__ = [
    "LONGEST",
    "Block",
    "Cut",
    "Gradients",
    "Task",
    "Work",
    "block_gradients",
    "prepare",
    "scalar_slopes",
    "softmax_slopes",
]


class Cut(NamedTuple):
    """Some whole row blocks of a batch."""

    numbers: Array  # (B,) row numbers of the batch
    first: int  # position in the batch of the first row
    n_rows: int
    starts: Array  # (n_rows + 1,) int64: where the items of each row start


class Task(NamedTuple):
    """What decides the way that rows are worked through."""

    pattern: Array  # (z,) int32: the fields of every row's items where all rows agree and are not long, else (0,)
    shares: bool  # pairs of a row may share a slot
    learns_R: bool
    smoothing: float


class Gradients(NamedTuple):
    """What the row stage hands to the coordinate stage."""

    s: Array  # (B, C) T scores of the batch; all else is of some row blocks
    g: Array  # (C, rows) T
    gw: Array  # (C, items) T
    gV: Array  # (C, items * k) T
    by_pair: Array  # (C, blocks, pairs) T: sums of R over each row block, one slot per pair; 0 before
    slot: Array  # (entries,) int64: the slots that a row block touches, as many places for each block
    by_slot: Array  # (C, entries) T: their sums over the row block
    listed: Array  # (blocks,) int64: how many slots each block touches


class Block(NamedTuple):
    """Tables of one row block; each thread has its own."""

    order: Array  # (ROW_BLOCK,) int64: positions in the block, shortest row first
    picked: Array  # (ROW_BLOCK,) int64: row numbers in that order
    cd: Array  # (ROW_BLOCK, pairs) T: c(a, b) * d(a, b), row by row
    longest: Array  # (ROW_BLOCK,) int64: the longest of the rows beside a row, which numbers its pairs
    row_sum: Array  # (F * F,) T: sums of one row by slot
    row_seen: Array  # (F * F,) int64: 1 + the row of the block that is summed, else 0
    entry: Array  # (F * F,) int64: where a slot is listed, -1: not yet
    slopes: Array  # (C,) float64


def scalar_slopes(s: Any, y: float, eps: float, slopes: Array) -> None:
    """dL/ds of a row with one score (numerics 4)."""
    slopes[0] = SLOPE(np.float64(s[0]), y, eps)


def softmax_slopes(s: Any, y: float, eps: float, slopes: Array) -> None:
    """dL/ds of a row with a score per class: `losses.softmax_gradient`, whose axes numba does not know (numerics 4)."""
    top = np.float64(s[0])
    for c in range(1, len(s)):
        top = max(top, np.float64(s[c]))
    total = 0.0
    for c in range(len(s)):
        shifted: Any = max(np.float64(s[c]) - top, -EXP_LIMIT)
        slopes[c] = exp64(shifted)
        total = total + slopes[c]
    for c in range(len(s)):
        slopes[c] = slopes[c] / total - (1 - eps if c == y else eps / (len(s) - 1))


# Bound when compiled.
SLOPE = logistic_slope
SLOPES = scalar_slopes
LISTED = True  # whether sums of R are listed by slot, not kept by pair: rows differ, or pairs of a row share a slot
SHARES_R = False  # whether there is one class and PATTERNED holds: r of a pair is the same for all rows
PATTERNED = False  # whether all rows have the same fields in the same places
ALONE = True  # whether there are rows of more than LONGEST nonzeros

LINE = 16  # numbers of 4 bytes that memory gives at once
LONGEST = 128  # nonzeros of a row that goes side by side with others


class Work(NamedTuple):
    """All that the row stage works with."""

    theta: Theta
    rows: Rows
    cut: Cut
    task: Task
    block: Block
    group: Group
    alone: Alone
    out: Gradients


class Side(NamedTuple):
    """Rows of a block that go side by side."""

    first: int  # position in the cut of the block's first row
    at: int  # place in ``Block.order`` of the first of them
    shortest: int
    longest: int


@inlined
def prepare(work: Work) -> None:
    """Where all rows have one pattern of fields and one class: r of each pair is the same for all."""
    task, group, z = work.task, work.group, len(work.task.pattern)
    for p in range(z):
        for lane in range(LANES):
            group.field[p, lane] = task.pattern[p]
    if SHARES_R:
        for a in range(z - 1 if work.theta.n_factors else 0):
            look_up_r(work.theta, 0, a, z, group, pair_start(a, z))


@inlined
def block_gradients(work: Work, number: int) -> None:
    """One row block."""
    first, n_classes = number * ROW_BLOCK, len(work.theta.w0)
    count = min(ROW_BLOCK, work.cut.n_rows - first)
    clear_pairs(work, number)
    fetch_rows(work, first + ROW_BLOCK)
    sort_block(work, first, count)
    short = count_short(work, count)
    for at in range(0, short, LANES):
        side = open_side(work, first, at, short)
        for c in range(n_classes):
            store_scores(work, side, c, score_side(work, side, c))
        for i in range(at, min(at + LANES, short)):
            slopes_of(work, first + work.block.order[i])
        if n_classes == 1:
            side_gradients(work, side, 0)
    if ALONE:
        for i in range(short, count):
            long_row(work, first + work.block.order[i])
    for c in range(n_classes):
        for at in range(0, short if n_classes > 1 else 0, LANES):
            side = open_side(work, first, at, short)
            score_side(work, side, c)
            side_gradients(work, side, c)
        if LISTED:
            list_slots(work, number, c, count)


def long_row(work: Work, position: int) -> None:
    """A row that goes alone; its gradients of R are made when the slots are listed."""
    theta, alone, out = work.theta, work.alone, work.out
    row, start = row_at(work, position), work.cut.starts[position]
    k = K if K else theta.n_factors
    lay_alone(work.rows, row, alone)
    for c in range(len(theta.w0)):
        gather_alone(theta, c, alone)
        out.s[work.cut.first + position, c] = score_alone(theta, c, alone)
    slopes_of(work, position)
    for c in range(len(theta.w0)):
        g, gV = out.g[c, position], out.gV[c]
        for a in range(alone.z[0]):
            out.gw[c, start + a] = g * alone.x[a]
            if k > 0:
                gradients_alone(theta, c, a, g, alone)
            for t in range(k):
                gV[(start + a) * k + t] = alone.gV[t]


def sort_block(work: Work, first: int, count: int) -> None:
    """The rows of a block by length, stable."""
    order, picked = work.block.order, work.block.picked
    for i in range(count):
        row, j = row_at(work, first + i), i
        length = length_of(work.rows, row)
        while j > 0 and length_of(work.rows, picked[j - 1]) > length:
            picked[j], order[j] = picked[j - 1], order[j - 1]
            j -= 1
        picked[j], order[j] = row, i


@inlined
def fetch_rows(work: Work, first: int) -> None:
    """Say which rows come next."""
    for position in range(first, min(first + ROW_BLOCK, work.cut.n_rows)):
        row = row_at(work, position)
        for p in range(work.rows.indptr[row], work.rows.indptr[row + 1], LINE):
            prefetch(work.rows.indices, p)
            prefetch(work.rows.values, p)


@inlined
def row_at(work: Work, position: int) -> int:
    """The number of a row."""
    return work.cut.numbers[work.cut.first + position]


@inlined
def length_of(rows: Rows, row: int) -> int:
    """Nonzeros of a row."""
    return rows.indptr[row + 1] - rows.indptr[row]


@inlined
def count_short(work: Work, count: int) -> int:
    """How many rows of the block go side by side."""
    short = count
    if ALONE:
        while short > 0 and length_of(work.rows, work.block.picked[short - 1]) > LONGEST:
            short -= 1
    return short


@inlined
def open_side(work: Work, first: int, at: int, short: int) -> Side:
    """Lay out the next rows of a block."""
    shortest, longest = lay_out(work.rows, work.block.picked, at, min(LANES, short - at), work.group)
    if at == 0:
        fetch_ahead(work.rows, work.theta, work.block.picked, 0, min(LANES, short))
    following = min(at + LANES, short)
    fetch_ahead(work.rows, work.theta, work.block.picked, following, min(LANES, short - following))
    if not PATTERNED:
        look_up_fields(work.rows, longest, work.group)
    return Side(first, at, shortest, longest)


@inlined
def score_side(work: Work, side: Side, c: int) -> Any:
    """Scores of rows side by side."""
    gather_parameters(work.theta, c, side.longest, work.group)
    return score_rows(work.theta, c, (side.shortest, side.longest), work.group)


@inlined
def store_scores(work: Work, side: Side, c: int, s: Any) -> None:
    """Scores, from lanes to rows."""
    store(work.group.s, 0, s)
    for lane in range(min(LANES, work.cut.n_rows - side.first - side.at, ROW_BLOCK - side.at)):
        work.out.s[work.cut.first + side.first + work.block.order[side.at + lane], c] = work.group.s[lane]


@inlined
def slopes_of(work: Work, position: int) -> None:
    """g of one row."""
    row = row_at(work, position)
    weight = work.rows.weight[row] if len(work.rows.weight) else 1.0
    g, slopes = work.out.g, work.block.slopes
    SLOPES(work.out.s[work.cut.first + position], work.rows.y[row], work.task.smoothing, slopes)
    for c in range(len(slopes)):
        g[c, position] = g.dtype.type(weight * slopes[c])


@inlined
def side_gradients(work: Work, side: Side, c: int) -> None:
    """Row gradients of rows side by side, from lanes to items."""
    group, out, z = work.group, work.out, side.longest
    k = K if K else work.theta.n_factors
    for lane in range(LANES):
        length, start = group.length[lane], 0
        group.g[lane] = 0
        if length > 0:
            position = side.first + work.block.order[side.at + lane]
            start = work.cut.starts[position]
            group.g[lane] = out.g[c, position]
        for p in range(length):
            out.gw[c, start + p] = group.g[lane] * group.x[p, lane]
            group.target[p, lane] = (start + p) * k
        for p in range(length, z):
            group.target[p, lane] = -1
    if k == 0:
        return
    pair_gradients((side.shortest, z), group, load(group.g, 0))
    for a in range(0, z, 2):
        position_gradients(k, a, z, group)
        scatter_factors(k, 0, group.target[a], group, out.gV[c])
        if a + 1 < z:
            scatter_factors(k, 1, group.target[a + 1], group, out.gV[c])
    if LISTED:
        keep_pairs(work, side)
    elif work.task.learns_R:
        add_pairs(work, side, c)


@inlined
def clear_pairs(work: Work, number: int) -> None:
    """Sums of R over a row block start at +0."""
    by_pair = work.out.by_pair
    for c in range(by_pair.shape[0]):
        for pair in range(by_pair.shape[2]):
            by_pair[c, number, pair] = 0


@inlined
def add_pairs(work: Work, side: Side, c: int) -> None:
    """One slot per pair: add the rows' gradients to the row block's sums, in row order (numerics 6)."""
    z, D = side.longest, work.group.D
    sums = work.out.by_pair[c, side.first // ROW_BLOCK]
    for pair in range(0, pair_start(z, z), LANES):
        store(sums, pair, sum_lanes(load(sums, pair), D, pair * LANES))


def keep_pairs(work: Work, side: Side) -> None:
    """c(a, b) * d(a, b) of each row, until the rows of the block can be added in order."""
    group, block, z = work.group, work.block, side.longest
    for lane in range(LANES):
        group.place[0, lane] = -1
        if group.length[lane] > 0:
            position = block.order[side.at + lane]
            group.place[0, lane], block.longest[position] = position * block.cd.shape[1], z
    for pair in range(0, pair_start(z, z), LANES):
        write_columns(block.cd, group.place[0], pair, group.D, pair * LANES, LANES)


def list_slots(work: Work, number: int, c: int, count: int) -> None:
    """Sums of R over a row block, slot by slot: pairs of a row in pair order, rows in row order (numerics 5 and 6)."""
    block, out, alone = work.block, work.out, work.alone
    begin = end = number * (len(out.slot) // len(out.listed))
    for i in range(count):
        position = number * ROW_BLOCK + i
        lay_alone(work.rows, row_at(work, position), alone)
        z = alone.z[0]
        if z > LONGEST:
            gather_alone(work.theta, c, alone)
        for a in range(z - 1):
            if z > LONGEST:
                pairs_alone(work.theta, a, out.g[c, position], alone)
            for b in range(a + 1, z):
                slot = slot_of(work, a, b)
                cd = alone.d[b] if z > LONGEST else block.cd[i, pair_start(a, block.longest[i]) + b - a - 1]
                if work.task.shares:
                    add_to_row(block, slot, i, cd)
                else:
                    end = add_to_list(work, c, slot, end, cd)
        for a in range(z - 1 if work.task.shares else 0):
            for b in range(a + 1, z):
                slot = slot_of(work, a, b)
                if block.row_seen[slot] == i + 1:
                    block.row_seen[slot] = 0
                    end = add_to_list(work, c, slot, end, block.row_sum[slot])
    for at in range(begin, end):
        block.entry[out.slot[at]] = -1
    out.listed[number] = end - begin


@inlined
def slot_of(work: Work, a: int, b: int) -> int:
    """Where r(a, b) stands in flat R, of a row alone (numerics 1)."""
    f_a, f_b = work.alone.field[a], work.alone.field[b]
    return min(f_a, f_b) * work.theta.n_fields + max(f_a, f_b)


@inlined
def add_to_row(block: Block, slot: int, i: int, value: Any) -> None:
    """Add to the row's sum of a slot, from +0."""
    if block.row_seen[slot] != i + 1:
        block.row_seen[slot] = i + 1
        block.row_sum[slot] = 0
    block.row_sum[slot] = block.row_sum[slot] + value


@inlined
def add_to_list(work: Work, c: int, slot: int, end: int, value: Any) -> int:
    """Add to the block's sum of a slot, from +0; a slot that is met first goes behind the others. Returns the end."""
    entry, out = work.block.entry, work.out
    if entry[slot] < 0:
        entry[slot], out.slot[end], out.by_slot[c, end] = end, slot, 0
        end += 1
    out.by_slot[c, entry[slot]] = out.by_slot[c, entry[slot]] + value
    return end
