"""Odd input that is good all the same: accepted, and left as it is."""

from __future__ import annotations

import numpy as np
import pytest
from doors import COLUMNS, GOOD, LABELS, ROWS, contents, spoiled, train
from scipy import sparse

from fwfm_gpu import FieldMatrix


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def unsorted():
    """Columns fall, each entry stands there in two halves, zeros are stored."""
    places = np.tile(np.repeat(np.arange(COLUMNS)[::-1], 2), ROWS)
    halves = np.repeat(GOOD[:, ::-1] / 2, 2, axis=1).ravel()
    halves[:2] = 0
    return sparse.csr_array((halves, places, np.arange(ROWS + 1) * 2 * COLUMNS), shape=GOOD.shape)


ODD_X = {
    "as it should be": sparse.csr_array(GOOD.astype(np.float32)),
    "unsorted": unsorted(),
    "unsorted CSC": sparse.csc_array(unsorted().T.tocsr().T),
    "unsorted COO": unsorted().tocoo(),
    "dense": GOOD.copy(),
    "read-only": read_only(GOOD),
    "not contiguous": np.repeat(GOOD, 2, axis=1)[:, ::2],
    "Fortran order": np.asfortranarray(GOOD),
    "big-endian": GOOD.astype(">f4"),
    "integers": (GOOD * 2).astype(np.int64),
    "booleans": GOOD > 1,
    "objects": GOOD.astype(object),
    "FieldMatrix": FieldMatrix.from_matrix(unsorted()),
    "an empty row": spoiled(0) * (np.arange(ROWS) != 4)[:, None],
    "subnormal": spoiled(1e-42),
    "below float32": spoiled(1e-60),
}


@pytest.mark.parametrize("form", ODD_X)
def test_odd_input_is_taken_and_left_as_it_is(form):
    X, weight, fields = ODD_X[form], np.linspace(0, 2, ROWS)[::-1], np.array([0, 1, 2, 3], np.uint8)
    given = (X, LABELS, weight, fields)
    before = contents(given)
    model = train(X, LABELS, sample_weight=weight, fields=fields, eval_set=(X, LABELS, weight))
    model.continue_training(X, LABELS, epochs=1, sample_weight=weight, eval_set=[X, LABELS], progress=False)
    model.partial_fit(X, LABELS, sample_weight=weight)
    model.predict_proba(X)
    assert contents(given) == before


@pytest.mark.parametrize("form", ["as it should be", "unsorted", "dense"])
def test_a_model_does_not_change_with_its_input(form):
    X, y, weight, fields = ODD_X[form].copy(), LABELS.copy(), np.ones(ROWS), np.arange(COLUMNS, dtype=np.int32)
    model = train(X, y, sample_weight=weight, fields=fields)
    before = model.decision_function(GOOD)
    for array in [X.data, X.indices, X.indptr] if sparse.issparse(X) else [X]:
        array[:] = 0
    y[:], weight[:], fields[:] = "?", 0, 0
    np.testing.assert_array_equal(model.decision_function(GOOD), before)
    assert model.classes.tolist() == ["no", "yes"]
    assert model.columns.fields.tolist() == [0, 1, 2, 3]


def test_a_field_without_features_is_fine():
    model = train(GOOD, LABELS, fields=[0, 2, 2, 5])
    assert model.parameters.R.shape == (1, 6, 6)
    assert np.all(model.parameters.R[0, 1] == 1)
