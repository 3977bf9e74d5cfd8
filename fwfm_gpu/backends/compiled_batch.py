"""The sums of a batch, compiled: the row stage, the plan and the block sums of some row blocks after others.

Few row blocks at a time, so that their gradients are summed before they leave the caches.
"""

from __future__ import annotations

from fwfm_gpu.backends.compiled_coordinates import Sums, sum_features, sum_others
from fwfm_gpu.backends.compiled_gradients import Cut, Gradients, Work, block_gradients, prepare
from fwfm_gpu.backends.compiled_plan import Plan, Touched, lay_items, plan_rows
from fwfm_gpu.backends.compiled_rows import Rows
from fwfm_gpu.backends.lanes import tables
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array

__all__ = ["lay_cut", "plan_cut", "sum_batch", "sum_cut", "sum_others_of_cut", "work_blocks"]


def sum_batch(work: Work, plan: Plan, touched: Touched, sums: Sums, known: Array, rows: int) -> int:
    """All of a batch on one thread, so many rows at a time. Returns how many slots of R it touches."""
    work, plan, touched, sums, known = tables(work), tables(plan), tables(touched), tables(sums), tables(known)
    prepare(work)
    slots = -1
    for first in range(0, len(work.cut.numbers), rows):
        count = min(rows, len(work.cut.numbers) - first)
        cut = Cut(work.cut.numbers, first, count, plan.starts)
        part = Work(work.theta, work.rows, cut, work.task, work.block, work.group, work.alone, work.out)
        met = touched.size[0]
        lay_items(work.rows, cut, plan)
        distinct = plan_rows(work.rows, cut, plan, touched)
        for block in range((count + ROW_BLOCK - 1) // ROW_BLOCK):
            block_gradients(part, block)
        sum_features(plan, work.out, sums, met, (0, distinct))
        slots = sum_others(work.out, sums, count, known, slots)
    return slots


def lay_cut(rows: Rows, cut: Cut, plan: Plan) -> None:
    """`lay_items`, from Python."""
    lay_items(tables(rows), tables(cut), tables(plan))


def plan_cut(rows: Rows, cut: Cut, plan: Plan, touched: Touched) -> int:
    """`plan_rows`, from Python."""
    return plan_rows(tables(rows), tables(cut), tables(plan), tables(touched))


def work_blocks(work: Work, first_block: int, last_block: int) -> None:
    """Scores and row gradients of some row blocks, from the parameters frozen at the start of the batch."""
    work = tables(work)
    prepare(work)
    for block in range(first_block, last_block):
        block_gradients(work, block)


def sum_cut(plan: Plan, out: Gradients, sums: Sums, met: int, part: tuple[int, int]) -> None:
    """`sum_features`, from Python."""
    sum_features(tables(plan), tables(out), tables(sums), met, part)


def sum_others_of_cut(out: Gradients, sums: Sums, count: int, known: Array, slots: int) -> int:
    """`sum_others`, from Python."""
    return sum_others(tables(out), tables(sums), count, tables(known), slots)
