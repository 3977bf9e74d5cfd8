"""The compiled engine: the numerics contract as machine code for the processor, on several threads.

The stages are those of every engine::

    plan         compiled_items.py        the distinct features of each row block, by a hash table. Integers only
    rows         compiled_gradients.py    score, loss gradient, row gradients (numerics 3 to 5); lanes are rows
    coordinates  compiled_coordinates.py  ordered batch sums, one step each (numerics 6 and 7); lanes are factors

Kernels are plain Python, compiled by numba (compiled.py). Threads share row blocks in one stage and features in the
other, so that their number changes no bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fwfm_gpu.backends.compiled import machine, widest_lanes
from fwfm_gpu.backends.compiled_scores import score_blocks
from fwfm_gpu.backends.compiled_step import Stepper, common_factors
from fwfm_gpu.backends.compiled_structures import Packed
from fwfm_gpu.backends.compiled_tables import (
    Room,
    Shape,
    choose_way,
    make_block_sums,
    make_rows,
    make_task,
    make_theta,
    make_worker,
)
from fwfm_gpu.backends.compiled_work import Work
from fwfm_gpu.backends.numpy_resident import Data, HostEngine, HostRun, Model
from fwfm_gpu.backends.threads import choose_threads, each
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Array, make_aligned

__all__ = ["CompiledBackend", "Run"]

SCORED_AT_ONCE = 64  # row blocks of a task


@dataclass
class Run(HostRun):
    """One pass over the rows."""

    stepper: Stepper = field(kw_only=True)

    def step(self, rows: Array) -> float | None:
        return self.stepper.step(rows)


class CompiledBackend(HostEngine):
    """The seam of ``fwfm_gpu.backends``, compiled: it keeps what the NumPy engine keeps, and has its own arithmetic.

    Parameters
    ----------
    n_threads : int, optional
        Without it ``FWFM_NUM_THREADS``, or one per core. Never changes a bit.
    """

    name = "cpu"

    def __init__(self, n_threads: int | None = None) -> None:
        super().__init__()
        self.threads = choose_threads(n_threads)

    def begin(
        self, model: Model, data: Data, order: Array, loss: float = 0.0, learning_rate: float | None = None
    ) -> Run:
        model = model.at_rate(learning_rate)
        stepper = Stepper(model, data, self.threads)
        return Run(model, data, np.ascontiguousarray(order, np.int64), loss, stepper=stepper)

    def score(self, model: Model, data: Data) -> Array:
        return score_rows(model, data, self.threads)


def score_rows(model: Model, data: Data, threads: int) -> Array:
    """Raw scores, (rows, C) of T."""
    p = model.parameters
    shape = Shape(p.n_classes, p.n_factors, p.n_fields, int(data.lengths.max(initial=0)), False, p.dtype)
    theta, rows, task = make_theta(p), make_rows(data), make_task(data, model)
    n_rows, sums = len(data.lengths), make_block_sums(Room({}), shape, 0, 0, 1)
    numbers, s = np.arange(n_rows), make_aligned((n_rows, p.n_classes), p.dtype)
    blocks = -(-n_rows // ROW_BLOCK)
    way = choose_way(task, p.n_classes, shape.longest) | {"KEEPS": False, "K": common_factors(p.n_factors)}
    kernel = machine(score_blocks, **way)
    workers = [make_worker(shape, widest_lanes()) for _ in range(min(threads, -(-blocks // SCORED_AT_ONCE)))]
    works = [Packed(Work(theta, rows, task, numbers, s, *own, sums)) for own in workers]

    def work(worker: int, part: int) -> None:
        first = part * SCORED_AT_ONCE
        kernel(works[worker], first, min(first + SCORED_AT_ONCE, blocks))

    each(threads, -(-blocks // SCORED_AT_ONCE), work)
    return s
