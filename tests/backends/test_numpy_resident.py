"""What is kept of the rows: lengths, a pattern where all rows agree, whether a field repeats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_data import FIELD_SIZE, PATTERNS, Spec, load, make_problem, rows_of

from fwfm_gpu.backends import get_backend
from fwfm_gpu.backends.numpy_resident import grow, load_rows, overlay
from fwfm_gpu.field_matrix import FieldMatrix


def load_data(rows: FieldMatrix):
    return load_rows(rows, None, None)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_lengths_pattern_and_repeats(pattern):
    problem = make_problem(Spec(pattern=pattern))
    data = load_data(rows_of(problem))
    np.testing.assert_array_equal(data.lengths, np.diff(problem["indptr"]))
    first = problem["fields"][problem["indices"][: problem["indptr"][1]]].tolist()
    agree = pattern.startswith("alike") or pattern == "empty"
    assert (None if data.pattern is None else data.pattern.tolist()) == (first if agree else None)
    assert data.shares_fields == (pattern in ("alike-repeated", "ragged-repeated", "short"))


def test_one_row_that_differs_leaves_no_pattern():
    rows = rows_of(make_problem(Spec(pattern="alike")))
    indices = rows.indices.copy()
    indices[-FIELD_SIZE] += FIELD_SIZE  # the last row has the second field twice
    data = load_data(replace(rows, indices=np.sort(indices.reshape(-1, FIELD_SIZE)).reshape(-1)))
    assert data.pattern is None
    assert data.shares_fields


def test_no_rows_have_no_pattern():
    data = load_data(rows_of(make_problem(Spec())).take([]))
    assert data.pattern is None
    assert not data.shares_fields
    assert len(data.lengths) == 0


def test_rows_are_not_copied():
    rows = rows_of(make_problem(Spec(values="ones")))
    data = load_data(rows)
    assert data.values.strides == (0,)
    assert np.shares_memory(data.indices, rows.indices)


def test_overlay_fills_the_leading_corner():
    into = np.zeros((2, 3, 3))
    assert overlay(into, np.ones((2, 2, 1))) is into
    assert into.sum() == 4
    assert into[:, :2, :1].all()


def test_a_grown_model_shares_nothing_with_the_old():
    backend = get_backend("numpy")
    _, model = load(backend, make_problem(Spec(rule="adam")))
    grown = grow(model, np.array([2, 7], np.int32), np.ones((1, 2, 3)))
    pairs = [(model.parameters, grown.parameters)]
    pairs += [(model.state[name], grown.state[name]) for name in model.state.moments]
    for old, new in pairs:
        for name, array in new.arrays().items():
            assert not np.shares_memory(array, getattr(old, name))
            assert array.dtype == model.parameters.dtype
    for name in ("bias", "feature", "slot"):
        assert not np.shares_memory(getattr(grown.state.counts, name), getattr(model.state.counts, name))
