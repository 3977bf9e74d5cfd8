"""Passes over the training rows, part by part: in memory there is one part, a stream has many.

The order of rows is one for all parts together, so that a batch never knows where a part begins (numerics 8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from fwfm_gpu.backends import Backend
from fwfm_gpu.parameters import Array
from fwfm_gpu.problem import Problem

__all__ = ["MemoryPasses", "Part", "Passes"]

Part = tuple[Any, Array]  # rows resident on the device, and the order in which to visit them


class Passes(Protocol):
    """Rows to train on, as often as they are asked for.

    Attributes
    ----------
    batches : int
        Of one epoch.
    total_weight : float
        Of all rows to train on.
    """

    batches: int
    total_weight: float

    def parts(self, generator: np.random.Generator | None, first: int, stopped: Callable[[], bool]) -> Iterator[Part]:
        """One epoch from batch ``first`` on, in parts of whole batches; the last batch of all may be shorter.

        The orders are drawn from the generator as an epoch that starts at batch 0 draws them; without one, rows are
        visited as they stand. It ends early when ``stopped`` says so. A part may be let go before the next is made:
        hold none longer than needed.
        """


class MemoryPasses:
    """Rows that are all there: one part, loaded once."""

    def __init__(self, backend: Backend, problem: Problem, batch_size: int) -> None:
        self.visited, self.batch_size = problem.visited, batch_size
        self.data = backend.load_data(problem.rows, problem.y, problem.weight)
        self.batches = math.ceil(len(problem.visited) / batch_size)
        weight = problem.weight
        self.total_weight = float(len(self.visited)) if weight is None else math.fsum(weight[self.visited])

    def parts(self, generator: np.random.Generator | None, first: int, stopped: Callable[[], bool]) -> Iterator[Part]:
        yield self.data, self.draw_order(generator)[first * self.batch_size :]

    def draw_order(self, generator: np.random.Generator | None) -> Array:
        """One permutation of the training rows, (m,) int64 (numerics 8)."""
        return self.visited if generator is None else generator.permutation(self.visited)
