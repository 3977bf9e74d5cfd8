"""Pairs of features that rows hold, beside a loop over the rows."""

from __future__ import annotations

import itertools
import sys
from collections import Counter

import numpy as np
import pytest

from fwfm_gpu import FieldMatrix
from fwfm_gpu.held_pairs import count_pairs


@pytest.mark.parametrize("at_once", [1, 7, 2**22])
def test_every_pair_once_with_its_rows(at_once, monkeypatch):
    monkeypatch.setattr(sys.modules["fwfm_gpu.held_pairs"], "AT_ONCE", at_once)
    rows = FieldMatrix.from_matrix((np.random.default_rng(0).random((40, 9)) < 0.4).astype(float))
    counts = Counter()
    for b in range(40):
        counts.update(itertools.combinations(rows.indices[rows.indptr[b] : rows.indptr[b + 1]].tolist(), 2))
    i, j, found = count_pairs(rows)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == sorted(counts)
    assert found.tolist() == [counts[pair] for pair in sorted(counts)]
    i, j, found = count_pairs(rows, 5)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == sorted(pair for pair in counts if counts[pair] >= 5)
    assert found.min() == 5


@pytest.mark.parametrize("X", [np.zeros((3, 2)), np.eye(3), np.zeros((0, 2))])
def test_rows_without_pairs(X):
    assert all(len(array) == 0 for array in count_pairs(FieldMatrix.from_matrix(X)))
