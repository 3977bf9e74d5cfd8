"""Slots and lists become canonical rows, in whichever order they come."""

from __future__ import annotations

import numpy as np
import pytest

from fwfm_gpu.field_kind import NOTHING, Encoded, EncodedLists
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.matrix_reader import places, starts
from fwfm_gpu.row_draft import RowDraft

ROWS, SIZE = 50, 6  # SIZE features in each field


def draw_field(random, several, weighted):
    """A field as an encoder gives it, and per row a dict of its features and values."""
    rows = [{} for _ in range(ROWS)]
    for row in rows:
        count = random.integers(0, 4 if several else 2)
        for feature in sorted(random.choice(SIZE, count, replace=False).tolist()):
            row[feature] = float(random.choice([0.5, -1.25, 1.0])) if weighted else 1.0
    if several:
        cells = [cell for row in rows for cell in row.items()]
        features = np.array([feature for feature, _ in cells], np.int64)
        values = np.array([value for _, value in cells]) if weighted else None
        return EncodedLists(starts(np.array([len(row) for row in rows])), features, values), rows
    features = np.array([next(iter(row), NOTHING) for row in rows], np.int32)
    values = np.array([next(iter(row.values()), 1.0) for row in rows]) if weighted else None
    return Encoded([features], [values]), rows


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kinds", ["s", "l", "ss", "sl", "ls", "sls", "lsl", "ll", "slls", "sslsslss"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_rows_are_those_of_a_plain_loop(kinds, weighted, dtype):
    random = np.random.default_rng(len(kinds))
    draft, want = RowDraft.blank(ROWS, kinds.count("s"), np.dtype(dtype), weighted), [[] for _ in range(ROWS)]
    for f, kind in enumerate(kinds):
        encoded, rows = draw_field(random, kind == "l", weighted and f % 3 != 1)
        draft.add(encoded, SIZE)
        for into, row in zip(want, rows, strict=True):
            into += [(f * SIZE + feature, value) for feature, value in row.items()]
    empty = FieldMatrix.from_ids(np.zeros((0, len(kinds)), np.int64), [SIZE] * len(kinds))
    made = draft.finish(empty)
    assert np.diff(made.indptr).tolist() == [len(row) for row in want]
    assert made.indices.tolist() == [feature for row in want for feature, _ in row]
    assert made.values.tolist() == [value for row in want for _, value in row]
    assert (made.indices.dtype, made.all_ones) == (dtype, not weighted)
    assert made.to_csr().has_canonical_format


@pytest.mark.parametrize(
    ("begins", "lengths", "expected"),
    [([5, 0], [2, 3], [5, 6, 0, 1, 2]), ([3, 9, 1], [0, 1, 0], [9]), ([], [], []), ([4], [0], [])],
)
def test_places_are_piece_by_piece(begins, lengths, expected):
    assert places(np.array(begins, np.int64), np.array(lengths, np.int64)).tolist() == expected


def test_a_value_of_zero_is_dropped():
    draft = RowDraft.blank(2, 1, np.dtype(np.int32), True)
    draft.add(Encoded([np.array([0, 1], np.int32)], [np.array([0.0, 2.0])]), 2)
    draft.add(EncodedLists(np.array([0, 1, 1]), np.array([0]), np.array([0.5])), 1)
    rows = draft.finish(FieldMatrix.from_ids(np.zeros((0, 2), np.int64), [2, 1]))
    assert (rows.indices.tolist(), rows.values.tolist()) == ([2, 1], [0.5, 2.0])
