"""How fast mini-batches are trained on: plan, rows and coordinates together."""

from __future__ import annotations

from fwfm_gpu.optimizers import RULES

from .cases import CASES, Cases, Drawn
from .engines import BACKENDS
from .resident import Resident


class Training(Cases):
    """AdaGrad, each case."""

    params = (BACKENDS, list(CASES))
    param_names = ("backend", "case")
    unit = "rows/s"

    def setup(self, drawn: dict[str, Drawn], backend: str, case: str) -> None:
        self.resident = Resident.load(backend, CASES[case], drawn[case])

    def track_rows_per_second(self, drawn: dict[str, Drawn], backend: str, case: str) -> int:
        return self.resident.train_rate()


class TrainingRules(Cases):
    """Each rule, where steps weigh most against rows: few factors, few nonzeros."""

    params = (BACKENDS, list(RULES))
    param_names = ("backend", "rule")
    unit = "rows/s"

    def setup(self, drawn: dict[str, Drawn], backend: str, rule: str) -> None:
        self.resident = Resident.load(backend, CASES["frappe"], drawn["frappe"], RULES[rule](0.01))

    def track_rows_per_second(self, drawn: dict[str, Drawn], backend: str, rule: str) -> int:
        return self.resident.train_rate()
