"""Bad input through every door: an error of ours with the place in it, before any training, nothing touched."""

from __future__ import annotations

import numpy as np
import pytest
from doors import (
    COLUMNS,
    EVERY_DOOR,
    GOOD,
    LABELS,
    NUMBERS,
    ROWS,
    TRAINING,
    forbid_training,
    refused,
    spoiled,
    train,
    train_models,
)
from scipy import sparse

from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import InputError, InputTypeError, OptionError


@pytest.fixture
def models():
    return train_models()


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    yield from forbid_training(monkeypatch)


# X


def compressed(kind=sparse.csr_array, **changes):
    """A compressed matrix with its arrays changed behind SciPy's back."""
    X = kind(GOOD)
    for name, (place, value) in changes.items():
        array = getattr(X, name).copy()
        array[place] = value
        setattr(X, name, array)
    return X


def shortened(name):
    X = sparse.csr_array(GOOD)
    setattr(X, name, getattr(X, name)[:-1])
    return X


def twice(value):
    """Two entries of one place, each finite."""
    return sparse.coo_array(([value, value], ([3, 3], [2, 2])), shape=GOOD.shape)


class OnADevice:
    __cuda_array_interface__ = {"shape": (ROWS, COLUMNS), "typestr": "<f4", "data": (1, True), "version": 3}  # noqa: RUF012


PLACE = "row 3, column 2"
BAD_X = {
    "NaN": (spoiled(np.nan), InputError, f"finite.*nan at {PLACE}"),
    "infinity": (spoiled(np.inf), InputError, f"finite.*inf at {PLACE}"),
    "-infinity": (spoiled(-np.inf), InputError, f"-inf at {PLACE}"),
    "NaN in float32": (spoiled(np.nan).astype(np.float32), InputError, PLACE),
    "NaN in lists": (spoiled(np.nan).tolist(), InputError, PLACE),
    "NaN in CSR": (sparse.csr_array(spoiled(np.nan)), InputError, PLACE),
    "NaN in CSC": (sparse.csc_array(spoiled(np.nan)), InputError, PLACE),
    "NaN in COO": (sparse.coo_array(spoiled(np.nan)), InputError, PLACE),
    "the first of two": (np.maximum(spoiled(np.nan), spoiled(np.inf, 1, 3)), InputError, "row 1, column 3"),
    "beyond float32": (spoiled(1e39), InputError, rf"fit float32.*1e\+39 at {PLACE}"),
    "beyond float32 in CSR": (sparse.csr_array(spoiled(-1e39)), InputError, PLACE),
    "beyond float32 in a FieldMatrix": (FieldMatrix.from_matrix(spoiled(1e39)), InputError, PLACE),
    "beyond float64 when summed": (twice(1e308), InputError, PLACE),
    "beyond float32 when summed": (twice(np.float32(3e38)), InputError, PLACE),
    "indptr from 1": (compressed(indptr=(0, 1)), InputError, "indptr"),
    "indptr that falls": (
        compressed(indptr=(4, 1)),
        InputError,
        "indptr must not decrease: got 12, then 1 at the end of row 3",
    ),
    "indptr that ends early": (compressed(indptr=(-1, 40)), InputError, "indptr"),
    "indptr that ends late": (compressed(indptr=(-1, 50)), InputError, "indptr"),
    "indptr too short": (shortened("indptr"), InputError, "indptr"),
    "indices too few": (shortened("indices"), InputError, "ind"),
    "a negative index": (compressed(indices=(14, -1)), InputError, "row 3.*got -1"),
    "an index beyond": (compressed(indices=(14, 4)), InputError, "row 3.*got 4"),
    "a negative index in CSC": (compressed(sparse.csc_array, indices=(14, -1)), InputError, "-1"),
    "an index beyond in CSC": (compressed(sparse.csc_array, indices=(14, ROWS)), InputError, f"{ROWS}"),
    "no columns": (np.empty((ROWS, 0)), InputError, "at least one column"),
    "one axis": (np.ones(COLUMNS), InputError, "2-D"),
    "three axes": (np.ones((ROWS, COLUMNS, 1)), InputError, "2-D"),
    "a number": (3.0, InputError, "2-D"),
    "nothing": (None, InputError, "2-D"),
    "ragged": ([[1, 2, 3, 4], [1, 2, 3]], InputError, "rows of one length"),
    "strings": (GOOD.astype(str), InputTypeError, "real numbers"),
    "objects": (np.full((ROWS, COLUMNS), {}, object), InputTypeError, "real numbers"),
    "complex": (GOOD + 0j, InputTypeError, "real numbers"),
    "complex in CSR": (sparse.csr_array(GOOD + 0j), InputTypeError, "real numbers"),
    "dates": (np.zeros((ROWS, COLUMNS), "M8[s]"), InputTypeError, "real numbers"),
    "masked": (np.ma.masked_array(GOOD, GOOD > 1), InputTypeError, "masked"),
    "on a device": (OnADevice(), InputTypeError, "device"),
}


@pytest.mark.parametrize("door", EVERY_DOOR)
@pytest.mark.parametrize("case", BAD_X)
def test_bad_x(case, door, models):
    X, kind, words = BAD_X[case]
    refused(EVERY_DOOR[door], kind, words, models["logistic"], X, LABELS, None)


@pytest.mark.parametrize("door", [door for door in EVERY_DOOR if door != "train"])
@pytest.mark.parametrize("columns", [1, 3, 5])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csc_array, FieldMatrix.from_matrix])
def test_another_number_of_columns(form, columns, door, models):
    X = form(np.ones((ROWS, columns)))
    words = rf"expected 4, got {columns}\. Build X with the same columns"
    refused(EVERY_DOOR[door], InputError, words, models["logistic"], X, LABELS, None)


