"""How long a single row takes, scored as a service would."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fwfm_gpu import FieldEncoder, FieldMatrix
from fwfm_gpu.model import Columns
from fwfm_gpu.scorer import Scorer

from .cases import CASES, SEED, Cases, Drawn, draw, make_parameters, make_rows
from .engines import require

ROWS = 1 << 14
NUMERIC = 13  # columns of the case that hold numbers


def make_table(drawn: Drawn) -> dict[str, Any]:
    """The columns as a service gets them: numbers, and names of categories."""
    generator, ids = np.random.default_rng(SEED), drawn["ids"].T
    numbers = {f"number {f}": generator.normal(size=len(column)) for f, column in enumerate(ids[:NUMERIC])}
    return numbers | {f"category {f}": column.astype(str) for f, column in enumerate(ids[NUMERIC:])}


def give_lists(rows: FieldMatrix) -> Callable[[int], tuple[Any, ...]]:
    """The features and values of a row, made anew."""
    features_bz = rows.indices.reshape(rows.n_rows, -1)
    return lambda row: (features_bz[row].tolist(), [1.0] * features_bz.shape[1])


def give_columns(table: dict[str, Any]) -> Callable[[int], tuple[Any, ...]]:
    """A row as a dict, made anew."""
    return lambda row: ({name: column.item(row) for name, column in table.items()},)


class Online(Cases):
    """One row of 39 items and 16 factors at a time, in one thread; no two rows alike, so that caches help little."""

    params = (["numpy", "cpu"], ["lists", "columns"])
    param_names = ("backend", "row")
    unit = "s"

    def setup_cache(self) -> Drawn:
        return draw(CASES["criteo"], ROWS)

    def setup(self, drawn: Drawn, backend: str, row: str) -> None:
        require(backend)
        if row == "columns":
            table = make_table(drawn)
            rows, self.give = FieldEncoder().fit_transform(table), give_columns(table)
        else:
            rows = make_rows(CASES["criteo"], drawn)
            self.give = give_lists(rows)
        parameters = make_parameters(CASES["criteo"], rows)
        self.scorer = Scorer(parameters, Columns.of(rows), "logistic", backend)

    def track_p50(self, drawn: Drawn, backend: str, row: str) -> float:
        return self.percentile(50)

    def track_p99(self, drawn: Drawn, backend: str, row: str) -> float:
        return self.percentile(99)

    def percentile(self, percent: int) -> float:
        """Seconds of a call in which so many percent of the rows are scored, after a pass that warms up."""
        for row in range(ROWS // 8):
            self.scorer.predict_proba(*self.give(row))
        return float(np.percentile([self.seconds(row) for row in range(ROWS)], percent))

    def seconds(self, row: int) -> float:
        given, call = self.give(row), self.scorer.predict_proba
        began = time.perf_counter()
        call(*given)
        return time.perf_counter() - began
