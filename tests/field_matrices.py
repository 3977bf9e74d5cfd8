"""Matrices to make rows of, and how rows are compared."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from fwfm_gpu.field_matrix import FieldMatrix

FORMATS = ("csr", "csc", "coo", "bsr", "dia", "dok", "lil")
DENSE = np.array([[0, 1.5, 0, -2], [0, 0, 0, 0], [3, 0, 0.25, 1]])
ARRAYS = ("indptr", "indices", "values", "fields")


def assert_same(got: FieldMatrix, want: FieldMatrix) -> None:
    """Equal to the bit, dtypes and names too."""
    for name in ARRAYS:
        a, b = getattr(got, name), getattr(want, name)
        assert a.dtype == b.dtype, name
        assert a.tobytes() == b.tobytes(), name
    for name in ("n_fields", "field_names", "feature_names", "shape"):
        assert getattr(got, name) == getattr(want, name), name


def dense(matrix: FieldMatrix) -> np.ndarray:
    """Independent of to_csr: one value at a time."""
    filled = np.zeros(matrix.shape, matrix.values.dtype)
    for row in range(len(matrix)):
        for p in range(matrix.indptr[row], matrix.indptr[row + 1]):
            assert filled[row, matrix.indices[p]] == 0
            filled[row, matrix.indices[p]] = matrix.values[p]
    return filled


def assert_canonical(matrix: FieldMatrix) -> None:
    assert matrix.indptr.dtype == np.int64
    assert matrix.indices.dtype == np.int32
    assert matrix.fields.dtype == np.int32
    assert matrix.values.dtype in (np.float32, np.float64)
    assert matrix.indptr[0] == 0
    assert matrix.indptr[-1] == len(matrix.indices) == len(matrix.values) == matrix.nnz
    for row in range(matrix.n_rows):
        assert np.all(np.diff(matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]) > 0)
    assert np.all(matrix.values != 0)
    assert np.all(np.isfinite(matrix.values))
    for name in ARRAYS:
        assert not getattr(matrix, name).flags.writeable
        assert getattr(matrix, name).dtype.isnative


def raw(data: object, indices: object, indptr: object, shape: tuple[int, int], kind: type = sparse.csr_array):
    """A compressed matrix with its arrays set afterwards: SciPy checks nothing."""
    X = kind(shape)
    X.data, X.indices, X.indptr = np.asarray(data), np.asarray(indices), np.asarray(indptr)
    return X


def raw_coo(data: object, row: object, col: object, shape: tuple[int, int]):
    X = sparse.coo_array(([0.0], ([0], [0])), shape=shape)
    X.data, X.row, X.col = np.asarray(data), np.asarray(row), np.asarray(col)
    return X


# what is refused


def names(n: int) -> list[str]:
    return [f"feature_{i}" for i in range(n)]
