"""How fast rows are scored."""

from __future__ import annotations

from .cases import CASES, Cases, Drawn
from .engines import BACKENDS
from .resident import Resident


class Scoring(Cases):
    """Raw scores of resident rows, fetched to the host."""

    params = (BACKENDS, ["criteo", "frappe", "ragged"])
    param_names = ("backend", "case")
    unit = "rows/s"

    def setup(self, drawn: dict[str, Drawn], backend: str, case: str) -> None:
        self.resident = Resident.load(backend, CASES[case], drawn[case])

    def track_rows_per_second(self, drawn: dict[str, Drawn], backend: str, case: str) -> int:
        return self.resident.score_rate()
