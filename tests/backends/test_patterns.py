"""What rows have in common, against plain Python that looks at one row after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from fwfm_gpu.backends import patterns
from fwfm_gpu.backends.patterns import any_shared_field, find_pattern, order_fields
from fwfm_gpu.parameters import Array

N_FEATURES = 12


@dataclass(frozen=True)
class Rows:
    """The fields of each row's nonzeros, and the arrays of CSR that hold them."""

    fields_of_rows: list[list[int]]
    indices: Array
    fields: Array
    lengths: Array

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        return self.indices, self.fields, self.lengths


def make_rows(features: list[list[int]], fields: list[int]) -> Rows:
    """Rows by the features that they hold."""
    indices = np.array([feature for row in features for feature in row], np.int32)
    lengths = np.array([len(row) for row in features], np.int64)
    return Rows([[fields[i] for i in row] for row in features], indices, np.array(fields, np.int32), lengths)


def draw_rows(seed: int) -> Rows:
    """Up to forty rows, some of them empty; with few fields, with one each, or all rows alike."""
    generator = np.random.default_rng(seed)
    n_rows, width = int(generator.integers(41)), int(generator.integers(7))
    n_fields = (1, 3, N_FEATURES)[seed % 3]
    fields = generator.permutation(np.arange(N_FEATURES) % n_fields).tolist()
    if seed % 2:  # each row has the same fields in the same places
        wanted = sorted(generator.permutation(N_FEATURES)[:width])
        twins = [np.flatnonzero(np.array(fields) == fields[i]) for i in wanted]
        features = [[int(generator.choice(twin)) for twin in twins] for _ in range(n_rows)]
    else:
        lengths = generator.integers(width + 1, size=n_rows)
        features = [sorted(generator.permutation(N_FEATURES)[:length].tolist()) for length in lengths]
    return make_rows(features, fields)


CASES = {f"seed {seed}": draw_rows(seed) for seed in range(60)} | {
    "no rows": make_rows([], [0, 1]),
    "one row": make_rows([[0, 1]], [0, 1]),
    "one empty row": make_rows([[]], [0, 1]),
    "empty rows alone": make_rows([[], [], []], [0, 1]),
    "empty rows around": make_rows([[], [0, 1, 2], [], []], [1, 0, 1]),
    "alike but for the last": make_rows([[0, 2]] * 6 + [[1, 2]], [0, 1, 2]),
    "alike but in length": make_rows([[0, 2]] * 6 + [[0]], [0, 1, 2]),
    "shared in the last alone": make_rows([[0, 2]] * 6 + [[0, 1]], [0, 0, 1]),
    "shared across rows alone": make_rows([[0], [1], [0]], [0, 0]),
    "the last field of one, the first of the next": make_rows([[0, 2], [1, 2]], [0, 0, 1]),
}


@pytest.fixture(params=[1, 2, 3, 7, patterns.LOOK_ROWS], ids="{} rows at once".format, autouse=True)
def look_rows(request, monkeypatch):
    """Rows are looked at in parts: borders fall everywhere."""
    monkeypatch.setattr(patterns, "LOOK_ROWS", request.param)


def test_the_pattern_is_what_all_rows_have():
    for name, rows in CASES.items():
        found = find_pattern(np, *rows.arrays)
        first = rows.fields_of_rows[:1]
        want = first[0] if first and rows.fields_of_rows == first * len(rows.lengths) else None
        assert (None if found is None else found.tolist()) == want, name
        assert found is None or found.dtype == np.int32


def test_a_field_is_shared_where_a_row_has_it_twice():
    for name, rows in CASES.items():
        want = any(len(set(row)) < len(row) for row in rows.fields_of_rows)
        assert bool(any_shared_field(np, *rows.arrays)) is want, name


def test_positions_go_by_field_then_by_place():
    for name, rows in CASES.items():
        order = order_fields(np, *rows.arrays)
        want = [sorted(range(len(row)), key=row.__getitem__) for row in rows.fields_of_rows]  # a stable sort
        assert order.tolist() == [position for row in want for position in row], name
        assert order.dtype == np.int32


def test_the_cases_are_of_every_kind():
    """Or the tests above would show little."""
    kinds = {
        (
            find_pattern(np, *rows.arrays) is not None,
            bool(any_shared_field(np, *rows.arrays)),
            bool(len(rows.lengths) and rows.lengths.min() < rows.lengths.max()),
        )
        for rows in CASES.values()
    }
    assert kinds == {(True, True, False), (True, False, False), (False, True, True), (False, False, True)} | {
        (False, True, False),
        (False, False, False),
    }


def test_what_is_given_stays_as_it_is():
    rows = CASES["seed 4"]
    before = [array.copy() for array in rows.arrays]
    for array in rows.arrays:
        array.flags.writeable = False
    for function in (find_pattern, any_shared_field, order_fields):
        function(np, *rows.arrays)
    for array, copy in zip(rows.arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_wide_numbers_of_features_are_taken():
    rows = CASES["empty rows around"]
    order = order_fields(np, rows.indices.astype(np.int64), rows.fields, rows.lengths)
    assert order.tolist() == [1, 0, 2]