@pytest.mark.parametrize("door", [door for door in EVERY_DOOR if door != "train"])
def test_other_fields(door, models):
    X = FieldMatrix.from_matrix(GOOD, [0, 1, 1, 3])
    words = "column 2 is of field 2, and of field 1 in X"
    refused(EVERY_DOOR[door], InputError, words, models["logistic"], X, LABELS, None)


@pytest.mark.parametrize("door", TRAINING)
@pytest.mark.parametrize("rows", [0, 1, ROWS - 1, ROWS + 1])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, FieldMatrix.from_matrix])
def test_rows_of_x_and_y_differ(form, rows, door, models):
    X = form(np.ones((rows, COLUMNS)))
    words = f"same number of rows.*got {rows} rows and {ROWS} targets"
    refused(TRAINING[door], InputError, words, models["logistic"], X, LABELS, None)


@pytest.mark.parametrize("door", TRAINING)
def test_no_rows_at_all(door, models):
    refused(TRAINING[door], InputError, "at least one row", models["logistic"], GOOD[:0], LABELS[:0], None)


def test_an_id_outside_its_field():
    ids = np.array([[0, 1], [1, 2], [2, 0]])
    refused(FieldMatrix.from_ids, InputError, r"got 2 at row 1, field 1 of size 2", ids, [3, 2])
    ids[1, 1] = -1
    refused(FieldMatrix.from_ids, InputError, r"got -1 at row 1, field 1 of size 2", ids, [3, 2])


# y


def labels_with(value, row=5):
    y = LABELS.astype(object)
    y[row] = value
    return y


def numbers_with(value, row=5):
    y = NUMBERS.copy()
    y[row] = value
    return y


BAD_Y = {
    "NaN among labels": ("logistic", labels_with(np.nan), InputError, "missing label in y.*row 5"),
    "None among labels": ("logistic", labels_with(None).tolist(), InputError, "missing label in y.*row 5"),
    "NaN": ("squared", numbers_with(np.nan), InputError, "y.*nan at row 5"),
    "infinity": ("squared", numbers_with(np.inf), InputError, "y must be finite.*inf at row 5"),
    "-infinity": ("squared", numbers_with(-np.inf), InputError, "-inf at row 5"),
    "an integer beyond 64 bits": ("squared", [10**30, *range(ROWS - 1)], InputError, "integer beyond it at row 0"),
    "strings for squared": ("squared", LABELS, InputTypeError, "strings.*loss='squared' needs numbers"),
    "two kinds": ("logistic", labels_with(3), InputTypeError, "got 3 of type int at row 5"),
    "complex": ("squared", NUMBERS + 0j, InputTypeError, "y must hold numbers, booleans or strings"),
    "dates": ("logistic", np.zeros(ROWS, "M8[s]"), InputTypeError, "numbers, booleans or strings"),
    "objects": ("logistic", labels_with({}), InputTypeError, "row 5"),
    "bytes": ("logistic", LABELS.astype("S"), InputTypeError, "numbers, booleans or strings"),
    "masked": ("squared", np.ma.masked_array(NUMBERS, np.arange(ROWS) == 5), InputError, "missing.*row 5"),
    "two columns": ("squared", np.ones((ROWS, 2)), InputError, r"expected the shape \(rows,\) or \(rows, 1\)"),
    "a number": ("squared", 3.0, InputError, "one label per row"),
    "nothing": ("logistic", None, InputError, "one label per row"),
    "a string": ("logistic", "yes", InputError, "one label per row"),
    "too few": ("logistic", LABELS[:-1], InputError, "got 12 rows and 11 targets"),
    "too many": ("squared", np.ones(ROWS + 1), InputError, "got 12 rows and 13 targets"),
}


@pytest.mark.parametrize("door", TRAINING)
@pytest.mark.parametrize("case", BAD_Y)
def test_bad_y(case, door, models):
    loss, y, kind, words = BAD_Y[case]
    refused(TRAINING[door], kind, words, models[loss], GOOD, y, None)


@pytest.mark.parametrize("door", [door for door in TRAINING if "eval" not in door])
def test_a_target_beyond_float32(door, models):
    words = r"y must be finite in float32: got 1e\+39 at row 5"
    refused(TRAINING[door], InputError, words, models["squared"], GOOD, numbers_with(1e39), None)


@pytest.mark.parametrize("door", [door for door in TRAINING if door != "train"])
def test_an_unknown_label(door, models):
    y = np.where(np.arange(ROWS) == 5, "perhaps", LABELS)
    words = "does not know: expected one of 'no', 'yes', got 'perhaps' at row 5"
    refused(TRAINING[door], InputError, words, models["logistic"], GOOD, y, None)


@pytest.mark.parametrize("loss", ["auto", "logistic", "softmax"])
@pytest.mark.parametrize("label", ["yes", 1, True])
def test_one_class_only(loss, label):
    refused(lambda y: train(GOOD, y, loss=loss), InputError, "at least two labels: every row holds", [label] * ROWS)


def test_three_labels_for_the_logistic_loss():
    words = "exactly two labels: y holds 3.*loss='softmax'"
    refused(lambda y: train(GOOD, y, loss="logistic"), InputError, words, [0, 1, 2] * 4)


def test_many_labels_ask_for_a_loss():
    refused(lambda y: train(np.ones((51, 2)), y), OptionError, "y holds 51.*loss='softmax'.*'squared'", list(range(51)))
