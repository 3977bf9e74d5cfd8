"""The demo: UCI Adult, which comes with the package, from raw columns to a report."""

from __future__ import annotations

import csv
import gzip
import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fwfm_gpu.backends import get_backend
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.metrics import evaluate, resolve_metrics
from fwfm_gpu.model import FwFM
from fwfm_gpu.parameters import Array
from fwfm_gpu.report import checked, report
from fwfm_gpu.report_charts import require_matplotlib
from fwfm_gpu.training import train

__all__ = ["CREDIT", "Demo", "Line", "read_adult", "run_demo"]

CREDIT = "Adult: Becker and Kohavi (1996), UCI Machine Learning Repository, doi.org/10.24432/C5XW20, CC BY 4.0"
DATA = Path(__file__).parent / "data"
LABEL = "income"
NUMBERS = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
METRICS = ["auc", "logloss", "ece"]
MODELS: dict[str, dict[str, Any]] = {
    "linear model": {"n_factors": 0},
    "factorization machine": {"field_weights": "ones"},
    "FwFM": {},  # nothing passed: the defaults
}
ENGINES = {
    "numpy": "NumPy",
    "cpu": "compiled for the processor, which takes up to a minute in the first run",
    "cuda": "CUDA",
}


@dataclass(frozen=True)
class Line:
    """One row of the demo's table: figures on the test part."""

    model: str
    auc: float
    logloss: float
    ece: float
    seconds: float
    rows_per_second: float | None  # None where epochs are not ours to count

    HEAD = f"{'model':<36}{'AUC':>8}{'logloss':>9}{'ECE':>8}{'seconds':>9}{'rows/s':>10}"

    def __str__(self) -> str:
        speed = "" if self.rows_per_second is None else f"{self.rows_per_second:,.0f}"
        return f"{self.model:<36}{self.auc:>8.4f}{self.logloss:>9.4f}{self.ece:>8.4f}{self.seconds:>9.1f}{speed:>10}"


@dataclass(frozen=True)
class Demo:
    """What the demo made."""

    model: FwFM
    lines: tuple[Line, ...]
    page: Path


def read_adult(part: str) -> tuple[dict[str, Array], Array]:
    """Raw columns and label of ``"train"`` (32,561 rows) or ``"test"`` (16,281): int64, str, None where missing."""
    with gzip.open(DATA / f"adult-{part}.csv.gz", "rt", encoding="ascii", newline="") as file:
        names, *rows = csv.reader(file)
    columns = {
        name: np.array(values, np.int64)
        if name in NUMBERS
        else np.array([None if value == "?" else value for value in values], object)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }
    return columns, columns.pop(LABEL).astype(str)


def run_demo(
    path: str | PathLike[str],
    *,
    device: str = "auto",
    progress: bool | str = "auto",
    tell: Callable[[str], None] = lambda line: None,
) -> Demo:
    """Train three models on Adult and scikit-learn's, where it is installed; write the report of the FwFM.

    Parameters
    ----------
    path : str or path-like
        The report.
    device, progress
        As for ``fwfm_gpu.train``.
    tell : function of a line
        Called with what a reader of the terminal wants to know.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed; checked first.
    OSError
        The report cannot be written there; checked first.
    """
    require_matplotlib()
    target = checked(path)
    tell(CREDIT)
    train_table, train_y = read_adult("train")
    test_table, test_y = read_adult("test")
    encoder = FieldEncoder()
    rows, test_rows = encoder.fit_transform(train_table), encoder.transform(test_table)
    tell(
        f"{rows.n_rows:,} rows to train on, {test_rows.n_rows:,} to test; {rows.n_fields} raw columns become "
        f"{rows.n_features} features"
    )
    tell(f"engine: {ENGINES[get_backend(device).name]}")
    lines = []
    for name, options in MODELS.items():
        tell(f"training: {name}")
        train(rows, train_y, device=device, progress=False, epochs=1, **options)  # compiles what is new
        model = train(rows, train_y, device=device, progress=progress, **options)
        seconds = sum(record.seconds for record in model.history)
        speed = rows.n_rows * len(model.history) / seconds
        lines.append(make_line(name, model.decision_function(test_rows), test_y, seconds, speed))
    peer = logistic_regression(rows, train_y, test_rows)
    if peer is None:
        tell("scikit-learn is not installed: its logistic regression is left out")
    else:
        lines.append(make_line("logistic regression (scikit-learn)", peer[0], test_y, peer[1]))
    page = report(model, test_rows, test_y, target, title="FwFM on Adult (census income)")
    return Demo(model, tuple(lines), page)


def make_line(name: str, scores: Array, y: Array, seconds: float, speed: float | None = None) -> Line:
    """The figures of scores (rows,) against labels."""
    metrics = resolve_metrics(METRICS, "logistic")
    found = evaluate(metrics, "logistic", scores[:, None], (y == ">50K").astype(np.float64))
    auc, logloss, ece = (score.value for score in found)
    return Line(name, auc, logloss, ece, seconds, speed)


def logistic_regression(rows: FieldMatrix, y: Array, test_rows: FieldMatrix) -> tuple[Array, float] | None:
    """Scores (rows,) and seconds of scikit-learn's on the same features; None without scikit-learn."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None
    began = time.perf_counter()
    peer = LogisticRegression(max_iter=1000).fit(rows.to_csr(), y)
    seconds = time.perf_counter() - began
    scores: Array = peer.decision_function(test_rows.to_csr())
    return scores, seconds
