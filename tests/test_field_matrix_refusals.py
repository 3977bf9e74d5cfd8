"""Matrices that no FieldMatrix is made of: what is wrong with them, and where."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from field_matrices import DENSE, FORMATS, names, raw, raw_coo
from scipy import sparse

import fwfm_gpu
from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.field_matrix import FieldMatrix

BAD = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


@pytest.mark.parametrize("form", ["dense", *FORMATS])
@pytest.mark.parametrize("bad", BAD)
def test_values_that_are_not_finite_are_refused_with_row_and_column(bad, form):
    X = DENSE.copy()
    X[2, 2] = X[2, 3] = BAD[bad]
    X = X if form == "dense" else getattr(sparse, f"{form}_array")(X)
    with pytest.raises(InputError, match=re.escape(f"got {bad} at row 2, column 2. ")):
        FieldMatrix.from_matrix(X)
    with pytest.raises(InputError, match=re.escape(f"got {bad} at row 2, column 2 (feature 'feature_2').")):
        FieldMatrix.from_matrix(X, feature_names=names(4))


def test_the_first_place_is_named_in_row_order_not_in_stored_order():
    X = sparse.coo_array(([np.nan, np.inf, 1, np.nan], ([3, 1, 0, 1], [0, 2, 1, 1])), shape=(4, 3))
    with pytest.raises(InputError, match="got nan at row 1, column 1"):
        FieldMatrix.from_matrix(X)


def test_duplicates_that_overflow_are_refused():
    X = sparse.coo_array(([1e308, 1e308], ([1, 1], [1, 1])), shape=(2, 2))
    with pytest.raises(InputError, match="after duplicates are summed: got inf at row 1, column 1"):
        FieldMatrix.from_matrix(X)


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(float).max, reason="long double is float64 here")
def test_a_long_double_beyond_float64_is_refused():
    with pytest.raises(InputError, match="got inf at row 0, column 1"):
        FieldMatrix.from_matrix(np.array([[1, np.finfo(np.longdouble).max]]))


COMPRESSED = [
    ([1, 1], [0, 1], [1, 2, 2], "indptr must start at 0: got indptr[0] = 1"),
    ([1, 1], [0, 1], [-1, 1, 2], "indptr must start at 0: got indptr[0] = -1"),
    ([1, 1], [0, 1], [0, 3, 2], "indptr must not decrease: got 3, then 2 at the end of {axis} 1"),
    ([1, 1], [0, 1], np.array([0, 3, 2], np.uint32), "indptr must not decrease: got 3, then 2 at the end of {axis} 1"),
    (
        [1, 1],
        [0, 1],
        [0, 1, 1],
        "indptr must end at the number of stored values: got 1 at its end, indices of shape (2,)",
    ),
    ([1, 1], [0, 1], [0, 1, 3], "indptr must end at the number of stored values: got 3 at its end"),
    ([1, 1, 1], [0, 1], [0, 1, 2], "got 2 at its end, indices of shape (2,), data of shape (3,)"),
    ([1, 1], [0, 1, 0], [0, 1, 2], "got 2 at its end, indices of shape (3,), data of shape (2,)"),
    ([[1, 1]], [0, 1], [0, 1, 2], "data of shape (1, 2)"),
    ([1, 1], [0, 1], [0, 2], "indptr must hold 3 entries, one per {axis} and one more: got shape (2,)"),
    ([1, 1], [0, 1], [[0, 1, 2]], "got shape (1, 3)"),
    ([1, 1], [0, 2], [0, 0, 2], "indices[1] ({axis} 1) must be at least 0 and below 2: got 2"),
    ([1, 1], [-1, 0], [0, 2, 2], "indices[0] ({axis} 0) must be at least 0 and below 2: got -1"),
]


@pytest.mark.parametrize("kind, axis", [(sparse.csr_array, "row"), (sparse.csc_matrix, "column")])
@pytest.mark.parametrize("data, indices, indptr, message", COMPRESSED)
def test_malformed_csr_and_csc_are_refused_with_their_place(kind, axis, data, indices, indptr, message):
    X = raw(np.asarray(data, float), indices, indptr, (2, 2), kind)
    with pytest.raises(InputError, match=re.escape(message.format(axis=axis))):
        FieldMatrix.from_matrix(X)


@pytest.mark.parametrize(
    "row, col, message",
    [
        ([0, 2], [0, 0], "row[1] must be at least 0 and below 2: got 2"),
        ([-1, 1], [0, 0], "row[0] must be at least 0 and below 2: got -1"),
        ([0, 1], [0, 3], "col[1] must be at least 0 and below 3: got 3"),
        ([0, 1], [0, -7], "col[1] must be at least 0 and below 3: got -7"),
        ([0], [0, 1], "row, col and data must be of one length: got shapes (1,), (2,) and (2,)"),
        ([0, 1, 1], [0, 1, 1], "row, col and data must be of one length: got shapes (3,), (3,) and (2,)"),
    ],
)
def test_malformed_coo_is_refused_with_its_place(row, col, message):
    with pytest.raises(InputError, match=re.escape(message)):
        FieldMatrix.from_matrix(raw_coo([1.0, 1.0], row, col, (2, 3)))


@pytest.mark.parametrize(
    "X, message",
    [
        (np.ones(3), "X must be 2-D (rows, columns): got shape (3,)"),
        (np.ones((1, 1, 1)), "got shape (1, 1, 1)"),
        (3.0, "got shape ()"),
        (None, "got shape ()"),
        ([], "got shape (0,)"),
        (sparse.coo_array([1.0, 2.0]), "got shape (2,)"),
        ([[1, 2], [3]], "X must be an array with rows of one length, got list"),
        (np.ones((3, 0)), "X must have at least one column: got shape (3, 0)"),
        (sparse.csr_array((3, 0)), "X must have at least one column: got shape (3, 0)"),
        (sparse.csc_array((3, 0)), "X must have at least one column: got shape (3, 0)"),
    ],
)
def test_unusable_shapes_are_refused(X, message):
    with pytest.raises(InputError, match=re.escape(message)):
        FieldMatrix.from_matrix(X)


@pytest.mark.parametrize(
    "X",
    [
        np.ones((1, 1), complex),
        [["a"]],
        [[b"a"]],
        np.array([["1.5", 2]], object),
        np.array([[object()]]),
        [[1j]],
        np.array([[1j]], object),
        [[10**400]],
        {"a": 1},
        np.array([["2020-01-01"]], "datetime64[D]"),
        sparse.csr_array([[1j]]),
        sparse.coo_array([[1j]]),
        np.ma.masked_array([[1, 2]], mask=[[False, True]]),
    ],
    ids=lambda X: type(X).__name__,
)
def test_what_is_no_real_number_is_refused(X):
    with pytest.raises(InputTypeError, match=r"X must hold real numbers, got|X is a masked array"):
        FieldMatrix.from_matrix(X)


class OnDevice:
    __cuda_array_interface__ = {"shape": (2,)}  # noqa: RUF012


class Unwilling:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion is not allowed")


def test_what_the_host_needs_is_refused_on_a_device():
    with pytest.raises(InputTypeError, match=r"fields lies on a device \(OnDevice\), and is needed on the host: copy"):
        FieldMatrix.from_matrix([[1, 2]], OnDevice())
    with pytest.raises(InputTypeError, match="sizes lies on a device"):
        FieldMatrix.from_ids([[0]], OnDevice())
    with pytest.raises(InputTypeError, match="X must be an array, got Unwilling: implicit conversion"):
        FieldMatrix.from_matrix(Unwilling())


@pytest.mark.parametrize("bad", [{"data": [1.0]}, {"indices": [0.0]}, {"indptr": [0.0, 1.0]}])
def test_index_arrays_must_be_integers(bad):
    arrays = {"data": [1.0], "indices": [0], "indptr": [0, 1]} | bad
    X = raw(*arrays.values(), (1, 1))
    if "data" in bad:
        assert FieldMatrix.from_matrix(X).nnz == 1
    else:
        with pytest.raises(InputTypeError, match=f"{next(iter(bad))} must be integers, got float64"):
            FieldMatrix.from_matrix(X)


@pytest.mark.parametrize("path", ["rows.csv", Path("rows.csv"), ["a.csv", "b.csv"], (Path("a.csv"),)])
def test_a_path_holds_no_rows(path):
    with pytest.raises(InputTypeError, match=r"'(rows|a)\.csv'.* is a path .* Load the rows first"):
        FieldMatrix.from_matrix(path)


def test_every_door_refuses_a_path():
    model = fwfm_gpu.train(DENSE, [0, 1, 0], epochs=1, device="numpy", progress=False)
    doors = [
        model.predict,
        model.predict_proba,
        model.decision_function,
        model.explain,
        lambda X: model.partial_fit(X, [0, 1, 0]),
        lambda X: fwfm_gpu.evaluate(model, X, [0, 1, 0]),
        lambda X: fwfm_gpu.train(DENSE, [0, 1, 0], eval_set=(X, [0, 1]), device="numpy", progress=False),
    ]
    for door in doors:
        with pytest.raises(
            InputTypeError, match="is a path or a word: paths are for train, continue_training and convert"
        ):
            door("rows.csv")


def test_a_lazy_frame_holds_no_rows_yet(tmp_path):
    polars = pytest.importorskip("polars", reason="polars is missing")
    dataset = pytest.importorskip("pyarrow.dataset", reason="pyarrow is missing")
    (tmp_path / "rows.csv").write_text("a,y\n1,0\n2,1\n")
    lazy, data = polars.scan_csv(tmp_path / "rows.csv"), dataset.dataset(tmp_path / "rows.csv", format="csv")
    for X, words in ((lazy, r"pass X\.collect\(\)"), (data, r"pass X\.to_table\(\), .* X\.files")):
        for named in ({}, {"label": "y"}):
            with pytest.raises(InputTypeError, match=words):
                fwfm_gpu.train(X, device="numpy", progress=False, **named)
        with pytest.raises(InputTypeError, match=words):
            FieldMatrix.from_matrix(X)
    options = {"label": "y", "device": "numpy", "progress": False, "epochs": 1}
    assert (
        fwfm_gpu.train(data.files, **options).fingerprint()
        == fwfm_gpu.train(tmp_path / "rows.csv", **options).fingerprint()
    )
