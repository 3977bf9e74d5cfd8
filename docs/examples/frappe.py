"""Frappe from end to end: search on the validation part, then report on the test part.

    python docs/examples/frappe.py --data DIR

DIR holds train.csv.gz, valid.csv.gz and test.csv.gz of Frappe_x1 (Baltrunas et al., 2015, in the split of the BARS
benchmark): a header line, then label and ten feature numbers, each feature in one column only. The data is for research
only and does not come with this project.

Nothing is chosen on the test part: the grid is ranked by validation AUC, and each run keeps its best epoch by it.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fwfm_gpu
from fwfm_gpu.metrics import evaluate, resolve_metrics

METRICS = ["auc", "logloss"]
BEST_KNOWN = {"n_factors": 32, "batch_size": 1024, "optimizer": "adagrad", "learning_rate": 0.1, "l2_factors": 1e-4}
GRID = {"n_factors": [16, 32], "learning_rate": [0.05, 0.1, 0.2], "l2_factors": [5e-5, 1e-4, 2e-4]}
PUBLISHED = {
    "n_factors": 10,
    "batch_size": 4096,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "l2_linear": 5e-6,
    "l2_factors": 5e-6,
}


@dataclass(frozen=True)
class Part:
    """Rows and labels of one file."""

    rows: fwfm_gpu.FieldMatrix
    y: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Result:
    """One training run."""

    epoch: int
    valid: dict[str, float]
    test: dict[str, float]
    seconds: float


def read_parts(folder: Path) -> dict[str, Part]:
    """The three files as rows with one field per column."""
    tables = {}
    for name in ("train", "valid", "test"):
        with gzip.open(folder / f"{name}.csv.gz", "rt") as file:
            names = file.readline().strip().split(",")[1:]
            tables[name] = np.loadtxt(file, delimiter=",", dtype=np.int64)
    ids = np.concatenate(list(tables.values()))[:, 1:]
    first, last = ids.min(axis=0), ids.max(axis=0)
    return {
        name: Part(
            fwfm_gpu.FieldMatrix.from_ids(table[:, 1:] - first, last - first + 1, field_names=names), table[:, 0]
        )
        for name, table in tables.items()
    }


def run(parts: dict[str, Part], **options: Any) -> Result:
    """Train with early stopping on validation AUC; the best epoch meets the test part once."""
    began = time.perf_counter()
    model = fwfm_gpu.train(
        parts["train"].rows,
        parts["train"].y,
        eval_set=(parts["valid"].rows, parts["valid"].y),
        eval_metric=METRICS,
        **{"epochs": 300, "patience": 2, "progress": False, **options},
    )
    seconds = time.perf_counter() - began
    scores = model.decision_function(parts["test"].rows)
    test = evaluate(resolve_metrics(METRICS, "logistic"), "logistic", scores[:, None], parts["test"].y.astype(float))
    valid = model.history[model.best_epoch - 1].metrics
    return Result(model.best_epoch, valid, {score.name: score.value for score in test}, seconds)


def search(parts: dict[str, Part]) -> dict[str, Any]:
    """The settings of the grid with the best validation AUC, seed 0."""
    print("| k | learning rate | l2_factors | valid AUC | valid logloss | epoch | seconds |\n|--|--|--|--|--|--|--|")
    ranked = []
    for values in itertools.product(*GRID.values()):
        settings = {**BEST_KNOWN, **dict(zip(GRID, values, strict=True))}
        found = run(parts, **settings)
        ranked.append((found.valid["auc"], settings))
        cells = [*values, f"{found.valid['auc']:.4f}", f"{found.valid['logloss']:.4f}", found.epoch]
        print("|", *(f"{cell} |" for cell in cells), f"{found.seconds:.0f} |", flush=True)
    return max(ranked, key=lambda entry: entry[0])[1]


def report(parts: dict[str, Part], name: str, seeds: int, **settings: Any) -> None:
    """One row: mean over seeds, and the spread of AUC."""
    results = [run(parts, seed=seed, **settings) for seed in range(seeds)]
    auc, logloss = ([result.test[metric] for result in results] for metric in METRICS)
    spread = f" ± {statistics.stdev(auc):.4f}" if seeds > 1 else ""
    seconds = statistics.mean(result.seconds for result in results)
    epochs = ", ".join(str(result.epoch) for result in results)
    print(
        f"| {name} | {seeds} | {statistics.mean(auc):.4f}{spread} | {statistics.mean(logloss):.4f} | {epochs} "
        f"| {seconds:.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the three files")
    parser.add_argument("--seeds", type=int, default=5, help="runs per row of the test table (default: 5)")
    parser.add_argument("--no-grid", action="store_true", help="take the settings that the grid found before")
    arguments = parser.parse_args()
    parts = read_parts(arguments.data)
    best = BEST_KNOWN if arguments.no_grid else search(parts)
    print(f"\nbest on validation: {best}\n")
    print("| model | seeds | test AUC | test logloss | best epochs | seconds a run |\n|--|--|--|--|--|--|", flush=True)
    report(parts, "linear (k = 0)", 1, **{**best, "n_factors": 0})
    report(parts, "FM, best settings", arguments.seeds, **best, field_weights="ones")
    report(parts, "FwFM, best settings", arguments.seeds, **best)
    report(parts, "FwFM, published settings", 1, **PUBLISHED)


if __name__ == "__main__":
    main()
