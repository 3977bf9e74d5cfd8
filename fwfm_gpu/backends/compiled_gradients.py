"""Row gradients of whole row blocks, compiled: the row stage, put together (numerics 3 to 6).

Rows of one row block that are of similar length go side by side. Very long ones go alone (compiled_alone.py).
"""

from __future__ import annotations

from typing import Any

from fwfm_gpu.backends.compiled_alone import gather_alone, gradients_alone, lay_alone, r_of, score_alone
from fwfm_gpu.backends.compiled_items import find_distinct, sum_items
from fwfm_gpu.backends.compiled_rows import (
    SHARES_R,
    TOGETHER,
    K,
    fetch_ahead,
    gather_parameters,
    lay_out,
    look_up_fields,
    pair_gradients,
    position_gradients,
    scatter_factors,
    score_rows,
)
from fwfm_gpu.backends.compiled_slopes import lay_targets, scalar_slopes
from fwfm_gpu.backends.compiled_slots import add_pairs, clear_pairs, keep_pairs, list_slots
from fwfm_gpu.backends.compiled_work import ALONE, LISTED, LONGEST, PATTERNED, Side, Work, length_of, row_at
from fwfm_gpu.backends.lanes import LANES, inlined, load, prefetch, store
from fwfm_gpu.numerics import ROW_BLOCK

__all__ = ["block_gradients", "prepare"]


# Bound when compiled.
SLOPES = scalar_slopes
SINGLE = True  # whether rows have one score

LINE = 16  # numbers of 4 bytes that memory gives at once


def prepare(work: Work) -> None:
    """Where all rows have one pattern of fields and one class: r of each pair is the same for all."""
    task, group, z = work.task, work.group, len(work.task.pattern)
    if SHARES_R:
        pair = 0
        for a in range(z if work.theta.n_factors else 0):  # the linear model has no pairs, and no room for them
            for b in range(a + 1, z):
                group.r[pair, 0] = r_of(work.theta, 0, task.pattern[a], task.pattern[b])
                pair += 1
    else:
        for p in range(z):
            for lane in range(LANES):
                group.field[p, lane] = task.pattern[p]


@inlined
def block_gradients(work: Work, number: int, following: int) -> None:
    """One row block; another that the thread may work on next."""
    first, n_classes = number * ROW_BLOCK, len(work.theta.w0)
    count = min(ROW_BLOCK, len(work.numbers) - first)
    clear_pairs(work.sums)
    fetch_rows(work, following * ROW_BLOCK)
    sort_block(work, first, count)
    find_distinct(work, first, count)
    short = count_short(work, count)
    for at in range(0, short, LANES):
        side = open_side(work, first, at, short)
        for c in range(n_classes):
            store_scores(work, side, c, score_side(work, side, c))
        store_slopes(work, at, short - at)
        if SINGLE:
            side_gradients(work, side, 0)
    if ALONE:
        for i in range(short, count):
            long_row(work, first, i)
    for c in range(n_classes):
        if not SINGLE:
            for at in range(0, short, LANES):
                side = open_side(work, first, at, short)
                score_side(work, side, c)
                side_gradients(work, side, c)
        if LISTED:
            list_slots(work, first, c, count)
        sum_items(work, c, work.block.starts[count])


def long_row(work: Work, first: int, at: int) -> None:
    """A row that goes alone; its gradients of R are made when the slots are listed."""
    theta, alone = work.theta, work.alone
    place, row = work.block.order[at], work.block.picked[at]
    start = work.block.starts[place]
    k = K if K else theta.n_factors
    lay_alone(work.rows, row, alone)
    for c in range(len(theta.w0)):
        gather_alone(theta, c, alone)
        work.group.s[c, 0] = score_alone(theta, c, alone)
        work.s[first + place, c] = work.group.s[c, 0]
    store_slopes(work, at, 1)
    for c in range(len(theta.w0)):
        g, gV = work.sums.g[c, place], work.block.gV[c]
        for a in range(alone.z[0]):
            work.block.gw[c, start + a] = g * alone.x[a]
            if k > 0:
                gradients_alone(theta, c, a, g, alone)
            for t in range(k):
                gV[(start + a) * k + t] = alone.gV[t]


