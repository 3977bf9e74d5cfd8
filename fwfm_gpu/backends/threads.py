"""Threads for kernels that release the GIL. Who does what never decides the order of a sum.

One pool serves all engines of a process. A child of ``fork`` has none of its parent's threads, so it starts with a new
pool. The caller works too and waits for nobody's turn: a pool that others keep busy cannot block it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

from fwfm_gpu.errors import OptionError

__all__ = ["choose_threads", "each"]

Work = Callable[[int, int], None]  # (worker, task)

VARIABLE = "FWFM_NUM_THREADS"
MOST = 64  # threads of the pool


class Pool:
    """The threads of one process, begun when first needed."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget the threads of a parent process."""
        self.lock = threading.Lock()
        self.executor: ThreadPoolExecutor | None = None

    def submit(self, drain: Callable[[int], None], worker: int) -> Future[None]:
        """Hand work to a thread that is free. Where no thread can be had, all that waits is cancelled."""
        with self.lock:
            if self.executor is None:
                self.executor = ThreadPoolExecutor(MOST, "fwfm")
            try:
                return self.executor.submit(drain, worker)
            except RuntimeError:
                self.executor.shutdown(wait=False, cancel_futures=True)
                self.executor, nobody = None, Future[None]()
                return nobody


pool = Pool()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.renew)


def choose_threads(n_threads: int | None) -> int:
    """How many threads to use: as asked, else as ``FWFM_NUM_THREADS`` says, else one per core that is ours; 64 at most.

    Raises
    ------
    OptionError
        The number or the variable is not a positive integer.
    """
    if n_threads is not None:
        if n_threads < 1:
            raise OptionError(f"n_threads must be a positive integer; got {n_threads}.")
        return min(n_threads, MOST)
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return min(count_cores(), MOST)
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(f"{VARIABLE} must be a positive integer; got {text!r}.")
    return min(int(text), MOST)


def count_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(threads: int, tasks: int, work: Work) -> None:
    """Call ``work(worker, task)`` for each task, on at most so many threads; no two calls at once have one worker.

    Returns when all calls have. The first error of a call is raised then, and tasks not yet begun are left out.
    """
    todo = count()
    failed: list[BaseException] = []

    def drain(worker: int) -> None:
        while not failed and (task := next(todo)) < tasks:
            try:
                work(worker, task)
            except BaseException as error:
                failed.append(error)

    helpers: list[Future[None]] = []

    def join() -> None:
        for helper in helpers:
            if not helper.cancel():  # one that has not begun is not needed any more
                helper.result()

    try:
        for worker in range(1, min(threads, tasks)):
            helpers.append(pool.submit(drain, worker))
        drain(0)
        join()
    except BaseException as error:  # Ctrl-C
        failed.append(error)
        join()
    if failed:
        raise failed[0]
