"""The sums of a batch, compiled: the row stage and the block sums of some row blocks after others.

Few row blocks at a time, so that what is summed has not left the caches.
"""

from __future__ import annotations

from fwfm_gpu.backends.compiled_coordinates import Sums, Touched, sum_features, sum_others
from fwfm_gpu.backends.compiled_gradients import block_gradients, prepare
from fwfm_gpu.backends.compiled_work import Cut, Gradients, Work
from fwfm_gpu.backends.lanes import tables, take_next
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array

__all__ = ["sum_batch", "sum_cut", "sum_others_of_cut", "work_blocks"]


def sum_batch(work: Work, begins: Array, touched: Touched, sums: Sums, known: Array) -> int:
    """All of a batch on one thread, as many rows at a time as the cut has. Returns how many slots of R it touches.

    ``begins``: where the items of each row block of the batch begin, (blocks + 1,) int64.
    """
    work, begins, touched, sums, known = tables(work), tables(begins), tables(touched), tables(sums), tables(known)
    prepare(work)
    slots, numbers, begin = -1, work.cut.numbers, work.cut.begin
    for first in range(0, len(numbers), work.cut.n_rows):
        cut = Cut(numbers, first, min(work.cut.n_rows, len(numbers) - first), begin)
        part = Work(work.theta, work.rows, cut, work.task, work.block, work.group, work.alone, work.out)
        blocks = (cut.n_rows + ROW_BLOCK - 1) // ROW_BLOCK
        for block in range(blocks + 1):
            begin[block] = begins[first // ROW_BLOCK + block] - begins[first // ROW_BLOCK]
        for block in range(blocks):
            block_gradients(part, block)
        sum_features(cut, work.out, touched, sums, 0)
        slots = sum_others(work.out, sums, cut.n_rows, known, slots)
    return slots


def work_blocks(work: Work, counter: Array) -> None:
    """Scores, row gradients and block sums, from the parameters frozen at the start of the batch.

    Of the row blocks that no other thread takes.
    """
    work, counter = tables(work), tables(counter)
    prepare(work)
    blocks = (work.cut.n_rows + ROW_BLOCK - 1) // ROW_BLOCK
    block = take_next(counter)
    while block < blocks:
        block_gradients(work, block)
        block = take_next(counter)


def sum_cut(cut: Cut, out: Gradients, touched: Touched, sums: Sums, owner: int) -> None:
    """`sum_features`, from Python."""
    sum_features(tables(cut), tables(out), tables(touched), tables(sums), owner)


def sum_others_of_cut(out: Gradients, sums: Sums, count: int, known: Array, slots: int) -> int:
    """`sum_others`, from Python."""
    return sum_others(tables(out), tables(sums), count, tables(known), slots)
