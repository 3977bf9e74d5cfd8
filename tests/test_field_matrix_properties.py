from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse

from fwfm_gpu.field_matrix import FieldMatrix

pytest.importorskip("hypothesis", reason="random matrices are made by hypothesis")

from hypothesis import given
from hypothesis import strategies as st

ARRAYS = ("indptr", "indices", "values", "fields")
NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e16, -1e16, 0.1, 5e-324]),
    st.floats(-1e300, 1e300, allow_nan=False),
)


@st.composite
def triplets(draw):
    """Row, column and value lists with duplicates and zeros, in any order, and the shape."""
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    entry = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1), NUMBERS)
    entries = draw(st.lists(entry, max_size=40))
    return [e[0] for e in entries], [e[1] for e in entries], [e[2] for e in entries], (rows, columns)


def bits(matrix: FieldMatrix) -> dict[str, tuple[str, bytes]]:
    return {name: (str(getattr(matrix, name).dtype), getattr(matrix, name).tobytes()) for name in ARRAYS}


def reference(rows, columns, values, shape) -> list[dict[int, float]]:
    """The contract in plain Python: sums in stored order, zeros dropped, columns ascending."""
    sums = [{} for _ in range(shape[0])]
    for row, column, value in zip(rows, columns, values, strict=True):
        sums[row][column] = sums[row].get(column, 0.0) + value
    return [{column: row[column] for column in sorted(row) if row[column] != 0} for row in sums]


def as_dicts(matrix: FieldMatrix) -> list[dict[int, float]]:
    ends = matrix.indptr.tolist()
    indices, values = matrix.indices.tolist(), matrix.values.tolist()
    return [dict(zip(indices[a:b], values[a:b], strict=True)) for a, b in pairwise(ends)]


def compressed(kind, major, minor, values, shape):
    """CSR or CSC in stored order: unsorted, with duplicates, arrays set behind SciPy's back."""
    order = np.argsort(major, kind="stable")
    X = kind(shape)
    X.data, X.indices = np.array(values)[order], np.array(minor, np.int64)[order]
    X.indptr = np.concatenate(
        ([0], np.cumsum(np.bincount(major, minlength=shape[0 if kind is sparse.csr_array else 1])))
    )
    return X


@given(triplets())
def test_rows_are_canonical_by_a_plain_python_reference(data):
    rows, columns, values, shape = data
    row, column, value = np.array(rows, np.int32), np.array(columns, np.int64), np.array(values, np.float64)
    X = sparse.coo_array((value, (row, column)), shape=shape)
    matrix = FieldMatrix.from_matrix(X)
    want = reference(*data)
    assert [list(got.items()) for got in as_dicts(matrix)] == [list(each.items()) for each in want]
    assert matrix.values.dtype == np.float64
    csr = compressed(sparse.csr_array, row, column, value, shape)
    csc = compressed(sparse.csc_array, column, row, value, shape)
    for other in (csr, csc):
        assert bits(FieldMatrix.from_matrix(other)) == bits(matrix)
    assert FieldMatrix.from_matrix(matrix.to_csr()).fingerprint() == matrix.fingerprint()


@given(triplets(), st.sampled_from([np.float32, np.float64, np.int8, np.int32, bool]))
def test_every_format_gives_the_same_bits(data, dtype):
    rows, columns, values, shape = data
    X = np.zeros(shape)
    X[rows, columns] = np.clip(values, -100, 100)
    X = X.astype(dtype)
    want = bits(FieldMatrix.from_matrix(X))
    for form in ("csr", "csc", "coo", "bsr", "dia", "dok", "lil"):
        for kind in ("array", "matrix"):
            assert bits(FieldMatrix.from_matrix(getattr(sparse, f"{form}_{kind}")(X))) == want, form


@given(triplets())
def test_rounded_rounds_each_value_once(data):
    rows, columns, values, shape = data
    clipped = [float(np.clip(value, -3e38, 3e38)) / 64 for value in values]
    X = sparse.coo_array((np.array(clipped, np.float64), (np.array(rows, int), np.array(columns, int))), shape=shape)
    small = FieldMatrix.from_matrix(X).rounded(np.float32)
    want = [
        {column: float(np.float32(value)) for column, value in row.items() if np.float32(value) != 0}
        for row in reference(rows, columns, clipped, shape)
    ]
    assert as_dicts(small) == want
    assert small.values.dtype == np.float32


@given(triplets(), st.data())
def test_take_is_indexing(data, draw):
    rows, columns, values, shape = data
    X = sparse.coo_array((np.array(values, np.float64), (np.array(rows, int), np.array(columns, int))), shape=shape)
    matrix = FieldMatrix.from_matrix(X)
    chosen = draw.draw(st.lists(st.integers(0, shape[0] - 1), max_size=8))
    every = as_dicts(matrix)
    assert as_dicts(matrix.take(chosen)) == [every[row] for row in chosen]


@given(st.data())
def test_ids_are_one_hot_rows(data):
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    rows = data.draw(st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), max_size=6))
    ids = np.array(rows, np.int64).reshape(len(rows), len(sizes))
    matrix = FieldMatrix.from_ids(ids, sizes)
    one_hot = np.hstack([np.eye(size, dtype=np.float32)[ids[:, f]] for f, size in enumerate(sizes)])
    fields = [f for f, size in enumerate(sizes) for _ in range(size)]
    assert bits(matrix) == bits(FieldMatrix.from_matrix(one_hot, fields))
