"""Row blocks that threads compute in any order are added up in theirs: each once, whoever is slow (numerics 6)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed: there is no compiled engine")

from machine_cases import in_python

from fwfm_gpu.backends import lanes
from fwfm_gpu.backends.compiled_batch import Queue, sum_blocks
from fwfm_gpu.backends.compiled_work import Work
from fwfm_gpu.numerics import ROW_BLOCK

PAD = 16
PATIENCE = 20.0  # seconds until a test gives up


@dataclass
class Batch:
    """A batch of row blocks whose sums are their numbers; ``sum_blocks`` runs in Python."""

    blocks: int
    threads: int
    shelves: int  # of each thread
    owners: int
    delays: Any = 0.0  # seconds that a block takes
    pauses: np.random.Generator = field(default_factory=partial(np.random.default_rng, 0))
    first: threading.Event = field(default_factory=threading.Event)  # what block 0 waits for
    added: dict[int, list[int]] = field(default_factory=dict)  # owner -> numbers, in the order in which they were added

    def __post_init__(self) -> None:
        self.delays = np.broadcast_to(self.delays, self.blocks)
        self.first.set()
        self.added = {owner: [] for owner in range(self.owners + 1)}
        self.sums = np.full(self.threads * self.shelves, -1)  # by shelf
        owners, integers = self.owners + 1, np.int64
        self.queue = Queue(
            np.zeros(1, integers),
            np.zeros(self.blocks, integers),
            np.zeros((owners, PAD), integers),
            np.zeros((owners, PAD), integers),
            np.zeros((self.threads, self.shelves), integers),
            np.zeros(1, integers),
        )
        stand_ins = {
            "prepare": lambda work: None,
            "block_gradients": self.compute,
            "on_shelf": lambda sums, shelf: slice(shelf, shelf + 1),
            "sum_features": lambda shelf, touched, sums, owner: self.add(owner, shelf),
            "sum_others": self.add_others,
        }
        for operation in (lanes.atomic_add, lanes.atomic_read, lanes.atomic_swap):
            stand_ins[operation.__name__] = self.dawdle(operation)
        self.kernel = in_python(sum_blocks, **stand_ins)
        self.begun: list[int] = []

    def before(self) -> None:
        """What happens before each operation on what threads share."""
        for _ in range(self.pauses.integers(3)):
            time.sleep(0)

    def dawdle(self, operation: Callable[..., int]) -> Callable[..., int]:
        """An operation before and after which others may come."""

        def late(*arguments: Any) -> int:
            self.before()
            answer = operation(*arguments)
            if self.pauses.random() < 0.2:
                time.sleep(1e-5)
            return answer

        return late

    def compute(self, work: Work, number: int, following: int) -> None:
        """A row block: its number goes on the shelf."""
        self.begun.append(number)
        if number == 0:
            assert self.first.wait(PATIENCE)
        time.sleep(self.delays[number])
        before = int(self.sums[work.sums].item())
        assert before < 0 or all(before in numbers for numbers in self.added.values())  # nobody needs it any more
        self.sums[work.sums] = number

    def add(self, owner: int, shelf: slice) -> None:
        """The number on a shelf goes to the totals."""
        self.added[owner].append(int(self.sums[shelf].item()))

    def add_others(self, shelf: slice, sums: Any, count: int, slots: int) -> int:
        """w0 and R: how many slots there are is handed on from block to block."""
        number = len(self.added[self.owners])
        assert slots == (10 * number if number else -1)
        assert count == (ROW_BLOCK if number < self.blocks - 1 else 1)
        self.add(self.owners, shelf)
        return 10 * (number + 1)

    def run(self, thread: int) -> bool:
        """What one thread does until there is nothing left, or no room."""
        numbers = np.empty((self.blocks - 1) * ROW_BLOCK + 1)
        work = Work(*[None] * 3, numbers, *[None] * 4, sums=None)
        touched = SimpleNamespace(size=np.zeros(self.owners))
        return bool(self.kernel(work, self.queue, touched, None, thread))

    def finish(self, thread: int) -> int:
        """All that one thread does. Returns how often it found no room."""
        waits, limit = 0, time.monotonic() + PATIENCE
        while not self.run(thread):
            assert time.monotonic() < limit
            waits += 1
            time.sleep(1e-4)
        return waits

    def check(self) -> None:
        assert sorted(self.begun) == list(range(self.blocks))
        assert all(numbers == list(range(self.blocks)) for numbers in self.added.values())
        assert self.queue.slots[0] == 10 * self.blocks
        assert not self.queue.left.any() and not self.queue.busy.any()


@pytest.mark.parametrize("owners", [1, 3])
@pytest.mark.parametrize("shelves", [1, 2, 40])
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_blocks_are_added_in_order_and_once(threads, shelves, owners):
    for seed in range(3):
        generator = np.random.default_rng(seed)
        batch = Batch(40, threads, shelves, owners, generator.choice([0, 0, 1e-4, 3e-3], 40), generator)
        with ThreadPoolExecutor(threads) as pool:
            waits = list(pool.map(batch.finish, range(threads)))
        batch.check()
        if threads == 1 or shelves == 40:
            assert sum(waits) == 0


@pytest.mark.parametrize("shelves", [1, 2])
@pytest.mark.parametrize("blocks", [2, 3])
def test_another_thread_may_come_between_any_two_operations(blocks, shelves):
    """Also while one that has looked for the last block in vain is about to leave."""
    moment, reached = 0, True
    while reached:
        batch, seen = Batch(blocks, 2, shelves, 1), 0
        reached = False

        def come(batch=batch, moment=moment):
            nonlocal seen, reached
            seen += 1
            if seen == moment + 1:
                reached = True
                batch.run(1)

        batch.before = come
        assert any(batch.run(0) for _ in range(3))
        assert batch.run(1)
        batch.check()
        moment += 1
    assert moment > 20


def test_threads_run_ahead_of_a_slow_one_as_far_as_there_is_room():
    batch = Batch(20, 2, 3, 1)
    batch.first.clear()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(batch.finish, 0)
        while not batch.begun:
            time.sleep(1e-3)
        assert not batch.run(1)
        assert batch.begun == [0, 1, 2, 3]
        assert batch.added == {0: [], 1: []}
        assert not batch.run(1)  # as long as nothing is added
        batch.first.set()
        assert slow.result() == 0
    batch.check()


def test_a_thread_that_comes_late_finds_nothing_to_do():
    batch = Batch(5, 2, 1, 1)
    assert batch.finish(0) == 0
    batch.check()
    assert batch.run(1)
    batch.check()