def sort_block(work: Work, first: int, count: int) -> None:
    """The rows of a block by length, stable; where their items start."""
    order, picked, starts = work.block.order, work.block.picked, work.block.starts
    starts[0] = 0
    for i in range(count):
        row, j = row_at(work, first + i), i
        length = length_of(work.rows, row)
        starts[i + 1] = starts[i] + length
        while j > 0 and length_of(work.rows, picked[j - 1]) > length:
            picked[j], order[j] = picked[j - 1], order[j - 1]
            j -= 1
        picked[j], order[j] = row, i


def fetch_rows(work: Work, first: int) -> None:
    """Say which rows come next."""
    for position in range(first, min(first + ROW_BLOCK, len(work.numbers))):
        row = row_at(work, position)
        for p in range(work.rows.indptr[row], work.rows.indptr[row + 1], LINE):
            prefetch(work.rows.indices, p)
            prefetch(work.rows.values, p * work.rows.step)


@inlined
def count_short(work: Work, count: int) -> int:
    """How many rows of the block go side by side."""
    short = count
    if ALONE:
        while short > 0 and length_of(work.rows, work.block.picked[short - 1]) > LONGEST:
            short -= 1
    return short


def open_side(work: Work, first: int, at: int, short: int) -> Side:
    """Lay out the next rows of a block."""
    shortest, longest = lay_out(work.rows, work.block.picked, at, min(LANES, short - at), work.group)
    if at == 0:
        fetch_ahead(work.rows, work.theta, work.block.picked, at, min(LANES, short))
    following = min(at + LANES, short)
    fetch_ahead(work.rows, work.theta, work.block.picked, following, min(LANES, short - following))
    if not PATTERNED:
        look_up_fields(work.rows, longest, work.group)
    return Side(first, at, shortest, longest)


def score_side(work: Work, side: Side, c: int) -> Any:
    """Scores of rows side by side."""
    gather_parameters(work.theta, c, side.longest, work.group)
    return score_rows(work.theta, c, (side.shortest, side.longest), work.group)


def store_scores(work: Work, side: Side, c: int, s: Any) -> None:
    """Scores, from lanes to rows."""
    store(work.group.s, c * LANES, s)
    count = min(len(work.numbers) - side.first, ROW_BLOCK)
    for lane in range(min(LANES, count - side.at)):
        work.s[side.first + work.block.order[side.at + lane], c] = work.group.s[c, lane]


def store_slopes(work: Work, at: int, count: int) -> None:
    """g of rows of a block, whose scores are in lanes."""
    lay_targets(work.rows, work.block.picked, at, count, work.group)
    SLOPES(work.group, work.task.smoothing)
    for c in range(work.group.g.shape[0]):
        for lane in range(min(LANES, count)):
            work.sums.g[c, work.block.order[at + lane]] = work.group.g[c, lane]


def side_gradients(work: Work, side: Side, c: int) -> None:
    """Row gradients of rows side by side, from lanes to items."""
    group, z = work.group, side.longest
    k = K if K else work.theta.n_factors
    for lane in range(LANES):
        length, start = group.length[lane], 0
        group.g[c, lane] = 0
        if length > 0:
            position = work.block.order[side.at + lane]
            start = work.block.starts[position]
            group.g[c, lane] = work.sums.g[c, position]
        for p in range(length):
            work.block.gw[c, start + p] = group.g[c, lane] * group.x[p, lane]
            group.target[p, lane] = (start + p) * k
        for p in range(length, z):
            group.target[p, lane] = -1
    if k == 0:
        return
    pair_gradients((side.shortest, z), group, load(group.g, c * LANES))
    for a in range(0, z, TOGETHER):
        position_gradients(k, a, z, group)
        for i in range(min(TOGETHER, z - a)):
            scatter_factors(k, i, group.target[a + i], group, work.block.gV[c])
    if LISTED:
        keep_pairs(work, side)
    elif work.task.learns_R:
        add_pairs(work, side, c)
