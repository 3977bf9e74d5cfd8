"""What training and scoring are both measured on: each engine, with resident rows of each case or number of factors."""

from __future__ import annotations

from dataclasses import replace

from .cases import CASES, Cases, Drawn
from .engines import WITH_THREADS, require
from .resident import Resident

Draws = dict[str, Drawn]


class OnCases(Cases):
    """Work on each case."""

    params = (WITH_THREADS, list(CASES))
    param_names = ("backend", "case")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, case: str) -> None:
        self.resident = Resident.load(require(backend), CASES[case], drawn[case])


class WithFactors(Cases):
    """Work with each number of factors, of which 10 is no multiple of a vector, where their products weigh most."""

    params = (WITH_THREADS, [8, 10, 16, 32])
    param_names = ("backend", "k")
    unit = "rows/s"

    def setup(self, drawn: Draws, backend: str, k: int) -> None:
        self.resident = Resident.load(require(backend), replace(CASES["criteo"], n_factors=k), drawn["criteo"])
