"""How fast mini-batches are trained on: plan, rows and coordinates together."""

from __future__ import annotations

from dataclasses import replace

from fwfm_gpu.optimizers import RULES

from .cases import CASES, Cases, Drawn
from .engines import WITH_THREADS
from .resident import Resident

Draws = dict[str, Drawn]


class Training(Cases):
    """AdaGrad, each case."""

    params = (WITH_THREADS, list(CASES))
    param_names = ("backend", "case")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, case: str) -> None:
        self.resident = Resident.load(backend, CASES[case], drawn[case])

    def track_rows_per_second(self, drawn: Draws, backend: str, case: str) -> int:
        return self.resident.train_rate()


class TrainingFactors(Cases):
    """Each number of factors, where the products of factors weigh most: many fields. 10 is no multiple of a vector."""

    params = (WITH_THREADS, [8, 10, 16, 32])
    param_names = ("backend", "k")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, k: int) -> None:
        self.resident = Resident.load(backend, replace(CASES["criteo"], n_factors=k), drawn["criteo"])

    def track_rows_per_second(self, drawn: Draws, backend: str, k: int) -> int:
        return self.resident.train_rate()


class TrainingBatches(Cases):
    """Each batch size, where what a batch costs beside its rows weighs most: few factors, few nonzeros."""

    params = (WITH_THREADS, [256, 1024, 8192])
    param_names = ("backend", "batch_size")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, batch_size: int) -> None:
        self.resident = Resident.load(backend, replace(CASES["frappe"], batch_size=batch_size), drawn["frappe"])

    def track_rows_per_second(self, drawn: Draws, backend: str, batch_size: int) -> int:
        return self.resident.train_rate()


class TrainingRules(Cases):
    """Each rule, where steps weigh most against rows: few factors, few nonzeros."""

    params = (WITH_THREADS, list(RULES))
    param_names = ("backend", "rule")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, rule: str) -> None:
        self.resident = Resident.load(backend, CASES["frappe"], drawn["frappe"], RULES[rule](0.01))

    def track_rows_per_second(self, drawn: Draws, backend: str, rule: str) -> int:
        return self.resident.train_rate()
