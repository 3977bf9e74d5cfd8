"""The sums of a batch, compiled: row blocks are computed by whatever thread is free, and added up in their order.

A thread leaves the sums of a row block on a shelf. Then it adds to the totals of the batch what lies there and is next
in order, unless another thread is at that: one that is looks again before it leaves. So nobody waits for anybody, and
what a thread adds was mostly made by itself, a moment ago, in its own cache.
"""

from __future__ import annotations

from typing import NamedTuple

from fwfm_gpu.backends.compiled_coordinates import Sums, Touched, sum_features, sum_others
from fwfm_gpu.backends.compiled_gradients import block_gradients, prepare
from fwfm_gpu.backends.compiled_work import Work, on_shelf
from fwfm_gpu.backends.lanes import atomic_add, atomic_read, atomic_swap, inlined
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array

__all__ = ["Queue", "sum_blocks"]


class Queue(NamedTuple):
    """How far the row blocks of a batch are. Totals have owners: some for the features, the last for w0 and R."""

    taken: Array  # (1,) int64: how many blocks have been begun
    shelf: Array  # (blocks,) int64: 1 + the shelf of a block that was computed, else 0
    added: Array  # (owners, PAD) int64: how many blocks are in the totals
    busy: Array  # (owners, PAD) int64: 1 while a thread adds to them
    left: Array  # (threads, shelves of each) int64: for how many totals a shelf is still needed
    slots: Array  # (1,) int64: how many slots of R have been touched


def sum_blocks(work: Work, queue: Queue, touched: Touched, sums: Sums, thread: int) -> bool:
    """Row blocks that no other thread takes, until none is left.

    ``work.sums`` are those of all shelves. Returns False when all of the thread's own are full: call again.
    """
    prepare(work)
    while True:
        shelf = find_shelf(queue, thread)
        if shelf < 0:
            return False
        number = atomic_add(queue.taken, 0, 1)
        if number >= len(queue.shelf):
            return True
        own = Work(
            work.theta,
            work.rows,
            work.task,
            work.numbers,
            work.s,
            work.block,
            work.group,
            work.alone,
            on_shelf(work.sums, shelf),
        )
        block_gradients(own, number, number + len(queue.left))
        atomic_swap(queue.left, shelf, len(queue.busy))
        atomic_swap(queue.shelf, number, shelf + 1)
        for owner in range(len(queue.busy)):
            add_in_order(work, queue, touched, sums, owner)


@inlined
def find_shelf(queue: Queue, thread: int) -> int:
    """An empty shelf of the thread, -1: there is none."""
    shelves = queue.left.shape[1]
    for shelf in range(thread * shelves, (thread + 1) * shelves):
        if atomic_read(queue.left, shelf) == 0:
            return shelf
    return -1


def add_in_order(work: Work, queue: Queue, touched: Touched, sums: Sums, owner: int) -> None:
    """Add to the totals of one owner the row blocks that are next, as far as they have been computed (numerics 6)."""
    at = owner * queue.busy.shape[1]
    while next_shelf(queue, at) >= 0:
        if atomic_swap(queue.busy, at, 1) == 1:
            return
        shelf = next_shelf(queue, at)
        while shelf >= 0:
            block = on_shelf(work.sums, shelf)
            if owner < len(touched.size):
                sum_features(block, touched, sums, owner)
            else:
                number = atomic_read(queue.added, at)
                count = min(ROW_BLOCK, len(work.numbers) - number * ROW_BLOCK)
                queue.slots[0] = sum_others(block, sums, count, queue.slots[0] if number > 0 else -1)
            atomic_add(queue.left, shelf, -1)
            atomic_add(queue.added, at, 1)
            shelf = next_shelf(queue, at)
        atomic_swap(queue.busy, at, 0)


@inlined
def next_shelf(queue: Queue, at: int) -> int:
    """Where the block that is next for some totals lies, -1: it has not been computed, or all have been added."""
    number = atomic_read(queue.added, at)
    return atomic_read(queue.shelf, number) - 1 if number < len(queue.shelf) else -1
