"""Which bins and which min_count suit UCI Adult: cross-validation on its training part alone.

    python docs/examples/encoding.py

Prints mean AUC and logloss over five folds and two seeds, with the defaults of ``train``. The test part is not read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fwfm_gpu
from fwfm_gpu.demo import make_line, read_adult

GRID: list[dict[str, Any]] = [
    *({"bins": bins} for bins in (16, 24, 32, 48, 64, 128)),
    *({"min_count": count} for count in (1, 2, 10, 20)),
    *({"numeric_as": way} for way in ("both", "value")),
]
FOLDS, SEEDS = 5, 2


def cross_validate(options: dict[str, Any]) -> np.ndarray[Any, Any]:
    """AUC and logloss of each fold and seed, (FOLDS * SEEDS, 2); every setting sees the same folds."""
    table, y = read_adult("train")
    part = np.random.default_rng(0).permutation(len(y)) % FOLDS
    found = []
    for fold in range(FOLDS):
        inside = {name: column[part != fold] for name, column in table.items()}
        outside = {name: column[part == fold] for name, column in table.items()}
        encoder = fwfm_gpu.FieldEncoder(**options)
        rows, judged = encoder.fit_transform(inside), encoder.transform(outside)
        for seed in range(SEEDS):
            model = fwfm_gpu.train(rows, y[part != fold], seed=seed, progress=False)
            line = make_line("", model.decision_function(judged), y[part == fold], 0)
            found.append((line.auc, line.logloss))
    return np.array(found)


def main() -> None:
    print("| setting | AUC | logloss |\n|--|--|--|")
    for options in GRID:
        auc, logloss = cross_validate(options).mean(axis=0)
        print(
            f"| {', '.join(f'{name}={value}' for name, value in options.items())} | {auc:.4f} | {logloss:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
