"""One row at a time on NumPy: long rows take another way."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fwfm_gpu.backends import numpy_scorer
from fwfm_gpu.backends.numpy_scorer import NumPyScorer
from fwfm_gpu.parameters import Parameters


def make_scorer(n: int, k: int, n_classes: int = 2) -> NumPyScorer:
    """Of a random model of 5 fields."""
    generator = np.random.default_rng(0)
    shapes = (n_classes,), (n_classes, n), (n_classes, n, k), (n_classes, 5, 5)
    parameters = Parameters(*(generator.normal(size=shape).astype(np.float32) for shape in shapes))
    return NumPyScorer(parameters, generator.integers(5, size=n).astype(np.int32))


@pytest.mark.parametrize("k", [0, 1, 5])
def test_both_ways_give_the_same_bits(k, monkeypatch):
    scorer, generator = make_scorer(50, k), np.random.default_rng(1)
    rows = [(generator.permutation(50)[:z], generator.normal(size=z)) for z in (0, 1, 2, 17, 50)]
    want = [scorer.scores(*row) for row in rows]
    monkeypatch.setattr(numpy_scorer, "TABLE_ENTRIES", -1)
    monkeypatch.setattr(numpy_scorer, "score_row", None)
    assert [scorer.scores(*row) for row in rows] == want


def test_a_long_row_needs_no_table_of_factors():
    n, k = 1200, 16
    scorer = make_scorer(n, k, 1)
    tracemalloc.start()
    try:
        scorer.scores(np.arange(n), None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n * n * k * 4 / 2
