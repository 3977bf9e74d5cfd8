"""What training touched, as the parameters and the optimizer's state tell it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import LOSSES, RULES, make_rows, train

from fwfm_gpu import FieldMatrix
from fwfm_gpu.training_marks import trained_features, trained_pairs

PAIRS = np.array([[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], bool)


def model_of(rule, loss="logistic", **options):
    """Three fields in every row; two features more, in a field of the rows and in one of their own."""
    rows, y = make_rows(loss=loss)
    n = rows.n_features
    wide = FieldMatrix.from_csr(rows.indptr, rows.indices, rows.values, (len(rows), n + 2), [*rows.fields, 1, 3])
    return train(wide, y, optimizer=rule, device="numpy", **options)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("state", ["with state", "without"])
def test_what_rows_held_is_marked(rule, loss, state):
    model = model_of(rule, loss)
    if state == "without":
        model.trained = replace(model.trained, optimizer_state=None)
    np.testing.assert_array_equal(trained_features(model), [True] * 15 + [False] * 2)
    np.testing.assert_array_equal(trained_pairs(model), PAIRS)


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_marked_before_training(rule):
    model = model_of(rule, epochs=0)
    assert not trained_features(model).any() and not trained_pairs(model).any()


def test_a_weight_that_a_penalty_holds_at_zero_is_marked_by_its_state():
    model = model_of("ftrl", l1_linear=1000)
    assert not model.parameters.w.any()
    assert trained_features(model).tolist() == [True] * 15 + [False] * 2
    model.trained = replace(model.trained, optimizer_state=None)
    assert trained_features(model).all()  # nobody can tell


def test_held_weights_leave_no_mark():
    np.testing.assert_array_equal(trained_pairs(model_of("adam", field_weights="ones")), ~np.eye(4, dtype=bool))


def test_two_features_of_a_field_mark_the_diagonal():
    model = train(FieldMatrix.from_matrix([[1, 1, 0], [1, 1, 0], [0, 0, 1]], [0, 0, 1]), [0, 1, 1], device="numpy")
    assert trained_pairs(model).tolist() == [[True, False], [False, False]]
