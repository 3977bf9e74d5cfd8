"""The study behind the defaults of ``train``: Adult, krkopt and Frappe, judged on held-out training rows alone.

    python docs/examples/defaults.py --krkopt FILE --frappe DIR

Adult comes with the package. FILE is krkopt.data.gz of the UCI repository, DIR holds Frappe_x1 (see frappe.py); either
may be left out. Each line is trained with what it names and otherwise with exactly what a user gets who passes nothing:
no early stopping, nothing held back. A fifth of the training rows (Frappe: its own validation part) judges.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from frappe import read_parts

import fwfm_gpu
from fwfm_gpu.demo import read_adult
from fwfm_gpu.metrics import evaluate, resolve_metrics

GRID = {
    "n_factors": [8, 16],
    "batch_size": [256, 1024],
    "learning_rate": [0.05, 0.1],
    "l2_factors": [1e-5, 1e-4],
}


@dataclass(frozen=True)
class Problem:
    """Rows to train on and rows to judge by."""

    name: str
    rows: fwfm_gpu.FieldMatrix
    y: np.ndarray[Any, Any]
    judged: fwfm_gpu.FieldMatrix
    judged_y: np.ndarray[Any, Any]

    @classmethod
    def split(cls, name: str, rows: fwfm_gpu.FieldMatrix, y: np.ndarray[Any, Any]) -> Problem:
        order = np.random.default_rng(0).permutation(len(y))
        held, kept = np.split(order, [len(y) // 5])
        return cls(name, rows.take(kept), y[kept], rows.take(held), y[held])


def problems(arguments: argparse.Namespace) -> Iterator[Problem]:
    """Those whose data is at hand."""
    table, y = read_adult("train")
    yield Problem.split("Adult", fwfm_gpu.FieldEncoder().fit_transform(table), y)
    if arguments.krkopt:
        with gzip.open(arguments.krkopt, "rt") as file:
            cells = np.array([line.strip().split(",") for line in file if line.strip()])
        table = {f"column {i}": cells[:, i] for i in range(6)}
        yield Problem.split("krkopt", fwfm_gpu.FieldEncoder().fit_transform(table), cells[:, 6])
    if arguments.frappe:
        parts = read_parts(arguments.frappe)
        yield Problem("Frappe", parts["train"].rows, parts["train"].y, parts["valid"].rows, parts["valid"].y)


def judge(problem: Problem, **options: Any) -> tuple[float, float, float]:
    """Logloss, AUC (accuracy for more than two labels) and seconds."""
    began = time.perf_counter()
    model = fwfm_gpu.train(problem.rows, problem.y, progress=False, **options)
    seconds = time.perf_counter() - began
    scores = model.decision_function(problem.judged)
    second = "accuracy" if model.loss == "softmax" else "auc"
    targets = np.searchsorted(model.classes, problem.judged_y).astype(np.float64)
    metrics = resolve_metrics(["logloss", second], model.loss)
    found = evaluate(metrics, model.loss, scores.reshape(len(targets), -1), targets)
    return found[0].value, found[1].value, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--krkopt", type=Path)
    parser.add_argument("--frappe", type=Path)
    arguments = parser.parse_args()
    print(f"| data | {' | '.join(GRID)} | logloss | AUC or accuracy | seconds |\n|{'--|' * (len(GRID) + 4)}")
    for problem in problems(arguments):
        for values in itertools.product(*GRID.values()):
            logloss, second, seconds = judge(problem, **dict(zip(GRID, values, strict=True)))
            cells = [problem.name, *values, f"{logloss:.4f}", f"{second:.4f}", f"{seconds:.0f}"]
            print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
