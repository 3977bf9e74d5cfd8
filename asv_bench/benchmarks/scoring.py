"""How fast rows are scored."""

from __future__ import annotations

from .work import Draws, OnCases, WithFactors


class Scoring(OnCases):
    """Raw scores of resident rows, fetched to the host."""

    def track_rows_per_second(self, drawn: Draws, backend: str, case: str) -> int:
        return self.resident.score_rate()


class ScoringFactors(WithFactors):
    """The same, by the number of factors."""

    def track_rows_per_second(self, drawn: Draws, backend: str, k: int) -> int:
        return self.resident.score_rate()
