"""How fast mini-batches are trained on: plan, rows and coordinates together."""

from __future__ import annotations

from dataclasses import replace

from fwfm_gpu.optimizers import RULES

from .cases import CASES, Cases
from .engines import WITH_THREADS, require
from .resident import Resident
from .work import Draws, OnCases, WithFactors


class Training(OnCases):
    """AdaGrad, each case."""

    def track_rows_per_second(self, drawn: Draws, backend: str, case: str) -> int:
        return self.resident.train_rate()


class TrainingFactors(WithFactors):
    """Each number of factors, where the products of factors weigh most: many fields."""

    def track_rows_per_second(self, drawn: Draws, backend: str, k: int) -> int:
        return self.resident.train_rate()


class TrainingBatches(Cases):
    """Each batch size, where what a batch costs beside its rows weighs most: few factors, few nonzeros."""

    params = (WITH_THREADS, [256, 1024, 8192])
    param_names = ("backend", "batch_size")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, batch_size: int) -> None:
        case = replace(CASES["frappe"], batch_size=batch_size)
        self.resident = Resident.load(require(backend), case, drawn["frappe"])

    def track_rows_per_second(self, drawn: Draws, backend: str, batch_size: int) -> int:
        return self.resident.train_rate()


class TrainingRules(Cases):
    """Each rule, where steps weigh most against rows: few factors, few nonzeros."""

    params = (WITH_THREADS, list(RULES))
    param_names = ("backend", "rule")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, rule: str) -> None:
        self.resident = Resident.load(require(backend), CASES["frappe"], drawn["frappe"], RULES[rule](0.01))

    def track_rows_per_second(self, drawn: Draws, backend: str, rule: str) -> int:
        return self.resident.train_rate()
