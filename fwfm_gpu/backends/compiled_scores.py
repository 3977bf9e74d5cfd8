"""Scores without gradients, compiled (numerics 3)."""

from __future__ import annotations

from fwfm_gpu.backends.compiled_alone import gather_alone, lay_alone, score_alone
from fwfm_gpu.backends.compiled_gradients import count_short, open_side, prepare, score_side, sort_block, store_scores
from fwfm_gpu.backends.compiled_work import Work, row_at
from fwfm_gpu.backends.lanes import LANES
from fwfm_gpu.numerics import ROW_BLOCK

__all__ = ["score_blocks"]


def score_blocks(work: Work, first_block: int, last_block: int) -> None:
    """Scores of some row blocks, into ``work.s``."""
    prepare(work)
    for number in range(first_block, last_block):
        first = number * ROW_BLOCK
        count = min(ROW_BLOCK, len(work.numbers) - first)
        sort_block(work, first, count)
        short = count_short(work, count)
        for at in range(0, short, LANES):
            side = open_side(work, first, at, short)
            for c in range(len(work.theta.w0)):
                store_scores(work, side, c, score_side(work, side, c))
        for i in range(short, count):
            position = first + work.block.order[i]
            lay_alone(work.rows, row_at(work, position), work.alone)
            for c in range(len(work.theta.w0)):
                gather_alone(work.theta, c, work.alone)
                work.s[position, c] = score_alone(work.theta, c, work.alone)
