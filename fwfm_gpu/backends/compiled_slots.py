"""Sums of R over a row block, compiled (numerics 5 and 6).

Where all rows have the same distinct fields each pair is a slot, and rows are added side by side. Else the slots that a
block touches are listed, and rows are added one after another.
"""

from __future__ import annotations

from typing import Any

from fwfm_gpu.backends.compiled_alone import gather_alone, lay_alone, pairs_alone
from fwfm_gpu.backends.compiled_rows import pair_start
from fwfm_gpu.backends.compiled_work import LONGEST, Block, BlockSums, Side, Work, row_at
from fwfm_gpu.backends.lanes import LANES, inlined, load, store, sum_lanes, write_columns

__all__ = ["add_pairs", "clear_pairs", "keep_pairs", "list_slots"]


@inlined
def clear_pairs(sums: BlockSums) -> None:
    """Sums of R over a row block start at +0."""
    for c in range(sums.by_pair.shape[0]):
        for pair in range(sums.by_pair.shape[1]):
            sums.by_pair[c, pair] = 0


@inlined
def add_pairs(work: Work, side: Side, c: int) -> None:
    """One slot per pair: add the rows' gradients to the row block's sums, in row order (numerics 6)."""
    z, D = side.longest, work.group.D
    sums = work.sums.by_pair[c]
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


def list_slots(work: Work, first: int, c: int, count: int) -> None:
    """Sums of R over a row block, slot by slot: pairs of a row in pair order, rows in row order (numerics 5 and 6)."""
    block, sums, alone = work.block, work.sums, work.alone
    end = 0
    for i in range(count):
        lay_alone(work.rows, row_at(work, first + i), alone)
        z = alone.z[0]
        if z > LONGEST:
            gather_alone(work.theta, c, alone)
        for a in range(z - 1):
            if z > LONGEST:
                pairs_alone(work.theta, a, sums.g[c, i], alone)
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
    for at in range(end):
        block.entry[sums.slot[at]] = -1
    sums.listed[0] = end


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
    entry, sums = work.block.entry, work.sums
    if entry[slot] < 0:
        entry[slot], sums.slot[end], sums.by_slot[c, end] = end, slot, 0
        end += 1
    sums.by_slot[c, entry[slot]] = sums.by_slot[c, entry[slot]] + value
    return end
