"""How fast rows are scored."""

from __future__ import annotations

from dataclasses import replace

from .cases import CASES, Cases, Drawn
from .engines import WITH_THREADS
from .resident import Resident

Draws = dict[str, Drawn]


class Scoring(Cases):
    """Raw scores of resident rows, fetched to the host."""

    params = (WITH_THREADS, list(CASES))
    param_names = ("backend", "case")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, case: str) -> None:
        self.resident = Resident.load(backend, CASES[case], drawn[case])

    def track_rows_per_second(self, drawn: Draws, backend: str, case: str) -> int:
        return self.resident.score_rate()


class ScoringFactors(Cases):
    """The same, by the number of factors."""

    params = (WITH_THREADS, [8, 10, 16, 32])
    param_names = ("backend", "k")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, k: int) -> None:
        self.resident = Resident.load(backend, replace(CASES["criteo"], n_factors=k), drawn["criteo"])

    def track_rows_per_second(self, drawn: Draws, backend: str, k: int) -> int:
        return self.resident.score_rate()
