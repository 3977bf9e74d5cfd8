"""Seconds of one core for a metric of a million rows, beside scikit-learn's: ``python docs/benchmarks/metrics.py``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.metrics import roc_auc_score

from fwfm_gpu.metrics import evaluate, resolve_metrics

ROWS, GROUPS, RUNS = 1_000_000, 100_000, 5


def seconds(call: Callable[[], object]) -> float:
    """The least processor time of some runs."""
    found = []
    for _ in range(RUNS):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return min(found)


def main() -> None:
    """One line per metric."""
    draw = np.random.default_rng(0)
    group = draw.integers(0, GROUPS, ROWS)
    s_bc = draw.normal(size=(ROWS, 1)).astype(np.float32)
    y = (s_bc[:, 0] + draw.normal(0, 2, ROWS) > 1).astype(np.float64)
    print("| metric | seconds | with weights | scikit-learn | with weights |\n|---|---|---|---|---|")
    for name in ("auc", "gauc", "precision@10", "recall@10", "ndcg@10"):
        metrics = resolve_metrics(name, "logistic", group)
        weights = (None, draw.random(ROWS))
        cells = [seconds(partial(evaluate, metrics, "logistic", s_bc, y, weight)) for weight in weights]
        if name == "auc":
            cells += [seconds(partial(roc_auc_score, y, s_bc[:, 0], sample_weight=weight)) for weight in weights]
        shown = [f"{cell:.2f}" for cell in cells] + [""] * (4 - len(cells))
        print(f"| {name} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
