"""The defaults on Adult's test part, seed by seed, beside gradient-boosted trees.

    python docs/examples/adult.py

The trees are scikit-learn's HistGradientBoostingClassifier with its defaults, on the same raw columns (categories as
ordered codes, missing values as such); they are left out where scikit-learn is not installed.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import fwfm_gpu
from fwfm_gpu.demo import Line, make_line, read_adult

SEEDS = 5


def coded(table: dict[str, Any], like: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Columns of numbers, (rows, columns): a category is its place among those of ``like``, NaN where missing."""
    columns = []
    for name, column in table.items():
        if column.dtype != object:
            columns.append(column.astype(float))
            continue
        codes = {value: code for code, value in enumerate(sorted({value for value in like[name] if value is not None}))}
        columns.append(np.array([codes.get(value, np.nan) for value in column]))
    return np.stack(columns, axis=1)


def main() -> None:
    table, y = read_adult("train")
    test_table, test_y = read_adult("test")
    encoder = fwfm_gpu.FieldEncoder()
    rows, test_rows = encoder.fit_transform(table), encoder.transform(test_table)
    print(Line.HEAD)
    for seed in range(SEEDS):
        began = time.perf_counter()
        model = fwfm_gpu.train(rows, y, seed=seed, progress=False)
        seconds = time.perf_counter() - began
        print(make_line(f"FwFM, seed {seed}", model.decision_function(test_rows), test_y, seconds), flush=True)
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError:
        return
    strings = [i for i, column in enumerate(table.values()) if column.dtype == object]
    began = time.perf_counter()
    trees = HistGradientBoostingClassifier(categorical_features=strings, random_state=0).fit(coded(table, table), y)
    seconds = time.perf_counter() - began
    print(make_line("gradient-boosted trees", trees.decision_function(coded(test_table, table)), test_y, seconds))


if __name__ == "__main__":
    main()
