"""Rows and a model on a device, and the work that is timed: launch and collect, nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu.backends import Backend
from fwfm_gpu.optimizers import AdaGrad, Rule
from fwfm_gpu.parameters import Array
from fwfm_gpu.recipe import Penalties, Recipe

from .cases import L2, LEARNING_RATE, SEED, Case, Drawn, make_parameters, make_rows

REPEATS = 5
ADAGRAD = AdaGrad(LEARNING_RATE)


@dataclass(frozen=True)
class Resident:
    """What an engine holds."""

    backend: Backend
    data: Any
    model: Any
    order: Array  # (rows,) int64
    batch_size: int

    @classmethod
    def load(cls, backend: Backend, case: Case, drawn: Drawn, rule: Rule = ADAGRAD) -> Resident:
        """Everything on the device, and warm: one batch trained on, some rows scored."""
        rows = make_rows(case, drawn)
        recipe = Recipe("logistic", rule, case.batch_size, Penalties(l2_linear=L2, l2_factors=L2))
        data = backend.load_data(rows, drawn["y"])
        model = backend.load_model(make_parameters(case, rows), None, recipe)
        order = np.random.default_rng(SEED).permutation(rows.n_rows)
        warm = cls(backend, data, model, order, case.batch_size)
        warm.advance(warm.begin(), 1)
        backend.score(model, backend.load_data(rows.take(slice(case.batch_size))))
        return warm

    @property
    def batches(self) -> int:
        """Of one pass over all rows."""
        return math.ceil(len(self.order) / self.batch_size)

    def begin(self) -> Any:
        """A run over all rows."""
        return self.backend.begin(self.model, self.data, self.order)

    def advance(self, run: Any, batches: int) -> None:
        """Launch batches and wait for them."""
        self.backend.advance(run, batches)
        done = self.backend.collect(run)
        if done.first_bad is not None:
            raise ArithmeticError(f"batch {done.first_bad} is not finite: its step was left out, and time would lie")

    def train_rate(self) -> int:
        """Rows per second of training: passes of all batches, the fastest counts."""
        runs = [self.begin() for _ in range(REPEATS)]
        return round(len(self.order) / min(seconds(lambda run=run: self.advance(run, self.batches)) for run in runs))

    def score_rate(self) -> int:
        """Rows per second of scoring, the fastest pass counts."""
        passes = [seconds(lambda: self.backend.score(self.model, self.data)) for _ in range(REPEATS)]
        return round(len(self.order) / min(passes))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of some work."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
