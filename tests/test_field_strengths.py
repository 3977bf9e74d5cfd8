"""What a model makes of pairs of fields, as arrays and as a table."""

from __future__ import annotations

import numpy as np
import pytest
from handmade_models import handmade
from small_models import make_rows, train

from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import InputError
from fwfm_gpu.field_pairs import pair_strengths, pair_weights


def rows_of(names=("a", "b", "c")):
    ids = np.random.default_rng(2).integers(3, size=(30, 3))
    return FieldMatrix.from_ids(ids, [3] * 3, field_names=names)


@pytest.mark.parametrize("C", [1, 3])
def test_weights_and_strengths_are_those_of_field_pairs(C):
    rows = rows_of()
    model = handmade(rows, C)
    found = model.field_strengths(rows)
    np.testing.assert_array_equal(found.weights, pair_weights(model.parameters))
    np.testing.assert_array_equal(found.strengths, pair_strengths(model.parameters, rows, np.ones(30))[0])
    assert found.rows == 30 and found.field_names == ("a", "b", "c")
    alone = model.field_strengths()
    np.testing.assert_array_equal(alone.weights, found.weights)
    assert alone.strengths is None and alone.rows == 0


def test_they_are_the_means_of_what_explain_gives():
    rows = rows_of()
    model = handmade(rows)
    explained, found = model.explain(rows), model.field_strengths(rows)
    for pair, terms in zip(explained.pair_fields.tolist(), explained.pairs.T, strict=True):
        assert found.strengths[tuple(pair)] == pytest.approx(np.mean(np.abs(terms)), rel=1e-6)


def test_pairs_come_strongest_first():
    rows = rows_of()
    model = handmade(rows, R=[[5, 0.5, -2], [9, 5, 1.5], [9, 9, 5]])
    found = model.field_strengths(rows)
    strengths = [found.strengths[pair] for pair in found.pairs()]
    assert strengths == sorted(strengths, reverse=True) and len(strengths) == 3  # no row holds two of a field
    assert [pair for pair in model.field_strengths().pairs() if pair[0] != pair[1]] == [(0, 2), (1, 2), (0, 1)]


def test_pairs_that_training_did_not_meet_have_no_say():
    rows, y = make_rows()
    model = train(rows, y, device="numpy")
    found = model.field_strengths()
    np.testing.assert_array_equal(found.trained, ~np.eye(3, dtype=bool))
    assert sorted(found.pairs()) == [(0, 1), (0, 2), (1, 2)]
    assert str(train(rows, y, device="numpy", epochs=0).field_strengths()) == "no pair of fields was trained"
    single = FieldMatrix.from_matrix([[1.0, 0]], [0, 1])
    assert str(handmade(single).field_strengths(single)) == "no row holds a pair of fields"


def test_the_table():
    rows = FieldMatrix.from_ids([[0, 0], [0, 0]], [1, 1], field_names=["age", "job"])
    model = handmade(rows, k=1, V=[2, 3], R=[[1, -0.5], [7, 1]])
    assert str(model.field_strengths(rows)).splitlines() == [
        "   fields             R  strength",
        "1  age     job  -0.5000     3.000",
    ]
    assert str(model.field_strengths()).splitlines() == ["   fields             R", "1  age     job  -0.5000"]
    many = FieldMatrix.from_ids(np.zeros((2, 12), int), [1] * 12)
    assert str(handmade(many).field_strengths(many)).endswith("... 26 more")


def test_a_mean_needs_rows():
    with pytest.raises(InputError, match="X must have at least one row"):
        handmade(rows_of()).field_strengths(rows_of().take([]))
