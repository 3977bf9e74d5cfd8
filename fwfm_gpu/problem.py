"""A training problem: checked rows, targets and weights, and which of them train and which are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu.backends import Backend, fingerprint_rows
from fwfm_gpu.errors import InputError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.labels import Labels, row_weights
from fwfm_gpu.model import Columns
from fwfm_gpu.options import Options
from fwfm_gpu.parameters import Array

if TYPE_CHECKING:
    from fwfm_gpu.evaluation import Evaluation

__all__ = ["Problem", "Settled", "check_rows", "fingerprint", "hold_out", "make_problem", "training_part"]


@dataclass(frozen=True)
class Settled:
    """What training needs to know besides data: options with the loss that was chosen, labels and columns."""

    options: Options
    loss: str
    labels: Labels | None
    columns: Columns

    @property
    def n_classes(self) -> int:
        """Scores per row: one, but for softmax."""
        return len(self.labels.classes) if self.labels is not None and self.loss == "softmax" else 1


@dataclass(frozen=True)
class Problem:
    """Rows to train on."""

    rows: FieldMatrix
    y: Array  # (rows,) float64
    weight: Array | None  # (rows,) float64
    visited: Array  # (m,) int64: the training rows, before any shuffle


def make_problem(settled: Settled, rows: FieldMatrix, y: Array, sample_weight: Any) -> Problem:
    """All rows, to be visited in order. Holding some out comes after."""
    check_rows("X and y", rows, y)
    weight = row_weights(y, settled.labels, sample_weight, settled.options.class_weight)
    check_fits("y", y, settled.options.dtype)
    if weight is not None:
        check_fits("sample_weight times class_weight", weight, settled.options.dtype)
    return Problem(rows, y, weight, np.arange(rows.n_rows))


def check_fits(what: str, numbers: Array, dtype: str) -> None:
    """Gradients are rounded to T, so what they are made of must be finite there."""
    with np.errstate(over="ignore"):
        fits = np.isfinite(numbers.astype(dtype))
    if not np.all(fits):
        row = int(np.argmin(fits))
        raise InputError(f"{what} must be finite in {dtype}: got {numbers[row]} at row {row}. Scale it.")


def check_rows(what: str, rows: FieldMatrix, y: Array) -> None:
    """At least one row, and one target for each."""
    if rows.n_rows == 0 or len(y) != rows.n_rows:
        raise InputError(
            f"{what} must have the same number of rows, at least one: got {rows.n_rows} rows and {len(y)} targets."
        )


def hold_out(options: Options, rows: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Training rows and validation rows, (m,) and (rows - m,) int64 (numerics 8).

    At random: the first positions of one permutation are held out, the others train, in its order. From the tail: the
    last rows are held out and nothing is drawn.

    Raises
    ------
    InputError
        No row is left to train on.
    """
    if options.validation_fraction is None:
        return np.arange(rows), np.empty(0, np.int64)
    held = max(1, round(options.validation_fraction * rows))
    if held >= rows:
        raise InputError(
            f"validation_fraction={options.validation_fraction} of {rows} rows leaves none to train on. "
            "Lower it, or pass more rows."
        )
    if options.validation == "tail":
        return np.arange(rows - held), np.arange(rows - held, rows)
    drawn = generator.permutation(rows)
    return drawn[held:], drawn[:held]


def training_part(problem: Problem, visited: Array) -> Problem:
    """The problem on the rows that are not held out, (m,) int64.

    Raises
    ------
    InputError
        Their weights sum to 0 or to infinity, so that no mean can be taken.
    """
    if problem.weight is not None:
        with np.errstate(over="ignore"):
            total = np.sum(problem.weight[visited])
        if not 0 < total < np.inf:
            raise InputError(
                f"the weights of the {len(visited)} rows to train on must sum to a finite number above 0: got {total}. "
                "Scale the weights, or hold out other rows."
            )
    return replace(problem, visited=visited)


def fingerprint(problem: Problem | Evaluation, backend: Backend | None = None) -> str:
    """SHA-256 of rows, targets and weights, hexadecimal; rows on a device need the engine that opens them."""
    of_rows = problem.rows.fingerprint() if backend is None else fingerprint_rows(backend, problem.rows)
    digest = hashlib.sha256(of_rows.encode())
    for array in (problem.y, problem.weight):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
    return digest.hexdigest()
